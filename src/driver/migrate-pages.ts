/**
 * Migration of a set of pages, as a fault service asks for it: runs of neighbours become windows,
 * several of them at a time, each with its own setup, copies and finalize. Our own; a driver's
 * fault handler calls migrate_vma once for each range.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { Vma } from '../mm/mm-types.ts';
import { vmaLookup } from '../mm/vma-lookup.ts';
import type { Dmirror } from './dmirror.ts';
import { beginWindow, IN_FLIGHT } from './migrate-walk.ts';
import type { Way } from './migrate-walk.ts';
import { WINDOW_PAGES } from './migrate-window.ts';
import type { MigrateWindow } from './migrate-window.ts';

/** Windows in progress when they are small: the copies of all of them are one round trip. */
const MANY_IN_FLIGHT = 32;

/** A run of pages of one VMA that makes a window. */
interface Run {
  readonly vma: Vma;
  readonly pages: number;
}

/**
 * Migrates pages; those that have no VMA, or can't move, stay where they are.
 *
 * @param pages page numbers, ascending, the first `count`. @param firstPage virtual page number of
 * page 0. @returns 0; ENODEV or EIO when the copy engine failed, ENOMEM when RAM is full: what came
 * before has moved. Context: takes the mmap lock for read; waits for the copies.
 */
export async function migratePages(
  mirror: Dmirror,
  pages: Int32Array,
  count: number,
  firstPage: number,
  way: Way,
): Promise<number> {
  const { device, mm } = mirror;
  const flying: MigrateWindow[] = [];
  let failure = 0;
  await mm.mmapLock.readLock();
  try {
    for (let at = 0; at < count || flying.length > 0;) {
      if (at < count && failure === 0) {
        const start = (firstPage + pages[at]!) * PAGE_SIZE;
        const run = runAt(mirror, pages, at, count, start);
        at += run?.pages ?? 1;
        if (run === null) continue;
        flying.push(beginWindow(mirror, run.vma, start, start + run.pages * PAGE_SIZE, way));
        const most = run.pages < WINDOW_PAGES / 8 ? MANY_IN_FLIGHT : IN_FLIGHT;
        if (flying.length < most) continue;
      }
      if (failure !== 0) at = count;
      const window = flying.shift();
      if (window === undefined) continue;
      const { copying } = window;
      const result = copying === null ? window.status : way.finish(mirror, window, await copying);
      device.windows.give(window);
      // A window without pages to move is no failure, nor is one that may not move.
      if (isErr(result) && result !== errno.EINVAL) failure ||= result;
    }
  } finally {
    mm.mmapLock.readUnlock();
  }
  return failure;
}

/** The pages from `at` on that are neighbours in one VMA and in one page table. */
function runAt(
  mirror: Dmirror,
  pages: Int32Array,
  at: number,
  count: number,
  start: number,
): Run | null {
  const vma = vmaLookup(mirror.mm, start);
  if (vma === null) return null;
  const first = start / PAGE_SIZE;
  const room = Math.min(WINDOW_PAGES - (first % WINDOW_PAGES), vma.vmEnd / PAGE_SIZE - first);
  const most = Math.min(room, count - at);
  let length = 1;
  while (length < most && pages[at + length] === pages[at]! + length) length++;
  return { vma, pages: length };
}
