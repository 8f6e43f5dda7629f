import { describe, expect, test } from 'vitest';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { MAP_PRIVATE } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { MMU_NOTIFY_CLEAR, MMU_NOTIFY_UNMAP } from '../../../src/mm/mmu-notifier.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { PG_DIRTY, PG_REFERENCED } from '../../../src/mm/page.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { ptePfn } from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  makeMm,
  makeSystem,
  mapAnon,
  mapShared,
  pteAt,
  store,
  watch,
} from './fixture.ts';
import { TinyDevice } from './tiny-device.ts';

function zap(mm: MmStruct, addr: number, pages: number): void {
  expectSync(mm.mmapLock.readLock());
  const vma = vmaLookup(mm, addr);
  if (vma === null) throw new Error('no VMA');
  zapPageRange(vma, addr, addr + pages * PAGE_SIZE);
  mm.mmapLock.readUnlock();
}

describe('zapPageRange', () => {
  test('private memory reads as zeroes afterwards, its neighbours keep theirs', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 3);
    for (let i = 0; i < 3; i++) store(mm, base + i * PAGE_SIZE, 9);
    const events = watch(mm, base);
    zap(mm, base + PAGE_SIZE, 1);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([9, 0, 9]);
    expect(events.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 1, 1],
    ]);
    expect(events[0]!.pteBefore).not.toBe(0);
    checkInvariants(sys);
  });

  test('shared memory keeps its contents, and the page learns what the entry knew', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapShared(mm, 1);
    store(mm, base, 9);
    const pfn = ptePfn(pteAt(mm, base));
    expect(sys.mem.testFlag(pfn, PG_DIRTY)).toBe(false);
    zap(mm, base, 1);
    expect(sys.mem.flags[pfn]! & (PG_DIRTY | PG_REFERENCED)).toBe(PG_DIRTY | PG_REFERENCED);
    expect(mm.shmemRss).toBe(0);
    expect(load(mm, base)).toBe(9);
    checkInvariants(sys);
  });

  test('device pages are freed at once, nothing comes home [F104]', () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 3);
    for (let i = 0; i < 3; i++) store(mm, base + i * PAGE_SIZE, 9);
    expect(device.migrateIn(mm, base, 3)).toBe(3);
    const flushes = mm.tlbFlushes;
    zap(mm, base, 2);
    expect([device.used, device.faults, mm.anonRss]).toEqual([1, 0, 1]);
    expect(mm.tlbFlushes).toBe(flushes);
    expect(load(mm, base)).toBe(0);
    checkInvariants(sys, { deviceFree: new Set(device.free) });
  });

  test('a migration entry goes without touching the page behind it', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 9);
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    tryToMigrate(sys, pfn);
    expect(mm.anonRss).toBe(1);
    zap(mm, base, 1);
    expect([mm.anonRss, sys.mem.refcount[pfn], pteAt(mm, base)]).toEqual([0, 1, 0]);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    checkInvariants(sys);
  });

  test('a batch larger than the gather buffer is flushed in parts and freed in full', () => {
    const pages = 5000;
    const sys = makeSystem(pages + 64, 0);
    const mm = makeMm(sys);
    const base = mapAnon(mm, pages);
    for (let i = 0; i < pages; i++) store(mm, base + i * PAGE_SIZE, 1);
    const free = sys.pageAllocator.freePages;
    zap(mm, base, pages);
    expect(sys.pageAllocator.freePages).toBe(free + pages);
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([2, pages]);
    checkInvariants(sys);
  });

  test('a sparse range is walked by what is there', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const pages = 2 ** 40 / PAGE_SIZE;
    const base = mapAnon(mm, pages, RW, MAP_PRIVATE, 2 ** 40);
    const touched = [0, PMD_SIZE - 1, 2 ** 39 + PMD_SIZE, 2 ** 40 - 1].map((at) => base + at);
    for (const addr of touched) store(mm, addr, 1);
    const events = watch(mm, base);
    expectSync(doMunmap(mm, base, pages * PAGE_SIZE));
    expect(events.map(({ event, from, pages: count }) => [event, from, count])).toEqual([
      [MMU_NOTIFY_UNMAP, 0, pages],
    ]);
    expect([mm.anonRss, sys.pageTables.tablesInUse]).toEqual([0, 1]);
    checkInvariants(sys);
  });
});
