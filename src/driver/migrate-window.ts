/**
 * Working memory of one migration in progress: the src and dst arrays of migrate_vma, the command
 * list of its copies and which row belongs to which page. Windows are pooled, so steady-state
 * migration allocates nothing per page. A migration covers at most WINDOW_PAGES (the reach of one
 * page table), the piece size of the kernel's test device.
 */
import { errno } from '../base/errno.ts';
import { PTRS_PER_TABLE } from '../base/units.ts';
import { CommandList } from '../engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import { putPage } from '../mm/page-alloc.ts';
import { migratePfnToPage } from '../mm/migrate-types.ts';
import type { System } from '../mm/mm-types.ts';

/** Most pages that one window migrates. */
export const WINDOW_PAGES = PTRS_PER_TABLE;

export class MigrateWindow {
  readonly src = new Uint32Array(WINDOW_PAGES);
  readonly dst = new Uint32Array(WINDOW_PAGES);
  /** Page slot of each row of `list`. */
  readonly slotOfRow = new Uint32Array(WINDOW_PAGES);
  readonly list = new CommandList(WINDOW_PAGES);
  /** SKIP_* code of each page that stays where it is. */
  readonly reasons = new Uint8Array(WINDOW_PAGES);

  /** Empties the window for `npages` pages. */
  reset(npages: number): void {
    this.src.fill(0, 0, npages);
    this.dst.fill(0, 0, npages);
    this.reasons.fill(0, 0, npages);
    this.list.reset();
  }

  /** Adds the pages that did not migrate to `skipped`, by SKIP_* code. */
  countSkipped(npages: number, skipped: Uint32Array): void {
    for (let i = 0; i < npages; i++) {
      const reason = this.reasons[i]!;
      if (reason !== 0) skipped[reason]! += 1;
    }
  }

  /** Notes that the next row of `list` fills page slot `slot`. Call before appending the row. */
  nextRowFills(slot: number): void {
    this.slotOfRow[this.list.length] = slot;
  }

  /**
   * Runs the copies. Destinations whose copy did not complete are given back and their dst entry is
   * cleared, so that finalize restores those pages.
   *
   * @returns 0, or the engine's errno (ENODEV, EIO); the pages that were copied still migrate.
   */
  async copy(sys: System, engine: CopyEngine, strategy: StrategyName): Promise<number> {
    const list = this.list;
    if (list.length === 0) return 0;
    const status = await engine.submit(list, strategy);
    if (status === 0) return 0;
    for (let row = 0; row < list.length; row++) {
      if (list.done[row] === 0 || status === errno.EINVAL) {
        this.dropDestination(sys, this.slotOfRow[row]!);
      }
    }
    return status;
  }

  /** Gives back the locked destination of a slot and clears its entry. */
  dropDestination(sys: System, slot: number): void {
    const pfn = migratePfnToPage(this.dst[slot]!);
    if (pfn < 0) return;
    this.dst[slot] = 0;
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
  }
}

/** Windows that are not in use. */
export class MigrateWindowPool {
  private readonly idle: MigrateWindow[] = [];

  take(npages: number): MigrateWindow {
    const window = this.idle.pop() ?? new MigrateWindow();
    window.reset(npages);
    return window;
  }

  give(window: MigrateWindow): void {
    this.idle.push(window);
  }
}
