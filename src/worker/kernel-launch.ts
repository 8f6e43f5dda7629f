/**
 * Kernels over the memory of processes (protocol-launch.ts): the handles of compiled ones, and the
 * launches in progress, each a context of its own. Launches of one device may run at the same time.
 * What ends one early: the caller (by a shared word), its file's `close`, its process's exit.
 */
import { errno, errnoName } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import type { Dmirror } from '../driver/dmirror.ts';
import type { LaunchPager } from '../driver/launch-pager.ts';
import { MachinePager } from '../driver/machine-pager.ts';
import { PolicyPager } from '../driver/policy-pager.ts';
import { policyErrorText } from '../driver/policy/policy-error.ts';
import { PolicyError } from '../driver/policy/policy.ts';
import type { ServicePagerOptions } from '../driver/service-options.ts';
import { FAULT_ACCESS, FAULT_ADDRESS, FAULT_WORDS, FAULT_WORKGROUP } from '../engine/vm/abi.ts';
import { DeviceSpace } from '../engine/vm/device-space.ts';
import { launchKernel } from '../engine/vm/launch.ts';
import type { FaultBatch, LaunchCounts, LaunchReport } from '../engine/vm/launch.ts';
import { VmCompileError, isRefusal } from '../engine/vm/vm-engine.ts';
import type { VmEngine, VmProgram } from '../engine/vm/vm-engine.ts';
import type { MaybePromise } from '../base/maybe.ts';
import type { System } from '../mm/mm-types.ts';
import { TRACE_DEVICE_FAULT, TRACE_DEVICE_PASS } from '../mm/trace.ts';
import { vmEventIndex } from '../mm/vmstat.ts';
import { problem, readKernel, readOptions, readOrder } from './kernel-launch-args.ts';
import type { Order } from './kernel-launch-args.ts';
import { readPolicy } from './kernel-launch-policy.ts';
import { accessName, causeOf, causeOfRefusal } from './launch-cause.ts';
import { LaunchFailures } from './launch-failures.ts';
import { LaunchHold } from './launch-hold.ts';
import { LAUNCH_COUNTS } from './protocol-launch.ts';
import type {
  CompileResult,
  KernelLaunchRequest,
  KernelProblem,
  KernelReport,
  KernelSource,
  RefusedAccess,
} from './protocol-launch.ts';
import { Turns } from './turns.ts';
import type { VmEngines, VmHome } from './vm-engines.ts';

/** Milliseconds between two looks whether a launch that waits for its policy is to end. */
const LOOK_MS = 10;

const LAUNCHES = vmEventIndex('device_kernel_launch');
const PASSES = vmEventIndex('device_kernel_pass');
const FAULTS = vmEventIndex('device_kernel_fault');
const REPLAYS = vmEventIndex('device_kernel_replay');
const KILLS = vmEventIndex('device_kernel_kill');

interface Compiled {
  readonly fd: number;
  readonly engine: VmEngine;
  readonly program: VmProgram;
  /** A page is reported once a pass. */
  readonly dedup: boolean;
}

/** A launch in progress. */
interface Active {
  readonly mirror: Dmirror;
  readonly home: VmHome;
  readonly program: VmProgram;
  readonly order: Order;
  /** Of the fault service, where there is a policy. */
  service: ServicePagerOptions | null;
  /** The policy's name, or the URL of its module; '' without one. */
  readonly policy: string;
  /** Of the file or process: the launch is to end. */
  isClosed: boolean;
  /** Its end; of one that has not begun nobody waits for that. */
  ended: Promise<unknown>;
}

const NO_COUNTS: LaunchCounts = {
  passes: 0,
  replayed: 0,
  faults: 0,
  overflow: 0,
  killed: 0,
  diverged: 0,
  logGrowths: 0,
  logWords: 0,
  window: 0,
  finished: 0,
};

export class KernelLaunches {
  private readonly sys: System;
  private readonly engines: VmEngines;
  private readonly compiled = new Map<number, Compiled>();
  private readonly active = new Map<number, Set<Active>>();
  /** Files whose kernels are being compiled. */
  private readonly compiling = new Set<{ readonly fd: number; isClosed: boolean }>();
  private nextKernel = 1;
  private nextContext = 1;
  /** Objects of the last launch, for their shapes alone: see LaunchRequest.keep. */
  last: readonly object[] = [];

  constructor(sys: System, engines: VmEngines) {
    this.sys = sys;
    this.engines = engines;
  }

