/*
 * One launch on WebGPU: the memo with its invocations' states and logs, and its passes. A pass is
 * one submission: clear the control block, replays, first attempts, copy out the head of the
 * control block; and one map.
 *
 * Locking. One pass at a time. Source: our own.
 */
import { errno } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import {
  CONTROL_DIVERGED,
  CONTROL_FAULTS,
  CONTROL_KILLED,
  CONTROL_PROGRESS,
  CONTROL_STOPPED,
  FAULT_WORDS,
  FLAG_FORCE,
  FORCE_NEVER,
  PARAM_ARGUMENTS,
  PARAM_BUDGET,
  PARAM_CONTEXT,
  PARAM_COUNT,
  PARAM_FIRST,
  PARAM_FLAGS,
  PARAM_FORCE_AT,
  PARAM_HEADER_WORDS,
  PARAM_LANES,
  PARAM_LOG_WORDS,
  PARAM_RING_RECORDS,
  PARAM_SLOTS,
  PARAM_WIDTH,
  PARAM_WORDS,
} from '../../engine/vm/abi.ts';
import type { DeviceSpace } from '../../engine/vm/device-space.ts';
import type { VmPass, VmPassResult, VmRun } from '../../engine/vm/vm-engine.ts';
import { MAX_LOG_WORDS } from '../../engine/vm/vm-engine.ts';
import { BUFFER_COPY_DST, BUFFER_COPY_SRC, BUFFER_STORAGE, MAP_MODE_READ } from '../flags.ts';
import type { GpuVmHost } from './gpu-host.ts';
import type { VmLayout } from './vm-source.ts';

/** Bytes from one dispatch's parameters to the next: the largest offset alignment there is. */
export const PARAM_STRIDE = 256;
/** Bytes of the parameters that a dispatch binds. */
const PARAM_BYTES = PARAM_WORDS * 4;
/** Slots that a workgroup of the collecting pass looks at. */
const COLLECT_LANES = 64;

/** What a run uses of its program. */
export interface RunParts {
  readonly engine: GpuVmHost;
  readonly layout: VmLayout;
  /** The first attempt, and replays. */
  readonly first: GPUComputePipeline;
  readonly again: Promise<GPUComputePipeline>;
  readonly control: GPUBuffer;
  readonly readback: GPUBuffer;
  readonly params: GPUBuffer;
  readonly work: GPUBuffer;
  /** `FLAG_*` of replays, and of first attempts. */
  readonly flags: number;
  readonly firstFlags: number;
  /** Whether first attempts can be made to fail. */
  readonly forces: boolean;
  /** Words of log of an invocation at first. */
  readonly logWords: number;
  /** Bytes of states and logs, with so many words of log an invocation. */
  memoBytes(logWords: number): number;
  /** Whether a log of this size can be had. */
  fits(logWords: number): boolean;
}

/** One launch. */
export class GpuRun implements VmRun {
  private readonly program: RunParts;
  private readonly space: DeviceSpace;
  private readonly params = new Uint32Array((2 * PARAM_STRIDE) / 4);
  private logWords: number;
  private memo: GPUBuffer;
  private group: GPUBindGroup;

  constructor(program: RunParts, space: DeviceSpace, args: readonly number[]) {
    this.program = program;
    this.space = space;
    this.logWords = program.logWords;
    for (const base of [0, PARAM_STRIDE / 4]) {
      this.params[base + PARAM_CONTEXT] = space.context;
      this.params.set(args.slice(0, PARAM_ARGUMENTS), base + PARAM_HEADER_WORDS);
    }
    this.memo = this.makeMemo();
    this.group = this.makeGroup();
  }

  async pass(work: VmPass): Promise<VmPassResult | Errno> {
    const { program } = this;
    const { device } = program.engine;
    if (program.engine.isLost) return errno.ENODEV;
    const replay = work.replays.length > 0 ? await program.again : undefined;
    this.upload(work);
    device.pushErrorScope('validation');
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(program.control);
    const compute = encoder.beginComputePass();
    if (replay !== undefined) this.dispatch(compute, replay, 0, work.replays.length / 2);
    if (work.fresh.length > 0) this.dispatch(compute, program.first, 1, work.fresh.length / 2);
    for (const [index, { length }] of [work.replays, work.fresh].entries()) {
      if (length === 0) continue;
      compute.setPipeline(program.engine.collect);
      compute.setBindGroup(0, this.group, [index * PARAM_STRIDE]);
      compute.dispatchWorkgroups(Math.ceil(length / 2 / COLLECT_LANES));
    }
    compute.end();
    const bytes = program.readback.size;
    encoder.copyBufferToBuffer(program.control, 0, program.readback, 0, bytes);
    device.queue.submit([encoder.finish()]);
    work.onSubmitted?.();
    const scope = device.popErrorScope();
    try {
      await program.readback.mapAsync(MAP_MODE_READ);
    } catch {
      return program.engine.isLost ? errno.ENODEV : errno.EIO;
    }
    const head = new Uint32Array(program.readback.getMappedRange().slice(0));
    program.readback.unmap();
    if ((await scope) !== null) return errno.EIO;
    return this.result(head);
  }

