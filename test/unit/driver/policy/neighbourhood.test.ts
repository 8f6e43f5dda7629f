/**
 * UVMSmart's prefetchers and tree eviction. Oracles: the six steps of the published logs, their
 * ratio of faults with the random prefetcher, and the mirror image of filling.
 */
import { expect, test } from 'vitest';
import { Prng } from '../../../../src/base/prng.ts';
import {
  emptyNeighbourhood,
  fillNeighbourhood,
  randomNeighbour,
} from '../../../../src/driver/policy/neighbourhood.ts';

function pagesIn(mask: Uint8Array): number {
  return mask.reduce((sum, one) => sum + one, 0);
}

function fill(valid: Uint8Array, page: number, outer = 512): number {
  const out = new Uint8Array(512);
  fillNeighbourhood(valid, page, 0, outer, out);
  return pagesIn(out);
}

function empty(valid: Uint8Array, page: number, outer = 512): number {
  const out = new Uint8Array(512);
  emptyNeighbourhood(valid, page, 0, outer, out);
  return pagesIn(out);
}

test('a tree fills in six steps', () => {
  const valid = new Uint8Array(512);
  const steps: number[] = [];
  for (let page = 0; page < 512; page += 16) if (valid[page] === 0) steps.push(fill(valid, page));
  expect(steps).toEqual([16, 16, 32, 64, 128, 256]);
});

test('exactly half of a node does not fill it, one page more does', () => {
  const half = new Uint8Array(512).fill(1, 16, 32);
  expect(fill(half, 40)).toBe(16);
  const more = new Uint8Array(512).fill(1, 15, 32);
  expect(fill(more, 40)).toBe(64 - 17);
});

test('a full tree empties in six steps, the mirror image', () => {
  const valid = new Uint8Array(512).fill(1);
  const steps: number[] = [];
  for (let page = 0; page < 512; page += 16) if (valid[page] === 1) steps.push(empty(valid, page));
  expect(steps).toEqual([16, 16, 32, 64, 128, 256]);
});

test('a node of which exactly half is left is not emptied, one page less is', () => {
  const half = new Uint8Array(512).fill(1);
  expect(empty(half, 0)).toBe(16);
  const less = new Uint8Array(512).fill(1);
  less[31] = 0;
  expect(empty(less, 0)).toBe(31);
});

test('a ragged end counts the pages that exist', () => {
  const valid = new Uint8Array(512);
  expect([fill(valid, 0, 24), fill(valid, 16, 24)]).toEqual([24, 0]);
});

test('with random prefetch a sweep takes about ln 2 of the faults, as the logs do', () => {
  const prng = new Prng(19);
  let faults = 0;
  for (let block = 0; block < 50; block++) {
    const valid = new Uint8Array(512);
    for (let page = 0; page < 512; page++) {
      if (valid[page] === 1) continue;
      faults++;
      valid[page] = 1;
      const other = randomNeighbour(valid, 0, 512, prng);
      if (other >= 0) valid[other] = 1;
    }
  }
  // Published: 4718/6785, 1725/2491, 3018/4224 and 2137/3072, so 0.69 to 0.71.
  expect(faults / (50 * 512)).toBeGreaterThan(0.68);
  expect(faults / (50 * 512)).toBeLessThan(0.715);
});
