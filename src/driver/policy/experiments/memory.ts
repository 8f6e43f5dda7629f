/**
 * Experiments 4, 6, 8, 9 and 11: too little memory, sizes, windows, remote access, copy commands.
 */
import type { AccessTrace } from '../access-trace.ts';
import { plainRegion, TraceWriter } from '../access-trace.ts';
import { commandsUs, explicitCopyUs } from '../cost-model.ts';
import type { SmartOptions } from '../drivers/smart.ts';
import { runModel } from '../model-run.ts';
import type { ModelResult } from '../model-run.ts';
import { policyByName } from '../policies.ts';
import { ACCESS_WRITE } from '../policy.ts';
import { makeWorkload } from '../workloads.ts';
import { atLeast, atMost } from './experiment.ts';
import type { Curve, Experiment, ExperimentContext, ExperimentResult } from './experiment.ts';

const PERCENTS = [100, 110, 125, 150];

/** Evictions of the cliff: the prefetcher under pressure, and the order. */
const PAIRS = {
  lru4k: { pressurePrefetch: 'none', evict: 'lru4k' },
  lru2m: { pressurePrefetch: 'tbn', evict: 'lru2m' },
  fifo2m: { pressurePrefetch: 'tbn', evict: 'fifo2m' },
  random: { pressurePrefetch: 'random', evict: 'random' },
  tbn: { pressurePrefetch: 'tbn', evict: 'tbn' },
} as const satisfies Readonly<Record<string, Partial<SmartOptions>>>;
type PairName = keyof typeof PAIRS;

function total(trace: AccessTrace): number {
  return trace.regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
}

function oversubscribed(
  { cost, broken }: ExperimentContext,
  trace: AccessTrace,
  pair: PairName,
  percent: number,
): ModelResult {
  const options: Partial<SmartOptions> =
    broken === 'fifo' && pair === 'lru2m' ? PAIRS.fifo2m : PAIRS[pair];
  const policy = policyByName('tbn', { smart: options });
  const devicePages = Math.floor((total(trace) * 100) / percent);
  return runModel(trace, policy, { cost, devicePages, window: 64 });
}

/** Oversubscription × eviction. Published: 66 to 122 times slower where pages are used again. */
export const cliff: Experiment = {
  number: 4,
  name: 'cliff',
  title: 'working sets of 100 to 150 % of memory, eviction orders',
  run(context): ExperimentResult {
    const traces = {
      once: makeWorkload('stream', { pages: 4096 }),
      cyclic: makeWorkload('cyclic', { pages: 2048, passes: 6 }),
      graph: makeWorkload('graph', { pages: 3072, passes: 4 }),
    };
    const time: Record<string, number> = {};
    const curves: Curve[] = [];
    for (const [name, trace] of Object.entries(traces)) {
      for (const pair of Object.keys(PAIRS) as PairName[]) {
        const points = PERCENTS.map((percent) => {
          const { us } = oversubscribed(context, trace, pair, percent);
          time[`${name} ${pair} ${percent}`] = us;
          return [percent, us] as const;
        });
        curves.push({ name: `${name}, ${pair}`, x: '% of memory', y: 'us', points });
      }
    }
    const slower = (what: string, percent: number): number =>
      time[`${what} ${percent}`]! / time[`${what} 100`]!;
    const versus = (what: string, one: PairName, other: PairName, percent: number): number =>
      time[`${what} ${one} ${percent}`]! / time[`${what} ${other} ${percent}`]!;
    return {
      relations: [
        atLeast('cyclic lru4k 110/100', slower('cyclic lru4k', 110), 20),
        atLeast('graph lru4k 125/100', slower('graph lru4k', 125), 3),
        atMost('once tbn 150/100', slower('once tbn', 150), 1.5),
        atLeast('cyclic lru4k/tbn 110', versus('cyclic', 'lru4k', 'tbn', 110), 5),
        atLeast('graph lru2m/tbn 110', versus('graph', 'lru2m', 'tbn', 110), 1),
        atLeast('graph fifo2m/lru2m 125', versus('graph', 'fifo2m', 'lru2m', 125), 1.02),
      ],
      curves,
    };
  },
};

/** Sizes from 4 KiB to 1 GiB. Published: flat 640 us to 256 KiB, then about 14 times slower. */
export const sizes: Experiment = {
  number: 6,
  name: 'sizes',
  title: 'managed memory against an explicit copy, 4 KiB to 1 GiB',
  run({ cost, broken }): ExperimentResult {
    const model = broken === 'setup' ? { ...cost, setupUs: 0 } : cost;
    const managed: [number, number][] = [];
    const explicit: [number, number][] = [];
    for (let pages = 1; pages <= 2 ** 18; pages *= 4) {
      const bytes = pages * 4096;
      const trace = makeWorkload('sweep', { pages });
      const policy = policyByName('uvm', { uvm: { thrashing: undefined } });
      const { us } = runModel(trace, policy, { cost: model, window: 80 });
      managed.push([bytes, us + model.setupUs]);
      explicit.push([bytes, explicitCopyUs(model, bytes)]);
    }
    const at = (bytes: number): number => managed.find(([x]) => x === bytes)![1];
    const last = managed.length - 1;
    return {
      relations: [
        { name: 'us at 4 KiB', value: at(4096), low: 500, high: 800 },
        atMost('256 KiB/4 KiB', at(2 ** 18) / at(4096), 1.8),
        { name: '1 GiB/256 MiB', value: at(2 ** 30) / at(2 ** 28), low: 3.6, high: 4.4 },
        {
          name: 'managed/explicit 1 GiB',
          value: managed[last]![1] / explicit[last]![1],
          low: 10,
          high: 18,
        },
      ],
      curves: [
        { name: 'managed', x: 'bytes', y: 'us', points: managed },
        { name: 'explicit', x: 'bytes', y: 'us', points: explicit },
      ],
    };
  },
};

