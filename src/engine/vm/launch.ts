/*
 * Runs a launch to its end: passes of at most W workgroups, stopped ones first, and a pager that
 * serves the faults in between.
 *
 * Promises. A workgroup keeps its slot from its first pass to its last, so the log belongs to the
 * W workgroups in flight. Only stopped workgroups are dispatched again. An invocation that runs out
 * of its budget ends this launch and nothing else. A launch that makes no progress for a number of
 * passes ends as `stalled`: a pager that does not serve, or a kernel that waits for another
 * workgroup.
 *
 * Locking. None; the pager may wait as long as it likes. Source: our own.
 */
import { isErr } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import { FORCE_NEVER, SLOT_DIVERGED, SLOT_ENDLESS, SLOT_LOG_FULL, SLOT_STOPPED } from './abi.ts';
import type { VmPassResult, VmProgram, VmRun } from './vm-engine.ts';
import type { DeviceSpace } from './device-space.ts';
import type { MaybePromise } from '../../base/maybe.ts';

/** The faults of one pass. */
export interface FaultBatch {
  /** Records, `FAULT_WORDS` words each; see abi.ts. */
  readonly records: Uint32Array;
  readonly count: number;
  /** Faults that found no room; they come again if they still apply. */
  readonly overflow: number;
  /** Number of the pass, from 0. */
  readonly pass: number;
  /** Workgroups that have not ended: the next pass takes them up again. */
  readonly stopped: readonly number[];
  /** Workgroups that the next pass begins, if it may. */
  readonly next: number;
  /** What the pass accessed, where the program reports it. */
  readonly accesses: Uint32Array | undefined;
}

/**
 * Serves faults: moves contents, changes the page table. `false` gives the launch up; `'hold'` lets
 * the next pass go on with the stopped workgroups alone and begin none.
 */
export type Pager = (batch: FaultBatch) => MaybePromise<boolean | 'hold' | undefined | void>;

/**
 * What has to happen around each pass, as for pages that are lent to one. An errno ends the launch
 * as `failed`.
 */
export interface PassHooks {
  /** Before each pass, when its faults have been served. */
  beforePass?(): MaybePromise<number>;
  /**
   * After each pass, whatever became of it, and once more at the end of the launch.
   *
   * @param uses of the frames from `usesFrame` on, where the program counts them
   */
  afterPass(uses?: Uint32Array): MaybePromise<number>;
  /** First frame of those whose uses it wants to know. */
  readonly usesFrame?: number;
}

/** A launch. */
export interface LaunchRequest {
  readonly space: DeviceSpace;
  readonly workgroups: number;
  readonly pager: Pager;
  readonly around?: PassHooks | undefined;
  /** Whether the pager hears of passes without faults, too. */
  readonly everyPass?: boolean;
  readonly args?: readonly number[];
  /** Most workgroups in flight; default and limit: the program's slots. */
  readonly window?: number;
  /** Loop rounds that an invocation may take; default 2^20. */
  readonly budget?: number;
  /** The operation at which fresh invocations fail, for tests. */
  readonly forceAt?: number;
  /** Passes without progress after which it is given up; default 256. */
  readonly patience?: number;
  /** Told when a pass is queued: from then on what it needs may be evicted. */
  readonly onSubmitted?: () => void;
  /** Told after each pass. */
  readonly onPass?: (counts: LaunchCounts, batch: VmPassResult) => void;
  /** Waited for before each pass. */
  readonly between?: () => MaybePromise<void>;
  /** Asked before each pass; true ends the launch as `aborted`. */
  readonly isAborted?: () => boolean;
  /** Rearranges the work of a pass (pairs of workgroup and slot), for tests. */
  readonly arrange?: (work: Uint32Array) => void;
}

/** How a launch ended. */
export type LaunchOutcome =
  | 'done'
  /** An invocation ran out of its budget. */
  | 'endless'
  /** The pager gave up. */
  | 'cancelled'
  /** No progress. */
  | 'stalled'
  /** An invocation needs more log than there may be. */
  | 'logFull'
  /** A replay took another way than the run before: the kernel is not deterministic. */
  | 'diverged'
  /** `isAborted` said so. */
  | 'aborted'
  /** The device was lost, or a dispatch failed. */
  | 'failed';

