/*
 * A kernel on the real machine: its memory in a process, the device that it faults on, and what
 * became of it.
 */
import {
  errno,
  ErrnoError,
  KernelCompileError,
  Machine,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
  recordingKernel,
  traceOfLogs,
} from '../../src/index.ts';
import type {
  AccessTrace,
  DeviceFaultEvent,
  DeviceKernel,
  DevicePassEvent,
  InjectedFailure,
  KernelReport,
  LaunchFailure,
  LaunchProgress,
  LaunchServiceOptions,
  MachineOptions,
  Process,
  RunningLaunch,
  TestDevice,
} from '../../src/index.ts';
import { moduleUrl } from '../_shell/own-policy.ts';
import { Witness } from './kernel-witness.ts';
import { fillArrays, LANES } from './kernels.ts';
import type { Fill } from './kernels.ts';
import type { LabPolicy } from './lab-setup.ts';

/** What to run. */
export interface KernelOrder {
  readonly wgsl: string;
  readonly fills: readonly Fill[];
  /** Words of each array, whole pages. */
  readonly words: number;
  /** Pages of device memory. */
  readonly devicePages: number;
  /** Workgroups in flight. */
  readonly window: number;
  readonly seed: number;
  /** Who moves the pages; null: one by one, as they are asked for. */
  readonly policy: LabPolicy | null;
  /** How the service that asks it is set up. */
  readonly service: LaunchServiceOptions;
  /** A failure to put in its way, and the passes before it. */
  readonly failure: { readonly what: LaunchFailure; readonly after: number } | null;
}

/** A pass of a launch. */
export type PassNote = Pick<
  DevicePassEvent,
  'pass' | 'faults' | 'finished' | 'replayed' | 'timeMs' | 'durationMs' | 'pagesInUse'
>;
/** A fault of one. */
export type FaultNote = Pick<DeviceFaultEvent, 'address' | 'access' | 'workgroup' | 'pass'>;

/** What the machine says of a launch as it goes. */
export interface LaunchNotes {
  readonly passes: PassNote[];
  /** The first of them, up to MOST_FAULTS. */
  readonly faults: FaultNote[];
}

/** What it looks like while it runs. */
export interface KernelLook {
  readonly progress: LaunchProgress;
  readonly isHeld: boolean;
  /** A PAGE_* code per page of all arrays. */
  readonly map: Uint8Array;
  readonly notes: LaunchNotes;
}

/** Whoever watches a run. */
export interface RunWatch {
  /** Told of the machine, as soon as there is one. */
  readonly onOpen?: (machine: Machine) => void;
  /** Given the launch before its first pass: to hold it, to let it go on. */
  readonly onStart?: (launch: RunningLaunch) => void;
  /** Told now and then how far it is. */
  readonly onLook: (look: KernelLook) => void;
  readonly signal: AbortSignal;
}

/** What came out. */
export interface KernelOutcome {
  readonly report: KernelReport;
  readonly kernel: Pick<DeviceKernel, 'firstAttempt' | 'compileMs' | 'window'>;
  readonly notes: LaunchNotes;
  /** Where the arrays begin, in the process. */
  readonly addr: number;
  readonly before: readonly Uint32Array[];
  readonly after: readonly Uint32Array[];
  /** Words behind the arrays, as many as were asked for. */
  readonly extra: Uint32Array;
  /** Where the pages were at the end, before they were read home. */
  readonly map: Uint8Array;
  /** What became of another process of the machine, where a failure has come; else ''. */
  readonly others: string;
}

/** The machine did not answer: its policy may never return. It was ended. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

const MIB = 2 ** 20;
const LOOK_MS = 50;
/** Faults whose lives and notes are kept. */
const MOST_FAULTS = 65_536;
/** Words of an invocation's log, tried one after the other until all logs suffice. */
const LOG_SIZES = [16, 64, 256] as const;
/** How long the machine may take for an answer while it asks a user's policy. */
const PATIENCE_MS = 8000;

/** An order with words behind its arrays, zeroed; their address is the last argument. */
type RoomyOrder = KernelOrder & { readonly extraWords?: number };

/** Pages of an order's arrays. */
export function pagesOfOrder({ fills, words }: Pick<KernelOrder, 'fills' | 'words'>): number {
  return (fills.length * words * 4) / PAGE_SIZE;
}

export class KernelRunner {
  private readonly options: (own: MachineOptions) => MachineOptions;
  private machine: Machine | null = null;
  private deviceBytes = 0;

  /** @param options adds what the address chooses */
  constructor(options: (own: MachineOptions) => MachineOptions) {
    this.options = options;
  }

