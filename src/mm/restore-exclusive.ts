/**
 * Taking a device's exclusive access back (mm/memory.c: remove_device_exclusive_entry,
 * restore_exclusive_pte). The page never left RAM; its entry becomes present again, with the rights
 * that the VMA has now.
 *
 * Locking: mmap lock held; the page lock serialises with the driver that was just given exclusive
 * access and has not programmed its device yet.
 */
import { assert } from '../base/assert.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, pageAlignDown } from '../base/units.ts';
import { needsSoftDirtyWp, vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY } from './page.ts';
import { PTE_DIRTY, PTE_SOFT_DIRTY, PTE_UFFD_WP, PTE_WRITE, mkPte, ptePfn } from './swapops.ts';
import { vmEventIndex } from './vmstat.ts';

const DEVICE_EXCLUSIVE_REVOKE = vmEventIndex('device_exclusive_revoke');

const clearRange = new MmuNotifierRange();

/**
 * A CPU, or somebody on its behalf, reached for a page that a device has for itself
 * (remove_device_exclusive_entry). Drivers hear of it by MMU_NOTIFY_CLEAR without owner, and drop
 * the device's atomic access.
 *
 * @param entry The device-exclusive entry that was found at `address`.
 * @returns 0: try the access again. Context: mmap lock held for read, kept; waits for the page
 * lock.
 */
export function removeDeviceExclusiveEntry(
  vma: Vma,
  address: number,
  entry: number,
): MaybePromise<number> {
  const { mem } = vma.mm.sys;
  const folio = mem.folioOf(ptePfn(entry));
  // Without a reference it could be freed while its lock is waited for.
  if (!mem.getPageUnlessZero(folio)) return 0;
  return andThen(mem.lockPage(folio), () => revoke(vma, pageAlignDown(address), entry, folio));
}

function revoke(vma: Vma, addr: number, entry: number, folio: number): number {
  const { mm } = vma;
  const { sys } = mm;
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  const at = sys.pageTables.pteOffset(mm.pgd, addr);
  if (sys.pageTables.words[at] === entry) restoreExclusivePte(vma, at, entry);
  sys.mem.unlockPage(folio);
  putPage(sys, folio);
  mmuNotifierInvalidateRangeEnd(clearRange);
  return 0;
}

/**
 * Takes exclusive access back for a copy of the entry at fork (try_restore_exclusive_pte). The
 * caller's own invalidation covers the page.
 *
 * @param at Word index of the entry. @returns false when somebody has the page locked: the driver
 * may be about to rely on its exclusive access. Context: mmap lock held; never waits.
 */
export function tryRestoreExclusivePte(vma: Vma, at: number): boolean {
  const { mem, pageTables } = vma.mm.sys;
  const entry = pageTables.words[at]!;
  const folio = mem.folioOf(ptePfn(entry));
  if (!mem.trylockPage(folio)) return false;
  restoreExclusivePte(vma, at, entry);
  mem.unlockPage(folio);
  return true;
}

/**
 * Makes a device-exclusive entry present again (restore_exclusive_pte): old, and writable only if
 * the VMA still is and the page is the process's alone.
 */
function restoreExclusivePte(vma: Vma, at: number, entry: number): void {
  const { mem, pageTables, vmstat } = vma.mm.sys;
  const pfn = ptePfn(entry);
  const folio = mem.folioOf(pfn);
  assert(mem.isLocked(folio), 'I35: exclusive access begins and ends under the page lock');
  let bits = vmaPageProt(vma) | (entry & (PTE_SOFT_DIRTY | PTE_UFFD_WP));
  const isOwn = mem.testFlag(pfn, PG_ANON_EXCLUSIVE) && (entry & PTE_UFFD_WP) === 0;
  if (vmaMayWrite(vma) && isOwn && !needsSoftDirtyWp(vma, entry)) {
    bits |= mem.testFlag(folio, PG_DIRTY) ? PTE_WRITE | PTE_DIRTY : PTE_WRITE;
  }
  // One non-empty entry for another: the table's use count stays, as do map count and reference.
  pageTables.publish(at, mkPte(pfn, bits));
  vmstat.add(DEVICE_EXCLUSIVE_REVOKE, 1);
}
