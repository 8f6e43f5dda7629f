/**
 * The facade's machine, and how it calls its kernel. With process.ts and the files beside it, it is
 * a thin layer over `KernelApi` that turns numbers into exceptions. The same classes serve a kernel
 * in this thread and one behind Comlink: an awaited plain value is a plain value.
 */
import { hostPlatform } from '#platform';
import { errno } from '../base/errno.ts';
import type { StrategyName } from '../engine/copy-engine.ts';
import { connectKernel } from './connect.ts';
import type { CoreHost } from './core-host.ts';
import { ErrnoError, MachineError, checked, reasonOf } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { FaultLatency } from '../cpu/fault-latency.ts';
import { LiveCounters } from './live-counters.ts';
import type { CreateOptions } from './create-options.ts';
import { Process } from './process.ts';
import type { Counters, KernelApi, MachineReport } from './protocol.ts';
import { wrongEvents } from './running-program.ts';
import type { ProgramEvents, RunningProgram } from './running-program.ts';
import { TmpFile } from './tmp-file.ts';
import { TraceSubscription } from './trace.ts';
import type { TraceListener, TraceOptions } from './trace.ts';

/** @internal `KernelApi` as seen from any thread: every call may have to wait. */
export type AsyncKernel = {
  [K in keyof KernelApi]: (
    ...args: Parameters<KernelApi[K]>
  ) => Promise<Awaited<ReturnType<KernelApi[K]>>> | ReturnType<KernelApi[K]>;
};

/** @internal How a machine reaches its kernel, and what has to be cleaned up with it. */
export interface KernelLink {
  readonly api: AsyncKernel;
  /** Rejects when the kernel died, never resolves. */
  readonly died: Promise<never>;
  /** Ends the thread that the kernel lives in. */
  readonly dispose: () => void;
  /** Starts CPU cores; null where the kernel has no thread of its own, and for lack of threads. */
  readonly cores?: CoreHost | null;
  /** The kernel's counters, in shared memory. */
  readonly vmstat: Float64Array<SharedArrayBuffer>;
  /** What cores count of their faults, in shared memory. */
  readonly faultLatency: SharedArrayBuffer;
}

/** A shared memory object that several mappings and processes can share. */
export interface Shmem {
  /** Descriptor, for `mmap`. */
  readonly id: number;
  /** Bytes. */
  readonly length: number;
}

/**
 * An emulated machine: RAM, devices, processes. Make one by `Machine.create`, dispose of it with
 * `close` or `await using`.
 *
 * When its kernel dies or finds itself broken, every call that it still had to answer and every
 * later one rejects with MachineError, and its programs end.
 */
export class Machine implements AsyncDisposable {
  /** What was built: engine, adapter, sizes. */
  readonly report: MachineReport;
  /** Counters that can be read at any time without asking the kernel. */
  readonly vmstat: LiveCounters;
  /** How long faults kept CPU cores waiting, by kind; live, like `vmstat`. */
  readonly faultLatency: FaultLatency;
  private readonly link: KernelLink;
  private closing: Promise<void> | null = null;
  /** How to reject the calls in progress, for when the kernel dies. */
  private readonly pending = new Set<(death: Error) => void>();
  private readonly traces = new Set<TraceSubscription>();
  private death: Error | null = null;
  private readonly dead: AsyncKernel;

  /** @internal */
  constructor(link: KernelLink, report: MachineReport) {
    this.link = link;
    this.report = report;
    this.vmstat = new LiveCounters(link.vmstat);
    this.faultLatency = new FaultLatency(link.faultLatency);
    // Calls are made before `call` sees them, and there is nobody left to make them to.
    this.dead = new Proxy({} as AsyncKernel, {
      get: () => () => Promise.reject(this.death ?? new MachineError('closed', '')),
    });
    link.died.catch((reason: unknown) => {
      this.end(reason instanceof Error ? reason : new Error(String(reason)));
    });
  }

  /**
   * Builds a machine whose kernel runs in a thread of its own, in browsers and in Node alike, so
   * that the calling thread stays responsive and programs can run on CPU cores.
   *
   * Browsers: the page has to be cross-origin isolated. Node: `engine: 'webgpu'` needs the package
   * webgpu. Throws OpenError, which names what is missing and what to do about it.
   */
  static async create(options: CreateOptions = {}): Promise<Machine> {
    const { link, report } = await connectKernel(hostPlatform, options);
    return new Machine(link, report);
  }

