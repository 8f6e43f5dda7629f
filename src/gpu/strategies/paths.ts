/*
 * Where the ways of moving pages cross over on an adapter: what `auto` decides by. Before anything
 * was measured these are the usual values; `calibrate` replaces them by the adapter's own.
 *
 * Source: our own; that fixed thresholds are wrong on the next card is known from GPU servers.
 */

/** See the file header. */
export interface Paths {
  /** Uploads of up to that many pages go by `writeBuffer`. */
  readonly writePages: number;
  /** From that many rows on kernels beat copy commands; Infinity where they never do. */
  readonly uploadKernelRows: number;
  readonly downloadKernelRows: number;
  readonly clearKernelRows: number;
  /** The share of the time of commands that kernels may take at most, to be worth it. */
  readonly kernelShare: number;
  /** Microseconds of a list of moves as such, whichever way: both wait for the same answer. */
  readonly moveListUs: number;
  /** What moving pages inside VRAM by kernel costs besides, and twice by copy command. */
  readonly kernelMoves: MoveCost;
  readonly commandMoves: MoveCost;
}

/**
 * Time of moves in microseconds. Commands are paid for by the row, however long it is, kernels by
 * the page: a folio of 2 MiB is one row of 512 pages.
 */
export interface MoveCost {
  readonly row: number;
  readonly page: number;
}

const FREE: MoveCost = { row: 0, page: 0 };
const DEAR: MoveCost = { row: 0, page: 1 };

/** A small flight pays more for its map round trip than for the copy. */
const WRITE_PAGES = 8;
/** On GPUs a copy command costs microseconds, a kernel the same for any number of pages. */
const KERNEL_ROWS = 65;

/** A way has to be that much faster before it is worth changing over. */
const CLEARLY = 0.95;
/** Kernels that the CPU runs are slow: where they seem to win, the measurement may be at fault. */
const SOFTWARE_SHARE = 0.75;

/** What to go by before anything was measured. */
export function usualPaths(isSoftware: boolean): Paths {
  const rows = isSoftware ? Number.POSITIVE_INFINITY : KERNEL_ROWS;
  return {
    writePages: WRITE_PAGES,
    uploadKernelRows: rows,
    downloadKernelRows: rows,
    clearKernelRows: rows,
    kernelShare: isSoftware ? SOFTWARE_SHARE : CLEARLY,
    moveListUs: 0,
    kernelMoves: isSoftware ? DEAR : FREE,
    commandMoves: isSoftware ? FREE : DEAR,
  };
}

/** Best times of two ways, for a few and for many pages. */
export interface Race {
  readonly few: number;
  readonly many: number;
  /** Microseconds of either way. */
  readonly a: readonly [few: number, many: number];
  readonly b: readonly [few: number, many: number];
}

/**
 * The number from which on way `b` is clearly faster than `a`, taking both for straight lines
 * through their two points; `most` for later than at `many`.
 *
 * @param share of the time of `a`, which is clearly less
 */
export function crossover({ few, many, a, b }: Race, most: number, share = CLEARLY): number {
  if (b[1] >= a[1] * share) return most;
  if (b[0] < a[0] * share) return few;
  const slope = (way: readonly [number, number]): number => (way[1] - way[0]) / (many - few);
  const gain = slope(a) - slope(b);
  if (gain <= 0) return many;
  return Math.min(many, Math.max(few, Math.ceil(few + (b[0] - a[0]) / gain)));
}

/**
 * What moves cost by the row and by the page, given the times of `many` single pages and of as many
 * in one row, and what a list costs anyway; never below zero, whatever was disturbed.
 */
export function moveCost(many: number, singlesUs: number, rowUs: number, listUs: number): MoveCost {
  const single = Math.max(0, (singlesUs - listUs) / many);
  const page = Math.min(single, Math.max(0, (rowUs - listUs) / many));
  return { row: single - page, page };
}

/** Whether a list of moves is clearly faster by kernel. */
export function movesByKernel(paths: Paths, rows: number, pages: number): boolean {
  const time = ({ row, page }: MoveCost): number => paths.moveListUs + row * rows + page * pages;
  return time(paths.kernelMoves) < paths.kernelShare * time(paths.commandMoves);
}
