/**
 * Which choices a run does not use because of another one: a published table brings its own
 * copies, a soak migrates and nothing else. The command line refuses them, the page switches their
 * controls off and says why; what is chosen and not used would be taken for what was measured.
 */
import { NO_GOALS } from './types.ts';
import type { BenchOptions } from './types.ts';

/** Choices by the names that they have on the command line and in the page's address. */
export interface Unused {
  readonly names: readonly string[];
  /** Why, in words that follow the names. */
  readonly why: string;
}

/** How the sweep of the copy suite is made. */
const SWEEP = ['directions', 'strategies', 'folios', 'batches', 'fragments', 'channels', 'verify'];

/** What a run with these options does not use, whether it was chosen or not; null when all is. */
export function unusedBy(options: BenchOptions): Unused | null {
  const { soakMinutes, preset, goals = [], suites = [] } = options;
  if (soakMinutes !== undefined) {
    const names = ['suite', 'goal', 'preset', 'quick', ...SWEEP];
    return { names, why: 'a soak migrates pages both ways and measures nothing else' };
  }
  if (preset !== undefined) {
    const why = 'a published table has copies of its own, and measures nothing else';
    return { names: ['suite', 'goal', ...SWEEP], why };
  }
  const only = goals.filter((id) => id !== NO_GOALS);
  if (only.length > 0) {
    return { names: SWEEP, why: 'what goals rest on has copies of its own, and no sweep is run' };
  }
  if (suites.length > 0 && !suites.includes('copy')) {
    return { names: SWEEP, why: 'they are of the suite copy, which is not chosen' };
  }
  return null;
}
