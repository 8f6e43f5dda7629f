/*
 * The statistics against values worked out by hand, and against synthetic noise whose truth is
 * known.
 */
import { describe, expect, test } from 'vitest';
import {
  bootstrap,
  coefficientOfVariation,
  differs,
  mean,
  median,
  medianEstimate,
  medianIntervalRank,
  pairedOrder,
  pairedRatio,
  middleMean,
  quantile,
} from '../../../bench/stats.ts';
import { Prng } from '../../../src/base/prng.ts';

const SEED = 20261121;

/** Skewed, two-mode noise around `centre`, like completion times of a busy machine. */
function noisyTime(random: Prng, centre: number): number {
  const u = random.nextU32() / 2 ** 32;
  const v = random.nextU32() / 2 ** 32;
  const slowMode = random.chance(0.2) ? 3 : 1;
  return centre * slowMode * (1 + 0.2 * -Math.log(1 - u * 0.999) + 0.05 * v);
}

function noisyTimes(random: Prng, centre: number, n: number): number[] {
  return Array.from({ length: n }, () => noisyTime(random, centre));
}

describe('order statistics', () => {
  test('the median of an odd count is the middle value, in any order of input', () => {
    expect(median([9, 1, 5])).toBe(5);
  });

  test('the median of an even count lies between the two middle values', () => {
    expect(median([1, 2, 4, 100])).toBe(3);
  });

  test('the mean of the middle half leaves out a quarter at each end, rounded down', () => {
    expect(middleMean([900, 2, 1, 4, 3, 6, 5, -900])).toBe(3.5);
    expect(middleMean([1, 2, 6])).toBe(3);
    expect(middleMean([7])).toBe(7);
    expect(middleMean([])).toBeNaN();
    // It goes from one mode to the other without a jump.
    const modes = (late: number) => Array.from({ length: 100 }, (_, i) => (i < late ? 3 : 1));
    expect([25, 49, 51, 75].map((late) => middleMean(modes(late)))).toEqual([1, 1.96, 2.04, 3]);
  });

  test('quantiles interpolate, and reach the extremes', () => {
    const values = [10, 20, 30, 40, 50];
    expect(quantile(values, 0)).toBe(10);
    expect(quantile(values, 0.9)).toBeCloseTo(46, 12);
    expect(quantile(values, 1)).toBe(50);
  });

  test('sorting is by number, not by text, and leaves the input alone', () => {
    const values = [100, 9, 20];
    expect(median(values)).toBe(20);
    expect(values).toEqual([100, 9, 20]);
  });

  test('no samples give NaN, one sample gives itself', () => {
    expect(median([])).toBeNaN();
    expect(median([7])).toBe(7);
  });

  test('mean and variation of a known set', () => {
    expect(mean([2, 4, 6])).toBe(4);
    expect(coefficientOfVariation([2, 4, 6])).toBe(0.5);
    expect(coefficientOfVariation([3])).toBe(0);
  });
});

describe('intervals', () => {
  test('the ranks of the exact median interval are the tabulated ones', () => {
    // n = 5 has no 95% interval; tables give ranks 1 (of 6 to 8), 2 (9 to 11), 4 (15), 5 (of 17).
    expect([5, 6, 8, 9, 15, 17].map(medianIntervalRank)).toEqual([0, 0, 0, 1, 3, 4]);
    // About n / 2 - 0.98 sqrt(n), also where 2^-n is no number.
    expect([1000, 1074, 1075, 1500, 10_000].map(medianIntervalRank)).toEqual([
      468, 504, 504, 711, 4901,
    ]);
  });

  test('an interval contains its value and shrinks with more samples', () => {
    const random = new Prng(SEED);
    const few = medianEstimate(noisyTimes(random, 100, 10), random);
    const many = medianEstimate(noisyTimes(random, 100, 1000), random);
    expect(few.ci[0]).toBeLessThanOrEqual(few.value);
    expect(few.ci[1]).toBeGreaterThanOrEqual(few.value);
    expect(many.ci[1] - many.ci[0]).toBeLessThan((few.ci[1] - few.ci[0]) / 2);
  });

  test('the same seed gives the same interval, another seed may not', () => {
    const values = noisyTimes(new Prng(1), 100, 40);
    const run = (seed: number) =>
      bootstrap([values], (groups) => median(groups[0]!), new Prng(seed)).ci;
    expect(run(5)).toEqual(run(5));
    expect(run(5)).not.toEqual(run(6));
  });

  test('a statistic of several groups resamples each group on its own', () => {
    const constant = bootstrap(
      [
        [6, 6, 6],
        [2, 2],
      ],
      ([a, b]) => median(a!) / median(b!),
      new Prng(SEED),
    );
    expect(constant).toEqual({ value: 3, ci: [3, 3] });
  });

  test('samples that are all equal give an interval without width', () => {
    expect(medianEstimate([4, 4, 4, 4, 4], new Prng(1))).toEqual({ value: 4, ci: [4, 4] });
  });
});

describe('paired comparisons', () => {
  test('the order is A, B, B, A and over again', () => {
    expect(pairedOrder(4).join('')).toBe('abbaabba');
  });

  test('each side comes first as often as the other, so that a drift cancels', () => {
    const order = pairedOrder(16);
    const positions = { a: 0, b: 0 };
    order.forEach((side, at) => {
      positions[side] += at;
    });
    expect(positions.a).toBe(positions.b);
  });

  test('a drift that both sides share leaves the ratio alone', () => {
    const a: number[] = [];
    const b: number[] = [];
    pairedOrder(20).forEach((side, at) => {
      if (side === 'a') a.push(200 * (1 + at / 10));
      else b.push(100 * (1 + at / 10));
    });
    expect(pairedRatio(a, b, new Prng(1)).value).toBeCloseTo(2, 1);
  });

  test.each([8, 15, 16, 31])(
    `A/A runs with %i pairs are called different at most once in 20 (seed ${SEED})`,
    (pairs) => {
      const random = new Prng(SEED).fork(`aa${pairs}`);
      const runs = 600;
      let different = 0;
      for (let run = 0; run < runs; run++) {
        const a = noisyTimes(random, 100, pairs);
        const b = noisyTimes(random, 100, pairs);
        if (differs(pairedRatio(a, b, random))) different += 1;
      }
      expect(different / runs).toBeLessThanOrEqual(0.05);
    },
  );

  test(`a real difference of a factor two is found (seed ${SEED})`, () => {
    const random = new Prng(SEED).fork('ab');
    const runs = 100;
    let different = 0;
    for (let run = 0; run < runs; run++) {
      const a = noisyTimes(random, 200, 15);
      const b = noisyTimes(random, 100, 15);
      if (differs(pairedRatio(a, b, random))) different += 1;
    }
    expect(different / runs).toBeGreaterThan(0.7);
  });
});
