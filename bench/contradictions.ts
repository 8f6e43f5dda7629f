/**
 * Choices that contradict each other, so that a run would measure nothing of what was asked for:
 * found before it begins, by the command line and by the page.
 */
import { goalNeeds } from './goals.ts';
import { NO_GOALS, SUITE_NAMES } from './types.ts';
import type { BenchOptions } from './types.ts';

/** Words for people, the second without a full stop. */
export interface Contradiction {
  /** What can't be, about the choice of goals. */
  readonly what: string;
  readonly remedy: string;
}

/** "G2 needs", "G2, G3 need". */
function need(ids: readonly string[]): string {
  return `${ids.join(', ')} ${ids.length === 1 ? 'needs' : 'need'}`;
}

/** Goals about cores, which are threads that only browsers start. */
const OF_CORES = ['G8', 'G9', 'G10'];

/**
 * Why these options can't be run together; null when they can.
 *
 * @param inNode Whether the run is to take place in Node.
 */
export function contradictionIn(options: BenchOptions, inNode = false): Contradiction | null {
  const { goals = [], suites = [], engine, preset, soakMinutes } = options;
  // These leave goals aside, whatever was chosen.
  if (preset !== undefined || soakMinutes !== undefined) return null;
  const only = goals.filter((id) => id !== NO_GOALS);
  if (only.length === 0) return null;
  if (only.length < goals.length) {
    const named = `${only.join(', ')} was named beside it`;
    const what = `${NO_GOALS} stands for no goal at all, and ${named}`;
    return { what, remedy: `name goals alone, or ${NO_GOALS} alone` };
  }
  const suiteOf = (id: string): string | undefined => goalNeeds(id)?.suite;
  const missing = SUITE_NAMES.filter((suite) => suites.length > 0 && !suites.includes(suite));
  const lacking = missing
    .map((suite) => ({ suite, ids: only.filter((id) => suiteOf(id) === suite) }))
    .filter(({ ids }) => ids.length > 0);
  if (lacking.length > 0) {
    const parts = lacking.map(({ suite, ids }) => `${need(ids)} the suite ${suite}`);
    const names = lacking.map(({ suite }) => suite).join(', ');
    const what = `${parts.join(', ')}, which is not among the chosen ones`;
    return { what, remedy: `choose ${names} as well, or all suites` };
  }
  const idle = engine === 'cpu' ? only.filter((id) => goalNeeds(id)?.device === true) : [];
  if (idle.length > 0) {
    const what = `${need(idle)} a WebGPU adapter, and the CPU engine uses none`;
    return { what, remedy: 'choose the WebGPU engine, or other goals' };
  }
  const coreless = inNode ? only.filter((id) => OF_CORES.includes(id)) : [];
  if (coreless.length > 0) {
    const what = `${need(coreless)} CPU cores, which are started in browsers only`;
    return { what, remedy: 'choose a browser, or other goals' };
  }
  return null;
}
