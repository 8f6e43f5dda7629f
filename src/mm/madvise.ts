/**
 * madvise (mm/madvise.c): advice about ranges of an address space. What drops or ages pages, guards
 * or faults them in takes the mmap lock for read; what changes VMAs takes it for write.
 *
 * Leaves out: advice that needs KSM or memory failure (EINVAL, as in a kernel without
 * them), reading ahead for MADV_WILLNEED.
 */
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PMD_SIZE, isAddress, isPageAligned, pageAlignUp } from '../base/units.ts';
import { guardInstall, guardRemove } from './guard.ts';
import { madviseCollapse } from './khugepaged.ts';
import { madviseCold, madviseFree } from './madvise-pages.ts';
import { isVmHugetlb, maySplitVma } from './hugetlb.ts';
import {
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_NOHUGEPAGE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SPECIAL,
  VM_WIPEONFORK,
  vmaIsAnonymous,
} from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { underReadLock, underWriteLock } from './mmap.ts';
import { faultinPageRange } from './populate.ts';
import { isolateRange, mergeVma } from './vma.ts';
import { findVma } from './vma-lookup.ts';
import { pageoutRange } from './vmscan.ts';
import { zapPageRange } from './zap.ts';

/** Kinds of advice; values of asm-generic/mman-common.h. */
export const MADV_NORMAL = 0;
/** Accesses jump about. */
export const MADV_RANDOM = 1;
/** Accesses go upwards. */
export const MADV_SEQUENTIAL = 2;
/** It will be wanted soon. */
export const MADV_WILLNEED = 3;
/** Drops the pages: the next access finds zeroes, or the object's page. */
export const MADV_DONTNEED = 4;
/** The pages may be dropped when memory is short, unless they are written again. */
export const MADV_FREE = 8;
/** Whether a child gets the range. */
export const MADV_DONTFORK = 10;
/** Takes MADV_DONTFORK back. */
export const MADV_DOFORK = 11;
/** Whether large folios are wanted. */
export const MADV_HUGEPAGE = 14;
/** No large folios here. */
export const MADV_NOHUGEPAGE = 15;
/** Leave it out of core dumps. */
export const MADV_DONTDUMP = 16;
/** Takes MADV_DONTDUMP back. */
export const MADV_DODUMP = 17;
/** Whether a child finds the range empty. */
export const MADV_WIPEONFORK = 18;
/** Takes MADV_WIPEONFORK back. */
export const MADV_KEEPONFORK = 19;
/** The pages are not going to be used soon, or not for long. */
export const MADV_COLD = 20;
/** Put it into swap space now. */
export const MADV_PAGEOUT = 21;
/** Faults the pages in now. */
export const MADV_POPULATE_READ = 22;
/** Fault it in now, as stores would. */
export const MADV_POPULATE_WRITE = 23;
/** MADV_DONTNEED, locked pages included. */
export const MADV_DONTNEED_LOCKED = 24;
/** Make large folios of it now. */
export const MADV_COLLAPSE = 25;
/** Makes any access a SIGSEGV until it is removed. */
export const MADV_GUARD_INSTALL = 102;
/** Takes MADV_GUARD_INSTALL back. */
export const MADV_GUARD_REMOVE = 103;

/** What a kind of advice does to [start, end) of one VMA: 0 or an errno. */
type Visit = (vma: Vma, start: number, end: number) => number;

/** Advice that leaves the VMAs as they are: under the read lock. */
const PAGE_ADVICE: ReadonlyMap<number, Visit> = new Map<number, Visit>([
  // There is nothing to read ahead from.
  [MADV_WILLNEED, () => 0],
  [MADV_DONTNEED, dontNeed],
  [MADV_DONTNEED_LOCKED, dontNeed],
  [MADV_FREE, free],
  [MADV_COLD, cold],
  [MADV_PAGEOUT, pageout],
  [MADV_GUARD_INSTALL, guardInstall],
  [MADV_GUARD_REMOVE, guardRemove],
]);

/** The flags that a VMA has after the advice, or an errno. */
type NewFlags = (vma: Vma) => number;

