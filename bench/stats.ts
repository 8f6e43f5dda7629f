/**
 * Statistics of the benchmark. Times on a shared machine are skewed and have several modes, so
 * everything rests on order statistics: medians, quantiles, and percentile bootstrap intervals.
 * Resampling is seeded: the same samples give the same report.
 *
 * Ratios come from pairs. A and B are run as A, B, B, A, so that a drift of the machine falls on
 * both sides alike; each neighbouring pair gives one ratio, and the value is the median of the
 * ratios.
 *
 * The interval of a median is the distribution-free one (order statistics at the binomial
 * quantiles) where it is wider than the bootstrap's: for few samples the percentile bootstrap
 * alone is too narrow, and a comparison of a thing with itself would then be called different in
 * more than one of 20 runs.
 */

/** A source of random 32-bit words; src/base/prng.ts has one. */
export interface RandomSource {
  below(bound: number): number;
}

/** A value with its 95% interval. */
export interface Estimate {
  readonly value: number;
  readonly ci: readonly [number, number];
}

/** Resamples of a bootstrap interval. */
const RESAMPLES = 1000;
const LOW = 0.025;
const HIGH = 0.975;

function sorted(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values).sort();
}

/** Quantile of an ascending array, interpolated between neighbours. */
function sortedQuantile(ascending: Float64Array, q: number): number {
  const at = (ascending.length - 1) * q;
  const below = Math.floor(at);
  const low = ascending[below]!;
  const high = ascending[Math.min(below + 1, ascending.length - 1)]!;
  return low + (high - low) * (at - below);
}

/**
 * Quantile `q` (0 to 1) of a non-empty array in any order, interpolated. NaN for an empty one.
 */
export function quantile(values: ArrayLike<number>, q: number): number {
  return values.length === 0 ? Number.NaN : sortedQuantile(sorted(values), q);
}

/** The median; NaN for an empty array. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/**
 * Mean of the middle half: as blind to outliers as it has to be and, unlike a median, without a
 * jump where values have two modes and half of them lie in each. NaN for an empty array.
 */
export function middleMean(values: ArrayLike<number>): number {
  const ascending = sorted(values);
  const cut = Math.floor(ascending.length / 4);
  return mean([...ascending.subarray(cut, ascending.length - cut)]);
}

/** Arithmetic mean; NaN for an empty array. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Standard deviation (n - 1) over mean; 0 for fewer than two values. */
export function coefficientOfVariation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1)) / centre;
}

/**
 * Percentile bootstrap of any statistic of several groups of samples: each group is resampled on
 * its own.
 *
 * @param statistic Of the resampled groups, in the order given.
 * @returns the statistic of the samples themselves and its 95% interval.
 */
export function bootstrap(
  groups: readonly (readonly number[])[],
  statistic: (groups: readonly Float64Array[]) => number,
  random: RandomSource,
): Estimate {
  const value = statistic(groups.map((group) => Float64Array.from(group)));
  const drawn = groups.map((group) => new Float64Array(group.length));
  const results = new Float64Array(RESAMPLES);
  for (let round = 0; round < RESAMPLES; round++) {
    groups.forEach((group, g) => {
      const into = drawn[g]!;
      for (let i = 0; i < into.length; i++) into[i] = group[random.below(group.length)]!;
    });
    results[round] = statistic(drawn);
  }
  results.sort();
  const low = Math.min(value, sortedQuantile(results, LOW));
  const high = Math.max(value, sortedQuantile(results, HIGH));
  return { value, ci: [low, high] };
}

/**
 * Rank (from 0) of the lower end of the distribution-free 95% interval of a median of n samples:
 * the largest r with P(Binomial(n, 1/2) <= r) <= 2.5%, counted so that the interval is [x(r),
 * x(n-1-r)]. 0 when n is too small for any such interval (n < 6); the whole range is then the
 * best there is.
 */
export function medianIntervalRank(n: number): number {
  // As a logarithm: of more than a thousand samples the first term is no number any more.
  let logTerm = n * Math.log(0.5);
  let sum = 0;
  let rank = -1;
  for (let k = 0; k <= n; k++) {
    sum += Math.exp(logTerm);
    if (sum > LOW) break;
    rank = k;
    logTerm += Math.log((n - k) / (k + 1));
  }
  return Math.max(0, rank);
}

/** The median with its 95% interval, the wider of bootstrap and order statistics. */
export function medianEstimate(values: readonly number[], random: RandomSource): Estimate {
  const boot = bootstrap([values], (groups) => median(groups[0]!), random);
  if (values.length === 0) return boot;
  const ascending = sorted(values);
  const rank = medianIntervalRank(values.length);
  const low = Math.min(boot.ci[0], ascending[rank]!);
  const high = Math.max(boot.ci[1], ascending[ascending.length - 1 - rank]!);
  return { value: boot.value, ci: [low, high] };
}

/**
 * The ratio a / b of two sides that were run in pairs.
 *
 * @param a Samples of one side. @param b Of the other; b[i] was measured next to a[i].
 */
export function pairedRatio(
  a: readonly number[],
  b: readonly number[],
  random: RandomSource,
): Estimate {
  const pairs = Math.min(a.length, b.length);
  const ratios = Array.from({ length: pairs }, (_, i) => a[i]! / b[i]!);
  return medianEstimate(ratios, random);
}

/** True when an interval of a ratio says that the two sides differ. */
export function differs(ratio: Estimate): boolean {
  return ratio.ci[0] > 1 || ratio.ci[1] < 1;
}

/** One side of a paired comparison. */
export type Side = 'a' | 'b';

/** The order A, B, B, A, A, B, ... of `pairs` pairs. */
export function pairedOrder(pairs: number): Side[] {
  return Array.from({ length: pairs }, (_, i): Side[] =>
    i % 2 === 0 ? ['a', 'b'] : ['b', 'a'],
  ).flat();
}
