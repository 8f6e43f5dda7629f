/**
 * The least that bookkeeping of a large folio comes to (G13): the four phases of the bare loop for
 * one entry, with src[] and dst[] of a PMD range emptied as migrate_vma_setup has to. None of the
 * semantics: no checks, no notifier, no reverse map.
 */
import type { Operation } from './sampler.ts';

const SLOTS = 512;
const PTE_PRESENT = 1;
const PTE_MIGRATION = 2;
const LOCKED = 1;
const VALID = 3;
const SHIFT = 6;

/** Page state of a few folios, by their heads, and the arrays of one window. */
export class BareFolios implements Operation {
  private readonly ptes: Uint32Array;
  private readonly flags: Uint32Array;
  private readonly refcounts: Int32Array;
  private readonly empty = new Uint32Array(SLOTS);
  private readonly src = new Uint32Array(SLOTS);
  private readonly dst = new Uint32Array(SLOTS);
  private readonly descriptors = new Uint32Array(2);
  private readonly rounds: number;
  private spare: number;

  /** @param rounds How often each of `folios` folios migrates in one run. */
  constructor(folios: number, rounds: number) {
    const heads = folios + 1;
    this.ptes = Uint32Array.from(
      { length: folios },
      (_, i) => ((i * SLOTS) << SHIFT) | PTE_PRESENT,
    );
    this.flags = new Uint32Array(new SharedArrayBuffer(heads * SLOTS * 4));
    this.refcounts = new Int32Array(new SharedArrayBuffer(heads * SLOTS * 4));
    for (const pte of this.ptes) this.refcounts[pte >>> SHIFT] = 1;
    this.spare = folios * SLOTS;
    this.rounds = rounds;
  }

  /** Migrates every folio `rounds` times. */
  run(): number {
    for (let round = 0; round < this.rounds; round++) {
      for (let i = 0; i < this.ptes.length; i++) this.migrate(i);
    }
    return 0;
  }

  /** Every folio mapped, referenced once, unlocked, and none twice. */
  verify(): string | null {
    const seen = new Set<number>();
    for (const pte of this.ptes) {
      const pfn = pte >>> SHIFT;
      const isGood = (pte & PTE_PRESENT) !== 0 && this.refcounts[pfn] === 1;
      if (!isGood || this.flags[pfn] !== 0 || seen.has(pfn)) return `folio ${pfn} is wrong`;
      seen.add(pfn);
    }
    return null;
  }

  private migrate(at: number): void {
    const { ptes, flags, refcounts, src, dst, empty, descriptors } = this;
    const from = ptes[at]! >>> SHIFT;
    flags[from]! |= LOCKED;
    src.set(empty);
    dst.set(empty);
    src[0] = ((from << SHIFT) | VALID) >>> 0;
    ptes[at] = ((from << SHIFT) | PTE_MIGRATION) >>> 0;
    const to = this.spare;
    refcounts[to] = 1;
    flags[to] = LOCKED;
    dst[0] = ((to << SHIFT) | VALID) >>> 0;
    descriptors[0] = from;
    descriptors[1] = to;
    ptes[at] = ((to << SHIFT) | PTE_PRESENT) >>> 0;
    flags[to] &= ~LOCKED;
    flags[from]! &= ~LOCKED;
    refcounts[from]! -= 1;
    this.spare = from;
  }
}
