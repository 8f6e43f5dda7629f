/**
 * mmap and munmap (mm/mmap.c, mm/vma.c): checking the arguments as the system calls do, choosing an
 * address, and changing the VMA set. Addresses are chosen top down below MMAP_BASE, always the
 * highest gap that fits, so that runs repeat; those of huge pages at PMD boundaries.
 *
 * Locking: both calls take the mmap lock for write and may wait for it. munmap sends
 * MMU_NOTIFY_UNMAP over the range that goes, then clears entries, flushes, frees.
 *
 * Leaves out: address randomisation, overcommit accounting, locked memory, growing stacks.
 */
import { errno, isErr } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import {
  MMAP_MIN_ADDR,
  PAGE_SIZE,
  PMD_SIZE,
  TASK_SIZE,
  isAddress,
  isPageAligned,
  pageAlignDown,
  pageAlignUp,
} from '../base/units.ts';
import { hasHugePageSize, maySplitVma } from './hugetlb.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  VM_ACCESS_FLAGS,
  VM_DONTEXPAND,
  VM_HUGETLB,
  VM_SHARED,
  VM_SOFTDIRTY,
} from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_UNMAP,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { shmemCreate, shmemPut } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';
import { MAX_MAP_COUNT, linkVma, makeVma, mergeVma, releaseVma, splitVma } from './vma.ts';
import { vmaIndexAfter } from './vma-lookup.ts';
import { syncTableWalks } from './tlb.ts';
import { unmapPageRange } from './zap.ts';

/** mmap hands out addresses below this: room for a stack stays above. */
export const MMAP_BASE = TASK_SIZE - 128 * 1024 * 1024;

/** Arguments of mmap. */
export interface MmapRequest {
  /** Hint, or with MAP_FIXED the place; 0 or absent = anywhere. */
  readonly addr?: number;
  /** Bytes; rounded up to whole pages. */
  readonly length: number;
  /** PROT_* bits. */
  readonly prot: number;
  /** MAP_* bits: exactly one of MAP_SHARED and MAP_PRIVATE. */
  readonly flags: number;
  /** The object to map, without MAP_ANONYMOUS. */
  readonly inode?: ShmemInode;
  /** First page of the object that is mapped. */
  readonly pgoff?: number;
  /**
   * Instead of an object: fills the mapping (file_operations.mmap). 0, or an errno, with which the
   * call fails.
   */
  readonly mmapFile?: (vma: Vma) => number;
}

const unmapRangeEvent = new MmuNotifierRange();

/**
 * Maps memory (mmap).
 *
 * @returns the address; EINVAL for a length of 0, numbers that are no addresses, an unaligned fixed
 * address, not exactly one of shared and private, or huge pages of an object or an unknown size;
 * EBADF without object and MAP_ANONYMOUS; EOVERFLOW when pgoff and length overflow; ENOMEM when it
 * does not fit or there are too many VMAs; EPERM below MMAP_MIN_ADDR; EEXIST for
 * MAP_FIXED_NOREPLACE over something; ESRCH when the address space is gone.
 * Context: takes the mmap lock for write, may wait for it.
 */
export function doMmap(mm: MmStruct, request: MmapRequest): MaybePromise<number> {
  const invalid = checkRequest(request);
  if (isErr(invalid)) return invalid;
  return underWriteLock(mm, () => mapLocked(mm, request));
}

/**
 * Unmaps [addr, addr + length) (munmap); parts that are not mapped are fine.
 *
 * @param addr Page aligned. @param length Bytes, rounded up to whole pages. @returns 0; EINVAL for
 * bad arguments, also for a cut inside a huge page; ENOMEM when a VMA would have to be split and
 * there are too many; ESRCH when the address space is gone. Context: takes the mmap lock for write,
 * may wait for it.
 */
export function doMunmap(mm: MmStruct, addr: number, length: number): MaybePromise<number> {
  if (!isAddress(addr) || !isAddress(length) || !isPageAligned(addr)) return errno.EINVAL;
  if (length === 0 || addr > TASK_SIZE || length > TASK_SIZE - addr) return errno.EINVAL;
  return underWriteLock(mm, () => unmapLocked(mm, addr, addr + pageAlignUp(length)));
}

/**
 * Runs `change` with the mmap lock held for write.
 *
 * @returns what `change` returns; ESRCH when the address space died before the lock was ours.
 */
export function underWriteLock(mm: MmStruct, change: () => number): MaybePromise<number> {
  return andThen(mm.mmapLock.writeLock(), () => {
    try {
      return mm.users > 0 ? change() : errno.ESRCH;
    } finally {
      mm.mmapLock.writeUnlock();
    }
  });
}

