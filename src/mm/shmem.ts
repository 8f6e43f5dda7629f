/**
 * Shared memory objects (mm/shmem.c): what MAP_SHARED|MAP_ANONYMOUS, memfd and files in tmpfs map.
 * The page cache is a sparse array of pfns by page index and holds one reference per page. A page
 * is made by the first fault or write, and lives until it is truncated, punched out, or the object
 * goes. Reading and writing by file descriptor: filemap.ts; changes of the size: truncate.ts.
 *
 * Lifetime: an inode has one user per VMA that maps it and one per open handle; the last one
 * leaving evicts the cache.
 *
 * Locking: a page enters and leaves the cache with its lock held; `lock` (i_rwsem) serialises
 * writes and changes of the size. Order: inode lock > page lock; faults take the page lock only.
 *
 * Leaves out: swap, huge pages, seals, quotas.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { Mutex } from '../base/mutex.ts';
import { bytesToPages, isAddress } from '../base/units.ts';
import { clearHighpage } from './highmem.ts';
import { VmaIntervals } from './interval-tree.ts';
import type { System } from './mm-types.ts';
import { allocPage, putPage } from './page-alloc.ts';
import { PG_DIRTY, PG_LRU, PG_SWAPBACKED, PG_UPTODATE } from './page.ts';
import { XArray } from './xarray.ts';

/** A shared memory object (struct inode with its address_space). */
export class ShmemInode {
  readonly sys: System;
  /** Position in `sys.inodes`, what mapping words hold. */
  readonly id: number;
  /** Pfn by page index; 0 = not there. */
  readonly cache = new XArray();
  /** VMAs that map the object (i_mmap). */
  readonly intervals = new VmaIntervals();
  /** Held by writes and changes of the size (i_rwsem). */
  readonly lock = new Mutex();
  /** Bytes (i_size). */
  size: number;
  /** Mapping VMAs and open handles. */
  users = 1;
  /** Pages in the cache. */
  nrPages = 0;

  constructor(sys: System, id: number, size: number) {
    this.sys = sys;
    this.id = id;
    this.size = size;
  }
}

/**
 * Makes a shared memory object of zeroes with one user, the caller (shmem_file_setup).
 *
 * @param length Bytes; the last page may be partial, 0 makes an empty file. @returns the object;
 * EINVAL for a length that is no byte count. Context: never waits.
 */
export function shmemCreate(sys: System, length: number): ShmemInode | number {
  if (!isAddress(length)) return errno.EINVAL;
  const id = sys.freeInodeIds.pop() ?? sys.inodes.length;
  const inode = new ShmemInode(sys, id, length);
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
  for (let index = cache.next(0, Infinity); index < Infinity; index = cache.next(index, Infinity)) {
    deleteFromPageCache(inode, index);
  }
  sys.inodes[inode.id] = null;
  sys.freeInodeIds.push(inode.id);
}

/**
 * Takes the page at an index out of the cache and drops the cache's reference
 * (filemap_remove_folio). A pin may keep the page alive; it belongs to nobody from here on.
 *
 * Context: nothing maps the page; its lock is held unless the object has no user any more.
 */
export function deleteFromPageCache(inode: ShmemInode, index: number): void {
  const pfn = inode.cache.set(index, 0);
  assert(pfn !== 0, 'I15: a page-cache page knows its place');
  inode.nrPages--;
  inode.sys.mem.mapping[pfn] = 0;
  putPage(inode.sys, pfn);
}

/**
 * Finds or makes the page at an index, for a fault (shmem_fault).
 *
 * @returns the pfn, locked and with a reference for the caller; EFAULT beyond the end of the object
 * (SIGBUS); ENOMEM. Context: mmap lock held; waits while somebody else holds the page lock.
 */
export function shmemFault(inode: ShmemInode, index: number): MaybePromise<number> {
  if (index >= bytesToPages(inode.size)) return errno.EFAULT;
  if (inode.cache.get(index) === 0) return addToPageCache(inode, index);
  const page = filemapLockFolio(inode, index);
  return isPending(page) ? page.then((pfn) => recheckFault(inode, index, pfn)) : page;
}

/** While the page lock was waited for, the object may have become shorter. */
function recheckFault(inode: ShmemInode, index: number, pfn: number): MaybePromise<number> {
  if (pfn === errno.ENOENT) return shmemFault(inode, index);
  if (index < bytesToPages(inode.size)) return pfn;
  inode.sys.mem.unlockPage(pfn);
  putPage(inode.sys, pfn);
  return errno.EFAULT;
}

/**
 * Finds or makes the page at an index, for a write (shmem_get_folio), also beyond the end.
 *
 * @returns the pfn, locked and with a reference for the caller; ENOMEM. Context: inode lock held,
 * so that nothing is truncated; waits while somebody else holds the page lock.
 */
export function shmemGetFolio(inode: ShmemInode, index: number): MaybePromise<number> {
  return inode.cache.get(index) === 0
    ? addToPageCache(inode, index)
    : filemapLockFolio(inode, index);
}

/**
 * The page at an index, if the cache has it (filemap_lock_folio).
 *
 * @returns the pfn, locked and with a reference for the caller; ENOENT. Context: no page lock held;
 * waits while somebody else holds the page's.
 */
export function filemapLockFolio(inode: ShmemInode, index: number): MaybePromise<number> {
  const cached = inode.cache.get(index);
  if (cached === 0) return errno.ENOENT;
  inode.sys.mem.getPage(cached);
  const locked = inode.sys.mem.lockPage(cached);
  if (isPending(locked)) return locked.then(() => recheckLocked(inode, index, cached));
  return cached;
}

/** While its lock was waited for, the page may have been replaced by migration or truncated. */
function recheckLocked(inode: ShmemInode, index: number, pfn: number): MaybePromise<number> {
  if (inode.cache.get(index) === pfn) return pfn;
  inode.sys.mem.unlockPage(pfn);
  putPage(inode.sys, pfn);
  return filemapLockFolio(inode, index);
}

/**
 * Puts a page that userfaultfd filled into the cache (shmem_mfill_atomic_pte). The caller keeps its
 * own reference, the cache takes one.
 *
 * @returns 0; EFAULT beyond the end of the object; EEXIST when there is a page already. Context:
 * the page is mapped nowhere; never waits.
 */
export function shmemInsertPage(inode: ShmemInode, index: number, pfn: number): number {
  const { sys, cache } = inode;
  if (index >= bytesToPages(inode.size)) return errno.EFAULT;
  if (cache.get(index) !== 0) return errno.EEXIST;
  const { mem } = sys;
  mem.mapping[pfn] = (inode.id << 1) >>> 0;
  mem.index[pfn] = index;
  mem.setFlag(pfn, PG_UPTODATE | PG_SWAPBACKED | PG_LRU | PG_DIRTY);
  mem.getPage(pfn);
  cache.set(index, pfn);
  inode.nrPages++;
  return 0;
}

/**
 * Makes the page at an index that has none: zeroes (filemap_add_folio).
 *
 * @returns the pfn, locked and with a reference for the caller; ENOMEM. Context: never waits.
 */
export function addToPageCache(inode: ShmemInode, index: number): number {
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
  cache.set(index, pfn);
  inode.nrPages++;
  return pfn;
}
