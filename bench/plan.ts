/**
 * How much of everything: sizes and time boxes of a full run, of a quick one, and the description
 * of a run that tests make smaller still.
 */
import type { StrategyName } from '../src/index.ts';
import { narrowCopies } from './copy-grid.ts';
import type { Direction } from './copy-operation.ts';
import { settingsOf } from './copy-settings.ts';
import type { CopySettings } from './copy-settings.ts';
import { coresHere } from './environment.ts';
import { FRAGMENTS } from './fragments.ts';
import type { Fragments } from './fragments.ts';
import type { SampleBox } from './sampler.ts';
import type { SoakPlan } from './soak.ts';
import { NO_GOALS, SUITE_NAMES } from './types.ts';
import type { BenchOptions, PresetName, SuiteName } from './types.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Sizes of the copy suite. */
export interface CopyPlan {
  /** Bytes of a folio. */
  readonly folios: readonly number[];
  /** Whether there are also batches of folios of several sizes. Default: no. */
  readonly isMixed?: boolean;
  /** Folios in a list. */
  readonly batches: readonly number[];
  /** A cell that moves more is left out. */
  readonly maxCellBytes: number;
  /** Only these; every one that the engine has, and `auto` in a full run, where absent. */
  readonly directions?: readonly Direction[];
  readonly strategies?: readonly StrategyName[];
  /** Milliseconds that the sweep has in any case, whatever came before took. */
  readonly leastMs: number;
  /** Also measure VRAM to VRAM, and the strategy `auto` as a column of its own. */
  readonly isFull: boolean;
  readonly box: SampleBox;
}

/** Sizes of the paired comparisons behind the goals. */
export interface GoalPlan {
  /** Samples of each side, as many as fit the time box of a comparison. */
  readonly minPairs: number;
  readonly maxPairs: number;
  /** Milliseconds of one comparison, preparation included. */
  readonly budgetMs: number;
  /** Times as many samples, and time, of comparisons whose value lies near its bound (G2, G3). */
  readonly nearTimes: number;
  /** Pages in a stream of batches (G4, G5) and in the large batch of G3. */
  readonly streamPages: number;
  /** Pages in the small batch of G3, and of one list in a stream. */
  readonly batchPages: number;
  /** Batch sizes of the batching curve (G6), ascending from 1. */
  readonly curve: readonly number[];
  /** Most samples of each of them: the worst one decides, so they have to be steady. */
  readonly curvePairs: number;
  /** Pages in the batch of G2. */
  readonly coalescePages: number;
  /** Most samples of each side of G19, whose bound is narrow. */
  readonly verifyPairs: number;
  /** A/A comparisons of each operation of G18. */
  readonly harness: { readonly minComparisons: number; readonly maxComparisons: number };
  /** Machines that G14 boots. */
  readonly boots: number;
  /** Staging lanes of the engines that G17 holds against an engine with one. */
  readonly lanes: readonly number[];
  readonly crossover: GridPlan;
  readonly regret: RegretPlan;
}

/** Folio sizes and batches of a grid; what moves more than a cell may is left out. */
export interface GridPlan {
  readonly folios: readonly number[];
  readonly batches: readonly number[];
  readonly maxCellBytes: number;
  /** Milliseconds of one cell, preparation included. */
  readonly cellMs: number;
}

/** The grid on which `auto` is held against every fixed path (G1). */
export interface RegretPlan extends GridPlan {
  readonly directions: readonly ('to-device' | 'to-host' | 'in-device')[];
  readonly fragments: readonly Fragments[];
}

/** Sizes of the suites on whole migrations. */
export interface MigratePlan {
  readonly batches: readonly number[];
  readonly box: SampleBox;
}

export interface FaultPlan {
  /** Pages faulted back one by one; as many samples. */
  readonly pages: number;
  /** Faults of a core of each kind, first touches of 2 MiB, rounds of hops, pairs of loops. */
  readonly pairs: number;
  readonly sweeps: number;
  readonly hops: number;
  readonly tlbPairs: number;
}

