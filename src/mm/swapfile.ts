/**
 * Swap space (mm/swapfile.c, mm/page_io.c): one area of page-sized slots, in host memory outside of
 * the machine's RAM. A slot is in use while a page table entry names it (swap_map counts them) or
 * the swap cache has a page for it. A swap entry holds the slot's number where others hold a pfn;
 * slot 0 is never used.
 *
 * Locking: none; nothing here waits, writing to a slot and reading from it included.
 *
 * Leaves out: swapoff, several areas, clusters, zswap, large folios, page cache of objects.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, PFN_LIMIT } from '../base/units.ts';
import type { System } from './mm-types.ts';
import { vmEventIndex } from './vmstat.ts';

const PSWPIN = vmEventIndex('pswpin');
const PSWPOUT = vmEventIndex('pswpout');

/** A swap area (struct swap_info_struct). */
export class SwapInfo {
  /** Slots, numbered from 1. */
  readonly pages: number;
  /** Page table entries per slot (swap_map). */
  readonly map: Uint32Array;
  /** Page of the swap cache per slot, 0 = none. */
  readonly cache: Uint32Array;
  /** Free slots, the next one last. */
  private readonly free: Uint32Array;
  private freeCount = 0;
  private readonly data: Uint8Array;

  constructor(pages: number) {
    this.pages = pages;
    this.data = new Uint8Array(pages * PAGE_SIZE);
    this.map = new Uint32Array(pages + 1);
    this.cache = new Uint32Array(pages + 1);
    this.free = new Uint32Array(pages);
    for (let slot = pages; slot > 0; slot--) this.free[this.freeCount++] = slot;
  }

  /** Slots that nothing uses. */
  get freeSlots(): number {
    return this.freeCount;
  }

  /** More than half in use: pages that are in RAM again should not keep their slots. */
  get isHalfFull(): boolean {
    return this.freeCount * 2 < this.pages;
  }

  /** Takes a free slot for the swap cache, 0 when there is none. */
  take(): number {
    return this.freeCount === 0 ? 0 : this.free[--this.freeCount]!;
  }

  /** Frees a slot if nothing uses it any more. */
  putIfUnused(slot: number): void {
    if (this.map[slot] === 0 && this.cache[slot] === 0) this.free[this.freeCount++] = slot;
  }

  /** The bytes of a slot. */
  bytes(slot: number): Uint8Array {
    return this.data.subarray((slot - 1) * PAGE_SIZE, slot * PAGE_SIZE);
  }
}

/**
 * Gives the machine swap space (swapon).
 *
 * @param pages Slots. @returns 0; EINVAL for a number that is no positive integer or does not fit
 * an entry; EBUSY when there is swap space already; ENOMEM when the host has no room. Context:
 * never waits.
 */
export function swapon(sys: System, pages: number): number {
  if (!Number.isInteger(pages) || pages <= 0 || pages >= PFN_LIMIT) return errno.EINVAL;
  if (sys.swap !== null) return errno.EBUSY;
  try {
    sys.swap = new SwapInfo(pages);
    return 0;
  } catch (error) {
    if (error instanceof RangeError) return errno.ENOMEM;
    throw error;
  }
}

/** The swap area that a swap entry implies. Context: any. */
export function swapInfo(sys: System): SwapInfo {
  const { swap } = sys;
  assert(swap !== null, 'I37: a slot that is named is in use');
  return swap;
}

/** One more entry names the slot (swap_duplicate). Context: any. */
export function swapDuplicate(sys: System, slot: number): void {
  const swap = swapInfo(sys);
  assert(swap.map[slot]! + swap.cache[slot]! > 0, 'I37: a slot that is named is in use');
  swap.map[slot]! += 1;
}

/** One entry less names the slot (swap_free); the last user frees it. Context: any. */
export function swapFree(sys: System, slot: number): void {
  const swap = swapInfo(sys);
  assert(swap.map[slot]! > 0, 'I37: a slot that is named is in use');
  swap.map[slot]! -= 1;
  swap.putIfUnused(slot);
}

/** Writes a page to its slot (swap_writeout). Context: page locked, in the swap cache. */
export function swapWriteout(sys: System, pfn: number, slot: number): void {
  assert(pfn < sys.ramPages, 'I5: the CPU touches the contents of RAM pages only');
  const page = sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
  swapInfo(sys).bytes(slot).set(page);
  sys.vmstat.add(PSWPOUT, 1);
}

/** Fills a page from its slot (swap_read_folio). Context: page locked, in the swap cache. */
export function swapReadFolio(sys: System, pfn: number, slot: number): void {
  assert(pfn < sys.ramPages, 'I5: the CPU touches the contents of RAM pages only');
  sys.ram.set(swapInfo(sys).bytes(slot), pfn * PAGE_SIZE);
  sys.vmstat.add(PSWPIN, 1);
}
