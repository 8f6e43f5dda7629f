/*
 * Runs a launch to its end: passes of at most W workgroups, stopped ones first, and a pager that
 * serves the faults in between.
 *
 * Promises. A workgroup keeps its slot from its first pass to its last, so the log belongs to the
 * W workgroups in flight. Logs that fill up are doubled; where there is no room for that, fewer
 * workgroups are in flight from then on, and those that have begun wait for a slot with what they
 * have logged. Who needs more log than there may be goes on without it, which is exact as long as
 * nothing of it faults; if something does, it ends the launch. Only stopped workgroups are
 * dispatched again. An invocation that runs out
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
  /** Workgroups that have not ended: the next pass takes them up again. Not after it has begun. */
  readonly stopped: () => readonly number[];
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
  /** Waited for before each pass; told whether the last one has let others run. */
  readonly between?: (hasWaited: boolean) => MaybePromise<void>;
  /** Asked before each pass; true ends the launch as `aborted`. */
  readonly isAborted?: () => boolean;
  /**
   * Given the launch itself, to be kept until the next one. V8 forgets the shape of a class when
   * the last object of it is collected, and with it the code that was compiled for that shape.
   */
  readonly keep?: (launch: object) => void;
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
  /** An invocation has logged as much as there may be, and faulted once more. */
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
  /** Words of log that each invocation has by now, and workgroups in flight at most. */
  readonly logWords: number;
  readonly window: number;
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
    const launch = new Launch(program, run, request);
    request.keep?.(launch);
    return await launch.toEnd();
  } finally {
    // Whatever was served for a pass that was never run.
    await request.around?.afterPass();
    run.end();
  }
}