export interface MmPlan {
  /** Windows of 512 pages in one sample. */
  readonly windows: number;
  readonly pairs: number;
  readonly warmups: number;
  /** Pages of the range whose cost is held against that of 4,096; 0 leaves it out. */
  readonly scalePages: number;
  /** Batches that are timed one by one. */
  readonly spreadBatches: number;
}

/** Everything that a run does. */
export interface BenchPlan {
  readonly suites: readonly SuiteName[];
  /** Ids of the goals to measure, and nothing else; empty for everything, NO_GOALS for none. */
  readonly onlyGoals: readonly string[];
  /** The published table to mirror, and nothing else; null for none. */
  readonly preset: PresetName | null;
  /** Minutes of migrations both ways, and nothing else; null for none. */
  readonly soak: SoakPlan | null;
  readonly engine: 'webgpu' | 'cpu';
  readonly quick: boolean;
  readonly seed: number;
  readonly powerPreference: 'high-performance' | 'low-power' | undefined;
  readonly ramBytes: number;
  readonly deviceBytes: number;
  /** Milliseconds after which copy cells that have not begun are left out. */
  readonly runBudgetMs: number;
  /** The same for cells of G1, which come last. */
  readonly lastBudgetMs: number;
  /** How the copies of the copy suite are made, and how deep the engine's rings are. */
  readonly settings: CopySettings;
  readonly copy: CopyPlan;
  readonly goals: GoalPlan;
  readonly migrate: MigratePlan;
  readonly fault: FaultPlan;
  readonly mm: MmPlan;
  /** Threads that copy within RAM (G20), this one among them; 1 where others can't be started. */
  readonly copyThreads: number;
  /** Node only: the file that they are started from. */
  readonly copyWorker: string | undefined;
  /** Bytes of one operation of the reference lines. */
  readonly referenceBytes: number;
  /** Bytes of one operation of a preset, and the most that one moves. */
  readonly presetBytes: number;
}

/** Whether a run measures the sweeps of its suites, and not only comparisons behind goals. */
export function isSwept({ onlyGoals }: Pick<BenchPlan, 'onlyGoals'>): boolean {
  return onlyGoals.every((id) => id === NO_GOALS);
}

const CURVE = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

const QUICK_BOX: SampleBox = { minSamples: 5, maxSamples: 15, budgetMs: 200, warmups: 1 };
const FULL_BOX: SampleBox = { minSamples: 15, maxSamples: 60, budgetMs: 1500, warmups: 2 };

/** The plan of a full or quick run. */
export function planRun(options: BenchOptions): BenchPlan {
  const soak = options.soakMinutes === undefined ? null : soakPlan(options.soakMinutes);
  const preset = soak === null ? (options.preset ?? null) : null;
  // A soak and a published table are runs of their own, whatever else is chosen.
  const isAlone = soak !== null || preset !== null;
  const asked = isAlone ? [] : (options.suites ?? []);
  const common = {
    suites: asked.length === 0 ? SUITE_NAMES : SUITE_NAMES.filter((name) => asked.includes(name)),
    onlyGoals: isAlone ? [] : (options.goals ?? []),
    preset,
    soak,
    engine: options.engine ?? 'webgpu',
    seed: options.seed ?? 1,
    powerPreference: options.powerPreference,
    settings: settingsOf(options),
    copyThreads: copyThreadsFor(options),
    copyWorker: options.copyWorker,
  };
  const sizes = options.quick === true ? quickPlan() : fullPlan();
  return { ...common, ...sizes, copy: narrowCopies(sizes.copy, options) };
}

/** 8 MiB a process: small against caches would soak nothing, large would make few rounds. */
function soakPlan(minutes: number): SoakPlan {
  return { minutes, pages: 2048, rounds: 24, lookMs: 1000 };
}

/** Cores are as many as a CPU copy can use; more threads than these never gained anything. */
const MOST_COPY_THREADS = 8;

/** One for each core, and two where there is one, to show what a second costs there. */
function copyThreadsFor({ copyWorker }: BenchOptions): number {
  const canStart = copyWorker !== undefined || typeof Worker !== 'undefined';
  return canStart ? Math.max(2, Math.min(coresHere(), MOST_COPY_THREADS)) : 1;
}

