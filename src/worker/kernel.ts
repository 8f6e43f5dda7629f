/**
 * The kernel of one machine: it puts mm, driver and copy engine together and answers the control
 * plane (protocol.ts). Everything runs in the thread that made it; that thread is the single writer
 * of page tables and page state.
 *
 * Bad arguments are answered with the kernel's errno and change nothing. A process that exits
 * closes its devices.
 */
import { errno, isErr } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import type { CoreImage } from '../cpu/core.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { DriverContext } from '../driver/dmirror-device.ts';
import {
  Dmirror,
  HMM_DMIRROR_CHECK_EXCLUSIVE,
  HMM_DMIRROR_EXCLUSIVE,
  HMM_DMIRROR_FLAGS,
  HMM_DMIRROR_MIGRATE_TO_DEV,
  HMM_DMIRROR_MIGRATE_TO_SYS,
  HMM_DMIRROR_READ,
  HMM_DMIRROR_READ_UNLOCKED,
  HMM_DMIRROR_RELEASE,
  HMM_DMIRROR_SNAPSHOT,
  HMM_DMIRROR_WRITE,
  WEBHMM_DMIRROR_ADD,
  newDmirrorCmd,
} from '../driver/dmirror.ts';
import { dmirrorMmap } from '../driver/dmirror-mmap.ts';
import { resumeDevice, suspendDevice, wakeForGood } from '../driver/suspend.ts';
import { dupMmap, mmAlloc, mmput } from '../mm/fork.ts';
import { doMmap, doMunmap } from '../mm/mmap.ts';
import { madviseHwpoison } from '../mm/memory-failure.ts';
import { doMprotect } from '../mm/mprotect.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE } from '../mm/mm-types.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import { KernelCores } from './kernel-cores.ts';
import type { Syscall } from './kernel-cores.ts';
import { mapOfPages, readMemory, touchMemory, writeMemory } from './kernel-access.ts';
import { runSyscall } from './kernel-syscalls.ts';
import { KernelFiles } from './kernel-files.ts';
import { KernelGup } from './kernel-gup.ts';
import { KernelMemory } from './kernel-mm-calls.ts';
import { KernelLaunches } from './kernel-launch.ts';
import { allCounters, failedCommand, skippedByName } from './kernel-results.ts';
import { KernelTrace } from './kernel-trace.ts';
import { UffdFiles } from './kernel-uffd.ts';
import type { GupRequest, GupResult, ProcMemResult, ProcessVmRange } from './protocol-gup.ts';
import type { CompileResult, KernelReport } from './protocol-launch.ts';
import type { KernelLaunchRequest, KernelSource } from './protocol-launch.ts';
import type { MincoreResult, PagemapResult, SmapsResult } from './protocol-mm.ts';
import type { TraceRequest } from './protocol-trace.ts';
import type { UffdReadResult, UffdRequest } from './protocol-uffd.ts';
import type {
  AccessResult,
  Counters,
  DmirrorCommand,
  DmirrorRequest,
  DmirrorResult,
  KernelApi,
  MachineReport,
  MmapRequest,
  PageMapResult,
  ReadResult,
} from './protocol.ts';
import type { VmEngines } from './vm-engines.ts';
import type { FileReadResult, FileStat } from './protocol-files.ts';

const COMMAND_NUMBERS: Readonly<Record<DmirrorCommand, number>> = {
  READ: HMM_DMIRROR_READ,
  WRITE: HMM_DMIRROR_WRITE,
  MIGRATE_TO_DEV: HMM_DMIRROR_MIGRATE_TO_DEV,
  MIGRATE_TO_SYS: HMM_DMIRROR_MIGRATE_TO_SYS,
  SNAPSHOT: HMM_DMIRROR_SNAPSHOT,
  EXCLUSIVE: HMM_DMIRROR_EXCLUSIVE,
  CHECK_EXCLUSIVE: HMM_DMIRROR_CHECK_EXCLUSIVE,
  RELEASE: HMM_DMIRROR_RELEASE,
  FLAGS: HMM_DMIRROR_FLAGS,
  READ_UNLOCKED: HMM_DMIRROR_READ_UNLOCKED,
  ADD: WEBHMM_DMIRROR_ADD,
};

interface OpenFile {
  readonly pid: number;
  readonly mirror: Dmirror;
}

