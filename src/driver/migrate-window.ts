/**
 * Working memory of one migration in progress: the src and dst arrays of migrate_vma, the command
 * list of its copies and which row belongs to which page. Windows are pooled, so steady-state
 * migration allocates nothing per page. A migration covers at most WINDOW_PAGES (the reach of one
 * page table), the piece size of the kernel's test device.
 */
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PTRS_PER_TABLE } from '../base/units.ts';
import { CommandList } from '../engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import { putPage } from '../mm/page-alloc.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_WRITE,
  NO_FAULT_PAGE,
  migrateEntryPages,
  migratePfn,
  migratePfnToPage,
} from '../mm/migrate-types.ts';
import { SKIP_COPY_FAILED } from '../mm/skip-reason.ts';
import type { MigrateVma } from '../mm/migrate-types.ts';
import type { System, Vma } from '../mm/mm-types.ts';

/** What a window gives to migrate_vma; made once and filled in for each use. */
class WindowArgs implements MigrateVma {
  // Replaced for each use; there is no mapping that stands for "none".
  vma: Vma = undefined as unknown as Vma;
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  readonly reasons: Uint8Array;
  start = 0;
  end = 0;
  cpages = 0;
  npages = 0;
  pgmapOwner: unknown = null;
  flags = 0;
  faultPage = NO_FAULT_PAGE;

  constructor(src: Uint32Array, dst: Uint32Array, reasons: Uint8Array) {
    this.src = src;
    this.dst = dst;
    this.reasons = reasons;
  }
}

/** Pages that a window migrates, where nobody asks for more: the reach of one page table. */
export const WINDOW_PAGES = PTRS_PER_TABLE;
/** Most pages that one window migrates. */
export const MAX_WINDOW_PAGES = 4096;

/** Writes up to `count` locked pages to `pfns`. @returns how many there are. */
export type AllocatePages = (pfns: Uint32Array, count: number) => number;

export class MigrateWindow {
  /** Pages that it has room for. */
  readonly capacity: number;
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  /** Page slot of each row of `list`. */
  readonly slotOfRow: Uint32Array;
  readonly list: CommandList;
  /** SKIP_* code of each page that stays where it is. */
  readonly reasons: Uint8Array;
  readonly args: WindowArgs;
  /** The answer of the copies in progress; null when there are none: then `status` is the end. */
  copying: MaybePromise<number> | null = null;
  status = 0;
  /** Pages that it is used for; what lies behind is of an earlier use. */
  private npages = 0;
  private readonly taken = new Uint32Array(HPAGE_PMD_NR);

  constructor(capacity: number) {
    this.capacity = capacity;
    this.src = new Uint32Array(capacity);
    this.dst = new Uint32Array(capacity);
    this.slotOfRow = new Uint32Array(capacity);
    this.list = new CommandList(capacity);
    this.reasons = new Uint8Array(capacity);
    this.args = new WindowArgs(this.src, this.dst, this.reasons);
  }

  /** Empties the window for `npages` pages. */
  reset(npages: number): void {
    this.npages = npages;
    this.src.fill(0, 0, npages);
    this.dst.fill(0, 0, npages);
    this.reasons.fill(0, 0, npages);
    this.list.reset();
  }

  /** Adds the pages that did not migrate to `skipped`, by SKIP_* code. */
  countSkipped(skipped: Uint32Array): void {
    for (let i = 0; i < this.npages; i++) {
      const reason = this.reasons[i]!;
      if (reason !== 0) skipped[reason]! += 1;
    }
  }

  /**
   * Takes a locked destination for a slot of src[] and records the copy, or the clear of a hole.
   *
   * @param pages 1, or HPAGE_PMD_NR for a large folio that answers a compound entry.
   */
  fillSlot(slot: number, target: number, pages: number): void {
    const entry = this.src[slot]!;
    const flags = (entry & MIGRATE_PFN_WRITE) | (pages > 1 ? MIGRATE_PFN_COMPOUND : 0);
    this.record(slot, migratePfnToPage(entry), target, pages);
    this.dst[slot] = (migratePfn(target) | flags) >>> 0;
  }

