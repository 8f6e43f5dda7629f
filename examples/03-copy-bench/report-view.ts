/*
 * Everything below the controls: plots and tables of the cells that there are so far, and of a
 * whole report, from this run or from a file.
 */
import { SUITE_NAMES } from '../../bench/types.ts';
import type { BenchCell, BenchReport } from '../../bench/types.ts';
import { byId } from '../_shell/dom.ts';
import { plural } from '../_shell/numbers.ts';
import { BenchPlots } from './plots.ts';
import { cellTable, environmentTable, goalTable, omittedTable, openGoalTable } from './tables.ts';

export class ReportView {
  private readonly plots = new BenchPlots();

  /** Shows the cells of a run that may still be going on. Returns how many were not verified. */
  showCells(cells: readonly BenchCell[]): number {
    // Panels first: a plot that is hidden has no width to be drawn in. Cells behind goals have
    // names of their own and are in no plot.
    for (const suite of SUITE_NAMES) {
      showPanels(
        suite,
        cells.some(({ id }) => id.startsWith(`${suite}/`)),
      );
    }
    showPanels('cells', cells.length > 0);
    this.plots.update(cells);
    const bad = cells.filter(({ verified }) => !verified).length;
    const verdict = bad === 0 ? 'all verified' : `${bad} not verified`;
    byId('cells-summary').textContent = `${plural(cells.length, 'cell')}, ${verdict}`;
    byId('cells').replaceChildren(cellTable(cells));
    Object.assign(document.documentElement.dataset, { cells: cells.length, unverified: bad });
    return bad;
  }

  /** Shows all of a report. */
  showReport({ env, cells, goals, omitted, commit }: BenchReport): void {
    const bad = this.showCells(cells);
    showPanels('report', true);
    const decided = goals.filter(({ holds }) => holds !== null);
    const open = goals.filter(({ holds }) => holds === null);
    byId('goals').replaceChildren(goalTable(decided));
    byId('open-goals').replaceChildren(openGoalTable(open));
    byId('open-goals-summary').textContent =
      `${plural(open.length, 'goal')} that this run does not decide`;
    byId('omitted').hidden = omitted.length === 0;
    byId('omitted-summary').textContent = `${plural(omitted.length, 'cell')} left out, and why`;
    byId('omitted-table').replaceChildren(omittedTable(omitted));
    byId('env').replaceChildren(environmentTable(env, commit));
    const words = [
      bad === 0 ? '' : `${plural(bad, 'cell')} could not be verified: see the table of cells.`,
      env.hidden ? 'The tab was hidden meanwhile, so browsers throttled it: measure again.' : '',
      env.isSoftware ? 'Software adapter: the checks count, the times say nothing of a GPU.' : '',
    ].filter((text) => text !== '');
    byId('caution').hidden = words.length === 0;
    byId('caution').className = bad === 0 ? 'verdict warn' : 'verdict bad';
    byId('caution').textContent = words.join(' ');
  }
}

/** Shows or hides the panels that need something: a suite's cells, any cell, a report. */
function showPanels(need: string, isThere: boolean): void {
  for (const panel of document.querySelectorAll<HTMLElement>(`[data-needs=${need}]`)) {
    panel.hidden = !isThere;
  }
}
