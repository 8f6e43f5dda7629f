/*
 * Mappings of huge pages: their place, faults, fork, protection, and how devices see them.
 */
import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { FOLL_WRITE, pinUserPagesFast, unpinUserPages } from '../../../src/mm/gup.ts';
import {
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToMapOrder,
  hmmPfnToPage,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import type { HmmRange } from '../../../src/mm/hmm.ts';
import { makeDeviceExclusive } from '../../../src/mm/device-exclusive.ts';
import { memoryFailure } from '../../../src/mm/memory-failure.ts';
import { removeMigrationPtes } from '../../../src/mm/migrate.ts';
import {
  MADV_COLD,
  MADV_DODUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_PAGEOUT,
  MADV_WIPEONFORK,
  doMadvise,
} from '../../../src/mm/madvise.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  THP_ALWAYS,
  VM_DONTEXPAND,
  VM_HUGETLB,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { doMremap } from '../../../src/mm/mremap.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_HUGETLB } from '../../../src/mm/page.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { splitHugePmdAddress } from '../../../src/mm/split-huge-pmd.ts';
import { PTE_HUGE, PTE_WRITE, isMigrationEntry, ptePfn } from '../../../src/mm/swapops.ts';
import { FAULT_SIGBUS, copyFromUser } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  makeMm,
  makeSystem,
  mapAnon,
  store,
  storeOutcome,
  watch,
} from './fixture.ts';

const FOLIOS = 5;

function boot(folios = FOLIOS): { sys: System; mm: MmStruct } {
  const sys = makeSystem((folios + 1) * HPAGE_PMD_NR, 8, 64);
  return { sys, mm: makeMm(sys) };
}

function mapHuge(mm: MmStruct, length = PMD_SIZE, sharing = MAP_PRIVATE, extra = 0, addr = 0) {
  const flags = sharing | MAP_ANONYMOUS | MAP_HUGETLB | extra;
  return expectSync(doMmap(mm, { addr, length, prot: RW, flags }));
}

/** The PMD entry for an address. */
function pmdAt(mm: MmStruct, addr: number): number {
  const { pageTables } = mm.sys;
  return pageTables.words[pageTables.pmdOffset(mm.pgd, addr)]!;
}

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