/** A page in each of so many blocks. */
function sparsePages(blocks: number): AccessTrace {
  const out = new TraceWriter('sparse', [plainRegion(0, blocks * 512)]);
  for (let block = 0; block < blocks; block++) {
    out.lane();
    out.touch(block * 512 + ((block * 37) % 512), ACCESS_WRITE);
  }
  return out.finish();
}

/** kfd's granularity 0 to 14 on dense and sparse use. */
export const granularity: Experiment = {
  number: 8,
  name: 'granularity',
  title: "kfd's migration window, dense and one page per 2 MiB",
  run({ cost, broken }): ExperimentResult {
    const dense = makeWorkload('sweep', { pages: 512 });
    const sparse = sparsePages(64);
    const run = (trace: AccessTrace, size: number): ModelResult =>
      runModel(trace, policyByName('kfd', { granularity: broken === 'granularity' ? 9 : size }), {
        cost,
        window: 1,
      });
    const sweep = Array.from({ length: 15 }, (_, size) => size);
    const time = sweep.map((size) => run(dense, size).us);
    const bytes = sweep.map((size) => run(sparse, size).counts.bytesIn);
    return {
      relations: [
        atLeast('dense time 0/9', time[0]! / time[9]!, 10),
        atLeast('sparse bytes 9/0', bytes[9]! / bytes[0]!, 100),
      ],
      curves: [
        { name: 'dense', x: 'granularity', y: 'us', points: sweep.map((g) => [g, time[g]!]) },
        { name: 'sparse', x: 'granularity', y: 'bytes', points: sweep.map((g) => [g, bytes[g]!]) },
      ],
    };
  },
};

/** Remote access on a sparse graph. Published: adaptive < always < never. */
export const remote: Experiment = {
  number: 9,
  name: 'remote',
  title: 'remote access on a sparse graph, 150 % of memory',
  run({ cost, broken }): ExperimentResult {
    const trace = makeWorkload('graph', { pages: 6144, passes: 6 });
    const run = (smart: Partial<SmartOptions>): ModelResult => {
      const mode: Partial<SmartOptions> = broken === 'remote' ? { remote: 'disabled' } : {};
      const base: Partial<SmartOptions> = { prefetch: 'sl64k', pressurePrefetch: 'sl64k' };
      const policy = policyByName('adaptive', { smart: { ...base, ...smart, ...mode } });
      const devicePages = Math.floor(total(trace) / 1.5);
      return runModel(trace, policy, { cost, devicePages, window: 64 });
    };
    const never = run({ remote: 'disabled' }).us;
    const always = run({ remote: 'always' }).us;
    const penalties = [1, 2, 4, 8, 16];
    const points = penalties.map(
      (penalty) => [penalty, run({ remote: 'adaptive', penalty }).us] as const,
    );
    const adaptive = Math.min(...points.map(([, us]) => us));
    return {
      relations: [
        atLeast('never/always', never / always, 1.05),
        atLeast('always/adaptive', always / adaptive, 1.02),
        atLeast('penalty 2/8', points[1]![1] / points[3]![1], 1),
      ],
      curves: [{ name: 'adaptive', x: 'penalty', y: 'us', points }],
    };
  },
};

/** Pages per copy command, 1 to 512, by the model. */
export const commands: Experiment = {
  number: 11,
  name: 'commands',
  title: 'pages per copy command, modelled',
  run({ cost, broken }): ExperimentResult {
    const model = broken === 'commands' ? { ...cost, commandUs: 0 } : cost;
    const pages = 8192;
    const points = Array.from({ length: 10 }, (_, power) => {
      const each = 2 ** power;
      return [each, (pages * 4096) / (commandsUs(model, pages, each) * 1e3)] as const;
    });
    const speed = points.map(([, gbs]) => gbs);
    const worst = Math.min(...speed.slice(1).map((gbs, i) => gbs / speed[i]!));
    return {
      relations: [
        atLeast('GB/s 512/1', speed[9]! / speed[0]!, 3),
        atLeast('worst step', worst, 0.9),
      ],
      curves: [{ name: 'bandwidth', x: 'pages per command', y: 'GB/s', points }],
    };
  },
};
