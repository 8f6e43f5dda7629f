/**
 * The page table of one device context: virtual page number to frame, with what is allowed. The
 * kernel's test device keeps an xarray with tagged entries (struct dmirror, lib/test_hmm.c); here
 * it is leaves of 512 Uint32 entries, made on demand.
 *
 *   entry: pfn << 9 | DPT_ATOMIC | DPT_WRITE | DPT_PRESENT; 0 = not mapped
 *
 * What it holds is kept right by the interval notifier of its owner: an entry exists only as long
 * as the CPU page table, at the sequence number that was checked, agreed with it.
 */
import { PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';

export const DPT_PRESENT = 1;
export const DPT_WRITE = 2;
/** The device has the page for itself: atomic operations and loads, no plain stores. */
export const DPT_ATOMIC = 4;

const PFN_SHIFT = 9;

/** The frame of a present entry. */
export function dptPfn(entry: number): number {
  return entry >>> PFN_SHIFT;
}

/** Hears of a range of page numbers, [first, end). It must not wait, nor change a page table. */
export type EraseListener = (first: number, end: number) => void;

export class DevicePageTable {
  private readonly leaves = new Map<number, Uint32Array>();
  /** The leaf that was looked up last; -1 for none. */
  private lastKey = -1;
  private lastLeaf: Uint32Array | undefined;
  /** Entries that are present. */
  mapped = 0;
  private readonly listeners = new Set<EraseListener>();
  private diverted: EraseListener | null = null;

  /** Has `listener` told of every range that is unmapped or begins to leave, in the same breath. */
  listen(listener: EraseListener): void {
    this.listeners.add(listener);
  }

  /** Takes back `listen`. */
  unlisten(listener: EraseListener): void {
    this.listeners.delete(listener);
  }

  /** Has `listener` told instead of all others, until it is given null: for a lend, lend.ts. */
  divert(listener: EraseListener | null): void {
    this.diverted = listener;
  }

  /** True when somebody listens. */
  get isHeard(): boolean {
    return this.listeners.size > 0 || this.diverted !== null;
  }

  /** Tells all listeners of [first, end), page numbers. */
  tell(first: number, end: number): void {
    if (this.diverted !== null) {
      this.diverted(first, end);
      return;
    }
    for (const listener of this.listeners) listener(first, end);
  }

  /** The entry for a virtual page number, 0 when there is none. */
  lookup(page: number): number {
    const leaf = this.leafOf(Math.floor(page / PTRS_PER_TABLE));
    return leaf === undefined ? 0 : leaf[page % PTRS_PER_TABLE]!;
  }

  /** Maps a virtual page number to a frame. */
  store(page: number, pfn: number, writable: boolean): void {
    this.setEntry(page, pfn, writable ? DPT_WRITE : 0);
  }

  /** Maps a virtual page number to a frame that the device has for itself. */
  storeAtomic(page: number, pfn: number): void {
    this.setEntry(page, pfn, DPT_ATOMIC);
  }

  /** The leaf of 512 pages, if there is one; mostly it is the one that was asked for last. */
  private leafOf(key: number): Uint32Array | undefined {
    if (key === this.lastKey) return this.lastLeaf;
    const leaf = this.leaves.get(key);
    if (leaf === undefined) return undefined;
    this.lastKey = key;
    this.lastLeaf = leaf;
    return leaf;
  }

  /** Maps `count` virtual page numbers from `page` on to as many neighbouring frames. */
  storeRun(page: number, pfn: number, count: number, writable: boolean): void {
    const bits = writable ? DPT_WRITE | DPT_PRESENT : DPT_PRESENT;
    for (let done = 0; done < count;) {
      const leaf = this.leafFor(page + done);
      const at = (page + done) % PTRS_PER_TABLE;
      const end = Math.min(PTRS_PER_TABLE, at + count - done);
      this.mapped += fillLeaf(leaf, at, end, ((pfn + done) << PFN_SHIFT) | bits);
      done += end - at;
    }
  }

  /** True when all of `count` virtual page numbers from `page` on are mapped. */
  mapsAll(page: number, count: number): boolean {
    for (let done = 0; done < count;) {
      const leaf = this.leafOf(Math.floor((page + done) / PTRS_PER_TABLE));
      if (leaf === undefined) return false;
      const at = (page + done) % PTRS_PER_TABLE;
      const end = Math.min(PTRS_PER_TABLE, at + count - done);
      for (let i = at; i < end; i++) if (leaf[i] === 0) return false;
      done += end - at;
    }
    return true;
  }

  private leafFor(page: number): Uint32Array {
    const key = Math.floor(page / PTRS_PER_TABLE);
    let leaf = this.leafOf(key);
    if (leaf === undefined) {
      leaf = new Uint32Array(PTRS_PER_TABLE);
      this.leaves.set(key, leaf);
    }
    return leaf;
  }

  private setEntry(page: number, pfn: number, bits: number): void {
    const leaf = this.leafFor(page);
    const at = page % PTRS_PER_TABLE;
    if (leaf[at] === 0) this.mapped++;
    leaf[at] = ((pfn << PFN_SHIFT) | bits | DPT_PRESENT) >>> 0;
  }

  /** Unmaps one virtual page number. */
  erase(page: number): void {
    if (this.isHeard) this.tell(page, page + 1);
    const leaf = this.leaves.get(Math.floor(page / PTRS_PER_TABLE));
    if (leaf === undefined) return;
    const at = page % PTRS_PER_TABLE;
    if (leaf[at] !== 0) this.mapped--;
    leaf[at] = 0;
  }

  /** Unmaps every page of [start, end), in bytes. */
  eraseRange(start: number, end: number): void {
    const first = Math.floor(start / PAGE_SIZE);
    const last = Math.ceil(end / PAGE_SIZE);
    if (this.isHeard) this.tell(first, last);
    const firstKey = Math.floor(first / PTRS_PER_TABLE);
    const lastKey = Math.floor((last - 1) / PTRS_PER_TABLE);
    if (lastKey - firstKey < this.leaves.size) {
      for (let key = firstKey; key <= lastKey; key++) this.eraseInLeaf(key, first, last);
    } else {
      // A range as large as an address space is walked by what exists, not by what it spans.
      for (const key of this.leaves.keys()) {
        if (key >= firstKey && key <= lastKey) this.eraseInLeaf(key, first, last);
      }
    }
  }

  /** Whether an entry of [start, end), in bytes, has one of these bits. Walks what exists only. */
  hasAny(start: number, end: number, bits: number): boolean {
    const first = Math.floor(start / PAGE_SIZE);
    const last = Math.ceil(end / PAGE_SIZE);
    for (const [key, leaf] of this.leaves) {
      const base = key * PTRS_PER_TABLE;
      const to = Math.min(PTRS_PER_TABLE, last - base);
      for (let at = Math.max(0, first - base); at < to; at++) {
        if ((leaf[at]! & bits) !== 0) return true;
      }
    }
    return false;
  }

  /** Calls `visit` with each mapped page number and entry, for checkers. */
  forEach(visit: (page: number, entry: number) => void): void {
    for (const [key, leaf] of this.leaves) {
      for (let at = 0; at < PTRS_PER_TABLE; at++) {
        if (leaf[at] !== 0) visit(key * PTRS_PER_TABLE + at, leaf[at]!);
      }
    }
  }

  private eraseInLeaf(key: number, first: number, last: number): void {
    const leaf = this.leaves.get(key);
    if (leaf === undefined) return;
    const base = key * PTRS_PER_TABLE;
    const from = Math.max(0, first - base);
    const to = Math.min(PTRS_PER_TABLE, last - base);
    if (to - from === PTRS_PER_TABLE) {
      this.mapped -= countPresent(leaf);
      this.leaves.delete(key);
      if (key === this.lastKey) this.lastKey = -1;
      return;
    }
    for (let at = from; at < to; at++) {
      if (leaf[at] !== 0) this.mapped--;
      leaf[at] = 0;
    }
  }
}

// Loops of their own over an array and numbers: as parts of the methods above they would load and
// store fields of the table for each entry.

/** Writes entries of neighbouring frames to [at, end). @returns how many of them were not mapped */
function fillLeaf(leaf: Uint32Array, at: number, end: number, entry: number): number {
  let added = 0;
  let next = entry >>> 0;
  for (let i = at; i < end; i++) {
    if (leaf[i] === 0) added++;
    leaf[i] = next;
    next = (next + (1 << PFN_SHIFT)) >>> 0;
  }
  return added;
}

function countPresent(leaf: Uint32Array): number {
  let count = 0;
  for (let at = 0; at < PTRS_PER_TABLE; at++) if (leaf[at] !== 0) count++;
  return count;
}
