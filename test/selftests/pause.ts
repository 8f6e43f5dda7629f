/*
 * Chance in tests whose calls run at the same time. The same seed gives the same delays; what comes
 * of them still depends on how long copies take.
 */
import type { Prng } from '../../src/index.ts';

/** Seed of these tests, which the log of a failure names. */
export const SEED = 20_261;

/** Lets others run for up to four turns of the event loop. */
export async function pause(prng: Prng): Promise<void> {
  for (let turns = prng.below(5); turns > 0; turns--) {
    await new Promise((done) => {
      setTimeout(done, 0);
    });
  }
}
