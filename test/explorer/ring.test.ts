/*
 * The ring between a core and the kernel, in all interleavings of its writer and its reader.
 */
import { describe, expect, test } from 'vitest';
import { exploreRing } from './ring.ts';
import type { RingScenario } from './ring.ts';
import { isLarge } from './size.ts';

async function expectSound(scenario: RingScenario): Promise<void> {
  const result = await exploreRing(scenario);
  const { states, steps, interleavings, failure, schedule } = result;
  if (failure !== '') throw new Error(`${failure}\n\nschedule:\n${schedule.join('\n')}`);
  expect(result.isComplete).toBe(true);
  expect(result.ends).toBeGreaterThan(0);
  const ways = interleavings.toExponential(1);
  process.stderr.write(`ring: ${states} states, ${steps} steps, ${ways} interleavings\n`);
}

const TIMEOUT_MS = 900_000;
const records = isLarge ? 6 : 4;

describe('records are neither lost nor doubled nor torn, while numbers wrap', () => {
  test(
    'a writer that finds the ring full waits',
    () => expectSound({ records, whenFull: 'wait', limits: { spurious: 1 } }),
    TIMEOUT_MS,
  );

  test(
    'a writer that finds the ring full drops its record, and counts it',
    () => expectSound({ records, whenFull: 'drop' }),
    TIMEOUT_MS,
  );

  test(
    'a writer that is ended in the middle of a record leaves nothing to whoever gets its ring next',
    () => expectSound({ records, whenFull: 'wait', mayKill: true }),
    TIMEOUT_MS,
  );
});