/** Sizes alone: what the options say is left out. */
type Sizes = Omit<
  BenchPlan,
  | 'suites'
  | 'onlyGoals'
  | 'preset'
  | 'soak'
  | 'engine'
  | 'seed'
  | 'powerPreference'
  | 'settings'
  | 'copyThreads'
  | 'copyWorker'
>;

/** All parts fit a minute on two cores beside a software adapter, opening the browser included. */
function quickPlan(): Sizes {
  return {
    quick: true,
    ramBytes: 320 * MIB,
    deviceBytes: 72 * MIB,
    runBudgetMs: 30_000,
    lastBudgetMs: 46_000,
    copy: {
      folios: [4 * KIB, 64 * KIB, 2 * MIB],
      batches: [1, 64, 512],
      maxCellBytes: 16 * MIB,
      leastMs: 4000,
      isFull: false,
      box: QUICK_BOX,
    },
    goals: {
      minPairs: 15,
      maxPairs: 40,
      budgetMs: 250,
      nearTimes: 1,
      streamPages: 4096,
      batchPages: 512,
      curve: CURVE,
      curvePairs: 40,
      coalescePages: 1024,
      verifyPairs: 400,
      harness: { minComparisons: 40, maxComparisons: 200 },
      boots: 5,
      lanes: [3],
      crossover: {
        folios: [4 * KIB, 2 * MIB],
        batches: [1, 64, 512],
        maxCellBytes: 8 * MIB,
        cellMs: 150,
      },
      regret: {
        directions: ['to-device', 'to-host'],
        fragments: ['scattered'],
        folios: [4 * KIB, 64 * KIB, 2 * MIB],
        batches: [1, 64, 1024],
        maxCellBytes: 4 * MIB,
        cellMs: 200,
      },
    },
    migrate: { batches: [1, 8, 64, 512, 4096], box: { ...QUICK_BOX, maxSamples: 30 } },
    fault: { pages: 200, pairs: 30, sweeps: 5, hops: 60, tlbPairs: 15 },
    mm: { windows: 8, pairs: 32, warmups: 30, scalePages: 0, spreadBatches: 2000 },
    referenceBytes: 8 * MIB,
    presetBytes: 8 * MIB,
  };
}

function fullPlan(): Sizes {
  return {
    quick: false,
    ramBytes: 640 * MIB,
    deviceBytes: 256 * MIB,
    runBudgetMs: 400_000,
    lastBudgetMs: 660_000,
    copy: {
      folios: [4 * KIB, 64 * KIB, 2 * MIB],
      batches: [1, 64, 512],
      maxCellBytes: 256 * MIB,
      leastMs: 0,
      isFull: true,
      box: FULL_BOX,
    },
    goals: {
      minPairs: 15,
      maxPairs: 100,
      budgetMs: 8000,
      nearTimes: 3,
      streamPages: 4096,
      batchPages: 512,
      curve: CURVE,
      curvePairs: 300,
      coalescePages: 4096,
      verifyPairs: 3000,
      harness: { minComparisons: 200, maxComparisons: 400 },
      boots: 45,
      lanes: [2, 3, 4],
      crossover: {
        folios: [4 * KIB, 64 * KIB, 2 * MIB],
        batches: [1, 8, 64, 512, 4096],
        maxCellBytes: 32 * MIB,
        cellMs: 1500,
      },
      regret: {
        directions: ['to-device', 'to-host', 'in-device'],
        fragments: FRAGMENTS,
        folios: [4 * KIB, 64 * KIB, 2 * MIB],
        batches: [1, 8, 64, 512, 4096],
        maxCellBytes: 32 * MIB,
        cellMs: 1600,
      },
    },
    migrate: { batches: [1, 8, 64, 512, 4096], box: { ...FULL_BOX, maxSamples: 100 } },
    fault: { pages: 2000, pairs: 1500, sweeps: 15, hops: 400, tlbPairs: 100 },
    mm: { windows: 8, pairs: 100, warmups: 50, scalePages: 1_000_448, spreadBatches: 4000 },
    referenceBytes: 64 * MIB,
    presetBytes: 64 * MIB,
  };
}
