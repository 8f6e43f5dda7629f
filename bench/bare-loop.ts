/**
 * The bare loop that bookkeeping of migration is held against (G11): the same four phases over
 * typed arrays with none of the semantics. Collect and lock, unmap, allocate and describe,
 * restore: a page table entry, a flag word, a reference count and a free list per page, in their
 * simplest form.
 */
import type { Operation } from './sampler.ts';

const WINDOW = 512;
const PTE_PRESENT = 1;
const PTE_MIGRATION = 2;
const LOCKED = 1;
const VALID = 3;
const SHIFT = 6;

/** Page state of the loop, and the work arrays of one window. */
export class BareLoop implements Operation {
  private readonly ptes: Uint32Array;
  private readonly flags: Uint32Array;
  private readonly refcounts: Int32Array;
  private readonly freeList: Uint32Array;
  private free: number;
  private readonly src = new Uint32Array(WINDOW);
  private readonly dst = new Uint32Array(WINDOW);
  private readonly descriptors = new Uint32Array(2 * WINDOW);

  /**
   * @param pfns Page that each entry maps, in order; their number is a multiple of 512.
   * @param spare Free pages to move to, at least 512. @param pageCount One past the highest pfn.
   */
  constructor(pfns: ArrayLike<number>, spare: ArrayLike<number>, pageCount: number) {
    this.ptes = Uint32Array.from(pfns, (pfn) => (pfn << SHIFT) | PTE_PRESENT);
    this.flags = new Uint32Array(new SharedArrayBuffer(pageCount * 4));
    this.refcounts = new Int32Array(new SharedArrayBuffer(pageCount * 4));
    for (const pte of this.ptes) this.refcounts[pte >>> SHIFT] = 1;
    this.freeList = new Uint32Array(spare.length);
    this.freeList.set(spare);
    this.free = spare.length;
  }

  get windows(): number {
    return this.ptes.length / WINDOW;
  }

  /** Migrates every page once. */
  run(): number {
    for (let window = 0; window < this.windows; window++) {
      const first = window * WINDOW;
      this.collect(first);
      this.unmap(first);
      this.allocate();
      this.restore(first);
    }
    return 0;
  }

  /** Every page mapped, referenced once, unlocked, and no page twice. */
  verify(): string | null {
    const seen = new Set<number>();
    for (const pte of this.ptes) {
      const pfn = pte >>> SHIFT;
      const isGood = (pte & PTE_PRESENT) !== 0 && this.refcounts[pfn] === 1;
      if (!isGood || this.flags[pfn] !== 0 || seen.has(pfn)) return `page ${pfn} is wrong`;
      seen.add(pfn);
    }
    return null;
  }

  private collect(first: number): void {
    const { ptes, flags, refcounts, src } = this;
    for (let i = 0; i < WINDOW; i++) {
      const pte = ptes[first + i]!;
      src[i] = 0;
      if ((pte & PTE_PRESENT) === 0) continue;
      const pfn = pte >>> SHIFT;
      if ((flags[pfn]! & LOCKED) !== 0) continue;
      flags[pfn] = flags[pfn]! | LOCKED;
      refcounts[pfn] = refcounts[pfn]! + 1;
      src[i] = ((pfn << SHIFT) | VALID) >>> 0;
    }
  }

  private unmap(first: number): void {
    const { ptes, refcounts, src } = this;
    for (let i = 0; i < WINDOW; i++) {
      if (src[i] === 0) continue;
      const pfn = src[i]! >>> SHIFT;
      ptes[first + i] = ((pfn << SHIFT) | PTE_MIGRATION) >>> 0;
      refcounts[pfn] = refcounts[pfn]! - 1;
    }
  }

  private allocate(): void {
    const { src, dst, descriptors, refcounts, flags } = this;
    for (let i = 0; i < WINDOW; i++) {
      if (src[i] === 0) continue;
      this.free -= 1;
      const pfn = this.freeList[this.free]!;
      refcounts[pfn] = 1;
      flags[pfn] = LOCKED;
      dst[i] = ((pfn << SHIFT) | VALID) >>> 0;
      descriptors[2 * i] = src[i]! >>> SHIFT;
      descriptors[2 * i + 1] = pfn;
    }
  }

  private restore(first: number): void {
    const { ptes, flags, refcounts, src, dst } = this;
    for (let i = 0; i < WINDOW; i++) {
      if (src[i] === 0) continue;
      const from = src[i]! >>> SHIFT;
      const to = dst[i]! >>> SHIFT;
      ptes[first + i] = ((to << SHIFT) | PTE_PRESENT) >>> 0;
      flags[to] = flags[to]! & ~LOCKED;
      flags[from] = flags[from]! & ~LOCKED;
      refcounts[from] = refcounts[from]! - 1;
      this.freeList[this.free] = from;
      this.free += 1;
    }
  }
}
