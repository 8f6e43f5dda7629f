/**
 * The thread that holds a machine starts its cores, hears of their end, and proves their death to
 * the kernel: only then is memory that they could reach given to others.
 */
import { errno, isErr } from '../base/errno.ts';
import { atomicsOf } from '../cpu/atomics-port.ts';
import { CORE_HEARD, ControlMap } from '../cpu/control.ts';
import type { CoreImage } from '../cpu/core.ts';
import type { CoreMessage, ExitStatus } from '../cpu/program.ts';
import { markCoreDead } from '../cpu/shootdown.ts';
import { SIGKILL } from '../cpu/signals.ts';
import type { CoreBoot } from './core-thread.ts';
import { ErrnoError } from './errors.ts';
import type { HostRequest } from './protocol-cores.ts';
import type { ProgramEvents, RunningProgram } from './running-program.ts';

/** A thread that runs a core, as the platform gives it. */
export interface CoreThread {
  /** Ends it, whatever it does. `onDead` is called when it is gone. */
  terminate(): void;
}

/** How a platform starts the threads of cores. */
export interface CoreThreads {
  /** True when the kernel hears of Atomics.waitAsync, so that doorbells need no port. */
  readonly hearsWords: boolean;
  /** A pair of ports that can be sent to other threads. */
  newChannel(): { readonly port1: MessagePort; readonly port2: MessagePort };
  /**
   * Starts the thread of a core.
   *
   * @param onDead Called once, when the thread is known to run no more.
   */
  start(
    boot: CoreBoot,
    onMessage: (message: CoreMessage) => void,
    onDead: (why: string) => void,
  ): CoreThread;
}

/** The calls of the kernel that a host needs. */
export interface CoreKernel {
  attachHost(port: MessagePort): Promise<number>;
  startCore(pid: number, bell: MessagePort | null): Promise<CoreImage | number>;
  signalCore(slot: number, signal: number): Promise<number>;
  endCore(slot: number): Promise<number>;
  exit(pid: number): Promise<number>;
}

interface HostedCore {
  /** Null until it has been started. */
  thread: CoreThread | null;
  /** Why it is to end; '' while it is not. */
  why: string;
}

interface Program {
  readonly pid: number;
  readonly entry: string;
  readonly args: unknown;
  readonly events: ProgramEvents;
}

export class CoreHost {
  private readonly kernel: CoreKernel;
  private readonly threads: CoreThreads;
  /** By serial number. */
  private readonly cores = new Map<number, HostedCore>();
  /** Of the cores that we have heard of. */
  private lastSerial = 0;
  private attached: Promise<void> | null = null;
  private port: MessagePort | null = null;
  /** There is no kernel any more that would answer. */
  private isOver = false;
  private markOver: () => void = () => undefined;
  private readonly over = new Promise<number>((resolve) => (this.markOver = () => resolve(0)));

  constructor(kernel: CoreKernel, threads: CoreThreads) {
    this.kernel = kernel;
    this.threads = threads;
  }

  /**
   * Starts a program in a process. Throws ErrnoError (ESRCH, EAGAIN when there are too many cores).
   *
   * @param entry URL of its module.
   */
  async run(
    pid: number,
    entry: string,
    args: unknown,
    events: ProgramEvents = {},
  ): Promise<RunningProgram> {
    await (this.attached ??= this.attach());
    const channel = this.threads.hearsWords ? null : this.threads.newChannel();
    const image = await this.kernel.startCore(pid, channel?.port1 ?? null);
    if (typeof image === 'number') throw new ErrnoError(image, 'run');
    return this.launch(image, channel?.port2 ?? null, { pid, entry, args, events });
  }

  /** Ends all cores at once; the kernel is gone. @param why For their exit status. */
  close(why: string): void {
    this.isOver = true;
    this.markOver();
    for (const serial of this.cores.keys()) this.end(serial, why);
    this.port?.close();
  }

