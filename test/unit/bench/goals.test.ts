/*
 * Goals on synthetic samples: bounds, the batching curve, which part a row shows, what a run
 * without a suite says.
 */
import { describe, expect, test } from 'vitest';
import {
  curveExcess,
  curveSetback,
  judge,
  limitOf,
  strain,
  withLimit,
} from '../../../bench/goal-parts.ts';
import { GOAL_IDS, goalRows } from '../../../bench/goals.ts';
import { median } from '../../../bench/stats.ts';
import { SUITE_NAMES } from '../../../bench/types.ts';
import type { GoalPart } from '../../../bench/types.ts';
import { Prng } from '../../../src/base/prng.ts';

const SIZES = [1, 2, 4, 8];

/** Samples around times, one array a size. */
function around(times: readonly number[]): number[][] {
  return times.map((time) => [time * 0.98, time, time * 1.02]);
}

describe('judge', () => {
  const estimate = (value: number) => ({ value, ci: [value - 1, value + 1] as const });

  test('an upper bound holds at the bound and not above', () => {
    expect(judge('x', estimate(100), '<=', 100).holds).toBe(true);
    expect(judge('x', estimate(100.1), '<=', 100).holds).toBe(false);
  });

  test('a lower bound holds at the bound and not below', () => {
    expect(judge('x', estimate(2.5), '>=', 2.5).holds).toBe(true);
    expect(judge('x', estimate(2.4), '>=', 2.5).holds).toBe(false);
  });

  test('strain is above 1 exactly for a missed bound, in both directions', () => {
    expect(strain(judge('x', estimate(120), '<=', 100))).toBeCloseTo(1.2, 12);
    expect(strain(judge('x', estimate(2), '>=', 2.5))).toBeCloseTo(1.25, 12);
    expect(strain(judge('x', estimate(5), '>=', 2.5))).toBeCloseTo(0.5, 12);
  });
});

describe('the batching curve', () => {
  test('a round trip and a constant cost a page give an excess of 1', () => {
    // 400 us and 2 us a page: the best cost a page is that of the largest batch.
    const times = SIZES.map((n) => 400 + 2 * (n - 1));
    const best = times[3]! / 8;
    expect(curveExcess(SIZES, around(times))).toBeLessThanOrEqual(1);
    expect(best).toBeGreaterThan(2);
  });

  test('one batch size that waits twice is found', () => {
    expect(curveExcess(SIZES, around([100, 110, 300, 120]))).toBeCloseTo(300 / 145, 3);
  });

  test('answers at two speeds, slow ones a bit more often for one size, are no excess', () => {
    const random = new Prng(7);
    const of = (late: number): number[] =>
      Array.from({ length: 300 }, () => (random.below(100) < late ? 900 : 300));
    const sizes = [1, 2, 4, 512];
    const times = [of(45), of(55), of(50), of(55)];
    expect(median(times[1]!) / median(times[0]!)).toBe(3);
    expect(curveExcess(sizes, times)).toBeLessThan(1.3);
    const slower = times.with(
      2,
      times[2]!.map((time) => time * 1.5),
    );
    expect(curveExcess(sizes, slower)).toBeGreaterThan(1.3);
  });

  test('a size whose answers are late much more often shows, though half of them are not', () => {
    const random = new Prng(8);
    const of = (late: number): number[] =>
      Array.from({ length: 300 }, () => (random.below(100) < late ? 900 : 300));
    const times = [of(10), of(48), of(10), of(10)];
    expect(median(times[1]!)).toBe(median(times[0]!));
    expect(curveExcess([1, 2, 4, 512], times)).toBeGreaterThan(1.5);
  });

  test('only the rounds that are named count, as often as they are', () => {
    const times = [
      [100, 100, 100],
      [100, 400, 100],
    ];
    expect(curveExcess([1, 2], times, [0, 2])).toBeCloseTo(1, 6);
    expect(curveExcess([1, 2], times, [1, 1, 1])).toBeCloseTo(400 / 200, 6);
    expect(curveExcess([1, 2], times, [0, 1])).toBeCloseTo((0.5 + 2) / 2, 6);
    expect(curveSetback([1, 2], times, [0, 2])).toBeCloseTo(0.5, 6);
    expect(curveSetback([1, 2], times, [1, 1, 1])).toBeCloseTo(2, 6);
  });

  test('time a page that only falls has no setback', () => {
    expect(curveSetback(SIZES, around([100, 110, 130, 170]))).toBeLessThan(1);
  });

  test('a batch that costs more a page than a smaller one is measured by it', () => {
    expect(curveSetback(SIZES, around([100, 100, 300, 300]))).toBeCloseTo(1.5, 6);
  });

  test('a setback against the best of all smaller sizes, not only the last', () => {
    expect(curveSetback(SIZES, around([100, 80, 200, 480]))).toBeCloseTo(1.5, 6);
  });
});

