/*
 * The order in which the rows of a list are planned: as listed, or by VRAM frame, so that
 * neighbours in VRAM become neighbours in the staging buffer and one copy command can move them
 * together.
 *
 * Sorting is a byte-wise radix sort over typed arrays, skipped where the rows are in order already:
 * about 10 ns a row. Keys count from the first frame of VRAM, so that two bytes do for 256 MiB.
 *
 * Locking. None. Source: our own.
 */
import { assert } from '../base/assert.ts';
import { PFN_LIMIT } from '../base/units.ts';
import type { CommandList } from '../engine/command-list.ts';
import { ROUTE_DOWNLOAD, ROUTE_HOST, ROUTE_SUM, routeOf } from './list-run.ts';

const DIGIT_BITS = 8;
const DIGITS = 1 << DIGIT_BITS;
const DIGIT_MASK = DIGITS - 1;
/** Below this many rows an insertion sort is faster. */
const SMALL = 48;

/** Reused memory of the sort; grows to the longest list seen. */
export class RowOrder {
  /** Rows that involve the device, in the order to visit them. */
  rows = new Uint32Array(64);
  length = 0;
  private keys = new Uint32Array(64);
  private otherRows = new Uint32Array(64);
  private otherKeys = new Uint32Array(64);
  private readonly counts = new Uint32Array(DIGITS);

  /**
   * Fills `rows` from a checked list, leaving out the rows that are all in RAM.
   *
   * @param sort whether to order by VRAM frame
   * @param plainRoute the run's `plainRoute`
   */
  build(list: CommandList, hostFrames: number, sort: boolean, plainRoute = ROUTE_HOST): void {
    if (this.rows.length < list.length) this.grow(list.capacity);
    if (plainRoute !== ROUTE_HOST) {
      const frames = plainRoute === ROUTE_DOWNLOAD ? list.source : list.target;
      this.buildPlain(list.length, frames, hostFrames, sort);
      return;
    }
    const { rows, keys } = this;
    const { source, target } = list;
    let length = 0;
    let sorted = true;
    let last = 0;
    let bits = 0;
    for (let row = 0; row < list.length; row++) {
      const route = routeOf(list, row, hostFrames);
      if (route === ROUTE_HOST) continue;
      const bySource = route === ROUTE_DOWNLOAD || route === ROUTE_SUM;
      const key = (bySource ? source[row]! : target[row]!) - hostFrames;
      rows[length] = row;
      keys[length] = key;
      if (key < last) sorted = false;
      last = key;
      bits |= key;
      length += 1;
    }
    this.length = length;
    if (sort && !sorted) this.sort(bits);
  }

  /**
   * The same where every row copies one page: nothing has to be looked at to know its route.
   *
   * @param frames of VRAM by row. @param first the first frame of VRAM
   */
  private buildPlain(length: number, frames: Uint32Array, first: number, sort: boolean): void {
    const { rows, keys } = this;
    this.length = length;
    // The planner takes the rows of such a list one by one where they are not sorted.
    if (!sort) return;
    let sorted = true;
    let last = 0;
    let bits = 0;
    for (let row = 0; row < length; row++) {
      const key = frames[row]! - first;
      rows[row] = row;
      keys[row] = key;
      if (key < last) sorted = false;
      last = key;
      bits |= key;
    }
    if (!sorted) this.sort(bits);
  }

  /** @param bits those that are set in any key */
  private sort(bits: number): void {
    if (this.length < SMALL) this.insertionSort();
    else this.radixSort(bits);
  }

  private grow(capacity: number): void {
    this.rows = new Uint32Array(capacity);
    this.keys = new Uint32Array(capacity);
    this.otherRows = new Uint32Array(capacity);
    this.otherKeys = new Uint32Array(capacity);
  }

  private insertionSort(): void {
    const { rows, keys } = this;
    for (let i = 1; i < this.length; i++) {
      const row = rows[i]!;
      const key = keys[i]!;
      let j = i - 1;
      while (j >= 0 && keys[j]! > key) {
        rows[j + 1] = rows[j]!;
        keys[j + 1] = keys[j]!;
        j -= 1;
      }
      rows[j + 1] = row;
      keys[j + 1] = key;
    }
  }

  private radixSort(bits: number): void {
    assert(bits >>> 0 < PFN_LIMIT, 'a frame number has more than 23 bits');
    for (let shift = 0; bits >>> shift !== 0; shift += DIGIT_BITS) {
      if (this.countDigits(shift)) this.scatterDigits(shift);
    }
  }

  /** Turns `counts` into start positions; false when all keys share the digit. */
  private countDigits(shift: number): boolean {
    const { keys, counts, length } = this;
    counts.fill(0);
    for (let i = 0; i < length; i++) {
      const digit = (keys[i]! >>> shift) & DIGIT_MASK;
      counts[digit] = counts[digit]! + 1;
    }
    if (counts[(keys[0]! >>> shift) & DIGIT_MASK] === length) return false;
    let start = 0;
    for (let digit = 0; digit < DIGITS; digit++) {
      const count = counts[digit]!;
      counts[digit] = start;
      start += count;
    }
    return true;
  }

  private scatterDigits(shift: number): void {
    const { rows, keys, otherRows, otherKeys, counts, length } = this;
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      const digit = (key >>> shift) & DIGIT_MASK;
      const at = counts[digit]!;
      counts[digit] = at + 1;
      otherKeys[at] = key;
      otherRows[at] = rows[i]!;
    }
    this.rows = otherRows;
    this.keys = otherKeys;
    this.otherRows = rows;
    this.otherKeys = keys;
  }
}
