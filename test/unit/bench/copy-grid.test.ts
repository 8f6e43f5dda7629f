/*
 * A run that asks for some copies makes these, and those of the CPU that they are held against.
 */
import { describe, expect, test, vi } from 'vitest';
import { BATCH_NAMES, FOLIO_NAMES, folioBytesOf, narrowCopies } from '../../../bench/copy-grid.ts';
import { planRun } from '../../../bench/plan.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { NO_GOALS } from '../../../bench/types.ts';
import type { BenchOptions } from '../../../bench/types.ts';
import { tinyPlan } from './tiny-plan.ts';

vi.setConfig({ testTimeout: 120_000 });

describe('sizes by name', () => {
  test('folios from a page to a PMD', () => {
    expect(FOLIO_NAMES).toEqual(['4K', '16K', '64K', '256K', '1M', '2M', 'mix']);
    expect(FOLIO_NAMES.slice(0, -1).map(folioBytesOf)).toEqual(
      [4, 16, 64, 256, 1024, 2048].map((size) => size * 1024),
    );
  });

  test('batches are numbers', () => {
    expect(BATCH_NAMES.every((name) => String(Number(name)) === name)).toBe(true);
  });
});

describe('a plan', () => {
  const { copy } = planRun({ quick: true });

  test('is the usual one where nothing is asked for', () => {
    const nothing = { directions: [], strategies: [], folios: [], batches: [] };
    expect(narrowCopies(copy, nothing)).toEqual(copy);
    expect(planRun({ quick: true, ...nothing }).copy).toEqual(copy);
  });

  test('has what is asked for, each once and in order, however large', () => {
    const { folios, batches, maxCellBytes } = narrowCopies(copy, {
      folios: ['2M', '4K', '2M'],
      batches: ['64', '8'],
    });
    expect([folios, batches]).toEqual([
      [4096, 2 ** 21],
      [8, 64],
    ]);
    expect(maxCellBytes).toBeGreaterThan(64 * 2 ** 21);
  });

  test('has mixed batches where these are asked for, alone or beside others', () => {
    const only = narrowCopies(copy, { folios: ['mix'] });
    expect([only.folios, only.isMixed]).toEqual([[], true]);
    const both = narrowCopies(copy, { folios: ['mix', '64K'] });
    expect([both.folios, both.isMixed]).toEqual([[65536], true]);
    expect(narrowCopies(copy, { folios: ['64K'] }).isMixed).toBe(false);
    expect(copy.isMixed).toBeUndefined();
  });
});

describe('a run', () => {
  async function copiesOf(options: BenchOptions): Promise<string[]> {
    const plan = tinyPlan({ suites: ['copy'], onlyGoals: [NO_GOALS] });
    const report = await runPlan({ ...plan, copy: narrowCopies(plan.copy, options) });
    const ids = report.cells.map(({ id }) => id);
    return ids.filter((id) => id.startsWith('copy/')).toSorted();
  }

  test('makes only copies of the directions and sizes asked for, beside the CPU', async () => {
    const asked = { directions: ['to-host'], folios: ['16K'], batches: ['1', '4'] } as const;
    expect(await copiesOf(asked)).toEqual([
      'copy/in-host/cpu/16384/1',
      'copy/in-host/cpu/16384/4',
      'copy/to-host/cpu/16384/1',
      'copy/to-host/cpu/16384/4',
    ]);
  });

  test('without the strategies of its engine has the copies of the CPU alone', async () => {
    expect(await copiesOf({ strategies: ['compute'], folios: ['4K'], batches: ['1'] })).toEqual([
      'copy/in-host/cpu/4096/1',
    ]);
  });
});
