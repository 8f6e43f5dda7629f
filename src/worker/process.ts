/** The facade's handle of a process, beside the others in machine.ts. */
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { SignalError, checked, disposed, ErrnoError } from './errors.ts';
import type { Machine } from './machine.ts';
import { ACCESS_OK, ACCESS_OOM, ACCESS_SIGBUS } from './protocol.ts';
import type { AccessResult, MmapRequest } from './protocol.ts';
import type { GupRequest, ProcessVmRange } from './protocol-gup.ts';
import type { SmapsResult } from './protocol-mm.ts';
import type { ProgramEvents, RunningProgram } from './running-program.ts';
import { TestDevice } from './test-device.ts';
import { UserPages } from './user-pages.ts';
import { Userfaultfd } from './userfaultfd.ts';

/** A process: an address space and what it has open. */
export class Process implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** Number of the process in its machine. */
  readonly pid: number;

  constructor(machine: Machine, pid: number) {
    this.machine = machine;
    this.pid = pid;
  }

  /**
   * Maps memory; private anonymous unless `flags` say otherwise. Returns the address. Throws
   * ErrnoError.
   */
  async mmap(request: MmapRequest): Promise<number> {
    const { machine, pid } = this;
    return checked(await machine.call<number>(machine.api.mmap(pid, request)), 'mmap');
  }

  /** Unmaps [addr, addr + length). Throws ErrnoError (EINVAL). */
  async munmap(addr: number, length: number): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.munmap(pid, addr, length)), 'munmap');
  }

  /**
   * Changes the protection of [addr, addr + length) to PROT_* bits. Throws ErrnoError (EINVAL,
   * ENOMEM).
   */
  async mprotect(addr: number, length: number, prot: number): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.mprotect(pid, addr, length, prot)), 'mprotect');
  }

  /**
   * Changes the size of the mapping at `addr` from `oldLength` to `newLength` bytes, or its place:
   * MREMAP_* `flags` say whether it may, must, and where to. Pages on a device stay there. Returns
   * the address. Throws ErrnoError (EINVAL, EFAULT, ENOMEM, EPERM).
   */
  async mremap(
    addr: number,
    oldLength: number,
    newLength: number,
    flags = 0,
    newAddr = 0,
  ): Promise<number> {
    const { machine, pid } = this;
    const moved = machine.api.mremap(pid, addr, oldLength, newLength, flags, newAddr);
    return checked(await machine.call<number>(moved), 'mremap');
  }

  /**
   * Gives MADV_* advice about [addr, addr + length). Throws ErrnoError (EINVAL, ENOMEM, EAGAIN,
   * EFAULT, EHWPOISON).
   */
  async madvise(addr: number, length: number, advice: number): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.madvise(pid, addr, length, advice)), 'madvise');
  }

  /**
   * A byte for each page of [addr, addr + length): 1 when it can be had without input, as pages on
   * a device can. Throws ErrnoError (EINVAL, ENOMEM where nothing is mapped).
   */
  async mincore(addr: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.mincore(pid, addr, length));
    checked(result.errno, 'mincore');
    return result.vec;
  }

  /**
   * /proc/pid/pagemap of `npages` pages: two words each, the pfn and PM_* bits. A page on a device
   * has PM_SWAP, not PM_PRESENT. Throws ErrnoError (EINVAL, ENOMEM).
   */
  async pagemap(addr: number, npages: number): Promise<Uint32Array<ArrayBuffer>> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.pagemap(pid, addr, npages));
    checked(result.errno, 'pagemap');
    return result.entries;
  }

  /**
   * /proc/pid/smaps: bytes by kind of each mapping, in address order, with its VM_* bits; pages on
   * a device are resident. Throws ErrnoError.
   */
  async smaps(): Promise<SmapsResult['mappings']> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.smaps(pid));
    checked(result.errno, 'smaps');
    return result.mappings;
  }

  /**
   * Clears accessed bits, or with CLEAR_REFS_SOFT_DIRTY what counts as written: PM_SOFT_DIRTY then
   * shows the pages that the CPU writes from now on. Throws ErrnoError (EINVAL).
   */
  async clearRefs(type: number): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.clearRefs(pid, type)), 'clear_refs');
  }

  /**
   * Does what the OOM reaper does to its victim: private memory goes, on devices, too, and what is
   * missing is SIGBUS from now on. Throws ErrnoError (EAGAIN when it could not have all).
   */
  async oomReap(): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.oomReap(pid)), 'oom_reap');
  }

  /** Loads `length` bytes, faulting pages in as needed. Throws SignalError, ErrnoError. */
  async read(addr: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.read(pid, addr, length));
    checkAccess(result, 'read');
    return result.bytes;
  }

  /** Stores `bytes`, faulting pages in as needed. Throws SignalError, ErrnoError. */
  async write(addr: number, bytes: Uint8Array): Promise<void> {
    const { machine, pid } = this;
    checkAccess(await machine.call(machine.api.write(pid, addr, bytes)), 'write');
  }

  /** One access at `addr` that moves no data: the page is there afterwards. Throws SignalError. */
  async touch(addr: number, access: 'read' | 'write' = 'read'): Promise<void> {
    const { machine, pid } = this;
    checkAccess(await machine.call(machine.api.touch(pid, addr, access)), access);
  }

  /**
   * Breaks the RAM page at `addr`, as MADV_HWPOISON does: every access is SIGBUS from then on.
   * Throws ErrnoError (EINVAL, EFAULT, EBUSY for the zero page, EHWPOISON when it is broken).
   */
  async poison(addr: number): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.poison(pid, addr)), 'madvise');
  }

  /** PAGE_* code of each page, without faulting anything in. Throws ErrnoError (EINVAL). */
  async pageMap(addr: number, npages: number): Promise<Uint8Array<ArrayBuffer>> {
    const { machine, pid } = this;
    const { errno: status, codes } = await machine.call(machine.api.pageMap(pid, addr, npages));
    checked(status, 'pageMap');
    return codes;
  }

  /**
   * A copy of this process, sharing its private pages copy-on-write. Throws ErrnoError (ENOMEM).
   */
  async fork(): Promise<Process> {
    const { machine, pid } = this;
    return new Process(machine, checked(await machine.call<number>(machine.api.fork(pid)), 'fork'));
  }

  /**
   * Opens a userfaultfd for this process, with UFFD_FEATURE_* bits. Throws ErrnoError (EINVAL for
   * features that we lack).
   */
  async userfaultfd(features = 0): Promise<Userfaultfd> {
    const { machine, pid } = this;
    const fd = await machine.call<number>(machine.api.userfaultfd(pid, features));
    return new Userfaultfd(machine, checked(fd, 'userfaultfd'));
  }

  /**
   * Takes references on pages, faulting them in (get_user_pages). `flags` are FOLL_* bits. Throws
   * ErrnoError (EFAULT, ENOMEM, EINVAL) when it gets none.
   */
  getUserPages(addr: number, npages: number, flags = 0): Promise<UserPages> {
    return this.gup({ addr, npages, flags });
  }

  /** getUserPages, first without the mmap lock (get_user_pages_fast). */
  getUserPagesFast(addr: number, npages: number, flags = 0): Promise<UserPages> {
    return this.gup({ addr, npages, flags, fast: true });
  }

  /**
   * Pins pages as I/O does that works on their contents (pin_user_pages); FOLL_LONGTERM for long.
   * Throws ErrnoError (EFAULT, ENOMEM, EINVAL, EBUSY) when it gets none.
   */
  pinUserPages(addr: number, npages: number, flags = 0): Promise<UserPages> {
    return this.gup({ addr, npages, flags, pin: true });
  }

  /** pinUserPages, first without the mmap lock (pin_user_pages_fast). */
  pinUserPagesFast(addr: number, npages: number, flags = 0): Promise<UserPages> {
    return this.gup({ addr, npages, flags, pin: true, fast: true });
  }

  private async gup(request: GupRequest): Promise<UserPages> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.gup(pid, request));
    checked(result.errno, 'get_user_pages');
    return new UserPages(machine, result.handle, result.npages);
  }

  /**
   * Copies from another process's memory to this one's (process_vm_readv). Returns bytes copied,
   * fewer where a side ends. Throws ErrnoError (EFAULT, EINVAL, ESRCH).
   */
  async processVmReadv(remote: Process, range: ProcessVmRange): Promise<number> {
    const { machine, pid } = this;
    const copied = machine.api.processVmReadv(pid, this.pidOf(remote), range);
    return checked(await machine.call<number>(copied), 'process_vm_readv');
  }

  /** Copies from this process's memory to another one's (process_vm_writev). */
  async processVmWritev(remote: Process, range: ProcessVmRange): Promise<number> {
    const { machine, pid } = this;
    const copied = machine.api.processVmWritev(pid, this.pidOf(remote), range);
    return checked(await machine.call<number>(copied), 'process_vm_writev');
  }

  /** Number of a process of this machine; of anything else, one that nobody has. */
  private pidOf(process: unknown): number {
    return process instanceof Process && process.machine === this.machine ? process.pid : -1;
  }

  /**
   * What a debugger reads of this process (/proc/pid/mem): up to `length` bytes, fewer where
   * memory ends. Throws ErrnoError (EIO when there is none, EINVAL, ENOMEM).
   */
  async procMemRead(addr: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const { machine, pid } = this;
    const result = await machine.call(machine.api.procMemRead(pid, addr, length));
    checked(result.errno, 'read of /proc/pid/mem');
    return result.bytes;
  }

  /** Writes as a debugger, where the process could; returns bytes written. Throws ErrnoError. */
  async procMemWrite(addr: number, bytes: Uint8Array): Promise<number> {
    const { machine, pid } = this;
    const written = machine.api.procMemWrite(pid, addr, bytes);
    return checked(await machine.call<number>(written), 'write to /proc/pid/mem');
  }

  /** Opens test device `minor`. Throws ErrnoError (ENXIO when there is no such device). */
  async openDevice(minor: number): Promise<TestDevice> {
    const { machine, pid } = this;
    const fd = checked(await machine.call<number>(machine.api.openDevice(pid, minor)), 'open');
    return new TestDevice(machine, fd);
  }

  /**
   * Runs a program on a CPU core of this process: an ES module with `export default main(cpu,
   * args)`. Several may run at the same time. Throws ErrnoError (EAGAIN when there are 64 cores,
   * EINVAL for arguments that can't be sent, EOPNOTSUPP for a machine without a kernel worker).
   *
   * @param entry Absolute URL of the module.
   */
  async run(
    entry: string | URL,
    args: unknown = null,
    events: ProgramEvents = {},
  ): Promise<RunningProgram> {
    const isEntry = typeof entry === 'string' || (isRecord(entry) && 'href' in entry);
    if (!isEntry) throw new ErrnoError(errno.EINVAL, 'run', 'entry is a URL');
    return this.machine.runProgram(this.pid, String(entry), args, events);
  }

  /** Ends the process: its programs end, devices are closed, memory is unmapped. */
  async exit(): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.exit(pid)), 'exit');
  }

  /** Ends the process, unless it has ended. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.exit());
  }
}

function checkAccess(result: AccessResult, access: 'read' | 'write'): void {
  checked(result.errno, access);
  if (result.outcome === ACCESS_OK) return;
  if (result.outcome === ACCESS_OOM) throw new ErrnoError(errno.ENOMEM, access);
  const signal = result.outcome === ACCESS_SIGBUS ? 'SIGBUS' : 'SIGSEGV';
  throw new SignalError(signal, result.address, access);
}
