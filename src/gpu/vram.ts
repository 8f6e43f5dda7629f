/*
 * Device memory: equal buffers ("arenas") in a row, because no buffer may be larger than the
 * adapter's binding limit. VRAM frame f, counted from 0, is page f % framesPerArena of arena f /
 * framesPerArena.
 *
 * Promises. Every arena is written once when it is made: a fresh buffer is cleared lazily at
 * its first use, a stall of 55 to 65 ms that would otherwise hit the first migration.
 *
 * Locking. None. Leaves out: who owns a frame; that is the driver's page allocator.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { BUFFER_COPY_DST, BUFFER_COPY_SRC, BUFFER_STORAGE } from './flags.ts';
import type { EngineOpenError } from './open-error.ts';

/** Uses of an arena: kernels, copies both ways. */
const ARENA_USAGE = BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST;

/** The buffers behind VRAM and how frames lie in them. */
export interface Vram {
  readonly arenas: readonly GPUBuffer[];
  readonly frames: number;
  /** Frames of each arena but the last, which holds the rest. */
  readonly framesPerArena: number;
}

/**
 * Bytes of each arena for a wanted amount of VRAM.
 *
 * @param wantedBytes all VRAM, a multiple of the page size
 * @param limitBytes the smaller of the adapter's binding and buffer limits
 * @param maxBytes the caller's own limit
 * @returns a multiple of the page size, and of 2 MiB where that fits, so that folios aligned to 2
 * MiB lie in one arena
 */
export function arenaBytes(wantedBytes: number, limitBytes: number, maxBytes: number): number {
  const most = Math.min(limitBytes, maxBytes);
  if (wantedBytes <= most) return wantedBytes;
  const unit = most >= PMD_SIZE ? PMD_SIZE : PAGE_SIZE;
  return Math.floor(most / unit) * unit;
}

/**
 * Makes and pre-touches all arenas.
 *
 * @param vramFrames frames of VRAM in all
 * @param maxArenaBytes the caller's limit on one arena
 * @returns the arenas, or ENOMEM
 *
 * Context: waits for the device. Source: our own.
 */
export async function createVram(
  device: GPUDevice,
  vramFrames: number,
  maxArenaBytes: number,
): Promise<Vram | EngineOpenError> {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  const framesPerArena = arenaBytes(vramFrames * PAGE_SIZE, limit, maxArenaBytes) / PAGE_SIZE;
  assert(vramFrames === 0 || framesPerArena >= 1, 'an arena holds at least a page');
  const arenas: GPUBuffer[] = [];
  device.pushErrorScope('out-of-memory');
  for (let first = 0; first < vramFrames; first += framesPerArena) {
    arenas.push(
      device.createBuffer({
        label: `VRAM arena ${arenas.length}`,
        size: Math.min(framesPerArena, vramFrames - first) * PAGE_SIZE,
        usage: ARENA_USAGE,
      }),
    );
  }
  const failure = await device.popErrorScope();
  if (failure !== null) {
    for (const arena of arenas) arena.destroy();
    return {
      errno: errno.ENOMEM,
      cause: `The device has no room for ${vramFrames * PAGE_SIZE} bytes: ${failure.message}`,
      remedy: 'Ask for less device memory, or close other programs that use the GPU.',
    };
  }
  preTouch(device, arenas);
  await device.queue.onSubmittedWorkDone();
  return { arenas, frames: vramFrames, framesPerArena };
}

/**
 * Queues the first write of all of these buffers, so that no later command pays for clearing them.
 */
export function preTouch(device: GPUDevice, buffers: Iterable<GPUBuffer>): void {
  const encoder = device.createCommandEncoder({ label: 'pre-touch' });
  for (const buffer of buffers) encoder.clearBuffer(buffer);
  device.queue.submit([encoder.finish()]);
}
