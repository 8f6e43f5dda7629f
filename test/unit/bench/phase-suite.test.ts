/*
 * Migrations by hand, split by phase: what an engine does wrong is found, and leaves the machine
 * as it was for those who come after.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { runPlan } from '../../../bench/run-suites.ts';
import { NO_GOALS } from '../../../bench/types.ts';
import type { BenchReport } from '../../../bench/types.ts';
import { errno } from '../../../src/base/errno.ts';
import { JOB_COPY } from '../../../src/engine/command-list.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import { interceptSubmit } from './intercept-submit.ts';
import { tinyPlan } from './tiny-plan.ts';

// A run of suites takes seconds, on a busy machine a minute.
vi.setConfig({ testTimeout: 120_000 });

afterEach(() => {
  vi.restoreAllMocks();
});

/** The migrations of a run whose engine answers copies of 512 pages by `answer`. */
async function runWith(answer: (list: CommandList) => number | null): Promise<BenchReport> {
  interceptSubmit((_engine, list) =>
    list.length === 512 && list.op[0] === JOB_COPY ? answer(list) : null,
  );
  return runPlan(tinyPlan({ suites: ['migrate'], onlyGoals: [NO_GOALS] }));
}

function failures(report: BenchReport): (readonly [string, string | undefined])[] {
  const bad = report.cells.filter(({ verified }) => !verified);
  return bad.map(({ id, failure }) => [id, failure] as const);
}

test('an honest engine is verified both ways', async () => {
  expect(failures(await runWith(() => null))).toEqual([]);
});

test('an engine that copies nothing is caught', async () => {
  const report = await runWith((list) => {
    list.done.fill(1, 0, list.length);
    return 0;
  });
  expect(failures(report)).toEqual([
    ['phases/to-device/512', 'page 0 of 512 is wrong from word 0 on'],
    ['phases/to-host/512', 'page 0 of 512 is wrong from word 0 on'],
  ]);
});

test('a copy that fails ends the cell; what comes after runs, and no page is lost', async () => {
  let copies = 0;
  const report = await runWith(() => {
    copies += 1;
    return copies === 3 ? errno.EIO : null;
  });
  expect(failures(report)).toEqual([
    ['phases/to-device/512', 'a copy answered EIO'],
    ['phases/to-host/512', 'a copy answered EIO'],
  ]);
  // Of the whole migrations, and the CPU's copies beside them.
  expect(report.cells.filter(({ verified }) => verified).length).toBeGreaterThan(8);
});
