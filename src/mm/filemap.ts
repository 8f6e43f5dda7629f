/**
 * Reading and writing objects through a file descriptor (mm/filemap.c: filemap_read,
 * generic_perform_write), in RAM pages that mappings share: both sides see each other's bytes at
 * once.
 *
 * Locking: a read takes none, it copies between two waits. A write holds the inode lock throughout
 * and the page lock for each page: it waits for migration, and for a device that has the page lent.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, isAddress } from '../base/units.ts';
import { putPage } from './page-alloc.ts';
import { PG_DIRTY, PG_HWPOISON } from './page.ts';
import { filemapLockFolio, shmemGetFolio } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';

/**
 * Reads up to `target.length` bytes at `offset` (pread); holes read as zeroes and stay holes.
 *
 * @param offset Bytes. @returns bytes read, fewer only at the end of the object and before a page
 * whose contents are lost; EIO when that is the first; EINVAL for an offset that is no byte count.
 * Context: never waits.
 */
export function filemapRead(inode: ShmemInode, offset: number, target: Uint8Array): number {
  if (!isAddress(offset)) return errno.EINVAL;
  const { sys, cache } = inode;
  const count = Math.max(0, Math.min(target.length, inode.size - offset));
  for (let done = 0; done < count;) {
    const at = (offset + done) % PAGE_SIZE;
    const length = Math.min(PAGE_SIZE - at, count - done);
    const pfn = cache.get(Math.floor((offset + done) / PAGE_SIZE));
    if (sys.mem.testFlag(pfn, PG_HWPOISON)) return done > 0 ? done : errno.EIO;
    if (pfn === 0) target.fill(0, done, done + length);
    else target.set(sys.ram.subarray(pfn * PAGE_SIZE + at, pfn * PAGE_SIZE + at + length), done);
    done += length;
  }
  return count;
}

/**
 * Writes bytes at `offset` (pwrite); the object grows as far as needed, what lies between its old
 * end and `offset` is a hole.
 *
 * @param offset Bytes. @returns bytes written, fewer when memory ran out on the way; EINVAL for an
 * offset that is no byte count; EFBIG when the end would be none; ENOMEM or EIO when nothing was
 * written.
 * Context: takes the inode lock; waits for it and for page locks.
 */
export async function genericFileWrite(
  inode: ShmemInode,
  offset: number,
  source: Uint8Array,
): Promise<number> {
  if (!isAddress(offset)) return errno.EINVAL;
  if (!isAddress(offset + source.length)) return errno.EFBIG;
  await inode.lock.lock();
  try {
    return await writeLocked(inode, offset, source);
  } finally {
    inode.lock.unlock();
  }
}

async function writeLocked(inode: ShmemInode, offset: number, source: Uint8Array): Promise<number> {
  if (source.length > 0 && offset > inode.size) await zeroTail(inode, inode.size);
  let done = 0;
  while (done < source.length) {
    const position = offset + done;
    const at = position % PAGE_SIZE;
    const bytes = source.subarray(done, done + PAGE_SIZE - at);
    const status = await writePage(inode, position, bytes);
    if (isErr(status)) return done > 0 ? done : status;
    done += bytes.length;
    // Page by page, as the bytes become part of the object.
    inode.size = Math.max(inode.size, offset + done);
  }
  return done;
}

/** Writes bytes that lie in one page: 0; ENOMEM; EIO when what the page held is lost. */
async function writePage(inode: ShmemInode, position: number, bytes: Uint8Array): Promise<number> {
  const { sys } = inode;
  const pfn = await shmemGetFolio(inode, Math.floor(position / PAGE_SIZE));
  if (isErr(pfn)) return pfn;
  const isLost = sys.mem.testFlag(pfn, PG_HWPOISON);
  if (!isLost) {
    sys.ram.set(bytes, pfn * PAGE_SIZE + (position % PAGE_SIZE));
    sys.mem.setFlag(pfn, PG_DIRTY);
  }
  sys.mem.unlockPage(pfn);
  putPage(sys, pfn);
  return isLost ? errno.EIO : 0;
}

/**
 * Clears [from, to) in the page that holds it, if the cache has that page (truncate_inode_partial).
 *
 * @param from, to Bytes, in one page. Context: inode lock held; waits for the page lock.
 */
export async function zeroPartialPage(inode: ShmemInode, from: number, to: number): Promise<void> {
  const { sys } = inode;
  const pfn = await filemapLockFolio(inode, Math.floor(from / PAGE_SIZE));
  if (isErr(pfn)) return;
  const start = pfn * PAGE_SIZE + (from % PAGE_SIZE);
  sys.ram.fill(0, start, start + (to - from));
  sys.mem.setFlag(pfn, PG_DIRTY);
  sys.mem.unlockPage(pfn);
  putPage(sys, pfn);
}

/**
 * Clears the rest of the page that `end` lies in. A mapping may have stored there, behind the end
 * of the object; nobody may find that when the object grows.
 *
 * Context: inode lock held; waits for the page lock.
 */
export async function zeroTail(inode: ShmemInode, end: number): Promise<void> {
  const rest = end % PAGE_SIZE;
  if (rest !== 0) await zeroPartialPage(inode, end, end - rest + PAGE_SIZE);
}
