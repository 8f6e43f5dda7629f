/*
 * One run of `npm run fault`: an access trace under a policy, on the virtual clock.
 */
import { readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import {
  chromeTrace,
  CostError,
  FaultLives,
  makeWorkload,
  POLICIES,
  PolicyError,
  policyByName,
  policyErrorText,
  readCostModel,
  readTrace,
  runModel,
  StuckError,
  traceToCsv,
  traceToJson,
  TraceError,
  WORKLOADS,
} from '../src/index.ts';
import type {
  AccessTrace,
  CostModel,
  EvictionName,
  ModelResult,
  PolicyFactory,
  PolicyName,
  ReplayPolicy,
  WorkloadName,
} from '../src/index.ts';
import { UsageError } from './args.ts';
import { callerFolder, outputFiles } from './output-file.ts';
import { isPolicyModule, loadPolicyModule } from './policy-module.ts';

/** Options of one run, as the command line gives them. */
export interface FaultRunOptions {
  readonly workload: string;
  readonly policy: string;
  readonly window: number | undefined;
  readonly size: number | undefined;
  readonly passes: number | undefined;
  readonly oversub: number | undefined;
  readonly evict: EvictionName | undefined;
  readonly replay: ReplayPolicy | undefined;
  readonly batch: number | undefined;
  readonly granularity: number | undefined;
  readonly dedup: boolean;
  readonly seed: number | undefined;
  readonly cost: string | undefined;
  readonly json: string | undefined;
  readonly trace: string | undefined;
  readonly record: string | undefined;
}

const PAGES_PER_MIB = 256;
const DEFAULT_MIB = 16;

/**
 * Runs, prints a summary, and writes the files that were asked for.
 *
 * @throws UsageError for whatever the user got wrong, the policy included
 */
export async function runFaults(options: FaultRunOptions): Promise<void> {
  const { json, trace: lifeFile, record } = options;
  const files = outputFiles({ json, trace: lifeFile, record });
  const trace = loadTrace(options);
  const { policy, url } = await loadPolicy(options);
  const cost = options.cost === undefined ? undefined : readCost(options.cost);
  const pages = trace.regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
  const devicePages = Math.max(1, Math.floor((pages * 100) / (options.oversub ?? 100)));
  const lives = new FaultLives();
  const { window, replay, batch, seed, dedup } = options;
  const traits = {
    ...(replay === undefined ? {} : { replay }),
    ...(batch === undefined ? {} : { batchLimit: batch }),
  };
  let result: ModelResult;
  try {
    result = runModel(trace, policy, {
      devicePages,
      lives,
      dedup,
      traits,
      ...(window === undefined ? {} : { window }),
      ...(seed === undefined ? {} : { seed }),
      ...(cost === undefined ? {} : { cost }),
    });
  } catch (error) {
    if (error instanceof PolicyError || error instanceof StuckError) {
      throw new UsageError(policyErrorText(error, url, options.policy));
    }
    throw error;
  }
  const isPiped = Object.values(files).some((file) => file?.isStdout === true);
  if (!isPiped) process.stdout.write(summary(result));
  files.json?.write(JSON.stringify(result));
  files.trace?.write(JSON.stringify(chromeTrace(result, lives)));
  if (files.record !== undefined) {
    const isJson = files.record.path.endsWith('.json');
    files.record.write(isJson ? traceToJson(trace) : traceToCsv(trace));
  }
}

function loadTrace({ workload, size, passes, seed }: FaultRunOptions): AccessTrace {
  if (!WORKLOADS.includes(workload as WorkloadName)) {
    if (!/\.(csv|json)$/.test(workload)) {
      const names = WORKLOADS.join(', ');
      throw new UsageError(`--workload takes ${names}, or a .csv or .json file, not '${workload}'`);
    }
    if (size !== undefined || passes !== undefined) {
      throw new UsageError('--size and --passes are of the workloads by name; a file has its own');
    }
    try {
      return readTrace(readFileSync(resolve(callerFolder(), workload), 'utf8'), basename(workload));
    } catch (error) {
      if (error instanceof TraceError) throw new UsageError(`${workload}: ${error.message}`);
      throw new UsageError(`can't read ${workload}: ${(error as Error).message}`);
    }
  }
  return makeWorkload(workload as WorkloadName, {
    pages: (size ?? DEFAULT_MIB) * PAGES_PER_MIB,
    ...(passes === undefined ? {} : { passes }),
    ...(seed === undefined ? {} : { seed }),
  });
}

/** Other names of policies. */
const ALIASES: Readonly<Record<string, PolicyName>> = {
  gpusvm: 'xe',
  amdkfd: 'kfd',
  nvidia: 'uvm',
  off: 'none',
};

/** Policies that take no other order of eviction. */
const OWN_EVICTION: readonly string[] = ['xe', 'kfd', 'nouveau'];

/** Who decides, and the URL of its module, or '' where it has none. */
async function loadPolicy(
  options: FaultRunOptions,
): Promise<{ readonly policy: PolicyFactory; readonly url: string }> {
  const { evict, granularity } = options;
  const policy = ALIASES[options.policy] ?? options.policy;
  if (granularity !== undefined && policy !== 'kfd') {
    throw new UsageError(`--granularity is of kfd, not of ${options.policy}`);
  }
  if (evict !== undefined && (OWN_EVICTION.includes(policy) || isPolicyModule(policy))) {
    throw new UsageError(`--evict: ${options.policy} has its own order`);
  }
  if (POLICIES.includes(policy as PolicyName)) {
    const made = policyByName(policy as PolicyName, {
      ...(evict === undefined ? {} : { evict }),
      ...(granularity === undefined ? {} : { granularity }),
    });
    return { policy: made, url: '' };
  }
  if (!isPolicyModule(policy)) {
    const names = POLICIES.join(', ');
    const lower = policy.toLowerCase();
    const meant = POLICIES.some((name) => name === lower) ? `; did you mean ${lower}?` : '';
    throw new UsageError(`--policy takes ${names}, or a .js or .mjs file, not '${policy}'${meant}`);
  }
  const { url, factory } = await loadPolicyModule(policy);
  return { policy: factory, url };
}

/** The cost model that `--cost` gives. @throws UsageError */
export function readCost(text: string): CostModel {
  try {
    return readCostModel(JSON.parse(text));
  } catch (error) {
    if (error instanceof CostError) throw new UsageError(`--cost: ${error.message}`);
    throw new UsageError(`--cost takes JSON: ${(error as Error).message}`);
  }
}

/** The run as lines for people. */
function summary(result: ModelResult): string {
  const { counts, times, us, pages, devicePages, traits } = result;
  const ms = (value: number): string => `${(value / 1000).toFixed(3)} ms`;
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const split = (Object.entries(times) as [string, number][])
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${name} ${ms(value)}`);
  const rows: [string, string][] = [
    ['workload', `${result.trace}, ${pages} pages on a device of ${devicePages}`],
    ['policy', `${result.policy} (${result.source || 'no source given'})`],
    ['window', `${result.window} workgroups; batches of ${traits.batchLimit}, ${traits.replay}`],
    ['virtual time', ms(us)],
    ...(split.length === 0 ? [] : [['  of that', split.join(', ')] as [string, string]]),
    ['faults', `${counts.faults}: ${counts.duplicates} duplicate, ${counts.stale} stale`],
    ['batches', `${counts.batches}, ${counts.replays} replays`],
    ['moved', `${mib(counts.bytesIn)} in, ${mib(counts.bytesOut)} out`],
    ['prefetched', `${counts.prefetchedPages} pages, ${counts.prefetchedUnused} never used`],
    ['evicted', `${counts.evictedPages} pages in ${counts.evictions} evictions`],
    ['remote', `${counts.remoteUses} accesses, ${counts.fallbacks} pages for want of memory`],
  ];
  if (counts.throttled > 0) rows.push(['throttled', `${counts.throttled} faults`]);
  if (counts.cancelled > 0)
    rows.push(['cancelled', `${counts.cancelled} faults: not allowed, or in no region`]);
  return rows.map(([name, value]) => `${name.padEnd(14)}${value}\n`).join('');
}
