/**
 * The reproduction menu: every experiment passes, and each way to break it on purpose fails where
 * it should. Oracles: published figures, as relations; the experiments name them.
 */
import { describe, expect, test } from 'vitest';
import {
  BREAKS,
  holds,
  relationText,
} from '../../../../src/driver/policy/experiments/experiment.ts';
import type { BreakName } from '../../../../src/driver/policy/experiments/experiment.ts';
import { EXPERIMENTS, runExperiment } from '../../../../src/driver/policy/experiments/menu.ts';

/** The experiment that each break must turn to FAIL. */
const CAUGHT_BY: Readonly<Record<BreakName, number>> = {
  prefetch: 1,
  threshold: 2,
  records: 3,
  fifo: 4,
  evictions: 5,
  setup: 6,
  detector: 7,
  granularity: 8,
  remote: 9,
  dedup: 10,
  flush: 10,
  commands: 11,
};

test('there are eleven, numbered in order', () => {
  expect(EXPERIMENTS.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

describe('as it is', () => {
  test.each(EXPERIMENTS)(
    '$number $name passes',
    (experiment) => {
      const report = runExperiment(experiment);
      expect(report.line).toMatch(new RegExp(`^PASS ${experiment.number} ${experiment.name} `));
      expect(report.curves.every(({ points }) => points.length > 1)).toBe(true);
    },
    120_000,
  );
});

describe('broken on purpose', () => {
  test.each(Object.keys(BREAKS) as BreakName[])(
    '%s fails',
    (broken) => {
      const experiment = EXPERIMENTS[CAUGHT_BY[broken] - 1]!;
      const { passes, line } = runExperiment(experiment, { broken });
      expect(passes).toBe(false);
      expect(line).toMatch(/^FAIL /);
    },
    120_000,
  );
});

describe('a relation', () => {
  test('has both of its ends in it, and nothing that is no number', () => {
    const within = (value: number) => holds({ name: '', value, low: 1, high: 2 });
    expect([0.99, 1, 2, 2.01, NaN].map(within)).toEqual([false, true, true, false, false]);
  });

  test('reads as value and range', () => {
    const text = relationText({ name: 'tbn/none', value: 36.21, low: 30, high: 43 });
    expect(text).toBe('tbn/none 36.2 in [30,43]');
  });
});