  /** KernelApi.compileKernel, for an open file; undefined = there is none. */
  async compile(
    fd: number,
    mirror: Dmirror | undefined,
    source: KernelSource,
  ): Promise<CompileResult> {
    if (mirror === undefined) return refusedKernel(errno.EBADF, []);
    if (!isRecord(source)) return refusedKernel(errno.EFAULT, []);
    const home = this.engines.of(mirror.device);
    if (typeof home === 'number') {
      const reason = 'kernels run on devices with memory of their own, in one piece';
      return refusedKernel(home, home === errno.ENODEV ? [] : [problem(reason)]);
    }
    const kernel = readKernel(source);
    if ('reason' in kernel) return refusedKernel(errno.EINVAL, [kernel]);
    const options = readOptions(source);
    if ('reason' in options) return refusedKernel(errno.EINVAL, [options]);
    const began = performance.now();
    const file = { fd, isClosed: false };
    this.compiling.add(file);
    const compiled = Promise.resolve(home.engine.compile(kernel, options));
    const program = await compiled.finally(() => this.compiling.delete(file));
    // The file may have been closed meanwhile: nobody would release the kernel.
    if (file.isClosed) return refusedKernel(errno.EBADF, []);
    if (isRefusal(program)) return refusedKernel(program.errno, program.problems);
    const handle = this.nextKernel++;
    const dedup = options.dedup !== false;
    this.compiled.set(handle, { fd, engine: home.engine, program, dedup });
    return {
      errno: 0,
      kernel: handle,
      problems: [],
      name: kernel.name,
      wgsl: kernel.wgsl,
      lanes: kernel.lanes,
      window: program.slots,
      firstAttempt: program.firstAttempt,
      compileMs: performance.now() - began,
    };
  }

  /** KernelApi.releaseKernel. */
  release(kernel: number): number {
    return this.compiled.delete(kernel) ? 0 : errno.EBADF;
  }

  /** KernelApi.launchKernel, for an open file; undefined = there is none. */
  async launch(
    fd: number,
    mirror: Dmirror | undefined,
    kernel: number,
    request: KernelLaunchRequest,
  ): Promise<KernelReport> {
    const compiled = this.compiled.get(kernel);
    if (mirror === undefined || compiled === undefined) return refusedLaunch(errno.EBADF);
    if (!isRecord(request)) return refusedLaunch(errno.EFAULT);
    const home = this.engines.of(mirror.device);
    if (typeof home === 'number') return refusedLaunch(home);
    if (home.engine !== compiled.engine) return refusedLaunch(errno.EINVAL);
    const order = readOrder(request, compiled.program.slots);
    if ('errno' in order) return refusedLaunch(order.errno, order.cause);
    const { program } = compiled;
    const ended = Promise.resolve();
    const policy = typeof request.policy === 'string' ? request.policy : '';
    const parts = { mirror, home, program, order, policy };
    const active: Active = { ...parts, service: null, isClosed: false, ended };
    const ofFile = this.active.get(fd) ?? new Set();
    this.active.set(fd, ofFile.add(active));
    try {
      return await this.begin(active, kernel, request, compiled.dedup);
    } finally {
      ofFile.delete(active);
      if (ofFile.size === 0) this.active.delete(fd);
    }
  }

  /** Begins a launch, once its policy is there, and waits for its end. */
  private async begin(
    active: Active,
    kernel: number,
    request: KernelLaunchRequest,
    dedup: boolean,
  ): Promise<KernelReport> {
    const reading = readPolicy(request, active.order.origin);
    const policy = await (request.policy === undefined ? reading : unlessEnded(active, reading));
    if (typeof policy === 'string') return refusedLaunch(errno.EINVAL, policy);
    if (policy !== null && policy !== undefined && 'errno' in policy) {
      return refusedLaunch(policy.errno, policy.cause);
    }
    if (policy === undefined && !active.isClosed) return refusedLaunch(errno.EINTR);
    // The file may have been closed meanwhile: nobody would tell us what goes from its memory.
    const isGone = active.isClosed || !this.compiled.has(kernel);
    if (isGone || policy === undefined) return refusedLaunch(errno.EBADF);
    active.service = policy === null ? null : { ...policy, isComplete: !dedup };
    const space = new DeviceSpace(this.nextContext++);
    const pager = newPager(active, space);
    if (typeof pager === 'string') return refusedLaunch(errno.EINVAL, pager);
    const running = this.run(active, space, pager);
    active.ended = running;
    return running;
  }

  /** The file is being closed: its launches end, its kernels go. Waits for the pass in progress. */
  async closing(fd: number): Promise<void> {
    for (const [handle, one] of this.compiled) if (one.fd === fd) this.compiled.delete(handle);
    for (const one of this.compiling) if (one.fd === fd) one.isClosed = true;
    const launches = [...(this.active.get(fd) ?? [])];
    for (const one of launches) one.isClosed = true;
    await Promise.all(launches.map(({ ended }) => ended));
    // Nothing of a file that is closed is kept.
    this.last = [];
  }

