/*
 * The port through which kernels run over virtual memory. Two implementations: cpu-vm.ts in JS,
 * src/gpu/vm on WebGPU; test/contract/vm-contract.ts holds both to the same behaviour.
 *
 * A *program* is a compiled kernel, a *run* is one launch of it by one context, a *pass* is one
 * dispatch: some workgroups for the first time, some again. Between passes the host serves the
 * faults that the pass reported, changes the context's page table (`DeviceSpace`), and moves
 * contents in and out of frames. launch.ts is the loop around all this.
 *
 * Promises. Whatever passes and page tables there were: when all workgroups are finished, memory is
 * as if no access had ever failed. A pass reads the page table as it was when the pass was asked
 * for, and writes to frames asked for before it.
 *
 * Locking. One pass of a run at a time. Leaves out: several arenas; frames are words of one.
 */
import type { Errno } from '../../base/errno.ts';
import type { MaybePromise } from '../../base/maybe.ts';
import type { DeviceSpace } from './device-space.ts';
import type { VmIrKernel } from './ir.ts';

/** A kernel as users give it. */
export interface VmKernel {
  readonly name: string;
  /** Invocations of a workgroup, 1 to 256. */
  readonly lanes: number;
  /** WGSL with `fn kernel(wg: u32, lid: u32)`, for engines that compile it. */
  readonly wgsl: string;
  /** The same in the small language, for engines that interpret. */
  readonly ir?: VmIrKernel;
}

/** A pass could not run: the kernel that compiled for its first attempt did not for a replay. */
export class VmCompileError extends Error {
  override readonly name = 'VmCompileError';
}

/** How a kernel is compiled. */
export interface VmProgramOptions {
  /** Most workgroups in flight: each has room for its state and log. */
  readonly slots: number;
  /** Words of log for each invocation at first; a full log is doubled between passes. */
  readonly logWords?: number;
  /** Fault records a pass can hold; what exceeds it is counted. */
  readonly ringRecords?: number;
  /** Whether a page is reported once a pass; default true. */
  readonly dedup?: boolean;
  /** Compares the addresses of replays with those before; default false. */
  readonly hash?: boolean;
  /** Allows `VmPass.forceAt`; default false. */
  readonly forceFaults?: boolean;
  /** Counts uses of the frames that `VmPass.usesFrame` says; default false. */
  readonly countsUses?: boolean;
  /** `none` restarts stopped invocations from the beginning: to measure, and to be caught. */
  readonly guard?: 'exact' | 'none';
  /** Keeps the first attempt from doing without the log where it could. */
  readonly alwaysLog?: boolean;
  /** Most bytes of states and logs of one launch; default and limit are the engine's. */
  readonly memoBytes?: number;
  /** Reports what each pass accessed; default false. Engines that can't refuse to compile. */
  readonly reportsAccesses?: boolean;
}

/** Words of a row of `VmPassResult.accesses`: workgroup, invocation, and what it did. */
export const REPORT_WORDS = 3;
/** What it did: the page's number in the context's space times 8, plus `ACCESS_*` or this. */
export const REPORT_BARRIER = 7;

/** What a pass is to do. Work is pairs: workgroup, slot. */
export interface VmPass {
  readonly replays: Uint32Array;
  readonly fresh: Uint32Array;
  /** Loop rounds that one invocation may take, replayed ones included. */
  readonly budget: number;
  /** Number of the operation at which every fresh invocation fails; `FORCE_NEVER` for none. */
  readonly forceAt: number;
  /** First of the `CONTROL_USE_FRAMES` frames whose uses are counted. */
  readonly usesFrame?: number | undefined;
  /** Goes on past a full log, where a stop can't be made good: its slot is then `SLOT_LOG_FULL`. */
  readonly unlogged?: boolean;
  /** Called as soon as changes of the page table and of frames come after the pass. */
  readonly onSubmitted?: (() => void) | undefined;
  /** Asked now and then by engines that can: true leaves the pass, whose result is void. */
  readonly isAborted?: (() => boolean) | undefined;
}

