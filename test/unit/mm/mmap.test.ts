import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { MMAP_MIN_ADDR, PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { mmput } from '../../../src/mm/fork.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { MMAP_BASE, doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import type { MmapRequest } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import { FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { MAX_MAP_COUNT, linkVma, makeVma } from '../../../src/mm/vma.ts';
import { findVma, vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  loadOutcome,
  makeMm,
  makeSystem,
  mapAnon,
  mapShared,
  store,
  vmaShape,
} from './fixture.ts';

const RW_FLAGS = VM_READ | VM_WRITE;
const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;

function mmap(mm: MmStruct, request: Partial<MmapRequest>): number {
  const defaults = { length: PAGE_SIZE, prot: RW, flags: PRIVATE };
  return expectSync(doMmap(mm, { ...defaults, ...request }));
}

describe('mmap arguments', () => {
  test.each([
    ['no length', { length: 0 }, errno.EINVAL],
    ['a length that is no number', { length: Number.NaN }, errno.EINVAL],
    ['a negative length', { length: -1 }, errno.EINVAL],
    ['half a byte', { length: 0.5 }, errno.EINVAL],
    ['neither shared nor private', { flags: MAP_ANONYMOUS }, errno.EINVAL],
    ['both shared and private', { flags: PRIVATE | MAP_SHARED }, errno.EINVAL],
    ['no object and not anonymous', { flags: MAP_PRIVATE }, errno.EBADF],
    ['a length beyond user space', { length: TASK_SIZE + 1 }, errno.ENOMEM],
    ['a length that leaves no room', { length: TASK_SIZE }, errno.ENOMEM],
    [
      'a fixed address off the page',
      { addr: 2 ** 30 + 1, flags: PRIVATE | MAP_FIXED },
      errno.EINVAL,
    ],
    ['a fixed address below the minimum', { addr: 4096, flags: PRIVATE | MAP_FIXED }, errno.EPERM],
    ['a fixed range past the end', { addr: TASK_SIZE, flags: PRIVATE | MAP_FIXED }, errno.ENOMEM],
    ['an address that is none', { addr: -4096 }, errno.EINVAL],
    ['an offset that overflows', { pgoff: 2 ** 52 - 1 }, errno.EOVERFLOW],
  ])('%s', (_name, request, expected) => {
    const mm = makeMm(makeSystem());
    expect(mmap(mm, request)).toBe(expected);
    expect(mm.vmas.length).toBe(0);
    expect(mm.mmapLock.isLocked).toBe(false);
    checkInvariants(mm.sys);
  });

  test('the control case beside each: the lowest and the highest fixed page', () => {
    const mm = makeMm(makeSystem());
    const flags = PRIVATE | MAP_FIXED;
    expect(mmap(mm, { addr: MMAP_MIN_ADDR, flags })).toBe(MMAP_MIN_ADDR);
    expect(mmap(mm, { addr: TASK_SIZE - PAGE_SIZE, flags })).toBe(TASK_SIZE - PAGE_SIZE);
    store(mm, TASK_SIZE - 1, 7);
    expect(load(mm, TASK_SIZE - 1)).toBe(7);
    checkInvariants(mm.sys);
  });

  test('a huge shared object costs what is touched of it', () => {
    const mm = makeMm(makeSystem());
    const free = mm.sys.pageAllocator.freePages;
    const at = mmap(mm, { length: 2 ** 46, flags: MAP_SHARED | MAP_ANONYMOUS });
    expect(at).toBeGreaterThan(0);
    store(mm, at + 2 ** 45, 1);
    expect(mm.sys.pageAllocator.freePages).toBe(free - 1);
    checkInvariants(mm.sys);
  });

  test('a dead address space is ESRCH', () => {
    const mm = makeMm(makeSystem());
    expectSync(mmput(mm));
    expect(mmap(mm, {})).toBe(errno.ESRCH);
    expect(expectSync(doMunmap(mm, 2 ** 30, PAGE_SIZE))).toBe(errno.ESRCH);
  });
});

describe('mmap addresses', () => {
  test('top down from the base, each below the last', () => {
    const mm = makeMm(makeSystem());
    expect(mmap(mm, { length: 3 * PAGE_SIZE })).toBe(MMAP_BASE - 3 * PAGE_SIZE);
    expect(mmap(mm, { length: 1, prot: PROT_READ })).toBe(MMAP_BASE - 4 * PAGE_SIZE);
  });

  test('the highest gap that fits', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 10);
    expectSync(doMunmap(mm, base + 2 * PAGE_SIZE, PAGE_SIZE));
    expectSync(doMunmap(mm, base + 5 * PAGE_SIZE, 2 * PAGE_SIZE));
    expect(mmap(mm, { length: 3 * PAGE_SIZE })).toBe(base - 3 * PAGE_SIZE);
    expect(mmap(mm, { length: 2 * PAGE_SIZE })).toBe(base + 5 * PAGE_SIZE);
    expect(mmap(mm, { length: PAGE_SIZE })).toBe(base + 2 * PAGE_SIZE);
  });

  test('above the base when nothing is left below it', () => {
    const mm = makeMm(makeSystem());
    const length = MMAP_BASE - MMAP_MIN_ADDR;
    expect(mmap(mm, { length })).toBe(MMAP_MIN_ADDR);
    expect(mmap(mm, { length: PAGE_SIZE })).toBe(TASK_SIZE - PAGE_SIZE);
  });

  test('a free hint is taken, rounded down; a used one is not', () => {
    const mm = makeMm(makeSystem());
    const hint = 2 ** 40;
    expect(mmap(mm, { addr: hint + 5, length: 2 * PAGE_SIZE })).toBe(hint);
    expect(mmap(mm, { addr: hint + PAGE_SIZE })).toBe(MMAP_BASE - PAGE_SIZE);
    expect(mmap(mm, { addr: hint - PAGE_SIZE })).toBe(hint - PAGE_SIZE);
    expect(mmap(mm, { addr: 1 })).toBe(MMAP_MIN_ADDR);
  });

  test('MAP_FIXED replaces what is there, MAP_FIXED_NOREPLACE refuses', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 3);
    store(mm, base + PAGE_SIZE, 9);
    const addr = base + PAGE_SIZE;
    expect(mmap(mm, { addr, flags: PRIVATE | MAP_FIXED_NOREPLACE })).toBe(errno.EEXIST);
    expect(load(mm, addr)).toBe(9);
    expect(mmap(mm, { addr, flags: PRIVATE | MAP_FIXED, prot: PROT_READ })).toBe(addr);
    expect(load(mm, addr)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([
      [0, 1, RW_FLAGS],
      [1, 1, VM_READ],
      [2, 1, RW_FLAGS],
    ]);
    const above = base + 3 * PAGE_SIZE;
    expect(mmap(mm, { addr: above, flags: PRIVATE | MAP_FIXED_NOREPLACE })).toBe(above);
    checkInvariants(mm.sys);
  });
});

