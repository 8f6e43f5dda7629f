/**
 * Arithmetic of the goals that more than one file needs: a bound held against an estimate, and the
 * batching curve.
 */
import { median, middleMean, pairedRatio } from './stats.ts';
import type { Estimate, RandomSource } from './stats.ts';
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

/** Sides of a limit, sampled round by round beside the side that it limits. */
export interface LimitSides {
  /** Their quotient, round by round, is the limit. */
  readonly over: readonly number[];
  readonly under: readonly number[];
  /** The side of ours, and the one of the two that can't be faster. */
  readonly ours: readonly number[];
  readonly least: readonly number[];
}

/** A limit that is a quotient of two sides, and how far ours is from it. */
export function limitOf(what: string, sides: LimitSides, random: RandomSource): GoalLimit {
  const { over, under, ours, least } = sides;
  const samples = over.map((time, i) => time / under[i]!);
  return { what, value: median(samples), samples, beyond: pairedRatio(ours, least, random) };
}

/**
 * G6, first half: the worst time(n) / (time(1) + (n - 1) * best time per page). Times are compared
 * within a round, as in all ratios here, and of the quotients the middle half is averaged: in a
 * browser an answer takes half a millisecond or two, and a median of one size alone lies anywhere
 * between them when half of the answers are late, while a size that is late more often has to show.
 *
 * @param sizes Batch sizes, ascending from 1.
 * @param times Samples of each size; those of the same number belong to the same round.
 * @param rounds Numbers of the rounds to look at, each as often as it is named; default: all.
 */
export function curveExcess(
  sizes: readonly number[],
  times: readonly ArrayLike<number>[],
  rounds: ArrayLike<number> = roundsOf(times),
): number {
  const single = times[0]!;
  const pick = (of: ArrayLike<number>): number[] => Array.from(rounds, (round) => of[round]!);
  const best = Math.min(...times.map((samples, i) => middleMean(pick(samples)) / sizes[i]!));
  const excess = times.map((samples, i) => {
    const rest = (sizes[i]! - 1) * best;
    return middleMean(Array.from(rounds, (round) => samples[round]! / (single[round]! + rest)));
  });
  return Math.max(...excess);
}

/**
 * G6, second half: the worst ratio of a size's time per page to that of any smaller size, by the
 * same rule.
 */
export function curveSetback(
  sizes: readonly number[],
  times: readonly ArrayLike<number>[],
  rounds: ArrayLike<number> = roundsOf(times),
): number {
  let worst = 0;
  for (let large = 1; large < sizes.length; large++) {
    for (let small = 0; small < large; small++) {
      const [ours, theirs] = [times[large]!, times[small]!];
      const ratio = middleMean(Array.from(rounds, (round) => ours[round]! / theirs[round]!));
      worst = Math.max(worst, (ratio * sizes[small]!) / sizes[large]!);
    }
  }
  return worst;
}

function roundsOf(times: readonly ArrayLike<number>[]): number[] {
  return Array.from(times[0]!, (_, round) => round);
}
