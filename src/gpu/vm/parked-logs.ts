/*
 * What stopped workgroups have in the memo, put aside while their slots have no log: states,
 * checkpoints, atomics of workgroup memory and logs, packed into a buffer for each time that logs
 * outgrew their room.
 *
 * Locking. None. Source: our own.
 */
import { CHECK_WORDS, STATE_WORDS } from '../../engine/vm/abi.ts';
import { BUFFER_COPY_DST, BUFFER_COPY_SRC } from '../flags.ts';
import type { VmLayout } from './vm-source.ts';

/** Where a slot's parts are. */
interface ParkedSlot {
  readonly pool: Pool;
  /** Bytes from the pool's begin on. */
  readonly at: number;
}

/** A buffer, and how many of its slots are needed yet. */
interface Pool {
  readonly buffer: GPUBuffer;
  readonly logWords: number;
  slots: number;
}

/** A stretch of the memo, in bytes. */
interface Part {
  readonly at: number;
  readonly bytes: number;
}

/** Where a slot's log is in the memo, in bytes, with so many words of log an invocation. */
export function logPlace({ logsAt, lanes }: VmLayout, slot: number, logWords: number): number {
  return (logsAt + slot * lanes * logWords) * 4;
}

/** States, checkpoints, workgroup memory and log of a slot, `kept` words of it an invocation. */
function partsOf(layout: VmLayout, slot: number, logWords: number, kept: number): Part[] {
  const { slots, lanes, checksAt, sharedAt, sharedWords } = layout;
  const state = STATE_WORDS * lanes * 4;
  const check = checksAt < sharedAt ? CHECK_WORDS * lanes * 4 : 0;
  return [
    { at: slots * 4 + slot * state, bytes: state },
    { at: checksAt * 4 + slot * check, bytes: check },
    { at: (sharedAt + slot * sharedWords) * 4, bytes: sharedWords * 4 },
    { at: logPlace(layout, slot, logWords), bytes: kept * lanes * 4 },
  ].filter(({ bytes }) => bytes > 0);
}

export class ParkedLogs {
  private readonly slots = new Map<number, ParkedSlot>();

  /** Puts slots aside that have `logWords` words of log an invocation. */
  add(
    device: GPUDevice,
    encoder: GPUCommandEncoder,
    layout: VmLayout,
    memo: GPUBuffer,
    slots: readonly number[],
    logWords: number,
  ): void {
    const each = partsOf(layout, 0, logWords, logWords).reduce((sum, { bytes }) => sum + bytes, 0);
    const usage = BUFFER_COPY_SRC | BUFFER_COPY_DST;
    const size = each * slots.length;
    const buffer = device.createBuffer({ label: 'vm parked logs', size, usage });
    const pool: Pool = { buffer, logWords, slots: slots.length };
    for (const [index, slot] of slots.entries()) {
      let at = index * each;
      this.slots.set(slot, { pool, at });
      for (const part of partsOf(layout, slot, logWords, logWords)) {
        encoder.copyBufferToBuffer(memo, part.at, buffer, at, part.bytes);
        at += part.bytes;
      }
    }
  }

  /**
   * Moves one to another slot of the memo, whose log has `logWords` words by now.
   *
   * @returns the buffer that nobody needs any more once the commands are submitted, if any
   */
  take(
    encoder: GPUCommandEncoder,
    layout: VmLayout,
    memo: GPUBuffer,
    from: number,
    to: number,
    logWords: number,
  ): GPUBuffer | undefined {
    const { pool, at: first } = this.slots.get(from)!;
    let at = first;
    for (const part of partsOf(layout, to, logWords, pool.logWords)) {
      encoder.copyBufferToBuffer(pool.buffer, at, memo, part.at, part.bytes);
      at += part.bytes;
    }
    this.slots.delete(from);
    pool.slots -= 1;
    return pool.slots === 0 ? pool.buffer : undefined;
  }

  /** Gives all buffers back. */
  destroy(): void {
    for (const { pool } of this.slots.values()) pool.buffer.destroy();
    this.slots.clear();
  }
}
