/*
 * Kernels over virtual memory in JS: the same mechanism as the shaders', on kernels of the small
 * language. Invocations of all workgroups of a pass run interleaved in an order drawn from a seed,
 * which a GPU does not let anyone choose; so this engine tries orders that hardware might.
 *
 * Locking. None; never waits. Source: our own.
 *
 * Leaves out: kernels without `ir` (EOPNOTSUPP), and the first attempts without log that the
 * shaders know: here every attempt logs.
 */
import { errno } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import { Prng } from '../../base/prng.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../../base/units.ts';
import { CONTROL_USE_FRAMES, FAULT_WORDS, STATE_WORDS, USES_NOWHERE, USE_KINDS } from './abi.ts';
import { CpuGroup } from './cpu-group.ts';
import type { DeviceSpace } from './device-space.ts';
import type { LaneCode } from './lane-code.ts';
import { compileLanes } from './lane-code.ts';
import type {
  VmEngine,
  VmKernel,
  VmPass,
  VmPassResult,
  VmProgram,
  VmProgramOptions,
  VmRefusal,
  VmRun,
} from './vm-engine.ts';
import { DEFAULT_LOG_WORDS, DEFAULT_RING_RECORDS, MAX_LOG_WORDS } from './vm-engine.ts';

/** How often a pass looks whether it is still wanted. */
const BURSTS_BETWEEN_LOOKS = 4096;

const USES_WORDS = CONTROL_USE_FRAMES * USE_KINDS;

/** State that an invocation keeps between passes. */
export interface LaneRecord {
  /** Stopped, and to be replayed. */
  stopped: boolean;
  /** Operations done, with their results. */
  done: number;
  log: number[];
  hash: number;
  /** The state of its last checkpoint; the above counts from there on. */
  checkpoint: Float64Array | null;
  /** Rounds of loops up to there. */
  ticks: number;
  /** Its workgroup's counters, put aside when that stopped: the first invocation has them. */
  counters: Uint32Array | null;
}

/** What a pass shares between its workgroups. */
export interface CpuPass {
  readonly memory: Uint32Array;
  readonly space: DeviceSpace;
  readonly args: Uint32Array;
  readonly code: LaneCode;
  readonly options: VmProgramOptions;
  readonly logWords: number;
  /** Invocations go on past a full log. */
  readonly unlogged: boolean;
  readonly budget: number;
  readonly forceAt: number;
  /** Pages and kinds already reported: page * 2 + writes. */
  readonly reported: Set<number>;
  readonly records: number[];
  /** Rows of `VmPassResult.accesses`, where they are wanted. */
  readonly accesses: number[] | undefined;
  readonly status: Uint32Array;
  /** Uses of the frames from `usesFrame` on, where they are counted. */
  readonly uses: Uint32Array | null;
  readonly usesFrame: number;
  faults: number;
  stopped: number;
  killed: number;
  diverged: number;
  progress: number;
  checked: number;
}

/** The engine. */
export class CpuVmEngine implements VmEngine {
  readonly frames: number;
  readonly memory: Uint32Array;
  private readonly prng: Prng;
  private readonly isLost: () => boolean;

  /**
   * @param frames frames of device memory
   * @param seed of the order in which invocations run
   * @param memory the frames' contents, where they are somebody else's
   * @param isLost whether their owner has lost them
   */
  constructor(frames: number, seed = 1, memory?: Uint32Array, isLost = () => false) {
    this.isLost = isLost;
    this.frames = frames;
    this.memory = memory ?? new Uint32Array(frames * WORDS_PER_PAGE);
    this.prng = new Prng(seed);
  }

  /** Compiles a kernel, or says what is wrong with it (VmEngine). */
  compile(kernel: VmKernel, options: VmProgramOptions): VmProgram | VmRefusal {
    const { ir } = kernel;
    if (this.isLost()) return { errno: errno.ENODEV, problems: [] };
    if (ir === undefined) {
      const reason = 'this engine runs no WGSL, only shapes by their name';
      return { errno: errno.EOPNOTSUPP, problems: [{ line: 1, column: 1, reason }] };
    }
    const code = compileLanes(ir);
    const { memory, prng, isLost } = this;
    return {
      kernel,
      slots: options.slots,
      firstAttempt: options.guard === 'none' ? 'none' : 'log',
      launch: (space, args) => {
        const run = new CpuRun(memory, prng, code, options, space, args);
        const pass = (work: VmPass): VmPassResult | Errno =>
          isLost() ? errno.ENODEV : run.pass(work);
        return {
          pass,
          get logWords() {
            return run.logWords;
          },
          growLog: () => run.growLog(),
          unpark: (from, to) => run.unpark(from, to),
          end: () => run.end(),
        };
      },
    };
  }

  /** Fills a frame with the bytes of one page, ordered before later passes (VmEngine). */
  writeFrame(frame: number, bytes: Uint8Array): void {
    this.bytes().set(bytes, frame * PAGE_SIZE);
  }

