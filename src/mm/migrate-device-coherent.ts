/**
 * Coherent device pages out of the way of long-term pins (mm/migrate_device.c:
 * migrate_device_coherent_folio): such memory must always be evictable, so a page of it is moved to
 * RAM before it is pinned for long. The CPU reaches both pages, so it copies by itself.
 *
 * Locking: the page lock, which may be waited for. Callers hold the mmap lock for read.
 *
 * Leaves out: large folios.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { copyHighpage } from './highmem.ts';
import { migrateDeviceUnmap } from './migrate-device-unmap.ts';
import { migrateDeviceFinalize, migrateDevicePages } from './migrate-device.ts';
import { MIGRATE_PFN_MIGRATE, NO_FAULT_PAGE, migratePfn } from './migrate-types.ts';
import type { System } from './mm-types.ts';
import { allocPage } from './page-alloc.ts';

/**
 * Moves one coherent page to RAM, wherever it is mapped (migrate_device_coherent_folio).
 *
 * @param pfn The page; the caller's reference on it is used up in any case.
 * @returns 0; EBUSY when somebody else has a reference on it, or RAM is full: the page stays.
 * Context: no page lock held; may wait for the page's.
 */
export function migrateDeviceCoherentFolio(sys: System, pfn: number): MaybePromise<number> {
  assert(!sys.mem.isLarge(sys.mem.folioOf(pfn)), 'coherent memory has no large folios');
  return andThen(sys.mem.lockPage(pfn), () => migrateLocked(sys, pfn));
}

function migrateLocked(sys: System, pfn: number): number {
  const src = Uint32Array.of(migratePfn(pfn) | MIGRATE_PFN_MIGRATE);
  const dst = new Uint32Array(1);
  migrateDeviceUnmap(sys, src, 1, NO_FAULT_PAGE, null);
  // Unmapping has given everything back already.
  if (src[0] === 0) return errno.EBUSY;
  const target = allocPage(sys);
  if (!isErr(target)) {
    sys.mem.trylockPage(target);
    dst[0] = migratePfn(target);
  }
  migrateDevicePages(sys, src, dst, 1);
  const isMoved = (src[0]! & MIGRATE_PFN_MIGRATE) !== 0;
  // Only what was committed: nobody can reach either page before finalize.
  if (isMoved) copyHighpage(sys, target, pfn);
  migrateDeviceFinalize(sys, src, dst, 1);
  return isMoved ? 0 : errno.EBUSY;
}