  /** Gives the engines back, when all launches have ended. */
  close(): void {
    this.compiled.clear();
    this.last = [];
    this.engines.close();
  }

  private async run(active: Active, space: DeviceSpace, pager: LaunchPager): Promise<KernelReport> {
    const { mirror, home, program, order } = active;
    const began = performance.now();
    let serveMs = 0;
    const watch = new Watch(this.sys, mirror, order);
    const hold = new LaunchHold(order.words, () => isAborted(active));
    const held = (): MaybePromise<void> => {
      const { passes, finished } = watch.counts;
      const waits = finished < order.workgroups ? hold.wait(passes) : undefined;
      if (waits !== undefined) pager.pause();
      return waits;
    };
    const failures = new LaunchFailures(order.words, mirror, pager);
    let isServed = false;
    const serve = async (batch: FaultBatch): Promise<boolean | 'hold'> => {
      await held();
      isServed = true;
      const from = performance.now();
      const goesOn = await failures.serve(batch, watch.counts.passes);
      serveMs += performance.now() - from;
      watch.passBegins();
      return goesOn;
    };
    this.sys.vmstat.add(LAUNCHES, 1);
    const { workgroups, args, window, budget, patience = pager.patience } = order;
    const request = { space, workgroups, args, window, budget, patience };
    const turns = new Turns();
    // What was served keeps the device's fault lock until its pass is queued: no time to be held.
    const between = (hasWaited: boolean): MaybePromise<void> => {
      const waits = isServed ? undefined : held();
      isServed = false;
      return waits ?? (hasWaited ? undefined : turns.give());
    };
    let ended: LaunchReport;
    let detail = '';
    try {
      await pager.begin();
      ended = await launchKernel(program, {
        ...request,
        pager: serve,
        everyPass: pager.everyPass,
        isAborted: () => isAborted(active),
        between,
        onSubmitted: () => pager.passSubmitted(),
        around: home.reachesAperture(active.mirror.device) ? pager.around : undefined,
        onPass: (counts, { faults }) => watch.pass(counts, faults),
        keep: (launch) => (this.last = [launch, active, pager]),
      });
    } catch (error) {
      // A policy, or the compiler about a replay's variant; a bug of ours is not to be hidden.
      if (!(error instanceof PolicyError || error instanceof VmCompileError)) throw error;
      detail = policyErrorText(error, error instanceof PolicyError ? active.policy : '');
      const status = error instanceof PolicyError ? errno.EINVAL : errno.EIO;
      ended = { ...watch.counts, outcome: 'failed', errno: status, workgroup: -1 };
    } finally {
      turns.close();
      await closePager(pager);
      home.engine.drop(space);
    }
    const totalMs = performance.now() - began - hold.heldMs;
    const { lastFault } = watch;
    const { injected } = failures;
    return finalReport(active, pager, ended, { detail, totalMs, serveMs, lastFault, injected });
  }
}

/** Whether a launch is to end. */
function isAborted({ isClosed, order }: Active): boolean {
  return isClosed || Atomics.load(order.words, 0) !== 0;
}

/** Waits for a policy; undefined when the launch is to end first: a module may never be loaded. */
async function unlessEnded<T>(active: Active, reading: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setInterval> | undefined;
  const ended = new Promise<undefined>((resolve) => {
    timer = setInterval(() => {
      if (isAborted(active)) resolve(undefined);
    }, LOOK_MS);
  });
  try {
    return await Promise.race([reading, ended]);
  } finally {
    clearInterval(timer);
  }
}

/** The place where the pager behind a launch is made; or what is wrong with its policy. */
function newPager(active: Active, space: DeviceSpace): LaunchPager | string {
  const { mirror, home, order, service } = active;
  const { origin } = order;
  const { firstFrame } = home;
  if (service === null) {
    return new MachinePager(mirror, space, origin, firstFrame, () => isAborted(active));
  }
  try {
    return new PolicyPager(mirror, space, origin, firstFrame, service);
  } catch (error) {
    if (error instanceof PolicyError) return policyErrorText(error, active.policy);
    throw error;
  }
}

/** A policy that throws once more at the end has nothing left to spoil. */
async function closePager(pager: LaunchPager): Promise<void> {
  try {
    await pager.close();
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
  }
}

/** Makes a launch visible: in its shared words, in the counters, and in traces. */
class Watch {
  counts: LaunchCounts = NO_COUNTS;
  /** Of the last pass that had one: the virtual address and the workgroup of a fault. */
  lastFault: { readonly address: number; readonly workgroup: number } | undefined;
  private readonly sys: System;
  private readonly mirror: Dmirror;
  private readonly order: Order;
  private since: number;