  /** Contents of frames after all passes so far, one page each (VmEngine). */
  readFrames(frames: readonly number[]): readonly Uint8Array[] {
    const bytes = this.bytes();
    return frames.map((frame) => bytes.slice(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE));
  }

  /** Forgets a context (VmEngine). */
  drop(): void {}

  private bytes(): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.memory;
    return new Uint8Array(buffer, byteOffset, byteLength);
  }

  /** Gives everything back (VmEngine). */
  destroy(): void {}
}

class CpuRun implements VmRun {
  private readonly memory: Uint32Array;
  private readonly prng: Prng;
  private readonly code: LaneCode;
  private readonly options: VmProgramOptions;
  private readonly space: DeviceSpace;
  private readonly args = new Uint32Array(32);
  private readonly states: LaneRecord[][];
  logWords: number;

  constructor(
    memory: Uint32Array,
    prng: Prng,
    code: LaneCode,
    options: VmProgramOptions,
    space: DeviceSpace,
    args: readonly number[],
  ) {
    this.memory = memory;
    this.prng = prng;
    this.code = code;
    this.options = options;
    this.space = space;
    this.args.set(args);
    this.logWords = options.logWords ?? DEFAULT_LOG_WORDS;
    this.states = Array.from({ length: options.slots }, () =>
      Array.from({ length: code.lanes }, () => ({
        stopped: false,
        done: 0,
        log: [],
        hash: 0,
        checkpoint: null,
        ticks: 0,
        counters: null,
      })),
    );
  }

  pass(work: VmPass): VmPassResult {
    const shared: CpuPass = {
      memory: this.memory,
      space: this.space,
      args: this.args,
      code: this.code,
      options: this.options,
      logWords: this.logWords,
      unlogged: work.unlogged === true,
      budget: work.budget,
      forceAt: work.forceAt,
      reported: new Set(),
      records: [],
      accesses: this.options.reportsAccesses === true ? [] : undefined,
      status: new Uint32Array(this.options.slots),
      uses: this.options.countsUses === true ? new Uint32Array(USES_WORDS) : null,
      usesFrame: work.usesFrame ?? USES_NOWHERE,
      faults: 0,
      stopped: 0,
      killed: 0,
      diverged: 0,
      progress: 0,
      checked: 0,
    };
    const replays = this.groups(shared, work.replays, true);
    const groups = [...replays, ...this.groups(shared, work.fresh, false)];
    interleave(groups, this.prng, work.isAborted);
    work.onSubmitted?.();
    const kept = Math.min(shared.faults, this.options.ringRecords ?? DEFAULT_RING_RECORDS);
    const { status, stopped, killed, diverged, progress, checked, uses } = shared;
    const faults = Uint32Array.from(shared.records.slice(0, kept * FAULT_WORDS));
    const overflow = shared.faults - kept;
    const counts = { overflow, stopped, killed, diverged, progress, checked };
    const accesses =
      shared.accesses === undefined ? {} : { accesses: Uint32Array.from(shared.accesses) };
    return { status, faults, ...counts, ...accesses, ...(uses === null ? {} : { uses }) };
  }

  /** Logs are lists that grow; `memoBytes` bounds them as if each had its room from the first. */
  growLog(): number {
    const { memoBytes = Infinity, slots } = this.options;
    const { lanes } = this.code;
    const words = Math.floor((memoBytes / 4 - slots * (1 + STATE_WORDS * lanes)) / lanes);
    const after = Math.min(this.logWords * 2, MAX_LOG_WORDS, words);
    if (after <= this.logWords) return 0;
    this.logWords = after;
    return Math.min(slots, Math.floor(words / after));
  }

  unpark(from: number, to: number): void {
    const free = this.states[to]!;
    this.states[to] = this.states[from]!;
    this.states[from] = free;
  }

  end(): void {
    this.states.length = 0;
  }

  private groups(shared: CpuPass, work: Uint32Array, replay: boolean): CpuGroup[] {
    const groups: CpuGroup[] = [];
    for (let index = 0; index < work.length; index += 2) {
      const slot = work[index + 1]!;
      groups.push(new CpuGroup(shared, work[index]!, slot, this.states[slot]!, replay));
    }
    return groups;
  }
}

/** Runs invocations in bursts of random length until none can go on, or nobody wants it. */
function interleave(
  groups: readonly CpuGroup[],
  prng: Prng,
  isAborted: (() => boolean) | undefined,
): void {
  const active = groups.filter((group) => group.runnable());
  for (let bursts = 1; active.length > 0; bursts++) {
    if (bursts % BURSTS_BETWEEN_LOOKS === 0 && isAborted?.() === true) return;
    const index = prng.below(active.length);
    const group = active[index]!;
    group.step(prng);
    if (!group.runnable()) {
      active[index] = active.at(-1)!;
      active.pop();
    }
  }
}
