/**
 * Long-term pins (mm/gup.c: check_and_migrate_movable_pages): pages that must not stay pinned for
 * long where they are move away first, and the pin is tried again.
 *
 * RAM has no zone that has to stay movable, so all of it may be pinned for long. Coherent device
 * memory must always be evictable: its pages move to RAM.
 *
 * Leaves out: large folios of coherent memory.
 */
import { errno } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { unpinUserPage } from './gup-refs.ts';
import { migrateDeviceCoherentFolio } from './migrate-device-coherent.ts';
import type { System } from './mm-types.ts';

/**
 * Looks over freshly taken pages of a long-term pin (check_and_migrate_movable_pages).
 *
 * @param pfns The pages, all pinned by the caller.
 * @returns 0: all of them may stay pinned; EAGAIN: some had to move, all pins were dropped, pin
 * again; another errno (EBUSY: somebody else uses such a page, or no RAM): they can't be moved,
 * all pins were dropped. Context: mmap lock held for read; may wait for page locks.
 */
export function checkAndMigrateMovablePages(sys: System, pfns: Uint32Array): MaybePromise<number> {
  return pfns.some((pfn) => sys.mem.isDeviceCoherent(pfn)) ? moveFrom(sys, pfns, 0) : 0;
}

/** migrate_longterm_unpinnable_folios, from page `first` on; the pins before it are gone. */
function moveFrom(sys: System, pfns: Uint32Array, first: number): MaybePromise<number> {
  for (let i = first; i < pfns.length; i++) {
    const pfn = pfns[i]!;
    if (!sys.mem.isDeviceCoherent(pfn)) {
      unpinUserPage(sys, pfn);
      continue;
    }
    // A pinned page can't move: the pin becomes a plain reference, which the migration uses up.
    sys.mem.getPage(pfn);
    unpinUserPage(sys, pfn);
    const moved = migrateDeviceCoherentFolio(sys, pfn);
    if (isPending(moved)) return moved.then((status) => moveNext(sys, pfns, i, status));
    if (moved !== 0) return unpinRest(sys, pfns, i + 1, moved);
  }
  return errno.EAGAIN;
}

function moveNext(
  sys: System,
  pfns: Uint32Array,
  at: number,
  status: number,
): MaybePromise<number> {
  return status === 0 ? moveFrom(sys, pfns, at + 1) : unpinRest(sys, pfns, at + 1, status);
}

function unpinRest(sys: System, pfns: Uint32Array, first: number, status: number): number {
  for (let i = first; i < pfns.length; i++) unpinUserPage(sys, pfns[i]!);
  return status;
}
