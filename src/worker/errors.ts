/**
 * The exceptions of the facade. Inside, failures are numbers; here they become what a JavaScript
 * caller expects, in the shape of Node's system errors.
 */
import { errno, errnoName, isErr } from '../base/errno.ts';
import type { OpenFailure } from './protocol.ts';

/** A system call failed. */
export class ErrnoError extends Error {
  override readonly name = 'ErrnoError';
  /** Negative errno. */
  readonly errno: number;
  /** "EINVAL". */
  readonly code: string;
  /** The call that failed, under its kernel name. */
  readonly syscall: string;

  /** @param detail What else is known, for the message. */
  constructor(value: number, syscall: string, detail = '') {
    super(`${errnoName(value)}: ${syscall}${detail === '' ? '' : ` (${detail})`}`);
    this.errno = value;
    this.code = errnoName(value);
    this.syscall = syscall;
  }
}

/** A memory access that Linux would answer with a signal. */
export class SignalError extends Error {
  override readonly name = 'SignalError';
  /** SIGSEGV: not mapped, or not with that permission. SIGBUS: the contents are lost. */
  readonly signal: 'SIGSEGV' | 'SIGBUS';
  /** Address of the failing access. */
  readonly address: number;
  /** What was tried. */
  readonly access: 'read' | 'write';

  constructor(signal: 'SIGSEGV' | 'SIGBUS', address: number, access: 'read' | 'write') {
    super(`${signal}: ${access} at 0x${address.toString(16)}`);
    this.signal = signal;
    this.address = address;
    this.access = access;
  }
}

/** A machine could not be opened; the message names cause and remedy. */
export class OpenError extends Error {
  override readonly name = 'OpenError';
  /** Negative errno. */
  readonly errno: number;
  /** What is wrong. */
  readonly reason: string;
  /** What to do about it. */
  readonly remedy: string;

  constructor(failure: OpenFailure) {
    super(`${failure.cause.replace(/\.$/, '')}; ${failure.remedy}`);
    this.errno = failure.errno;
    this.reason = failure.cause;
    this.remedy = failure.remedy;
  }
}

/** Why a machine is gone. */
export type MachineEnd = 'panic' | 'died' | 'closed';

/**
 * The machine is gone: what it still had to answer, and every later call, rejects with this. Its
 * programs have ended.
 */
export class MachineError extends Error {
  override readonly name = 'MachineError';
  /**
   * `panic`: the emulator found itself broken, which is our mistake, never the caller's. `died`:
   * the kernel's thread ended or failed. `closed`: `close` was called.
   */
  readonly reason: MachineEnd;

  constructor(reason: MachineEnd, why: string) {
    super(`${BEGINNINGS[reason]}${why === '' ? '' : `: ${why}`}${REMEDIES[reason]}`);
    this.reason = reason;
  }
}

const BEGINNINGS: Readonly<Record<MachineEnd, string>> = {
  panic: 'kernel panic',
  died: 'the kernel worker died',
  closed: 'the machine is closed',
};

const REMEDIES: Readonly<Record<MachineEnd, string>> = {
  panic: '; its memory can not be trusted any more: create another machine',
  died: '; create another machine',
  closed: '',
};

/**
 * @internal Why a call was not answered: arguments that can't be sent to another thread are bad
 * ones like others.
 */
export function reasonOf(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const isUnsendable = error.name === 'DataCloneError';
  return isUnsendable ? new ErrnoError(errno.EINVAL, 'call', error.message) : error;
}

/** @internal A word of a caller without types, for a message. */
export function wordOf(value: unknown): string {
  return typeof value === 'string' ? value : `(${typeof value})`;
}

/** @internal The value of a call, or the exception for its errno. */
export function checked(value: number, syscall: string): number {
  if (isErr(value)) throw new ErrnoError(value, syscall);
  return value;
}

/**
 * @internal Gives something back at the end of a scope. What went by other ways, with its process
 * or its machine, is no failure there.
 */
export async function disposed(
  machine: { readonly isOver: boolean },
  giveBack: () => Promise<void>,
): Promise<void> {
  if (machine.isOver) return;
  try {
    await giveBack();
  } catch (error) {
    const gone = error instanceof ErrnoError && GONE.has(error.errno);
    if (!gone && !(error instanceof MachineError)) throw error;
  }
}

const GONE = new Set<number>([errno.EBADF, errno.ESRCH]);
