/*
 * MADV_COLLAPSE: what becomes one large folio, and what is refused with which errno.
 */
import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { FOLL_WRITE, pinUserPagesFast, unpinUserPages } from '../../../src/mm/gup.ts';
import { madviseCollapse } from '../../../src/mm/khugepaged.ts';
import { MADV_DONTNEED, doMadvise } from '../../../src/mm/madvise.ts';
import { MEMORY_DEVICE_COHERENT, MEMORY_DEVICE_PRIVATE } from '../../../src/mm/memory-type.ts';
import {
  MAP_SHARED,
  PROT_READ,
  THP_ALWAYS,
  THP_NEVER,
  VM_NOHUGEPAGE,
  VM_UFFD_MISSING,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { PG_ANON_EXCLUSIVE } from '../../../src/mm/page.ts';
import {
  LEAF_MARKER_GUARD,
  PTE_HUGE,
  PTE_UFFD_WP,
  PTE_WRITE,
  isPmdLeaf,
  mkLeaf,
  ptePfn,
} from '../../../src/mm/swapops.ts';
import { addTlbListener } from '../../../src/mm/tlb.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  makeMm,
  makeSystem,
  mapAnon,
  pteAt,
  store,
  watch,
} from './fixture.ts';
import { TinyDevice, makeGate, waits } from './tiny-device.ts';

interface Scene {
  readonly sys: System;
  readonly mm: MmStruct;
  /** Two PMD ranges, of which pages 0 and 5 of the first were written. */
  readonly base: number;
}

function scene(coherentPages = 0): Scene {
  const sys = makeSystem(6 * HPAGE_PMD_NR, 64, 64, coherentPages);
  sys.thpMode = THP_NEVER;
  // Free RAM is full of what others have left.
  sys.ram.fill(0xa5, 2 * PAGE_SIZE);
  const mm = makeMm(sys);
  const base = Math.ceil(mapAnon(mm, 3 * HPAGE_PMD_NR) / PMD_SIZE) * PMD_SIZE;
  store(mm, base, 1);
  store(mm, base + 5 * PAGE_SIZE + 9, 6);
  return { sys, mm, base };
}

function pmdAt(mm: MmStruct, addr: number): number {
  const { pageTables } = mm.sys;
  return pageTables.words[pageTables.pmdOffset(mm.pgd, addr)]!;
}

const collapse = (mm: MmStruct, start: number, length = PMD_SIZE): number =>
  expectSync(madviseCollapse(mm, start, start + length));

/** The range is as it was: single pages with their bytes. */
function expectUntouched({ sys, mm, base }: Scene): void {
  expect(isPmdLeaf(pmdAt(mm, base))).toBe(false);
  expect(load(mm, base)).toBe(1);
  expect(sys.vmstat.read('thp_collapse_alloc')).toBe(0);
}

