/**
 * Reports for other programs and for mailing lists: tidy CSV with a row for each sample, and the
 * table that the authors of the kernel's DMA offload series post, GB/s by folio size and channels.
 */
import { DIRECTION_NAMES, MIX_NAME, STRATEGY_NAMES } from './copy-grid.ts';
import { fragmentsText } from './copy-settings.ts';
import { directionName, formatNumber, ranOn, shortBytes } from './format.ts';
import { hasGpuTime } from './gpu-time-notes.ts';
import type { Table } from './tables.ts';
import { isBroken } from './types.ts';
import type { BenchCell, BenchReport } from './types.ts';

/** How often a byte counts that was read once and written once. */
export type Counted = 'once' | 'twice';

/** GB/s of a cell; each byte counted as often as said. */
export function gbPerSecond(cell: BenchCell, counted: Counted): number | null {
  if (cell.gbPerSecond === null) return null;
  return counted === 'once' ? cell.gbPerSecond : 2 * cell.gbPerSecond;
}

/** "GB/s moved once", "GB/s read and written". */
export function countedName(counted: Counted): string {
  return counted === 'once' ? 'GB/s moved once' : 'GB/s read and written (x2)';
}

/** A field of CSV: quoted where it has to be. */
function field(value: string | number | boolean | null): string {
  const text = value === null ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const FIXED = ['commit', 'browser', 'adapter', 'suite', 'cell', 'verified', 'unit', 'bytes'];
/** The cell's time on the device, microseconds; only where some cell has one. */
const GPU_TIME = 'gpu_us';

/**
 * Tidy CSV: a header, then a row for each sample. Parameters that cells differ in have a column
 * each, named "param_...", empty where a cell has none; "gpu_us", the cell's time on the device, is
 * a column only where some cell has it.
 */
export function tidyCsv(report: BenchReport): string {
  const names = [...new Set(report.cells.flatMap((cell) => Object.keys(cell.params)))].toSorted();
  const { browser, version } = report.env;
  const about = [report.commit, `${browser} ${version}`, ranOn(report.env)];
  const isTimed = hasGpuTime(report.cells);
  const rows = report.cells.flatMap((cell) => {
    const { suite, id, verified, unit, bytes } = cell;
    const params = names.map((name) => cell.params[name] ?? null);
    const device = isTimed ? [cell.gpuUs ?? null] : [];
    const fixed = [...about, suite, id, verified, unit, bytes, ...device, ...params];
    return cell.samples.map((value, at) => [...fixed, at, value]);
  });
  const fixedNames = isTimed ? [...FIXED, GPU_TIME] : FIXED;
  const header = [...fixedNames, ...names.map((name) => `param_${name}`), 'sample', 'value'];
  return [header, ...rows]
    .map((row) => row.map(field).join(','))
    .join('\r\n')
    .concat('\r\n');
}

/** Names in the order of a list; others behind them. */
function inOrder(names: ReadonlySet<string>, order: readonly string[]): string[] {
  const others = [...names].filter((name) => !order.includes(name));
  return [...order.filter((name) => names.has(name)), ...others];
}

function isStrategyCell(cell: BenchCell): boolean {
  return /^(copy|mix)\//.test(cell.id) && cell.gbPerSecond !== null;
}

/**
 * The batch of a column: the largest that as many rows as possible have, so that the figures of a
 * column are of the same copy. 0 for no cells.
 */
function batchOf(cells: readonly BenchCell[]): number {
  const rows = new Map<number, number>();
  for (const { params } of cells) {
    const batch = Number(params['batch']);
    rows.set(batch, (rows.get(batch) ?? 0) + 1);
  }
  return [...rows].toSorted((a, b) => b[1] - a[1] || b[0] - a[0])[0]?.[0] ?? 0;
}

/** GB/s with its spread, "1.23±0.04"; the spread is the wider half of the 95% interval. */
export function withSpread(cell: BenchCell | undefined, counted: Counted): string {
  if (cell === undefined) return '-';
  if (isBroken(cell)) return 'FAIL';
  const value = gbPerSecond(cell, counted);
  if (value === null) return '-';
  const ends = cell.ci.map((us) => Math.abs((value * cell.median) / Math.max(us, 1e-9) - value));
  return `${formatNumber(value)}±${formatNumber(Math.max(...ends))}`;
}

/**
 * GB/s by folio size (columns) and channels (rows): the cells of the preset `dma-offload` where
 * the run has them, else strategies of the copy suite. Each column says its batch.
 */
export function mailTable(report: BenchReport, counted: Counted): Table[] {
  const preset = report.cells.filter(({ id }) => id.startsWith('preset/dma-offload/'));
  if (preset.length > 0) return [table('RAM to VRAM', preset, 'path', counted)];
  const how = fragmentsText(report.env.settings?.fragments ?? 'scattered');
  const cells = report.cells.filter(isStrategyCell);
  // Cells come in the order in which they were measured, which is a random one.
  const directions = new Set(cells.map(({ params }) => String(params['direction'])));
  return inOrder(directions, DIRECTION_NAMES).map((direction) => {
    const own = cells.filter(({ params }) => params['direction'] === direction);
    return table(`${directionName(direction)}, ${how}`, own, 'strategy', counted);
  });
}

function table(
  title: string,
  cells: readonly BenchCell[],
  rowsBy: 'path' | 'strategy',
  counted: Counted,
): Table {
  // Batches of folios of several sizes name none, and come last.
  const sizeOf = ({ params }: BenchCell): number => Number(params['folioBytes'] ?? Infinity);
  const sizes = [...new Set(cells.map(sizeOf))].toSorted((a, b) => a - b);
  const given = new Set(cells.map(({ params }) => String(params[rowsBy])));
  const names = rowsBy === 'strategy' ? inOrder(given, STRATEGY_NAMES) : [...given];
  const columns = sizes.map((size) => {
    const own = cells.filter((cell) => sizeOf(cell) === size);
    const batch = batchOf(own);
    const here = own.filter(({ params }) => params['batch'] === batch);
    const name = Number.isFinite(size) ? shortBytes(size) : MIX_NAME;
    return { name: `${name} x${batch}`, cells: here };
  });
  return {
    title: `${title}, ${countedName(counted)} (folio size x batch)`,
    columns: [rowsBy, ...columns.map(({ name }) => name)],
    rows: names.map((name) => [
      name,
      ...columns.map((column) =>
        withSpread(
          column.cells.find(({ params }) => params[rowsBy] === name),
          counted,
        ),
      ),
    ]),
  };
}
