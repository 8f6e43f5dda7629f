/*
 * Kernels over virtual memory on WebGPU: one arena of frames, a page table buffer for each context,
 * and compiled programs.
 *
 * Promises. Every dispatch runs in an error scope, because an invalid one would only log. A lost
 * device is ENODEV for whatever is asked later; nothing throws for it.
 *
 * Locking. One pass of a run at a time; passes of different runs are ordered by the queue.
 *
 * Leaves out: more than one arena: frames are limited by the largest storage binding.
 */
import { errno } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import { VM_TABLE_WORDS } from '../../engine/vm/abi.ts';
import type { DeviceSpace } from '../../engine/vm/device-space.ts';
import type {
  VmEngine,
  VmKernel,
  VmProgram,
  VmProgramOptions,
  VmRefusal,
} from '../../engine/vm/vm-engine.ts';
import {
  BUFFER_COPY_DST,
  BUFFER_COPY_SRC,
  BUFFER_MAP_READ,
  BUFFER_STORAGE,
  MAP_MODE_READ,
  STAGE_COMPUTE,
} from '../flags.ts';
import { nudgerOf } from '../nudge.ts';
import type { GpuVmHost } from './gpu-host.ts';
import { compileProgram } from './gpu-program.ts';
import { collectSource } from './vm-source.ts';

/** How long a failure waits for the news that the device is lost, milliseconds. */
const LOSS_GRACE_MS = 200;

/** The engine. */
export class GpuVmEngine implements VmEngine, GpuVmHost {
  readonly frames: number;
  readonly device: GPUDevice;
  readonly arena: GPUBuffer;
  readonly bindings: GPUBindGroupLayout;
  readonly collect: GPUComputePipeline;
  private readonly ownsArena: boolean;
  private readonly tables = new Map<DeviceSpace, GPUBuffer>();
  private readback: GPUBuffer | undefined;
  private lost = false;

  /**
   * @param device an open device, which the caller keeps and destroys
   * @param frames frames of device memory; limited by the device's largest storage binding
   * @param arena where they are, if they are somebody else's
   */
  constructor(device: GPUDevice, frames: number, arena?: GPUBuffer) {
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    const limit = Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / PAGE_SIZE);
    this.frames = Math.min(frames, limit);
    this.device = device;
    this.ownsArena = arena === undefined;
    this.arena =
      arena ??
      device.createBuffer({
        label: 'vm arena',
        size: this.frames * PAGE_SIZE,
        usage: BUFFER_STORAGE | BUFFER_COPY_DST | BUFFER_COPY_SRC,
      });
    this.bindings = bindingsOf(device);
    this.collect = device.createComputePipeline({
      label: 'vm collect',
      layout: device.createPipelineLayout({ bindGroupLayouts: [this.bindings] }),
      compute: { module: device.createShaderModule({ code: collectSource() }) },
    });
    void device.lost.then(() => {
      this.lost = true;
    });
  }

  /** Whether the device is gone. */
  get isLost(): boolean {
    return this.lost;
  }

  /** Why a pass did not come to its end; a loss may become known after what it made fail. */
  async whatFailed(): Promise<Errno> {
    const grace = new Promise((resolve) => {
      setTimeout(resolve, LOSS_GRACE_MS);
    });
    await Promise.race([this.device.lost, grace]);
    return this.lost ? errno.ENODEV : errno.EIO;
  }

  /** Compiles a kernel, or says what is wrong with it (VmEngine). */
  async compile(kernel: VmKernel, options: VmProgramOptions): Promise<VmProgram | VmRefusal> {
    if (this.lost) return { errno: errno.ENODEV, problems: [] };
    return compileProgram(this, kernel, options);
  }

  /** Fills a frame with the bytes of one page, ordered before later passes (VmEngine). */
  writeFrame(frame: number, bytes: Uint8Array): void {
    // Dawn in Node crashes on shared memory.
    const own = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
    this.device.queue.writeBuffer(
      this.arena,
      frame * PAGE_SIZE,
      own as Uint8Array<ArrayBuffer>,
      0,
      PAGE_SIZE,
    );
  }

  /** Contents of frames after all passes so far, one page each (VmEngine). */
  async readFrames(frames: readonly number[]): Promise<readonly Uint8Array[]> {
    if (frames.length === 0) return [];
    const bytes = frames.length * PAGE_SIZE;
    const target = this.readbackOf(bytes);
    const encoder = this.device.createCommandEncoder();
    for (const [index, frame] of frames.entries()) {
      const from = frame * PAGE_SIZE;
      encoder.copyBufferToBuffer(this.arena, from, target, index * PAGE_SIZE, PAGE_SIZE);
    }
    this.device.queue.submit([encoder.finish()]);
    await nudgerOf(this.device).until(target.mapAsync(MAP_MODE_READ, 0, bytes));
    const copy = new Uint8Array(target.getMappedRange(0, bytes)).slice();
    target.unmap();
    return frames.map((_, index) => copy.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE));
  }

  /** Forgets a context (VmEngine). */
  drop(space: DeviceSpace): void {
    this.tables.get(space)?.destroy();
    this.tables.delete(space);
  }

  /** Gives everything back (VmEngine). */
  destroy(): void {
    for (const table of this.tables.values()) table.destroy();
    this.tables.clear();
    this.readback?.destroy();
    if (this.ownsArena) this.arena.destroy();
  }

  /** A context's page table, made at its first use. */
  tableOf(space: DeviceSpace): GPUBuffer {
    let table = this.tables.get(space);
    if (table === undefined) {
      table = this.device.createBuffer({
        label: `vm table ${space.context}`,
        size: VM_TABLE_WORDS * 4,
        usage: BUFFER_STORAGE | BUFFER_COPY_DST,
      });
      this.tables.set(space, table);
      space.markAllChanged();
    }
    return table;
  }

  private readbackOf(bytes: number): GPUBuffer {
    if (this.readback === undefined || this.readback.size < bytes) {
      this.readback?.destroy();
      this.readback = this.device.createBuffer({
        label: 'vm frames',
        size: Math.max(bytes, 64 * PAGE_SIZE),
        usage: BUFFER_MAP_READ | BUFFER_COPY_DST,
      });
    }
    return this.readback;
  }
}

function bindingsOf(device: GPUDevice): GPUBindGroupLayout {
  const entry = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => ({
    binding,
    visibility: STAGE_COMPUTE,
    buffer: { type, hasDynamicOffset: type === 'uniform' },
  });
  return device.createBindGroupLayout({
    label: 'vm',
    entries: [
      entry(0, 'storage'),
      entry(1, 'read-only-storage'),
      entry(2, 'storage'),
      entry(3, 'storage'),
      entry(4, 'read-only-storage'),
      entry(5, 'uniform'),
    ],
  });
}
