/*
 * The clock's granularity is found, and samples are made long against it.
 */
import { describe, expect, test } from 'vitest';
import { chainLength, detectTickUs, nowUs } from '../../../bench/clock.ts';

/** A clock that shows multiples of `tick` and advances by `step` at each reading. */
function steppingClock(tick: number, step: number): () => number {
  let time = 1000;
  return () => {
    time += step;
    return Math.floor(time / tick) * tick;
  };
}

describe('detectTickUs', () => {
  test.each([5, 100, 0.5])('finds a tick of %d us', (tick) => {
    expect(detectTickUs(steppingClock(tick, tick / 7))).toBeCloseTo(tick, 6);
  });

  test('a step over several ticks does not hide a single one', () => {
    const values = [0, 15, 30, 35, 50];
    let at = 0;
    expect(detectTickUs(() => values[Math.min(at++, values.length - 1)]!)).toBe(5);
  });

  test('a clock that stands still gives 0 instead of hanging', () => {
    expect(detectTickUs(() => 42)).toBe(0);
  });

  test("this machine's clock ticks below a millisecond", () => {
    expect(nowUs()).toBeLessThanOrEqual(nowUs());
    expect(detectTickUs()).toBeLessThan(1000);
  });
});

describe('chainLength', () => {
  test('an operation of 20 ticks is not chained, one just below is', () => {
    expect(chainLength(100, 5)).toBe(1);
    expect(chainLength(99.9, 5)).toBe(2);
  });

  test('a short operation is chained until 20 ticks are filled', () => {
    expect(chainLength(1, 5)).toBe(100);
    expect(chainLength(1, 100)).toBe(2000);
  });

  test('an operation too short to be seen is chained, and within reason', () => {
    expect(chainLength(0, 5)).toBeGreaterThan(1);
    expect(chainLength(1e-9, 100)).toBeLessThanOrEqual(100_000);
  });

  test('a clock without a tick needs no chain', () => {
    expect(chainLength(3, 0)).toBe(1);
  });
});
