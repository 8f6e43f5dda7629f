/*
 * What the plots show, out of the cells of one or several runs. A run's lines have dashes of its
 * own and its letter; what is the same in several runs has the same colour.
 */
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

/** What is varied along the axis. */
export type Axis = 'folioBytes' | 'batch';

/** Copies that are drawn: the grid of the copy suite, and RAM to RAM by threads and offload. */
export function copyCells(cells: readonly BenchCell[]): BenchCell[] {
  return cells.filter(({ id }) => id.startsWith('copy/') || id.startsWith(OFFLOAD));
}

/** The line that a cell belongs to. */
function seriesOf({ id, params }: BenchCell): string {
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

/** GB/s of copies along an axis. @param factor How often each byte counts. */
export function copyData(runs: readonly DrawnRun[], axis: Axis, factor: number): PlotData {
  const at = (cell: BenchCell): number => Number(cell.params[axis]);
  const x = ascending(runs.flatMap(({ cells }) => cells.map(at)));
  const names = [...COPY_SERIES, ...DETOURS];
  const series = runs.flatMap(({ letter, cells }, dash) =>
    names.flatMap((name, slot): PlotSeries[] => {
      const own = cells.filter((cell) => seriesOf(cell) === name);
      if (own.length === 0) return [];
      // The copy suite's own cell goes before one that a goal measured beside others.
      const value = (one: number): number | null => {
        const here = own.filter((cell) => at(cell) === one);
        const cell = here.find(({ id }) => !id.startsWith(OFFLOAD)) ?? here[0];
        return cell?.gbPerSecond ? cell.gbPerSecond * factor : null;
      };
      const place = letter === '' ? { slot } : { slot, dash };
      return [{ label: withLetter(name, letter), ...place, values: x.map(value) }];
    }),
  );
  return { x, series };
}

/** Microseconds a page of whole migrations by batch. */
export function migrationData(runs: readonly DrawnRun[]): PlotData {
  const ofRun = ({ cells }: DrawnRun): BenchCell[] =>
    cells.filter(({ suite, id }) => suite === 'migrate' && id.startsWith('migrate/'));
  const batchOf = ({ params }: BenchCell): number => Number(params['batch']);
  const x = ascending(runs.flatMap((run) => ofRun(run).map(batchOf)));
  const series = runs.flatMap((run, dash) =>
    ['to-device', 'to-host'].flatMap((direction, slot): PlotSeries[] => {
      const own = ofRun(run).filter(({ params }) => params['direction'] === direction);
      if (own.length === 0) return [];
      const label = withLetter(direction === 'to-device' ? 'to the device' : 'to RAM', run.letter);
      const place = run.letter === '' ? { slot } : { slot, dash };
      const value = (batch: number): number | null =>
        own.find((cell) => batchOf(cell) === batch)?.usPerPage ?? null;
      return [{ label, ...place, values: x.map(value) }];
    }),
  );
  return { x, series };
}

/** Faults whose times are drawn: of one page or window, not hops, sweeps and TLB hits. */
function isFault({ suite, params }: BenchCell): boolean {
  const what = String(params['what'] ?? '');
  return suite === 'fault' && !/^(tlb|hop)$/.test(String(params['access'])) && !/sweep/.test(what);
}

function faultName({ params }: BenchCell): string {
  const { access, what } = params;
  if (what === undefined) return `CPU ${String(access)}`;
  return what === 'bare' ? 'bare copy and map' : `core, ${String(what)}`;
}

/** Share of samples at or below each time, for each kind of fault. */
export function distribution(runs: readonly DrawnRun[]): PlotData {
  const drawn = runs.map(({ letter, cells }) => ({ letter, cells: cells.filter(isFault) }));
  const names = [...new Set(drawn.flatMap(({ cells }) => cells.map(faultName)))];
  const x = ascending(drawn.flatMap(({ cells }) => cells.flatMap(({ samples }) => samples)));
  const series = drawn.flatMap(({ letter, cells }, dash) =>
    cells.map((cell): PlotSeries => {
      const sorted = cell.samples.toSorted((a, b) => a - b);
      let at = 0;
      const values = x.map((time) => {
        while (at < sorted.length && (sorted[at] ?? 0) <= time) at++;
        return (100 * at) / sorted.length;
      });
      const name = faultName(cell);
      const slot = names.indexOf(name);
      const place = letter === '' ? { slot } : { slot, dash };
      return { label: withLetter(name, letter), ...place, values };
    }),
  );
  return { x, series };
}