  growLog(): number {
    const { program } = this;
    const { device } = program.engine;
    const before = this.logWords;
    const after = before * 2;
    if (after > MAX_LOG_WORDS || !program.fits(after)) return errno.ENOMEM;
    const { layout } = program;
    const old = this.memo;
    this.logWords = after;
    this.memo = this.makeMemo();
    const encoder = device.createCommandEncoder();
    const states = layout.logsAt * 4;
    encoder.copyBufferToBuffer(old, 0, this.memo, 0, states);
    const block = before * layout.lanes * 4;
    for (let slot = 0; slot < layout.slots; slot++) {
      const from = states + slot * block;
      encoder.copyBufferToBuffer(old, from, this.memo, states + slot * block * 2, block);
    }
    device.queue.submit([encoder.finish()]);
    old.destroy();
    this.group = this.makeGroup();
    return 0;
  }

  end(): void {
    this.memo.destroy();
  }

  /** Page table, parameters and work, in queue order before the dispatches. */
  private upload(work: VmPass): void {
    const { program, space, params } = this;
    const { queue } = program.engine.device;
    const table = program.engine.tableOf(space);
    space.flush((first, words) => {
      queue.writeBuffer(table, first * 4, space.words, first, words);
    });
    const width = program.engine.device.limits.maxComputeWorkgroupsPerDimension;
    const counts = [work.replays.length / 2, work.fresh.length / 2];
    for (const [index, count] of counts.entries()) {
      const base = (index * PARAM_STRIDE) / 4;
      params[base + PARAM_FIRST] = index === 0 ? 0 : counts[0]!;
      params[base + PARAM_COUNT] = count;
      params[base + PARAM_WIDTH] = Math.min(count, width);
      params[base + PARAM_LOG_WORDS] = this.logWords;
      params[base + PARAM_BUDGET] = work.budget;
      const forced = index === 1 && program.forces && work.forceAt !== FORCE_NEVER;
      params[base + PARAM_FORCE_AT] = work.forceAt;
      const flags = index === 0 ? program.flags : program.firstFlags;
      params[base + PARAM_FLAGS] = flags | (forced ? FLAG_FORCE : 0);
      params[base + PARAM_LANES] = program.layout.lanes;
      params[base + PARAM_SLOTS] = program.layout.slots;
      params[base + PARAM_RING_RECORDS] = program.layout.ringRecords;
    }
    queue.writeBuffer(program.params, 0, params);
    const list = new Uint32Array(work.replays.length + work.fresh.length);
    list.set(work.replays);
    list.set(work.fresh, work.replays.length);
    queue.writeBuffer(program.work, 0, list);
  }

  private dispatch(
    compute: GPUComputePassEncoder,
    pipeline: GPUComputePipeline,
    index: number,
    count: number,
  ): void {
    const width = this.params[(index * PARAM_STRIDE) / 4 + PARAM_WIDTH]!;
    compute.setPipeline(pipeline);
    compute.setBindGroup(0, this.group, [index * PARAM_STRIDE]);
    compute.dispatchWorkgroups(width, Math.ceil(count / width));
  }

  private result(head: Uint32Array): VmPassResult {
    const { statusAt, ringAt, ringRecords } = this.program.layout;
    const raised = head[CONTROL_FAULTS]!;
    const kept = Math.min(raised, ringRecords);
    return {
      status: head.subarray(statusAt, ringAt),
      faults: head.subarray(ringAt, ringAt + kept * FAULT_WORDS),
      overflow: raised - kept,
      stopped: head[CONTROL_STOPPED]!,
      killed: head[CONTROL_KILLED]!,
      diverged: head[CONTROL_DIVERGED]!,
      progress: head[CONTROL_PROGRESS]!,
    };
  }

  private makeMemo(): GPUBuffer {
    return this.program.engine.device.createBuffer({
      label: 'vm memo',
      size: this.program.memoBytes(this.logWords),
      usage: BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST,
    });
  }

  private makeGroup(): GPUBindGroup {
    const { program } = this;
    const { engine } = program;
    const table = engine.tableOf(this.space);
    const buffers = [engine.arena, table, program.control, this.memo, program.work];
    const entries: GPUBindGroupEntry[] = buffers.map((buffer, binding) => ({
      binding,
      resource: { buffer },
    }));
    const uniform = { buffer: program.params, size: PARAM_BYTES };
    entries.push({ binding: 5, resource: uniform });
    return engine.device.createBindGroup({ label: 'vm', layout: engine.bindings, entries });
  }
}
