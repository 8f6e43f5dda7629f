/*
 * One launch on WebGPU: its buffers, among them the memo with the invocations' states and logs, and
 * its passes. A pass is
 * one submission: clear the control block, replays, first attempts, copy out the head of the
 * control block; and one map.
 *
 * Promises. Whatever the device refuses of it, for want of memory above all, ends this launch
 * alone: no error of it is anybody else's.
 *
 * Locking. One pass at a time. Source: our own.
 */
import { errno } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import {
  CONTROL_CHECKED,
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
  PARAM_USES_FRAME,
  PARAM_WIDTH,
  PARAM_WORDS,
  USES_NOWHERE,
} from '../../engine/vm/abi.ts';
import type { DeviceSpace } from '../../engine/vm/device-space.ts';
import type { VmPass, VmPassResult, VmRun } from '../../engine/vm/vm-engine.ts';
import {
  BUFFER_COPY_DST,
  BUFFER_COPY_SRC,
  BUFFER_MAP_READ,
  BUFFER_STORAGE,
  MAP_MODE_READ,
} from '../flags.ts';
import { nudgerOf } from '../nudge.ts';
import type { GpuVmHost } from './gpu-host.ts';
import { logPlace, ParkedLogs } from './parked-logs.ts';
import { RunScope } from './run-scope.ts';
import type { VmLayout } from './vm-source.ts';

/** Bytes from one dispatch's parameters to the next: the largest offset alignment there is. */
export const PARAM_STRIDE = 256;
/** Bytes of the parameters that a dispatch binds. */
const PARAM_BYTES = PARAM_WORDS * 4;
const BUFFER_UNIFORM = 0x0040;
/** Slots that a workgroup of the collecting pass looks at. */
const COLLECT_LANES = 64;

/** What a run uses of its program. */
export interface RunParts {
  readonly engine: GpuVmHost;
  readonly layout: VmLayout;
  /** The first attempt, and replays. */
  readonly first: GPUComputePipeline;
  readonly again: Promise<GPUComputePipeline>;
  /** Replays that go on past a full log. */
  unlogged(): Promise<GPUComputePipeline>;
  /** `FLAG_*` of replays, and of first attempts. */
  readonly flags: number;
  readonly firstFlags: number;
  /** Whether first attempts can be made to fail. */
  readonly forces: boolean;
  /** Whether uses of frames are counted. */
  readonly countsUses: boolean;
  /** Words of log of an invocation at first. */
  readonly logWords: number;
  /** Words of log that one invocation can have when its workgroup is alone. */
  readonly mostLogWords: number;
  /** Slots that can have a log of so many words an invocation. */
  slotsWith(logWords: number): number;
}

/** What passes go through: several launches of a program may be in progress. */
type RunBuffers = Readonly<Record<'control' | 'readback' | 'params' | 'work', GPUBuffer>>;

function makeBuffers(device: GPUDevice, layout: VmLayout): RunBuffers {
  const make = (label: string, size: number, usage: number): GPUBuffer =>
    device.createBuffer({ label: `vm ${label}`, size, usage });
  const control = BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST;
  return {
    control: make('control', layout.controlWords * 4, control),
    readback: make('readback', layout.pendingAt * 4, BUFFER_MAP_READ | BUFFER_COPY_DST),
    params: make('params', 2 * PARAM_STRIDE, BUFFER_UNIFORM | BUFFER_COPY_DST),
    work: make('work', layout.slots * 8, BUFFER_STORAGE | BUFFER_COPY_DST),
  };
}

/** One launch. */
export class GpuRun implements VmRun {
  private readonly program: RunParts;
  private readonly space: DeviceSpace;
  private readonly params = new Uint32Array((2 * PARAM_STRIDE) / 4);
  private readonly buffers: RunBuffers;
  logWords: number;
  /** Slots that have a log. */
  private logSlots: number;
  private readonly parked = new ParkedLogs();
  private memo: GPUBuffer;
  private group: GPUBindGroup;
  /** What this run does besides its passes: there may be no room for its buffers. */
  private readonly scope: RunScope;

  constructor(program: RunParts, space: DeviceSpace, args: readonly number[]) {
    this.program = program;
    this.space = space;
    this.logWords = program.logWords;
    this.logSlots = program.layout.slots;
    for (const base of [0, PARAM_STRIDE / 4]) {
      this.params[base + PARAM_CONTEXT] = space.context;
      this.params.set(args.slice(0, PARAM_ARGUMENTS), base + PARAM_HEADER_WORDS);
    }
    this.scope = new RunScope(program.engine);
    const made = this.scope.do(() => {
      const buffers = makeBuffers(program.engine.device, program.layout);
      const memo = this.makeMemo();
      return { buffers, memo, group: this.makeGroup(buffers, memo) };
    });
    this.buffers = made.buffers;
    this.memo = made.memo;
    this.group = made.group;
  }

