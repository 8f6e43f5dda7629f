/**
 * The least that bringing one contiguous range to the device costs: bare WebGPU, a mapped staging
 * buffer that is kept mapped between uploads, one copy, one wait, in which a browser is nudged as
 * the engine does it. The range lies in shared memory, as RAM does.
 */
import { checkPage, fillPage } from './content.ts';
import { nudgerOf } from './insides.ts';
import type { Operation } from './sampler.ts';

const PAGE = 4096;
const WORDS = PAGE / 4;
// Usage flags; Node has no globals for them when this file is loaded.
const MAP_READ = 0x1;
const MAP_WRITE = 0x2;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const MODE_READ = 0x1;
const MODE_WRITE = 0x2;

function submitCopy(device: GPUDevice, from: GPUBuffer, to: GPUBuffer, bytes: number): void {
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
  device.queue.submit([encoder.finish()]);
}

/**
 * Uploads `bytes` bytes, new ones each time.
 *
 * @param before What comes before each upload, not timed: what precedes work counts.
 */
export function contiguousUpload(
  device: GPUDevice,
  bytes: number,
  seed: number,
  before: () => Promise<void>,
): Operation {
  const buffer = (size: number, usage: number): GPUBuffer => device.createBuffer({ size, usage });
  const staging = buffer(bytes, MAP_WRITE | COPY_SRC);
  const target = buffer(bytes, COPY_DST | COPY_SRC);
  const words = new Uint32Array(new SharedArrayBuffer(bytes));
  let iteration = 0;
  return {
    prepare: async () => {
      iteration += 1;
      for (let page = 0; page < bytes / PAGE; page++) {
        fillPage(words, page * WORDS, seed, iteration, page);
      }
      if (staging.mapState === 'unmapped') await staging.mapAsync(MODE_WRITE);
      await before();
    },
    run: async () => {
      new Uint32Array(staging.getMappedRange()).set(words);
      staging.unmap();
      submitCopy(device, staging, target, bytes);
      await nudgerOf(device).until(device.queue.onSubmittedWorkDone());
      return 0;
    },
    verify: async () => {
      const readable = buffer(bytes, MAP_READ | COPY_DST);
      submitCopy(device, target, readable, bytes);
      await readable.mapAsync(MODE_READ);
      const read = new Uint32Array(readable.getMappedRange());
      let wrong = -1;
      for (let page = bytes / PAGE - 1; page >= 0; page--) {
        if (checkPage(read, page * WORDS, seed, iteration, page, 0) >= 0) wrong = page;
      }
      readable.unmap();
      for (const one of [readable, staging, target]) one.destroy();
      return wrong < 0 ? null : `page ${wrong} is wrong`;
    },
  };
}
