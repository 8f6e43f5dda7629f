/*
 * Sets of page numbers of a context as tables of 512 pages: what a fault service asks of each page
 * of each batch, several times. A Set of numbers hashes each time.
 *
 * Locking. None; never waits. Source: our own.
 */

const LEAF_SHIFT = 9;
const LEAF_PAGES = 1 << LEAF_SHIFT;
const LEAF_MASK = LEAF_PAGES - 1;

/** A number from 1 to 255 for each of some pages. Emptied as cheaply as it was filled. */
export class PageNotes {
  private readonly leaves: (Uint8Array | undefined)[] = [];
  /** Leaves that may have notes. */
  private readonly used: Uint8Array[] = [];
  private readonly isUsed: boolean[] = [];

  /** The note of a page; 0 where there is none. */
  get(page: number): number {
    const leaf = this.leaves[page >>> LEAF_SHIFT];
    return leaf === undefined ? 0 : leaf[page & LEAF_MASK]!;
  }

  /** @param note 1 to 255; 0 takes it away */
  set(page: number, note: number): void {
    const at = page >>> LEAF_SHIFT;
    const leaf = (this.leaves[at] ??= new Uint8Array(LEAF_PAGES));
    leaf[page & LEAF_MASK] = note;
    if (this.isUsed[at] === true) return;
    this.isUsed[at] = true;
    this.used.push(leaf);
  }

  clear(): void {
    for (const leaf of this.used) leaf.fill(0);
    this.used.length = 0;
    this.isUsed.length = 0;
  }
}

/** Pages in the order in which they came. */
export class PageSet {
  /** Pages in it. */
  size = 0;
  /** Place of each page in `order`, from 1; 0 for those that are not in it. */
  private readonly leaves: (Uint32Array | undefined)[] = [];
  /** The first `count`: pages as they came, those among them that have left. */
  private order = new Int32Array(LEAF_PAGES);
  private count = 0;
  /** Pages at the front of `order` that have left. */
  private head = 0;

  has(page: number): boolean {
    return this.placeOf(page) !== 0;
  }

  /** Adds a page; one that is in it keeps its place. */
  add(page: number): void {
    const leaf = (this.leaves[page >>> LEAF_SHIFT] ??= new Uint32Array(LEAF_PAGES));
    if (leaf[page & LEAF_MASK] !== 0) return;
    if (this.count === this.order.length) this.grow();
    this.order[this.count++] = page;
    leaf[page & LEAF_MASK] = this.count;
    this.size += 1;
  }

  /** @returns whether it was there */
  delete(page: number): boolean {
    if (this.placeOf(page) === 0) return false;
    this.leaves[page >>> LEAF_SHIFT]![page & LEAF_MASK] = 0;
    this.size -= 1;
    if (this.count > 2 * this.size + LEAF_PAGES) this.closeRanks();
    return true;
  }

  /** All pages as they are now, those first that came first. */
  inOrder(): Int32Array {
    return this.order.subarray(0, this.count).filter((page, at) => this.placeOf(page) === at + 1);
  }

  /** The page that came first; -1 where there is none. */
  oldest(): number {
    const { order, count } = this;
    while (this.head < count && this.placeOf(order[this.head]!) !== this.head + 1) this.head += 1;
    return this.head < count ? order[this.head]! : -1;
  }

  clear(): void {
    this.leaves.length = 0;
    this.count = 0;
    this.head = 0;
    this.size = 0;
  }

  private placeOf(page: number): number {
    const leaf = this.leaves[page >>> LEAF_SHIFT];
    return leaf === undefined ? 0 : leaf[page & LEAF_MASK]!;
  }

  /** Forgets pages that have left. */
  private closeRanks(): void {
    let kept = 0;
    for (let at = 0; at < this.count; at++) {
      const page = this.order[at]!;
      if (this.placeOf(page) !== at + 1) continue;
      this.order[kept++] = page;
      this.leaves[page >>> LEAF_SHIFT]![page & LEAF_MASK] = kept;
    }
    this.count = kept;
    this.head = 0;
  }

  private grow(): void {
    const { order } = this;
    this.order = new Int32Array(2 * order.length);
    this.order.set(order);
  }
}
