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
  /** Whether pages move inside VRAM by kernel, instead of twice by copy command. */
  readonly movesByKernel: boolean;
}

/** A small flight pays more for its map round trip than for the copy. */
const WRITE_PAGES = 8;
/** On GPUs a copy command costs microseconds, a kernel the same for any number of pages. */
const KERNEL_ROWS = 65;

/** What to go by before anything was measured. */
export function usualPaths(isSoftware: boolean): Paths {
  const rows = isSoftware ? Number.POSITIVE_INFINITY : KERNEL_ROWS;
  return {
    writePages: WRITE_PAGES,
    uploadKernelRows: rows,
    downloadKernelRows: rows,
    clearKernelRows: rows,
    movesByKernel: !isSoftware,
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

/** A way has to be that much faster before it is worth changing over. */
const CLEARLY = 0.95;

/**
 * The number from which on way `b` is clearly faster than `a`, taking both for straight lines
 * through their two points; `most` for later than at `many`.
 */
export function crossover({ few, many, a, b }: Race, most: number): number {
  if (b[1] >= a[1] * CLEARLY) return most;
  if (b[0] < a[0] * CLEARLY) return few;
  const slope = (way: readonly [number, number]): number => (way[1] - way[0]) / (many - few);
  const gain = slope(a) - slope(b);
  if (gain <= 0) return many;
  return Math.min(many, Math.max(few, Math.ceil(few + (b[0] - a[0]) / gain)));
}