  /**
   * Compiles and runs, in a process of its own.
   *
   * @throws KernelCompileError; ErrnoError (EINVAL) of launch for a policy that can't be made;
   * NoAnswer; OpenError, other ErrnoErrors, MachineError, after which the machine is opened anew
   */
  async run(order: RoomyOrder, watch: RunWatch): Promise<KernelOutcome> {
    const machine = await this.open(order);
    watch.onOpen?.(machine);
    try {
      const outcome = await this.runOn(machine, order, watch);
      // A device that has failed once is opened anew.
      if (isLost(outcome.report)) await this.close();
      return outcome;
    } catch (error) {
      const isRefused = error instanceof KernelCompileError || isRefusedLaunch(error);
      if (!isRefused) await this.close();
      throw error;
    }
  }

  private async runOn(
    machine: Machine,
    order: RoomyOrder,
    watch: RunWatch,
  ): Promise<KernelOutcome> {
    await using process = await machine.spawn();
    const device = await process.openDevice(0);
    await using kernel = await device.compileKernel({
      wgsl: order.wgsl,
      lanes: LANES,
      window: order.window,
    });
    await using witness = await Witness.open(machine);
    const before = fillArrays(order.fills, order.words, order.seed);
    const size = pagesOfOrder(order) * PAGE_SIZE;
    const extraBytes = Math.ceil(((order.extraWords ?? 0) * 4) / PAGE_SIZE) * PAGE_SIZE;
    const length = size + extraBytes;
    const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const bytes = new Uint8Array(size);
    before.forEach((array, i) => bytes.set(new Uint8Array(array.buffer), i * array.byteLength));
    await process.write(addr, bytes);
    const notes: LaunchNotes = { passes: [], faults: [] };
    await using _trace = await noteLaunch(machine, notes);
    const report = await this.launch(
      { machine, process, device, kernel, addr },
      order,
      watch,
      notes,
    );
    const map = await process.pageMap(addr, size / PAGE_SIZE);
    // What was on a device that is lost is lost: reading it is SIGBUS.
    const left = isLost(report) ? new Uint8Array(length) : await process.read(addr, length);
    const words = new Uint32Array(left.slice().buffer);
    const after = order.fills.map((_, i) => {
      return words.slice(i * order.words, (i + 1) * order.words);
    });
    const extra = words.slice(size / 4);
    const { firstAttempt, compileMs, window } = kernel;
    const made = { firstAttempt, compileMs, window };
    const others = report.injected.length === 0 ? '' : await witness.testify();
    return { report, kernel: made, notes, addr, before, after, extra, map, others };
  }

  /** Destroys the device as a driver crash would, under whatever runs on it. */
  async loseDevice(): Promise<void> {
    await this.machine?.loseDevice();
  }

  /** Ends the machine without asking it, as while it compiles; the next run opens another. */
  kill(): void {
    this.machine?.kill('aborted');
  }

  /** Gives the machine back. */
  async close(): Promise<void> {
    await this.machine?.close();
    this.machine = null;
  }

  private async launch(
    on: LaunchPlace,
    { fills, words, policy, seed, failure, ...order }: KernelOrder,
    watch: RunWatch,
    notes: LaunchNotes,
  ): Promise<KernelReport> {
    const { device, kernel, addr } = on;
    const args = [
      ...fills.map((_, i) => addr + i * words * 4),
      words,
      addr + fills.length * words * 4,
    ];
    const service = { seed, lives: MOST_FAULTS, ...order.service };
    const module = policy?.kind === 'own' ? moduleUrl(policy.code) : null;
    const name = policy?.kind === 'named' ? policy.name : module;
    try {
      await using running = device.startLaunch(kernel, {
        workgroups: words / LANES,
        args,
        signal: watch.signal,
        ...(name === null ? {} : { policy: name, service }),
      });
      if (failure !== null) running.fail(failure.what, failure.after);
      watch.onStart?.(running);
      await this.watch(on, running, pagesOfOrder({ fills, words }), module !== null, (map) => {
        const { progress, isHeld } = running;
        watch.onLook({ progress, isHeld, map, notes });
      });
      return await running.report;
    } finally {
      if (module !== null) URL.revokeObjectURL(module);
    }
  }

