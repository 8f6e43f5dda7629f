/*
 * `npm run fault`: device faults under placement policies, on the virtual clock.
 *
 * Drives the access trace of a workload under a policy, or answers one prefetch decision. Results
 * go to stdout; a mistake is one line on stderr, and exit status 1, and so is a policy that throws.
 */
import {
  answerPrefetchQuery,
  BREAKS,
  EVICTIONS,
  POLICIES,
  QueryError,
  REPLAYS,
  WORKLOADS,
} from '../src/index.ts';
import type { BreakName } from '../src/index.ts';
import { readCommandLine, UsageError } from './args.ts';
import { runCommand } from './cleanup.ts';
import { breakLines, runMenu } from './fault-menu.ts';
import { readCost, runFaults } from './fault-run.ts';

const SPEC = {
  name: 'fault',
  summary:
    'Device faults under the placement policies of several drivers, on a virtual clock.\n' +
    'Policies, traces, costs and experiments are explained in docs/device-faults.md, and words\n' +
    'such as far fault, replay or stale record in docs/glossary.md.',
  options: {
    workload: {
      kind: 'text',
      placeholder: 'W',
      help:
        `what the device runs: ${wrap(WORKLOADS)};\n` +
        'or an access trace of your own, FILE.csv or FILE.json:\n' +
        'docs/device-faults.md has its format',
    },
    policy: {
      kind: 'text',
      placeholder: 'P',
      help: `who decides: ${wrap(POLICIES)};\nor a module of your own, FILE.mjs or FILE.js`,
    },
    window: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 1_048_576,
      help: 'workgroups that run at a time (160)',
    },
    size: {
      kind: 'number',
      placeholder: 'MIB',
      min: 1,
      max: 4096,
      help: 'size of the workload (16)',
    },
    passes: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 1000,
      help: 'how often it goes over its pages',
    },
    oversub: {
      kind: 'number',
      placeholder: 'PERCENT',
      min: 1,
      max: 100_000,
      help: 'size of the workload in per cent of device memory (100)',
    },
    evict: {
      kind: 'choice',
      choices: EVICTIONS,
      help: 'order of eviction, instead of the own one',
    },
    replay: { kind: 'choice', choices: REPLAYS, help: 'when faults are replayed' },
    batch: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 65_536,
      help: 'fault records per batch',
    },
    granularity: {
      kind: 'number',
      placeholder: 'G',
      min: 0,
      max: 31,
      help: 'kfd: windows of 2^G pages (9)',
    },
    dedup: { kind: 'flag', help: 'a page is reported once per run of the device' },
    seed: {
      kind: 'number',
      placeholder: 'N',
      min: 0,
      max: 2 ** 32 - 1,
      help: 'of random choices (1)',
    },
    cost: { kind: 'text', placeholder: 'JSON', help: 'other costs, {"farFaultUs": 20}' },
    json: { kind: 'text', placeholder: 'FILE', help: 'where the whole result goes; - is stdout' },
    trace: {
      kind: 'text',
      placeholder: 'FILE',
      help: "where each fault's life goes: a Chrome trace for\nPerfetto (ui.perfetto.dev)",
    },
    record: {
      kind: 'text',
      placeholder: 'FILE',
      help: 'where the access trace goes: CSV, or JSON where it ends in .json',
    },
    experiments: {
      kind: 'flag',
      help:
        'the reproduction menu, a line each; only those whose\n' +
        'names or numbers follow, where some do. Exit status 1: one fails',
    },
    break: {
      kind: 'choice',
      choices: Object.keys(BREAKS) as BreakName[],
      help: `breaks the experiments on purpose, and one must fail:\n${breakLines()}`,
    },
    curves: { kind: 'flag', help: 'draws the curves of the experiments' },
    prefetch: {
      kind: 'text',
      placeholder: 'JSON',
      help:
        'one prefetch decision in a 2 MiB block of pages 0 to 511:\n' +
        '{"policy", "resident", "faulted", "thrashing", "region",\n' +
        '"threshold", "sequence", "seed"}, all optional; pages are numbers\n' +
        'or pairs [first, end); prints {"moved", "faults"}',
    },
  },
  positionals: 'experiments',
} as const;

/** Names separated by commas, in lines that fit. */
function wrap(names: readonly string[]): string {
  return names.reduce((text, name, i) => {
    const line = text.slice(text.lastIndexOf('\n') + 1);
    const comma = i === 0 ? '' : ',';
    return line.length > 36
      ? `${text}${comma}\n${name}`
      : `${text}${comma}${i === 0 ? '' : ' '}${name}`;
  }, '');
}

export function main(): Promise<never> {
  const { values, positionals } = readCommandLine(SPEC);
  return runCommand('fault', async () => {
    if (values.prefetch !== undefined) {
      process.stdout.write(`${JSON.stringify(prefetch(values.prefetch))}\n`);
      return 0;
    }
    const { workload, policy, curves, json } = values;
    if (values.experiments) {
      for (const name of ['workload', 'policy', 'trace', 'record'] as const) {
        if (values[name] !== undefined) {
          throw new UsageError(`--${name} is of a single run; --experiments have their own`);
        }
      }
      const cost = values.cost === undefined ? undefined : readCost(values.cost);
      return runMenu({ names: positionals, broken: values.break, curves, cost, json });
    }
    if (positionals.length > 0 || values.break !== undefined || curves) {
      throw new UsageError('names of experiments, --break and --curves go with --experiments');
    }
    if (workload === undefined || policy === undefined) {
      throw new UsageError(
        'needs --workload W and --policy P, --experiments, or --prefetch JSON (see --help)',
      );
    }
    await runFaults({ ...values, workload, policy });
    return 0;
  });
}

function prefetch(text: string): unknown {
  let query: unknown;
  try {
    query = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--prefetch takes JSON: ${(error as Error).message}`);
  }
  try {
    return answerPrefetchQuery(query);
  } catch (error) {
    throw error instanceof QueryError ? new UsageError(`--prefetch: ${error.message}`) : error;
  }
}