/**
 * Runs `work` with the mmap lock held for read, also over its waits.
 *
 * @returns what `work` returns; ESRCH when the address space died before the lock was ours.
 */
export function underReadLock(
  mm: MmStruct,
  work: () => MaybePromise<number>,
): MaybePromise<number> {
  return andThen(mm.mmapLock.readLock(), () => {
    const result = mm.users > 0 ? work() : errno.ESRCH;
    return andThen(result, (status) => {
      mm.mmapLock.readUnlock();
      return status;
    });
  });
}

/**
 * Removes every mapping of [start, end) (do_vmi_align_munmap).
 *
 * @returns 0; ENOMEM (too many VMAs), EINVAL (an end inside a huge page): nothing changed.
 * Context: mmap lock held for write; start and end page aligned.
 */
export function unmapLocked(mm: MmStruct, start: number, end: number): number {
  const { vmas } = mm;
  const first = vmas[vmaIndexAfter(mm, start)];
  if (first === undefined || first.vmStart >= end) return 0;
  const cutsHole = first.vmStart < start && first.vmEnd > end;
  if (cutsHole && vmas.length >= MAX_MAP_COUNT) return errno.ENOMEM;
  if (first.vmStart < start && !maySplitVma(first, start)) return errno.EINVAL;
  const tail = vmas[vmaIndexAfter(mm, end - 1)];
  const cutsTail = tail !== undefined && tail.vmStart < end && tail.vmEnd > end;
  if (cutsTail && !maySplitVma(tail, end)) return errno.EINVAL;
  if (first.vmStart < start) splitVma(first, start);
  const last = vmas[vmaIndexAfter(mm, end - 1)];
  if (last !== undefined && last.vmStart < end && last.vmEnd > end) splitVma(last, end);
  // No VMA crosses either bound any more: those that start inside are the ones to go.
  const from = vmaIndexAfter(mm, start);
  let to = from;
  while (to < vmas.length && vmas[to]!.vmStart < end) to++;
  detachAndZap(mm, vmas.splice(from, to - from));
  freePgtables(mm, start, end);
  return 0;
}

/** Frees the page tables of [start, end) that hold no entry any more (free_pgtables). */
export function freePgtables(mm: MmStruct, start: number, end: number): void {
  const tables = mm.sys.pageTables.freeEmptyTables(mm.pgd, start, end);
  syncTableWalks(mm, tables);
}

function detachAndZap(mm: MmStruct, gone: readonly Vma[]): void {
  const start = gone[0]!.vmStart;
  const end = gone[gone.length - 1]!.vmEnd;
  mmuNotifierRangeInit(unmapRangeEvent, MMU_NOTIFY_UNMAP, mm, start, end);
  mmuNotifierInvalidateRangeStart(unmapRangeEvent);
  for (const vma of gone) unmapPageRange(vma, vma.vmStart, vma.vmEnd);
  mmuNotifierInvalidateRangeEnd(unmapRangeEvent);
  for (const vma of gone) releaseVma(vma);
}

/** The checks that need no address space. 0 or an errno. */
function checkRequest(request: MmapRequest): number {
  const { length, prot, flags, inode } = request;
  const addr = request.addr ?? 0;
  const pgoff = request.pgoff ?? 0;
  if (!isAddress(addr) || !isAddress(length) || !isAddress(pgoff)) return errno.EINVAL;
  // Bit operations would take what is no number for 0.
  if (!Number.isSafeInteger(prot) || !Number.isSafeInteger(flags)) return errno.EINVAL;
  const sharing = flags & (MAP_SHARED | MAP_PRIVATE);
  if (sharing !== MAP_SHARED && sharing !== MAP_PRIVATE) return errno.EINVAL;
  if ((flags & MAP_ANONYMOUS) === 0 && (inode ?? request.mmapFile) === undefined) {
    return errno.EBADF;
  }
  if ((flags & MAP_HUGETLB) !== 0) {
    if ((flags & MAP_ANONYMOUS) === 0 || !hasHugePageSize(flags)) return errno.EINVAL;
  }
  if (length === 0) return errno.EINVAL;
  if (length > TASK_SIZE) return errno.ENOMEM;
  if (pgoff + pageAlignUp(length) / PAGE_SIZE >= 2 ** 52) return errno.EOVERFLOW;
  return 0;
}