  constructor(sys: System, mirror: Dmirror, order: Order) {
    this.sys = sys;
    this.mirror = mirror;
    this.order = order;
    this.since = sys.trace?.nowMs() ?? -1;
  }

  /** What came before is no part of the next pass. */
  passBegins(): void {
    this.since = this.sys.trace?.nowMs() ?? -1;
  }

  /** A pass is done. */
  pass(counts: LaunchCounts, records: Uint32Array): void {
    const { vmstat, trace } = this.sys;
    const before = this.counts;
    this.counts = counts;
    LAUNCH_COUNTS.forEach((name, at) => (this.order.counts[at] = counts[name]));
    const faults = counts.faults - before.faults;
    const replayed = counts.replayed - before.replayed;
    vmstat.add(PASSES, 1);
    vmstat.add(FAULTS, faults);
    vmstat.add(REPLAYS, replayed);
    vmstat.add(KILLS, counts.killed - before.killed);
    if (records.length > 0) {
      const address = this.order.origin + records[FAULT_ADDRESS]!;
      this.lastFault = { address, workgroup: records[FAULT_WORKGROUP]! };
    }
    if (trace === null) return;
    const { mm, device } = this.mirror;
    const now = trace.nowMs();
    const since = this.since < 0 ? now : this.since;
    const { passes, finished } = counts;
    const at = [passes - 1, finished, since, faults, replayed, device.minor] as const;
    trace.emit(TRACE_DEVICE_PASS, mm, ...at, device.memory.pagesInUse);
    this.since = now;
    for (let at = 0; at < records.length; at += FAULT_WORDS) {
      const address = this.order.origin + records[at + FAULT_ADDRESS]!;
      const access = records[at + FAULT_ACCESS]!;
      const workgroup = records[at + FAULT_WORKGROUP]!;
      trace.emit(TRACE_DEVICE_FAULT, mm, address, workgroup, now, access, passes - 1, device.minor);
    }
  }
}

/** What was noticed of a launch besides what it reports itself. */
interface Watched {
  /** What was wrong, if somebody said so. */
  readonly detail: string;
  readonly totalMs: number;
  readonly serveMs: number;
  /** Virtual address and workgroup of the last fault, if any. */
  readonly lastFault: Watch['lastFault'];
  readonly injected: LaunchFailures['injected'];
}

function finalReport(
  { order, isClosed }: Active,
  pager: LaunchPager,
  ended: LaunchReport,
  { detail, totalMs, serveMs, lastFault, injected }: Watched,
): KernelReport {
  const { mapped, erased, evicted, cancelled, remote } = pager.stats;
  const report = settled(ended, pager.failure, isClosed || Atomics.load(order.words, 0) !== 0);
  return {
    ...report,
    hasBegun: true,
    origin: order.origin,
    service: pager instanceof PolicyPager ? pager.report() : null,
    injected,
    cause: causeOf(report, {
      ...order,
      isClosed,
      detail,
      usual: pager.patience,
      injected: injected.at(-1)?.what,
      lastFault,
    }),
    workgroups: order.workgroups,
    refusals: pager.refusals.map(({ access, errno: status, ...rest }): RefusedAccess => ({
      ...rest,
      access: accessName(access),
      reason: errnoName(status),
      cause: causeOfRefusal(status, accessName(access), rest.address),
    })),
    pages: { mapped, erased, evicted, remote, refused: cancelled },
    totalMs,
    serveMs,
    passMs: totalMs - serveMs,
  };
}

/** A pager that gave up has a reason, which is the launch's. */
function settled(ended: LaunchReport, failure: number, isAborted: boolean): LaunchReport {
  if (ended.outcome !== 'cancelled') return ended;
  if (isAborted) return { ...ended, outcome: 'aborted' };
  const status = failure === errno.ENODEV ? errno.ENODEV : errno.EIO;
  return { ...ended, outcome: 'failed', errno: status };
}

function refusedKernel(code: number, problems: readonly KernelProblem[]): CompileResult {
  const none = { kernel: 0, name: '', wgsl: '', lanes: 0, window: 0, compileMs: 0 };
  return { errno: code, problems, firstAttempt: 'none', ...none };
}

function refusedLaunch(code: number, cause = ''): KernelReport {
  return {
    ...NO_COUNTS,
    errno: code,
    outcome: 'failed',
    hasBegun: false,
    cause,
    origin: 0,
    service: null,
    workgroup: -1,
    workgroups: 0,
    refusals: [],
    injected: [],
    pages: { mapped: 0, erased: 0, evicted: 0, remote: 0, refused: 0 },
    totalMs: 0,
    passMs: 0,
    serveMs: 0,
  };
}
