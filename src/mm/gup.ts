/**
 * Pinning user pages for I/O (mm/gup.c: pin_user_pages with FOLL_WRITE): the page is faulted in for
 * write, so that it is a page of the caller's own (or of a shared object), and gets
 * GUP_PIN_COUNTING_BIAS references. A pinned page is not migrated, and fork copies it for the
 * child. Device-private memory can't be pinned: the fault brings it home first.
 *
 * Leaves out: FOLL_GET, read-only and long-term pins, several pages at once.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { TASK_SIZE, isAddress } from '../base/units.ts';
import type { MmStruct, System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { GUP_PIN_COUNTING_BIAS } from './page.ts';
import { ACCESS_WRITE, FAULT_ENOMEM, FAULT_OK, accessiblePage, faultInUser } from './uaccess.ts';

/**
 * Pins the page at `addr` for writing (pin_user_pages).
 *
 * @returns its pfn, to be given back with unpinUserPage; EFAULT when the address can't be written;
 * ENOMEM. Context: mmap lock not held; waits for faults.
 */
export function pinUserPage(mm: MmStruct, addr: number): MaybePromise<number> {
  if (!isAddress(addr) || addr >= TASK_SIZE) return errno.EFAULT;
  for (;;) {
    const pfn = accessiblePage(mm, addr, ACCESS_WRITE);
    if (pfn !== 0) return addPin(mm.sys, pfn);
    const outcome = faultInUser(mm, addr, ACCESS_WRITE);
    if (isPending(outcome)) {
      return outcome.then((settled) =>
        settled === FAULT_OK ? pinUserPage(mm, addr) : faultErrno(settled),
      );
    }
    if (outcome !== FAULT_OK) return faultErrno(outcome);
  }
}

/** Gives a pinned page back (unpin_user_page). Context: any. */
export function unpinUserPage(sys: System, pfn: number): void {
  const { refcount } = sys.mem;
  const folio = sys.mem.folioOf(pfn);
  assert(refcount[folio]! >= GUP_PIN_COUNTING_BIAS, 'I21: a page that is unpinned was pinned');
  refcount[folio]! -= GUP_PIN_COUNTING_BIAS - 1;
  putPage(sys, folio);
}

function addPin(sys: System, pfn: number): number {
  const folio = sys.mem.folioOf(pfn);
  sys.mem.getPage(folio);
  sys.mem.refcount[folio]! += GUP_PIN_COUNTING_BIAS - 1;
  return pfn;
}

function faultErrno(outcome: number): number {
  return outcome === FAULT_ENOMEM ? errno.ENOMEM : errno.EFAULT;
}
