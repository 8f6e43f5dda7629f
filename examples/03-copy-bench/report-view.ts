/*
 * Everything below the controls: plots and tables of the cells that there are so far, and of whole
 * reports, from this run or from files.
 */
import { unusualText } from '../../bench/copy-settings.ts';
import { GPU_TIME_NOTES, hasGpuTime } from '../../bench/gpu-time-notes.ts';
import { soakTable } from '../../bench/tables.ts';
import { SUITE_NAMES, isBroken } from '../../bench/types.ts';
import type { BenchCell, BenchReport } from '../../bench/types.ts';
import { byId } from '../_shell/dom.ts';
import { plural } from '../_shell/numbers.ts';
import type { Picture } from '../_shell/plot.ts';
import { PathHeat } from './path-heat.ts';
import { BenchPlots } from './plots.ts';
import { presetTables } from './preset-tables.ts';
import type { Run } from './runs.ts';
import type { MapSettings, ViewSettings } from './settings.ts';
import { cellTable, environmentTable, goalTable, omittedTable, openGoalTable } from './tables.ts';
import { plainTable } from './tables.ts';

/** Names of cells, as they begin, that panels of their own show. */
const PANELS = [...SUITE_NAMES.map((suite) => `${suite}/`), 'goal/G1/'];

export class ReportView {
  private readonly plots: BenchPlots;
  private readonly heat: PathHeat;

  constructor(view: ViewSettings, map: MapSettings, onView: (view: ViewSettings) => void) {
    byId('cells-notes').textContent = GPU_TIME_NOTES.join(' ');
    this.heat = new PathHeat(map);
    this.plots = new BenchPlots(view, onView);
  }

  /**
   * Shows the cells of a run that may still be going on, the plots with other runs beside it.
   *
   * @returns how many were wrong
   */
  showCells(cells: readonly BenchCell[], letter = '', others: readonly Run[] = []): number {
    // Panels first: a plot that is hidden has no width to be drawn in. Most cells behind goals are
    // in no plot.
    const beside = others.map((run) => ({ letter: run.letter, cells: run.report.cells }));
    const drawn = [{ letter, cells }, ...beside];
    for (const start of PANELS) {
      const isThere = drawn.some((run) => run.cells.some(({ id }) => id.startsWith(start)));
      showPanels(start.replace(/\/$/, ''), isThere);
    }
    showPanels(
      'copy',
      drawn.some((run) => run.cells.some(({ id }) => /^(copy|mix|goal\/G20)\//.test(id))),
    );
    showPanels('cells', cells.length > 0);
    const soak = soakTable(cells);
    showPanels('soak', soak !== null);
    byId('soak-table').replaceChildren(...(soak === null ? [] : plainTable(soak)));
    this.plots.update(drawn);
    this.heat.update(cells);
    const bad = cells.filter(isBroken).length;
    const unchecked = uncheckedOf(cells);
    const unseen = unchecked === 0 ? 'all verified' : `${unchecked} not looked at`;
    const verdict = bad === 0 ? unseen : `${bad} not verified`;
    byId('cells-summary').textContent = `${plural(cells.length, 'cell')}, ${verdict}`;
    byId('cells').replaceChildren(cellTable(cells));
    byId('cells-notes').hidden = !hasGpuTime(cells);
    Object.assign(document.documentElement.dataset, { cells: cells.length, unverified: bad });
    return bad;
  }

  /** Shows all of a run, and others beside it in the plots. */
  showRuns({ letter, report }: Run, others: readonly Run[]): void {
    const { env, cells, goals, omitted, presets = [] } = report;
    const bad = this.showCells(cells, letter, others);
    showPanels('report', true);
    showPanels('preset', presets.length > 0);
    byId('preset-tables').replaceChildren(...presets.flatMap(presetTables));
    const decided = goals.filter(({ holds }) => holds !== null);
    const open = goals.filter(({ holds }) => holds === null);
    byId('goals').replaceChildren(goalTable(decided));
    byId('goals').hidden = decided.length === 0;
    byId('open-goals').replaceChildren(openGoalTable(open));
    byId('open-goals-summary').textContent =
      `${plural(open.length, 'goal')} that this run does not decide`;
    byId('omitted').hidden = omitted.length === 0;
    byId('omitted-summary').textContent = `${plural(omitted.length, 'cell')} left out, and why`;
    byId('omitted-table').replaceChildren(omittedTable(omitted));
    byId('env').replaceChildren(environmentTable(report));
    showCaution(cautions(report, bad), bad > 0 || env.hidden || env.deviceLost !== undefined);
  }

  /** Hides what only whole reports have: goals, published tables, environment. */
  hideReport(): void {
    for (const need of ['report', 'preset']) showPanels(need, false);
    byId('omitted').hidden = true;
  }

  /** What is drawn, for a file. */
  pictures(): Picture[] {
    const map = this.heat.picture();
    return [...this.plots.pictures(), ...(map === null ? [] : [map])];
  }
}

/** What to beware of in a report. */
function cautions({ env, cells }: BenchReport, bad: number): string[] {
  const unchecked = uncheckedOf(cells);
  const unusual = unusualText(env.settings);
  return [
    bad === 0 ? '' : `${plural(bad, 'cell')} could not be verified: see the table of cells.`,
    env.deviceLost === undefined ? '' : `The device was lost, so the run ended: ${env.deviceLost}.`,
    unchecked === 0 ? '' : `Nobody looked at the results of ${plural(unchecked, 'cell')}.`,
    unusual === '' ? '' : `Not the usual settings: ${unusual}; goals are meant for the usual.`,
    env.hidden ? 'The tab was hidden meanwhile, so browsers throttled it: measure again.' : '',
    softwareText(env),
  ].filter((text) => text !== '');
}

function softwareText({ engine, isSoftware }: BenchReport['env']): string {
  if (!isSoftware && engine !== 'cpu') return '';
  const what = engine === 'cpu' ? 'CPU engine, no adapter' : 'Software adapter';
  return `${what}: the checks count, the times say nothing of a GPU.`;
}

function uncheckedOf(cells: readonly BenchCell[]): number {
  return cells.filter(({ unchecked }) => unchecked === true).length;
}

/** Shows what to beware of; nothing for no words. */
export function showCaution(words: readonly string[], isBad: boolean): void {
  byId('caution').hidden = words.length === 0;
  byId('caution').className = isBad ? 'verdict bad' : 'verdict warn';
  byId('caution').textContent = words.join(' ');
}

/** Shows or hides the panels that need something: a suite's cells, any cell, a report. */
function showPanels(need: string, isThere: boolean): void {
  for (const panel of document.querySelectorAll<HTMLElement>(`[data-needs="${need}"]`)) {
    panel.hidden = !isThere;
  }
}