  /** Looks at a launch until it is over. */
  private async watch(
    { machine, process, addr }: LaunchPlace,
    running: RunningLaunch,
    pages: number,
    isPatient: boolean,
    onMap: (map: Uint8Array) => void,
  ): Promise<void> {
    const state = { isOver: false };
    const ended = running.report.finally(() => (state.isOver = true));
    // What goes wrong is thrown by whoever asks first.
    ended.catch(() => undefined);
    while (!state.isOver) {
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, LOOK_MS))]);
      const map = process.pageMap(addr, pages);
      onMap(await (isPatient ? answered(machine, map) : map));
    }
  }

  private async open({ devicePages, fills, words, extraWords = 0 }: RoomyOrder): Promise<Machine> {
    const deviceBytes = devicePages * PAGE_SIZE;
    if (this.machine?.isOver === false && this.deviceBytes === deviceBytes) return this.machine;
    await this.close();
    const length = pagesOfOrder({ fills, words }) * PAGE_SIZE + extraWords * 4;
    const machine = await Machine.create(
      this.options({
        ramBytes: Math.max(32 * MIB, 2 ** Math.ceil(Math.log2(length * 4))),
        devices: 1,
        coherentDevices: 0,
        deviceBytes,
        chunkBytes: deviceBytes,
      }),
    );
    [this.machine, this.deviceBytes] = [machine, deviceBytes];
    return machine;
  }
}

/** Whether the device is lost: a policy's failure, and a copy that was made to fail, are not it. */
export function isLost({
  outcome,
  errno: code,
  injected,
}: Pick<KernelReport, 'outcome' | 'errno' | 'injected'>): boolean {
  const isMeant = injected.some(({ what }: InjectedFailure) => what === 'copy');
  return outcome === 'failed' && code !== errno.EINVAL && !(isMeant && code === errno.EIO);
}

/** What a launch is made of. */
interface LaunchPlace {
  readonly machine: Machine;
  readonly process: Process;
  readonly device: TestDevice;
  readonly kernel: DeviceKernel;
  readonly addr: number;
}

/** Whether a launch never began, for what it was given. */
export function isRefusedLaunch(error: unknown): error is ErrnoError {
  if (!(error instanceof ErrnoError) || error.syscall !== 'launch') return false;
  return error.errno === errno.EINVAL || error.errno === errno.EINTR;
}

/** An answer of the machine; it is ended when none comes. */
async function answered<T>(machine: Machine, answer: Promise<T>): Promise<T> {
  const seconds = PATIENCE_MS / 1000;
  const why = `no answer for ${seconds} s: a policy that never returns? Its machine was ended`;
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    machine.kill(why);
  }, PATIENCE_MS);
  try {
    return await answer;
  } catch (error) {
    throw isLate ? new NoAnswer(why) : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Writes down what the machine says of launches. */
function noteLaunch(machine: Machine, { passes, faults }: LaunchNotes): Promise<AsyncDisposable> {
  return machine.trace(
    (events) => {
      for (const event of events) {
        if (event.type === 'device_pass') passes.push(event);
        if (event.type === 'device_fault' && faults.length < MOST_FAULTS) faults.push(event);
      }
    },
    { events: ['device_pass', 'device_fault'], capacity: MOST_FAULTS },
  );
}

/**
 * Records what a kernel touches, on the same machine: the kernel writes it down itself.
 *
 * @returns the trace, or why there is none
 * @throws as KernelRunner.run()
 */
export async function recordKernel(
  runner: KernelRunner,
  order: KernelOrder,
  name: string,
  watch: RunWatch,
): Promise<AccessTrace | string> {
  const { fills, words } = order;
  const pages = pagesOfOrder(order);
  for (const logWords of LOG_SIZES) {
    const extraWords = words * logWords;
    const logs = { argument: fills.length + 1, words: logWords, lanes: LANES };
    const made = await recordingKernel(order.wgsl, logs);
    if ('reason' in made) {
      const { problems, reason } = made;
      if (problems.length === 0) return reason;
      throw new KernelCompileError(errno.EINVAL, name, problems);
    }
    // Everything has room, and comes in large pieces: only what is touched matters.
    const devicePages = pages + Math.ceil((extraWords * 4) / PAGE_SIZE);
    const policy: LabPolicy = { kind: 'named', name: 'kfd', evict: null };
    const roomy = { ...order, wgsl: made.wgsl, devicePages, extraWords, policy, failure: null };
    const { report, extra } = await runner.run(roomy, watch);
    if (report.outcome !== 'done') return `its run ended as ${report.outcome}: ${report.cause}`;
    const trace = traceOfLogs(name, extra, logWords, LANES, pages);
    if (trace !== null) return trace;
  }
  return `an invocation changes pages more than ${LOG_SIZES.at(-1)! - 2} times`;
}