/** Advice about VMAs: under the write lock. */
const VMA_ADVICE: ReadonlyMap<number, NewFlags> = new Map<number, NewFlags>([
  [MADV_NORMAL, (vma) => vma.vmFlags & ~(VM_RAND_READ | VM_SEQ_READ)],
  [MADV_RANDOM, (vma) => (vma.vmFlags & ~VM_SEQ_READ) | VM_RAND_READ],
  [MADV_SEQUENTIAL, (vma) => (vma.vmFlags & ~VM_RAND_READ) | VM_SEQ_READ],
  [MADV_DONTFORK, (vma) => vma.vmFlags | VM_DONTCOPY],
  [MADV_DOFORK, doFork],
  [MADV_WIPEONFORK, wipeOnFork],
  [MADV_KEEPONFORK, (vma) => vma.vmFlags & ~VM_WIPEONFORK],
  [MADV_DONTDUMP, (vma) => vma.vmFlags | VM_DONTDUMP],
  [MADV_DODUMP, doDump],
  [MADV_HUGEPAGE, (vma) => (vma.vmFlags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE],
  [MADV_NOHUGEPAGE, (vma) => (vma.vmFlags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE],
]);

/**
 * Gives advice about [addr, addr + length) (madvise).
 *
 * @param addr Page aligned. @param length Bytes, rounded up to whole pages; 0 does nothing.
 * @param advice MADV_*. @returns 0; EINVAL for unknown advice, an unaligned address, numbers that
 * are no addresses, a range that wraps, and VMAs that the advice is not for; ENOMEM where nothing
 * is mapped (the rest of the range has got it), and for want of memory; EAGAIN for too many VMAs;
 * of POPULATE also EFAULT and EHWPOISON; of
 * COLLAPSE what madviseCollapse says; ESRCH when the address space is gone.
 * Context: takes the mmap lock for read or write, may wait for it; POPULATE and COLLAPSE wait for
 * faults.
 */
export function doMadvise(
  mm: MmStruct,
  addr: number,
  length: number,
  advice: number,
): MaybePromise<number> {
  const isOther = [MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE].includes(advice);
  const onPages = PAGE_ADVICE.get(advice);
  const newFlags = VMA_ADVICE.get(advice);
  if (onPages === undefined && newFlags === undefined && !isOther) return errno.EINVAL;
  if (!isAddress(addr) || !isAddress(length) || !isPageAligned(addr)) return errno.EINVAL;
  const end = addr + pageAlignUp(length);
  if (!isAddress(end)) return errno.EINVAL;
  if (end === addr) return 0;
  if (advice === MADV_COLLAPSE) return madviseCollapse(mm, addr, end);
  if (onPages !== undefined) return underReadLock(mm, () => walkVmas(mm, addr, end, onPages));
  if (newFlags !== undefined) {
    const visit: Visit = (vma, from, to) => updateVma(vma, from, to, newFlags(vma));
    return underWriteLock(mm, () => walkVmas(mm, addr, end, visit));
  }
  const write = advice === MADV_POPULATE_WRITE;
  return underReadLock(mm, () => faultinPageRange(mm, addr, end, write));
}

/** Visits what is mapped of the range (madvise_walk_vmas): 0, the first errno, ENOMEM for gaps. */
function walkVmas(mm: MmStruct, start: number, end: number, visit: Visit): number {
  let cursor = start;
  let hasGap = false;
  while (cursor < end) {
    // By address each time: a visit may cut and merge.
    const vma = findVma(mm, cursor);
    if (vma === null || vma.vmStart >= end) return errno.ENOMEM;
    if (vma.vmStart > cursor) hasGap = true;
    const from = Math.max(cursor, vma.vmStart);
    const to = Math.min(end, vma.vmEnd);
    const status = visit(vma, from, to);
    if (isErr(status)) return status;
    cursor = to;
  }
  return hasGap ? errno.ENOMEM : 0;
}

/** Gives [start, end) of a VMA other flags (madvise_update_vma): 0 or an errno. */
function updateVma(vma: Vma, start: number, end: number, vmFlags: number): number {
  if (isErr(vmFlags)) return vmFlags;
  if (vmFlags === vma.vmFlags) return 0;
  const piece = isolateRange(vma, start, end);
  if (typeof piece === 'number') return piece === errno.ENOMEM ? errno.EAGAIN : piece;
  piece.vmFlags = vmFlags;
  mergeVma(piece);
  return 0;
}

function doFork(vma: Vma): number {
  return (vma.vmFlags & VM_SPECIAL) !== 0 ? errno.EINVAL : vma.vmFlags & ~VM_DONTCOPY;
}

function doDump(vma: Vma): number {
  return (vma.vmFlags & VM_SPECIAL) !== 0 && !isVmHugetlb(vma)
    ? errno.EINVAL
    : vma.vmFlags & ~VM_DONTDUMP;
}

function wipeOnFork(vma: Vma): number {
  const isPrivate = vmaIsAnonymous(vma) && (vma.vmFlags & (VM_SHARED | VM_HUGETLB)) === 0;
  return isPrivate ? vma.vmFlags | VM_WIPEONFORK : errno.EINVAL;
}

function dontNeed(vma: Vma, start: number, end: number): number {
  if ((vma.vmFlags & VM_PFNMAP) !== 0 || !maySplitVma(vma, start)) return errno.EINVAL;
  // Of a huge page all or nothing goes.
  const stop = isVmHugetlb(vma) ? end - (end % PMD_SIZE) : end;
  if (stop > start) zapPageRange(vma, start, stop);
  return 0;
}

function free(vma: Vma, start: number, end: number): number {
  if (!vmaIsAnonymous(vma) || isVmHugetlb(vma)) return errno.EINVAL;
  madviseFree(vma, start, end);
  return 0;
}

function cold(vma: Vma, start: number, end: number): number {
  if ((vma.vmFlags & (VM_PFNMAP | VM_HUGETLB)) !== 0) return errno.EINVAL;
  madviseCold(vma, start, end);
  return 0;
}

function pageout(vma: Vma, start: number, end: number): number {
  if ((vma.vmFlags & (VM_PFNMAP | VM_HUGETLB)) !== 0) return errno.EINVAL;
  pageoutRange(vma, start, end);
  return 0;
}
