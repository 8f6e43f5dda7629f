/** The facade's handle of a program on a CPU core, and what the program tells. */
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import type { ExitStatus } from '../cpu/program.ts';

/** A program that runs on a core. Disposing of it ends it, and waits until it is gone. */
export interface RunningProgram extends AsyncDisposable {
  /** Its process. */
  readonly pid: number;
  /** Number of its core in the machine, from 0. */
  readonly slot: number;
  /** Resolves when the program has ended and its core is gone. */
  readonly exited: Promise<ExitStatus>;
  /** Ends it at once. */
  kill(): void;
}

/** What a program says while it runs. */
export interface ProgramEvents {
  /** A line that it, or a child of its, printed. */
  readonly onOutput?: (text: string, pid: number) => void;
  /** A child has been started on a core of its own. */
  readonly onSpawn?: (child: RunningProgram) => void;
}

/** @internal Callers without types: 0 if these can be told of a program, EFAULT, EINVAL. */
export function wrongEvents(events: unknown): number {
  if (!isRecord(events)) return errno.EFAULT;
  const { onOutput, onSpawn } = events as Record<keyof ProgramEvents, unknown>;
  const canCall = (one: unknown): boolean => one === undefined || typeof one === 'function';
  return canCall(onOutput) && canCall(onSpawn) ? 0 : errno.EINVAL;
}
