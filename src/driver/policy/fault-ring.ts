/**
 * The fault ring: bounded, in order, with a valid bit per record because records may become visible
 * out of order. What finds it full is lost and counted; a replay raises it again.
 *
 * Records are columns. `get` and `put` count records since the beginning, so that put - get is the
 * number of records in the ring and neither ever wraps.
 */
import { assert } from '../../base/assert.ts';

/** Default number of records. */
export const RING_RECORDS = 4096;

/** A ring of fault records. */
export class FaultRing {
  readonly capacity: number;
  /** Records fetched, and records reserved, since the beginning. */
  get = 0;
  put = 0;
  /** Records that found the ring full. */
  overflows = 0;
  /** It takes no record, as if it were full. */
  isLosing = false;
  readonly page: Int32Array;
  readonly access: Uint8Array;
  readonly context: Uint16Array;
  readonly workgroup: Int32Array;
  readonly raisedUs: Float64Array;
  private readonly valid: Uint8Array;

  /** @param capacity records, at least 1 */
  constructor(capacity = RING_RECORDS) {
    assert(capacity >= 1, 'a fault ring holds a record at least');
    this.capacity = capacity;
    this.page = new Int32Array(capacity);
    this.access = new Uint8Array(capacity);
    this.context = new Uint16Array(capacity);
    this.workgroup = new Int32Array(capacity);
    this.raisedUs = new Float64Array(capacity);
    this.valid = new Uint8Array(capacity);
  }

  /** Records in the ring, visible or not. */
  get pending(): number {
    return this.put - this.get;
  }

  /**
   * Takes a slot and fills it, without making it visible.
   *
   * @returns what publish() takes, or -1 where the ring is full
   */
  reserve(page: number, access: number, context: number, workgroup: number, nowUs: number): number {
    if (this.pending >= this.capacity || this.isLosing) {
      this.overflows++;
      return -1;
    }
    const number = this.put++;
    const at = number % this.capacity;
    this.page[at] = page;
    this.access[at] = access;
    this.context[at] = context;
    this.workgroup[at] = workgroup;
    this.raisedUs[at] = nowUs;
    this.valid[at] = 0;
    return number;
  }

  /** Makes a reserved record visible. */
  publish(number: number): void {
    assert(number >= this.get && number < this.put, 'a record is published once, while it waits');
    this.valid[number % this.capacity] = 1;
  }

  /** Reserves and publishes. @returns false where the ring is full */
  push(page: number, access: number, context: number, workgroup: number, nowUs: number): boolean {
    const number = this.reserve(page, access, context, workgroup, nowUs);
    if (number >= 0) this.publish(number);
    return number >= 0;
  }

  /** Whether the next record is visible. */
  isReady(): boolean {
    return this.pending > 0 && this.valid[this.get % this.capacity] === 1;
  }

  /** Slot of the next record, which is taken off the ring; it must be ready. */
  take(): number {
    const at = this.get++ % this.capacity;
    this.valid[at] = 0;
    return at;
  }

  /**
   * Drops records: a replay raises again what was real.
   *
   * @param upTo a value of `put`; records after it stay
   * @returns records dropped
   */
  flush(upTo: number): number {
    const dropped = Math.max(0, upTo - this.get);
    for (let i = 0; i < dropped; i++) this.take();
    return dropped;
  }
}