/** What has happened so far. */
export interface LaunchCounts {
  readonly passes: number;
  /** Workgroups dispatched again, summed over passes. */
  readonly replayed: number;
  readonly faults: number;
  readonly overflow: number;
  /** Invocations ended by a cancelled access. */
  readonly killed: number;
  readonly diverged: number;
  readonly logGrowths: number;
  /** Workgroups that finished. */
  readonly finished: number;
}

/** What happened. */
export interface LaunchReport extends LaunchCounts {
  readonly outcome: LaunchOutcome;
  /** `failed`: why. */
  readonly errno: Errno | 0;
  /** A workgroup for which it ended as `endless`, `logFull` or `diverged`; else -1. */
  readonly workgroup: number;
}

/** What a launch ends for. */
const CULPRIT = SLOT_ENDLESS | SLOT_LOG_FULL | SLOT_DIVERGED;
const DEFAULT_BUDGET = 1 << 20;
const DEFAULT_PATIENCE = 256;

/**
 * Runs a launch.
 *
 * @returns how it ended; never throws for what a kernel or pager does wrong, except what the pager
 * throws itself, after the run's memory was given back
 *
 * Context: waits for passes and the pager. Source: our own.
 */
export async function launchKernel(
  program: VmProgram,
  request: LaunchRequest,
): Promise<LaunchReport> {
  const run = program.launch(request.space, request.args ?? []);
  try {
    return await new Launch(program, run, request).toEnd();
  } finally {
    // Whatever was served for a pass that was never run.
    await request.around?.afterPass();
    run.end();
  }
}

class Launch {
  private readonly run: VmRun;
  private readonly request: LaunchRequest;
  private readonly window: number;
  /** Workgroup of each slot in use; -1 for a free one. */
  private readonly owner: Int32Array;
  private readonly freeSlots: number[];
  /** Slots whose workgroup stopped. */
  private stopped: number[] = [];
  private next = 0;
  private passes = 0;
  private replayed = 0;
  private faults = 0;
  private overflow = 0;
  private killed = 0;
  private diverged = 0;
  private logGrowths = 0;
  private finished = 0;
  private idle = 0;
  private holds = false;
  private lastProgress = -1;
  private culprit = -1;

  constructor(program: VmProgram, run: VmRun, request: LaunchRequest) {
    this.run = run;
    this.request = request;
    this.window = Math.max(1, Math.min(request.window ?? program.slots, program.slots));
    this.owner = new Int32Array(this.window).fill(-1);
    this.freeSlots = Array.from({ length: this.window }, (_, i) => this.window - 1 - i);
  }

  async toEnd(): Promise<LaunchReport> {
    const { around, isAborted, onSubmitted, onPass, between } = this.request;
    while (this.stopped.length > 0 || this.next < this.request.workgroups) {
      const pause = between?.();
      if (pause instanceof Promise) await pause;
      if (isAborted?.() === true) return this.report('aborted');
      const ready = (await around?.beforePass?.()) ?? 0;
      if (isErr(ready)) return this.report('failed', ready as Errno);
      const replays = this.replays();
      const fresh = this.admit();
      const answer = this.run.pass({
        replays,
        fresh,
        budget: this.request.budget ?? DEFAULT_BUDGET,
        forceAt: this.request.forceAt ?? FORCE_NEVER,
        usesFrame: around?.usesFrame,
        onSubmitted,
        isAborted,
      });
      const result = answer instanceof Promise ? await answer : answer;
      const uses = typeof result === 'number' ? undefined : result.uses;
      const left = (await around?.afterPass(uses)) ?? 0;
      if (isErr(left)) return this.report('failed', left as Errno);
      if (typeof result === 'number') return this.report('failed', result);
      if (isAborted?.() === true) return this.report('aborted');
      const before = this.finished;
      const failure = this.take(result, replays.length + fresh.length);
      this.passes += 1;
      onPass?.(this.counts(), result);
      if (failure !== undefined) return this.report(failure);
      if (!(await this.serve(result))) return this.report('cancelled');
      if (!this.advances(result, fresh.length > 0 || this.finished > before)) {
        return this.report('stalled');
      }
    }
    return this.report('done');
  }

