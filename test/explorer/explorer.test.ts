/*
 * The protocol between cores and the kernel, in all interleavings: the production functions of both
 * sides, on real mm, two cores and one page. WEBHMM_EXPLORE=large explores longer programs, which
 * takes minutes.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { heedAbandoned, ignoreAbandoned } from './abandoned.ts';
import { explore } from './scenarios.ts';
import * as scenarios from './scenarios.ts';
import { isLarge } from './size.ts';
import type { Scenario } from './scenarios.ts';

beforeAll(ignoreAbandoned);

afterAll(heedAbandoned);

/** Explores all, and prints the shortest schedule in which something goes wrong. */
async function expectSound(name: string, scenario: Scenario): Promise<void> {
  const result = await explore(scenario);
  const { states, steps, interleavings, failure, schedule } = result;
  if (failure !== '') throw new Error(`${failure}\n\nschedule:\n${schedule.join('\n')}`);
  expect(result.isComplete).toBe(true);
  expect(result.ends).toBeGreaterThan(0);
  const ways = interleavings.toExponential(1);
  process.stderr.write(`${name}: ${states} states, ${steps} steps, ${ways} interleavings\n`);
}

const TIMEOUT_MS = 900_000;

describe('no store is lost, no frame is used too late, nobody sleeps for ever', () => {
  test(
    'migration to the device and back',
    () => expectSound('migration', scenarios.migration),
    TIMEOUT_MS,
  );

  test(
    'a migration that gives up on a core puts its page back',
    () => expectSound('refusal', scenarios.refusal),
    TIMEOUT_MS,
  );

  test(
    'fork: the child has what the parent had, and keeps it',
    () => expectSound('fork', scenarios.fork),
    TIMEOUT_MS,
  );

  test(
    'mprotect: no store after it has returned',
    () => expectSound('mprotect', scenarios.mprotect),
    TIMEOUT_MS,
  );

  test(
    'a core parks and comes back during a migration',
    () => expectSound('unpark', scenarios.unpark),
    TIMEOUT_MS,
  );

  test(
    'munmap: the frame goes to another process',
    () => expectSound('unmap', scenarios.unmap),
    TIMEOUT_MS,
  );

  test.runIf(isLarge)(
    'a core that does not answer is ended, and dead before its frames go elsewhere',
    () => expectSound('silence', scenarios.silence),
    TIMEOUT_MS,
  );

  test(
    'page tables serve elsewhere after every walk through them has ended',
    () => expectSound('tables', scenarios.tables),
    TIMEOUT_MS,
  );

  test(
    'a killed process: its frames go elsewhere after its core is dead',
    () => expectSound('kill', scenarios.kill),
    TIMEOUT_MS,
  );
});
