/*
 * A compiled kernel: the pipeline of its first attempt, and that of replays.
 *
 * Locking. None. Source: our own.
 */
import { errno } from '../../base/errno.ts';
import {
  CHECK_WORDS,
  FLAG_COUNTS,
  FLAG_DEDUP,
  FLAG_MEETS,
  STATE_WORDS,
} from '../../engine/vm/abi.ts';
import type { DeviceSpace } from '../../engine/vm/device-space.ts';
import type {
  VmKernel,
  VmProblem,
  VmProgram,
  VmProgramOptions,
  VmRefusal,
  VmRun,
} from '../../engine/vm/vm-engine.ts';
import {
  DEFAULT_LOG_WORDS,
  DEFAULT_RING_RECORDS,
  MAX_LOG_WORDS,
  VmCompileError,
} from '../../engine/vm/vm-engine.ts';
import type { CheckedKernel } from './check-kernel.ts';
import type { GpuVmHost } from './gpu-host.ts';
import { unguardedColumn } from './guard-loops.ts';
import type { RunParts } from './gpu-run.ts';
import { GpuRun } from './gpu-run.ts';
import type { VmLayout, VmSource, VmVariant } from './vm-source.ts';
import { layoutOf, vmSource } from './vm-source.ts';

/** Most bytes of states and logs of one run. */
const MAX_MEMO_BYTES = 2 ** 27;

/** A compiled kernel. */
export class GpuProgram implements VmProgram, RunParts {
  readonly kernel: VmKernel;
  readonly slots: number;
  readonly firstAttempt: VmProgram['firstAttempt'];
  readonly engine: GpuVmHost;
  readonly layout: VmLayout;
  readonly first: GPUComputePipeline;
  /** Compiled while the first pass runs. */
  readonly again: Promise<GPUComputePipeline>;
  readonly logWords: number;
  readonly flags: number;
  readonly firstFlags: number;
  readonly forces: boolean;
  readonly countsUses: boolean;
  private readonly memoBytes: number;
  private readonly compileUnlogged: () => Promise<GPUComputePipeline>;
  private unloggedMade: Promise<GPUComputePipeline> | undefined;

  constructor(made: GpuProgramParts) {
    this.kernel = made.kernel;
    this.engine = made.engine;
    this.layout = made.layout;
    this.slots = made.layout.slots;
    this.firstAttempt = made.firstAttempt;
    this.first = made.first;
    this.again = made.again;
    this.logWords = made.logWords;
    this.flags = made.flags;
    this.firstFlags = made.firstFlags;
    this.forces = made.forces;
    this.countsUses = made.countsUses;
    this.memoBytes = made.memoBytes;
    this.compileUnlogged = made.compileUnlogged;
  }

  /** Replays that go on past a full log: compiled when the first launch needs it. */
  unlogged(): Promise<GPUComputePipeline> {
    this.unloggedMade ??= this.compileUnlogged();
    return this.unloggedMade;
  }

  launch(space: DeviceSpace, args: readonly number[]): VmRun {
    return new GpuRun(this, space, args);
  }

  /** Words of log that one invocation can have when its workgroup is alone. */
  get mostLogWords(): number {
    const { lanes, logsAt } = this.layout;
    return Math.min(MAX_LOG_WORDS, Math.floor((this.memoBytes / 4 - logsAt) / lanes));
  }

  /** Slots that can have a log of so many words an invocation. */
  slotsWith(logWords: number): number {
    const { slots, lanes, logsAt } = this.layout;
    const room = Math.floor((this.memoBytes / 4 - logsAt) / (lanes * logWords));
    return Math.max(0, Math.min(slots, room));
  }
}

interface GpuProgramParts {
  readonly engine: GpuVmHost;
  readonly kernel: VmKernel;
  readonly layout: VmLayout;
  readonly firstAttempt: VmProgram['firstAttempt'];
  readonly first: GPUComputePipeline;
  readonly again: Promise<GPUComputePipeline>;
  readonly logWords: number;
  readonly flags: number;
  readonly firstFlags: number;
  readonly forces: boolean;
  readonly countsUses: boolean;
  /** Most bytes of states and logs. */
  readonly memoBytes: number;
  readonly compileUnlogged: () => Promise<GPUComputePipeline>;
}

