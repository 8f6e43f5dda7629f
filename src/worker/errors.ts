/**
 * The exceptions of the facade. Inside, failures are numbers; here they become what a JavaScript
 * caller expects, in the shape of Node's system errors.
 */
import { errnoName } from '../base/errno.ts';
import type { OpenFailure } from './protocol.ts';

/** A system call failed. */
export class ErrnoError extends Error {
  override readonly name = 'ErrnoError';
  /** Negative errno. */
  readonly errno: number;
  /** "EINVAL". */
  readonly code: string;
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
  readonly signal: 'SIGSEGV' | 'SIGBUS';
  /** Address of the failing access. */
  readonly address: number;
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
  readonly errno: number;
  readonly reason: string;
  readonly remedy: string;

  constructor(failure: OpenFailure) {
    super(`${failure.cause}; ${failure.remedy}`);
    this.errno = failure.errno;
    this.reason = failure.cause;
    this.remedy = failure.remedy;
  }
}
