/** The facade's handle of pages that were taken by frame, beside the others in machine.ts. */
import { isErr } from '../base/errno.ts';
import { ErrnoError, disposed } from './errors.ts';
import type { Machine } from './machine.ts';

/**
 * Pages of a process that somebody holds by reference or pin, as a driver in the middle of I/O
 * does. They stay what they are, whatever the process does, until they are given back by `release`
 * or `await using`.
 */
export class UserPages implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** Number of the hold in its machine. */
  readonly handle: number;
  /** Pages taken, which may be fewer than asked for. */
  readonly npages: number;

  constructor(machine: Machine, handle: number, npages: number) {
    this.machine = machine;
    this.handle = handle;
    this.npages = npages;
  }

  /** Gives the pages back. Throws ErrnoError (EBADF) the second time. */
  async release(): Promise<void> {
    const status = await this.machine.call<number>(this.machine.api.gupRelease(this.handle));
    if (isErr(status)) throw new ErrnoError(status, 'release of user pages');
  }

  /** Does that, unless it was done. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.release());
  }
}
