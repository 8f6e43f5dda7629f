/*
 * The compiled kernels and their bind groups, all made once when the engine opens.
 *
 * Promises. A kernel that does not compile is an error with file and line; warnings are kept for
 * the tests, which refuse them. Steady state makes no bind group: arenas, bounce buffer, results
 * and job buffer never change, and dispatches differ in a dynamic offset only.
 *
 * Bind groups. One for each kernel and arena, with all that a dispatch binds: the arena, the status
 * block, the job batch, and the bounce buffer or the results. Setting a second one costs 3 to 5 us.
 *
 * Locking. None. Source: our own.
 */
import { errno } from '../base/errno.ts';
import type { BindingAccess, KernelName } from './abi.ts';
import { BINDINGS, KERNELS } from './abi.ts';
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
  /** Group 0, by arena. */
  readonly groups: readonly GPUBindGroup[];
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
  const messages: string[] = [];
  const kernels: Partial<Record<KernelName, Kernel>> = {};
  try {
    const names = Object.keys(KERNELS) as KernelName[];
    const memory = { arenas, ...buffers };
    const compiled = names.map((name) => compile(device, name, memory, tuning, messages));
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
  memory: KernelMemory,
  tuning: KernelTuning,
  messages: string[],
): Promise<Kernel> {
  const linked = kernelSource(name, tuning.wholeLines);
  const module = device.createShaderModule({ label: name, code: linked.code });
  const info = await module.getCompilationInfo();
  for (const message of info.messages) messages.push(describeMessage(message, linked));
  const layout = device.createBindGroupLayout({ label: name, entries: layoutEntries(name) });
  const pipeline = await device.createComputePipelineAsync({
    label: name,
    layout: device.createPipelineLayout({ label: name, bindGroupLayouts: [layout] }),
    compute: {
      module,
      entryPoint: KERNELS[name].entryPoint,
      constants: { lanes: tuning.lanes, page_lanes: tuning.pageLanes },
    },
  });
  const groups = memory.arenas.map((arena) =>
    device.createBindGroup({ label: name, layout, entries: groupEntries(name, arena, memory) }),
  );
  return { pipeline, groups };
}

/** What kernels bind. */
interface KernelMemory extends KernelBuffers {
  readonly arenas: readonly GPUBuffer[];
}

function layoutEntries(name: KernelName): GPUBindGroupLayoutEntry[] {
  const { arena, extra } = KERNELS[name];
  const entries = [
    storageEntry(BINDINGS.arena.binding, arena),
    storageEntry(BINDINGS.status.binding, 'read_write'),
    storageEntry(BINDINGS.batch.binding, 'read', true),
  ];
  if (extra !== undefined) {
    entries.push(storageEntry(BINDINGS[extra.name].binding, extra.access));
  }
  return entries;
}

function groupEntries(
  name: KernelName,
  arena: GPUBuffer,
  memory: KernelMemory,
): GPUBindGroupEntry[] {
  const { extra } = KERNELS[name];
  const { status, jobs } = memory;
  const batch = { buffer: jobs.buffer, size: jobs.bindingBytes };
  const entries: GPUBindGroupEntry[] = [
    { binding: BINDINGS.arena.binding, resource: { buffer: arena } },
    { binding: BINDINGS.status.binding, resource: { buffer: status } },
    { binding: BINDINGS.batch.binding, resource: batch },
  ];
  if (extra !== undefined) {
    const { binding } = BINDINGS[extra.name];
    entries.push({ binding, resource: { buffer: memory[extra.name] } });
  }
  return entries;
}

function storageEntry(
  binding: number,
  access: BindingAccess,
  hasDynamicOffset = false,
): GPUBindGroupLayoutEntry {
  const type = access === 'read' ? 'read-only-storage' : 'storage';
  return { binding, visibility: STAGE_COMPUTE, buffer: { type, hasDynamicOffset } };
}
