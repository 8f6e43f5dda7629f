/*
 * The device page table of a context: two levels, pages and blocks, and what is uploaded.
 */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import {
  PTE_ALL,
  PTE_BLOCK,
  PTE_FRAME_SHIFT,
  PTE_KILL_WRITE,
  PTE_NEVER,
  PTE_READ,
  PTE_WRITE,
  VM_NO_TABLE,
  VM_TABLE_WORDS,
} from '../../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';

const PAGE = 4096;
const BLOCK = 2 ** 21;
const LAST = 2 ** 32 - 1;

/** Frame and flags of an entry, or null for none. */
function at(space: DeviceSpace, address: number): [number, number] | null {
  const entry = space.entryOf(address);
  return entry === 0 ? null : [entry >>> PTE_FRAME_SHIFT, entry & 0xff];
}

/** What a flush uploads, as [first word, words]. */
function flushed(space: DeviceSpace): [number, number][] {
  const runs: [number, number][] = [];
  space.flush((first, words) => runs.push([first, words]));
  return runs;
}

test('a page is found at each of its bytes and nowhere else', () => {
  const space = new DeviceSpace(0);
  for (const [page, frame] of [
    [0, 7],
    [BLOCK / PAGE - 1, 8],
    [2 ** 19, 2 ** 20 - 1],
    [2 ** 20 - 1, 9],
  ] as const) {
    expect(space.mapPage(page * PAGE + 5, frame, PTE_READ)).toBe(0);
    expect(at(space, page * PAGE)).toEqual([frame, PTE_READ]);
    expect(at(space, page * PAGE + PAGE - 1)).toEqual([frame, PTE_READ]);
  }
  expect(at(space, PAGE)).toBe(null);
  expect(at(space, BLOCK)).toBe(null);
  expect(at(space, LAST - PAGE)).toBe(null);
});

test('bad arguments are EINVAL and change nothing', () => {
  const space = new DeviceSpace(0);
  flushed(space);
  for (const address of [-1, 2 ** 32, 1.5, Number.NaN, Infinity]) {
    expect(space.mapPage(address, 1, PTE_ALL)).toBe(errno.EINVAL);
    expect(space.mapBlock(address, 1, PTE_ALL)).toBe(errno.EINVAL);
    expect(space.unmapPage(address)).toBe(errno.EINVAL);
    expect(space.unmapBlock(address)).toBe(errno.EINVAL);
    expect(space.protectPage(address, PTE_READ)).toBe(errno.EINVAL);
  }
  for (const frame of [-1, 2 ** 20, 0.5]) {
    expect(space.mapPage(0, frame, PTE_ALL)).toBe(errno.EINVAL);
  }
  for (const flags of [PTE_NEVER, PTE_BLOCK, 256]) {
    expect(space.mapPage(0, 1, flags)).toBe(errno.EINVAL);
    expect(space.unmapPage(0, flags)).toBe(errno.EINVAL);
  }
  // A block needs 512 frames.
  expect(space.mapBlock(0, 2 ** 20 - 511, PTE_ALL)).toBe(errno.EINVAL);
  expect(space.mapBlock(0, -1, PTE_ALL)).toBe(errno.EINVAL);
  expect(flushed(space)).toEqual([]);
  expect(space.mapBlock(0, 2 ** 20 - 512, PTE_ALL)).toBe(0);
});

test('a block maps all of its pages, and one that changes splits it', () => {
  const space = new DeviceSpace(0);
  space.mapBlock(3 * BLOCK + 99, 1024, PTE_ALL);
  expect(at(space, 3 * BLOCK)?.[0]).toBe(1024);
  expect(at(space, 4 * BLOCK - 1)?.[0]).toBe(1024 + 511);
  expect(at(space, 3 * BLOCK - 1)).toBe(null);
  expect(at(space, 4 * BLOCK)).toBe(null);

  space.unmapPage(3 * BLOCK + 5 * PAGE);
  expect(at(space, 3 * BLOCK + 5 * PAGE)).toBe(null);
  expect(at(space, 3 * BLOCK + 4 * PAGE)).toEqual([1028, PTE_ALL]);
  expect(at(space, 3 * BLOCK + 6 * PAGE)).toEqual([1030, PTE_ALL]);

  // Whole again, and gone: nothing of the pages in between is left.
  space.mapBlock(3 * BLOCK, 512, PTE_READ);
  expect(at(space, 3 * BLOCK + 5 * PAGE)?.[0]).toBe(517);
  space.unmapBlock(3 * BLOCK + 77);
  expect(at(space, 3 * BLOCK + 4 * PAGE)).toBe(null);
  space.mapPage(3 * BLOCK, 1, PTE_READ);
  expect(at(space, 3 * BLOCK + 4 * PAGE)).toBe(null);
});

test('permissions change without the frame; what is not mapped is ENOENT', () => {
  const space = new DeviceSpace(0);
  expect(space.protectPage(PAGE, PTE_READ)).toBe(errno.ENOENT);
  space.mapPage(PAGE, 5, PTE_ALL);
  expect(space.protectPage(PAGE, PTE_READ | PTE_KILL_WRITE)).toBe(0);
  expect(at(space, PAGE)).toEqual([5, PTE_READ | PTE_KILL_WRITE]);
  space.unmapPage(PAGE, PTE_KILL_WRITE);
  expect(space.protectPage(PAGE, PTE_WRITE)).toBe(errno.ENOENT);
  expect(at(space, PAGE)).toEqual([0, PTE_KILL_WRITE]);
});

test('a flush uploads what changed, once', () => {
  const space = new DeviceSpace(0);
  // The directory and the table of zeros.
  expect(flushed(space)).toEqual([[0, VM_NO_TABLE + 512]]);
  expect(flushed(space)).toEqual([]);
  space.mapPage(0, 1, PTE_READ);
  expect(flushed(space)).toEqual([
    [0, 512],
    [VM_NO_TABLE + 512, 512],
  ]);
  space.mapPage(PAGE, 2, PTE_READ);
  expect(flushed(space)).toEqual([[VM_NO_TABLE + 512, 512]]);
  space.mapPage(LAST, 3, PTE_READ);
  const runs = flushed(space);
  expect(runs).toEqual([
    [1536, 512],
    [VM_TABLE_WORDS - 512, 512],
  ]);
});

test('an engine that is new to it gets what is in use, no more', () => {
  const space = new DeviceSpace(0);
  space.mapPage(7 * BLOCK, 1, PTE_READ);
  space.mapBlock(9 * BLOCK, 512, PTE_READ);
  flushed(space);
  space.markAllChanged();
  expect(flushed(space)).toEqual([
    [0, VM_NO_TABLE + 512],
    [VM_NO_TABLE + 512 * 8, 512],
  ]);
});
