/*
 * `npm run bench`: the benchmark in a real browser, headless, or in Node.
 *
 * Builds the site, opens its benchmark page in the browser that was asked for, waits for the
 * report, and prints it as tables; the full report goes to a JSON file and to an HTML page that
 * needs nothing else. Progress is on stderr, so stdout is the result. The exit status is 1 when a
 * cell was wrong, and for any mistake on the command line, which is found before the
 * run begins.
 */
import { BATCH_NAMES, DIRECTION_NAMES, FOLIO_NAMES, STRATEGY_NAMES } from '../bench/copy-grid.ts';
import { MOST_CHANNELS, MOST_RING_DEPTH, VERIFY_NAMES } from '../bench/copy-settings.ts';
import { FRAGMENTATIONS } from '../bench/fragments.ts';
import { contradictionIn } from '../bench/contradictions.ts';
import { unusedBy } from '../bench/unused.ts';
import { NO_GOALS, isSound } from '../bench/types.ts';
import { GOAL_IDS } from '../bench/goals.ts';
import { PRESET_NAMES, SUITE_NAMES } from '../bench/types.ts';
import type { BenchOptions } from '../bench/types.ts';
import { UsageError, readCommandLine } from './args.ts';
import type { OptionValues } from './args.ts';
import { refuseBrowser } from './browser.ts';
import { compareMain, showMain } from './bench-files.ts';
import { goalsMain } from './bench-goals.ts';
import { printReport, prepareOutput, writeReport } from './bench-output.ts';
import { runInBrowser, runInNode } from './bench-run.ts';
import { runCommand, unlessStopped } from './cleanup.ts';

const MAX_SEED = 2 ** 32 - 1;

const OPTIONS = {
  suite: {
    kind: 'list',
    choices: SUITE_NAMES,
    help:
      'which suites (default: all). copy: the engine by strategy, folio size, batch\n' +
      'and direction; migrate: whole migrations; fault: CPU faults on device pages;\n' +
      'mm: bookkeeping alone',
  },
  goal: {
    kind: 'list',
    choices: [...GOAL_IDS, NO_GOALS],
    placeholder: 'G1,G2,...',
    help:
      'only the comparisons behind these goals, or none of them (none): sweeps alone;\n' +
      'npm run bench -- goals lists them',
  },
  preset: {
    kind: 'choice',
    choices: PRESET_NAMES,
    help:
      'only what a published table shows, its figures beside ours. dma-offload: folio\n' +
      "size by channels; thp-migration: the selftests' benchmark; nvbandwidth: directions\n" +
      'by copy commands and kernels; xe-phases: 2 MiB by phase',
  },
  directions: {
    kind: 'list',
    choices: DIRECTION_NAMES,
    help:
      'only copies in these directions, in the sweep of the copy suite; those of the CPU\n' +
      'within RAM are always made',
  },
  strategies: {
    kind: 'list',
    choices: STRATEGY_NAMES,
    help:
      'only these ways to copy. staging: staging buffers and a copy command a folio;\n' +
      'commands: one a page; runs: one for neighbouring pages; compute: a WGSL kernel\n' +
      'scatters or gathers; writeBuffer: queue.writeBuffer a page; cpu: RAM to RAM by the\n' +
      'CPU; auto: what the engine chooses',
  },
  folios: {
    kind: 'list',
    choices: FOLIO_NAMES,
    help: 'folios of these sizes; mix: batches of 4K, 64K and 2M together',
  },
  batches: {
    kind: 'list',
    choices: BATCH_NAMES,
    placeholder: '1,64,...',
    help: 'batches of so many folios: powers of two up to 1024, and 4096',
  },
  fragments: {
    kind: 'choice',
    choices: FRAGMENTATIONS,
    help:
      'how folios of the copy suite lie: one range on both sides, clusters of 16,\n' +
      'scattered on both sides (default), or on one alone',
  },
  channels: {
    kind: 'number',
    placeholder: 'N',
    min: 1,
    max: MOST_CHANNELS,
    help: 'lists in flight that a batch of the copy suite is split into (default: 1)',
  },
  ring: {
    kind: 'number',
    placeholder: 'N',
    min: 1,
    max: MOST_RING_DEPTH,
    help: 'staging slots of each size and direction (default: 3)',
  },
  verify: {
    kind: 'choice',
    choices: VERIFY_NAMES,
    help:
      'who looks at results of the copy suite: the device by checksums (default),\n' +
      'the CPU after reading all back, or nobody: cells are then not verified',
  },
  quick: { kind: 'flag', help: 'smaller cells, fewer samples: under a minute' },
  json: {
    kind: 'text',
    placeholder: 'FILE',
    help: 'where the JSON goes (default: bench-results/)',
  },
  report: {
    kind: 'text',
    placeholder: 'FILE.html',
    help: 'where the HTML report goes (default: bench-results/)',
  },
  browser: {
    kind: 'text',
    placeholder: 'B',
    help:
      'auto (default: an installed browser with a real GPU, else the bundled one),\n' +
      'bundled, chrome, firefox, node (Dawn, no browser), or the path of a browser',
    refuse: refuseBrowser,
  },
  adapter: {
    kind: 'choice',
    choices: ['webgpu', 'cpu'],
    help:
      'cpu: the CPU engine, in Node unless --browser says otherwise;\n' +
      'tests the benchmark, measures nothing',
  },
  power: { kind: 'choice', choices: ['high', 'low'], help: 'which GPU, where there are several' },
  seed: {
    kind: 'number',
    placeholder: 'N',
    min: 0,
    max: MAX_SEED,
    help: 'seed of contents, scattering, order and intervals (default: 1)',
  },
} as const;

