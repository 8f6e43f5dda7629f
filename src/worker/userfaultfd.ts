/** The facade's handle of a userfaultfd. */
import { errno, isErr } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import {
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
} from '../mm/userfaultfd-register.ts';
import { ErrnoError, disposed } from './errors.ts';
import type { Machine } from './machine.ts';
import type { UffdMsg, UffdOp, UffdRequest } from './protocol-uffd.ts';

/** Which faults of a range a monitor wants. */
export interface UffdModes {
  /** Faults on pages that are not there. */
  readonly missing?: boolean;
  /** Stores to pages that are write-protected. */
  readonly writeProtect?: boolean;
}

/** An open userfaultfd: it reads the faults of registered ranges, and resolves them. */
export class Userfaultfd implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** Descriptor. */
  readonly fd: number;

  constructor(machine: Machine, fd: number) {
    this.machine = machine;
    this.fd = fd;
  }

  /** The next message; waits for it. Throws ErrnoError (EBADF) when it is closed meanwhile. */
  async read(): Promise<UffdMsg> {
    const { machine, fd } = this;
    const { errno: status, msg } = await machine.call(machine.api.uffdRead(fd, false));
    if (msg === null) throw new ErrnoError(status, 'read');
    return msg;
  }

  /** The next message, null when there is none now. Throws ErrnoError (EBADF). */
  async poll(): Promise<UffdMsg | null> {
    const { machine, fd } = this;
    const { errno: status, msg } = await machine.call(machine.api.uffdRead(fd, true));
    if (isErr(status) && status !== errno.EAGAIN) throw new ErrnoError(status, 'read');
    return msg;
  }

  /** Runs an ioctl. What it answers, or an errno. */
  tryIoctl(request: UffdRequest): Promise<number> {
    const { machine, fd } = this;
    return machine.call(machine.api.uffdIoctl(fd, request));
  }

  /**
   * Registers [start, start + length); missing pages by default. Returns a bit per allowed ioctl.
   * Throws ErrnoError (EINVAL, EBUSY, ENOMEM).
   */
  async register(
    start: number,
    length: number,
    modes: UffdModes = { missing: true },
  ): Promise<number> {
    if (!isRecord(modes)) throw new ErrnoError(errno.EFAULT, 'ioctl UFFDIO_REGISTER');
    const mode =
      (modes.missing === true ? UFFDIO_REGISTER_MODE_MISSING : 0) |
      (modes.writeProtect === true ? UFFDIO_REGISTER_MODE_WP : 0);
    return this.ioctl('REGISTER', { start, length, mode });
  }

  /** Ends the registration of a range. Throws ErrnoError (EINVAL, ENOMEM). */
  async unregister(start: number, length: number): Promise<void> {
    await this.ioctl('UNREGISTER', { start, length });
  }

  /**
   * Fills missing pages with the bytes at `src` of the same process, and wakes who waits there.
   * Returns bytes copied. Throws ErrnoError (EINVAL, ENOENT, EEXIST, EFAULT, ENOMEM).
   */
  copy(dst: number, src: number, length: number, mode = 0): Promise<number> {
    return this.ioctl('COPY', { start: dst, src, length, mode });
  }

  /** Fills missing pages with zeroes. Returns bytes filled. Throws ErrnoError as `copy`. */
  zeropage(start: number, length: number, mode = 0): Promise<number> {
    return this.ioctl('ZEROPAGE', { start, length, mode });
  }

  /** Makes missing pages SIGBUS for good. Returns bytes covered. Throws ErrnoError as `copy`. */
  poison(start: number, length: number, mode = 0): Promise<number> {
    return this.ioctl('POISON', { start, length, mode });
  }

  /** Lets the faults of a range try again. Throws ErrnoError (EINVAL). */
  async wake(start: number, length: number): Promise<void> {
    await this.ioctl('WAKE', { start, length });
  }

  /**
   * Write-protects a range, or with `isProtect` false takes that back and wakes who waits there.
   * Throws ErrnoError (EINVAL, ENOENT, ENOMEM).
   */
  async writeprotect(start: number, length: number, isProtect = true): Promise<void> {
    const mode = isProtect ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
    await this.ioctl('WRITEPROTECT', { start, length, mode });
  }

  /** Closes it: its ranges are ordinary memory again. Throws ErrnoError (EBADF). */
  async close(): Promise<void> {
    const { machine, fd } = this;
    const status = await machine.call<number>(machine.api.closeUserfaultfd(fd));
    if (isErr(status)) throw new ErrnoError(status, 'close');
  }

  /** Does that, unless it was done. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.close());
  }

  private async ioctl(op: UffdOp, request: Omit<UffdRequest, 'op'>): Promise<number> {
    const result = await this.tryIoctl({ op, ...request });
    if (isErr(result)) throw new ErrnoError(result, `ioctl UFFDIO_${op}`);
    return result;
  }
}