describe('where they are', () => {
  test('the length is rounded up, the place aligned, also between other mappings', () => {
    const { mm } = boot();
    mapAnon(mm, 3);
    const addr = mapHuge(mm, PMD_SIZE + 1);
    expect(addr % PMD_SIZE).toBe(0);
    const vma = vmaLookup(mm, addr)!;
    expect(vma.vmEnd - addr).toBe(2 * PMD_SIZE);
    expect(vma.vmFlags & (VM_HUGETLB | VM_DONTEXPAND)).toBe(VM_HUGETLB | VM_DONTEXPAND);
    const hinted = mapHuge(mm, PMD_SIZE, MAP_PRIVATE, 0, PMD_SIZE + PAGE_SIZE);
    expect(hinted).toBe(2 * PMD_SIZE);
  });

  test('a fixed place must be aligned; one page size exists, and anonymous memory only', () => {
    const { mm } = boot();
    const at = 64 * PMD_SIZE;
    const map = (addr: number, extra: number) =>
      mapHuge(mm, PMD_SIZE, MAP_PRIVATE, MAP_FIXED | extra, addr);
    expect(map(at + PAGE_SIZE, 0)).toBe(errno.EINVAL);
    expect(map(at, 21 << 26)).toBe(at);
    expect(map(at, 30 << 26)).toBe(errno.EINVAL);
    const flags = MAP_PRIVATE | MAP_HUGETLB;
    expect(doMmap(mm, { length: PMD_SIZE, prot: RW, flags })).toBe(errno.EBADF);
  });

  test.each([
    ['begins', PAGE_SIZE, PMD_SIZE - PAGE_SIZE],
    ['ends', 0, PMD_SIZE + PAGE_SIZE],
  ])('no cut inside a huge page: a range that %s there is EINVAL', (_name, offset, length) => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    store(mm, addr, 7);
    store(mm, addr + PMD_SIZE, 8);
    expect(doMunmap(mm, addr + offset, length)).toBe(errno.EINVAL);
    expect(doMprotect(mm, addr + offset, length, PROT_READ)).toBe(errno.EINVAL);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    expect(doMmap(mm, { addr: addr + offset, length, prot: RW, flags })).toBe(errno.EINVAL);
    expect([load(mm, addr), load(mm, addr + PMD_SIZE)]).toEqual([7, 8]);
    expect(mm.vmas.length).toBe(1);
    checkInvariants(sys);
  });

  test('madvise drops whole huge pages only, and gives no other advice about contents', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    store(mm, addr, 7);
    store(mm, addr + PMD_SIZE, 8);
    const drop = (start: number, length: number) => doMadvise(mm, start, length, MADV_DONTNEED);
    expect(drop(addr + PAGE_SIZE, PMD_SIZE)).toBe(errno.EINVAL);
    expect(drop(addr, PMD_SIZE - PAGE_SIZE)).toBe(0);
    expect(load(mm, addr)).toBe(7);
    expect(drop(addr, PMD_SIZE + PAGE_SIZE)).toBe(0);
    expect([load(mm, addr), load(mm, addr + PMD_SIZE)]).toEqual([0, 8]);
    for (const advice of [MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_GUARD_INSTALL]) {
      expect(doMadvise(mm, addr, PMD_SIZE, advice)).toBe(errno.EINVAL);
    }
    expect(doMadvise(mm, addr, PMD_SIZE, MADV_WIPEONFORK)).toBe(errno.EINVAL);
    expect(doMadvise(mm, addr, PAGE_SIZE, MADV_DONTFORK)).toBe(errno.EINVAL);
    expect(doMadvise(mm, addr, PMD_SIZE, MADV_DODUMP)).toBe(0);
    checkInvariants(sys);
  });

  test('a cut between two huge pages is fine', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    store(mm, addr, 7);
    store(mm, addr + PMD_SIZE, 8);
    expect(doMunmap(mm, addr, PMD_SIZE)).toBe(0);
    expect(load(mm, addr + PMD_SIZE)).toBe(8);
    expect(sys.hugetlbInUse).toBe(1);
    checkInvariants(sys);
  });

  test('mremap refuses them', () => {
    const { mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    expect(doMremap(mm, addr, 2 * PMD_SIZE, PMD_SIZE, 0)).toBe(errno.EINVAL);
  });
});

describe('faults', () => {
  test('a load gets a folio of zeroes, read-only; the store after it needs no copy', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    expect(load(mm, addr + 5 * PAGE_SIZE)).toBe(0);
    const before = pmdAt(mm, addr);
    expect(before & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE);
    const folio = ptePfn(before);
    expect(sys.mem.testFlag(folio, PG_HUGETLB)).toBe(true);
    store(mm, addr + 5 * PAGE_SIZE, 9);
    expect(ptePfn(pmdAt(mm, addr))).toBe(folio);
    expect([sys.hugetlbInUse, mm.hugetlbUsage, mm.anonRss]).toEqual([1, HPAGE_PMD_NR, 0]);
    expect(sys.vmstat.read('htlb_buddy_alloc_success')).toBe(1);
    checkInvariants(sys);
    expectSync(mmput(mm));
    expect(sys.hugetlbInUse).toBe(0);
    checkInvariants(sys);
  });

  test('it is no transparent huge page: nothing ever splits it', () => {
    const { sys, mm } = boot();
    sys.thpMode = THP_ALWAYS;
    const addr = mapHuge(mm);
    store(mm, addr, 1);
    expect(sys.vmstat.read('thp_fault_alloc')).toBe(0);
    expect(() => splitHugePmdAddress(vmaLookup(mm, addr)!, addr)).toThrow('I39');
  });

  test('a page of it can not be poisoned: EBUSY', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr, 7);
    expect(expectSync(memoryFailure(sys, ptePfn(pmdAt(mm, addr)) + 3, 0))).toBe(errno.EBUSY);
    expect(load(mm, addr)).toBe(7);
    checkInvariants(sys);
  });

  test('at the limit of the pool a fault is SIGBUS, and works when a folio is free again', () => {
    const { sys, mm } = boot();
    sys.hugetlbLimit = 1;
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    store(mm, addr, 1);
    expect(storeOutcome(mm, addr + PMD_SIZE)).toBe(FAULT_SIGBUS);
    expect(sys.vmstat.read('htlb_buddy_alloc_fail')).toBe(1);
    expect(doMunmap(mm, addr, PMD_SIZE)).toBe(0);
    store(mm, addr + PMD_SIZE, 2);
    checkInvariants(sys);
  });

  test('without a folio in RAM it is SIGBUS too; without a page table the pool keeps it', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    sys.pageAllocator.failAt = 1;
    expect(storeOutcome(mm, addr)).toBe(FAULT_SIGBUS);
    load(mm, mapHuge(mm));
    sys.pageTables.failAllocations = 1;
    expect(storeOutcome(mm, addr)).not.toBe(0);
    expect(sys.hugetlbInUse).toBe(1);
    checkInvariants(sys);
  });
});