  async pass(work: VmPass): Promise<VmPassResult | Errno> {
    const { program } = this;
    const { control, readback } = this.buffers;
    const { device } = program.engine;
    if (program.engine.isLost) return errno.ENODEV;
    const wanted = work.unlogged === true ? program.unlogged() : program.again;
    const replay = work.replays.length > 0 ? await wanted : undefined;
    const failure = await this.scope.failure;
    if (failure !== 0) return failure;
    device.pushErrorScope('validation');
    this.upload(work);
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(control);
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
    encoder.copyBufferToBuffer(control, 0, readback, 0, readback.size);
    device.queue.submit([encoder.finish()]);
    // A lost device has no error, and nothing to be read.
    const isWrong = device.popErrorScope().then(
      (error) => error !== null,
      () => false,
    );
    work.onSubmitted?.();
    try {
      await nudgerOf(device).until(readback.mapAsync(MAP_MODE_READ));
    } catch {
      return program.engine.whatFailed();
    }
    const result = this.result(new Uint32Array(readback.getMappedRange()));
    readback.unmap();
    if (await isWrong) return errno.EIO;
    if (program.engine.isLost) return errno.ENODEV;
    return result;
  }

  growLog(stopped: readonly number[]): number {
    const { program } = this;
    const before = this.logWords;
    const after = Math.min(before * 2, program.mostLogWords);
    const slots = after > before ? Math.min(this.logSlots, program.slotsWith(after)) : 0;
    if (slots === 0) return 0;
    const old = this.memo;
    this.logWords = after;
    this.logSlots = slots;
    this.scope.do(() => this.moveLogs(old, before, stopped));
    old.destroy();
    return slots;
  }

  unpark(from: number, to: number): void {
    const { program, logWords, memo, parked, scope } = this;
    const { device } = program.engine;
    const spent = scope.do(() => {
      const encoder = device.createCommandEncoder();
      const pool = parked.take(encoder, program.layout, memo, from, to, logWords);
      device.queue.submit([encoder.finish()]);
      return pool;
    });
    spent?.destroy();
  }

  end(): void {
    this.memo.destroy();
    this.parked.destroy();
    for (const buffer of Object.values(this.buffers)) buffer.destroy();
  }

  /** Makes the memo anew, with what the old one has of states, and of the logs that are needed. */
  private moveLogs(old: GPUBuffer, before: number, stopped: readonly number[]): void {
    const { program, logWords: after, logSlots: slots } = this;
    const { layout, engine } = program;
    this.memo = this.makeMemo();
    const encoder = engine.device.createCommandEncoder();
    const beyond = stopped.filter((slot) => slot >= slots);
    if (beyond.length > 0) this.parked.add(engine.device, encoder, layout, old, beyond, before);
    encoder.copyBufferToBuffer(old, 0, this.memo, 0, layout.logsAt * 4);
    for (const slot of stopped) {
      if (slot >= slots) continue;
      const from = logPlace(layout, slot, before);
      const to = logPlace(layout, slot, after);
      encoder.copyBufferToBuffer(old, from, this.memo, to, before * layout.lanes * 4);
    }
    engine.device.queue.submit([encoder.finish()]);
    this.group = this.makeGroup(this.buffers, this.memo);
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
      params[base + PARAM_USES_FRAME] = work.usesFrame ?? USES_NOWHERE;
      params[base + PARAM_LANES] = program.layout.lanes;
      params[base + PARAM_SLOTS] = program.layout.slots;
      params[base + PARAM_RING_RECORDS] = program.layout.ringRecords;
    }
    queue.writeBuffer(this.buffers.params, 0, params);
    const list = new Uint32Array(work.replays.length + work.fresh.length);
    list.set(work.replays);
    list.set(work.fresh, work.replays.length);
    queue.writeBuffer(this.buffers.work, 0, list);
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

  /** Copies what a pass has left out of the mapped head of the control block; most is empty. */
  private result(head: Uint32Array): VmPassResult {
    const { statusAt, ringAt, ringRecords, usesAt, pendingAt } = this.program.layout;
    const raised = head[CONTROL_FAULTS]!;
    const kept = Math.min(raised, ringRecords);
    return {
      status: head.slice(statusAt, ringAt),
      faults: head.slice(ringAt, ringAt + kept * FAULT_WORDS),
      overflow: raised - kept,
      stopped: head[CONTROL_STOPPED]!,
      killed: head[CONTROL_KILLED]!,
      diverged: head[CONTROL_DIVERGED]!,
      progress: head[CONTROL_PROGRESS]!,
      checked: head[CONTROL_CHECKED]!,
      ...(this.program.countsUses ? { uses: head.slice(usesAt, pendingAt) } : {}),
    };
  }

  private makeMemo(): GPUBuffer {
    const { lanes, logsAt } = this.program.layout;
    return this.program.engine.device.createBuffer({
      label: 'vm memo',
      size: (logsAt + this.logSlots * lanes * this.logWords) * 4,
      usage: BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST,
    });
  }

  private makeGroup({ control, params, work }: RunBuffers, memo: GPUBuffer): GPUBindGroup {
    const { engine } = this.program;
    const table = engine.tableOf(this.space);
    const bound = [engine.arena, table, control, memo, work];
    const entries: GPUBindGroupEntry[] = bound.map((buffer, binding) => ({
      binding,
      resource: { buffer },
    }));
    const uniform = { buffer: params, size: PARAM_BYTES };
    entries.push({ binding: 5, resource: uniform });
    return engine.device.createBindGroup({ label: 'vm', layout: engine.bindings, entries });
  }
}
