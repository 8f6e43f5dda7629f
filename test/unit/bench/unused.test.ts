/*
 * What a run does not use because of another choice: named, and nothing else with it.
 */
import { describe, expect, test } from 'vitest';
import { planRun } from '../../../bench/plan.ts';
import { SUITE_NAMES } from '../../../bench/types.ts';
import type { BenchOptions } from '../../../bench/types.ts';
import { unusedBy } from '../../../bench/unused.ts';

const COPIES = ['directions', 'strategies', 'folios', 'batches', 'fragments', 'channels', 'verify'];

const names = (options: BenchOptions) => unusedBy(options)?.names ?? [];

describe('what a run does not use', () => {
  test('nothing where the sweep of the copy suite is run', () => {
    expect(unusedBy({})).toBeNull();
    expect(unusedBy({ suites: ['copy', 'mm'] })).toBeNull();
    expect(unusedBy({ goals: ['none'] })).toBeNull();
  });

  test('a published table leaves suites, goals and copies alone, but not its length', () => {
    expect(names({ preset: 'nvbandwidth' })).toEqual(['suite', 'goal', ...COPIES]);
  });

  test('a soak leaves the table and the length alone, too', () => {
    const unused = names({ soakMinutes: 1, preset: 'nvbandwidth' });
    expect(unused).toEqual(['suite', 'goal', 'preset', 'quick', ...COPIES]);
  });

  test('goals alone, and suites without copies, leave the settings of copies alone', () => {
    expect(names({ goals: ['G2'] })).toEqual(COPIES);
    expect(names({ suites: ['mm', 'fault'] })).toEqual(COPIES);
  });
});

describe('a plan', () => {
  test('of a published table runs it, whatever suites and goals were named', () => {
    const plan = planRun({ preset: 'nvbandwidth', suites: ['mm'], goals: ['G2'] });
    expect(plan).toMatchObject({ preset: 'nvbandwidth', suites: SUITE_NAMES, onlyGoals: [] });
  });

  test('of a soak mirrors no table beside it', () => {
    const plan = planRun({ soakMinutes: 2, preset: 'nvbandwidth', goals: ['G2'] });
    expect(plan).toMatchObject({ preset: null, onlyGoals: [], soak: { minutes: 2 } });
  });
});
