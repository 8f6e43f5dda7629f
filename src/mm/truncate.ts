/**
 * Taking pages out of an object (mm/truncate.c, mm/memory.c: unmap_mapping_range, mm/shmem.c:
 * shmem_setattr and shmem_fallocate). Mappings go first, in every address space and with
 * MMU_NOTIFY_CLEAR, so that devices forget the pages, too; then each page is locked, which waits
 * for whoever migrates it or has it lent, and leaves the cache.
 *
 * Truncation also takes private copies beyond the new end away, on a device or not, since an access
 * there must be SIGBUS from now on. Punching a hole leaves them.
 *
 * Locking: inode lock > page lock. No mmap lock: entries change between two waits.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, bytesToPages, isAddress } from '../base/units.ts';
import { zeroPartialPage, zeroTail } from './filemap.ts';
import type { Vma } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { addToPageCache, deleteFromPageCache, filemapLockFolio } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';
import { zapPageRange } from './zap.ts';

/** Modes of fallocate; values of linux/falloc.h. */
export const FALLOC_FL_KEEP_SIZE = 0x1;
/** Take the range away, together with FALLOC_FL_KEEP_SIZE. */
export const FALLOC_FL_PUNCH_HOLE = 0x2;

/**
 * Unmaps pages of an object wherever they are mapped (unmap_mapping_pages).
 *
 * @param from, end Page indices. @param evenCows Private copies go as well. Context: any; never
 * waits.
 */
export function unmapMappingPages(
  inode: ShmemInode,
  from: number,
  end: number,
  evenCows: boolean,
): void {
  const { vmas } = inode.intervals;
  for (let i = inode.intervals.firstCandidate(from); i < vmas.length; i++) {
    const vma = vmas[i]!;
    if (vma.vmPgoff >= end) return;
    unmapInVma(vma, from, end, evenCows);
  }
}

function unmapInVma(vma: Vma, from: number, end: number, evenCows: boolean): void {
  const pages = (vma.vmEnd - vma.vmStart) / PAGE_SIZE;
  const first = Math.max(from - vma.vmPgoff, 0);
  const last = Math.min(end - vma.vmPgoff, pages);
  if (first >= last) return;
  const start = vma.vmStart + first * PAGE_SIZE;
  zapPageRange(vma, start, vma.vmStart + last * PAGE_SIZE, evenCows);
}

/**
 * Takes the pages of [from, end) out of the cache (truncate_inode_pages_range).
 *
 * @param from, end Page indices. Context: inode lock held, the range unmapped; waits for page
 * locks.
 */
async function truncateInodePages(inode: ShmemInode, from: number, end: number): Promise<void> {
  const { cache } = inode;
  for (let index = cache.next(from, end); index < end; index = cache.next(index + 1, end)) {
    const pfn = await filemapLockFolio(inode, index);
    if (isErr(pfn)) continue;
    // A fault may have mapped it again before we had its lock (truncate_cleanup_folio).
    if (inode.sys.mem.mapcount[pfn] !== 0) unmapMappingPages(inode, index, index + 1, false);
    deleteFromPageCache(inode, index);
    inode.sys.mem.unlockPage(pfn);
    putPage(inode.sys, pfn);
  }
}

/**
 * Changes the size of an object (ftruncate). Growing makes a hole; shrinking drops pages, and even
 * private copies, beyond the new end, and clears the rest of the last page.
 *
 * @param length Bytes. @returns 0; EINVAL for a length that is no byte count. Context: takes the
 * inode lock; waits for it and for page locks.
 */
export async function shmemTruncate(inode: ShmemInode, length: number): Promise<number> {
  if (!isAddress(length)) return errno.EINVAL;
  await inode.lock.lock();
  try {
    const oldSize = inode.size;
    if (length > oldSize) await zeroTail(inode, oldSize);
    // The new size first: from here on no fault makes a page beyond it.
    inode.size = length;
    if (length >= oldSize) return 0;
    const firstGone = bytesToPages(length);
    unmapMappingPages(inode, firstGone, Infinity, true);
    await truncateInodePages(inode, firstGone, Infinity);
    await zeroTail(inode, length);
    return 0;
  } finally {
    inode.lock.unlock();
  }
}

/**
 * Makes or drops the pages of a byte range (fallocate).
 *
 * @param mode 0: makes the pages, and grows the object as needed; FALLOC_FL_KEEP_SIZE: does not
 * grow it; FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE: drops whole pages, clears what is part of
 * one. @param offset, length Bytes. @returns 0; EOPNOTSUPP for another mode; EINVAL for an offset
 * that is no byte count or a length that is no positive one; EFBIG when the end is none; ENOMEM,
 * with nothing made. Context: takes the inode lock; waits for it and for page locks.
 */
export async function shmemFallocate(
  inode: ShmemInode,
  mode: number,
  offset: number,
  length: number,
): Promise<number> {
  const punches = mode === (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  if (!isAddress(offset) || !isAddress(length) || length === 0) return errno.EINVAL;
  if (!punches && mode !== 0 && mode !== FALLOC_FL_KEEP_SIZE) return errno.EOPNOTSUPP;
  const end = offset + length;
  if (!isAddress(end)) return errno.EFBIG;
  await inode.lock.lock();
  try {
    if (punches) return await punchHole(inode, offset, end);
    return await preallocate(inode, offset, end, mode === 0);
  } finally {
    inode.lock.unlock();
  }
}

async function punchHole(inode: ShmemInode, offset: number, end: number): Promise<number> {
  const first = Math.ceil(offset / PAGE_SIZE);
  const last = Math.floor(end / PAGE_SIZE);
  if (first < last) {
    unmapMappingPages(inode, first, last, false);
    await truncateInodePages(inode, first, last);
  }
  if (first > last) {
    // Both ends in one page.
    await zeroPartialPage(inode, offset, end);
    return 0;
  }
  if (offset % PAGE_SIZE !== 0) await zeroPartialPage(inode, offset, first * PAGE_SIZE);
  if (end % PAGE_SIZE !== 0) await zeroPartialPage(inode, last * PAGE_SIZE, end);
  return 0;
}

async function preallocate(
  inode: ShmemInode,
  offset: number,
  end: number,
  grows: boolean,
): Promise<number> {
  const status = makePages(inode, Math.floor(offset / PAGE_SIZE), bytesToPages(end));
  if (isErr(status) || !grows || end <= inode.size) return status;
  await zeroTail(inode, inode.size);
  inode.size = end;
  return 0;
}

/** Fills the holes of [from, end). 0, or ENOMEM with nothing made. Does not wait. */
function makePages(inode: ShmemInode, from: number, end: number): number {
  const { mem } = inode.sys;
  // More can't be had anyhow, and `made` stays small.
  if (end - from > inode.sys.ramPages) return errno.ENOMEM;
  const made: number[] = [];
  let status = 0;
  for (let index = from; index < end && status === 0; index++) {
    if (inode.cache.get(index) !== 0) continue;
    const pfn = addToPageCache(inode, index);
    if (isErr(pfn)) status = pfn;
    else made.push(index);
  }
  for (const index of made) {
    const pfn = inode.cache.get(index);
    if (status !== 0) deleteFromPageCache(inode, index);
    mem.unlockPage(pfn);
    putPage(inode.sys, pfn);
  }
  return status;
}
