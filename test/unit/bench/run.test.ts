/*
 * A tiny run of all suites on the CPU engine: the report has the documented layout, survives
 * JSON, and is verified; a run that asks for less has less.
 */
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { runBench } from '../../../bench/bench-client.ts';
import { PHASE_ORDER } from '../../../bench/phase-names.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { BENCH_SCHEMA, SUITE_NAMES, isVerified } from '../../../bench/types.ts';
import type { BenchCell, BenchProgress, BenchReport } from '../../../bench/types.ts';
import { tinyPlan } from './tiny-plan.ts';

/** A run of everything takes seconds, on a busy machine a minute. */
const PATIENCE_MS = 300_000;
vi.setConfig({ testTimeout: PATIENCE_MS });

/** Ids of the cells of a suite's sweep, without those of the goals. */
function ids(report: BenchReport, suite: BenchCell['suite']): string[] {
  const own = report.cells.filter((cell) => cell.suite === suite);
  return own.map(({ id }) => id).filter((id) => !id.startsWith('goal/'));
}

describe('a run of all suites on the CPU engine', () => {
  let report: BenchReport;
  const progress: BenchProgress[] = [];
  beforeAll(async () => {
    report = await runPlan(tinyPlan(), (step) => progress.push(step));
  }, PATIENCE_MS);

  test('is verified cell by cell', () => {
    expect(report.cells.filter((cell) => !cell.verified)).toEqual([]);
    expect(isVerified(report)).toBe(true);
  });

  test('has cells of each suite, each id once', () => {
    const all = report.cells.map(({ id }) => id);
    expect(new Set(all).size).toBe(all.length);
    for (const suite of SUITE_NAMES) expect(ids(report, suite)).not.toEqual([]);
    expect(ids(report, 'copy')).toContain('copy/to-device/cpu/65536/8');
    expect(ids(report, 'copy')).toContain('copy/in-device/cpu/4096/1');
    expect(ids(report, 'migrate').toSorted()).toEqual([
      'first-page/cpu-copy/1',
      'first-page/cpu-copy/8',
      'first-page/to-device/1',
      'first-page/to-device/8',
      'migrate/to-device/1',
      'migrate/to-device/8',
      'migrate/to-host/1',
      'migrate/to-host/8',
      'phases/to-device/512',
      'phases/to-host/512',
    ]);
  });

  test('survives JSON: every number is one', () => {
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  test('has the documented layout', () => {
    expect(report.schema).toBe(BENCH_SCHEMA);
    expect(report.wallSeconds).toBeGreaterThan(0);
    expect(report.env).toMatchObject({ engine: 'cpu', isSoftware: true, seed: 42, quick: true });
    expect(report.env.adapter.vendor).toBe('none');
    for (const cell of report.cells) {
      expect(cell.samples.length).toBeGreaterThanOrEqual(3);
      expect(cell.ci[0]).toBeLessThanOrEqual(cell.median);
      expect(cell.ci[1]).toBeGreaterThanOrEqual(cell.median);
      expect(cell.min).toBeLessThanOrEqual(cell.p50);
      expect(cell.p99).toBeLessThanOrEqual(cell.max);
    }
    for (const goal of report.goals) {
      if (goal.holds === null) expect(goal.why).toMatch(/\w/);
      else expect(goal.ci![0]).toBeLessThanOrEqual(goal.value!);
    }
  });

  test('the harness is judged without an adapter, paths of a GPU are not', () => {
    const goal = (id: string) => report.goals.find((one) => one.id === id)!;
    expect(goal('G18').parts.map(({ what }) => what)[0]).toContain('of 4 comparisons');
    expect(goal('G19').parts[2]).toMatchObject({ value: 1, holds: true });
    for (const id of ['G1', 'G20']) expect(goal(id).why).toContain('CPU engine');
    const names = report.cells.map(({ id }) => id);
    expect(names).toContain('goal/G1/in-device/scattered/4096/16/auto');
    expect(names).toContain('goal/G20/offload/4096/16');
  });

  test('bookkeeping needs no adapter to be judged', () => {
    const goal = report.goals.find(({ id }) => id === 'G11')!;
    expect(goal.parts).toHaveLength(4);
    expect(goal.holds).not.toBeNull();
  });

  test('a migration is split by phase, and no phase is longer than the whole', () => {
    const cell = report.cells.find(({ id }) => id === 'migrate/to-host/8')!;
    const names = ['bookkeeping', 'encode', 'hostCopy', 'submit', 'wait'];
    expect(Object.keys(cell.phases!).toSorted()).toEqual(names);
    expect(cell.phases!['bookkeeping']).toBeGreaterThan(0);
    expect(Math.max(...Object.values(cell.phases!))).toBeLessThanOrEqual(cell.max);
  });

  test('a migration by hand is split from collecting to mapping again', () => {
    const phasesOf = (direction: string): string[] => {
      const cell = report.cells.find(({ id }) => id === `phases/${direction}/512`)!;
      expect(cell.samples).toHaveLength(3);
      for (const name of ['collect', 'unmap', 'alloc', 'remap']) {
        expect(cell.phases![name]).toBeGreaterThan(0);
      }
      return Object.keys(cell.phases!);
    };
    // Only where the device tells its time is the wait for it split, and when it is shown.
    const measured = PHASE_ORDER.filter((name) => !['GPU', 'map'].includes(name));
    expect(phasesOf('to-device')).toEqual(measured.filter((name) => name !== 'copy-out'));
    expect(phasesOf('to-host').toSorted()).toEqual(
      measured.filter((name) => name !== 'copy-in').toSorted(),
    );
  });

  test('a first page is usable no later than its batch is there', () => {
    const of = (id: string) => report.cells.find((cell) => cell.id === id)!;
    for (const batch of [1, 8]) {
      const [first, whole] = ['first-page', 'migrate'].map((kind) =>
        of(`${kind}/to-device/${batch}`),
      );
      expect(first!.samples).toHaveLength(whole!.samples.length);
      first!.samples.forEach((us, i) => {
        expect(us).toBeGreaterThan(0);
        expect(us).toBeLessThanOrEqual(whole!.samples[i]!);
      });
      expect(of(`first-page/cpu-copy/${batch}`).bytes).toBe(batch * 4096);
    }
  });

  test('progress counts up to the number of steps', () => {
    const last = progress.at(-1)!;
    expect(progress[0]?.suite).toBe('boot');
    expect(last.done).toBeLessThanOrEqual(last.total);
    expect(progress.filter((step) => step.cell !== undefined)).toHaveLength(report.cells.length);
    const counts = progress.map((step) => step.done);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
  });
});

describe('runBench in Node', () => {
  test('runs in this thread and gives the report of the suites asked for', async () => {
    const report = await runBench({ engine: 'cpu', suites: ['fault'], quick: true });
    expect(isVerified(report)).toBe(true);
    const isOfTlb = (id: string): boolean => id.startsWith('fault/tlb/');
    const all = ids(report, 'fault');
    expect(all.filter((id) => !isOfTlb(id))).toEqual(['fault/read/1', 'fault/write/1']);
    // Cells of a core need workers, except those that never trap.
    expect(all.filter(isOfTlb)).toHaveLength(54);
  });

  test('does not begin with a signal that was given already', async () => {
    const signal = AbortSignal.abort(new Error('never mind'));
    await expect(runBench({ engine: 'cpu' }, () => {}, signal)).rejects.toThrow('never mind');
  });
});

describe('a smaller run', () => {
  test('measures only the goals that were asked for, and no sweep', async () => {
    const report = await runPlan(tinyPlan({ onlyGoals: ['G19'] }));
    const sides = ['verified', 'plain', 'plain-again'];
    expect(report.cells.map(({ id }) => id)).toEqual(
      ['to-host', 'to-device'].flatMap((to) => sides.map((side) => `goal/G19/${to}/${side}`)),
    );
    expect(report.goals.filter(({ holds }) => holds !== null).map(({ id }) => id)).toEqual(['G19']);
    // Only what was run, and why: all suites might have been.
    expect(report.env).toMatchObject({ suites: ['copy'], goals: ['G19'] });
  });

  test('runs only the suites that were asked for', async () => {
    const report = await runPlan(tinyPlan({ suites: ['mm'] }));
    expect(new Set(report.cells.map(({ suite }) => suite))).toEqual(new Set(['mm']));
    expect(report.env.suites).toEqual(['mm']);
    expect(report.env).not.toHaveProperty('goals');
  });

  test('leaves out cells that are too large, and says so', async () => {
    const { copy } = tinyPlan();
    const plan = tinyPlan({ suites: ['copy'], copy: { ...copy, maxCellBytes: 65536 } });
    const report = await runPlan(plan);
    expect(ids(report, 'copy')).not.toContain('copy/to-device/cpu/65536/8');
    expect(report.omitted).toContainEqual({
      id: 'copy/to-device/cpu/65536/8',
      why: 'moves more than 0.0625 MiB',
    });
  });

  test('leaves out cells when its time is used up, never half of one', async () => {
    const report = await runPlan(tinyPlan({ suites: ['copy'], runBudgetMs: 0, lastBudgetMs: 0 }));
    expect(ids(report, 'copy')).toEqual([]);
    expect(report.omitted.length).toBeGreaterThan(10);
    const late = report.omitted.filter(({ why }) => why.includes('used up'));
    expect(late.filter(({ id }) => id.startsWith('copy/'))).toHaveLength(16);
    expect(late.filter(({ id }) => id.startsWith('goal/G1/'))).toHaveLength(2);
  });

  test('the same seed copies the same pages in the same order', async () => {
    const order = async (seed: number) =>
      ids(await runPlan(tinyPlan({ suites: ['copy'], seed })), 'copy');
    const first = await order(7);
    expect(await order(7)).toEqual(first);
    expect(await order(8)).not.toEqual(first);
  });

  test('stops when told to', async () => {
    const abort = new AbortController();
    const run = runPlan(
      tinyPlan(),
      (step) => {
        if (step.cell !== undefined) abort.abort(new Error('enough'));
      },
      abort.signal,
    );
    await expect(run).rejects.toThrow('enough');
  });

  test('a machine that can not be opened is one clear line', async () => {
    const plan = tinyPlan({ ramBytes: 5 * 2 ** 30 });
    await expect(runPlan(plan)).rejects.toThrow(/^no machine to measure: RAM of .*; give /);
  });
});
