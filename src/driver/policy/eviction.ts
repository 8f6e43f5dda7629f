/**
 * Orders of eviction. Each hears which pages come, go and are used, and names victims.
 *
 * | name | unit | order |
 * | --- | --- | --- |
 * | lra2m | 2 MiB block | least recently allocated (UVM: its "LRU" is not told of accesses) |
 * | fifo2m | 2 MiB block | first come, first evicted |
 * | lru2m, lru4k | block, page | least recently used |
 * | lfu2m | block | least often used |
 * | sl64k | 64 KiB group | least recently used |
 * | tbn | 64 KiB group, then its tree | least recently used |
 * | random | page | drawn |
 *
 * Nothing that the batch in service uses is evicted: a unit with such a page is passed over.
 */
import { Prng } from '../../base/prng.ts';
import { BLOCK_PAGES, GROUP_PAGES } from './block.ts';
import { emptyNeighbourhood } from './neighbourhood.ts';
import { OrderList } from './order-list.ts';
import { ON_DEVICE } from './policy.ts';
import type { PolicySetup, PolicyView, VictimRequest, Victims } from './policy.ts';

/** Orders by name. */
export const EVICTIONS = [
  'lra2m',
  'fifo2m',
  'lru2m',
  'lru4k',
  'lfu2m',
  'sl64k',
  'tbn',
  'random',
] as const;
/** Names of ways to choose what has to leave the device. */
export type EvictionName = (typeof EVICTIONS)[number];

/** An order of eviction. */
export interface EvictionOrder {
  /** Whether it has to hear of accesses. */
  readonly seesAccesses: boolean;
  arrived(page: number, view: PolicyView): void;
  left(page: number, view: PolicyView): void;
  touched(page: number): void;
  choose(request: VictimRequest, view: PolicyView, victims: Victims): void;
}

/**
 * @param reserve share of the list, 0 to 1, that is passed over at the head: with cyclic use these
 *   are the pages that come next (UVMSmart's reserve)
 */
export function makeEviction(name: EvictionName, setup: PolicySetup, reserve = 0): EvictionOrder {
  switch (name) {
    case 'lra2m':
      return new ListOrder(setup, BLOCK_PAGES, 'arrivals', reserve);
    case 'fifo2m':
      return new ListOrder(setup, BLOCK_PAGES, 'first', reserve);
    case 'lru2m':
      return new ListOrder(setup, BLOCK_PAGES, 'uses', reserve);
    case 'lru4k':
      return new ListOrder(setup, 1, 'uses', reserve);
    case 'sl64k':
      return new ListOrder(setup, GROUP_PAGES, 'uses', reserve);
    case 'tbn':
      return new ListOrder(setup, GROUP_PAGES, 'uses', reserve, true);
    case 'lfu2m':
      return new FrequencyOrder(setup);
    case 'random':
      return new RandomOrder(setup);
  }
}

/** Units in a list; what moves a unit to its end tells the orders apart. */
class ListOrder implements EvictionOrder {
  readonly seesAccesses: boolean;
  private readonly unit: number;
  private readonly moves: 'first' | 'arrivals' | 'uses';
  private readonly reserve: number;
  private readonly isTree: boolean;
  private readonly list: OrderList;
  private readonly valid = new Uint8Array(BLOCK_PAGES);
  private readonly out = new Uint8Array(BLOCK_PAGES);

  constructor(
    setup: PolicySetup,
    unit: number,
    moves: 'first' | 'arrivals' | 'uses',
    reserve: number,
    isTree = false,
  ) {
    this.unit = unit;
    this.moves = moves;
    this.reserve = reserve;
    this.isTree = isTree;
    this.seesAccesses = moves === 'uses';
    this.list = new OrderList(Math.ceil(setup.pageCount / unit));
  }

  arrived(page: number): void {
    const item = Math.floor(page / this.unit);
    if (this.moves !== 'first' || !this.list.has(item)) this.list.toEnd(item);
  }

  left(page: number, view: PolicyView): void {
    const item = Math.floor(page / this.unit);
    const first = item * this.unit;
    for (let at = first; at < first + this.unit; at++) {
      if ((view.where[at]! & ON_DEVICE) !== 0) return;
    }
    this.list.remove(item);
  }

  touched(page: number): void {
    if (this.moves === 'uses') this.list.toEnd(Math.floor(page / this.unit));
  }

