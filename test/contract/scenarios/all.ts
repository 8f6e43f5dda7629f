/*
 * Every scenario that runs on the machine itself, for one engine. docs/scenarios.md lists them.
 */
import { describe } from 'vitest';
import { describeFaults } from './faults.ts';
import { describeHops } from './hops.ts';
import { describeInjection } from './injection.ts';
import { describePolicies } from './policies.ts';
import { describePressure } from './pressure.ts';
import { describeRaces } from './races.ts';
import { describeSleep } from './sleep.ts';
import { describeUnmappedMeanwhile } from './unmapped-meanwhile.ts';
import type { StageEngine } from './stage.ts';

/** Declares them. */
export function describeScenarios(engine: StageEngine): void {
  describe(`scenarios on the machine: ${engine}`, () => {
    describeFaults(engine);
    describeHops(engine);
    describeRaces(engine);
    describeInjection(engine);
    describePolicies(engine);
    describePressure(engine);
    describeSleep(engine);
    describeUnmappedMeanwhile(engine);
  });
}
