/** The facade's handles of kernels over virtual memory, and of their launches. */
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { ErrnoError, checked, disposed } from './errors.ts';
import type { Machine } from './machine.ts';
import {
  LAUNCH_BYTES,
  LAUNCH_COUNTS,
  LAUNCH_COUNTS_AT,
  LAUNCH_FAILURE,
  LAUNCH_FAILURES,
  LAUNCH_HELD,
  LAUNCH_LIMIT,
  MAX_FAILURE_PASS,
} from './protocol-launch.ts';
import type {
  CompileResult,
  KernelLaunchRequest,
  KernelProblem,
  KernelReport,
  LaunchFailure,
} from './protocol-launch.ts';

/** A kernel was refused, by our check or by the WGSL compiler; the message has all reasons. */
export class KernelCompileError extends ErrnoError {
  /** What is wrong, by line of its text. */
  readonly problems: readonly KernelProblem[];

  constructor(value: number, name: string, problems: readonly KernelProblem[]) {
    const lines = problems.map(
      ({ line, column, reason }) => `${name}:${line}:${column}: ${reason}`,
    );
    super(value, 'compileKernel', lines.join('; '));
    this.problems = problems;
  }
}

/** A compiled kernel. It goes with the device that it was compiled by, or by `release`. */
export class DeviceKernel implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** @internal */
  readonly handle: number;
  readonly name: string;
  /** Its text; also of one that was named as a shape. */
  readonly wgsl: string;
  /** Invocations of a workgroup. */
  readonly lanes: number;
  /** Most workgroups in flight. */
  readonly window: number;
  /** How a first attempt keeps effects from happening twice. */
  readonly firstAttempt: CompileResult['firstAttempt'];
  readonly compileMs: number;

  /** @internal */
  constructor(machine: Machine, made: CompileResult) {
    this.machine = machine;
    this.handle = made.kernel;
    this.name = made.name;
    this.wgsl = made.wgsl;
    this.lanes = made.lanes;
    this.window = made.window;
    this.firstAttempt = made.firstAttempt;
    this.compileMs = made.compileMs;
  }

  /** Forgets the kernel; launches in progress go on. Throws ErrnoError (EBADF). */
  async release(): Promise<void> {
    const { machine, handle } = this;
    checked(await machine.call<number>(machine.api.releaseKernel(handle)), 'releaseKernel');
  }

  /** Forgets the kernel, unless it is gone. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.release());
  }
}

/** What to launch, besides the kernel. */
export type LaunchOptions = Omit<KernelLaunchRequest, 'control'> & {
  /** Ends the launch when it aborts: the report's outcome is `aborted`. */
  readonly signal?: AbortSignal;
};

/** How far a launch is. */
export type LaunchProgress = Readonly<Record<(typeof LAUNCH_COUNTS)[number], number>>;

/** A launch in progress. Disposing of it ends it, and waits until it is gone. */
export class RunningLaunch implements AsyncDisposable {
  /**
   * Resolves at its end, however it ended. Rejects with ErrnoError when it never began (EINVAL;
   * EFAULT for an argument out of reach; ENOMEM for more hints than there is room for; EBADF;
   * ENODEV; EINTR, ended before its policy was there),
   * with MachineError when the machine ended.
   */
  readonly report: Promise<KernelReport>;
  private readonly words: Int32Array;
  private readonly counts: Float64Array;

  /** @internal */
  constructor(machine: Machine, fd: number, kernel: DeviceKernel, options: LaunchOptions) {
    const control = new SharedArrayBuffer(LAUNCH_BYTES);
    this.words = new Int32Array(control);
    this.counts = new Float64Array(control, LAUNCH_COUNTS_AT, LAUNCH_COUNTS.length);
    this.report = this.start(machine, fd, kernel, options, control);
    // Whoever asks for the report hears of it; until then a failure is nobody's.
    this.report.catch(() => {});
  }

