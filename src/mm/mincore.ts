/**
 * Which pages can be had without input (mm/mincore.c). A page on a device counts as resident, as a
 * migration entry does: a fault brings it without reading from anywhere.
 *
 * Locking: takes the mmap lock for read.
 */
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, bytesToPages, isAddress, isPageAligned } from '../base/units.ts';
import { linearPageIndex } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { underReadLock } from './mmap.ts';
import {
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  leafKind,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { vmaLookup } from './vma-lookup.ts';

/**
 * Says of each page of [addr, addr + length) whether it is resident (mincore).
 *
 * @param addr Page aligned. @param length Bytes, rounded up to whole pages. @param vec A byte for
 * each page: bit 0 is the answer. @returns 0; EINVAL for numbers that are no addresses and an
 * unaligned address; ENOMEM for a range that is not mapped or reaches out of user space, with
 * `vec` filled up to there; ESRCH when the address space is gone.
 * Context: takes the mmap lock for read, may wait for it.
 */
export function doMincore(
  mm: MmStruct,
  addr: number,
  length: number,
  vec: Uint8Array,
): MaybePromise<number> {
  if (!isAddress(addr) || !isAddress(length) || !isPageAligned(addr)) return errno.EINVAL;
  if (addr > TASK_SIZE || length > TASK_SIZE - addr) return errno.ENOMEM;
  const pages = bytesToPages(length);
  return underReadLock(mm, () => {
    for (let i = 0; i < pages; i++) {
      const at = addr + i * PAGE_SIZE;
      const vma = vmaLookup(mm, at);
      if (vma === null) return errno.ENOMEM;
      vec[i] = isResident(vma, at) ? 1 : 0;
    }
    return 0;
  });
}

function isResident(vma: Vma, addr: number): boolean {
  const { sys, pgd } = vma.mm;
  const entry = sys.pageTables.words[sys.pageTables.leafOffset(pgd, addr)]!;
  if (ptePresent(entry)) return true;
  switch (leafKind(entry)) {
    case 0:
    case LEAF_MARKER_GUARD:
    case LEAF_MARKER_POISON:
    case LEAF_MARKER_UFFD_WP:
      return (vma.inode?.cache.get(linearPageIndex(vma, addr)) ?? 0) !== 0;
    case LEAF_SWAP:
      return (sys.swap?.cache[ptePfn(entry)] ?? 0) !== 0;
    default:
      return true;
  }
}