describe('VMAs merge', () => {
  test('neighbours with the same permissions become one', () => {
    const mm = makeMm(makeSystem());
    const upper = mapAnon(mm, 2);
    const lower = mapAnon(mm, 3);
    expect(vmaShape(mm, lower)).toEqual([[0, 5, RW_FLAGS]]);
    expect(upper).toBe(lower + 3 * PAGE_SIZE);
  });

  test('different permissions and shared objects stay apart', () => {
    const mm = makeMm(makeSystem());
    mapAnon(mm, 1);
    mapAnon(mm, 1, PROT_READ);
    mapShared(mm, 1);
    mapShared(mm, 1);
    expect(mm.vmas.length).toBe(4);
  });

  test('a mapping that fills the gap joins both sides, with the pages that are there', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 3);
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 2);
    store(mm, base + 2 * PAGE_SIZE, 3);
    expectSync(doMunmap(mm, base + PAGE_SIZE, PAGE_SIZE));
    expect(mm.vmas.length).toBe(2);
    mapAnon(mm, 1);
    expect(vmaShape(mm, base)).toEqual([[0, 3, RW_FLAGS]]);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 0, 3]);
    checkInvariants(mm.sys);
  });

  test('neighbours that got their pages apart share an anon_vma, and so can still merge', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 2);
    expectSync(doMprotect(mm, base + PAGE_SIZE, PAGE_SIZE, RW | PROT_EXEC));
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 2);
    expect(mm.vmas.map((vma) => vma.anonVma?.id)).toEqual([1, 1]);
    expectSync(doMprotect(mm, base + PAGE_SIZE, PAGE_SIZE, RW));
    expect(vmaShape(mm, base)).toEqual([[0, 2, RW_FLAGS]]);
    expect([load(mm, base), load(mm, base + PAGE_SIZE)]).toEqual([1, 2]);
    checkInvariants(mm.sys);
  });

  test('VMAs with a gap between them have anon_vmas of their own', () => {
    const mm = makeMm(makeSystem());
    const low = mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 30);
    const high = mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 30 + 2 * PAGE_SIZE);
    store(mm, low, 1);
    store(mm, high, 2);
    expect(mm.vmas.map((vma) => vma.anonVma?.id)).toEqual([1, 2]);
    // The gap is filled: the new VMA joins one side, but the two can't be one.
    mapAnon(mm, 1, RW, MAP_PRIVATE, low + PAGE_SIZE);
    expect(mm.vmas.length).toBe(2);
    checkInvariants(mm.sys);
  });

  test('parts of one object merge only in the right order', () => {
    const mm = makeMm(makeSystem());
    const inode = shmemCreate(mm.sys, 8 * PAGE_SIZE);
    if (typeof inode === 'number') throw new Error('no inode');
    const flags = MAP_SHARED;
    const at = mmap(mm, { inode, flags, pgoff: 4, length: 2 * PAGE_SIZE });
    mmap(mm, { inode, flags, pgoff: 2, length: 2 * PAGE_SIZE });
    expect(vmaShape(mm, at)).toEqual([[-2, 4, RW_FLAGS | VM_SHARED]]);
    mmap(mm, { inode, flags, pgoff: 4, length: 2 * PAGE_SIZE });
    expect(mm.vmas.length).toBe(2);
    expect(inode.users).toBe(3);
    shmemPut(inode);
    checkInvariants(mm.sys);
  });
});

