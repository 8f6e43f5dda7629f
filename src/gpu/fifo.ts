/*
 * A first-in first-out queue over an array that is kept: `push` and `shift` of a plain array that
 * keeps running empty allocate a new one each time.
 *
 * Locking. None. Source: our own.
 */

/** See the file header. */
export class Fifo<T> {
  private slots: (T | undefined)[];
  private head = 0;
  private count = 0;

  /** @param capacity items that fit before it has to grow */
  constructor(capacity: number) {
    this.slots = Array.from({ length: capacity }, () => undefined);
  }

  get length(): number {
    return this.count;
  }

  /** The oldest item, or undefined. */
  first(): T | undefined {
    return this.slots[this.head];
  }

  push(item: T): void {
    if (this.count === this.slots.length) this.grow();
    this.slots[(this.head + this.count) % this.slots.length] = item;
    this.count += 1;
  }

  /** Removes and returns the oldest item, or undefined. */
  shift(): T | undefined {
    if (this.count === 0) return undefined;
    const item = this.slots[this.head];
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) % this.slots.length;
    this.count -= 1;
    return item;
  }

  private grow(): void {
    const { length } = this.slots;
    const grown: (T | undefined)[] = Array.from({ length: length * 2 }, () => undefined);
    for (let i = 0; i < this.count; i++) grown[i] = this.slots[(this.head + i) % length];
    this.slots = grown;
    this.head = 0;
  }
}
