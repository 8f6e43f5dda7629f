/**
 * When the batches of a fault service began, how long they took, and what they evicted: of the last
 * ones, since a kernel may run for days.
 */

/** Batches that are kept. */
export const BATCHES_KEPT = 2 ** 16;
const FIRST_ROOM = 256;

/** What is kept of a run's batches, oldest first. Plain data. */
export interface KeptBatches {
  /** Batches before these, of which nothing is kept. */
  readonly batchesDropped: number;
  /** When each began, and how long it took, µs of virtual time. */
  readonly batchStartUs: readonly number[];
  readonly batchUs: readonly number[];
  /** Blocks that it evicted. */
  readonly batchEvictions: readonly number[];
}

/** A ring that grows up to its capacity. */
export class BatchLog {
  /** Batches that were noted, also those that are not kept any more. */
  noted = 0;
  private readonly capacity: number;
  private startUs: Float64Array;
  private us: Float64Array;
  private evictions: Uint32Array;

  constructor(capacity: number = BATCHES_KEPT) {
    this.capacity = capacity;
    const room = Math.min(FIRST_ROOM, capacity);
    this.startUs = new Float64Array(room);
    this.us = new Float64Array(room);
    this.evictions = new Uint32Array(room);
  }

  /** Notes a batch that is over. */
  note(startUs: number, us: number, evictions: number): void {
    if (this.noted === this.us.length && this.noted < this.capacity) this.grow();
    const at = this.noted % this.us.length;
    this.startUs[at] = startUs;
    this.us[at] = us;
    this.evictions[at] = evictions;
    this.noted += 1;
  }

  /** The last batches. */
  last(): KeptBatches {
    const { noted, us } = this;
    const kept = Math.min(noted, us.length);
    const begin = noted > kept ? noted % us.length : 0;
    const inOrder = (ring: Float64Array | Uint32Array): number[] => [
      ...ring.subarray(begin, kept),
      ...ring.subarray(0, begin),
    ];
    return {
      batchesDropped: noted - kept,
      batchStartUs: inOrder(this.startUs),
      batchUs: inOrder(this.us),
      batchEvictions: inOrder(this.evictions),
    };
  }

  private grow(): void {
    const room = Math.min(this.us.length * 2, this.capacity);
    const [startUs, us, evictions] = [this.startUs, this.us, this.evictions];
    this.startUs = new Float64Array(room);
    this.startUs.set(startUs);
    this.us = new Float64Array(room);
    this.us.set(us);
    this.evictions = new Uint32Array(room);
    this.evictions.set(evictions);
  }
}
