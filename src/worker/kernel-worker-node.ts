/**
 * Entry of the kernel worker in Node (worker_threads). Whoever starts the thread has seen to it
 * that Dawn finds a driver, which only the main thread can do; the WebGPU globals are each thread's
 * own. Without WebGPU, the package webgpu is not asked for.
 */
import { parentPort } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { createKernelHost } from './kernel-host.ts';
import type { MachineOptions, OpenFailure } from './protocol.ts';

assert(parentPort !== null, 'the kernel worker runs in a worker thread');

async function prepare(options: MachineOptions): Promise<OpenFailure | null> {
  if (options.engine === 'cpu' || globalThis.navigator?.gpu !== undefined) return null;
  const holder = globalThis as typeof globalThis & { heldGpu?: GPU };
  try {
    const { create, globals } = await import('webgpu');
    // Dawn aborts the process when this object is collected while a device lives.
    holder.heldGpu = create(process.platform === 'linux' ? ['backend=vulkan'] : []);
    Object.assign(globalThis, globals);
    const value = { gpu: holder.heldGpu };
    Object.defineProperty(globalThis, 'navigator', { value, configurable: true });
    return null;
  } catch (error) {
    const cause = `WebGPU can not be started in Node (${(error as Error).message})`;
    return { errno: errno.ENODEV, cause, remedy: "ask for engine: 'cpu'" };
  }
}

const { api, panic } = createKernelHost(prepare);

process.on('uncaughtException', panic);
process.on('unhandledRejection', panic);

Comlink.expose(api, nodeEndpoint(parentPort));
