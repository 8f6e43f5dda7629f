/*
 * A plan of all suites on the CPU engine, smaller than any option makes one.
 */
import { planRun } from '../../../bench/plan.ts';
import type { BenchPlan } from '../../../bench/plan.ts';

const BOX = { minSamples: 3, maxSamples: 3, budgetMs: 50, warmups: 1 };

/** The goals that the CPU engine can run, a few pages each. */
function tinyGoals(): BenchPlan['goals'] {
  const { goals } = planRun({ quick: true, engine: 'cpu' });
  const grid = { folios: [4096], batches: [1, 16], maxCellBytes: 2 ** 20, cellMs: 5 };
  return {
    ...goals,
    minPairs: 3,
    maxPairs: 5,
    budgetMs: 20,
    batchPages: 16,
    verifyPairs: 6,
    harness: { minComparisons: 2, maxComparisons: 2 },
    crossover: grid,
    regret: { ...grid, directions: ['in-device'], fragments: ['scattered'] },
  };
}

/** All suites, a few pages each. */
export function tinyPlan(change: Partial<BenchPlan> = {}): BenchPlan {
  return {
    ...planRun({ quick: true, engine: 'cpu', seed: 42 }),
    ramBytes: 32 * 2 ** 20,
    deviceBytes: 16 * 2 ** 20,
    // No cell of these is left out, however slow the machine is.
    runBudgetMs: 3_600_000,
    lastBudgetMs: 3_600_000,
    copy: {
      folios: [4096, 65536],
      batches: [1, 8],
      maxCellBytes: 2 ** 20,
      leastMs: 0,
      isFull: true,
      box: BOX,
    },
    migrate: { batches: [1, 8], box: BOX },
    fault: { pages: 10, pairs: 2, sweeps: 1, hops: 2, tlbPairs: 3 },
    mm: { windows: 1, pairs: 6, warmups: 2, scalePages: 0, spreadBatches: 20 },
    referenceBytes: 2 ** 18,
    presetBytes: 2 ** 22,
    goals: tinyGoals(),
    ...change,
  };
}