describe('fork', () => {
  test('shares the folio; a store copies two megabytes, and only for who stores', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr + PMD_SIZE - 1, 7);
    const seen = watch(mm, addr);
    const child = fork(mm);
    const folio = ptePfn(pmdAt(mm, addr));
    expect(ptePfn(pmdAt(child, addr))).toBe(folio);
    expect(sys.mem.testFlag(folio, PG_ANON_EXCLUSIVE)).toBe(false);
    checkInvariants(sys);
    seen.length = 0;
    store(mm, addr, 1);
    expect(seen.map(({ from, pages }) => [from, pages])).toEqual([[0, HPAGE_PMD_NR]]);
    expect([load(mm, addr), load(mm, addr + PMD_SIZE - 1)]).toEqual([1, 7]);
    expect([load(child, addr), load(child, addr + PMD_SIZE - 1)]).toEqual([0, 7]);
    store(child, addr, 2);
    // The child is alone with it now: no copy.
    expect(ptePfn(pmdAt(child, addr))).toBe(folio);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    checkInvariants(sys);
    expectSync(mmput(child));
    checkInvariants(sys);
  });

  test('a copy that finds no folio is SIGBUS for who stores, the other keeps its bytes', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr, 7);
    const child = fork(mm);
    sys.hugetlbLimit = 1;
    expect(storeOutcome(child, addr)).toBe(FAULT_SIGBUS);
    expect([load(mm, addr), load(child, addr)]).toEqual([7, 7]);
    checkInvariants(sys);
  });

  test('a pinned folio is copied for the child at once; without a folio the fork fails', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr, 7);
    const pfns = new Uint32Array(1);
    expect(pinUserPagesFast(mm, addr + 3 * PAGE_SIZE, 1, FOLL_WRITE, pfns)).toBe(1);
    const folio = ptePfn(pmdAt(mm, addr));
    expect(pfns[0]).toBe(folio + 3);
    const child = fork(mm);
    expect(ptePfn(pmdAt(child, addr))).not.toBe(folio);
    expect(load(child, addr)).toBe(7);
    expect(pmdAt(mm, addr) & PTE_WRITE).toBe(PTE_WRITE);
    sys.hugetlbLimit = sys.hugetlbInUse;
    expect(expectSync(dupMmap(mm))).toBe(errno.ENOMEM);
    unpinUserPages(sys, pfns);
    checkInvariants(sys);
  });

  test('shared memory stays shared, and keeps its bytes without a mapping', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE, MAP_SHARED);
    store(mm, addr + PMD_SIZE, 7);
    const child = fork(mm);
    expect(load(child, addr + PMD_SIZE)).toBe(7);
    store(child, addr + PMD_SIZE, 8);
    store(child, addr, 9);
    expect([load(mm, addr), load(mm, addr + PMD_SIZE)]).toEqual([9, 8]);
    expect(ptePfn(pmdAt(mm, addr))).toBe(ptePfn(pmdAt(child, addr)));
    expect([sys.hugetlbInUse, mm.shmemRss, mm.hugetlbUsage]).toEqual([2, 0, 2 * HPAGE_PMD_NR]);
    checkInvariants(sys);
    expectSync(mmput(mm));
    expectSync(mmput(child));
    expect(sys.hugetlbInUse).toBe(0);
    checkInvariants(sys);
  });
});