function mapLocked(mm: MmStruct, request: MmapRequest): number {
  if (mm.vmas.length >= MAX_MAP_COUNT) return errno.ENOMEM;
  const isHuge = (request.flags & MAP_HUGETLB) !== 0;
  const unit = isHuge ? PMD_SIZE : PAGE_SIZE;
  const length = alignUp(request.length, unit);
  const addr = getUnmappedArea(mm, request.addr ?? 0, length, request.flags);
  if (isErr(addr)) return addr;
  const isAnonymous = (request.flags & MAP_ANONYMOUS) !== 0;
  let inode = isAnonymous ? null : (request.inode ?? null);
  if (isAnonymous && (request.flags & MAP_SHARED) !== 0) {
    const created = shmemCreate(mm.sys, length);
    if (typeof created === 'number') return created;
    inode = created;
  }
  const cleared = unmapLocked(mm, addr, addr + length);
  if (!isErr(cleared)) {
    const shared = (request.flags & MAP_SHARED) !== 0 ? VM_SHARED : 0;
    const huge = isHuge ? VM_HUGETLB | VM_DONTEXPAND : 0;
    const vmFlags = (request.prot & VM_ACCESS_FLAGS) | VM_SOFTDIRTY | shared | huge;
    const fileOffset = isAnonymous ? 0 : (request.pgoff ?? 0);
    const hasOffset = !isAnonymous || inode !== null;
    const pgoff = hasOffset ? fileOffset : addr / PAGE_SIZE;
    const vma = makeVma(mm, addr, addr + length, vmFlags, pgoff, inode);
    linkVma(vma);
    if (!isAnonymous && inode === null) return callMmap(vma, request);
    mergeVma(vma);
  }
  // The VMA is a user of its object by now; the reference from its creation goes.
  if (isAnonymous && inode !== null) shmemPut(inode);
  return isErr(cleared) ? cleared : addr;
}

/** Lets a driver fill its mapping (call_mmap): the address, or its errno with nothing mapped. */
function callMmap(vma: Vma, request: MmapRequest): number {
  const { mm, vmStart, vmEnd } = vma;
  const status = request.mmapFile?.(vma) ?? errno.EBADF;
  if (!isErr(status)) return vmStart;
  unmapLocked(mm, vmStart, vmEnd);
  return status;
}

/**
 * Where a mapping of `length` bytes goes (get_unmapped_area).
 *
 * @param addr Hint, or the place with MAP_FIXED; 0 for any. @param length Bytes, whole pages.
 * @returns the address; EINVAL, ENOMEM, EPERM, EEXIST as doMmap. Context: mmap lock held.
 */
export function getUnmappedArea(mm: MmStruct, addr: number, length: number, flags: number): number {
  const unit = (flags & MAP_HUGETLB) === 0 ? PAGE_SIZE : PMD_SIZE;
  if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0) {
    if (addr % unit !== 0) return errno.EINVAL;
    if (addr > TASK_SIZE - length) return errno.ENOMEM;
    if (addr < MMAP_MIN_ADDR) return errno.EPERM;
    const mustBeFree = (flags & MAP_FIXED_NOREPLACE) !== 0;
    return mustBeFree && !isFree(mm, addr, length) ? errno.EEXIST : addr;
  }
  if (addr !== 0) {
    const hint =
      unit === PAGE_SIZE ? Math.max(pageAlignDown(addr), MMAP_MIN_ADDR) : alignUp(addr, unit);
    if (hint <= TASK_SIZE - length && isFree(mm, hint, length)) return hint;
  }
  const below = highestGap(mm, length, MMAP_BASE, unit);
  return isErr(below) ? highestGap(mm, length, TASK_SIZE, unit) : below;
}

function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function isFree(mm: MmStruct, addr: number, length: number): boolean {
  const next = mm.vmas[vmaIndexAfter(mm, addr)];
  return next === undefined || next.vmStart >= addr + length;
}

/** The highest aligned free range of `length` bytes below `ceiling`: its start, or ENOMEM. */
function highestGap(mm: MmStruct, length: number, ceiling: number, unit: number): number {
  let gapEnd = ceiling;
  for (let i = mm.vmas.length - 1; i >= 0; i--) {
    const vma = mm.vmas[i]!;
    const start = lastFit(gapEnd, length, unit);
    if (start >= Math.max(vma.vmEnd, MMAP_MIN_ADDR)) return start;
    gapEnd = Math.min(gapEnd, vma.vmStart);
  }
  const start = lastFit(gapEnd, length, unit);
  return start >= MMAP_MIN_ADDR ? start : errno.ENOMEM;
}

/** The highest aligned address from which on `length` bytes end at or below `end`. */
function lastFit(end: number, length: number, unit: number): number {
  return Math.floor((end - length) / unit) * unit;
}