  private async start(
    machine: Machine,
    fd: number,
    kernel: DeviceKernel,
    options: LaunchOptions,
    control: SharedArrayBuffer,
  ): Promise<KernelReport> {
    const wrong = whatIsWrong(kernel, options);
    if (wrong !== null) throw wrong;
    const { signal, ...request } = options;
    const abort = (): void => this.abort();
    if (signal?.aborted === true) this.abort();
    signal?.addEventListener('abort', abort, { once: true });
    const { handle } = kernel;
    const call = machine.api.launchKernel(fd, handle, { ...request, control });
    try {
      const report = await machine.call<KernelReport>(call);
      if (!report.hasBegun) throw new ErrnoError(report.errno, 'launch', report.cause);
      return report;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** What it has done so far, without asking the kernel. */
  get progress(): LaunchProgress {
    const entries = LAUNCH_COUNTS.map((name, at) => [name, this.counts[at]!] as const);
    return Object.fromEntries(entries) as Record<(typeof LAUNCH_COUNTS)[number], number>;
  }

  /** Whether it is held between two passes. */
  get isHeld(): boolean {
    return Atomics.load(this.words, LAUNCH_HELD) !== 0;
  }

  /**
   * Holds it after the pass in progress, with its faults raised and not served; one that has not
   * begun, before its first pass. Others of the machine go on, its file can be closed.
   */
  pause(): void {
    Atomics.store(this.words, LAUNCH_LIMIT, 1 + this.progress.passes);
  }

  /** Has what is held serve its faults and do one more pass; then it is held again. */
  step(): void {
    Atomics.store(this.words, LAUNCH_LIMIT, 2 + this.progress.passes);
  }

  /** Lets it go on to its end. */
  resume(): void {
    Atomics.store(this.words, LAUNCH_LIMIT, 0);
  }

  /**
   * Puts a failure in its way, once, in place of one that has not come yet: when the faults of a
   * pass are served, `memory`: no page of the device is free; `copy`: a copy ends with EIO, its
   * pages stay where they are; `ring`: it is full, faults get lost and come again; `policy`: the
   * policy throws, if there is one; `device`: it is lost, for the whole machine. All but
   * `memory` and `device` are this launch's alone. The report's `injected` says what has come.
   *
   * @param after passes that are to be done before
   * @throws ErrnoError (EINVAL) for anything else
   */
  fail(what: LaunchFailure, after = 0): void {
    const number = LAUNCH_FAILURES.indexOf(what) + 1;
    const isPass = Number.isInteger(after) && after >= 0 && after <= MAX_FAILURE_PASS;
    if (number === 0 || !isPass) throw new ErrnoError(errno.EINVAL, 'fail');
    Atomics.store(this.words, LAUNCH_FAILURE, number + 8 * after);
  }

  /** Ends it after the pass in progress, its faults included. What it has stored stays. */
  abort(): void {
    Atomics.store(this.words, 0, 1);
  }

  /** Ends it, and waits for that. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.report.catch(() => {});
  }
}

/** What is wrong with what callers without types give, as far as the kernel does not see it. */
function whatIsWrong(kernel: unknown, options: unknown): ErrnoError | null {
  const refuse = (value: number, why: string): ErrnoError => new ErrnoError(value, 'launch', why);
  if (!(kernel instanceof DeviceKernel)) return refuse(errno.EBADF, 'no kernel');
  if (!isRecord(options)) return refuse(errno.EFAULT, 'options are no object');
  const { signal } = options as { readonly signal?: unknown };
  if (signal === undefined || isSignal(signal)) return null;
  return refuse(errno.EINVAL, 'signal is an AbortSignal');
}

/** One of another window is one, too. */
function isSignal(signal: unknown): boolean {
  if (!isRecord(signal)) return false;
  const { aborted, addEventListener } = signal as Record<keyof AbortSignal, unknown>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}