describe('munmap', () => {
  test.each([
    ['an address off the page', 2 ** 30 + 1, PAGE_SIZE],
    ['no length', 2 ** 30, 0],
    ['a length beyond user space', 2 ** 30, TASK_SIZE],
    ['an address beyond user space', TASK_SIZE + PAGE_SIZE, PAGE_SIZE],
    ['NaN', Number.NaN, PAGE_SIZE],
  ])('%s is EINVAL', (_name, addr, length) => {
    expect(expectSync(doMunmap(makeMm(makeSystem()), addr, length))).toBe(errno.EINVAL);
  });

  test('nothing there is fine', () => {
    const mm = makeMm(makeSystem());
    expect(expectSync(doMunmap(mm, 2 ** 30, TASK_SIZE - 2 ** 30))).toBe(0);
  });

  test.each([
    ['the start', 0, 2, [[2, 4, RW_FLAGS]]],
    ['the end', 4, 2, [[0, 4, RW_FLAGS]]],
    [
      'the middle',
      2,
      1,
      [
        [0, 2, RW_FLAGS],
        [3, 3, RW_FLAGS],
      ],
    ],
    ['all of it', 0, 6, []],
    ['more than all of it', -1, 8, []],
  ])('of %s keeps the rest with its contents', (_name, from, pages, shape) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const free = sys.pageAllocator.freePages;
    const base = mapAnon(mm, 6);
    for (let i = 0; i < 6; i++) store(mm, base + i * PAGE_SIZE, i + 1);
    expect(expectSync(doMunmap(mm, base + from * PAGE_SIZE, pages * PAGE_SIZE))).toBe(0);
    expect(vmaShape(mm, base)).toEqual(shape);
    for (let i = 0; i < 6; i++) {
      const gone = i >= from && i < from + pages;
      if (gone) expect(loadOutcome(mm, base + i * PAGE_SIZE)).toBe(FAULT_SIGSEGV);
      else expect(load(mm, base + i * PAGE_SIZE)).toBe(i + 1);
    }
    const kept = shape.reduce((sum, [, length]) => sum + length!, 0);
    expect(mm.anonRss).toBe(kept);
    expect(sys.pageAllocator.freePages).toBe(free - kept);
    checkInvariants(sys);
  });

  test('flushes once for the pages that were present, not for what was never touched', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 100);
    for (let i = 0; i < 10; i++) store(mm, base + i * 10 * PAGE_SIZE, 1);
    expectSync(doMunmap(mm, base, 100 * PAGE_SIZE));
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 10]);
    const untouched = mapAnon(mm, 100);
    expectSync(doMunmap(mm, untouched, 100 * PAGE_SIZE));
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 10]);
  });

  test('frees page tables of far apart mappings', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const addrs = [2 ** 30, 2 ** 36, 2 ** 36 + PMD_SIZE, 2 ** 45];
    for (const addr of addrs) store(mm, mapAnon(mm, 1, RW, MAP_PRIVATE, addr), 1);
    expect(sys.pageTables.tablesInUse).toBe(1 + 3 + 2 + 1 + 3);
    expectSync(doMunmap(mm, 0, TASK_SIZE));
    expect(sys.pageTables.tablesInUse).toBe(1);
    checkInvariants(sys);
  });

  test('waits for readers of the mmap lock', async () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    expectSync(mm.mmapLock.readLock());
    const unmapped = doMunmap(mm, base, PAGE_SIZE);
    expect(isPending(unmapped)).toBe(true);
    expect(mm.vmas.length).toBe(1);
    mm.mmapLock.readUnlock();
    expect(await unmapped).toBe(0);
    expect(mm.vmas.length).toBe(0);
    expect(mm.mmapLock.isLocked).toBe(false);
  });
});

