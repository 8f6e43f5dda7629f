/*
 * Frames for the copy suite: aligned, apart from each other, scattered on demand.
 */
import { describe, expect, test } from 'vitest';
import { FramePool } from '../../../bench/frames.ts';
import { Prng } from '../../../src/base/prng.ts';

/** All frames of folios. */
function framesOf(folios: Uint32Array, folioPages: number): number[] {
  return Array.from(folios).flatMap((first) =>
    Array.from({ length: folioPages }, (_, page) => first + page),
  );
}

describe('FramePool', () => {
  test.each([1, 16, 512])('folios of %i pages are aligned, distinct and inside', (folioPages) => {
    const pool = new FramePool(700, 10_000);
    const a = pool.take(4, folioPages, new Prng(1))!;
    const b = pool.take(4, folioPages, new Prng(2))!;
    const frames = [...framesOf(a, folioPages), ...framesOf(b, folioPages)];
    expect(new Set(frames).size).toBe(8 * folioPages);
    expect(Math.min(...frames)).toBeGreaterThanOrEqual(700);
    expect(Math.max(...frames)).toBeLessThan(10_700);
    expect([...a, ...b].every((first) => first % folioPages === 0)).toBe(true);
  });

  test('scattered folios are hardly ever neighbours in order', () => {
    const frames = new FramePool(0, 4096).take(512, 1, new Prng(3))!;
    const runs = frames.filter((frame, at) => at > 0 && frame === frames[at - 1]! + 1).length;
    expect(runs).toBeLessThan(10);
    expect(Math.max(...frames)).toBeGreaterThan(900);
  });

  test('without a shuffler they are one range in order', () => {
    const frames = new FramePool(8, 100).take(50, 1, null)!;
    expect(Array.from(frames)).toEqual(Array.from({ length: 50 }, (_, i) => 8 + i));
  });

  test('the last folio that fits is given, one more is not', () => {
    const pool = new FramePool(0, 64);
    expect(pool.take(4, 16, null)).not.toBeNull();
    expect(pool.take(1, 16, null)).toBeNull();
    pool.reset();
    expect(pool.take(5, 16, null)).toBeNull();
    expect(pool.take(4, 16, new Prng(1))).not.toBeNull();
  });
});
