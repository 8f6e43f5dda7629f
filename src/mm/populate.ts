/**
 * Faulting in a range without looking at its pages (mm/gup.c: faultin_page_range), for
 * MADV_POPULATE_READ and MADV_POPULATE_WRITE.
 *
 * Locking: mmap lock held for read, also across the waits of faults; one that a userfaultfd serves
 * drops it, and it is taken again.
 */
import { errno } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE } from '../base/units.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_HWPOISON,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  handleMmFault,
} from './memory.ts';
import { VM_IO, VM_PFNMAP, VM_READ, VM_WRITE } from './mm-types.ts';
import type { MmStruct } from './mm-types.ts';
import { ACCESS_READ, ACCESS_WRITE, accessiblePage } from './uaccess.ts';
import { vmaLookup } from './vma-lookup.ts';

const FAULT_FLAGS = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY;

/**
 * Makes every page of [start, end) accessible, as one load or store a page would.
 *
 * @param start, end Page aligned. @returns 0; ENOMEM where nothing is mapped or memory ran out;
 * EINVAL for a VMA that does not allow the access; EHWPOISON for a poisoned page; EFAULT where the
 * access would be a signal. Pages before the failing one stay.
 * Context: see the file header.
 */
export function faultinPageRange(
  mm: MmStruct,
  start: number,
  end: number,
  write: boolean,
): MaybePromise<number> {
  const access = write ? ACCESS_WRITE : ACCESS_READ;
  for (let addr = start; addr < end;) {
    // Looked up again after each wait.
    const vma = vmaLookup(mm, addr);
    if (vma === null) return errno.ENOMEM;
    const needed = write ? VM_WRITE : VM_READ;
    if ((vma.vmFlags & (VM_IO | VM_PFNMAP | needed)) !== needed) return errno.EINVAL;
    if (accessiblePage(mm, addr, access) !== 0) {
      addr += PAGE_SIZE;
      continue;
    }
    const outcome = handleMmFault(vma, addr, FAULT_FLAGS | (write ? FAULT_FLAG_WRITE : 0));
    if (isPending(outcome)) return outcome.then((bits) => resume(mm, addr, end, write, bits));
    const failed = errnoOf(outcome);
    if (failed !== 0) return failed;
  }
  return 0;
}

/** Goes on after a fault that had to wait. */
function resume(
  mm: MmStruct,
  addr: number,
  end: number,
  write: boolean,
  bits: number,
): MaybePromise<number> {
  const failed = errnoOf(bits);
  if (failed !== 0) return failed;
  // A fault that a userfaultfd served has dropped the lock.
  const locked = (bits & VM_FAULT_RETRY) === 0 ? undefined : mm.mmapLock.readLock();
  return andThen(locked, () => faultinPageRange(mm, addr, end, write));
}

/** vm_fault_to_errno, as madvise reports it. */
function errnoOf(bits: number): number {
  if ((bits & VM_FAULT_ERROR) === 0) return 0;
  if ((bits & VM_FAULT_OOM) !== 0) return errno.ENOMEM;
  return (bits & VM_FAULT_HWPOISON) !== 0 ? errno.EHWPOISON : errno.EFAULT;
}