  /**
   * @internal Awaits a kernel call, or the kernel's death. Not by Promise.race, which would keep
   * every result for as long as the machine lives.
   */
  call<T>(result: Promise<T> | T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const failed = (error: unknown): void => reject(reasonOf(error));
      const settled = Promise.resolve(result).then(resolve, failed);
      if (this.death !== null) return reject(this.death);
      this.pending.add(reject);
      void settled.then(() => this.pending.delete(reject));
    });
  }

  /** @internal */
  get api(): AsyncKernel {
    return this.death === null ? this.link.api : this.dead;
  }

  /** True when the machine was closed or its kernel died: every call rejects. */
  get isOver(): boolean {
    return this.death !== null;
  }

  /** @internal */
  runProgram(
    pid: number,
    entry: string,
    args: unknown,
    events: ProgramEvents,
  ): Promise<RunningProgram> {
    const cores = this.link.cores ?? null;
    if (this.death !== null) return Promise.reject(this.death);
    const wrong = wrongEvents(events);
    if (wrong !== 0) return Promise.reject(new ErrnoError(wrong, 'run', 'what is to be told'));
    if (cores === null) return Promise.reject(new ErrnoError(errno.EOPNOTSUPP, 'run'));
    return this.call(cores.run(pid, entry, args, events));
  }

  /** Starts an empty process. Throws ErrnoError (ENOMEM). */
  async spawn(): Promise<Process> {
    const pid = checked(await this.call<number>(this.api.spawn()), 'spawn');
    return new Process(this, pid);
  }

  /** Makes a shared memory object of `length` bytes. Throws ErrnoError (EINVAL, ENOMEM). */
  async shmem(length: number): Promise<Shmem> {
    const id = checked(await this.call<number>(this.api.shmemCreate(length)), 'shmem');
    return { id, length };
  }

  /** Makes a file without a name, `length` bytes of zeroes long. Throws ErrnoError (EINVAL). */
  async tmpfile(length = 0): Promise<TmpFile> {
    return new TmpFile(this, checked(await this.call<number>(this.api.tmpfile(length)), 'tmpfile'));
  }

  /** All counters at this moment; `vmstat` has those of memory management without a call. */
  counters(): Promise<Counters> {
    return this.call<Counters>(this.api.counters());
  }

  /**
   * Has `listener` told what the machine does: faults, migrations, TLB shootdowns, invalidations.
   * Events come some at a time, within milliseconds; what a slow listener has no room for is lost
   * and counted. While nobody listens, this costs nothing. Throws ErrnoError (EINVAL for a kind
   * that there is not, and a capacity not from 1 to 2^20).
   */
  async trace(listener: TraceListener, options: TraceOptions = {}): Promise<TraceSubscription> {
    const trace = await TraceSubscription.start(this, listener, options);
    if (this.death === null) this.traces.add(trace);
    else trace.abandon();
    return trace;
  }

  /** @internal A trace has ended. */
  forget(trace: TraceSubscription): void {
    this.traces.delete(trace);
  }

  /**
   * Makes later copies use another strategy. Throws ErrnoError (EINVAL) for one that the engine
   * lacks.
   */
  async setStrategy(strategy: StrategyName): Promise<void> {
    checked(await this.call<number>(this.api.setStrategy(strategy)), 'setStrategy');
  }

  /**
   * Suspends test device `minor`: everything on it goes to RAM, and nothing enters it until it is
   * resumed. CPUs go on; kernels, commands of the device, and the end of a process whose kernel
   * waits, wait for that. Throws ErrnoError (ENXIO; EBUSY when it is suspended, or pages are
   * pinned on it; ENOMEM, ENODEV, EIO: then it is awake and has its pages).
   */
  async suspendDevice(minor: number): Promise<void> {
    checked(await this.call<number>(this.api.suspendDevice(minor)), 'suspend');
  }

  /**
   * Resumes it: what was on it comes back as far as it can, and whoever waits goes on. Throws
   * ErrnoError (ENXIO; EINVAL when it is not suspended; ENODEV, EIO).
   */
  async resumeDevice(minor: number): Promise<void> {
    checked(await this.call<number>(this.api.resumeDevice(minor)), 'resume');
  }

  /** Destroys the device as a driver crash would: RAM stays, what lived on the device is lost. */
  async loseDevice(): Promise<void> {
    await this.call<number>(this.api.loseDevice());
  }

  /**
   * Ends all processes, releases the device and the worker; a further call awaits the same. Later
   * calls of the machine reject with MachineError; one that died is closed already.
   */
  close(): Promise<void> {
    return (this.closing ??= this.shutDown());
  }

  /**
   * Ends it at once and asks its kernel nothing: for one that does not answer any more, as when a
   * user's policy never returns. What it still had to answer rejects with MachineError. One whose
   * kernel lives in this thread (`bootMachine`) gives its device back by `close` alone. Dawn in
   * Node does not survive it while the GPU is at work.
   *
   * @param why for the message of what rejects
   */
  kill(why = ''): void {
    this.end(new MachineError('closed', why));
  }

  private async shutDown(): Promise<void> {
    if (this.death !== null) return;
    try {
      await this.call<void>(this.api.close());
    } catch (error) {
      // A kernel that dies on its way out is gone, too; what it was asked for has happened.
      if (this.death === null) throw error;
    } finally {
      this.end(new MachineError('closed', ''));
    }
  }

  /** From now on nothing is answered. */
  private end(death: Error): void {
    if (this.death !== null) return;
    this.death = death;
    for (const reject of this.pending) reject(death);
    this.pending.clear();
    for (const trace of this.traces) trace.abandon();
    this.traces.clear();
    this.link.cores?.close(death.message);
    this.link.dispose();
  }

  /** As close. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A machine whose kernel runs in this thread: its insides are at hand for those
 * who have the sources. */
export interface LocalMachine extends Machine {
  /** @internal */
  readonly kernel: Kernel;
}
