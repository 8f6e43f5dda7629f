/**
 * How a range is migrated: in windows, each with its own setup, copies and finalize, several of
 * them at the same time, so that the copy engine has work while pages are looked up. A long range
 * begins with a small window: its pages are usable long before the last one is. Our own; the
 * kernel's test device goes through its windows one by one.
 */
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { migrateVmaSetup } from '../mm/migrate-device.ts';
import { MIGRATE_VMA_SELECT_COMPOUND, NO_FAULT_PAGE } from '../mm/migrate-types.ts';
import { VM_READ } from '../mm/mm-types.ts';
import type { Vma } from '../mm/mm-types.ts';
import { isPmdLeaf } from '../mm/swapops.ts';
import { vmaLookup } from '../mm/vma-lookup.ts';
import type { DmirrorDevice } from './dmirror-device.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';
import { MAX_WINDOW_PAGES, WINDOW_PAGES } from './migrate-window.ts';
import type { MigrateWindow } from './migrate-window.ts';

/** Windows that are in progress at the same time. */
export const IN_FLIGHT = 3;
/** Pages of the first window of a long range: they take about as long as one page. */
const FIRST_PAGES = 16;
/** Pages of the others: enough to make a round trip cheap, few for those who wait for a page. */
const FULL_PAGES = 2 * WINDOW_PAGES;

/** A direction of migration: what happens to a window that setup has collected. */
export interface Way {
  /** MIGRATE_VMA_SELECT_*. */
  select(device: DmirrorDevice): number;
  /** Takes destinations, records the copies. @returns 0, or an errno that ended the migration. */
  allocate(mirror: Dmirror, window: MigrateWindow): number;
  /** Runs the copies. @returns the engine's answer. May wait. */
  copy(mirror: Dmirror, window: MigrateWindow): MaybePromise<number>;
  /** Ends the migration. @returns pages moved, or an errno. */
  finish(mirror: Dmirror, window: MigrateWindow, copied: number): number;
}

/**
 * Migrates the range of a command, window by window. `firstMs` of the command becomes the time
 * until its first window was done. There is one wait for each window, that for its copies, and no
 * function that waits for another: each would leave garbage behind.
 *
 * @returns pages migrated; EINVAL for a missing or unreadable VMA, or what ended a window, by
 * whichever comes first in the range: windows that have begun are finished, no further one begins.
 * Context: takes the mmap lock for read; waits.
 */
export async function walkWindows(mirror: Dmirror, cmd: DmirrorCmd, way: Way): Promise<number> {
  const { device, mm } = mirror;
  const began = device.context.nowMs();
  const end = cmd.addr + cmd.npages * PAGE_SIZE;
  const flying: MigrateWindow[] = [];
  let moved = 0;
  let failure = 0;
  let gap = 0;
  await mm.mmapLock.readLock();
  try {
    for (let addr = cmd.addr; addr < end || flying.length > 0;) {
      if (addr < end) {
        const vma = vmaLookup(mm, addr);
        if (vma === null || (vma.vmFlags & VM_READ) === 0) {
          // Those that are still in progress come before it, and so do their failures.
          gap = errno.EINVAL;
          addr = end;
          continue;
        }
        const next = Math.min(vma.vmEnd, windowEnd(mirror, cmd, addr));
        flying.push(beginWindow(mirror, vma, addr, next, way));
        // Pages that are to be early must not stand behind others in the device's queue.
        const isEarly = next - addr === FIRST_PAGES * PAGE_SIZE;
        addr = next;
        if (!isEarly && flying.length < IN_FLIGHT) continue;
      }
      const window = flying.shift()!;
      const { copying } = window;
      const result = copying === null ? window.status : way.finish(mirror, window, await copying);
      window.countSkipped(cmd.skipped);
      device.windows.give(window);
      if (cmd.firstMs === 0) cmd.firstMs = device.context.nowMs() - began;
      if (!isErr(result)) moved += result;
      else {
        failure ||= result;
        addr = end;
      }
    }
  } finally {
    mm.mmapLock.readUnlock();
  }
  failure ||= gap;
  return failure === 0 ? moved : failure;
}

/**
 * Collects the pages of [start, end) and begins to copy them; none may be left to copy.
 *
 * @param start Page aligned, as `end`; both in `vma`. Context: mmap lock held; never waits.
 */
export function beginWindow(
  mirror: Dmirror,
  vma: Vma,
  start: number,
  end: number,
  way: Way,
): MigrateWindow {
  const { device } = mirror;
  const window = device.windows.take((end - start) / PAGE_SIZE);
  const select = way.select(device) | MIGRATE_VMA_SELECT_COMPOUND;
  const args = device.migrateArgs(window, vma, start, end, select, NO_FAULT_PAGE);
  window.status = migrateVmaSetup(args);
  if (isErr(window.status) || args.cpages === 0) return window;
  window.status = way.allocate(mirror, window);
  if (!isErr(window.status)) window.copying = way.copy(mirror, window);
  return window;
}

/** Where the window that begins at `addr` ends, its VMA aside. */
function windowEnd(mirror: Dmirror, cmd: DmirrorCmd, addr: number): number {
  const end = cmd.addr + cmd.npages * PAGE_SIZE;
  if (cmd.batch > 0) return Math.min(end, addr + cmd.batch * PAGE_SIZE);
  const isFirst = addr === cmd.addr && cmd.npages > WINDOW_PAGES;
  if (isFirst && mapsSinglePages(mirror, addr)) {
    const early = addr + FIRST_PAGES * PAGE_SIZE;
    const border = early - (early % PMD_SIZE);
    return border > addr && !mapsSinglePages(mirror, border) ? border : early;
  }
  // Where a page table ends, so that no large folio is cut.
  const full = addr + FULL_PAGES * PAGE_SIZE;
  return Math.min(end, full - (full % PMD_SIZE));
}

/** A large folio, or room for one, is not cut for the sake of being early. */
function mapsSinglePages(mirror: Dmirror, addr: number): boolean {
  const { pageTables } = mirror.mm.sys;
  const pmd = pageTables.words[pageTables.pmdOffset(mirror.mm.pgd, addr)]!;
  return pmd !== 0 && !isPmdLeaf(pmd);
}

/** True for a batch that a command may ask for: 0 for the driver's own windows. */
export function isBatch(pages: number): boolean {
  return Number.isInteger(pages) && pages >= 0 && pages <= MAX_WINDOW_PAGES;
}
