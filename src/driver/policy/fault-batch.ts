/**
 * One batch of faults: fetched from the ring, merged, sorted by page, and cut into groups of one
 * 2 MiB block each (uvm_gpu_replayable_faults.c; fetch and preprocess).
 */
import { BLOCK_SHIFT } from './block.ts';
import type { FaultRing } from './fault-ring.ts';

/** Units of the device that translate addresses for their own; equal faults of one are merged. */
const UTLBS = 64;
const NONE = -1;

/** Columns of the representatives of a batch, in the order in which they came. */
export class FaultBatch {
  /** Raw records fetched. */
  raw = 0;
  /** Representatives: distinct as far as merging saw. */
  count = 0;
  readonly page: Int32Array;
  readonly access: Uint8Array;
  /** A bit per access kind of the records merged. */
  readonly accessMask: Uint8Array;
  readonly context: Uint16Array;
  readonly workgroup: Int32Array;
  readonly instances: Int32Array;
  readonly raisedUs: Float64Array;
  /** Number of the life that follows each, or -1. */
  readonly life: Int32Array;
  /** Representatives by page, then by access, the highest first. */
  readonly order: Int32Array;
  private readonly lastOfUtlb = new Int32Array(UTLBS);

  constructor(limit: number) {
    this.page = new Int32Array(limit);
    this.access = new Uint8Array(limit);
    this.accessMask = new Uint8Array(limit);
    this.context = new Uint16Array(limit);
    this.workgroup = new Int32Array(limit);
    this.instances = new Int32Array(limit);
    this.raisedUs = new Float64Array(limit);
    this.life = new Int32Array(limit).fill(NONE);
    this.order = new Int32Array(limit);
  }

  /**
   * Fetches up to the batch's limit of raw records.
   *
   * @param upTo a value of `put`; records after it are not looked at
   * @param merges whether equal records are merged
   * @returns raw records fetched
   */
  fetch(ring: FaultRing, upTo: number, merges: boolean): number {
    this.raw = 0;
    this.count = 0;
    this.lastOfUtlb.fill(NONE);
    while (this.raw < this.page.length && ring.get < upTo && ring.isReady()) {
      const at = ring.take();
      this.raw++;
      const utlb = ring.workgroup[at]! % UTLBS;
      const merged =
        merges &&
        (this.merge(ring, at, this.lastOfUtlb[utlb]!) || this.merge(ring, at, this.count - 1));
      if (merged) continue;
      this.append(ring, at);
      this.lastOfUtlb[utlb] = this.count - 1;
    }
    return this.raw;
  }

  private merge(ring: FaultRing, at: number, candidate: number): boolean {
    if (candidate === NONE || this.page[candidate] !== ring.page[at]) return false;
    const access = ring.access[at]!;
    this.instances[candidate]!++;
    this.accessMask[candidate]! |= 1 << access;
    if (access > this.access[candidate]!) {
      // The more intrusive one stands for both from now on.
      this.access[candidate] = access;
      this.workgroup[candidate] = ring.workgroup[at]!;
    }
    return true;
  }

  private append(ring: FaultRing, at: number): void {
    const i = this.count++;
    this.page[i] = ring.page[at]!;
    this.access[i] = ring.access[at]!;
    this.accessMask[i] = 1 << ring.access[at]!;
    this.context[i] = ring.context[at]!;
    this.workgroup[i] = ring.workgroup[at]!;
    this.instances[i] = 1;
    this.raisedUs[i] = ring.raisedUs[at]!;
    this.life[i] = NONE;
  }

  /** Sorts the representatives. */
  sort(): void {
    const order = this.order.subarray(0, this.count);
    let isSorted = true;
    for (let i = 0; i < order.length; i++) {
      order[i] = i;
      if (i > 0 && this.page[i]! <= this.page[i - 1]!) isSorted = false;
    }
    // As they come from neighbours that began together.
    if (isSorted) return;
    order.sort(
      (a, b) => this.page[a]! - this.page[b]! || this.access[b]! - this.access[a]! || a - b,
    );
  }

  /** One past the last place in `order` of the group that begins at `from`. */
  groupEnd(from: number): number {
    const block = this.page[this.order[from]!]! >>> BLOCK_SHIFT;
    let end = from + 1;
    while (end < this.count && this.page[this.order[end]!]! >>> BLOCK_SHIFT === block) end++;
    return end;
  }
}
