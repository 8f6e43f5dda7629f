/*
 * What the plots show, out of the cells of one or several runs. A run's lines have dashes of its
 * own and its letter; what is the same in several runs has the same colour.
 */
import { MIX_NAME } from '../../bench/copy-grid.ts';
import { CPU_COPY, FIRST_PAGE, byBatch } from '../../bench/first-page-cells.ts';
import type { BenchCell } from '../../bench/types.ts';
import type { PlotData, PlotSeries } from '../_shell/plot.ts';

/** The cells of a run that are drawn, and its letter; '' where it is alone. */
export interface DrawnRun {
  readonly letter: string;
  readonly cells: readonly BenchCell[];
}

/** Series of the plots of copies, in an order that gives each its colour. */
const COPY_SERIES = ['staging', 'commands', 'runs', 'compute', 'writeBuffer', 'cpu', 'auto'];
const DETOURS = ['by way of the device', '2 threads', '4 threads', '8 threads'];
const OFFLOAD = 'goal/G20/';
/** The colour of what the CPU copies, in all plots. */
const CPU_SLOT = COPY_SERIES.indexOf('cpu');
const CPU_DASH = 4;
const CPU_NAME = 'CPU copy, RAM to RAM';
/** The CPU's copy of a single page: what a fault costs at least where a page has to move. */
const PAGE_COPY = `${CPU_COPY}1`;
const PAGE_COPY_NAME = 'CPU copy of a page, RAM to RAM';

/** What is varied along the axis: a folio's bytes, a batch's folios, or all bytes of a copy. */
export type Axis = 'folioBytes' | 'batch' | 'bytes';