  /**
   * Answers a compound entry with single pages: all of them, or none and the folio stays.
   *
   * @param alloc Gives locked pages, as many as it can. @returns 0, or ENOMEM.
   */
  fillWithPages(sys: System, slot: number, alloc: AllocatePages): number {
    const entry = this.src[slot]!;
    const source = migratePfnToPage(entry);
    const count = alloc(this.taken, HPAGE_PMD_NR);
    if (count < HPAGE_PMD_NR) {
      for (let i = 0; i < count; i++) unlockAndPut(sys, this.taken[i]!);
      return errno.ENOMEM;
    }
    for (let i = 0; i < HPAGE_PMD_NR; i++) {
      const target = this.taken[i]!;
      this.record(slot + i, source < 0 ? source : source + i, target, 1);
      this.dst[slot + i] = (migratePfn(target) | (entry & MIGRATE_PFN_WRITE)) >>> 0;
    }
    return 0;
  }

  private record(slot: number, source: number, target: number, pages: number): void {
    this.slotOfRow[this.list.length] = slot;
    if (source < 0) this.list.clear(target, pages);
    else this.list.copy(source, target, pages);
  }

  /**
   * Runs the copies.
   *
   * @returns 0, or the engine's errno (ENODEV, EIO): give it to `settle`.
   */
  copy(engine: CopyEngine, strategy: StrategyName): MaybePromise<number> {
    return this.list.length === 0 ? 0 : engine.submit(this.list, strategy);
  }

  /**
   * Ends the copies: destinations whose copy did not complete are given back and their dst entry is
   * cleared, so that finalize restores those pages. The pages that were copied still migrate.
   *
   * @param status What `copy` answered. @returns the same.
   */
  settle(sys: System, status: number): number {
    if (status === 0) return 0;
    const { list } = this;
    for (let row = 0; row < list.length; row++) {
      if (list.done[row] === 0 || status === errno.EINVAL) {
        this.dropUncopied(sys, this.slotOfRow[row]!);
      }
    }
    this.dropHalfFilled(sys);
    return status;
  }

  /** A large folio that single pages were to take over stays whole unless all of them are there. */
  private dropHalfFilled(sys: System): void {
    for (let i = 0; i < this.npages; i += migrateEntryPages(this.src[i]!)) {
      if ((this.src[i]! & MIGRATE_PFN_COMPOUND) === 0) continue;
      if ((this.dst[i]! & MIGRATE_PFN_COMPOUND) !== 0) continue;
      const slots = this.dst.subarray(i, i + HPAGE_PMD_NR);
      if (slots.every((entry) => entry !== 0)) continue;
      for (let j = i; j < i + HPAGE_PMD_NR; j++) this.dropUncopied(sys, j);
    }
  }

  /** The same, and says that the copy was why. */
  private dropUncopied(sys: System, slot: number): void {
    if (migratePfnToPage(this.dst[slot]!) < 0) return;
    const pages = migrateEntryPages(this.dst[slot]!);
    this.dropDestination(sys, slot);
    this.reasons.fill(SKIP_COPY_FAILED, slot, slot + pages);
  }

  /** Gives back the locked destination of a slot and clears its entry. */
  dropDestination(sys: System, slot: number): void {
    const pfn = migratePfnToPage(this.dst[slot]!);
    if (pfn < 0) return;
    this.dst[slot] = 0;
    unlockAndPut(sys, pfn);
  }
}

function unlockAndPut(sys: System, pfn: number): void {
  sys.mem.unlockPage(pfn);
  putPage(sys, pfn);
}

/** Windows that are not in use, by size. */
export class MigrateWindowPool {
  /** There is one from the start: the first migration shall not wait for its memory. */
  private readonly idle: MigrateWindow[] = [new MigrateWindow(WINDOW_PAGES)];
  private readonly idleLarge: MigrateWindow[] = [];

  take(npages: number): MigrateWindow {
    const isLarge = npages > WINDOW_PAGES;
    const pool = isLarge ? this.idleLarge : this.idle;
    const window = pool.pop() ?? new MigrateWindow(isLarge ? MAX_WINDOW_PAGES : WINDOW_PAGES);
    window.reset(npages);
    return window;
  }

  give(window: MigrateWindow): void {
    window.copying = null;
    const pool = window.capacity > WINDOW_PAGES ? this.idleLarge : this.idle;
    pool.push(window);
  }
}
