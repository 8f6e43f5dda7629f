/**
 * Broken memory (mm/memory-failure.c): a page whose contents are lost is taken out of every address
 * space, and never handed out again. What remains where it was mapped is a hwpoison entry: whoever
 * touches it gets SIGBUS, a device that asks for it EFAULT.
 *
 * The page keeps the reference that is taken here, so it is never freed. A page of an object stays
 * in the cache, and later faults on it end the same way.
 *
 * Device memory is its driver's business: `DevPagemapOps.memoryFailure`, ENXIO without one.
 *
 * Locking: takes the page lock, and waits for it. Address spaces that map the page get
 * MMU_NOTIFY_CLEAR.
 *
 * Leaves out: signals to processes (the next access finds out), soft offlining, unpoisoning, pages
 * that are free, the kernel's, in the swap cache or of hugetlb.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import { pagePgmap } from './memremap.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import {
  PG_ANON_EXCLUSIVE,
  PG_HUGETLB,
  PG_HWPOISON,
  PG_LRU,
  PG_RESERVED,
  PG_SWAPCACHE,
} from './page.ts';
import { RmapHits, folioRemoveRmap, rmapWalk } from './rmap.ts';
import { splitFolio } from './split-folio.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_HWPOISON,
  PTE_SPECIAL,
  leafKind,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { ACCESS_READ, FAULT_ENOMEM, FAULT_OK, accessiblePage, faultInUser } from './uaccess.ts';
import { vmEventIndex } from './vmstat.ts';
import { uncountRss } from './zap.ts';

/** The page was poisoned in the course of an access (MF_ACTION_REQUIRED). */
export const MF_ACTION_REQUIRED = 1 << 1;

const MEMORY_FAILURE = vmEventIndex('memory_failure');

/**
 * Gives a page up whose contents are lost (memory_failure). One page of a large folio is split off
 * first.
 *
 * @param pfn Any page of the machine. @param flags MF_*; handed to the driver of device memory.
 * @returns 0; EHWPOISON when that was done already; EBUSY for a page that is free or reserved, or
 * part of a large folio that can't be split or is of hugetlb, or in the swap cache; ENXIO for
 * numbers that are no page, and for device memory whose driver does not know what to do; else what
 * that driver answers. Context: no page lock held; waits for the page's.
 */
export function memoryFailure(sys: System, pfn: number, flags: number): MaybePromise<number> {
  const { mem } = sys;
  if (!Number.isInteger(pfn) || pfn < 0 || pfn >= mem.pageCount) return errno.ENXIO;
  if (mem.isZoneDevice(pfn)) return deviceMemoryFailure(sys, pfn, flags);
  if (pfn >= sys.ramPages) return errno.ENXIO;
  if (mem.testFlag(pfn, PG_HWPOISON)) return errno.EHWPOISON;
  const folio = mem.folioOf(pfn);
  if (mem.testFlag(folio, PG_RESERVED) || !mem.getPageUnlessZero(folio)) return errno.EBUSY;
  return andThen(mem.lockPage(folio), () => failLocked(sys, pfn, folio, flags));
}

/** With the folio locked and referenced. */
function failLocked(sys: System, pfn: number, folio: number, flags: number): MaybePromise<number> {
  const { mem } = sys;
  const giveBack = (status: number): number => {
    mem.unlockPage(folio);
    putPage(sys, folio);
    return status;
  };
  if (mem.testFlag(folio, PG_HUGETLB)) {
    return giveBack(errno.EBUSY);
  }
  if (mem.isLarge(folio)) {
    // Lock and reference go over to the page itself.
    if (splitFolio(sys, folio, 0, pfn) !== 0) return giveBack(errno.EBUSY);
  } else if (pfn !== folio) {
    // Somebody split it while its lock was waited for.
    giveBack(0);
    return memoryFailure(sys, pfn, flags);
  } else if (mem.testFlag(pfn, PG_HWPOISON)) {
    return giveBack(errno.EHWPOISON);
  } else if (mem.testFlag(pfn, PG_SWAPCACHE)) {
    return giveBack(errno.EBUSY);
  }
  // From here on the page stays out of circulation: the reference is never dropped.
  mem.setFlag(pfn, PG_HWPOISON);
  sys.vmstat.add(MEMORY_FAILURE, 1);
  unmapPoisoned(sys, pfn);
  mem.clearFlag(pfn, PG_LRU);
  mem.unlockPage(pfn);
  return 0;
}

/** memory_failure_dev_pagemap. */
function deviceMemoryFailure(sys: System, pfn: number, flags: number): number {
  const pgmap = pagePgmap(sys, pfn);
  const status = pgmap.ops.memoryFailure?.(pgmap, pfn, 1, flags) ?? errno.EOPNOTSUPP;
  // What the generic code could do for such memory is nothing.
  return status === errno.EOPNOTSUPP ? errno.ENXIO : status;
}

const hits = new RmapHits();
const clearRange = new MmuNotifierRange();

/** A hwpoison entry wherever the page is mapped (try_to_unmap with TTU_HWPOISON). */
function unmapPoisoned(sys: System, pfn: number): void {
  rmapWalk(sys, pfn, hits);
  for (let i = 0; i < hits.length; i++) {
    const pte = sys.pageTables.words[hits.ptes[i]!]!;
    const isPresent = ptePresent(pte) && (pte & PTE_SPECIAL) === 0;
    const isMapped = isPresent || leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
    if (isMapped && ptePfn(pte) === pfn)
      unmapOne(sys, pfn, hits.vmas[i]!, hits.addrs[i]!, hits.ptes[i]!);
  }
  assert(sys.mem.mapcount[pfn] === 0, 'I7: a page is unmapped before it is freed');
}

function unmapOne(sys: System, pfn: number, vma: Vma, addr: number, at: number): void {
  const { mm } = vma;
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  sys.pageTables.setPte(at, mkLeaf(LEAF_HWPOISON, pfn, 0));
  flushTlbRange(mm, addr, addr + PAGE_SIZE, 1);
  uncountRss(mm, pfn);
  folioRemoveRmap(sys, pfn);
  sys.mem.clearFlag(pfn, PG_ANON_EXCLUSIVE);
  putPage(sys, pfn);
  mmuNotifierInvalidateRangeEnd(clearRange);
}

/**
 * Breaks the page at an address of a process (madvise MADV_HWPOISON): it is faulted in first, so
 * device memory comes home.
 *
 * @param addr Page aligned. @returns EINVAL for what is no such address; EFAULT when nothing can be
 * read there; ENOMEM; else as memoryFailure, EBUSY for the zero page.
 * Context: mmap lock not held; waits for faults and the page lock.
 */
export function madviseHwpoison(mm: MmStruct, addr: number): MaybePromise<number> {
  if (!isAddress(addr) || !isPageAligned(addr) || addr >= TASK_SIZE) return errno.EINVAL;
  const pfn = accessiblePage(mm, addr, ACCESS_READ);
  if (pfn !== 0) return memoryFailure(mm.sys, pfn, MF_ACTION_REQUIRED);
  return andThen(faultInUser(mm, addr, ACCESS_READ), (outcome) => {
    if (outcome === FAULT_OK) return madviseHwpoison(mm, addr);
    return outcome === FAULT_ENOMEM ? errno.ENOMEM : errno.EFAULT;
  });
}
