/*
 * Reading the heap: who answers, and that a garbage collection in between is no measurement.
 */
import { describe, expect, test } from 'vitest';
import { askedHeap, growthOf, nodeHeap } from '../../../bench/heap.ts';
import type { HeapReader } from '../../../bench/heap.ts';

/** A heap that is so large at one look after the other. */
function heapOf(sizes: readonly number[]): HeapReader {
  let looks = 0;
  return { isBrowser: true, used: () => sizes[looks++] ?? 0 };
}

describe('growth', () => {
  test('is the difference of two looks', async () => {
    let runs = 0;
    expect(await growthOf(heapOf([100, 350]), () => void runs++)).toBe(250);
    expect(runs).toBe(1);
  });

  test('is measured again when the heap has shrunk meanwhile', async () => {
    let runs = 0;
    expect(await growthOf(heapOf([100, 99, 50, 80]), () => void runs++)).toBe(30);
    expect(runs).toBe(2);
  });

  test('of a heap that always shrinks is not a number', async () => {
    expect(await growthOf(heapOf([6, 5, 4, 3]), () => {}, 2)).toBe(Number.NaN);
  });
});

describe('a reader', () => {
  test('in Node is this process', async () => {
    const heap = nodeHeap();
    expect(heap?.isBrowser).toBe(false);
    expect(await heap?.used()).toBeGreaterThan(1e6);
  });

  test('that asks is there if the first answer is', async () => {
    expect(await askedHeap(() => Promise.resolve(null))).toBe(null);
    const heap = await askedHeap(() => Promise.resolve(7));
    expect([heap?.isBrowser, await heap?.used()]).toEqual([true, 7]);
  });

  test('that gets no answer any more fails', async () => {
    const answers = [5, null];
    const heap = await askedHeap(() => Promise.resolve(answers.shift() ?? null));
    await expect(heap?.used()).rejects.toThrow('does not tell the size of the heap any more');
  });
});
