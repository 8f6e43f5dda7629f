/*
 * The compiled kernels and their bind groups, all made once when the engine opens.
 *
 * Promises. A kernel that does not compile is an error with file and line; warnings are kept for
 * the tests, which refuse them. Steady state makes no bind group: arenas, bounce buffer, results
 * and job buffer never change, and dispatches differ in a dynamic offset only.
 *
 * Bind groups. Group 0: an arena and the status block, once for kernels that write the arena and
 * once for those that read it. Group 1: the job batch, alone or with the bounce buffer or the
 * results.
 *
 * Locking. None. Source: our own.
 */
import { errno } from '../base/errno.ts';
import type { BindingAccess, KernelName } from './abi.ts';
import { KERNELS } from './abi.ts';
import { STAGE_COMPUTE } from './flags.ts';
import type { JobBuffer } from './job-buffer.ts';
import type { EngineOpenError } from './open-error.ts';
import { describeMessage } from './shader-link.ts';
import { kernelSource } from './shader-sources.ts';

/** The shape of the kernels. */
export interface KernelTuning {
  /** Invocations of a workgroup, a power of two up to 256. */
  readonly lanes: number;
  /** Invocations that share a page: a power of two up to `lanes`. */
  readonly pageLanes: number;
  /** Whether a lane moves 64-byte lines instead of 16-byte parts. */
  readonly wholeLines: boolean;
}

/** The buffers that kernels bind besides the arenas. */
export interface KernelBuffers {
  readonly status: GPUBuffer;
  readonly bounce: GPUBuffer;
  readonly sums: GPUBuffer;
  readonly jobs: JobBuffer;
}

/** A compiled kernel with everything that a dispatch of it binds. */
export interface Kernel {
  readonly pipeline: GPUComputePipeline;
  /** Group 0 by arena. */
  readonly arenaGroups: readonly GPUBindGroup[];
  /** Group 1. */
  readonly batchGroup: GPUBindGroup;
}

/** All kernels, and what the compiler said about them. */
export interface KernelSet {
  readonly kernels: Readonly<Record<KernelName, Kernel>>;
  /** Warnings and notes of the WGSL compiler, with file and line. */
  readonly messages: readonly string[];
}

/** The tuning that suits an adapter: a page a lane of the SIMD unit, or a page for two wave32. */
export function defaultTuning(isSoftware: boolean): KernelTuning {
  return isSoftware
    ? { lanes: 4, pageLanes: 1, wholeLines: true }
    : { lanes: 64, pageLanes: 64, wholeLines: false };
}

/**
 * Compiles every kernel.
 *
 * @returns the kernels, or EIO with the compiler's message
 *
 * Context: waits for the compiler. Source: our own.
 */
export async function createKernels(
  device: GPUDevice,
  arenas: readonly GPUBuffer[],
  buffers: KernelBuffers,
  tuning: KernelTuning,
): Promise<KernelSet | EngineOpenError> {
  const bindings = new Bindings(device, arenas, buffers);
  const messages: string[] = [];
  const kernels: Partial<Record<KernelName, Kernel>> = {};
  try {
    const names = Object.keys(KERNELS) as KernelName[];
    const compiled = names.map((name) => compile(device, name, bindings, tuning, messages));
    for (const [index, kernel] of (await Promise.all(compiled)).entries()) {
      kernels[names[index]!] = kernel;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      errno: errno.EIO,
      cause: `The WGSL compiler refused a kernel. ${messages.join(' ')} ${reason}`,
      remedy: 'Report the adapter and this message; another browser may work meanwhile.',
    };
  }
  return { kernels: kernels as Record<KernelName, Kernel>, messages };
}

async function compile(
  device: GPUDevice,
  name: KernelName,
  bindings: Bindings,
  tuning: KernelTuning,
  messages: string[],
): Promise<Kernel> {
  const linked = kernelSource(name, tuning.wholeLines);
  const module = device.createShaderModule({ label: name, code: linked.code });
  const info = await module.getCompilationInfo();
  for (const message of info.messages) messages.push(describeMessage(message, linked));
  const { arena, entryPoint } = KERNELS[name];
  const batch = bindings.batch(name);
  const pipeline = await device.createComputePipelineAsync({
    label: name,
    layout: device.createPipelineLayout({
      label: name,
      bindGroupLayouts: [bindings.arenaLayouts[arena], batch.layout],
    }),
    compute: {
      module,
      entryPoint,
      constants: { lanes: tuning.lanes, page_lanes: tuning.pageLanes },
    },
  });
  return { pipeline, arenaGroups: bindings.arenaGroups[arena], batchGroup: batch.group };
}

/** Layouts and groups, shared between kernels where they are equal. */
class Bindings {
  readonly arenaLayouts: Readonly<Record<BindingAccess, GPUBindGroupLayout>>;
  readonly arenaGroups: Readonly<Record<BindingAccess, readonly GPUBindGroup[]>>;
  private readonly device: GPUDevice;
  private readonly buffers: KernelBuffers;

  constructor(device: GPUDevice, arenas: readonly GPUBuffer[], buffers: KernelBuffers) {
    this.device = device;
    this.buffers = buffers;
    this.arenaLayouts = {
      read: this.arenaLayout('read'),
      read_write: this.arenaLayout('read_write'),
    };
    const groups = (access: BindingAccess): GPUBindGroup[] =>
      arenas.map((arena) =>
        device.createBindGroup({
          label: `arena ${access}`,
          layout: this.arenaLayouts[access],
          entries: [
            { binding: 0, resource: { buffer: arena } },
            { binding: 1, resource: { buffer: buffers.status } },
          ],
        }),
      );
    this.arenaGroups = { read: groups('read'), read_write: groups('read_write') };
  }

  /** Layout and group of a kernel's group 1. */
  batch(name: KernelName): { layout: GPUBindGroupLayout; group: GPUBindGroup } {
    const { extra } = KERNELS[name];
    const { jobs } = this.buffers;
    const layoutEntries: GPUBindGroupLayoutEntry[] = [
      {
        binding: 0,
        visibility: STAGE_COMPUTE,
        buffer: { type: 'read-only-storage', hasDynamicOffset: true },
      },
    ];
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: jobs.buffer, size: jobs.bindingBytes } },
    ];
    if (extra !== undefined) {
      layoutEntries.push(storageEntry(1, extra.access));
      entries.push({ binding: 1, resource: { buffer: this.buffers[extra.name] } });
    }
    const layout = this.device.createBindGroupLayout({ label: name, entries: layoutEntries });
    return { layout, group: this.device.createBindGroup({ label: name, layout, entries }) };
  }

  private arenaLayout(access: BindingAccess): GPUBindGroupLayout {
    return this.device.createBindGroupLayout({
      label: `arena ${access}`,
      entries: [storageEntry(0, access), storageEntry(1, 'read_write')],
    });
  }
}

function storageEntry(binding: number, access: BindingAccess): GPUBindGroupLayoutEntry {
  const type = access === 'read' ? 'read-only-storage' : 'storage';
  return { binding, visibility: STAGE_COMPUTE, buffer: { type } };
}
