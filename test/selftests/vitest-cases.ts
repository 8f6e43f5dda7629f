/*
 * Each selftest as a Vitest test of its own, for the projects that run the suite on one engine.
 */
import { afterAll, test } from 'vitest';
import { SelftestSession } from './harness.ts';
import type { OpenTestMachine } from './harness.ts';
import { selectInstances } from './selftest.ts';
import { SUITE } from './suite.ts';

/** Longer than the harness takes to find out that a machine stands still, which says more. */
const LIMIT_MS = 180_000;

/**
 * Declares a test for each selftest in each variant, ours included.
 */
export function declareSelftests(open: OpenTestMachine): void {
  // Nobody reads the benchmark's times here.
  const session = new SelftestSession(open, undefined, 1);
  afterAll(() => session.close());
  const filter = /^hmm|webhmm/;
  for (const instance of selectInstances(SUITE, { filter })) {
    test(
      instance.id,
      async (context) => {
        const { verdict, reason, log } = await session.run(instance);
        if (verdict === 'skip') context.skip(reason);
        if (verdict === 'fail') throw new Error(log.join('\n'));
      },
      LIMIT_MS,
    );
  }
}
