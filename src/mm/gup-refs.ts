/**
 * The references that GUP takes and gives back (mm/gup.c: try_grab_folio, unpin_user_page). A get
 * is an ordinary reference; a pin counts GUP_PIN_COUNTING_BIAS of them, so that migration and fork
 * can tell that somebody works on the page's contents.
 *
 * The zero page is not pinned: nobody can change it and it never goes away.
 *
 * References and pins of a large folio are its head's. A pin of it is one reference, and counts in
 * its pin count: each of its pages may be mapped many times, so many references are no sign.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { GUP_PIN_COUNTING_BIAS, PG_DIRTY } from './page.ts';
import { vmEventIndex } from './vmstat.ts';

/** Flags of the GUP functions; values of include/linux/mm_types.h. */
export const FOLL_WRITE = 0x1;
/** Take references (what getUserPages* do; not for callers). */
export const FOLL_GET = 0x2;
/** Only what is mapped already: nothing is faulted in. */
export const FOLL_NOFAULT = 0x20;
/** The pin will be held for long: pages that must not be, move first. */
export const FOLL_LONGTERM = 0x100;
/** A PMD entry in the way is split into PTEs first. */
export const FOLL_SPLIT_PMD = 0x200;
/** The caller is not the owner of the address space. */
export const FOLL_REMOTE = 0x40000;
/** Take pins (what pinUserPages* do; not for callers). */
export const FOLL_PIN = 0x80000;
/** Never fall back from the walk without the mmap lock. */
export const FOLL_FAST_ONLY = 0x100000;
/** The mmap lock is the callee's own, so a fault may drop it (not for callers). */
export const FOLL_UNLOCKABLE = 0x200000;

/** Beyond this, a count could overflow (folio_ref_zero_or_close_to_overflow). */
const MOST_REFERENCES = 2 ** 31 - 2 * GUP_PIN_COUNTING_BIAS;

const FOLL_PIN_ACQUIRED = vmEventIndex('nr_foll_pin_acquired');
const FOLL_PIN_RELEASED = vmEventIndex('nr_foll_pin_released');

/**
 * Takes the reference or pin that the flags ask for (try_grab_folio).
 *
 * @param flags FOLL_GET or FOLL_PIN, among others. @returns 0; ENOMEM when the page has so many
 * references that the count could overflow: nothing was taken. Context: the page is live.
 */
export function tryGrabPage(sys: System, pfn: number, flags: number): number {
  const { refcount } = sys.mem;
  const folio = sys.mem.folioOf(pfn);
  if (refcount[folio]! > MOST_REFERENCES) return errno.ENOMEM;
  if ((flags & FOLL_GET) !== 0) {
    sys.mem.getPage(folio);
  } else if (pfn !== sys.zeroPfn) {
    sys.mem.getPage(folio);
    if (sys.mem.isLarge(folio)) sys.mem.pincount[folio]! += 1;
    else refcount[folio]! += GUP_PIN_COUNTING_BIAS - 1;
    sys.vmstat.add(FOLL_PIN_ACQUIRED, 1);
  }
  return 0;
}

/** Gives a pinned page back (unpin_user_page). Context: any; never waits. */
export function unpinUserPage(sys: System, pfn: number): void {
  if (pfn === sys.zeroPfn) return;
  const { mem } = sys;
  const folio = mem.folioOf(pfn);
  assert(mem.maybeDmaPinned(folio), 'I21: a page that is unpinned was pinned');
  if (mem.isLarge(folio)) mem.pincount[folio]! -= 1;
  else mem.refcount[folio]! -= GUP_PIN_COUNTING_BIAS - 1;
  sys.vmstat.add(FOLL_PIN_RELEASED, 1);
  putPage(sys, folio);
}

/** Gives pinned pages back (unpin_user_pages). Context: any; never waits. */
export function unpinUserPages(sys: System, pfns: Uint32Array): void {
  for (const pfn of pfns) unpinUserPage(sys, pfn);
}

/**
 * Gives pinned pages back that were written through the pin (unpin_user_pages_dirty_lock).
 *
 * @param makeDirty Whether they were. Context: any. The page lock that Linux takes to set the flag
 * is not needed: nothing truncates a page in between.
 */
export function unpinUserPagesDirtyLock(sys: System, pfns: Uint32Array, makeDirty: boolean): void {
  for (const pfn of pfns) {
    if (makeDirty && pfn !== sys.zeroPfn) sys.mem.setFlag(sys.mem.folioOf(pfn), PG_DIRTY);
    unpinUserPage(sys, pfn);
  }
}

/** Drops the references of getUserPages (put_page for each). Context: any; never waits. */
export function putUserPages(sys: System, pfns: Uint32Array): void {
  for (const pfn of pfns) putPage(sys, sys.mem.folioOf(pfn));
}
