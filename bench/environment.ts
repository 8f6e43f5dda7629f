/**
 * Describes where a run took place. What only the driving command can know (commit, versions of
 * Node and browser, where shared memory lives) it fills in afterwards.
 */
import type { AdapterReport } from '../src/index.ts';
import type { BenchPlan } from './plan.ts';
import type { BenchEnvironment, SuiteName } from './types.ts';

/** Browser names by the mark they leave in the user agent, most specific first. */
const BROWSER_MARKS: readonly (readonly [mark: RegExp, name: string])[] = [
  [/\bEdg\/([\d.]+)/, 'Edge'],
  [/\bHeadlessChrome\/([\d.]+)/, 'Chromium (headless)'],
  [/\bChrome\/([\d.]+)/, 'Chromium'],
  [/\bFirefox\/([\d.]+)/, 'Firefox'],
  [/\bVersion\/([\d.]+).*\bSafari\//, 'Safari'],
];

/** Name and version of the browser behind a user agent. */
export function nameBrowser(userAgent: string): { browser: string; version: string } {
  for (const [mark, browser] of BROWSER_MARKS) {
    const version = mark.exec(userAgent)?.[1];
    if (version !== undefined) return { browser, version };
  }
  return { browser: 'unknown', version: '' };
}

/** The Node process, where there is one. Browsers have no `process`. */
function nodeVersion(): string | null {
  return typeof process === 'undefined' ? null : process.versions.node;
}

/**
 * The environment as seen from this thread.
 *
 * @param ran Suites of which something was run.
 */
export function describeEnvironment(
  plan: BenchPlan,
  ran: readonly SuiteName[],
  adapter: AdapterReport,
  clockTickUs: number,
  timestampTickNs: number | null,
  startedAt: string,
): BenchEnvironment {
  const node = nodeVersion();
  const isNode = node !== null;
  const userAgent = isNode ? `Node.js/${node}` : navigator.userAgent;
  const named = isNode ? { browser: 'Node', version: node } : nameBrowser(userAgent);
  return {
    engine: plan.engine,
    adapter,
    isSoftware: adapter.isSoftware,
    ...named,
    userAgent,
    crossOriginIsolated: isNode ? true : crossOriginIsolated,
    cores: coresHere(),
    clockTickUs,
    timestampTickNs,
    devShm: null,
    node,
    seed: plan.seed,
    quick: plan.quick,
    suites: ran,
    ...(plan.onlyGoals.length === 0 ? {} : { goals: plan.onlyGoals }),
    ...(plan.soak === null ? {} : { soakMinutes: plan.soak.minutes }),
    settings: plan.settings,
    startedAt,
    hidden: false,
  };
}

/**
 * Cores of the host; 0 where nobody says. Node 20 has no navigator of its own, and the one that
 * Dawn brings knows only `gpu`.
 */
export function coresHere(): number {
  const { navigator: own } = globalThis as { navigator?: { hardwareConcurrency?: number } };
  return own?.hardwareConcurrency ?? 0;
}
