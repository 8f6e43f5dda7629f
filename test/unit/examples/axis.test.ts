/* Round numbers on a line, and dashes as backgrounds. */
import { describe, expect, test } from 'vitest';
import { linearTicks } from '../../../examples/_shell/axis.ts';

describe('round numbers on a line', () => {
  test('are as many as there is room for, inside of it', () => {
    expect(linearTicks(0, 10, 5)).toEqual([0, 5, 10]);
    expect(linearTicks(25_400, 27_740, 6)).toEqual([25_500, 26_000, 26_500, 27_000, 27_500]);
    expect(linearTicks(0, 1, 1)).toHaveLength(1);
    for (const most of [1, 2, 3, 6, 9]) {
      for (const [min, max] of [
        [0, 0.003],
        [3, 3.5],
        [10.4, 12.8],
        [1e6, 1e6 + 7],
      ] as const) {
        const ticks = linearTicks(min, max, most);
        expect(ticks.length).toBeLessThanOrEqual(most);
        expect(ticks.every((at) => at >= min - 1e-9 && at <= max + 1e-9)).toBe(true);
        if (most >= 3) expect(ticks.length).toBeGreaterThan(0);
      }
    }
  });

  test('of a point is that point', () => {
    expect(linearTicks(4, 4, 5)).toEqual([4]);
  });
});
