/**
 * The facade's objects: thin handles over `KernelApi` that turn numbers into exceptions. The same
 * classes serve a kernel in this thread and one behind Comlink: an awaited plain value is a plain
 * value.
 */
import { errno, isErr } from '../base/errno.ts';
import type { StrategyName } from '../engine/copy-engine.ts';
import type { CoreHost, ProgramEvents, RunningProgram as Program } from './core-host.ts';
import { ErrnoError, SignalError } from './errors.ts';
import type { Kernel } from './kernel.ts';
import { UserPages } from './user-pages.ts';
import { Userfaultfd } from './userfaultfd.ts';
import { ACCESS_OK, ACCESS_OOM, ACCESS_SIGBUS } from './protocol.ts';
import type { SmapsResult } from './protocol-mm.ts';
import type {
  AccessResult,
  Counters,
  DmirrorCommand,
  DmirrorRequest,
  DmirrorResult,
  KernelApi,
  MachineReport,
  MmapRequest,
} from './protocol.ts';
import type { GupRequest, ProcessVmRange } from './protocol-gup.ts';
import { TmpFile } from './tmp-file.ts';

/** `KernelApi` as seen from any thread: every call may have to wait. */
export type AsyncKernel = {
  [K in keyof KernelApi]: (
    ...args: Parameters<KernelApi[K]>
  ) => Promise<Awaited<ReturnType<KernelApi[K]>>> | ReturnType<KernelApi[K]>;
};

/** How a machine reaches its kernel, and what has to be cleaned up with it. */
export interface KernelLink {
  readonly api: AsyncKernel;
  /** Rejects when the kernel died, never resolves. */
  readonly died: Promise<never>;
  /** Ends the thread that the kernel lives in. */
  readonly dispose: () => void;
  /** Starts CPU cores; null where the kernel has no thread of its own, and for lack of threads. */
  readonly cores?: CoreHost | null;
}

/** A shared memory object that several mappings and processes can share. */
export interface Shmem {
  readonly id: number;
  /** Bytes. */
  readonly length: number;
}

/** An emulated machine: RAM, devices, processes. Dispose of it with `close` or `await using`. */
export class Machine implements AsyncDisposable {
  /** What was built: engine, adapter, sizes. */
  readonly report: MachineReport;
  private readonly link: KernelLink;
  private closing: Promise<void> | null = null;
  /** How to reject the calls in progress, for when the kernel dies. */
  private readonly pending = new Set<(death: Error) => void>();
  private death: Error | null = null;

  constructor(link: KernelLink, report: MachineReport) {
    this.link = link;
    this.report = report;
    link.died.catch((reason: unknown) => {
      this.death = reason instanceof Error ? reason : new Error(String(reason));
      for (const reject of this.pending) reject(this.death);
      this.pending.clear();
    });
  }

