/**
 * Long-term pins (mm/gup.c: check_and_migrate_movable_pages): pages that must not stay pinned for
 * long where they are would be moved away first, and the pin tried again.
 *
 * RAM has no zone that has to stay movable, so all of it may be pinned for long.
 *
 * Leaves out: coherent device memory, which there is none of yet.
 */
import type { MaybePromise } from '../base/maybe.ts';
import type { System } from './mm-types.ts';

/**
 * Looks over freshly taken pages of a long-term pin (check_and_migrate_movable_pages).
 *
 * @param pfns The pages, all pinned by the caller.
 * @returns 0: all of them may stay pinned; EAGAIN: some had to move, all pins were dropped, pin
 * again; another errno: they can't be moved, all pins were dropped. Context: mmap lock held for
 * read; may wait for migrations.
 */
export function checkAndMigrateMovablePages(
  _sys: System,
  _pfns: Uint32Array,
): MaybePromise<number> {
  return 0;
}
