/**
 * Arithmetic of G1: which fixed path is the best of a cell, what `auto` loses against it, and
 * what cells come to together.
 */
import { median } from './stats.ts';
import type { Estimate, RandomSource } from './stats.ts';
import { bootstrap, mean } from './stats.ts';

/** What `auto` lost in one cell. */
export interface CellRegret {
  readonly id: string;
  /** The fixed path that was fastest in the samples of its own. */
  readonly best: string;
  /** Time of `auto` over that of the best path, in pairs taken afterwards. */
  readonly regret: Estimate;
}

/**
 * The index of the path with the smallest median, -1 without any.
 *
 * @param samples Of each path; paths without samples are passed over.
 */
export function bestPath(samples: readonly (readonly number[])[]): number {
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  samples.forEach((one, at) => {
    const time = one.length === 0 ? Number.POSITIVE_INFINITY : median(one);
    if (time >= least) return;
    best = at;
    least = time;
  });
  return best;
}

/** A cell misses a bound only when its whole interval lies above it. */
export function isWithin(cell: CellRegret, bound: number): boolean {
  return cell.regret.ci[0] <= bound;
}

/** Share of cells within a bound, with the interval of a share of so many cells. */
export function shareWithin(
  cells: readonly CellRegret[],
  bound: number,
  random: RandomSource,
): Estimate {
  const flags = cells.map((cell) => Number(isWithin(cell, bound)));
  return bootstrap([flags], ([drawn]) => mean([...drawn!]), random);
}

/** The cell whose interval lies highest. */
export function worstCell(cells: readonly CellRegret[]): CellRegret {
  return cells.toSorted((a, b) => b.regret.ci[0] - a.regret.ci[0])[0]!;
}
