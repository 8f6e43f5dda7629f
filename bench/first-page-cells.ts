/**
 * How cells of first pages, and of the CPU's copies beside them, are found in a report.
 */
import type { BenchCell } from './types.ts';

/** Ids of cells that hold the time until the first page of a batch was usable. */
export const FIRST_PAGE = 'first-page/to-device/';
/** Ids of cells that hold the time of a CPU's copy of a whole batch. */
export const CPU_COPY = 'first-page/cpu-copy/';

/** Of the cells of a kind, each batch with its cell, ascending. */
export function byBatch(
  cells: readonly BenchCell[],
  prefix: string,
): { readonly batch: number; readonly cell: BenchCell }[] {
  return cells
    .filter(({ id }) => id.startsWith(prefix))
    .map((cell) => ({ batch: Number(cell.params['batch']), cell }))
    .toSorted((a, b) => a.batch - b.batch);
}