  private launch(image: CoreImage, bell: MessagePort | null, program: Program): RunningProgram {
    const { pid, entry, args, events } = program;
    const { slot, serial } = image;
    const core = this.hosted(serial);
    this.lastSerial = Math.max(this.lastSerial, serial);
    const map = ControlMap.attach(image.control, image.ringCapacity);
    const heard = map.block(slot) + CORE_HEARD;
    const lock = `webhmm-core-${crypto.randomUUID()}`;
    let last: ExitStatus | null = null;
    let settle: (status: ExitStatus) => void = () => undefined;
    const exited = new Promise<ExitStatus>((resolve) => (settle = resolve));
    const hear = (message: CoreMessage): void => {
      if (message.kind === 'output') {
        Atomics.add(map.words, heard, 1);
        Atomics.notify(map.words, heard);
        events.onOutput?.(message.text, pid);
      } else if (message.kind === 'spawn') void this.spawn(message, entry, events);
      else if (message.kind === 'exit') {
        last = { status: message.status, signal: message.signal, message: message.message };
        core.thread?.terminate();
      }
    };
    const onDead = (why: string): void => {
      this.cores.delete(serial);
      const message = core.why === '' ? why : core.why;
      const died = { status: -1, signal: 'SIGKILL', message };
      // A program that was told to end says so itself, but not why.
      const isDone = last !== null && !(last.signal === 'SIGKILL' && core.why !== '');
      void this.bury(image).then(() => settle(isDone ? last! : died));
    };
    try {
      core.thread = this.threads.start({ image, entry, args, bell, lock }, hear, onDead);
    } catch (error) {
      // Arguments that can't be sent to another thread, or no thread to be had.
      onDead(String(error));
      throw error;
    }
    if (core.why !== '') core.thread.terminate();
    return handle(pid, slot, exited, () => this.kill(image));
  }

  private kill({ slot, serial }: CoreImage): void {
    if (!this.cores.has(serial)) return;
    // A thread that leaves by itself is gone sooner: Chromium lets a busy one run for seconds.
    void this.kernel.signalCore(slot, SIGKILL);
    this.end(serial, 'killed');
  }

  private hosted(serial: number): HostedCore {
    let core = this.cores.get(serial);
    if (core === undefined) this.cores.set(serial, (core = { thread: null, why: '' }));
    return core;
  }

  private end(serial: number, why: string): void {
    const core = this.cores.get(serial);
    if (core === undefined) return;
    if (core.why === '') core.why = why;
    core.thread?.terminate();
  }

  /** The kernel wants a core to end, perhaps one that it has just made and we have not heard of. */
  private obey({ end, why }: HostRequest): void {
    if (end > this.lastSerial) this.hosted(end);
    this.end(end, why);
  }

  /** The thread is gone: nobody has to wait for it any more. */
  private async bury(image: CoreImage): Promise<void> {
    const map = ControlMap.attach(image.control, image.ringCapacity);
    markCoreDead(
      atomicsOf(() => performance.now()),
      map.words,
      map.block(image.slot),
    );
    if (this.isOver) return;
    const status = await Promise.race([this.kernel.endCore(image.slot), this.over]);
    if (isErr(status) && status !== errno.EINVAL) throw new ErrnoError(status, 'endCore');
  }

  private async spawn(
    message: Extract<CoreMessage, { kind: 'spawn' }>,
    base: string,
    events: ProgramEvents,
  ): Promise<void> {
    const { pid } = message;
    let child: RunningProgram;
    try {
      child = await this.run(pid, new URL(message.entry, base).href, message.args, events);
    } catch (error) {
      if (this.isOver) return;
      child = neverStarted(pid, `the child did not start: ${String(error)}`);
    }
    events.onSpawn?.(child);
    await child.exited;
    // Nobody holds the child but its program.
    if (!this.isOver) await Promise.race([this.kernel.exit(pid), this.over]);
  }

  private async attach(): Promise<void> {
    const { port1, port2 } = this.threads.newChannel();
    this.port = port2;
    port2.onmessage = ({ data }: MessageEvent<HostRequest>) => this.obey(data);
    await this.kernel.attachHost(port1);
  }
}

/** What stands for a program that there was no core for. */
function neverStarted(pid: number, message: string): RunningProgram {
  const exited = Promise.resolve({ status: -1, signal: '', message } as const);
  return handle(pid, -1, exited, () => undefined);
}

function handle(
  pid: number,
  slot: number,
  exited: Promise<ExitStatus>,
  kill: () => void,
): RunningProgram {
  const dispose = async (): Promise<void> => {
    kill();
    await exited;
  };
  return { pid, slot, exited, kill, [Symbol.asyncDispose]: dispose };
}
