/**
 * A recording of copy-engine work as columns of typed arrays: one row per page or folio, reused
 * from batch to batch so that steady state allocates nothing. What a row means does not depend on
 * the engine that runs it.
 */
import { assert } from '../base/assert.ts';

/** Row kinds of a command list. */
export const JOB_COPY = 1;
/** Fills the target with zeroes. */
export const JOB_CLEAR = 2;
/** Writes the source's checksum to `result` (see checksum.ts). */
export const JOB_CHECKSUM = 3;
/** Adds `operand` to every 32-bit word of the target, modulo 2^32: the smallest device kernel. */
export const JOB_ADD = 4;

/** So many are cleared by stores: a call of fill costs as much as a dozen. */
const FEW_ROWS = 8;
/** What is stored for a frame that can't be one: no memory has it, so engines refuse the row. */
const NO_FRAME = 0xffffffff;

/** What a copy engine is to do: a row a page. */
export class CommandList {
  readonly capacity: number;
  /** Rows in use. */
  length = 0;
  /** Total pages of the rows in use. */
  pages = 0;
  /** Index of the row that made a check fail, or -1. */
  firstBad = -1;
  readonly op: Uint8Array;
  /** First source frame (COPY, CHECKSUM). */
  readonly source: Uint32Array;
  /** First target frame (COPY, CLEAR, ADD). */
  readonly target: Uint32Array;
  /** Consecutive frames that the row covers: 1, or 512 for a PMD folio, or any run. */
  readonly count: Uint32Array;
  /** Argument of ADD. */
  readonly operand: Uint32Array;
  /** Result of CHECKSUM. */
  readonly result: Uint32Array;
  /** 1 once the row's target is complete. */
  readonly done: Uint8Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.op = new Uint8Array(capacity);
    this.source = new Uint32Array(capacity);
    this.target = new Uint32Array(capacity);
    this.count = new Uint32Array(capacity);
    this.operand = new Uint32Array(capacity);
    this.result = new Uint32Array(capacity);
    this.done = new Uint8Array(capacity);
  }

  /** Empties the list for reuse. */
  reset(): void {
    const { done, result, length } = this;
    if (length > FEW_ROWS) {
      done.fill(0, 0, length);
      result.fill(0, 0, length);
    } else {
      for (let row = 0; row < length; row++) done[row] = result[row] = 0;
    }
    this.length = 0;
    this.pages = 0;
    this.firstBad = -1;
  }

  // What is no whole number from 0 to 2^32 - 1 is recorded as a frame that does not exist, or as a
  // count of none: a column would take 2^32 + 3 for 3 and NaN for 0. Submitting refuses the row.

  /** Appends a copy of `count` frames; returns its row. The list must have room. */
  copy(source: number, target: number, count = 1): number {
    return this.append(JOB_COPY, source, target, count, 0);
  }

  /** Appends a zero fill of `count` frames; returns its row. */
  clear(target: number, count = 1): number {
    return this.append(JOB_CLEAR, 0, target, count, 0);
  }

  /** Appends a checksum over `count` frames; returns the row whose `result` will hold it. */
  checksum(source: number, count = 1): number {
    return this.append(JOB_CHECKSUM, source, 0, count, 0);
  }

  /** Appends the addition of `operand` to each word of `count` VRAM frames; returns its row. */
  add(target: number, operand: number, count = 1): number {
    return this.append(JOB_ADD, 0, target, count, operand >>> 0);
  }

  private append(op: number, source: number, target: number, count: number, arg: number): number {
    const row = this.length;
    assert(row < this.capacity, 'command list is full');
    const pages = count >>> 0 === count ? count : 0;
    this.op[row] = op;
    this.source[row] = source >>> 0 === source ? source : NO_FRAME;
    this.target[row] = target >>> 0 === target ? target : NO_FRAME;
    this.count[row] = pages;
    this.operand[row] = arg;
    this.length = row + 1;
    this.pages += pages;
    return row;
  }
}
