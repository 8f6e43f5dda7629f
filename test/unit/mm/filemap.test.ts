/* Reading and writing objects by file descriptor (src/mm/filemap.ts). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { filemapRead, genericFileWrite } from '../../../src/mm/filemap.ts';
import { mmput } from '../../../src/mm/fork.ts';
import { MAP_PRIVATE } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { PG_DIRTY } from '../../../src/mm/page.ts';
import { shmemPut } from '../../../src/mm/shmem.ts';
import type { ShmemInode } from '../../../src/mm/shmem.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { expectSync, load, makeMm, makeSystem, pteAt, store } from './fixture.ts';
import { makeFile, makeFilledFile, mapFile, readFile } from './file-rig.ts';

let sys: System;
let mm: MmStruct;
let inode: ShmemInode;

beforeEach(() => {
  sys = makeSystem();
  mm = makeMm(sys);
  inode = makeFile(sys, 0);
});

afterEach(() => {
  checkInvariants(sys, { inodeHandles: new Map([[inode, 1]]) });
  shmemPut(inode);
  expectSync(mmput(mm));
  checkInvariants(sys);
});

function write(offset: number, ...bytes: number[]): Promise<number> {
  return genericFileWrite(inode, offset, Uint8Array.from(bytes));
}

describe('read', () => {
  test('stops at the end of the object', async () => {
    await write(0, 1, 2, 3);
    expect(readFile(inode, 1, 10)).toEqual([2, 3]);
    expect(readFile(inode, 2, 1)).toEqual([3]);
    expect(readFile(inode, 3, 1)).toEqual([]);
    expect(readFile(inode, 2 ** 52, 1)).toEqual([]);
  });

  test('of a hole gives zeroes and makes no page', async () => {
    await write(2 * PAGE_SIZE, 9);
    const bytes = readFile(inode, 0, PAGE_SIZE * 2 + 1);
    expect([bytes.pop(), bytes.length, bytes.every((byte) => byte === 0)]).toEqual([
      9,
      PAGE_SIZE * 2,
      true,
    ]);
    expect(inode.nrPages).toBe(1);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 60])('at offset %d is EINVAL', (offset) => {
    const bytes = Uint8Array.of(7);
    expect(filemapRead(inode, offset, bytes)).toBe(errno.EINVAL);
    expect(bytes[0]).toBe(7);
  });
});

describe('write', () => {
  test('crosses pages, makes them, marks them dirty, and grows the object', async () => {
    const bytes = new Uint8Array(PAGE_SIZE + 2).map((_, i) => i);
    expect(await genericFileWrite(inode, PAGE_SIZE - 1, bytes)).toBe(PAGE_SIZE + 2);
    expect([inode.size, inode.nrPages]).toEqual([2 * PAGE_SIZE + 1, 3]);
    expect(Buffer.from(readFile(inode, PAGE_SIZE - 1, PAGE_SIZE + 9)).equals(bytes)).toBe(true);
    for (const i of [0, 1, 2]) expect(sys.mem.testFlag(inode.cache.get(i), PG_DIRTY)).toBe(true);
  });

  test('inside leaves the size and the other bytes alone', async () => {
    await write(0, 1, 2, 3);
    await write(1, 8);
    expect(readFile(inode, 0, 9)).toEqual([1, 8, 3]);
  });

  test('of nothing changes nothing, even far away', async () => {
    expect(await write(99)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([0, 0]);
  });

  test('beyond the end clears what a mapping left behind it', async () => {
    await write(0, 1);
    const base = mapFile(mm, inode, 1);
    store(mm, base + 5, 66);
    await write(9, 2);
    expect(readFile(inode, 0, 10)).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
  });

  test.each([
    [-1, errno.EINVAL],
    [Number.NaN, errno.EINVAL],
    [Number.MAX_SAFE_INTEGER, errno.EFBIG],
  ])('at offset %d is %d', async (offset, status) => {
    expect(await write(offset, 1)).toBe(status);
    expect([inode.size, inode.nrPages]).toEqual([0, 0]);
  });

  test('reports what was written when memory runs out, ENOMEM when that is nothing', async () => {
    sys.pageAllocator.failAt = 2;
    const bytes = new Uint8Array(3 * PAGE_SIZE).fill(5);
    expect(await genericFileWrite(inode, 0, bytes)).toBe(PAGE_SIZE);
    expect(inode.size).toBe(PAGE_SIZE);
    sys.pageAllocator.failAt = 1;
    expect(await write(PAGE_SIZE, 1)).toBe(errno.ENOMEM);
    expect(inode.size).toBe(PAGE_SIZE);
  });

  test('waits for whoever has the page locked, then writes the page that is there', async () => {
    await write(0, 1);
    const pfn = inode.cache.get(0);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    const writing = write(0, 2);
    await Promise.resolve();
    expect(readFile(inode, 0, 1)).toEqual([1]);
    sys.mem.unlockPage(pfn);
    expect(await writing).toBe(1);
    expect(readFile(inode, 0, 1)).toEqual([2]);
  });
});

describe('file and mapping are one memory', () => {
  test('a shared mapping sees writes, reads see its stores, without another page', async () => {
    await write(0, 1, 2);
    const base = mapFile(mm, inode, 1);
    expect(load(mm, base + 1)).toBe(2);
    await write(1, 3);
    expect(load(mm, base + 1)).toBe(3);
    store(mm, base, 4);
    expect(readFile(inode, 0, 2)).toEqual([4, 3]);
    expect(inode.nrPages).toBe(1);
  });

  test('a private mapping sees writes until it stores; its stores stay its own', async () => {
    inode = (shmemPut(inode), await makeFilledFile(sys, 1));
    const base = mapFile(mm, inode, 1, MAP_PRIVATE);
    expect(load(mm, base)).toBe(1);
    await write(0, 50);
    expect(load(mm, base)).toBe(50);
    expect(pteAt(mm, base) >>> 9).toBe(inode.cache.get(0));
    store(mm, base + 1, 60);
    await write(0, 70);
    expect([load(mm, base), load(mm, base + 1)]).toEqual([50, 60]);
    expect(readFile(inode, 0, 2)).toEqual([70, 1]);
    expect([mm.anonRss, mm.shmemRss]).toEqual([1, 0]);
  });

  test('a page that a mapping dirtied says so when it is unmapped, a read one does not', () => {
    inode.size = 2 * PAGE_SIZE;
    const other = makeMm(sys);
    const base = mapFile(other, inode, 2);
    store(other, base, 1);
    load(other, base + PAGE_SIZE);
    expectSync(mmput(other));
    const dirty = [0, 1].map((i) => sys.mem.testFlag(inode.cache.get(i), PG_DIRTY));
    expect(dirty).toEqual([true, false]);
  });
});