describe('the limit of VMAs', () => {
  /** An address space with `count` VMAs of two pages, unmergeable. */
  function crowded(count: number): MmStruct {
    const mm = makeMm(makeSystem());
    for (let i = 0; i < count; i++) {
      const start = 2 ** 30 + i * 2 * PAGE_SIZE;
      const end = start + 2 * PAGE_SIZE;
      linkVma(makeVma(mm, start, end, i % 2 === 0 ? VM_READ : RW_FLAGS, start / PAGE_SIZE, null));
    }
    return mm;
  }

  test('mmap works below it and is ENOMEM at it', () => {
    const mm = crowded(MAX_MAP_COUNT - 1);
    expect(mmap(mm, { prot: PROT_NONE })).toBeGreaterThan(0);
    expect(mm.vmas.length).toBe(MAX_MAP_COUNT);
    expect(mmap(mm, {})).toBe(errno.ENOMEM);
  });

  test('munmap may shorten a VMA at the limit, not cut a hole into one', () => {
    const mm = crowded(MAX_MAP_COUNT - 1);
    const wide = mmap(mm, { length: 3 * PAGE_SIZE });
    expect(expectSync(doMunmap(mm, wide + PAGE_SIZE, PAGE_SIZE))).toBe(errno.ENOMEM);
    expect(mm.vmas.length).toBe(MAX_MAP_COUNT);
    expect(expectSync(doMunmap(mm, wide, PAGE_SIZE))).toBe(0);
    expect(mm.vmas.length).toBe(MAX_MAP_COUNT);
  });
});

describe('VMA lookup', () => {
  test('findVma answers the first VMA that ends above, vmaLookup only one that contains', () => {
    const mm = makeMm(makeSystem());
    const low = mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 30);
    const high = mapAnon(mm, 2, RW, MAP_PRIVATE, 2 ** 31);
    const starts = (addr: number) => [
      findVma(mm, addr)?.vmStart ?? null,
      vmaLookup(mm, addr)?.vmStart ?? null,
    ];
    expect(starts(low - 1)).toEqual([low, null]);
    expect(starts(low)).toEqual([low, low]);
    expect(starts(low + PAGE_SIZE - 1)).toEqual([low, low]);
    expect(starts(low + PAGE_SIZE)).toEqual([high, null]);
    expect(starts(high + 2 * PAGE_SIZE - 1)).toEqual([high, high]);
    expect(starts(high + 2 * PAGE_SIZE)).toEqual([null, null]);
  });
});
