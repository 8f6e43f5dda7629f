/*
 * The soak: rounds both ways by several processes, and what it calls growth.
 */
import { describe, expect, test, vi } from 'vitest';
import { MigratingProcess } from '../../../bench/migrate-suite.ts';
import { planRun } from '../../../bench/plan.ts';
import { textReport } from '../../../bench/report-text.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { growthFailure, leakFailure } from '../../../bench/soak.ts';
import { isVerified } from '../../../bench/types.ts';

const MIB = 2 ** 20;

/** Looks at a heap whose floor goes from one size to another, with garbage on top. */
function looks(from: number, to: number, count = 120): number[] {
  return Array.from({ length: count }, (_, i) => {
    const floor = from + ((to - from) * i) / (count - 1);
    return floor + ((i * 7) % 10) * MIB;
  });
}

describe('memory that grows', () => {
  test('is found by its floor, whatever garbage there is', () => {
    expect(growthFailure(looks(30 * MIB, 30 * MIB))).toBeNull();
    expect(growthFailure(looks(30 * MIB, 60 * MIB))).toMatch(/^grew from 3\d\.\d MiB to 5\d\.\d/);
  });

  test('may grow by a tenth, or 8 MiB, and no more', () => {
    const steps = (last: number): number[] => [
      ...Array.from({ length: 60 }, () => 200 * MIB),
      ...Array.from({ length: 60 }, () => last * MIB),
    ];
    expect(growthFailure(steps(220))).toBeNull();
    expect(growthFailure(steps(221))).toBe('grew from 200.0 MiB to 221.0 MiB');
    const small = (last: number): number[] =>
      steps(0).map((x, i) => (i < 60 ? MIB : last * MIB + x));
    expect(growthFailure(small(9))).toBeNull();
    expect(growthFailure(small(10))).toBe('grew from 1.0 MiB to 10.0 MiB');
  });

  test('is not told from warming up', () => {
    const warming = looks(30 * MIB, 30 * MIB).map((size, i) => (i < 12 ? MIB : size));
    expect(growthFailure(warming)).toBeNull();
    expect(growthFailure(looks(MIB, 100 * MIB, 29))).toBeNull();
  });
});

describe('pages in use after processes', () => {
  test('are as many after each as after the first two', () => {
    expect(leakFailure([])).toBeNull();
    expect(leakFailure([5, 7])).toBeNull();
    expect(leakFailure([5, 7, 7, 7])).toBeNull();
    expect(leakFailure([5, 7, 7, 8])).toBe('8 pages are in use after process 4, 7 after 2');
    expect(leakFailure([5, 7, 6])).toBe('6 pages are in use after process 3, 7 after 2');
  });
});

describe('a bounded soak', () => {
  const plan = {
    ...planRun({ engine: 'cpu', quick: true, soakMinutes: 1, seed: 5 }),
    ramBytes: 64 * MIB,
    deviceBytes: 32 * MIB,
    soak: { minutes: 4 / 60, pages: 512, rounds: 2, lookMs: 20 },
  };

  test('goes both ways, by several processes, and loses no page', async () => {
    const notes: string[] = [];
    const report = await runPlan(plan, ({ note }) => notes.push(note));
    const cell = (what: string) => report.cells.find(({ id }) => id === `soak/${what}`)!;
    const wrong = report.cells.filter(({ failure }) => failure !== undefined);
    // A few seconds are too short to tell growth from warming up.
    expect(wrong.filter(({ id }) => !/heap|process/.test(id))).toEqual([]);
    expect(cell('to-device').samples.length).toBe(Number(cell('ram').params['rounds']));
    expect(cell('to-host').samples.length).toBeGreaterThan(cell('to-device').samples.length / 3);
    expect(cell('ram').samples.length).toBeGreaterThan(3);
    expect(cell('device-memory').max).toBe(0);
    expect(cell('heap').samples.length).toBeGreaterThan(1);
    expect(report.goals.every(({ holds }) => holds === null)).toBe(true);
    expect(notes.some((note) => /^0:0\d of 0:04, process \d+, \d+ rounds$/.test(note))).toBe(true);
    expect(textReport(report)).toMatch(/Soak: \S+ min, \d+ rounds in \d+ processes/);
  }, 120_000);

  test('that finds a wrong word ends, and is not verified', async () => {
    const spy = vi.spyOn(MigratingProcess.prototype, 'compare');
    spy.mockResolvedValueOnce(null).mockResolvedValueOnce('page 3 of 512 is wrong from word 0 on');
    try {
      const report = await runPlan(plan);
      const cell = report.cells.find(({ id }) => id === 'soak/to-device')!;
      expect(cell.failure).toBe('round 2: page 3 of 512 is wrong from word 0 on');
      expect(cell.params['rounds']).toBe(1);
      expect(isVerified(report)).toBe(false);
    } finally {
      spy.mockRestore();
    }
  }, 120_000);

  test('stops when told to', async () => {
    const abort = new AbortController();
    const run = runPlan(
      plan,
      ({ note }) => void (/ 1 rounds/.test(note) && abort.abort(new Error('enough'))),
      abort.signal,
    );
    await expect(run).rejects.toThrow('enough');
  }, 120_000);
});