/** The command line of the benchmark. */
export const BENCH_COMMAND = {
  name: 'bench',
  summary:
    'Measures how pages reach the device and come back, in a real browser, headless.\n' +
    'Prints tables; writes the full report as JSON and as an HTML page. All suites take under\n' +
    '12 minutes. The exit status is 1 when a cell was wrong; a goal that is missed is a result.\n' +
    'With reports that were written: npm run bench -- compare A.json B.json,\n' +
    'npm run bench -- show A.json. Minutes of migrations: npm run bench -- soak.\n' +
    'What the goals are: npm run bench -- goals. Each has a --help of its own.',
  options: OPTIONS,
} as const;

const SOAK_OPTIONS = {
  minutes: {
    kind: 'number',
    placeholder: 'N',
    min: 1,
    max: 24 * 60,
    help: 'how long (default: 10)',
  },
  json: OPTIONS.json,
  report: OPTIONS.report,
  browser: OPTIONS.browser,
  adapter: OPTIONS.adapter,
  power: OPTIONS.power,
  seed: OPTIONS.seed,
} as const;

/** The command line of a soak. */
export const SOAK_COMMAND = {
  name: 'bench',
  usage: 'npm run bench -- soak [options]',
  summary:
    'Migrates pages to the device and home again for minutes, by migration and by CPU faults,\n' +
    'and compares every word in every round. The exit status is 1 when a word was wrong or\n' +
    'memory did not stay flat: pages in use, heap, process. Ctrl-C ends it, without a report.',
  options: SOAK_OPTIONS,
} as const;

/** What the command line asks of a soak. */
export function soakOptions(values: OptionValues<typeof SOAK_OPTIONS>): BenchOptions {
  return {
    soakMinutes: values.minutes ?? 10,
    quick: true,
    seed: values.seed ?? 1,
    engine: values.adapter ?? 'webgpu',
    ...powerOption(values.power),
  };
}

function powerOption(power: 'high' | 'low' | undefined): Pick<BenchOptions, 'powerPreference'> {
  if (power === undefined) return {};
  return { powerPreference: power === 'high' ? 'high-performance' : 'low-power' };
}

/** What the command line asks of the benchmark itself. */
export function benchOptions(values: OptionValues<typeof OPTIONS>): BenchOptions {
  return {
    ...(values.suite === undefined ? {} : { suites: values.suite }),
    ...(values.preset === undefined ? {} : { preset: values.preset }),
    ...(values.goal === undefined ? {} : { goals: values.goal }),
    ...(values.directions === undefined ? {} : { directions: values.directions }),
    ...(values.strategies === undefined ? {} : { strategies: values.strategies }),
    ...(values.folios === undefined ? {} : { folios: values.folios }),
    ...(values.batches === undefined ? {} : { batches: values.batches }),
    ...(values.fragments === undefined ? {} : { fragments: values.fragments }),
    ...(values.channels === undefined ? {} : { channels: values.channels }),
    ...(values.ring === undefined ? {} : { ringDepth: values.ring }),
    ...(values.verify === undefined ? {} : { verify: values.verify }),
    quick: values.quick,
    seed: values.seed ?? 1,
    engine: values.adapter ?? 'webgpu',
    ...powerOption(values.power),
  };
}

/** Refuses what the run would not use: it would be taken for what was measured. */
export function refuseUnused(values: OptionValues<typeof OPTIONS>): void {
  const unused = unusedBy(benchOptions(values));
  if (unused === null) return;
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  const idle = given.map(([name]) => name).filter((name) => unused.names.includes(name));
  if (idle.length === 0) return;
  const names = idle.map((name) => `--${name}`).join(', ');
  throw new UsageError(`${names} would not be used: ${unused.why}`);
}

/** Refuses what can't be run together: it would measure nothing of what was asked for. */
export function refuseContradiction(values: OptionValues<typeof OPTIONS>): void {
  const found = contradictionIn(benchOptions(values), values.browser === 'node');
  if (found !== null) throw new UsageError(`--goal: ${found.what}; ${found.remedy}`);
}

export function main(): Promise<never> {
  const [subcommand, ...rest] = process.argv.slice(2);
  if (subcommand === 'compare') return compareMain(rest);
  if (subcommand === 'show') return showMain(rest);
  if (subcommand === 'goals') return goalsMain(rest);
  if (subcommand === 'soak') {
    const { values } = readCommandLine(SOAK_COMMAND, rest);
    return runCommand('bench', () => runAndPrint(soakOptions(values), values, 'soak'));
  }
  const { values } = readCommandLine(BENCH_COMMAND);
  const kind = values.quick ? 'quick' : '';
  return runCommand('bench', () => {
    refuseUnused(values);
    refuseContradiction(values);
    return runAndPrint(benchOptions(values), values, kind);
  });
}

/** What both command lines say of where a run takes place and where its results go. */
interface WhereValues {
  readonly json: string | undefined;
  readonly report: string | undefined;
  readonly browser: string | undefined;
  readonly power: 'high' | 'low' | undefined;
}

/** @param kind Part of the names of files, where these are not given. */
async function runAndPrint(
  options: BenchOptions,
  values: WhereValues,
  kind: string,
): Promise<number> {
  const output = prepareOutput(values.json, values.report, kind);
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const choice = values.browser ?? (options.engine === 'cpu' ? 'node' : undefined);
  const report =
    choice === 'node'
      ? await runInNode(options, say)
      : await runInBrowser(options, { choice, power: values.power, say });
  // The last part of a run may be over before it hears that it was stopped.
  await unlessStopped();
  writeReport(report, output);
  printReport(report, output);
  return isSound(report) ? 0 : 1;
}
