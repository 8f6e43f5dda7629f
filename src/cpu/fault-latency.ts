/**
 * How long faults keep cores waiting, from the trap to the next instruction: for each kind a count,
 * a sum and a histogram by powers of two, in shared memory. Each core has a row of its own, so that
 * every number has one writer; readers add the rows up. Our own.
 */
import { MAX_CORES } from './control.ts';

/** Answered without a wait: a page to be made, or a bit to be set. */
export const FAULT_MINOR = 0;
/** Had to wait, for a device, a monitor or another fault. Linux counts only reads from disk. */
export const FAULT_MAJOR = 1;
/** The page was there, but not with that permission: copy-on-write, write-protection. */
export const FAULT_PROTECTION = 2;

/** Names of the kinds, in the order of their numbers. */
export const FAULT_KINDS = ['minor', 'major', 'protection'] as const;
/** What a fault needed: see FAULT_KINDS. */
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Bucket b counts faults of 2^b to 2^(b+1) nanoseconds; the last one, all that took longer. */
export const LATENCY_BUCKETS = 32;

const COUNT = 0;
const SUM = 1;
const BUCKETS = 2;
const KIND_NUMBERS = BUCKETS + LATENCY_BUCKETS;
const ROW_NUMBERS = FAULT_KINDS.length * KIND_NUMBERS;

/** What was counted of one kind. */
export interface FaultLatencySummary {
  readonly count: number;
  /** Nanoseconds of all together. */
  readonly totalNs: number;
  /** Faults by power of two of nanoseconds. */
  readonly histogram: readonly number[];
}

/** How long faults took, by kind: counts, totals and histograms in shared memory. */
export class FaultLatency {
  readonly numbers: Float64Array<SharedArrayBuffer>;

  /** @param buffer What another FaultLatency has as `numbers.buffer`; a new one without. */
  constructor(buffer = new SharedArrayBuffer(MAX_CORES * ROW_NUMBERS * 8)) {
    this.numbers = new Float64Array(buffer);
  }

  /** Counts a fault. @param kind FAULT_* Context: the core in that slot. */
  add(slot: number, kind: number, ns: number): void {
    const at = slot * ROW_NUMBERS + kind * KIND_NUMBERS;
    const bucket = ns < 1 ? 0 : Math.min(LATENCY_BUCKETS - 1, Math.floor(Math.log2(ns)));
    this.numbers[at + COUNT]! += 1;
    this.numbers[at + SUM]! += ns;
    this.numbers[at + BUCKETS + bucket]! += 1;
  }

  /** All cores together, now. Context: any thread. */
  read(kind: FaultKind): FaultLatencySummary {
    const first = FAULT_KINDS.indexOf(kind) * KIND_NUMBERS;
    const histogram = Array.from({ length: LATENCY_BUCKETS }, () => 0);
    let count = 0;
    let totalNs = 0;
    for (let at = first; at < this.numbers.length; at += ROW_NUMBERS) {
      count += this.numbers[at + COUNT]!;
      totalNs += this.numbers[at + SUM]!;
      for (let b = 0; b < LATENCY_BUCKETS; b++) histogram[b]! += this.numbers[at + BUCKETS + b]!;
    }
    return { count, totalNs, histogram };
  }

  /** Every kind, now. */
  snapshot(): Record<FaultKind, FaultLatencySummary> {
    const pairs = FAULT_KINDS.map((kind) => [kind, this.read(kind)] as const);
    return Object.fromEntries(pairs) as Record<FaultKind, FaultLatencySummary>;
  }
}