/** The parts of a machine, as boot.ts made them. */
export interface KernelParts {
  readonly sys: System;
  readonly engine: CopyEngine;
  readonly context: DriverContext;
  readonly devices: readonly DmirrorDevice[];
  readonly report: MachineReport;
  /** Where kernels over virtual memory run. */
  readonly vmEngines: VmEngines;
}

export class Kernel implements KernelApi {
  readonly sys: System;
  readonly engine: CopyEngine;
  readonly devices: readonly DmirrorDevice[];
  private readonly context: DriverContext;
  private readonly machineReport: MachineReport;
  private readonly processes = new Map<number, MmStruct>();
  private readonly files = new Map<number, OpenFile>();
  /** Processes that have left `processes` and still have something to give back. */
  private readonly exits = new Set<Promise<void>>();
  private readonly tmpfiles: KernelFiles;
  private readonly userPages: KernelGup;
  private readonly memory = new KernelMemory(this.processes);
  private readonly uffds = new UffdFiles(() => this.nextFd++);
  private readonly cores: KernelCores;
  private readonly trace: KernelTrace;
  private readonly launches: KernelLaunches;
  private nextPid = 1;
  private nextFd = 3;

  constructor(parts: KernelParts) {
    this.sys = parts.sys;
    this.engine = parts.engine;
    this.context = parts.context;
    this.devices = parts.devices;
    this.machineReport = parts.report;
    this.userPages = new KernelGup(parts.sys);
    this.tmpfiles = new KernelFiles(parts.sys, () => this.nextFd++);
    this.trace = new KernelTrace(parts.sys, parts.devices);
    this.launches = new KernelLaunches(parts.sys, parts.vmEngines);
    const syscall: Syscall = (pid, call, args) => runSyscall(this, pid, call, args);
    this.cores = new KernelCores(parts.sys, syscall, undefined, parts.devices);
  }

  report(): MachineReport {
    return this.machineReport;
  }

  counters(): Counters {
    return allCounters(this.sys, this.engine, this.devices);
  }

  liveCounters(): Float64Array<SharedArrayBuffer> {
    return this.sys.vmstat.counters;
  }

  liveFaultLatency(): SharedArrayBuffer {
    return this.cores.latency.numbers.buffer;
  }

  spawn(): number {
    const mm = mmAlloc(this.sys);
    return typeof mm === 'number' ? mm : this.addProcess(mm);
  }

  async fork(pid: number): Promise<number> {
    const parent = this.processes.get(pid);
    if (parent === undefined) return errno.ESRCH;
    await this.settle(pid);
    const child = await dupMmap(parent);
    return typeof child === 'number' ? child : this.addProcess(child);
  }