  choose(request: VictimRequest, view: PolicyView, victims: Victims): void {
    let skipped = Math.floor(this.list.size * this.reserve);
    let item = this.list.head;
    for (; skipped > 0 && this.list.after(item) >= 0; skipped--) item = this.list.after(item);
    for (; item >= 0 && victims.count < request.pages; item = this.list.after(item)) {
      this.take(item * this.unit, view, victims);
    }
    // The reserve gives way before the device is short of memory.
    for (item = this.list.head; item >= 0 && victims.count < request.pages;) {
      this.take(item * this.unit, view, victims);
      item = this.list.after(item);
    }
  }

  private take(first: number, view: PolicyView, victims: Victims): void {
    for (let page = first; page < first + this.unit; page++) {
      if (view.isProtected(page)) return;
    }
    if (this.isTree) {
      this.takeTree(first, view, victims);
      return;
    }
    for (let page = first; page < first + this.unit; page++) {
      if ((view.where[page]! & ON_DEVICE) !== 0) victims.evict(page);
    }
  }

  private takeTree(page: number, view: PolicyView, victims: Victims): void {
    const start = page - (page % BLOCK_PAGES);
    let first = BLOCK_PAGES;
    let outer = 0;
    for (let at = 0; at < BLOCK_PAGES; at++) {
      const exists = view.regionOf(start + at) !== undefined;
      if (exists) first = Math.min(first, at);
      if (exists) outer = at + 1;
      this.valid[at] = (view.where[start + at]! & ON_DEVICE) === 0 ? 0 : 1;
    }
    this.out.fill(0);
    emptyNeighbourhood(this.valid, page - start, first, outer, this.out);
    for (let at = 0; at < BLOCK_PAGES; at++) {
      if (this.out[at] === 1 && !view.isProtected(start + at)) victims.evict(start + at);
    }
  }
}

/** Blocks by how often they were used since they came. */
class FrequencyOrder implements EvictionOrder {
  readonly seesAccesses = true;
  private readonly uses: Float64Array;

  constructor(setup: PolicySetup) {
    this.uses = new Float64Array(Math.ceil(setup.pageCount / BLOCK_PAGES));
  }

  arrived(page: number): void {
    this.uses[Math.floor(page / BLOCK_PAGES)]!++;
  }

  left(page: number, view: PolicyView): void {
    const block = Math.floor(page / BLOCK_PAGES);
    if (view.residentIn(block) === 0) this.uses[block] = 0;
  }

  touched(page: number): void {
    this.uses[Math.floor(page / BLOCK_PAGES)]!++;
  }

  choose(request: VictimRequest, view: PolicyView, victims: Victims): void {
    const blocks = [...this.uses.keys()].filter((block) => view.residentIn(block) > 0);
    blocks.sort((a, b) => this.uses[a]! - this.uses[b]! || a - b);
    for (const block of blocks) {
      if (victims.count >= request.pages) return;
      evictBlock(block, view, victims);
    }
  }
}

function evictBlock(block: number, view: PolicyView, victims: Victims): void {
  const first = block * BLOCK_PAGES;
  for (let page = first; page < first + BLOCK_PAGES; page++) if (view.isProtected(page)) return;
  for (let page = first; page < first + BLOCK_PAGES; page++) {
    if ((view.where[page]! & ON_DEVICE) !== 0) victims.evict(page);
  }
}

/** Pages in an array that is drawn from. */
class RandomOrder implements EvictionOrder {
  readonly seesAccesses = false;
  private readonly pages: Int32Array;
  private readonly slot: Int32Array;
  private readonly prng: Prng;
  private count = 0;

  constructor(setup: PolicySetup) {
    this.pages = new Int32Array(setup.pageCount);
    this.slot = new Int32Array(setup.pageCount).fill(-1);
    this.prng = new Prng(setup.seed).fork('evict');
  }

  arrived(page: number): void {
    if (this.slot[page]! >= 0) return;
    this.slot[page] = this.count;
    this.pages[this.count++] = page;
  }

  left(page: number): void {
    const at = this.slot[page]!;
    if (at < 0) return;
    this.swap(at, --this.count);
    this.slot[page] = -1;
  }

  touched(): void {}

  choose(request: VictimRequest, view: PolicyView, victims: Victims): void {
    // What is drawn goes to the end of what may still be drawn.
    for (let left = this.count; left > 0 && victims.count < request.pages; left--) {
      const at = this.prng.below(left);
      const page = this.pages[at]!;
      this.swap(at, left - 1);
      if (!view.isProtected(page)) victims.evict(page);
    }
  }

  private swap(a: number, b: number): void {
    const [one, other] = [this.pages[a]!, this.pages[b]!];
    this.pages[a] = other;
    this.pages[b] = one;
    this.slot[other] = a;
    this.slot[one] = b;
  }
}