  /**
   * @internal Awaits a kernel call, or the kernel's death. Not by Promise.race, which would keep
   * every result for as long as the machine lives.
   */
  call<T>(result: Promise<T> | T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settled = Promise.resolve(result).then(resolve, reject);
      if (this.death !== null) return reject(this.death);
      this.pending.add(reject);
      void settled.then(() => this.pending.delete(reject));
    });
  }

  /** @internal */
  get api(): AsyncKernel {
    return this.link.api;
  }

  /** @internal */
  runProgram(pid: number, entry: string, args: unknown, events: ProgramEvents): Promise<Program> {
    const cores = this.link.cores ?? null;
    if (cores === null) throw new ErrnoError(errno.EOPNOTSUPP, 'run');
    return this.call(cores.run(pid, entry, args, events));
  }

  /** Starts an empty process. Throws ErrnoError (ENOMEM). */
  async spawn(): Promise<Process> {
    const pid = checked(await this.call<number>(this.api.spawn()), 'spawn');
    return new Process(this, pid);
  }

  /** Makes a shared memory object of `length` bytes. Throws ErrnoError (EINVAL, ENOMEM). */
  async shmem(length: number): Promise<Shmem> {
    const id = checked(await this.call<number>(this.api.shmemCreate(length)), 'shmem');
    return { id, length };
  }

  /** Makes a file without a name, `length` bytes of zeroes long. Throws ErrnoError (EINVAL). */
  async tmpfile(length = 0): Promise<TmpFile> {
    return new TmpFile(this, checked(await this.call<number>(this.api.tmpfile(length)), 'tmpfile'));
  }

  /** All counters at this moment. */
  counters(): Promise<Counters> {
    return this.call<Counters>(this.api.counters());
  }

  /**
   * Makes later copies use another strategy. Throws ErrnoError (EINVAL) for one that the engine
   * lacks.
   */
  async setStrategy(strategy: StrategyName): Promise<void> {
    checked(await this.call<number>(this.api.setStrategy(strategy)), 'setStrategy');
  }

  /** Destroys the device as a driver crash would: RAM stays, what lived on the device is lost. */
  async loseDevice(): Promise<void> {
    await this.call<number>(this.api.loseDevice());
  }

  /** Ends all processes, releases the device and the worker; a further call awaits the same. */
  close(): Promise<void> {
    return (this.closing ??= this.shutDown());
  }

  private async shutDown(): Promise<void> {
    try {
      await this.call<void>(this.api.close());
    } finally {
      this.link.cores?.close();
      this.link.dispose();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A machine whose kernel runs in this thread: its insides are at hand for benchmarks. */
export interface LocalMachine extends Machine {
  readonly kernel: Kernel;
}

/** A process: an address space and what it has open. */
export class Process {
  readonly machine: Machine;
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
    const copied = machine.api.processVmReadv(pid, remote.pid, range);
    return checked(await machine.call<number>(copied), 'process_vm_readv');
  }

  /** Copies from this process's memory to another one's (process_vm_writev). */
  async processVmWritev(remote: Process, range: ProcessVmRange): Promise<number> {
    const { machine, pid } = this;
    const copied = machine.api.processVmWritev(pid, remote.pid, range);
    return checked(await machine.call<number>(copied), 'process_vm_writev');
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
   * EOPNOTSUPP for a machine without a kernel worker).
   *
   * @param entry Absolute URL of the module.
   */
  run(entry: string | URL, args: unknown = null, events: ProgramEvents = {}): Promise<Program> {
    return this.machine.runProgram(this.pid, String(entry), args, events);
  }

  /** Ends the process: its programs end, devices are closed, memory is unmapped. */
  async exit(): Promise<void> {
    const { machine, pid } = this;
    checked(await machine.call<number>(machine.api.exit(pid)), 'exit');
  }
}

/** An open test device (/dev/hmm_dmirrorN). */
export class TestDevice implements AsyncDisposable {
  readonly machine: Machine;
  readonly fd: number;

  constructor(machine: Machine, fd: number) {
    this.machine = machine;
    this.fd = fd;
  }

  /**
   * Runs a command. Returns pages done and device fault rounds. Throws ErrnoError, whose message
   * says why a migration left pages behind. MIGRATE_TO_DEV is ENOENT unless all pages of the range
   * are on the device afterwards, as on Linux: those that could go have gone.
   */
  async ioctl(command: DmirrorCommand, request: DmirrorRequest): Promise<DmirrorResult> {
    const result = await this.tryIoctl(command, request);
    if (!isErr(result.errno)) return result;
    const skipped = Object.entries(result.skipped).map(([reason, n]) => `${reason}: ${n}`);
    const detail = skipped.length === 0 ? '' : `left behind: ${skipped.join(', ')}`;
    throw new ErrnoError(result.errno, `ioctl HMM_DMIRROR_${command}`, detail);
  }

  /** Like `ioctl`, with the errno as data, and the pages left behind by reason in `skipped`. */
  tryIoctl(command: DmirrorCommand, request: DmirrorRequest): Promise<DmirrorResult> {
    return this.machine.call(this.machine.api.ioctl(this.fd, command, request));
  }

  /** Closes the device. Throws ErrnoError (EBADF) when it is closed already. */
  async close(): Promise<void> {
    checked(await this.machine.call<number>(this.machine.api.closeDevice(this.fd)), 'close');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function checked(value: number, syscall: string): number {
  if (isErr(value)) throw new ErrnoError(value, syscall);
  return value;
}

function checkAccess(result: AccessResult, access: 'read' | 'write'): void {
  checked(result.errno, access);
  if (result.outcome === ACCESS_OK) return;
  if (result.outcome === ACCESS_OOM) throw new ErrnoError(errno.ENOMEM, access);
  const signal = result.outcome === ACCESS_SIGBUS ? 'SIGBUS' : 'SIGSEGV';
  throw new SignalError(signal, result.address, access);
}
