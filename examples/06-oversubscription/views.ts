/*
 * A sweep as plots, tables and sentences. All take the cells that there are so far.
 */
import type { ExperimentReport } from '../../src/index.ts';
import { byId, el, row } from '../_shell/dom.ts';
import { digits, formatBytes, formatCount, formatMs } from '../_shell/numbers.ts';
import { Plot } from '../_shell/plot.ts';
import type { PlotAxis, PlotData } from '../_shell/plot.ts';
import { readCliff } from './cliff.ts';
import type { Cliff } from './cliff.ts';
import { CONTENDERS, faultsPerPage, usPerAccess, workingSetsMoved } from './sweep.ts';
import type { Contender, SweepCell } from './sweep.ts';

const x: PlotAxis = { label: 'working set / device memory', log: 2, format: formatRatio };
const time: PlotAxis = { label: '', log: 10, format: formatUs };

export class SweepView {
  private readonly time = new Plot({
    title: 'Time of an access by ratio',
    x,
    y: time,
    height: 340,
  });
  private readonly faults = new Plot({
    title: 'Faults per page by ratio',
    x,
    y: { label: '', log: 10 },
  });
  private readonly moved = new Plot({
    title: 'Bytes moved, in working sets, by ratio',
    x,
    y: { label: '', log: 10 },
  });

  constructor() {
    byId('time').append(this.time.element);
    byId('faults').append(this.faults.element);
    byId('moved').append(this.moved.element);
  }

  /** Shows these cells of a sweep over those policies. */
  update(contenders: readonly Contender[], cells: readonly SweepCell[]): void {
    this.time.update(curves(contenders, cells, usPerAccess));
    this.faults.update(curves(contenders, cells, faultsPerPage));
    this.moved.update(curves(contenders, cells, workingSetsMoved));
    const cliffs = contenders.map((contender) => readCliff(contender, cells));
    byId('cliffs').replaceChildren(cliffTable(cliffs));
    byId('reasons').replaceChildren(...cliffs.flatMap(reasonItem));
    byId('cells').replaceChildren(cellTable(cells));
    byId('cells-summary').textContent = `All ${cells.length} runs`;
    Object.assign(document.documentElement.dataset, { cells: cells.length });
  }
}

function curves(
  contenders: readonly Contender[],
  cells: readonly SweepCell[],
  value: (cell: SweepCell) => number | null,
): PlotData {
  const ratios = [...new Set(cells.map(({ ratio }) => ratio))].toSorted((a, b) => a - b);
  const series = contenders.map((contender) => {
    const own = new Map(
      cells.filter((cell) => cell.contender === contender).map((cell) => [cell.ratio, cell]),
    );
    const values = ratios.map((ratio) => {
      const cell = own.get(ratio);
      // A logarithmic axis has no place for nothing.
      return cell === undefined ? null : value(cell) || null;
    });
    return { label: contender, values };
  });
  return { x: ratios, series };
}

function cliffTable(cliffs: readonly Cliff[]): HTMLTableElement {
  const names = ['Policy', 'Fits', 'Falls off at', 'At worst'];
  const rows = cliffs.map(({ contender, fitsUs, edge, before, worst, stuck }) => {
    const line = row(
      contender,
      fitsUs === null ? '–' : formatUs(fitsUs),
      worst === null ? '–' : edgeText(edge, before),
      worst === null ? '–' : `${digits(worst.slower)}× at ${formatRatio(worst.ratio)}`,
    );
    line.dataset['policy'] = contender;
    line.dataset['edge'] = String(edge ?? '');
    if (stuck.length > 0)
      line.append(el('td', {}, badge(`stuck at ${stuck.map(formatRatio).join(', ')}`)));
    return line;
  });
  return table('numbers', names, rows);
}

/** Between the points that were run; a sweep that was cancelled has few. */
function edgeText(edge: number | null, before: number | null): string {
  if (edge === null) return 'nowhere';
  return before === null ? formatRatio(edge) : `${before} to ${formatRatio(edge)}`;
}

function reasonItem({ contender, reason, stuck }: Cliff): HTMLElement[] {
  const end =
    stuck.length === 0 ? '' : ` Some runs did not end: at ${stuck.map(formatRatio).join(', ')}.`;
  if (reason + end === '') return [];
  return [el('dt', {}, contender), el('dd', {}, reason + end)];
}

function cellTable(cells: readonly SweepCell[]): HTMLTableElement {
  const names = ['Policy', 'Ratio', 'Device', 'Time', 'An access', 'Faults', 'Batches'];
  const more = ['In', 'Out', 'Evicted', 'Over the link'];
  const sorted = cells.toSorted((a, b) => {
    return CONTENDERS.indexOf(a.contender) - CONTENDERS.indexOf(b.contender) || a.ratio - b.ratio;
  });
  const rows = sorted.map((cell) => {
    const { contender, ratio, devicePages, result, failure } = cell;
    const head = [formatRatio(ratio), formatBytes(devicePages * 4096)];
    if (result === null) {
      const line = row(contender, ...head);
      line.append(el('td', { colspan: 8, class: 'failure' }, badge('stuck'), ` ${failure ?? ''}`));
      return line;
    }
    const { counts, us } = result;
    return row(
      contender,
      ...head,
      formatMs(us / 1000),
      formatUs(usPerAccess(cell) ?? 0),
      formatCount(counts.faults),
      formatCount(counts.batches),
      formatBytes(counts.bytesIn),
      formatBytes(counts.bytesOut),
      formatCount(counts.evictedPages),
      formatCount(counts.remoteUses),
    );
  });
  return table('numbers', [...names, ...more], rows);
}

/** What the reproduced experiment found. */
export function reportTable({ relations }: ExperimentReport): HTMLTableElement {
  const rows = relations.map(({ name, value, low, high }) => {
    const holds = value >= low && value <= high;
    const mark = el(
      'span',
      { class: `badge ${holds ? 'good' : 'bad'}` },
      holds ? 'holds' : 'fails',
    );
    const range = Number.isFinite(high) ? `${digits(low)} to ${digits(high)}` : `≥ ${digits(low)}`;
    const shown = low === -Infinity || low === 0 ? `≤ ${digits(high)}` : range;
    return row(name, digits(value), shown, mark);
  });
  return table('numbers', ['Relation', 'Value', 'Published', ''], rows);
}

function table(kind: string, names: readonly string[], rows: readonly Node[]): HTMLTableElement {
  const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
  return el('table', { class: kind }, el('thead', {}, head), el('tbody', {}, ...rows));
}

function badge(words: string): HTMLSpanElement {
  return el('span', { class: 'badge bad' }, words);
}

function formatRatio(ratio: number): string {
  return `${ratio}×`;
}

function formatUs(us: number): string {
  return `${digits(us)} µs`;
}