describe('collapsing', () => {
  test('pages and holes become one writable folio, the page table goes into deposit', () => {
    const { sys, mm, base } = scene();
    load(mm, base + 7 * PAGE_SIZE);
    const free = sys.pageAllocator.freePages;
    const tables = sys.pageTables.tablesInUse;
    const seen = watch(mm, base);
    expect(collapse(mm, base)).toBe(0);
    const pmd = pmdAt(mm, base);
    expect(pmd & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE | PTE_WRITE);
    expect(sys.mem.testFlag(ptePfn(pmd), PG_ANON_EXCLUSIVE)).toBe(true);
    expect([load(mm, base), load(mm, base + 5 * PAGE_SIZE + 9)]).toEqual([1, 6]);
    expect([load(mm, base + 7 * PAGE_SIZE), load(mm, base + PMD_SIZE - 1)]).toEqual([0, 0]);
    expect(seen.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 0, HPAGE_PMD_NR],
    ]);
    expect(sys.pageAllocator.freePages).toBe(free - HPAGE_PMD_NR + 2);
    expect(sys.pageTables.tablesInUse).toBe(tables);
    expect(mm.anonRss).toBe(HPAGE_PMD_NR);
    expect(sys.vmstat.read('thp_collapse_alloc')).toBe(1);
    checkInvariants(sys);
  });

  test.each([
    ['entries: flushed', 1, 0],
    ['nothing but holes: no core may still be reading it', 0, 1],
  ])('a page table goes into deposit that had %s', (_what, flushes, syncs) => {
    const { sys, mm, base } = scene();
    if (flushes === 0) expect(expectSync(doMadvise(mm, base, PMD_SIZE, MADV_DONTNEED))).toBe(0);
    const heard = { flushes: 0, syncs: 0 };
    const note = (what: keyof typeof heard): void => {
      heard[what]++;
      // Out of the walks' way, and not in use for anything else yet.
      expect(pmdAt(mm, base)).toBe(0);
    };
    const listener = {
      flush: () => {
        note('flushes');
        return true;
      },
      sync: () => note('syncs'),
    };
    addTlbListener(mm, listener);
    expect(collapse(mm, base)).toBe(0);
    expect(heard).toEqual({ flushes, syncs });
    checkInvariants(sys);
  });

  test('the policy of the machine does not matter; a range that is large already is done', () => {
    const { sys, mm, base } = scene();
    sys.thpMode = THP_ALWAYS;
    store(mm, base + PMD_SIZE, 3);
    const huge = pmdAt(mm, base + PMD_SIZE);
    expect(isPmdLeaf(huge)).toBe(true);
    sys.thpMode = THP_NEVER;
    expect(collapse(mm, base, 2 * PMD_SIZE)).toBe(0);
    expect(pmdAt(mm, base + PMD_SIZE)).toBe(huge);
    expect(sys.vmstat.read('thp_collapse_alloc')).toBe(1);
    checkInvariants(sys);
  });

  test('a read-only VMA gets a read-only leaf, writable again by mprotect alone', () => {
    const { sys, mm, base } = scene();
    expect(doMprotect(mm, base, PMD_SIZE, PROT_READ)).toBe(0);
    expect(collapse(mm, base)).toBe(0);
    expect(pmdAt(mm, base) & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE);
    expect(doMprotect(mm, base, PMD_SIZE, RW)).toBe(0);
    expect(pmdAt(mm, base) & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE | PTE_WRITE);
    checkInvariants(sys);
  });

  test('pages that a child shares are copied, the child keeps them', () => {
    const { sys, mm, base } = scene();
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    const shared = ptePfn(pteAt(mm, base));
    expect(collapse(mm, base)).toBe(0);
    store(mm, base, 9);
    expect([load(child, base), ptePfn(pteAt(child, base))]).toEqual([1, shared]);
    checkInvariants(sys);
  });

  test('pages of a device come home first [F68]', () => {
    const { sys, mm, base } = scene();
    const device = new TinyDevice(sys, 8, MEMORY_DEVICE_PRIVATE);
    expect(device.migrateIn(mm, base, 6)).toBe(6);
    expect(collapse(mm, base)).toBe(0);
    expect([device.faults, device.used]).toEqual([6, 0]);
    expect([load(mm, base), load(mm, base + 5 * PAGE_SIZE + 9)]).toEqual([1, 6]);
    checkInvariants(sys);
  });

  test('while a page is on its way the call waits, and takes no write lock [F68]', async () => {
    const { sys, mm, base } = scene();
    const device = new TinyDevice(sys, 8, MEMORY_DEVICE_PRIVATE);
    void device.migrateIn(mm, base, 1);
    const { gate, open } = makeGate();
    device.gate = gate;
    const call = madviseCollapse(mm, base, base + PMD_SIZE);
    expect(waits(call)).toBe(true);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    mm.mmapLock.readUnlock();
    open();
    expect(await call).toBe(0);
    expect(load(mm, base)).toBe(1);
    checkInvariants(sys);
  });
});

