/**
 * What a program sees when the kernel ends or refuses something: exceptions with the address and
 * the kind of access. A program may catch a `CpuSignal`; `CoreEnded` goes through everything.
 */
import { errnoName } from '../base/errno.ts';

/** SIGSEGV: nothing mapped there, or not with that permission. SIGBUS: the contents are lost. */
export type SignalName = 'SIGSEGV' | 'SIGBUS' | 'SIGKILL';

/** Number of SIGKILL, by which a core is ended. */
export const SIGKILL = 9;

/** An access that the program may not make. */
export class CpuSignal extends Error {
  override readonly name: string = 'CpuSignal';
  /** What Linux would send. */
  readonly signal: SignalName;
  /** First byte that could not be reached. */
  readonly address: number;
  /** What was tried. */
  readonly access: 'read' | 'write';

  constructor(signal: SignalName, address: number, access: 'read' | 'write', why: string) {
    super(`${signal}: ${access} at 0x${address.toString(16)}: ${why}`);
    this.signal = signal;
    this.address = address;
    this.access = access;
  }
}

/** A system call that failed. */
export class SyscallError extends Error {
  override readonly name: string = 'SyscallError';
  readonly errno: number;
  /** The call that failed. */
  readonly call: string;

  constructor(call: string, code: number) {
    super(`${call}: ${errnoName(code)}`);
    this.errno = code;
    this.call = call;
  }
}

/** Thrown to unwind a program that was told to end. Programs don't catch it for good. */
export class CoreEnded extends Error {
  override readonly name: string = 'CoreEnded';
  /** Its number. */
  readonly signal: number;

  constructor(signal: number) {
    super(`ended by signal ${signal}`);
    this.signal = signal;
  }
}
