/**
 * Shared memory objects and their page cache (mm/shmem.c, mm/filemap.c): what
 * MAP_SHARED|MAP_ANONYMOUS and memfd map. The cache is an array of pfns by page index and holds one
 * reference per page; pages are made on the first fault and live until the object goes.
 *
 * Lifetime: an inode has one user per VMA that maps it and one per open handle; the last one
 * leaving evicts the cache.
 *
 * Leaves out: swap, truncation, hole punching, reads and writes through a file descriptor.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { bytesToPages, isAddress } from '../base/units.ts';
import { clearHighpage } from './highmem.ts';
import { VmaIntervals } from './interval-tree.ts';
import type { System } from './mm-types.ts';
import { allocPage, putPage } from './page-alloc.ts';
import { PG_LRU, PG_SWAPBACKED, PG_UPTODATE } from './page.ts';

/** A shared memory object (struct inode with its address_space). */
export class ShmemInode {
  readonly sys: System;
  /** Position in `sys.inodes`, what mapping words hold. */
  readonly id: number;
  /** Pfn by page index; 0 = not there. Its length is the object's size in pages. */
  readonly cache: Uint32Array;
  /** VMAs that map the object (i_mmap). */
  readonly intervals = new VmaIntervals();
  /** Mapping VMAs and open handles. */
  users = 1;
  /** Pages in the cache. */
  nrPages = 0;

  constructor(sys: System, id: number, cache: Uint32Array) {
    this.sys = sys;
    this.id = id;
    this.cache = cache;
  }
}

/**
 * Makes a shared memory object of zeroes with one user, the caller (shmem_file_setup).
 *
 * @param length Bytes; the last page may be partial. @returns the object; EINVAL for a length that
 * is no positive byte count; ENOMEM when the host can't hold its index. Context: never waits.
 */
export function shmemCreate(sys: System, length: number): ShmemInode | number {
  if (!isAddress(length) || length === 0) return errno.EINVAL;
  let cache: Uint32Array;
  try {
    cache = new Uint32Array(bytesToPages(length));
  } catch (error) {
    if (error instanceof RangeError) return errno.ENOMEM;
    throw error;
  }
  const id = sys.freeInodeIds.pop() ?? sys.inodes.length;
  const inode = new ShmemInode(sys, id, cache);
  sys.inodes[id] = inode;
  return inode;
}

/** Adds a user (get_file). Context: any. */
export function shmemGet(inode: ShmemInode): void {
  assert(inode.users > 0, 'I15: a shared object in use has users');
  inode.users++;
}

/** Drops a user; the last one evicts every page (fput, shmem_evict_inode). Context: any. */
export function shmemPut(inode: ShmemInode): void {
  assert(inode.users > 0, 'I15: a shared object in use has users');
  inode.users--;
  if (inode.users > 0) return;
  const { sys, cache } = inode;
  for (let index = 0; index < cache.length && inode.nrPages > 0; index++) {
    const pfn = cache[index]!;
    if (pfn === 0) continue;
    cache[index] = 0;
    inode.nrPages--;
    // A pin may keep the page alive; it belongs to nobody from here on.
    sys.mem.mapping[pfn] = 0;
    putPage(sys, pfn);
  }
  sys.inodes[inode.id] = null;
  sys.freeInodeIds.push(inode.id);
}

/**
 * Finds or makes the page at an index, for a fault (shmem_fault).
 *
 * @returns the pfn, locked and with a reference for the caller; EFAULT beyond the end of the object
 * (SIGBUS); ENOMEM. Context: mmap lock held; waits while somebody else holds the page lock.
 */
export function shmemFault(inode: ShmemInode, index: number): MaybePromise<number> {
  const { sys, cache } = inode;
  if (index >= cache.length) return errno.EFAULT;
  const cached = cache[index]!;
  if (cached === 0) return addToPageCache(inode, index);
  sys.mem.getPage(cached);
  const locked = sys.mem.lockPage(cached);
  if (isPending(locked)) return locked.then(() => recheckLocked(inode, index, cached));
  return cached;
}

/** The page may have been replaced by migration while its lock was waited for. */
function recheckLocked(inode: ShmemInode, index: number, pfn: number): MaybePromise<number> {
  if (inode.cache[index] === pfn) return pfn;
  inode.sys.mem.unlockPage(pfn);
  putPage(inode.sys, pfn);
  return shmemFault(inode, index);
}

function addToPageCache(inode: ShmemInode, index: number): number {
  const { sys, cache } = inode;
  const pfn = allocPage(sys);
  if (pfn < 0) return pfn;
  clearHighpage(sys, pfn);
  const mem = sys.mem;
  mem.mapping[pfn] = (inode.id << 1) >>> 0;
  mem.index[pfn] = index;
  mem.setFlag(pfn, PG_UPTODATE | PG_SWAPBACKED | PG_LRU);
  assert(mem.trylockPage(pfn), 'nobody else can have locked a fresh page');
  // The allocation's reference becomes the cache's; the caller gets one of its own.
  mem.getPage(pfn);
  cache[index] = pfn;
  inode.nrPages++;
  return pfn;
}
