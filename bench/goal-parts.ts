/**
 * Arithmetic of the goals that more than one file needs: a bound held against an estimate, and the
 * batching curve.
 */
import { median } from './stats.ts';
import type { Estimate } from './stats.ts';
import type { GoalLimit, GoalPart } from './types.ts';

/** Holds an estimate against its bound. The value decides, not its interval. */
export function judge(
  what: string,
  estimate: Estimate,
  comparison: '<=' | '>=',
  target: number,
): GoalPart {
  const { value, ci } = estimate;
  const holds = comparison === '<=' ? value <= target : value >= target;
  return { what, value, ci, comparison, target, holds };
}

/** A part with what forbids it: only where it misses, and the limit lies beyond the bound, too. */
export function withLimit(part: GoalPart, limit: GoalLimit): GoalPart {
  const { comparison, target, holds } = part;
  const forbids = comparison === '<=' ? limit.value > target : limit.value < target;
  return !holds && forbids ? { ...part, limit } : part;
}

/** How far a part is from its bound: above 1 = missed, whatever the direction. */
export function strain(part: GoalPart): number {
  return part.comparison === '<=' ? part.value / part.target : part.target / part.value;
}

/**
 * G6, first half: the worst time(n) / (time(1) + (n - 1) * best time per page).
 *
 * @param sizes Batch sizes, ascending from 1. @param times Samples of each size.
 */
export function curveExcess(sizes: readonly number[], times: readonly ArrayLike<number>[]): number {
  const medians = times.map(median);
  const best = Math.min(...medians.map((time, i) => time / sizes[i]!));
  const single = medians[0]!;
  return Math.max(...medians.map((time, i) => time / (single + (sizes[i]! - 1) * best)));
}

/** G6, second half: the worst ratio of a size's time per page to that of any smaller size. */
export function curveSetback(
  sizes: readonly number[],
  times: readonly ArrayLike<number>[],
): number {
  const perPage = times.map((samples, i) => median(samples) / sizes[i]!);
  let least = perPage[0]!;
  let worst = 0;
  for (const time of perPage.slice(1)) {
    worst = Math.max(worst, time / least);
    least = Math.min(least, time);
  }
  return worst;
}
