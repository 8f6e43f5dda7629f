/**
 * What the benchmark takes and what it gives: the contract between the suites, the page that shows
 * them, the command `npm run bench` and whoever reads the JSON. Plain data only: it crosses a
 * worker boundary and is written to a file as it is.
 *
 * Counting. GB/s are 10^9 bytes per second, each byte counted once however many hops it took. A
 * page is 4096 bytes. Times are wall time unless a name says otherwise.
 */

import type { StrategyName } from '../src/index.ts';
import type { DIRECTION_NAMES } from './copy-grid.ts';
import type { CopySettings, Verify } from './copy-settings.ts';
import type { Fragmentation } from './fragments.ts';

/** Version of the report's layout; changes when a reader would have to change. */
export const BENCH_SCHEMA = 'webhmm-bench/1';

/** The suites, in the order in which they run. */
export const SUITE_NAMES = ['mm', 'migrate', 'fault', 'copy'] as const;

/**
 * `mm`: bookkeeping of migration alone. `copy`: the copy engine alone, by strategy, folio size,
 * batch and direction. `migrate`: whole migrations both ways. `fault`: CPU faults that bring
 * single pages back.
 */
export type SuiteName = (typeof SUITE_NAMES)[number];

/** Runs that mirror a published table. */
export const PRESET_NAMES = ['dma-offload', 'thp-migration', 'nvbandwidth', 'xe-phases'] as const;

/**
 * `dma-offload`: copies by folio size and channels. `thp-migration`: whole migrations with and
 * without large folios. `nvbandwidth`: a matrix of directions. `xe-phases`: 2 MiB by phase.
 */
export type PresetName = (typeof PRESET_NAMES)[number];

/** A row of a preset's table; null where there is no figure. */
export interface PresetRow {
  readonly label: string;
  readonly values: readonly (number | null)[];
}

/** A published table and ours. */
export interface PresetTable {
  readonly preset: PresetName;
  readonly title: string;
  /** Who published it, where and when, on what. */
  readonly source: string;
  readonly unit: 'GB/s' | 'us';
  readonly columns: readonly string[];
  readonly published: readonly PresetRow[];
  readonly measured: readonly PresetRow[];
  readonly notes: readonly string[];
}

/** In place of goals: only the sweeps of the suites. */
export const NO_GOALS = 'none';

/** What to run. */
export interface BenchOptions {
  /** Which suites; all when absent or empty. */
  readonly suites?: readonly SuiteName[];
  /**
   * Only the comparisons behind these goals ("G2"), without the sweeps of the suites; "none" for
   * the sweeps alone; everything when absent or empty.
   */
  readonly goals?: readonly string[];
  /** Only the cells of that published table, and the reference lines. */
  readonly preset?: PresetName;
  /** Only migrations both ways, that many minutes, and whether memory stays flat. */
  readonly soakMinutes?: number;
  /** Smaller cells and fewer samples, for a run under a minute. Default false. */
  readonly quick?: boolean;
  /** Seed of contents, scattering, order and bootstrap. Default 1. */
  readonly seed?: number;
  /** `cpu` runs on the CPU engine: no adapter needed, and no figure means anything. */
  readonly engine?: 'webgpu' | 'cpu';
  readonly powerPreference?: 'high-performance' | 'low-power';
  /** Only these copies in the sweep of the copy suite; the usual ones when absent or empty. */
  readonly directions?: readonly (typeof DIRECTION_NAMES)[number][];
  readonly strategies?: readonly StrategyName[];
  /** Names of sizes ("64K"), see FOLIO_NAMES, and of batches, see BATCH_NAMES. */
  readonly folios?: readonly string[];
  readonly batches?: readonly string[];
  /** How folios of the copy suite lie in memory. Default `scattered`. */
  readonly fragments?: Fragmentation;
  /** Staging slots of each size and direction, 1 to 8. Default 3. */
  readonly ringDepth?: number;
  /** Lists in flight that a batch of the copy suite is split into, 1 to 16. Default 1. */
  readonly channels?: number;
  /** Who looks at results of the copy suite. Default `device`. */
  readonly verify?: Verify;
  /** Node only: the file that copy threads are started from; without it there are none. */
  readonly copyWorker?: string;
}

/** How far a run is. Sent at each cell that is complete, and before slow steps. */
export interface BenchProgress {
  readonly suite: SuiteName | 'boot' | 'reference' | 'goals';
  /** What is being done, for people: "staging 4 KiB x 64 RAM to VRAM". */
  readonly note: string;
  /** Steps done and in all, over the whole run. */
  readonly done: number;
  readonly total: number;
  /** The cell that was completed, if one was. */
  readonly cell?: BenchCell;
}

