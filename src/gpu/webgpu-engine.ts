/*
 * Opening a WebGPU engine: adapter, device, arenas, staging rings, kernels; all memory that it will
 * ever use. What can go wrong in the environment is answered as data.
 *
 * Locking. None. Source: our own.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { FrameGeometry } from '../engine/copy-engine.ts';
import { createEngineStats } from '../engine/engine-stats.ts';
import type { HostCopiers } from '../engine/host-copiers.ts';
import { createHostMemory } from '../engine/host-jobs.ts';
import { openDevice } from './adapter.ts';
import { BUFFER_COPY_DST, BUFFER_COPY_SRC, BUFFER_STORAGE } from './flags.ts';
import { isNode } from './is-node.ts';
import { KernelStatus } from './kernel-status.ts';
import { HostCopier } from './host-copier.ts';
import { JobBuffer } from './job-buffer.ts';
import type { EngineOpenError } from './open-error.ts';
import { isEngineOpenError } from './open-error.ts';
import type { KernelTuning } from './pipelines.ts';
import { createKernels, defaultTuning } from './pipelines.ts';
import { READBACK_SLOT_PAGES, SlotRing, UPLOAD_SLOT_PAGES } from './rings.ts';
import { createVram, preTouch } from './vram.ts';
import { WebGpuEngine } from './engine-core.ts';

/** What an engine is made of. */
export interface WebGpuEngineOptions {
  /** The entry point; default: `navigator.gpu`. */
  readonly gpu?: GPU | undefined;
  /** The shared memory; frame 0 is its first page. */
  readonly ram: Uint8Array;
  readonly geometry: FrameGeometry;
  readonly powerPreference?: GPUPowerPreference | undefined;
  /** Puts submissions that no map answers for into an error scope of their own. */
  readonly checked?: boolean | undefined;
  /** Largest arena, bytes; default: what the adapter allows. */
  readonly maxArenaBytes?: number | undefined;
  /** Staging slots of each size and direction, that is flights in the air; default 3. */
  readonly lanes?: number | undefined;
  /** Pages of the staging slots of each size class, ascending. */
  readonly slotPages?: readonly number[] | undefined;
  /** Values of the kernels' `override` constants; default: by kind of adapter. */
  readonly tuning?: KernelTuning | undefined;
  /** Workgroups a dispatch may have in one dimension; default: the adapter's limit. */
  readonly maxGroupsPerDimension?: number | undefined;
  /** Threads that help with copies within the shared memory; closed with the engine. */
  readonly hostCopiers?: HostCopiers | undefined;
  /** Whether `writeBuffer` can read shared memory; default: everywhere but in Node. */
  readonly writesShared?: boolean | undefined;
}

/** Kernel jobs of one burst of flights: more than one row of a dispatch's grid. */
const JOB_CAPACITY = 131_072;
const DEFAULT_LANES = 3;

/**
 * Opens an engine.
 *
 * @returns the engine, or an error with errno ENODEV (no WebGPU, no adapter, limits too small),
 * ENOMEM (not enough device memory) or EIO (the driver failed)
 *
 * Context: waits. Source: our own.
 */
export async function createWebGpuEngine(
  options: WebGpuEngineOptions,
): Promise<WebGpuEngine | EngineOpenError> {
  const { ram, geometry } = options;
  const opened = await openDevice(options);
  if (isEngineOpenError(opened)) return opened;
  const { device, gpu, report } = opened;
  const maxArenaBytes = options.maxArenaBytes ?? Number.MAX_SAFE_INTEGER;
  const vram = await createVram(device, geometry.vramFrames, maxArenaBytes);
  if (isEngineOpenError(vram)) {
    device.destroy();
    return vram;
  }
  const uploadPages = options.slotPages ?? UPLOAD_SLOT_PAGES;
  const readbackPages = options.slotPages ?? READBACK_SLOT_PAGES;
  const lanes = options.lanes ?? DEFAULT_LANES;
  const bouncePages = readbackPages.at(-1) ?? 0;
  const gridLimit = options.maxGroupsPerDimension ?? device.limits.maxComputeWorkgroupsPerDimension;
  const tuning = options.tuning ?? defaultTuning(report.isSoftware);
  const groupJobs = tuning.lanes / tuning.pageLanes;
  const flights = 2 * lanes + 2;
  const arenas = vram.arenas.length;
  const jobs = new JobBuffer(device, arenas, JOB_CAPACITY, gridLimit, groupJobs, flights);
  const status = new KernelStatus(device);
  const bounce = deviceBuffer(device, 'bounce', bouncePages * PAGE_SIZE);
  const sums = deviceBuffer(device, 'checksums', JOB_CAPACITY * 4);
  const buffers = { status: status.buffer, bounce, sums, jobs };
  const kernels = await createKernels(device, vram.arenas, buffers, tuning);
  if (isEngineOpenError(kernels)) {
    device.destroy();
    return kernels;
  }
  const uploads = new SlotRing(device, 'upload', uploadPages, lanes);
  const readbacks = new SlotRing(device, 'readback', readbackPages, lanes);
  preTouch(device, [bounce, sums, jobs.buffer, ...readbacks.freeBuffers()]);
  await device.queue.onSubmittedWorkDone();
  const memory = createHostMemory(ram, geometry.hostFrames);
  const host = new HostCopier(memory.bytes, options.writesShared ?? !isNode());
  return new WebGpuEngine({
    gpu,
    adapter: report,
    geometry,
    resources: { device, vram, bounce, sums, jobs, kernels, host, stats: createEngineStats() },
    memory,
    hostCopiers: options.hostCopiers,
    uploads,
    readbacks,
    bouncePages,
    status,
    checked: options.checked ?? false,
    flights,
  });
}

function deviceBuffer(device: GPUDevice, label: string, size: number): GPUBuffer {
  const usage = BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST;
  return device.createBuffer({ label, size, usage });
}
