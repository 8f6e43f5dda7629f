/**
 * The control plane between a program and the kernel worker, as types only. Everything that crosses
 * is plain data; domain errors are numbers in results, never exceptions (an exception loses its
 * fields on the way). `KernelApi` is implemented once, by `Kernel`; a program talks to it through
 * the facade, either directly in its own thread or over Comlink.
 */
import type { AdapterReport, EngineStats, StrategyName } from '../engine/copy-engine.ts';
import type { CoreApi } from './protocol-cores.ts';
import type { FileApi } from './protocol-files.ts';
import type { GupApi } from './protocol-gup.ts';
import type { LaunchApi } from './protocol-launch.ts';
import type { MemoryApi } from './protocol-mm.ts';
import type { TraceApi } from './protocol-trace.ts';
import type { UffdApi } from './protocol-uffd.ts';

/** What to build. All sizes in bytes; rounded up to pages. */
export interface MachineOptions {
  /** `webgpu` moves pages by a real adapter, `cpu` by the named CPU engine. Default `webgpu`. */
  readonly engine?: 'webgpu' | 'cpu';
  /** RAM, at most 4 GiB. Default 256 MiB. */
  readonly ramBytes?: number;
  /** Private memory of each device. Default 64 MiB. */
  readonly deviceBytes?: number;
  /** Number of private devices, 1 to 4: test devices 0 and up. Default 2. */
  readonly devices?: number;
  /**
   * Number of coherent devices, 0 to 2: test devices 2 and 3, beside at most two private ones.
   * Default 2 with two private devices, as far as 4 GiB of RAM and coherent memory allow, else 0.
   */
  readonly coherentDevices?: number;
  /** Memory of each coherent device. Default 16 MiB, or less where `deviceBytes` is. */
  readonly coherentBytes?: number;
  /** Bytes of one device memory chunk. Default 16 MiB, or what all devices need for 255 chunks. */
  readonly chunkBytes?: number;
  /** Which private anonymous memory gets huge pages. Default `madvise`: where asked for. */
  readonly thp?: 'never' | 'madvise' | 'always';
  /** Swap space in host memory, less than 32 GiB; by default there is none. */
  readonly swapBytes?: number;
  /** How the copy engine moves pages. Default `auto`. */
  readonly strategy?: StrategyName;
  /**
   * Threads that copy within RAM, 1 to 16, the kernel's among them: coherent device memory lies
   * there. Others are woken for 4 MiB and more in one batch. Default 1: the kernel's alone.
   */
  readonly copyThreads?: number;
  /** Which adapter to ask for where there are several. */
  readonly powerPreference?: 'high-performance' | 'low-power';
  /**
   * Staging slots of each size and direction, 1 to 8: that many sub-batches can be staged at once.
   * Default 3. Only WebGPU has them.
   */
  readonly ringDepth?: number;
  /** Upper bound of one VRAM arena, for tests of machines with several. */
  readonly maxArenaBytes?: number;
  /**
   * Most bytes that a CPU fault on device memory brings home, a power of two from 4 KiB to 2 MiB:
   * the device's driver widens its window as faults follow each other. Default 4 KiB: the page
   * alone.
   */
  readonly faultAroundBytes?: number;
  /** Puts queue submissions, except small readbacks, into an error scope. Default true. */
  readonly checked?: boolean;
}

/** Why a machine could not be opened: what is wrong and what to do about it. */
export interface OpenFailure {
  readonly errno: number;
  readonly cause: string;
  readonly remedy: string;
}

/** What was built. */
export interface MachineReport {
  /** What moves pages. */
  readonly engine: 'webgpu' | 'cpu';
  /** The adapter, or the CPU where there is none. */
  readonly adapter: AdapterReport;
  /** Ways to copy that the engine has. */
  readonly strategies: readonly StrategyName[];
  readonly ramBytes: number;
  readonly deviceBytes: number;
  readonly devices: number;
  readonly coherentBytes: number;
  readonly coherentDevices: number;
}

/** Arguments of mmap. */
export interface MmapRequest {
  /** Wanted address, 0 for any. */
  readonly addr?: number;
  /** Bytes. */
  readonly length: number;
  /** PROT_* bits. */
  readonly prot: number;
  /** MAP_* bits; MAP_PRIVATE | MAP_ANONYMOUS when absent. */
  readonly flags?: number;
  /** Descriptor of a file or an open test device, without MAP_ANONYMOUS. */
  readonly fd?: number;
  /** The same for the id of a shared memory object of `shmemCreate`. */
  readonly shmem?: number;
  /** First byte within the file or object. */
  readonly offset?: number;
}

/** How an access ended: done, or the signal that Linux would send, or out of memory. */
export {
  FAULT_OK as ACCESS_OK,
  FAULT_SIGSEGV as ACCESS_SIGSEGV,
  FAULT_SIGBUS as ACCESS_SIGBUS,
  FAULT_ENOMEM as ACCESS_OOM,
} from '../mm/uaccess.ts';

/** Result of a memory access by a process. */
export interface AccessResult {
  /** 0, or ESRCH / EINVAL for a call that never reached memory. */
  readonly errno: number;
  /** ACCESS_* */
  readonly outcome: number;
  /** Address whose access failed; 0 when it did not. */
  readonly address: number;
}