/** Copies that are drawn: the copy suite's, and RAM to RAM by threads and offload. */
export function copyCells(cells: readonly BenchCell[]): BenchCell[] {
  return cells.filter(({ id }) => /^(copy|mix)\//.test(id) || id.startsWith(OFFLOAD));
}

/** The bytes of a copy's folios, or the name of a mix of sizes. */
export function folioOf({ params }: BenchCell): string {
  return String(params['folioBytes'] ?? MIX_NAME);
}

/** Whether one thread of the CPU copied within RAM: what every other copy is held against. */
export function isCpuCopy({ params }: BenchCell): boolean {
  const { direction, strategy, via, threads } = params;
  return direction === 'in-host' && (strategy === 'cpu' || (via === 'cpu' && threads === 1));
}

/** The line that a cell belongs to in the plots of a direction. */
function seriesOf(cell: BenchCell, direction: string): string {
  const { id, params } = cell;
  if (params['direction'] !== direction) return CPU_NAME;
  if (!id.startsWith(OFFLOAD)) return String(params['strategy']);
  if (params['via'] === 'offload') return DETOURS[0]!;
  return params['threads'] === 1 ? 'cpu' : `${String(params['threads'])} threads`;
}

/** A line's name, with the letter of its run where there are several. */
export function withLetter(label: string, letter: string): string {
  return letter === '' ? label : `${label} · ${letter}`;
}

function ascending(values: readonly number[]): number[] {
  return [...new Set(values)].toSorted((a, b) => a - b);
}

/** What a plot of copies shows. */
export interface CopyView {
  readonly direction: string;
  readonly axis: Axis;
  /** How often each byte counts. */
  readonly factor: number;
}

/** GB/s of copies along an axis; where several cells share a place, of the fastest. */
export function copyData(runs: readonly DrawnRun[], view: CopyView): PlotData {
  const { direction, axis, factor } = view;
  const at = ({ params, bytes }: BenchCell): number =>
    axis === 'bytes' ? bytes : Number(params[axis]);
  const x = ascending(runs.flatMap(({ cells }) => cells.map(at)));
  const names = [...COPY_SERIES, ...DETOURS];
  const series = runs.flatMap(({ letter, cells }, dash) =>
    [...names, CPU_NAME].flatMap((name, index): PlotSeries[] => {
      const own = cells.filter((cell) => seriesOf(cell, direction) === name);
      if (own.length === 0) return [];
      const value = (one: number): number | null => {
        const here = own.filter((cell) => at(cell) === one);
        // The copy suite's own cells go before those that a goal measured beside others.
        const sweep = here.filter(({ id }) => !id.startsWith(OFFLOAD));
        const speeds = (sweep.length > 0 ? sweep : here).map((cell) => cell.gbPerSecond ?? 0);
        const most = Math.max(0, ...speeds);
        return most > 0 ? most * factor : null;
      };
      const isAside = name === CPU_NAME;
      const slot = isAside ? CPU_SLOT : index;
      const ownDash = isAside ? { dash: CPU_DASH } : {};
      const place = letter === '' ? { slot, ...ownDash } : { slot, dash };
      return [{ label: withLetter(name, letter), ...place, values: x.map(value) }];
    }),
  );
  return { x, series };
}

/** Lines of cells by batch: name, how ids begin, colour. */
type Lines = readonly (readonly [name: string, prefix: string, slot: number])[];

/** Values of cells by batch, a line each; points without a value are left out. */
function linesByBatch(
  runs: readonly DrawnRun[],
  lines: Lines,
  value: (cell: BenchCell) => number | null,
): PlotData {
  const drawn = runs.flatMap(({ letter, cells }, dash) =>
    lines.map(([name, prefix, slot]) => ({
      label: withLetter(name, letter),
      place: letter === '' ? { slot } : { slot, dash },
      points: byBatch(cells, prefix),
    })),
  );
  const x = ascending(drawn.flatMap(({ points }) => points.map(({ batch }) => batch)));
  const series = drawn
    .filter(({ points }) => points.length > 0)
    .map(({ label, place, points }): PlotSeries => {
      const at = (batch: number): number | null => {
        const found = points.find((point) => point.batch === batch);
        return found === undefined ? null : value(found.cell);
      };
      return { label, ...place, values: x.map(at) };
    });
  return { x, series };
}

/** Microseconds of a whole batch to the device, and until its first page can be used. */
export function firstPageData(runs: readonly DrawnRun[]): PlotData {
  const lines: Lines = [
    ['all of the batch', 'migrate/to-device/', 0],
    ['its first page usable', FIRST_PAGE, 1],
    [CPU_NAME, CPU_COPY, CPU_SLOT],
  ];
  return linesByBatch(runs, lines, ({ median }) => median);
}

/** Microseconds a page of whole migrations by batch. */
export function migrationData(runs: readonly DrawnRun[]): PlotData {
  const lines: Lines = [
    ['to the device', 'migrate/to-device/', 0],
    ['to RAM', 'migrate/to-host/', 1],
    [CPU_NAME, CPU_COPY, CPU_SLOT],
  ];
  return linesByBatch(runs, lines, ({ usPerPage }) => usPerPage);
}

/** Faults whose times are drawn: of one page or window, not hops, sweeps and TLB hits. */
function isFault({ suite, params }: BenchCell): boolean {
  const what = String(params['what'] ?? '');
  return suite === 'fault' && !/^(tlb|hop)$/.test(String(params['access'])) && !/sweep/.test(what);
}

function faultName({ id, params }: BenchCell): string {
  if (id === PAGE_COPY) return PAGE_COPY_NAME;
  const { access, what } = params;
  if (what === undefined) return `CPU ${String(access)}`;
  const bare = what === 'bare' || what === 'bare-blocked';
  if (!bare) return `core, ${String(what).replace('KiB', ' KiB')}`;
  return `bare copy and map${what === 'bare' ? '' : ', a thread waiting'}`;
}

/** Share of samples at or below each time, for each kind of fault, and for a page's copy alone. */
export function distribution(runs: readonly DrawnRun[]): PlotData {
  const drawn = runs.map(({ letter, cells }) => {
    const faults = cells.filter(isFault);
    // Beside nothing it would be no more than a line of its own.
    const copies = faults.length > 0 ? cells.filter(({ id }) => id === PAGE_COPY) : [];
    return { letter, cells: [...faults, ...copies] };
  });
  const names = [...new Set(drawn.flatMap(({ cells }) => cells.map(faultName)))];
  const faults = names.filter((name) => name !== PAGE_COPY_NAME);
  // Lines of several runs differ in dashes: the CPU's copy must have its colour for itself.
  const slotOf = (name: string): number => {
    const at = faults.indexOf(name);
    return at < 0 ? CPU_SLOT : at + Number(at >= CPU_SLOT);
  };
  const all = ascending(drawn.flatMap(({ cells }) => cells.flatMap(({ samples }) => samples)));
  // Below the clock's tick a sample is 0, which a logarithmic axis does not have.
  const x = all.filter((time) => time > 0);
  const series = drawn.flatMap(({ letter, cells }, dash) =>
    cells.map((cell): PlotSeries => {
      const sorted = cell.samples.toSorted((a, b) => a - b);
      let at = 0;
      const values = x.map((time) => {
        while (at < sorted.length && (sorted[at] ?? 0) <= time) at++;
        return (100 * at) / sorted.length;
      });
      const name = faultName(cell);
      const isAside = cell.id === PAGE_COPY;
      const slot = slotOf(name);
      const ownDash = isAside ? { dash: CPU_DASH } : {};
      const place = letter === '' ? { slot, ...ownDash } : { slot, dash };
      return { label: withLetter(name, letter), ...place, values };
    }),
  );
  return { x, series };
}