describe('protection', () => {
  test('mprotect changes the leaf as a whole, and back without a fault', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr, 1);
    expect(doMprotect(mm, addr, PMD_SIZE, PROT_READ)).toBe(0);
    expect(pmdAt(mm, addr) & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE);
    expect(storeOutcome(mm, addr)).not.toBe(0);
    expect(doMprotect(mm, addr, PMD_SIZE, RW)).toBe(0);
    expect(pmdAt(mm, addr) & (PTE_HUGE | PTE_WRITE)).toBe(PTE_HUGE | PTE_WRITE);
    checkInvariants(sys);
  });
});

describe('devices', () => {
  function rangeOf(mm: MmStruct, start: number, pages: number, defaultFlags: number): HmmRange {
    const sub = newMmuIntervalNotifier(null);
    mmuIntervalNotifierInsert(sub, mm, 0, 2 ** 46, { invalidate: () => true });
    return {
      notifier: sub,
      notifierSeq: expectSync(mmuIntervalReadBegin(sub)),
      start,
      end: start + pages * PAGE_SIZE,
      hmmPfns: new Uint32Array(pages),
      defaultFlags,
      pfnFlagsMask: defaultFlags === 0 ? 0xffffffff : 0,
      devPrivateOwner: null,
    };
  }

  test('hmm_range_fault faults them in, reports frames, rights and order [F82] [F115]', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    const start = addr + 3 * PAGE_SIZE;
    const request = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
    const range = rangeOf(mm, start, 8, request);
    mm.mmapLock.readTrylock();
    expect(hmmRangeFault(range)).toBe(0);
    const head = ptePfn(pmdAt(mm, addr));
    range.hmmPfns.forEach((entry, i) => {
      expect(hmmPfnToPage(entry)).toBe(head + 3 + i);
      expect(hmmPfnToMapOrder(entry)).toBe(HPAGE_PMD_ORDER);
      expect(entry & (HMM_PFN_VALID | HMM_PFN_WRITE)).toBe(HMM_PFN_VALID | HMM_PFN_WRITE | 0);
    });
    mm.mmapLock.readUnlock();
    expect(sys.hugetlbInUse).toBe(1);
    checkInvariants(sys);
  });

  test('what the first page asks for counts for all; an empty entry is 0 [F115]', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, 2 * PMD_SIZE);
    // So that there are page tables above: else all requests count.
    store(mm, addr + PMD_SIZE, 1);
    mm.mmapLock.readTrylock();
    const second = rangeOf(mm, addr, 2, 0);
    second.hmmPfns[1] = HMM_PFN_REQ_FAULT;
    expect(hmmRangeFault(second)).toBe(0);
    expect([...second.hmmPfns]).toEqual([0, 0]);
    expect(sys.hugetlbInUse).toBe(1);
    const first = rangeOf(mm, addr, 2, 0);
    first.hmmPfns[0] = HMM_PFN_REQ_FAULT;
    expect(hmmRangeFault(first)).toBe(0);
    expect(first.hmmPfns[1]! & HMM_PFN_VALID).not.toBe(0);
    expect(sys.hugetlbInUse).toBe(2);
    mm.mmapLock.readUnlock();
  });

  test('exclusive access to them is refused: EOPNOTSUPP', () => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm);
    store(mm, addr, 1);
    mm.mmapLock.readTrylock();
    expect(expectSync(makeDeviceExclusive(mm, addr, null))).toBe(errno.EOPNOTSUPP);
    mm.mmapLock.readUnlock();
    checkInvariants(sys);
  });

  test.each([
    ['private', MAP_PRIVATE],
    ['shared', MAP_SHARED],
  ])('%s memory is lent as a whole and given back as it was', async (_name, sharing) => {
    const { sys, mm } = boot();
    const addr = mapHuge(mm, PMD_SIZE, sharing);
    store(mm, addr, 7);
    const before = pmdAt(mm, addr);
    const folio = ptePfn(before);
    sys.mem.getPage(folio);
    sys.mem.trylockPage(folio);
    expect(tryToMigrate(sys, folio)).toBe(true);
    expect(isMigrationEntry(pmdAt(mm, addr))).toBe(true);
    const loaded = copyFromUser(mm, addr, new Uint8Array(1));
    expect(isPending(loaded)).toBe(true);
    removeMigrationPtes(sys, folio, folio);
    sys.mem.unlockPage(folio);
    putPage(sys, folio);
    expect(await loaded).toBe(0);
    expect(pmdAt(mm, addr)).toBe(before);
    checkInvariants(sys);
  });
});