/** Checks and compiles a kernel. */
export async function compileProgram(
  engine: GpuVmHost,
  kernel: VmKernel,
  options: VmProgramOptions,
): Promise<VmProgram | VmRefusal> {
  const { checkKernel, isRefused } = await import('./check-kernel.ts');
  const checked = checkKernel(kernel.wgsl);
  if (isRefused(checked)) return { errno: errno.EINVAL, problems: checked };
  if (options.reportsAccesses === true) {
    const reason = 'this engine does not report what kernels access';
    return { errno: errno.EOPNOTSUPP, problems: [{ line: 1, column: 1, reason }] };
  }
  const { device } = engine;
  const { lanes } = kernel;
  if (!Number.isInteger(lanes) || lanes < 1 || lanes > device.limits.maxComputeWorkgroupSizeX) {
    return { errno: errno.EINVAL, problems: [problem(`${lanes} lanes`)] };
  }
  const logWords = Math.max(4, options.logWords ?? checked.order.logWords ?? DEFAULT_LOG_WORDS);
  const { checks } = checked.order;
  const words = STATE_WORDS + (checks ? CHECK_WORDS : 0) + logWords;
  const memoBytes = Math.min(memoLimit(device), options.memoBytes ?? Infinity);
  const sharedWords = checked.shared?.words ?? 0;
  const room = Math.floor(memoBytes / (4 + sharedWords * 4 + lanes * words * 4));
  const slots = Math.max(1, Math.min(options.slots, room));
  const ringRecords = options.ringRecords ?? DEFAULT_RING_RECORDS;
  const layout = layoutOf(lanes, slots, ringRecords, checks, sharedWords);
  const { attempt, first, again } = variantsOf(checked, options);
  const { bindings } = engine;
  const firstSource = vmSource(checked, layout, first);
  const made = await pipeline(device, kernel, firstSource, bindings);
  if (!('label' in made)) return { errno: errno.EINVAL, problems: made };
  const compile = (variant: VmVariant): Promise<GPUComputePipeline> =>
    pipeline(device, kernel, vmSource(checked, layout, variant), bindings).then(pipelineOrThrow);
  const replay = compile(again);
  const compileUnlogged = (): Promise<GPUComputePipeline> => compile({ ...again, unlogged: true });
  // Whoever replays awaits it; until then a failure is nobody's.
  replay.catch(() => {});
  const parts = { engine, kernel, layout, firstAttempt: attempt, first: made, again: replay };
  const { meets } = checked.order;
  const flags = (meets ? FLAG_MEETS : 0) | (options.dedup === false ? 0 : FLAG_DEDUP);
  const firstFlags = flags | (first.log ? FLAG_COUNTS : 0);
  const forces = options.forceFaults === true;
  const countsUses = options.countsUses === true;
  const logs = { logWords, memoBytes, compileUnlogged };
  return new GpuProgram({ ...parts, ...logs, flags, firstFlags, forces, countsUses });
}

/** Which variants a kernel's first attempt and its replays are. */
export function variantsOf(
  { order }: CheckedKernel,
  options: VmProgramOptions,
): { attempt: VmProgram['firstAttempt']; first: VmVariant; again: VmVariant } {
  const guarded = options.guard !== 'none';
  const mode = options.alwaysLog === true && guarded ? 'log' : order.mode;
  const attempt = guarded ? mode : 'none';
  const hash = options.hash === true && guarded;
  const force = options.forceFaults === true;
  const log = attempt === 'log';
  const kept = attempt === 'defer' ? order.kept : 0;
  const first = { replay: false, log, unlogged: false, kept };
  const uses = options.countsUses === true;
  const again = { replay: true, log: guarded, unlogged: false, kept: 0, hash, force: false, uses };
  // Only a log that the first attempt wrote has addresses to compare with.
  return { attempt, first: { ...first, hash, force, uses }, again };
}

function pipelineOrThrow(made: GPUComputePipeline | VmProblem[]): GPUComputePipeline {
  if ('label' in made) return made;
  throw new VmCompileError(made[0]?.reason);
}

async function pipeline(
  device: GPUDevice,
  kernel: VmKernel,
  source: VmSource,
  bindings: GPUBindGroupLayout,
): Promise<GPUComputePipeline | VmProblem[]> {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label: kernel.name, code: source.code });
  const refused = device.popErrorScope();
  const info = await module.getCompilationInfo();
  const problems = problemsOf(info.messages, source);
  const error = await refused;
  if (problems.length > 0) return problems;
  if (error !== null) return [problem(error.message)];
  const layout = device.createPipelineLayout({ bindGroupLayouts: [bindings] });
  try {
    const compute = { module, entryPoint: 'vm_main' };
    return await device.createComputePipelineAsync({ label: kernel.name, layout, compute });
  } catch (failure) {
    return [problem(failure instanceof Error ? failure.message : String(failure))];
  }
}

/** What is wrong with a kernel as a whole. */
function problem(reason: string): VmProblem {
  return { line: 1, column: 1, reason };
}

/** The compiler's errors at the kernel's lines and columns. */
function problemsOf(messages: readonly GPUCompilationMessage[], source: VmSource): VmProblem[] {
  const { guarded, changes, lines, asWritten } = source.kernel;
  const isKernels = ({ lineNum }: GPUCompilationMessage): boolean =>
    lineNum > source.linesBefore && lineNum <= source.linesBefore + lines;
  return messages.flatMap((message, index) => {
    if (message.type !== 'error') return [];
    // What a kernel does wrong with a barrier is found in the barrier; notes lead to the kernel.
    const found = messages.slice(index).find(isKernels);
    if (found === undefined) return [problem(message.message)];
    const line = found.lineNum - source.linesBefore;
    const column = unguardedColumn(guarded, changes, line, found.linePos);
    return [{ line, column, reason: asWritten(inWords(message)) }];
  });
}

/** The compiler speaks of what is inside the prelude's barriers, which no kernel has written. */
function inWords({ message }: GPUCompilationMessage): string {
  if (!message.includes('uniform control flow')) return message;
  return `the whole workgroup has to come here, nobody by a branch of its own: ${message}`;
}

function memoLimit(device: GPUDevice): number {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  return Math.min(MAX_MEMO_BYTES, maxStorageBufferBindingSize, maxBufferSize);
}
