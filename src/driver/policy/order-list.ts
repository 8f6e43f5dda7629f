/**
 * A list of numbered items in an order that changes: items are moved to its end, taken off, and
 * read from its head. Everything takes constant time.
 */

const NONE = -1;

/** Items 0 to n - 1, each in the list or not. */
export class OrderList {
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly isIn: Uint8Array;
  private first = NONE;
  private last = NONE;
  private length = 0;

  constructor(count: number) {
    this.next = new Int32Array(count).fill(NONE);
    this.previous = new Int32Array(count).fill(NONE);
    this.isIn = new Uint8Array(count);
  }

  get size(): number {
    return this.length;
  }

  /** The item that has been here longest, or -1. */
  get head(): number {
    return this.first;
  }

  has(item: number): boolean {
    return this.isIn[item] === 1;
  }

  /** The item behind `item`, or -1. */
  after(item: number): number {
    return this.next[item]!;
  }

  /** Puts an item at the end, wherever it was. */
  toEnd(item: number): void {
    if (this.last === item) return;
    this.remove(item);
    this.isIn[item] = 1;
    this.length++;
    this.previous[item] = this.last;
    if (this.last === NONE) this.first = item;
    else this.next[this.last] = item;
    this.last = item;
  }

  /** Takes an item off, if it is in the list. */
  remove(item: number): void {
    if (this.isIn[item] === 0) return;
    const before = this.previous[item]!;
    const behind = this.next[item]!;
    if (before === NONE) this.first = behind;
    else this.next[before] = behind;
    if (behind === NONE) this.last = before;
    else this.previous[behind] = before;
    this.previous[item] = NONE;
    this.next[item] = NONE;
    this.isIn[item] = 0;
    this.length--;
  }
}
