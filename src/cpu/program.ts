/**
 * Runs a program on a core: an ES module whose default export is `main(cpu, args)`, synchronous or
 * async. What it prints and how it ended goes to the host as messages.
 */
import type { AtomicsPort } from './atomics-port.ts';
import type { CoreMemory } from './core-memory.ts';
import { CORE_HEARD, CORE_PRINTED } from './control.ts';
import type { CoreImage } from './core.ts';
import { Cpu } from './cpu.ts';
import type { Doorbell } from './doorbell.ts';
import { CoreEnded, CpuSignal } from './signals.ts';

const NO_MAIN =
  'the program has no default export: it needs `export default function main(cpu, args) { ... }`';

/** Lines that a program may be ahead of its host. */
const UNHEARD_LINES = 256;

/** How a program ended. */
export interface ExitStatus {
  /** What `main` returned, 0 where that is no number; -1 when it did not return. */
  readonly status: number;
  /** The signal that ended it, '' when none did. */
  readonly signal: string;
  /** What went wrong, with address and cause; '' when nothing did. */
  readonly message: string;
}

/** What a core tells its host. */
export type CoreMessage =
  | { readonly kind: 'output'; readonly text: string }
  /** A child process is there and wants a core of its own. */
  | { readonly kind: 'spawn'; readonly pid: number; readonly entry: string; readonly args: unknown }
  /** Whether something can be sent. */
  | { readonly kind: 'trial'; readonly args: unknown }
  | ({ readonly kind: 'exit' } & ExitStatus);

/** What a program's module exports. */
export type ProgramMain = (cpu: ProgramCpu, args: unknown) => unknown;

/** The CPU as a program has it. */
export class ProgramCpu extends Cpu {
  private readonly send: (message: CoreMessage) => void;

  constructor(
    image: CoreImage,
    port: AtomicsPort,
    bell: Doorbell,
    send: (message: CoreMessage) => void,
    memory?: CoreMemory,
  ) {
    super(image, port, bell, memory);
    this.send = send;
  }

  /** Number of this core in its machine, from 0. */
  get core(): number {
    return this.image.slot;
  }

  /** Prints a line. Waits, parked, while the host has not heard of many before. */
  print(...values: readonly unknown[]): void {
    this.stopIfEnding();
    const { port, control, image } = this;
    const { words } = control;
    const block = control.block(image.slot);
    const lines = (port.load(words, block + CORE_PRINTED) + 1) | 0;
    port.store(words, block + CORE_PRINTED, lines);
    for (;;) {
      const heard = port.load(words, block + CORE_HEARD);
      if (((lines - heard) | 0) <= UNHEARD_LINES) break;
      this.parked(() => port.wait(words, block + CORE_HEARD, heard, Infinity));
    }
    this.send({ kind: 'output', text: values.map(String).join(' ') });
  }

  /**
   * Copies this address space, as fork does, and starts `entry` (a module's URL, relative to this
   * program's) in it on a core of its own. @returns the child's pid. Throws SyscallError (EAGAIN
   * when there is no core, ENOMEM), TypeError when `entry` is neither text nor a URL.
   */
  fork(entry: string | { readonly href: string }, args: unknown = null): number {
    // Programs are JavaScript: without this, nothing at all is a module named 'undefined'.
    const url: unknown = typeof entry === 'string' ? entry : (entry as typeof entry | null)?.href;
    if (typeof url !== 'string' || url === '')
      throw new TypeError("fork takes a module's URL, as './child.js'");
    // What can't be sent is to be refused before there is a child.
    this.send({ kind: 'trial', args });
    const pid = this.syscall('fork') as number;
    this.send({ kind: 'spawn', pid, entry: url, args });
    return pid;
  }
}

/**
 * Runs the program to its end. Afterwards the core is parked for good.
 *
 * @param load Imports the module. @param send Takes messages to the host.
 */
export async function runProgram(
  cpu: ProgramCpu,
  load: () => Promise<unknown>,
  args: unknown,
): Promise<ExitStatus> {
  try {
    const module = (await load()) as { default?: unknown };
    const main = module.default;
    if (typeof main !== 'function') {
      return failed('', NO_MAIN);
    }
    cpu.resume();
    const result: unknown = await (main as ProgramMain)(cpu, args);
    return { status: typeof result === 'number' ? result : 0, signal: '', message: '' };
  } catch (error) {
    if (error instanceof CpuSignal) return failed(error.signal, error.message);
    if (error instanceof CoreEnded) return failed('SIGKILL', error.message);
    return failed('', describe(error));
  } finally {
    cpu.gate.park();
  }
}

/** What was thrown, in words; programs throw anything, also what can't be looked at. */
function describe(error: unknown): string {
  try {
    const text = String(error instanceof Error ? (error.stack ?? error.message) : error);
    // Node's own frames below a failed import say nothing about the program.
    return text.replaceAll(/\n +at [^\n]*\bnode:internal\/[^\n]*/g, '');
  } catch {
    return 'the program threw something that can not be shown';
  }
}

function failed(signal: string, message: string): ExitStatus {
  return { status: -1, signal, message };
}
