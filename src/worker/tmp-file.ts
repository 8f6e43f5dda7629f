/** The facade's handle of a file, beside the others in machine.ts. */
import { checked, disposed } from './errors.ts';
import type { Machine } from './machine.ts';
import type { FileStat } from './protocol-files.ts';

/**
 * A file without a name, in memory, as `open` with O_TMPFILE makes on tmpfs. Map it with
 * `process.mmap({ fd: file.fd, ... })`, shared or private, in any process of the machine. Dispose
 * of it with `close` or `await using`; what maps it keeps its pages.
 */
export class TmpFile implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** Descriptor, for `mmap`. */
  readonly fd: number;

  constructor(machine: Machine, fd: number) {
    this.machine = machine;
    this.fd = fd;
  }

  /**
   * Reads up to `length` bytes at `offset`, fewer only at the end of the file; holes read as
   * zeroes. Throws ErrnoError (EINVAL, EBADF, ENOMEM).
   */
  async pread(length: number, offset: number): Promise<Uint8Array<ArrayBuffer>> {
    const { machine, fd } = this;
    const result = await machine.call(machine.api.pread(fd, length, offset));
    checked(result.errno, 'pread');
    return result.bytes;
  }

  /**
   * Writes bytes at `offset`, growing the file as needed. Returns bytes written, fewer when memory
   * ran out on the way. Throws ErrnoError (EINVAL, EFBIG, EBADF, ENOMEM).
   */
  async pwrite(bytes: Uint8Array, offset: number): Promise<number> {
    const { machine, fd } = this;
    return checked(await machine.call<number>(machine.api.pwrite(fd, bytes, offset)), 'pwrite');
  }

  /**
   * Changes the size. Pages beyond it go from every mapping, private copies too, on a device or
   * not: accesses there are SIGBUS. Throws ErrnoError (EINVAL, EBADF).
   */
  async ftruncate(length: number): Promise<void> {
    const { machine, fd } = this;
    checked(await machine.call<number>(machine.api.ftruncate(fd, length)), 'ftruncate');
  }

  /**
   * Mode 0 makes the pages of the range, FALLOC_FL_KEEP_SIZE without growing the file,
   * FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE makes a hole. Throws ErrnoError (EOPNOTSUPP, EINVAL,
   * EFBIG, EBADF, ENOMEM).
   */
  async fallocate(mode: number, offset: number, length: number): Promise<void> {
    const { machine, fd } = this;
    const status = await machine.call<number>(machine.api.fallocate(fd, mode, offset, length));
    checked(status, 'fallocate');
  }

  /** Size in bytes and memory in use in units of 512 bytes. Throws ErrnoError (EBADF). */
  async fstat(): Promise<FileStat> {
    const { machine, fd } = this;
    const stat = await machine.call(machine.api.fstat(fd));
    checked(stat.errno, 'fstat');
    return stat;
  }

  /** Closes the file. Throws ErrnoError (EBADF) when it is closed already. */
  async close(): Promise<void> {
    checked(await this.machine.call<number>(this.machine.api.closeFile(this.fd)), 'close');
  }

  /** Does that, unless it was done. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.close());
  }
}
