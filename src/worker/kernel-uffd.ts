/**
 * The userfaultfd files of a kernel's processes: descriptors, reads, and the table of ioctls. The
 * work is mm's (userfaultfd.ts, userfaultfd-register.ts).
 */
import { errno } from '../base/errno.ts';
import type { UserfaultfdCtx } from '../mm/fs-userfaultfd.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import {
  userfaultfdCopy,
  userfaultfdCreate,
  userfaultfdPoison,
  userfaultfdRegister,
  userfaultfdRelease,
  userfaultfdUnregister,
  userfaultfdWake,
  userfaultfdWriteprotect,
  userfaultfdZeropage,
} from '../mm/userfaultfd-register.ts';
import type { UffdReadResult, UffdRequest } from './protocol-uffd.ts';

interface UffdFile {
  readonly pid: number;
  readonly ctx: UserfaultfdCtx;
}

export class UffdFiles {
  private readonly files = new Map<number, UffdFile>();
  private readonly nextFd: () => number;

  /** @param nextFd Hands out descriptor numbers. */
  constructor(nextFd: () => number) {
    this.nextFd = nextFd;
  }

  /** Opens one for a process. Its descriptor, or EINVAL for unknown features. */
  open(pid: number, mm: MmStruct, features: number): number {
    const ctx = userfaultfdCreate(mm, features);
    if (typeof ctx === 'number') return ctx;
    const fd = this.nextFd();
    this.files.set(fd, { pid, ctx });
    return fd;
  }

  /** The oldest message; waits for one unless `nonblock`, which is EAGAIN. EBADF once closed. */
  async read(fd: number, nonblock: boolean): Promise<UffdReadResult> {
    const ctx = this.files.get(fd)?.ctx;
    for (;;) {
      if (ctx === undefined || ctx.isClosed) return { errno: errno.EBADF, msg: null };
      const msg = ctx.read();
      if (msg !== null) return { errno: 0, msg };
      if (nonblock) return { errno: errno.EAGAIN, msg: null };
      await ctx.waitForMessage();
    }
  }

  /** One ioctl: what it answers, or an errno; EBADF once closed. */
  async ioctl(fd: number, request: UffdRequest): Promise<number> {
    const ctx = this.files.get(fd)?.ctx;
    if (ctx === undefined || ctx.isClosed) return errno.EBADF;
    // Callers without types: as a pointer that can't be read.
    if (typeof request !== 'object' || (request as unknown) === null) return errno.EFAULT;
    const { start, length, mode = 0 } = request;
    switch (request.op) {
      case 'REGISTER':
        return userfaultfdRegister(ctx, start, length, mode);
      case 'UNREGISTER':
        return userfaultfdUnregister(ctx, start, length);
      case 'WAKE':
        return userfaultfdWake(ctx, start, length);
      case 'COPY':
        return userfaultfdCopy(ctx, start, request.src ?? -1, length, mode);
      case 'ZEROPAGE':
        return userfaultfdZeropage(ctx, start, length, mode);
      case 'POISON':
        return userfaultfdPoison(ctx, start, length, mode);
      case 'WRITEPROTECT':
        return userfaultfdWriteprotect(ctx, start, length, mode);
      default:
        return errno.EINVAL;
    }
  }

  /** Closes a file: who waits goes on. 0 or EBADF. */
  async close(fd: number): Promise<number> {
    const file = this.files.get(fd);
    if (file === undefined) return errno.EBADF;
    this.files.delete(fd);
    await userfaultfdRelease(file.ctx);
    return 0;
  }

  /** Closes all files of a process that ends. */
  async closeAll(pid: number): Promise<void> {
    for (const [fd, file] of this.files) {
      if (file.pid === pid) await this.close(fd);
    }
  }
}