describe('rows', () => {
  const ci = [1, 2] as const;
  const good = { what: 'good', value: 1, ci, comparison: '<=', target: 2, holds: true } as const;
  const bad = { what: 'bad', value: 3, ci, comparison: '<=', target: 2, holds: false } as const;
  const limit = { what: 'a wall', value: 2.9, samples: [2.9] };
  const row = (parts: readonly GoalPart[]) =>
    goalRows([{ id: 'G11', parts }], ['mm'], 'webgpu').find(({ id }) => id === 'G11')!;

  test('there is a row for each of the 20 goals, in order, and one for the TLB', () => {
    expect(GOAL_IDS).toEqual([...Array.from({ length: 20 }, (_, i) => `G${i + 1}`), 'TLB']);
    expect(goalRows([], SUITE_NAMES, 'webgpu').map(({ id }) => id)).toEqual(GOAL_IDS);
  });

  test('a goal holds when all its parts do, and shows the most strained', () => {
    expect(row([good, { ...good, what: 'tight', value: 1.9 }])).toMatchObject({
      holds: true,
      what: 'tight',
      value: 1.9,
    });
  });

  test('one missed part is a missed goal, and its limit is kept', () => {
    expect(row([good, { ...bad, limit }, good])).toMatchObject({
      holds: false,
      what: 'bad',
      limit,
    });
  });

  test('a limit belongs to a missed part, and only if it lies beyond the bound, too', () => {
    expect(withLimit(bad, limit)).toEqual({ ...bad, limit });
    expect(withLimit(good, limit)).toEqual(good);
    const near = { ...limit, value: 2 };
    expect(withLimit(bad, near)).toEqual(bad);
    const slow = { ...bad, comparison: '>=', target: 4 } as const;
    expect(withLimit(slow, limit)).toEqual({ ...slow, limit });
    expect(withLimit(slow, { ...limit, value: 4 })).toEqual(slow);
  });

  test('a limit is the quotient of its sides by rounds, and tells how far ours is from it', () => {
    const sides = { over: [3, 1, 2], under: [1, 1, 4], ours: [3.3, 1.2, 1.8], least: [3, 1, 2] };
    const { beyond, ...rest } = limitOf('a wall', sides, new Prng(1));
    expect(rest).toEqual({ what: 'a wall', value: 1, samples: [3, 1, 0.5] });
    expect(beyond!.value).toBeCloseTo(1.1, 12);
    expect(beyond!.ci.map((end) => end.toFixed(2))).toEqual(['0.90', '1.20']);
  });

  test('a goal that a sweep decides by the way has no verdict where nobody asked for it', () => {
    const of = (isAsked: (id: string) => boolean) =>
      goalRows([{ id: 'G11', parts: [good] }], ['mm'], 'webgpu', isAsked)[10];
    expect(of(() => true)).toMatchObject({ id: 'G11', holds: true });
    expect(of(() => false)).toMatchObject({ holds: null, why: 'this run was not asked for it' });
  });

  test('a goal that this adapter can not decide is neither held nor missed, and says why', () => {
    const why = 'needs a GPU';
    const rows = goalRows([{ id: 'G16', parts: [], why }], SUITE_NAMES, 'webgpu');
    const open = { holds: null, value: null, why };
    expect(rows.find(({ id }) => id === 'G16')).toMatchObject(open);
  });

  test('a goal says which suite it would need', () => {
    const rows = goalRows([], ['copy'], 'webgpu');
    expect(rows.find(({ id }) => id === 'G11')?.why).toContain('suite mm');
  });

  test('on the CPU engine goals about WebGPU are open, bookkeeping is not', () => {
    const rows = goalRows([{ id: 'G11', parts: [good] }], SUITE_NAMES, 'cpu');
    expect(rows.find(({ id }) => id === 'G4')?.why).toContain('CPU engine');
    expect(rows.find(({ id }) => id === 'G11')?.holds).toBe(true);
  });

  test('a goal whose cells failed is open, not held', () => {
    const rows = goalRows([{ id: 'G4', parts: [] }], SUITE_NAMES, 'webgpu');
    expect(rows.find(({ id }) => id === 'G4')).toMatchObject({
      holds: null,
      why: 'a cell that it rests on failed or was left out',
    });
  });
});
