/*
 * The sweep: a workload on devices that are ever smaller than it, under each policy. Pure, so that
 * it runs in a worker and in tests.
 */
import {
  ModelRun,
  POLICIES,
  POLICY_HELP,
  policyByName,
  PolicyError,
  StuckError,
} from '../../src/index.ts';
import type {
  AccessTrace,
  CostModel,
  EvictionName,
  ModelResult,
  PolicyFactory,
  PolicyName,
  ReplayPolicy,
} from '../../src/index.ts';
import { pagesOf, traceOf } from '../_shell/fault-work.ts';
import type { FaultWork } from '../_shell/fault-work.ts';

/** What can be chosen: all policies, the pair behind the published cliff, and one's own. */
export const CONTENDERS = [...POLICIES, 'tbn-lru4k', 'yours'] as const;
/** A policy of the sweep. */
export type Contender = (typeof CONTENDERS)[number];

/** What each is, in a line. */
export const CONTENDER_HELP: Readonly<Record<Contender, string>> = {
  ...POLICY_HELP,
  'tbn-lru4k': 'tbn that stops prefetching when memory is full, and evicts single pages (LRU)',
  yours: 'the module below',
};

/** Working set over device memory. */
const FEW = [0.5, 0.75, 0.9, 1, 1.05, 1.1, 1.25, 1.5, 2, 3, 4];
const MORE = [0.6, 0.8, 0.95, 1.025, 1.075, 1.15, 1.2, 1.35, 1.75, 2.5, 3.5];
/** Points of a curve, by name. */
export const RATIOS = {
  few: FEW,
  many: [...FEW, ...MORE].toSorted((a, b) => a - b),
} as const satisfies Readonly<Record<string, readonly number[]>>;

/** What a sweep runs. */
export interface SweepOptions {
  readonly work: FaultWork;
  readonly contenders: readonly Contender[];
  readonly ratios: readonly number[];
  readonly evict: EvictionName | null;
  readonly window: number;
  readonly batchLimit: number | null;
  readonly replay: ReplayPolicy | null;
  readonly seed: number;
  readonly cost: CostModel;
}

/** One point: what a run on a device of that size gave. */
export interface SweepCell {
  readonly contender: Contender;
  readonly ratio: number;
  readonly devicePages: number;
  /** Pages of the working set. */
  readonly pages: number;
  /** Null where the run did not end; `failure` says why. */
  readonly result: Pick<ModelResult, 'us' | 'accesses' | 'counts' | 'times'> | null;
  readonly failure?: string;
  /** The error behind it. */
  readonly error?: Error;
}

/** What a sweep says while it goes on. */
export interface SweepListener {
  /** The trace, before the first run. */
  readonly onTrace?: (trace: AccessTrace) => void;
  readonly onCell?: (cell: SweepCell, done: number, total: number) => void;
  /** How far the run in progress is, 0 to 1; called every few steps. */
  readonly onStep?: (fraction: number) => void;
}

/** Steps of a run between two calls of onStep(). */
const STEPS = 256;

/** Indices 0 to `count` - 1, both ends first, then always the middles of what is left. */
export function coarseFirst(count: number): number[] {
  if (count <= 2) return Array.from({ length: count }, (_, i) => i);
  const order = [0, count - 1];
  let gaps: [number, number][] = [[0, count - 1]];
  while (gaps.length > 0) {
    gaps = gaps.flatMap(([low, high]): [number, number][] => {
      if (high - low < 2) return [];
      const middle = (low + high) >>> 1;
      order.push(middle);
      return [
        [low, middle],
        [middle, high],
      ];
    });
  }
  return order;
}

/** What makes a contender's policy. @param own the user's, where there is one */
export function policyOf(
  contender: Contender,
  evict: EvictionName | null,
  own: PolicyFactory | null,
): PolicyFactory {
  if (contender === 'yours') {
    if (own === null) throw new Error('there is no policy of yours');
    return own;
  }
  const order = evict === null ? {} : { evict };
  if (contender !== 'tbn-lru4k') return policyByName(contender satisfies PolicyName, order);
  return policyByName('tbn', { smart: { pressurePrefetch: 'none', evict: evict ?? 'lru4k' } });
}

/**
 * Runs the whole sweep: all policies at the first ratio, at the next, and so on, coarse first.
 *
 * @param own the user's policy, where it is among the contenders
 * @returns the cells in the order in which they were run
 *
 * Context: pure and synchronous, up to minutes: for a worker.
 */
export function runSweep(
  options: SweepOptions,
  listener: SweepListener = {},
  own: PolicyFactory | null = null,
): SweepCell[] {
  const { contenders, ratios } = options;
  const trace = traceOf(options.work, options.seed);
  listener.onTrace?.(trace);
  const total = contenders.length * ratios.length;
  const cells: SweepCell[] = [];
  for (const at of coarseFirst(ratios.length)) {
    for (const contender of contenders) {
      const order = {
        contender,
        ratio: ratios[at]!,
        make: policyOf(contender, options.evict, own),
      };
      const cell = runCell(options, trace, order, listener.onStep);
      cells.push(cell);
      listener.onCell?.(cell, cells.length, total);
    }
  }
  return cells;
}

/** One cell to be run. */
interface CellOrder {
  readonly contender: Contender;
  readonly ratio: number;
  readonly make: PolicyFactory;
}

function runCell(
  options: SweepOptions,
  trace: AccessTrace,
  { contender, ratio, make }: CellOrder,
  onStep: SweepListener['onStep'],
): SweepCell {
  const pages = pagesOf(trace);
  const devicePages = Math.max(1, Math.floor(pages / ratio));
  const base = { contender, ratio, devicePages, pages };
  const { window, seed, cost, replay, batchLimit } = options;
  const traits = {
    ...(replay === null ? {} : { replay }),
    ...(batchLimit === null ? {} : { batchLimit }),
  };
  try {
    const run = new ModelRun(trace, make, { devicePages, window, seed, cost, traits });
    for (let step = 1; !run.isDone; step++) {
      run.step();
      if (step % STEPS === 0) onStep?.(run.device.accesses / trace.pages.length);
    }
    const { us, accesses, counts, times } = run.result();
    return { ...base, result: { us, accesses, counts, times } };
  } catch (error) {
    if (!(error instanceof StuckError) && !(error instanceof PolicyError)) throw error;
    return { ...base, result: null, failure: error.message, error };
  }
}

/** Virtual time of an access, µs, with all that it waited for; null where the run did not end. */
export function usPerAccess({ result }: SweepCell): number | null {
  return result === null || result.accesses === 0 ? null : result.us / result.accesses;
}

/** Fault records per page of the working set. */
export function faultsPerPage({ result, pages }: SweepCell): number | null {
  return result === null ? null : result.counts.faults / pages;
}

/** Bytes moved both ways, in working sets. */
export function workingSetsMoved({ result, pages }: SweepCell): number | null {
  if (result === null) return null;
  return (result.counts.bytesIn + result.counts.bytesOut) / (pages * 4096);
}
