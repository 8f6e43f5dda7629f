/**
 * Control plane calls that run kernels over a process's memory: programs for a device, with faults
 * on what is not there (docs/device-faults-mechanism.md). Types, and the layout of the words that a
 * launch shares with whoever watches it.
 */
import type { ServiceReport } from '../driver/policy-pager.ts';
import type { CostModel } from '../driver/policy/cost-model.ts';
import type { EvictionName } from '../driver/policy/eviction.ts';
import type { Hints, ReplayPolicy } from '../driver/policy/policy.ts';
import type { LaunchCounts, LaunchOutcome } from '../engine/vm/launch.ts';

/** A kernel to compile: one of `wgsl` and `shape`. */
export interface KernelSource {
  /** WGSL with `fn kernel(wg: u32, lid: u32)`. Runs where `engine` is `webgpu`. */
  readonly wgsl?: string;
  /** The name of one that comes with WebHMM, of `SHAPE_NAMES`. Runs on all engines. */
  readonly shape?: string;
  /** For messages; by default `kernel`, or the shape's. */
  readonly name?: string;
  /** Invocations of a workgroup, 1 to 256. Default 64; a shape has its own. */
  readonly lanes?: number;
  /** Most workgroups in flight, 1 to 4096: each has room for its state and log. Default 256. */
  readonly window?: number;
  /** Fault records that a pass can hold, 1 to 65536; what exceeds it comes again. Default 256. */
  readonly ringRecords?: number;
  /** Words of log of an invocation at first, 4 to 65536; a full log is doubled. */
  readonly logWords?: number;
  /** Whether a page is reported once a pass. Default true. */
  readonly dedup?: boolean;
  /** Ends a launch as `diverged` whose replay took another way than the run before. Off. */
  readonly checkReplays?: boolean;
}

/** Something wrong with a kernel, and where; both from 1. */
export interface KernelProblem {
  readonly line: number;
  readonly column: number;
  readonly reason: string;
}

/** Answer to `compileKernel`. */
export interface CompileResult {
  /** 0; EINVAL, EOPNOTSUPP with problems; EBADF, EFAULT, ENODEV. */
  readonly errno: number;
  /** Handle. */
  readonly kernel: number;
  readonly problems: readonly KernelProblem[];
  readonly name: string;
  /** The kernel's text, a shape's as well. */
  readonly wgsl: string;
  readonly lanes: number;
  /** Most workgroups in flight: fewer than asked for where there is no room. */
  readonly window: number;
  /** How a first attempt keeps effects from happening twice. */
  readonly firstAttempt: 'direct' | 'defer' | 'log' | 'none';
  readonly compileMs: number;
}

/** A policy's setup, and that of the fault service that asks it. */
export interface LaunchServiceOptions {
  /** Pages of device memory that the kernel may use; all by default. */
  readonly devicePages?: number;
  /** In which order pages are evicted, where the policy leaves that open. */
  readonly evict?: EvictionName;
  /** log2 of the pages that move together (kfd), 0 to 31. */
  readonly granularity?: number;
  readonly replay?: ReplayPolicy;
  /** Records of a batch, 1 to 65536. */
  readonly batchLimit?: number;
  /** Records of the service's ring, 1 to 2^20. */
  readonly ringRecords?: number;
  /**
   * What the user has said about ranges of the process; of those that overlap the last count.
   * Merged they may be 4096: a launch with more is ENOMEM. Outside the kernel's reach they say
   * nothing.
   */
  readonly hints?: readonly RangeHint[];
  /** Terms of the cost model that differ from the default. */
  readonly cost?: Partial<CostModel>;
  readonly seed?: number;
  /** Lives of the last so many faults are to be in the report, up to 2^20. Default 0. */
  readonly lives?: number;
}

/**
 * What a user says about a range, whole pages. `readMostly` pages move like others: in HMM a page
 * has one place, so a policy that wants a copy in both memories gets the page on the device, and
 * `counts.duplicatesMoved` of the report says how many. In the model (`npm run fault`) both copies
 * are there.
 */
export interface RangeHint extends Partial<Hints> {
  readonly addr: number;
  readonly length: number;
}

/** A launch. */
export interface KernelLaunchRequest {
  /** Workgroups, 1 to 2^31. */
  readonly workgroups: number;
  /**
   * Up to 32 arguments (`vm_arg`): words, and addresses of the process from 2^32 on, of which the
   * kernel gets what is left when `origin` is taken away.
   */
  readonly args?: readonly number[];
  /**
   * The virtual address that is the kernel's address 0, page aligned; 4 GiB from there are in its
   * reach. Default: the multiple of 2 MiB at or below the lowest address among `args`; without any,
   * 2^47 - 2^32, below which mmap puts nothing by itself.
   */
  readonly origin?: number;
  /** Workgroups in flight, up to the kernel's window, which is the default. */
  readonly window?: number;
  /** Rounds of loops that an invocation may take, 1 to 2^31. Default 2^16. */
  readonly budget?: number;
  /** Passes without progress after which it is given up, 1 to 2^20. Default 256, 2000 by policy. */
  readonly patience?: number;
  /**
   * Who decides what moves when: a name of `POLICIES`, or the URL of a module that exports
   * `policy`. By default pages move one by one, as they are asked for, and nobody counts time.
   */
  readonly policy?: string;
  /** With a policy: how it is set up, and what the report is to have. */
  readonly service?: LaunchServiceOptions;
  /** Shared words of LAUNCH_BYTES: what it has done so far, and whether it is to end. */
  readonly control?: SharedArrayBuffer;
}

