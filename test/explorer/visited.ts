/*
 * The states that were seen, by 64 bits of hash each, with the way that led there first.
 */

const FREE = 0;

export class Visited {
  private capacity = 1 << 16;
  private slots = new Uint32Array(this.capacity);
  private hashLow = new Uint32Array(this.capacity);
  private hashHigh = new Uint32Array(this.capacity);
  private parents = new Int32Array(this.capacity);
  private moves = new Uint16Array(this.capacity);
  /** States seen. */
  count = 0;
  /** Whether the last `add` was of a state that was not seen before. */
  wasNew = false;

  /** Notes a state. @returns its number. */
  add(state: Int32Array, parent: number, move: number): number {
    let low = 0x9e3779b9 | 0;
    let high = 0x7f4a7c15 | 0;
    for (let i = 0; i < state.length; i++) {
      const word = state[i]!;
      if (word === 0) continue;
      low = Math.imul(low ^ word ^ (i << 24), 0x85ebca6b);
      low ^= low >>> 15;
      high = Math.imul(high + word + Math.imul(i, 0x27d4eb2f), 0xc2b2ae35);
      high ^= high >>> 13;
    }
    let at = (low ^ Math.imul(high, 31)) & (this.capacity - 1);
    for (; this.slots[at] !== FREE; at = (at + 1) & (this.capacity - 1)) {
      const index = this.slots[at]! - 1;
      if (this.hashLow[index] !== low >>> 0 || this.hashHigh[index] !== high >>> 0) continue;
      this.wasNew = false;
      return index;
    }
    const index = this.count++;
    this.slots[at] = index + 1;
    this.hashLow[index] = low;
    this.hashHigh[index] = high;
    this.parents[index] = parent;
    this.moves[index] = move;
    this.wasNew = true;
    if (this.count * 2 > this.capacity) this.grow();
    return index;
  }

  /** The moves that first led to a state. */
  pathTo(index: number): number[] {
    const path: number[] = [];
    for (let at = index; this.parents[at]! >= 0; at = this.parents[at]!) {
      path.push(this.moves[at]!);
    }
    return path.toReversed();
  }

  private grow(): void {
    this.capacity *= 2;
    this.hashLow = enlarge(this.hashLow, new Uint32Array(this.capacity));
    this.hashHigh = enlarge(this.hashHigh, new Uint32Array(this.capacity));
    this.parents = enlarge(this.parents, new Int32Array(this.capacity));
    this.moves = enlarge(this.moves, new Uint16Array(this.capacity));
    this.slots = new Uint32Array(this.capacity);
    for (let index = 0; index < this.count; index++) {
      const spread = this.hashLow[index]! ^ Math.imul(this.hashHigh[index]!, 31);
      let at = spread & (this.capacity - 1);
      while (this.slots[at] !== FREE) at = (at + 1) & (this.capacity - 1);
      this.slots[at] = index + 1;
    }
  }
}

function enlarge<T extends { set(source: ArrayLike<number>): void }>(
  from: ArrayLike<number>,
  into: T,
): T {
  into.set(from);
  return into;
}
