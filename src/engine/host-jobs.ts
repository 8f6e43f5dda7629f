/*
 * The jobs whose frames are all in RAM: copy, clear and checksum. Every engine runs them the same
 * way, on this thread and those that help it, because a device could only lose time on them.
 *
 * Locking. The caller makes sure that no earlier list still has to write the frames concerned.
 * Leaves out: the threads that help; host-copiers.ts is the port to them. Source: our own.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { checksumPageRange } from './checksum.ts';
import type { CommandList } from './command-list.ts';
import { JOB_CHECKSUM, JOB_CLEAR, JOB_COPY } from './command-list.ts';
import type { EngineStats } from './copy-engine.ts';
import type { HostCopiers } from './host-copiers.ts';

/** Two views of the shared memory, made once. */
export interface HostMemory {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
}

/** The views of `ram` that cover `hostFrames` pages; `ram` must hold at least that many. */
export function createHostMemory(ram: Uint8Array, hostFrames: number): HostMemory {
  const length = hostFrames * PAGE_SIZE;
  assert(ram.byteLength >= length, 'the shared memory is smaller than the geometry says');
  return {
    bytes: new Uint8Array(ram.buffer, ram.byteOffset, length),
    words: new Uint32Array(ram.buffer, ram.byteOffset, length / 4),
  };
}

/** True when a row reads and writes RAM only. `list` must have passed `checkCommandList`. */
export function isHostJob(list: CommandList, row: number, hostFrames: number): boolean {
  const op = list.op[row]!;
  if (op === JOB_CHECKSUM) return list.source[row]! < hostFrames;
  if (op === JOB_COPY && list.source[row]! >= hostFrames) return false;
  return list.target[row]! < hostFrames;
}

/**
 * Runs a row for which `isHostJob` holds; its result is complete on return. The done bit is left to
 * the caller.
 *
 * Context: no lock; never waits. Source: our own.
 */
export function runHostJob(memory: HostMemory, list: CommandList, row: number): void {
  const count = list.count[row]!;
  const op = list.op[row]!;
  if (op === JOB_COPY) {
    const from = list.source[row]! * PAGE_SIZE;
    memory.bytes.copyWithin(list.target[row]! * PAGE_SIZE, from, from + count * PAGE_SIZE);
  } else if (op === JOB_CLEAR) {
    const from = list.target[row]! * PAGE_SIZE;
    memory.bytes.fill(0, from, from + count * PAGE_SIZE);
  } else {
    list.result[row] = checksumPageRange(memory.words, list.source[row]!, count);
  }
}

/**
 * Runs all rows of a list for which `isHostJob` holds and sets their done bits.
 *
 * @param copiers threads that help with copies and clears; undefined for none
 * @param stats where the bytes are counted
 *
 * Context: no lock; blocks the thread as long as copiers are at work. Source: our own.
 */
export function runHostJobs(
  memory: HostMemory,
  copiers: HostCopiers | undefined,
  list: CommandList,
  hostFrames: number,
  stats: EngineStats,
): void {
  copiers?.run(list, hostFrames);
  for (let row = 0; row < list.length; row++) {
    if (!isHostJob(list, row, hostFrames)) continue;
    if (copiers === undefined || list.op[row] === JOB_CHECKSUM) runHostJob(memory, list, row);
    stats.bytesInHost += hostBytesOf(list, row);
    list.done[row] = 1;
  }
}

/** Bytes that a row for which `isHostJob` holds writes within the shared memory. */
export function hostBytesOf(list: CommandList, row: number): number {
  return list.op[row] === JOB_CHECKSUM ? 0 : list.count[row]! * PAGE_SIZE;
}
