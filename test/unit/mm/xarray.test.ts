import { expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { XArray } from '../../../src/mm/xarray.ts';

function indices(array: XArray, from = 0, end = Infinity): number[] {
  const found: number[] = [];
  for (let at = array.next(from, end); at < end; at = array.next(at + 1, end)) found.push(at);
  return found;
}

test('what was put is found, nothing else', () => {
  const array = new XArray();
  expect(array.set(511, 7)).toBe(0);
  expect([array.get(510), array.get(511), array.get(512)]).toEqual([0, 7, 0]);
  expect(array.set(511, 8)).toBe(7);
  expect(array.set(511, 0)).toBe(8);
  expect([array.get(511), indices(array)]).toEqual([0, []]);
  expect(array.set(3, 0)).toBe(0);
});

test('next finds the first index of the range, however far away', () => {
  const array = new XArray();
  for (const index of [2 ** 40, 5, 511, 512, 70_000]) array.set(index, 1);
  expect(indices(array)).toEqual([5, 511, 512, 70_000, 2 ** 40]);
  expect(indices(array, 6, 512)).toEqual([511]);
  expect(indices(array, 512, 513)).toEqual([512]);
  expect(array.next(513, 600)).toBe(600);
  expect(array.next(0, 0)).toBe(0);
});

test('agrees with a map', () => {
  const seed = 20_001;
  const random = new Prng(seed);
  const array = new XArray();
  const model = new Map<number, number>();
  for (let step = 0; step < 4000; step++) {
    const index = random.below(3000);
    const pfn = random.below(3);
    expect(array.set(index, pfn), `seed ${seed} step ${step}`).toBe(model.get(index) ?? 0);
    if (pfn === 0) model.delete(index);
    else model.set(index, pfn);
  }
  const keys = [...model.keys()].toSorted((a, b) => a - b);
  expect(indices(array), `seed ${seed}`).toEqual(keys);
});
