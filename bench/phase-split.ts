/**
 * The wait for a copy, split into what the device took and the map that ends it.
 *
 * JS sees one wait: a map resolves when the device is done. The device's own time is measured by
 * timestamp queries, in rounds that are not timed otherwise. It is taken out of the wait only where
 * it can lie in it as a whole: in one submission, as a device begins on the first while JS makes
 * the next, and no longer than the wait, since else it had begun within the submission.
 */
import { PHASES, WAIT } from './phase-names.ts';
import type { BenchCell } from './types.ts';

/** Phases of a cell as they are shown, and a sentence on its wait. */
export interface SplitPhases {
  readonly phases: Readonly<Record<string, number>>;
  /** Null for a cell without such a wait. */
  readonly note: string | null;
}

const ONE_PART = `${WAIT} are one part`;
const SPLIT =
  "GPU is the device's time by timestamp queries, in rounds of their own, and map the rest of " +
  'the wait for it.';

type Measured = Pick<BenchCell, 'id' | 'params' | 'phases' | 'gpuUs' | 'counts'>;

/** Splits the wait where that can be done. */
export function splitWait({ id, params, phases = {}, gpuUs, counts }: Measured): SplitPhases {
  const wait = phases[WAIT];
  if (!id.startsWith(PHASES) || wait === undefined) return { phases, note: null };
  const where = params['direction'] === 'to-device' ? 'Towards the device' : 'Towards RAM';
  const together = (why: string): SplitPhases => ({ phases, note: why });
  if (gpuUs === undefined) {
    return together(`${ONE_PART} where no timestamp queries tell what the device took.`);
  }
  const took = `the device took ${gpuUs.toFixed(0)} µs`;
  if ((counts?.['submissions'] ?? 1) > 1) {
    return together(
      `${where}, ${ONE_PART}: ${took}, a part of it while JS made other submissions.`,
    );
  }
  if (gpuUs > wait) {
    return together(`${where}, ${ONE_PART}: ${took}, more than the wait; it began within submit.`);
  }
  const entries = Object.entries(phases).flatMap(([name, us]): [string, number][] =>
    name === WAIT
      ? [
          ['GPU', gpuUs],
          ['map', wait - gpuUs],
        ]
      : [[name, us]],
  );
  return { phases: Object.fromEntries(entries), note: SPLIT };
}

/** The sentences on the waits of cells, each once. */
export function waitNotes(cells: readonly Measured[]): string[] {
  const notes = cells.map((cell) => splitWait(cell).note);
  return [...new Set(notes)].filter((note) => note !== null);
}