/** An access that ended its invocation. */
export interface RefusedAccess {
  /** Virtual address in the process. */
  readonly address: number;
  readonly access: 'read' | 'write' | 'atomic';
  /** "EFAULT": nothing there, or not allowed. "EBUSY": the page can't come. "ENOMEM". */
  readonly reason: string;
  /** The same in words, with access and address. */
  readonly cause: string;
  readonly workgroup: number;
  /** Invocation within its workgroup. */
  readonly lane: number;
  /** Number of the pass, from 0. */
  readonly pass: number;
}

/** A failure that was put in a launch's way, and has come. */
export interface InjectedFailure {
  readonly what: LaunchFailure;
  /** Passes that were done: it hit the service of the last one's faults. */
  readonly pass: number;
}

/** What became of a launch; how it ended, unless it never began. */
export interface KernelReport extends LaunchCounts {
  /**
   * 0; EBADF, EFAULT, EINTR, EINVAL, ENOMEM for one that never began; for `failed`: ENODEV when
   * the device was lost, EIO, ENOMEM.
   */
  readonly errno: number;
  readonly outcome: LaunchOutcome;
  /** False for a launch that was refused: `errno` and `cause` say why. */
  readonly hasBegun: boolean;
  /** Why it did not finish, and where; empty for `done`. */
  readonly cause: string;
  /** A workgroup for which it ended as `endless`, `logFull` or `diverged`; else -1. */
  readonly workgroup: number;
  readonly workgroups: number;
  /** The first accesses that were refused; `killed` counts their invocations. */
  readonly refusals: readonly RefusedAccess[];
  /** Pages: mapped for it, taken away again, evicted for it, lent to a pass, refused. */
  readonly pages: Readonly<Record<'mapped' | 'erased' | 'evicted' | 'remote' | 'refused', number>>;
  /** The virtual address that was the kernel's address 0. */
  readonly origin: number;
  /** Failures that were put in its way (`RunningLaunch.fail`) and have come. */
  readonly injected: readonly InjectedFailure[];
  /** What the fault service did, in its own time; null without a policy. */
  readonly service: ServiceReport | null;
  /** Milliseconds in all, in passes, and in serving faults. */
  readonly totalMs: number;
  readonly passMs: number;
  readonly serveMs: number;
}

/** @internal Bytes of a launch's shared words: word 0 is not 0 when it is to end. */
export const LAUNCH_BYTES = 64;
/** @internal This word is 0, or 1 and the number of passes after which it is held. */
export const LAUNCH_LIMIT = 1;
/** @internal This word is 1 while it is held. */
export const LAUNCH_HELD = 14;
/**
 * @internal This word is 0, or a failure that is to come: 1 and its place in `LAUNCH_FAILURES`, and
 * 8 times the number of passes after which it comes.
 */
export const LAUNCH_FAILURE = 15;
/**
 * Failures that can be put in a launch's way: no device memory for the faults of a pass; the next
 * copy; a fault ring that is full; the policy throws; the device is lost.
 */
export const LAUNCH_FAILURES = ['memory', 'copy', 'ring', 'policy', 'device'] as const;
/** One of them. */
export type LaunchFailure = (typeof LAUNCH_FAILURES)[number];
/** Most passes after which one may come. */
export const MAX_FAILURE_PASS = 2 ** 27;
/** @internal From here on, a double each of `LAUNCH_COUNTS`. */
export const LAUNCH_COUNTS_AT = 8;
/** The counts that whoever watches a launch can read while it runs, in their order. */
export const LAUNCH_COUNTS = [
  'passes',
  'finished',
  'faults',
  'replayed',
  'overflow',
  'killed',
] as const;

/** These calls of the kernel worker. Numbers below zero are errnos. */
export interface LaunchApi {
  /** Compiles a kernel for the device of an open file. */
  compileKernel(fd: number, source: KernelSource): Promise<CompileResult>;
  /** Forgets a kernel; EBADF for an unknown handle. */
  releaseKernel(kernel: number): number;
  /** Runs a kernel over the memory of the process that opened the device. Answers at its end. */
  launchKernel(fd: number, kernel: number, request: KernelLaunchRequest): Promise<KernelReport>;
}