class Launch {
  private readonly run: VmRun;
  private readonly request: LaunchRequest;
  /** Slots in use; fewer once logs have outgrown their room. */
  private window: number;
  /** Workgroup of each slot in use; -1 for a free one. */
  private readonly owner: Int32Array;
  private freeSlots: number[];
  /** 1 for each slot that the pass at hand ran. */
  private readonly ran: Uint8Array;
  /** Slots whose workgroup stopped, in order. */
  private stopped: number[] = [];
  /** Stopped workgroups that wait for a slot with a log. */
  private parked: { readonly slot: number; readonly workgroup: number }[] = [];
  /** Slots of `stopped` that need more log than there may be: the next pass is theirs. */
  private overfull: number[] = [];
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
    this.ran = new Uint8Array(this.window);
    this.freeSlots = Array.from({ length: this.window }, (_, i) => this.window - 1 - i);
  }

  async toEnd(): Promise<LaunchReport> {
    const { around, isAborted, onSubmitted, onPass, between } = this.request;
    let hasWaited = false;
    while (!this.isOver) {
      const pause = between?.(hasWaited);
      if (pause instanceof Promise) await pause;
      if (isAborted?.() === true) return this.report('aborted');
      const ready = (await around?.beforePass?.()) ?? 0;
      if (isErr(ready)) return this.report('failed', ready as Errno);
      this.unpark();
      const unlogged = this.overfull.length > 0;
      const replays = this.replays();
      const fresh = this.admit();
      const answer = this.run.pass({
        replays,
        fresh,
        budget: this.request.budget ?? DEFAULT_BUDGET,
        forceAt: this.request.forceAt ?? FORCE_NEVER,
        usesFrame: around?.usesFrame,
        unlogged,
        onSubmitted,
        isAborted,
      });
      hasWaited = answer instanceof Promise;
      const result = answer instanceof Promise ? await answer : answer;
      const uses = typeof result === 'number' ? undefined : result.uses;
      const left = (await around?.afterPass(uses)) ?? 0;
      if (isErr(left)) return this.report('failed', left as Errno);
      if (typeof result === 'number') return this.report('failed', result);
      if (isAborted?.() === true) return this.report('aborted');
      const before = this.finished;
      const failure = this.take(result, [replays, fresh], unlogged);
      this.passes += 1;
      onPass?.(this.counts(), result);
      if (failure !== undefined) return this.report(failure);
      if (!(await this.serve(result))) return this.report('cancelled');
      const moved = fresh.length > 0 || this.finished > before || result.checked > 0;
      if (!this.advances(result, moved)) {
        return this.report('stalled');
      }
    }
    return this.report('done');
  }

  private get isOver(): boolean {
    const { stopped, parked, next, request } = this;
    return stopped.length === 0 && parked.length === 0 && next >= request.workgroups;
  }

  private replays(): Uint32Array {
    const slots = this.overfull.length > 0 ? this.overfull : this.stopped;
    const work = new Uint32Array(slots.length * 2);
    for (let index = 0; index < slots.length; index++) {
      work[index * 2] = this.owner[slots[index]!]!;
      work[index * 2 + 1] = slots[index]!;
    }
    this.replayed += slots.length;
    this.request.arrange?.(work);
    return work;
  }

  /** Workgroups that have not run, as many as there are free slots that nobody waits for. */
  private get admissible(): number {
    const free = Math.max(0, this.freeSlots.length - this.parked.length);
    return Math.min(free, this.request.workgroups - this.next);
  }

  /** Takes up workgroups that waited for a slot. */
  private unpark(): void {
    if (this.holds || this.overfull.length > 0) return;
    const hasMore = this.parked.length > 0 && this.freeSlots.length > 0;
    while (this.parked.length > 0 && this.freeSlots.length > 0) {
      const { slot, workgroup } = this.parked.shift()!;
      const to = this.freeSlots.pop()!;
      this.run.unpark(slot, to);
      this.owner[to] = workgroup;
      this.stopped.push(to);
    }
    if (hasMore) this.stopped.sort((a, b) => a - b);
  }

  /** Gives free slots to workgroups that have not run. */
  private admit(): Uint32Array {
    const count = this.holds || this.overfull.length > 0 ? 0 : this.admissible;
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

  /** Sorts the slots of a pass into stopped and free; answers why the launch has to end, if so. */
  private take(
    result: VmPassResult,
    work: readonly Uint32Array[],
    unlogged: boolean,
  ): LaunchOutcome | undefined {
    if (work.every(({ length }) => length === 0)) return undefined;
    const { ran } = this;
    ran.fill(0);
    for (const pairs of work) for (let at = 1; at < pairs.length; at += 2) ran[pairs[at]!] = 1;
    this.overflow += result.overflow;
    this.faults += result.faults.length / 8 + result.overflow;
    this.killed += result.killed;
    this.diverged += result.diverged;
    const others = this.stopped.filter((slot) => ran[slot] === 0);
    this.stopped = [];
    let bits = 0;
    for (let slot = 0; slot < this.window; slot++) {
      if (ran[slot] === 0) continue;
      const status = result.status[slot]!;
      bits |= status;
      if ((status & CULPRIT) !== 0 && this.culprit < 0) this.culprit = this.owner[slot]!;
      if ((status & SLOT_STOPPED) !== 0) {
        this.stopped.push(slot);
      } else {
        this.owner[slot] = -1;
        this.freeSlots.push(slot);
        // Who ran out of its budget is over, and has not finished.
        if ((status & SLOT_ENDLESS) === 0) this.finished += 1;
      }
    }
    if (others.length > 0) this.stopped = [...others, ...this.stopped].sort((a, b) => a - b);
    // Others would take away what they wait for.
    this.overfull = unlogged ? this.stopped.filter((slot) => ran[slot] === 1) : [];
    if ((bits & SLOT_ENDLESS) !== 0) return 'endless';
    if (result.diverged > 0) return 'diverged';
    if ((bits & SLOT_LOG_FULL) === 0) return undefined;
    if (unlogged) return 'logFull';
    this.culprit = -1;
    this.makeRoom(result.status);
    return undefined;
  }

  /** Logs are full: they grow, at the cost of slots if need be; else their owners do without. */
  private makeRoom(status: Uint32Array): void {
    const slots = this.run.growLog(this.stopped);
    if (slots === 0) {
      this.overfull = this.stopped.filter((slot) => (status[slot]! & SLOT_LOG_FULL) !== 0);
      return;
    }
    this.logGrowths += 1;
    this.idle = 0;
    if (slots >= this.window) return;
    for (const slot of this.stopped) {
      if (slot < slots) continue;
      this.parked.push({ slot, workgroup: this.owner[slot]! });
      this.owner[slot] = -1;
    }
    this.stopped = this.stopped.filter((slot) => slot < slots);
    this.freeSlots = this.freeSlots.filter((slot) => slot < slots);
    this.window = slots;
  }

  private async serve({ faults, overflow, accesses }: VmPassResult): Promise<boolean> {
    if (faults.length === 0 && overflow === 0 && this.request.everyPass !== true) return true;
    const { owner, stopped, parked } = this;
    const batch = {
      records: faults,
      count: faults.length / 8,
      overflow,
      pass: this.passes - 1,
      // Most pagers never ask.
      stopped: () => [
        ...stopped.map((slot) => owner[slot]!),
        ...parked.map(({ workgroup }) => workgroup),
      ],
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
    const { passes, replayed, faults, overflow, killed, diverged, finished } = this;
    const { logGrowths, window } = this;
    const { logWords } = this.run;
    const logs = { logGrowths, logWords, window };
    return { passes, replayed, faults, overflow, killed, diverged, finished, ...logs };
  }
}
