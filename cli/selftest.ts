/*
 * `npm run selftest`: the kernel's HMM selftests, in kselftest's TAP on stdout.
 *
 * The suite is the one of test/selftests: this command is its front door, which is why it may
 * import from there. It runs in a thread of this process (CPU engine, or Dawn), or on the page
 * examples/selftests in a headless browser, whose TAP is copied line by line as it grows.
 *
 * Exit status as kselftest's: 0 all passed, 1 a failure or a mistake on the command line, 4 all
 * skipped. A browser that is not installed skips the run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Machine, MachineOptions } from '../src/index.ts';
import {
  LONGEST_MS,
  runSelftests,
  SELFTEST_MACHINE,
  SelftestSession,
} from '../test/selftests/harness.ts';
import { selectInstances } from '../test/selftests/selftest.ts';
import type { Instance, VariantName } from '../test/selftests/selftest.ts';
import { SUITE } from '../test/selftests/suite.ts';
import { exitStatus, KSFT_SKIP, TapWriter } from '../test/selftests/tap.ts';
import type { Totals } from '../test/selftests/tap.ts';
import { readCommandLine, UsageError } from './args.ts';
import { watchPage } from './browser-page.ts';
import type { BrowserPage } from './browser-page.ts';
import { findFirefox } from './browser-files.ts';
import { openBrowser } from './browser.ts';
import { bundleRunsHere } from './chromium-bundle.ts';
import { isStopped, runCommand } from './cleanup.ts';
import { openNodeMachine } from './node-machine.ts';
import { openSite } from './site.ts';

/** The page of the site that runs the suite. */
const PAGE = 'selftests/';
const LOAD_MS = 60_000;
const POLL_MS = 100;
/** A page that is silent for longer than any test may take hangs. */
const SILENT_MS = LONGEST_MS + 60_000;

interface Request {
  readonly instances: readonly Instance[];
  /** For the address of the page. */
  readonly filter: string | undefined;
  readonly variant: VariantName | undefined;
}

export function main(): Promise<never> {
  const { values } = readCommandLine({
    name: 'selftest',
    summary:
      "Runs Linux's HMM selftests and prints TAP. Exit status 0: all passed, 1: a failure,\n" +
      '4: all skipped.',
    options: {
      filter: {
        kind: 'text',
        placeholder: 'RE',
        help:
          'only tests whose name matches the regular\n' +
          'expression; with "webhmm" in it, also our own',
        refuse: refuseFilter,
      },
      engine: {
        kind: 'choice',
        choices: ['cpu', 'node', 'chromium', 'firefox'],
        help:
          'what moves the pages: the CPU engine, Dawn in\n' +
          'Node, WebGPU in the bundled Chromium (default)\n' +
          'or in an installed Firefox',
      },
      variant: {
        kind: 'choice',
        choices: ['private', 'coherent'],
        help: 'only this kind of device memory; default both',
      },
    },
  });
  return runCommand('selftest', async () => {
    const { engine = 'chromium', filter, variant } = values;
    const pattern = filter === undefined ? undefined : new RegExp(filter);
    const instances = selectInstances(SUITE, { filter: pattern, variant });
    if (instances.length === 0) {
      const where = variant === undefined ? '' : ` with --variant ${variant}`;
      const names = 'names look like hmm.hmm_device_private.anon_read';
      throw new UsageError(`no test matches --filter ${filter ?? ''}${where}: ${names}`);
    }
    const request: Request = { instances, filter, variant };
    if (engine === 'firefox' && findFirefox().length === 0) {
      new TapWriter(print).skipAll('Firefox is not installed');
      return KSFT_SKIP;
    }
    const isNode = engine === 'cpu' || engine === 'node';
    const totals = await (isNode ? runInNode : runInBrowser)(engine, request);
    if (totals.pass + totals.fail === 0) say(`selftest: all ${totals.skip} skipped`);
    return exitStatus(totals);
  });
}

function refuseFilter(value: string): string | undefined {
  try {
    void new RegExp(value);
    return undefined;
  } catch (error) {
    return `takes a regular expression: ${(error as SyntaxError).message}`;
  }
}

function print(line: string): void {
  // A test whose machine is taken away has not failed.
  if (!isStopped()) process.stdout.write(`${line}\n`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function runInNode(engine: string, { instances }: Request): Promise<Totals> {
  const options = { ...SELFTEST_MACHINE, engine: engine === 'cpu' ? engine : 'webgpu' } as const;
  const open = (extra: MachineOptions): Promise<Machine> =>
    openNodeMachine({ ...options, ...extra }, say);
  // For tests of this command, which has no option for it: the kernel's selftests have none.
  const rounds = process.env['WEBHMM_BENCHMARK_ROUNDS'];
  const session = new SelftestSession(
    open,
    undefined,
    rounds === undefined ? undefined : Number(rounds),
  );
  return runSelftests(instances, session, print);
}

async function runInBrowser(engine: string, request: Request): Promise<Totals> {
  const chromium = bundleRunsHere() ? 'bundled' : 'auto';
  const browser = await openBrowser({ choice: engine === 'firefox' ? engine : chromium, say });
  const site = await openSite();
  const page = await browser.newPage();
  const query = new URLSearchParams();
  // Always given: by itself the page leaves out what takes long.
  query.set('filter', request.filter ?? '');
  if (request.variant !== undefined) query.set('variant', request.variant);
  try {
    const url = `${site.url}${PAGE}?${query.toString()}`;
    await watchPage(page).race(page.goto(url, { timeout: LOAD_MS }));
    return await followPage(page);
  } finally {
    await page.close();
    await site.close();
    await browser.close();
  }
}

/** What the page shows so far. */
interface PageState {
  readonly tap: string;
  readonly isReady: boolean;
  /** What went wrong, in words; empty where nothing did. */
  readonly trouble: string;
  /** As the page has counted, once the run is over. */
  readonly counts: Readonly<Record<string, string | undefined>>;
}

/** Copies the page's TAP to stdout while it grows, until the run is over. */
async function followPage(page: BrowserPage): Promise<Totals> {
  const guard = watchPage(page);
  let printed = 0;
  let heardMs = performance.now();
  for (;;) {
    const state = await guard.race(page.evaluate(readPage));
    // The last line may be there in part.
    const end = state.tap.lastIndexOf('\n') + 1;
    if (end > printed) heardMs = performance.now();
    process.stdout.write(state.tap.slice(printed, end));
    printed = end;
    if (state.trouble !== '') throw new UsageError(`the page stopped: ${state.trouble}`);
    if (state.isReady) return countsOf(state);
    if (performance.now() - heardMs > SILENT_MS) throw new Error('the page does not go on');
    await delay(POLL_MS);
  }
}

/** Runs in the page, so it uses nothing from here. */
function readPage(): PageState {
  const root = document.documentElement.dataset;
  return {
    tap: document.querySelector('#tap')?.textContent ?? '',
    isReady: root['ready'] === 'true',
    trouble: document.querySelector('#trouble')?.textContent ?? '',
    counts: { pass: root['pass'], fail: root['fail'], skip: root['skip'] },
  };
}

function countsOf({ counts }: PageState): Totals {
  const [pass, fail, skip] = ['pass', 'fail', 'skip'].map((name) => Number(counts[name]));
  if (![pass, fail, skip].every(Number.isInteger)) throw new Error('the page gave no totals');
  return { pass: pass!, fail: fail!, skip: skip! };
}