describe('refused', () => {
  test('a page that is pinned: EAGAIN, and it works when the pin is gone', () => {
    const s = scene();
    const pfns = new Uint32Array(1);
    expect(pinUserPagesFast(s.mm, s.base, 1, FOLL_WRITE, pfns)).toBe(1);
    expect(collapse(s.mm, s.base)).toBe(errno.EAGAIN);
    expectUntouched(s);
    unpinUserPages(s.sys, pfns);
    expect(collapse(s.mm, s.base)).toBe(0);
    checkInvariants(s.sys);
  });

  test('a page that is locked: EAGAIN', () => {
    const s = scene();
    const pfn = ptePfn(pteAt(s.mm, s.base));
    s.sys.mem.trylockPage(pfn);
    expect(collapse(s.mm, s.base)).toBe(errno.EAGAIN);
    s.sys.mem.unlockPage(pfn);
    expectUntouched(s);
  });

  test('without a large folio: ENOMEM', () => {
    const s = scene();
    s.sys.pageAllocator.failAt = 1;
    expect(collapse(s.mm, s.base)).toBe(errno.ENOMEM);
    expectUntouched(s);
    expect(s.sys.vmstat.read('thp_collapse_alloc_failed')).toBe(1);
    checkInvariants(s.sys);
  });

  test('a page that its driver can not bring home: EINVAL', () => {
    const s = scene();
    const device = new TinyDevice(s.sys, 8, MEMORY_DEVICE_PRIVATE);
    void device.migrateIn(s.mm, s.base, 1);
    device.broken = 2;
    expect(collapse(s.mm, s.base)).toBe(errno.EINVAL);
    device.broken = null;
    expectUntouched(s);
  });

  test('coherent device memory stays where it is: EINVAL', () => {
    const s = scene(8);
    const device = new TinyDevice(s.sys, 8, MEMORY_DEVICE_COHERENT);
    expect(device.migrateIn(s.mm, s.base, 1)).toBe(1);
    expect(collapse(s.mm, s.base)).toBe(errno.EINVAL);
    expectUntouched(s);
    expect(device.used).toBe(1);
  });

  test.each([
    ['a guard', () => mkLeaf(LEAF_MARKER_GUARD, 0, 0)],
    ['protection by userfaultfd', (pte: number) => (pte | PTE_UFFD_WP) >>> 0],
  ])('%s: EINVAL', (_name, change) => {
    const s = scene();
    const { pageTables } = s.sys;
    const at = pageTables.pteOffset(s.mm.pgd, s.base) + 300;
    store(s.mm, s.base + 300 * PAGE_SIZE, 1);
    const old = pageTables.words[at]!;
    pageTables.words[at] = change(old);
    expect(collapse(s.mm, s.base)).toBe(errno.EINVAL);
    pageTables.words[at] = old;
    expectUntouched(s);
    checkInvariants(s.sys);
  });

  test('a hole that a userfaultfd wants to fill: EBUSY', () => {
    const s = scene();
    vmaLookup(s.mm, s.base)!.vmFlags |= VM_UFFD_MISSING;
    expect(collapse(s.mm, s.base)).toBe(errno.EBUSY);
    vmaLookup(s.mm, s.base)!.vmFlags &= ~VM_UFFD_MISSING;
    expectUntouched(s);
  });

  test('a VMA that wants none, is shared, or has no page: EINVAL', () => {
    const s = scene();
    vmaLookup(s.mm, s.base)!.vmFlags |= VM_NOHUGEPAGE;
    expect(collapse(s.mm, s.base)).toBe(errno.EINVAL);
    expectUntouched(s);
    const aligned = (addr: number): number => Math.ceil(addr / PMD_SIZE) * PMD_SIZE;
    const shared = aligned(mapAnon(s.mm, 2 * HPAGE_PMD_NR, RW, MAP_SHARED));
    store(s.mm, shared, 1);
    expect(collapse(s.mm, shared)).toBe(errno.EINVAL);
    const bare = aligned(mapAnon(s.mm, 2 * HPAGE_PMD_NR, PROT_READ));
    expect(collapse(s.mm, bare)).toBe(errno.EINVAL);
  });

  test('an empty range: EINVAL, but what comes after it is collapsed', () => {
    const { sys, mm, base } = scene();
    store(mm, base + PMD_SIZE, 3);
    const { pageTables } = sys;
    const at = pageTables.pmdOffset(mm.pgd, base);
    const old = pageTables.words[at]!;
    pageTables.words[at] = 0;
    expect(collapse(mm, base, 2 * PMD_SIZE)).toBe(errno.EINVAL);
    pageTables.words[at] = old;
    expect(isPmdLeaf(pmdAt(mm, base + PMD_SIZE))).toBe(true);
    checkInvariants(sys);
  });

  test('less than a PMD range has nothing to collapse', () => {
    const s = scene();
    expect(collapse(s.mm, s.base, PMD_SIZE - PAGE_SIZE)).toBe(0);
    expect(collapse(s.mm, s.base + PAGE_SIZE, PAGE_SIZE)).toBe(errno.EINVAL);
    expectUntouched(s);
  });
});
