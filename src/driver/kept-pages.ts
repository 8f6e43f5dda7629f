/**
 * Pages of a device that stay there for a while, because the policy of a launch says so (xe's
 * timeslice): a CPU that faults on one waits, and so do commands that send them home; what would
 * take them along for another page's sake (fault-around, prefetch hints, the neighbours that
 * another context's policy sends home) leaves them. Evictions take them all the same: those are
 * about frames, and ask nobody.
 *
 * Locking: none. Who waits must hold no lock. Source: drm_pagemap.c, where migrate_to_ram alone
 * looks at `timeslice_expiration`, for the whole allocation that the page is in, drm_gpusvm's move
 * of a range to RAM goes by way of CPU faults, and evict_to_ram does not ask.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { VmFault } from '../mm/fault-types.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { vmEventIndex } from '../mm/vmstat.ts';
import type { FaultWindow } from './fault-around.ts';

const DEVICE_PRIVATE_HELD = vmEventIndex('device_private_held');
const DEVICE_PRIVATE_KEPT = vmEventIndex('device_private_kept');

/** Passes that a page is kept from a CPU at most; xe's longest timeslice takes 21,334. */
export const MAX_CPU_WAITS = 32_768;

/** Somebody who keeps pages; page numbers are those of the address space. */
export interface PageKeeper {
  /** It keeps pages [first, outer) at most: commands may name all of an address space. */
  readonly range: { readonly first: number; readonly outer: number };
  /** What a CPU that faults on a page of the device has to wait for; null: nothing. */
  holdsBack(vmf: VmFault): Promise<void> | null;
  /** Whether a page stays for now. */
  keeps(mm: MmStruct, page: number): boolean;
  /** What a command that wants a page in RAM has to wait for; null: nothing. */
  detains(mm: MmStruct, page: number): Promise<void> | null;
}

/** Whose pages a command moves. */
interface Mover {
  readonly mm: MmStruct;
  /** The file is being closed: nobody waits any more. */
  readonly isClosing: boolean;
}

/** See the file header. */
export class KeptPages {
  private readonly keepers = new Set<PageKeeper>();

  add(keeper: PageKeeper): void {
    this.keepers.add(keeper);
  }

  delete(keeper: PageKeeper): void {
    this.keepers.delete(keeper);
  }

  /** Those who are asked. */
  all(): PageKeeper[] {
    return [...this.keepers];
  }

  /** What a CPU that faults on a page of the device has to wait for; null: nothing. */
  holdsBack(vmf: VmFault): Promise<void> | null {
    for (const keeper of this.keepers) {
      const released = keeper.holdsBack(vmf);
      if (released !== null) return released;
    }
    return null;
  }

  /**
   * Whether somebody keeps a page.
   *
   * @param page number in the address space. @param besides somebody who is not asked
   */
  isKept(mm: MmStruct, page: number, besides: PageKeeper | null = null): boolean {
    for (const keeper of this.keepers) {
      if (keeper !== besides && keeper.keeps(mm, page)) return true;
    }
    return false;
  }

  /** Counts pages that were to go home and were left. */
  count(mm: MmStruct, pages: number): void {
    if (pages > 0) mm.sys.vmstat.add(DEVICE_PRIVATE_KEPT, pages);
  }

  /** Narrows a window to the pages around the one at `address`, up to the next that is kept. */
  narrow(mm: MmStruct, window: FaultWindow, address: number): FaultWindow {
    if (this.keepers.size === 0) return window;
    const page = Math.floor(address / PAGE_SIZE);
    let first = page;
    while (first * PAGE_SIZE > window.start && !this.isKept(mm, first - 1)) first--;
    let outer = page + 1;
    while (outer * PAGE_SIZE < window.end && !this.isKept(mm, outer)) outer++;
    const start = first * PAGE_SIZE;
    const end = outer * PAGE_SIZE;
    this.count(mm, Number(start > window.start) + Number(end < window.end));
    return { start, end };
  }

  /**
   * The first run of pages of [start, end) that nobody keeps.
   *
   * @returns the run; an empty one at the end where there is none
   */
  freeRun(mm: MmStruct, start: number, end: number): FaultWindow {
    if (this.keepers.size === 0) return { start, end };
    let from = start;
    while (from < end && this.isKept(mm, from / PAGE_SIZE)) from += PAGE_SIZE;
    let to = from;
    while (to < end && !this.isKept(mm, to / PAGE_SIZE)) to += PAGE_SIZE;
    this.count(mm, (from - start) / PAGE_SIZE);
    return { start: from, end: to };
  }

  /**
   * Waits until nobody keeps a page of [start, end), for MAX_CPU_WAITS passes at most.
   *
   * Context: no lock; waits.
   */
  async untilFree(mover: Mover, start: number, end: number): Promise<void> {
    const { mm } = mover;
    for (let tries = 0; tries < MAX_CPU_WAITS && !mover.isClosing; tries++) {
      const released = this.firstDetained(mm, start, end);
      if (released === null) return;
      mm.sys.vmstat.add(DEVICE_PRIVATE_HELD, 1);
      await released;
    }
  }

  private firstDetained(mm: MmStruct, start: number, end: number): Promise<void> | null {
    for (const keeper of this.keepers) {
      const { range } = keeper;
      const outer = Math.min(end / PAGE_SIZE, range.outer);
      for (let page = Math.max(start / PAGE_SIZE, range.first); page < outer; page++) {
        const released = keeper.detains(mm, page);
        if (released !== null) return released;
      }
    }
    return null;
  }
}
