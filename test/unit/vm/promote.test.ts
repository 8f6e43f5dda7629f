/*
 * Entries for 2 MiB in a context's page table: made of 512 pages that lie one behind the other, and
 * given up for single pages when one of them changes.
 */
import { expect, it } from 'vitest';
import { PTE_ALL, PTE_BLOCK, PTE_KILL_WRITE, PTE_READ } from '../../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';

const PAGE = 4096;
const BASE = 4 * 2 ** 20;

function blocksIn(space: DeviceSpace): number {
  return space.words.subarray(0, 2048).filter((entry) => (entry & PTE_BLOCK) !== 0).length;
}

it('a part that is refused, or mapped otherwise, leaves pages; all alike are one again', () => {
  const space = new DeviceSpace(1);
  for (let page = 0; page < 512; page++) {
    expect(space.promote(BASE)).toBe(false);
    space.mapPage(BASE + page * PAGE, 100 + page, PTE_ALL);
  }
  expect(space.promote(BASE + 5 * PAGE)).toBe(true);
  expect(space.blocks).toEqual({ made: 1, split: 0 });
  // What is as it was splits nothing.
  space.mapPage(BASE + 9 * PAGE, 109, PTE_ALL);
  expect(blocksIn(space)).toBe(1);
  space.unmapPage(BASE + 9 * PAGE, PTE_KILL_WRITE);
  expect(space.blocks).toEqual({ made: 1, split: 1 });
  expect(space.entryOf(BASE + 9 * PAGE)).toBe(PTE_KILL_WRITE);
  expect(space.entryOf(BASE + 10 * PAGE) >>> 8).toBe(110);
  expect(space.promote(BASE)).toBe(false);
  space.mapPage(BASE + 9 * PAGE, 109, PTE_READ);
  expect(space.promote(BASE)).toBe(false);
  space.mapPage(BASE + 9 * PAGE, 109, PTE_ALL);
  expect(space.promote(BASE)).toBe(true);
  expect(space.blocks).toEqual({ made: 2, split: 1 });
  // Only what lies in the range whole goes whole.
  space.unmapBlocks(BASE / PAGE + 1, BASE / PAGE + 512);
  expect(blocksIn(space)).toBe(1);
  space.unmapBlocks(BASE / PAGE, BASE / PAGE + 512);
  expect([blocksIn(space), space.entryOf(BASE)]).toEqual([0, 0]);
  expect(space.promote(BASE)).toBe(false);
});