/** What a pass left behind. */
export interface VmPassResult {
  /** `SLOT_*` bits of each slot; 0 where the workgroup finished. */
  readonly status: Uint32Array;
  /** Fault records, `FAULT_WORDS` words each. */
  readonly faults: Uint32Array;
  /** Faults that found no room in the ring. */
  readonly overflow: number;
  /** Invocations that stopped, were ended by `PTE_KILL_*`, and whose replay took another way. */
  readonly stopped: number;
  readonly killed: number;
  readonly diverged: number;
  /** Operations done, summed over the invocations that stopped. */
  readonly progress: number;
  /** Invocations that stopped behind a checkpoint of this pass, which makes `progress` smaller. */
  readonly checked: number;
  /**
   * Uses of each counted frame, by kind: accesses that were made, also by invocations that stopped
   * afterwards; what the log already holds is not asked of memory again. Undefined: not counted.
   */
  readonly uses?: Uint32Array;
  /**
   * What was done for the first time, `REPORT_WORDS` words each, in order for each invocation:
   * accesses, where they are not like the one before; hints; barriers that all went through, those
   * of earlier passes again. With `reportsAccesses` only.
   */
  readonly accesses?: Uint32Array;
}

/** One launch. */
export interface VmRun {
  /** Runs one pass. A lost device or a failed dispatch is an errno: ENODEV, EIO. */
  pass(work: VmPass): MaybePromise<VmPassResult | Errno>;
  /** Words of log that each invocation has. */
  readonly logWords: number;
  /**
   * Doubles the log. Where there is no room for that, only the slots from 0 on have one for which
   * there is: those beyond are out of use, and what they hold waits for `unpark`.
   *
   * @param stopped slots whose log is needed
   * @returns slots that have a log; 0, and nothing is changed, when it would exceed its limit
   */
  growLog(stopped: readonly number[]): number;
  /** Moves what `growLog` has put aside to a slot with a log that is free. */
  unpark(from: number, to: number): void;
  /** Gives the run's memory back; stopped invocations are forgotten. */
  end(): void;
}

/** A compiled kernel. */
export interface VmProgram {
  readonly kernel: VmKernel;
  readonly slots: number;
  /** How the first attempt keeps exactly-once; see effect-order.ts. */
  readonly firstAttempt: 'direct' | 'defer' | 'log' | 'none';
  /**
   * Begins a launch.
   *
   * @param space the context's page table
   * @param args up to 32 words
   */
  launch(space: DeviceSpace, args: readonly number[]): VmRun;
}

/** Something wrong with a kernel, and where in its text; both from 1. */
export interface VmProblem {
  readonly line: number;
  readonly column: number;
  readonly reason: string;
}

/** Why a kernel was refused. */
export interface VmRefusal {
  readonly errno: Errno;
  readonly problems: readonly VmProblem[];
}

/** An engine. */
export interface VmEngine {
  /** Frames of device memory, 4 KiB each. */
  readonly frames: number;
  /** Compiles a kernel, or says what is wrong with it. */
  compile(kernel: VmKernel, options: VmProgramOptions): MaybePromise<VmProgram | VmRefusal>;
  /** Fills a frame; ordered before later passes. `bytes` is one page and may be reused at once. */
  writeFrame(frame: number, bytes: Uint8Array): void;
  /** Contents of frames after all passes so far, one page each. */
  readFrames(frames: readonly number[]): MaybePromise<readonly Uint8Array[]>;
  /** Forgets a context. */
  drop(space: DeviceSpace): void;
  /** Gives everything back. */
  destroy(): void;
}

/** Words of log an invocation begins with where its kernel sets no bound. */
export const DEFAULT_LOG_WORDS = 32;
/** Words of log at which an invocation is refused more. */
export const MAX_LOG_WORDS = 1 << 16;
/** Records of the ring by default. */
export const DEFAULT_RING_RECORDS = 256;

/** True when a kernel was refused. */
export function isRefusal(answer: VmProgram | VmRefusal): answer is VmRefusal {
  return 'problems' in answer;
}
