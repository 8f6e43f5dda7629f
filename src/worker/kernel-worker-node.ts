/**
 * Entry of the kernel worker in Node (worker_threads). Whoever starts the thread has seen to it
 * that Dawn finds a driver, which only the main thread can do; the WebGPU globals are each thread's
 * own.
 */
import { parentPort } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { assert } from '../base/assert.ts';
import { createKernelHost } from './kernel-host.ts';

assert(parentPort !== null, 'the kernel worker runs in a worker thread');

const holder = globalThis as typeof globalThis & { heldGpu?: GPU };
if (globalThis.navigator?.gpu === undefined) {
  const { create, globals } = await import('webgpu');
  // Dawn aborts the process when this object is collected while a device lives.
  holder.heldGpu = create(process.platform === 'linux' ? ['backend=vulkan'] : []);
  Object.assign(globalThis, globals);
  const value = { gpu: holder.heldGpu };
  Object.defineProperty(globalThis, 'navigator', { value, configurable: true });
}

Comlink.expose(createKernelHost(), nodeEndpoint(parentPort));