/** Result of a read: the bytes before the failing page are there. */
export interface ReadResult extends AccessResult {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Result of `pageMap`: a PAGE_* code a page, or EINVAL, ESRCH, ENOMEM. */
export interface PageMapResult {
  readonly errno: number;
  readonly codes: Uint8Array<ArrayBuffer>;
}

/**
 * Test device commands (lib/test_hmm_uapi.h), and `ADD`, our own: the smallest device kernel. FLAGS
 * takes HMM_DMIRROR_FLAG_* bits in `npages`.
 */
export type DmirrorCommand =
  | 'READ'
  | 'WRITE'
  | 'MIGRATE_TO_DEV'
  | 'MIGRATE_TO_SYS'
  | 'SNAPSHOT'
  | 'EXCLUSIVE'
  | 'CHECK_EXCLUSIVE'
  | 'RELEASE'
  | 'FLAGS'
  | 'READ_UNLOCKED'
  | 'ADD';

/** struct hmm_dmirror_cmd: device address, user buffer, pages. */
export interface DmirrorRequest {
  /** Virtual address of the range, page aligned. */
  readonly addr: number;
  /** Virtual address of the buffer that the device copies to or from; operand of ADD. */
  readonly ptr: number;
  readonly npages: number;
  /**
   * Pages that migrate together, at most 4096. By default the driver's windows of up to 512, the
   * first of a long range being smaller, so that its pages are usable early.
   */
  readonly batch?: number;
}

/** Outcome of a test device command; `cpages` and `faults` are 0 unless `errno` is 0. */
export interface DmirrorResult {
  readonly errno: number;
  /** Pages that the command worked on, or moved. */
  readonly cpages: number;
  /** Rounds of faults that the device made. */
  readonly faults: number;
  /** Milliseconds until the first pages of a migration were usable. */
  readonly firstMs: number;
  /** Pages that a migration left where they were, by reason; filled in also when it failed. */
  readonly skipped: Readonly<Record<string, number>>;
}

/** Where a page of an address space is, for maps and tests. */
export const PAGE_NONE = 0;
/** The page of zeroes, until the first store. */
export const PAGE_ZERO = 1;
/** In RAM. */
export const PAGE_RAM = 2;
/** On its way: an access waits. */
export const PAGE_MIGRATING = 3;
/** In RAM, but a device has it for itself. */
export const PAGE_EXCLUSIVE = 4;
/** In swap space. */
export const PAGE_SWAP = 5;
/** PAGE_DEVICE + device number: private or coherent memory of that device. */
export const PAGE_DEVICE = 16;

/** Counters of a test device since boot. */
export interface DeviceCounters {
  /** Number of the device. */
  readonly minor: number;
  /** Pages handed out and returned. */
  readonly calloc: number;
  readonly cfree: number;
  /** Bytes that went into its aperture and out of it, so that it could work on them. */
  readonly apertureBytes: number;
}

/** All counters of the machine. */
export interface Counters {
  /** Events of memory management by name, as `machine.vmstat` has them. */
  readonly vm: Readonly<Record<string, number>>;
  /** What the copy engine has done. */
  readonly engine: Readonly<EngineStats>;
  /** Pages of RAM that are free now. */
  readonly ramFreePages: number;
  /** One for each device. */
  readonly devices: readonly DeviceCounters[];
}

/** @internal The calls of the kernel worker. Numbers below zero are errnos. */
export interface KernelApi
  extends CoreApi, FileApi, GupApi, LaunchApi, MemoryApi, TraceApi, UffdApi {
  report(): MachineReport;
  counters(): Counters;
  /** The memory of the counters `vm`, in the order of VM_EVENTS: shared, and live. */
  liveCounters(): Float64Array<SharedArrayBuffer>;
  /** A new process; its pid. */
  spawn(): number;
  /** A copy of the process by fork; its pid. */
  fork(pid: number): Promise<number>;
  exit(pid: number): Promise<number>;
  mmap(pid: number, request: MmapRequest): Promise<number>;
  munmap(pid: number, addr: number, length: number): Promise<number>;
  mprotect(pid: number, addr: number, length: number, prot: number): Promise<number>;
  /** A shared memory object of that many bytes, at least one; its id, which is a descriptor. */
  shmemCreate(length: number): number;
  read(pid: number, addr: number, length: number): Promise<ReadResult>;
  write(pid: number, addr: number, bytes: Uint8Array): Promise<AccessResult>;
  /** One load or store of one byte at `addr`, without moving data: faults the page in. */
  touch(pid: number, addr: number, access: 'read' | 'write'): Promise<AccessResult>;
  /** Breaks the RAM page at `addr` (MADV_HWPOISON): 0 or an errno. */
  poison(pid: number, addr: number): Promise<number>;
  /** PAGE_* code of each page, without faulting anything. */
  pageMap(pid: number, addr: number, npages: number): PageMapResult;
  /** Opens test device `minor` for the process; a file descriptor. */
  openDevice(pid: number, minor: number): number;
  closeDevice(fd: number): Promise<number>;
  /** Sends what is on a device to RAM and keeps it empty: ENXIO, EBUSY, ENOMEM, ENODEV, EIO. */
  suspendDevice(minor: number): Promise<number>;
  /** Ends that: what was there comes back. ENXIO, EINVAL for one that is awake, ENODEV, EIO. */
  resumeDevice(minor: number): Promise<number>;
  ioctl(fd: number, command: DmirrorCommand, request: DmirrorRequest): Promise<DmirrorResult>;
  /** Moves the copy engine to another strategy; EINVAL when it does not have it. */
  setStrategy(strategy: StrategyName): number;
  /** Destroys the device as a driver crash would; what lived on it is lost. */
  loseDevice(): Promise<number>;
  /** Ends all processes and releases the device. */
  close(): Promise<void>;
}