  private replays(): Uint32Array {
    const work = new Uint32Array(this.stopped.length * 2);
    for (const [index, slot] of this.stopped.entries()) {
      work[index * 2] = this.owner[slot]!;
      work[index * 2 + 1] = slot;
    }
    this.replayed += this.stopped.length;
    this.request.arrange?.(work);
    return work;
  }

  /** Workgroups that have not run, as many as there are free slots. */
  private get admissible(): number {
    return Math.min(this.freeSlots.length, this.request.workgroups - this.next);
  }

  /** Gives free slots to workgroups that have not run. */
  private admit(): Uint32Array {
    const count = this.holds ? 0 : this.admissible;
    const work = new Uint32Array(count * 2);
    for (let index = 0; index < count; index++) {
      const slot = this.freeSlots.pop()!;
      this.owner[slot] = this.next;
      work[index * 2] = this.next;
      work[index * 2 + 1] = slot;
      this.next += 1;
    }
    this.request.arrange?.(work);
    return work;
  }

  /** Sorts slots into stopped and free; answers why the launch has to end, if so. */
  private take(result: VmPassResult, pairs: number): LaunchOutcome | undefined {
    if (pairs === 0) return undefined;
    this.overflow += result.overflow;
    this.faults += result.faults.length / 8 + result.overflow;
    this.killed += result.killed;
    this.diverged += result.diverged;
    this.stopped = [];
    let bits = 0;
    for (let slot = 0; slot < this.window; slot++) {
      if (this.owner[slot]! < 0) continue;
      const status = result.status[slot]!;
      bits |= status;
      if ((status & CULPRIT) !== 0 && this.culprit < 0) this.culprit = this.owner[slot]!;
      if ((status & SLOT_STOPPED) !== 0) {
        this.stopped.push(slot);
      } else {
        this.owner[slot] = -1;
        this.freeSlots.push(slot);
        this.finished += 1;
      }
    }
    if ((bits & SLOT_ENDLESS) !== 0) return 'endless';
    if (result.diverged > 0) return 'diverged';
    if ((bits & SLOT_LOG_FULL) !== 0) {
      this.logGrowths += 1;
      if (this.run.growLog() !== 0) return 'logFull';
      this.culprit = -1;
      this.idle = 0;
    }
    return undefined;
  }

  private async serve({ faults, overflow, accesses }: VmPassResult): Promise<boolean> {
    if (faults.length === 0 && overflow === 0 && this.request.everyPass !== true) return true;
    const batch = {
      records: faults,
      count: faults.length / 8,
      overflow,
      pass: this.passes - 1,
      stopped: this.stopped.map((slot) => this.owner[slot]!),
      next: this.admissible,
      accesses,
    };
    const asked = this.request.pager(batch);
    const answer = asked instanceof Promise ? await asked : asked;
    this.holds = answer === 'hold' && this.stopped.length > 0;
    return answer !== false;
  }

  private advances(result: VmPassResult, moved: boolean): boolean {
    const progress = result.progress;
    this.idle = moved || progress !== this.lastProgress ? 0 : this.idle + 1;
    this.lastProgress = progress;
    return this.idle < (this.request.patience ?? DEFAULT_PATIENCE);
  }

  private report(outcome: LaunchOutcome, why: Errno | 0 = 0): LaunchReport {
    return { outcome, errno: why, workgroup: this.culprit, ...this.counts() };
  }

  private counts(): LaunchCounts {
    const { passes, replayed, faults, overflow, killed, diverged, logGrowths, finished } = this;
    return { passes, replayed, faults, overflow, killed, diverged, logGrowths, finished };
  }
}
