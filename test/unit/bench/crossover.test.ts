/*
 * G20's sides: offload, and 1 to N threads that copy within RAM.
 */
import { describe, expect, test } from 'vitest';
import { threadCounts, withThreads } from '../../../bench/crossover-goal.ts';
import { planRun } from '../../../bench/plan.ts';
import type { BenchPlan } from '../../../bench/plan.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { bundleNodeWorker } from '../../../cli/node-worker.ts';

const TIMEOUT_MS = 120_000;
const MIB = 2 ** 20;

function plan(copyWorker: string | undefined): BenchPlan {
  const options = {
    quick: true,
    engine: 'cpu',
    seed: 3,
    goals: ['G20'],
    suites: ['copy'],
  } as const;
  const base = planRun({ ...options, ...(copyWorker === undefined ? {} : { copyWorker }) });
  const crossover = { folios: [4096, 65536], batches: [1, 64], maxCellBytes: 8 * MIB, cellMs: 5 };
  return {
    ...base,
    ramBytes: 64 * MIB,
    deviceBytes: 16 * MIB,
    runBudgetMs: 3_600_000,
    lastBudgetMs: 3_600_000,
    goals: { ...base.goals, crossover },
  };
}

describe('the crossover', () => {
  test(
    'times each cell by one thread, by several, and by way of the device',
    async () => {
      const file = await bundleNodeWorker('src/worker/copy-worker-node.ts');
      const report = await runPlan({ ...plan(file.href), copyThreads: 3 });
      const cells = report.cells.filter(({ id }) => id.startsWith('goal/G20/'));
      const sizes = ['4096/1', '4096/64', '65536/1', '65536/64'];
      expect(cells.map(({ id }) => id).toSorted()).toEqual(
        ['cpu', 'cpu-2', 'cpu-3', 'offload']
          .flatMap((via) => sizes.map((size) => `goal/G20/${via}/${size}`))
          .toSorted(),
      );
      expect(cells.filter(({ verified }) => !verified)).toEqual([]);
      for (const { samples } of cells) expect(samples.length).toBeGreaterThanOrEqual(30);
      const byThree = cells.find(({ id }) => id === 'goal/G20/cpu-3/4096/64')!;
      expect(byThree.params).toMatchObject({ direction: 'in-host', via: 'cpu-3', threads: 3 });
    },
    TIMEOUT_MS,
  );

  test(
    'has one thread where others can not be started',
    async () => {
      const report = await runPlan(plan(undefined));
      const vias = new Set(report.cells.map(({ params }) => params['via']));
      vias.delete(undefined);
      expect(vias).toEqual(new Set(['cpu', 'offload']));
    },
    TIMEOUT_MS,
  );

  test('counts threads in powers of two, and all of them', () => {
    expect([1, 2, 3, 4, 6, 8].map(threadCounts)).toEqual([
      [1],
      [1, 2],
      [1, 2, 3],
      [1, 2, 4],
      [1, 2, 4, 6],
      [1, 2, 4, 8],
    ]);
  });

  test('runs a side with its threads, and nothing else', async () => {
    const seen: number[] = [];
    const crew = { threads: 4, active: 1, run: () => undefined, close: () => undefined };
    const note = (): void => void seen.push(crew.active);
    const run = (): number => {
      note();
      return 0;
    };
    const operation = withThreads(crew, 3, { prepare: note, run });
    await operation.prepare?.(true);
    expect(operation.run()).toBe(0);
    expect(seen).toEqual([1, 3]);
    expect(crew.active).toBe(1);
  });
});