  async exit(pid: number): Promise<number> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    this.processes.delete(pid);
    const ending = this.endProcess(pid, mm);
    this.exits.add(ending);
    try {
      await ending;
    } finally {
      this.exits.delete(ending);
    }
    return 0;
  }

  private async endProcess(pid: number, mm: MmStruct): Promise<void> {
    await this.cores.endAll(pid);
    // First of all: device commands may wait for a fault that only a monitor would resolve.
    await this.uffds.closeAll(pid);
    for (const [fd, file] of this.files) {
      if (file.pid === pid) await this.closeDevice(fd);
    }
    await mmput(mm);
  }

  async mmap(pid: number, request: MmapRequest): Promise<number> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    if (!isRecord(request)) return errno.EFAULT;
    const offset = request.offset ?? 0;
    if (!isAddress(offset) || !isPageAligned(offset)) return errno.EINVAL;
    const fd = request.fd ?? request.shmem;
    const inode = fd === undefined ? undefined : this.tmpfiles.inode(fd);
    const isDevice = fd !== undefined && this.files.has(fd);
    if (fd !== undefined && inode === undefined && !isDevice) return errno.EBADF;
    return doMmap(mm, {
      addr: request.addr ?? 0,
      length: request.length,
      prot: request.prot,
      flags: request.flags ?? MAP_PRIVATE | MAP_ANONYMOUS,
      ...(inode === undefined ? {} : { inode }),
      ...(isDevice ? { mmapFile: dmirrorMmap } : {}),
      pgoff: offset / PAGE_SIZE,
    });
  }

  async munmap(pid: number, addr: number, length: number): Promise<number> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    await this.settle(pid);
    return doMunmap(mm, addr, length);
  }

  async mprotect(pid: number, addr: number, length: number, prot: number): Promise<number> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    await this.settle(pid);
    return doMprotect(mm, addr, length, prot);
  }

  async mremap(...args: Parameters<KernelMemory['mremap']>): Promise<number> {
    await this.settle(args[0]);
    return this.memory.mremap(...args);
  }

  async madvise(pid: number, addr: number, length: number, advice: number): Promise<number> {
    await this.settle(pid);
    return this.memory.madvise(pid, addr, length, advice);
  }

  mincore(pid: number, addr: number, length: number): Promise<MincoreResult> {
    return this.memory.mincore(pid, addr, length);
  }

  pagemap(pid: number, addr: number, npages: number): Promise<PagemapResult> {
    return this.memory.pagemap(pid, addr, npages);
  }

  smaps(pid: number): Promise<SmapsResult> {
    return this.memory.smaps(pid);
  }

  async clearRefs(pid: number, type: number): Promise<number> {
    await this.settle(pid);
    return this.memory.clearRefs(pid, type);
  }

  oomReap(pid: number): number {
    return this.memory.oomReap(pid);
  }

  shmemCreate(length: number): number {
    return length === 0 ? errno.EINVAL : this.tmpfiles.tmpfile(length);
  }

  tmpfile(length: number): number {
    return this.tmpfiles.tmpfile(length);
  }

  pread(fd: number, length: number, offset: number): FileReadResult {
    return this.tmpfiles.pread(fd, length, offset);
  }

  pwrite(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
    return this.tmpfiles.pwrite(fd, bytes, offset);
  }

  ftruncate(fd: number, length: number): Promise<number> {
    return this.tmpfiles.ftruncate(fd, length);
  }

  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number> {
    return this.tmpfiles.fallocate(fd, mode, offset, length);
  }

  fstat(fd: number): FileStat {
    return this.tmpfiles.fstat(fd);
  }

  closeFile(fd: number): number {
    return this.tmpfiles.closeFile(fd);
  }

  read(pid: number, addr: number, length: number): Promise<ReadResult> {
    return readMemory(this.processes.get(pid), addr, length);
  }

  write(pid: number, addr: number, bytes: Uint8Array): Promise<AccessResult> {
    return writeMemory(this.processes.get(pid), addr, bytes);
  }

  touch(pid: number, addr: number, access: 'read' | 'write'): Promise<AccessResult> {
    return touchMemory(this.processes.get(pid), addr, access);
  }

  async poison(pid: number, addr: number): Promise<number> {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : madviseHwpoison(mm, addr);
  }

  pageMap(pid: number, addr: number, npages: number): PageMapResult {
    return mapOfPages(this.processes.get(pid), this.devices, addr, npages);
  }

  openDevice(pid: number, minor: number): number {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    const device = this.devices.find((one) => one.minor === minor);
    if (device === undefined) return errno.ENXIO;
    const mirror = Dmirror.open(device, mm);
    if (typeof mirror === 'number') return mirror;
    const fd = this.nextFd++;
    this.files.set(fd, { pid, mirror });
    return fd;
  }

  async closeDevice(fd: number): Promise<number> {
    const file = this.files.get(fd);
    if (file === undefined) return errno.EBADF;
    this.files.delete(fd);
    await this.launches.closing(fd);
    await file.mirror.close();
    return 0;
  }

  suspendDevice(minor: number): Promise<number> {
    const device = this.devices.find((one) => one.minor === minor);
    return device === undefined ? Promise.resolve(errno.ENXIO) : suspendDevice(device);
  }

  resumeDevice(minor: number): Promise<number> {
    const device = this.devices.find((one) => one.minor === minor);
    return device === undefined ? Promise.resolve(errno.ENXIO) : resumeDevice(device);
  }

  compileKernel(fd: number, source: KernelSource): Promise<CompileResult> {
    return this.launches.compile(fd, this.files.get(fd)?.mirror, source);
  }

  releaseKernel(kernel: number): number {
    return this.launches.release(kernel);
  }

  launchKernel(fd: number, kernel: number, request: KernelLaunchRequest): Promise<KernelReport> {
    return this.launches.launch(fd, this.files.get(fd)?.mirror, kernel, request);
  }

  async ioctl(
    fd: number,
    command: DmirrorCommand,
    request: DmirrorRequest,
  ): Promise<DmirrorResult> {
    const file = this.files.get(fd);
    if (file === undefined) return failedCommand(errno.EBADF, {});
    if (!isRecord(request)) return failedCommand(errno.EFAULT, {});
    const { addr, ptr, npages, batch = 0 } = request;
    const cmd = newDmirrorCmd(addr, npages, ptr, batch);
    const isKnown = typeof command === 'string' && Object.hasOwn(COMMAND_NUMBERS, command);
    const status = await file.mirror.ioctl(isKnown ? COMMAND_NUMBERS[command] : -1, cmd);
    // As the kernel's copy_to_user: outputs are only written back on success.
    const skipped = skippedByName(cmd.skipped);
    if (isErr(status)) return failedCommand(status, skipped);
    const { cpages, faults, firstMs } = cmd;
    return { errno: 0, cpages, faults, firstMs, skipped };
  }

  userfaultfd(pid: number, features: number): number {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : this.uffds.open(pid, mm, features);
  }

  uffdRead(fd: number, nonblock: boolean): Promise<UffdReadResult> {
    return this.uffds.read(fd, nonblock);
  }

  uffdIoctl(fd: number, request: UffdRequest): Promise<number> {
    return this.uffds.ioctl(fd, request);
  }

  closeUserfaultfd(fd: number): Promise<number> {
    return this.uffds.close(fd);
  }

  gup(pid: number, request: GupRequest): Promise<GupResult> {
    return this.userPages.take(this.processes.get(pid), request);
  }

  gupRelease(handle: number): number {
    return this.userPages.release(handle);
  }

  processVmReadv(pid: number, remotePid: number, range: ProcessVmRange): Promise<number> {
    const { processes } = this;
    return this.userPages.copyBetween(processes.get(pid), processes.get(remotePid), range, false);
  }

  processVmWritev(pid: number, remotePid: number, range: ProcessVmRange): Promise<number> {
    const { processes } = this;
    return this.userPages.copyBetween(processes.get(pid), processes.get(remotePid), range, true);
  }

  procMemRead(pid: number, addr: number, length: number): Promise<ProcMemResult> {
    return this.userPages.readMemory(this.processes.get(pid), addr, length);
  }

  procMemWrite(pid: number, addr: number, bytes: Uint8Array): Promise<number> {
    return this.userPages.writeMemory(this.processes.get(pid), addr, bytes);
  }

  attachHost(port: MessagePort): number {
    return this.cores.attachHost(port);
  }

  startCore(pid: number, bell: MessagePort | null): CoreImage | number {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : this.cores.start(pid, mm, bell);
  }

  signalCore(slot: number, signal: number): number {
    return this.cores.signal(slot, signal);
  }

  endCore(slot: number): number {
    return this.cores.end(slot);
  }

  traceStart(port: MessagePort, request: TraceRequest): number {
    return this.trace.start(port, request);
  }

  traceStop(id: number): number {
    return this.trace.stop(id);
  }

  setStrategy(strategy: StrategyName): number {
    if (!this.canMigrateBy(strategy)) return errno.EINVAL;
    this.context.strategy = strategy;
    return 0;
  }

  /** Whether the engine knows the strategy and it carries pages to the device. */
  canMigrateBy(strategy: string): boolean {
    if (strategy === 'auto') return true;
    // RAM to RAM alone can't carry a migration, unless the engine is the CPU itself.
    if (strategy === 'cpu' && this.engine.name !== 'cpu') return false;
    return this.engine.strategies.some((name) => name === strategy);
  }

  async loseDevice(): Promise<number> {
    this.engine.markLost('the device was lost on request');
    await this.engine.lost;
    return 0;
  }

  async close(): Promise<void> {
    // Processes can't end while their kernels wait for a device that sleeps.
    for (const device of this.devices) await wakeForGood(device);
    for (const pid of this.processes.keys()) await this.exit(pid);
    // Those that somebody else ends still need the engine and their shared memory.
    await Promise.all(this.exits);
    this.userPages.releaseAll();
    this.tmpfiles.closeAll();
    this.cores.close();
    this.trace.close();
    this.launches.close();
    await this.engine.close();
  }

  /** Calls that take permissions away from running cores begin when all of them have answered. */
  private settle(pid: number): MaybePromise<void> {
    const mm = this.processes.get(pid);
    return mm === undefined ? undefined : this.cores.settle(mm);
  }

  private addProcess(mm: MmStruct): number {
    const pid = this.nextPid++;
    this.processes.set(pid, mm);
    this.trace.name(mm, pid);
    return pid;
  }
}