/** One measured combination of parameters. */
export interface BenchCell {
  readonly suite: SuiteName | 'reference';
  /** Unique within the report: "copy/to-device/staging/4096/64". */
  readonly id: string;
  /** What was varied: strategy, direction, folioBytes, batch, pages, ... */
  readonly params: Readonly<Record<string, string | number | boolean>>;
  /** One number a sample, in `unit`, warm-up excluded, in the order measured. */
  readonly samples: readonly number[];
  /**
   * `us` = microseconds of one operation, `ns/page` = nanoseconds of one page, `bytes` = bytes that
   * one operation leaves on the JS heap.
   */
  readonly unit: 'us' | 'ns/page' | 'bytes';
  /** All pages of the last sample held what they should, and no GPU error was seen. */
  readonly verified: boolean;
  /** Why the cell is not verified. */
  readonly failure?: string;
  /** Nobody looked at the result, as the run was told: not verified, and not known to be wrong. */
  readonly unchecked?: true;
  /** Warm-up operations, run and thrown away. */
  readonly dropped: number;
  /** Operations chained into one sample, so that it is long against the clock's tick. */
  readonly chained: number;
  readonly median: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly min: number;
  readonly max: number;
  /** Bootstrap 95% interval of the median. */
  readonly ci: readonly [number, number];
  /** Standard deviation over mean. */
  readonly cv: number;
  /** Bytes that one operation moves; 0 where nothing is moved. */
  readonly bytes: number;
  /** Derived from the median: bytes moved once, 10^9 a second. Null where nothing is moved. */
  readonly gbPerSecond: number | null;
  /** Derived from the median. Null where the cell has no pages. */
  readonly usPerPage: number | null;
  /** Median microseconds of one operation by phase, where the parts can be told apart. */
  readonly phases?: Readonly<Record<string, number>>;
  /**
   * Microseconds that the device took for one operation, by timestamp queries, in repeats of the
   * cell; of copies alone, and of migrations by hand. Absent where there are no such queries, where
   * the engine submits nothing, for what `queue.writeBuffer` brings, and for copies over 50 ms.
   */
  readonly gpuUs?: number;
  /** What the engine did for one operation on average: lists, submissions, copy commands, ... */
  readonly counts?: Readonly<Record<string, number>>;
}

/** A combination that was not measured, and why. */
export interface OmittedCell {
  readonly id: string;
  readonly why: string;
}

/** One bound of a goal. */
export interface GoalPart {
  readonly what: string;
  readonly value: number;
  readonly ci: readonly [number, number];
  readonly comparison: '<=' | '>=';
  readonly target: number;
  readonly holds: boolean;
  /** Where it misses: what forbids it here. */
  readonly limit?: GoalLimit;
}

/** A limit of the platform, sampled in the same run, that forbids reaching a goal. */
export interface GoalLimit {
  readonly what: string;
  readonly value: number;
  readonly samples: readonly number[];
  /** How many times as long ours takes as what forbids it, of the same rounds; in pairs only. */
  readonly beyond?: { readonly value: number; readonly ci: readonly [number, number] };
}

/** One goal. `value`, `ci`, `target` and `limit` are those of the part with the least margin. */
export interface BenchGoal {
  readonly id: string;
  readonly title: string;
  /** What `value` is, with its unit. */
  readonly what: string;
  readonly value: number | null;
  readonly ci: readonly [number, number] | null;
  readonly comparison: '<=' | '>=' | null;
  readonly target: number | null;
  /** Null where this run can't decide; `why` says why. */
  readonly holds: boolean | null;
  readonly parts: readonly GoalPart[];
  readonly limit?: GoalLimit;
  readonly why?: string;
}

/** The adapter that did the work, or the CPU engine. */
export interface BenchAdapter {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly isSoftware: boolean;
  readonly limits: Readonly<Record<string, number>>;
  readonly features: readonly string[];
}

/** Where the numbers come from. Without it a number is worth nothing. */
export interface BenchEnvironment {
  readonly engine: 'webgpu' | 'cpu';
  readonly adapter: BenchAdapter;
  readonly isSoftware: boolean;
  /** "Chromium", "Firefox", "Node" ... and its version. */
  readonly browser: string;
  readonly version: string;
  readonly userAgent: string;
  readonly crossOriginIsolated: boolean;
  readonly cores: number;
  /** Smallest step that the clock showed, in microseconds. */
  readonly clockTickUs: number;
  /** Smallest step of GPU timestamps, null where the adapter has none or nothing was measured. */
  readonly timestampTickNs: number | null;
  /** Where a browser keeps memory shared with its GPU process; null where that is not known. */
  readonly devShm: 'shm' | 'tmp' | null;
  /** Version of Node that drove or ran the benchmark; null on a page opened by hand. */
  readonly node: string | null;
  readonly seed: number;
  readonly quick: boolean;
  /** Suites of which something was run. */
  readonly suites: readonly SuiteName[];
  /**
   * The only goals that were asked for, NO_GOALS for none; absent where nobody chose, and in
   * reports of versions that did not say.
   */
  readonly goals?: readonly string[];
  /** Minutes of a soak, where that was all that was run. */
  readonly soakMinutes?: number;
  /** How the copies were made; absent in reports of versions that had no choice. */
  readonly settings?: CopySettings;
  /** ISO 8601. */
  readonly startedAt: string;
  /** The tab was hidden at some time: throttled, so its times are worth nothing. */
  readonly hidden: boolean;
  /** The device was lost, which ended the run: why. What was measured before it stands. */
  readonly deviceLost?: string;
}

/** A whole run. */
export interface BenchReport {
  readonly schema: typeof BENCH_SCHEMA;
  /** The commit that was measured, with "+" where the tree had changes; null where unknown. */
  readonly commit: string | null;
  readonly env: BenchEnvironment;
  readonly wallSeconds: number;
  readonly cells: readonly BenchCell[];
  readonly omitted: readonly OmittedCell[];
  readonly goals: readonly BenchGoal[];
  /** The published tables that the run mirrors; absent where it mirrors none. */
  readonly presets?: readonly PresetTable[];
}

/** Whether the figures of a cell are worth nothing: its operation or its result was wrong. */
export function isBroken({ verified, unchecked }: BenchCell): boolean {
  return !verified && unchecked !== true;
}

/** True when the run went to its end and no cell was wrong, as far as anybody looked. */
export function isSound({ cells, env }: BenchReport): boolean {
  return cells.length > 0 && !cells.some(isBroken) && env.deviceLost === undefined;
}

/** True when every cell of the report was verified. */
export function isVerified(report: BenchReport): boolean {
  return report.cells.length > 0 && report.cells.every((cell) => cell.verified);
}
