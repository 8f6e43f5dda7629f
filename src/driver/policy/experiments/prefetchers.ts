/**
 * Experiments 1 and 2: what prefetching does to faults and time, and what the threshold of the
 * density tree does to the number of faults.
 */
import { runModel } from '../model-run.ts';
import type { ModelResult } from '../model-run.ts';
import { policyByName } from '../policies.ts';
import type { PolicyName } from '../policies.ts';
import { makeWorkload } from '../workloads.ts';
import { exactly } from './experiment.ts';
import type { Experiment, ExperimentContext, ExperimentResult } from './experiment.ts';

const STREAM_PAGES = 12_288;

/** Prefetcher × stream. Published: TBN 30 to 43 times faster than none, 2.3 to 3.3 than SL. */
export const stream: Experiment = {
  number: 1,
  name: 'stream',
  title: 'prefetchers on a stream, 45 us per far fault',
  run(context): ExperimentResult {
    const trace = makeWorkload('stream', { pages: STREAM_PAGES });
    const block = makeWorkload('sweep', { pages: 512 });
    const names = ['none', 'random', 'sl64k', 'tbn', 'uvm'] as const;
    const times = names.map((name) => run(context, trace, name).us);
    const [none, random, sl, tbn] = times as [number, number, number, number, number];
    const faults = names.map((name) => run(context, block, name, 1).counts.serviced);
    return {
      relations: [
        { name: 'tbn/none', value: none / tbn, low: 30, high: 43 },
        { name: 'tbn/sl64k', value: sl / tbn, low: 2.3, high: 3.3 },
        { name: 'random/none', value: random / none, low: 0.68, high: 0.75 },
        exactly('faults of a block: none', faults[0]!, 512),
        exactly('sl64k', faults[2]!, 32),
        exactly('tbn', faults[3]!, 6),
        exactly('uvm', faults[4]!, 6),
      ],
      curves: [
        {
          name: 'virtual time',
          x: names.join(', '),
          y: 'us',
          points: times.map((us, i) => [i, us]),
        },
        {
          name: 'faults of a block',
          x: names.join(', '),
          y: 'faults',
          points: faults.map((n, i) => [i, n]),
        },
      ],
    };
  },
};

function run(
  { cost, broken }: ExperimentContext,
  trace: Parameters<typeof runModel>[0],
  name: PolicyName,
  window = 160,
): ModelResult {
  const isBroken = broken === 'prefetch' && name === 'tbn';
  return runModel(trace, policyByName(isBroken ? 'none' : name), { cost, window });
}

/** Threshold 1 to 100 over a forward touch of 2 MiB: the count follows from the algorithm. */
export const threshold: Experiment = {
  number: 2,
  name: 'threshold',
  title: 'threshold of the density tree, a forward touch of 2 MiB',
  run({ cost, broken }): ExperimentResult {
    const trace = makeWorkload('sweep', { pages: 512 });
    const points: [number, number][] = [];
    let wrong = 0;
    for (let per = 1; per <= 100; per++) {
      const used = broken === 'threshold' ? per - 1 : per;
      const policy = policyByName('uvm', { uvm: { threshold: used } });
      const { counts } = runModel(trace, policy, { cost, window: 1 });
      points.push([per, counts.serviced]);
      if (counts.serviced !== forwardFaults(per)) wrong++;
    }
    return {
      relations: [
        exactly('thresholds with another count of faults', wrong, 0),
        exactly('faults at 51', points[50]![1], 6),
        exactly('at 100', points[99]![1], 512),
      ],
      curves: [{ name: 'faults', x: 'threshold, %', y: 'faults', points }],
    };
  },
};

/**
 * Faults of a forward touch, counted in whole 64 KiB groups: everything up to the fault is there,
 * so a node of 2^k groups around it has as many as lie before the fault, and the fault's own.
 */
function forwardFaults(percent: number): number {
  // Not even a full group exceeds 100 %: each page comes alone.
  if (percent >= 100) return 512;
  let faults = 0;
  for (let group = 0; group < 32; faults++) {
    let next = group + 1;
    for (let size = 2; size <= 32; size *= 2) {
      const start = group - (group % size);
      if ((group - start + 1) * 100 > size * percent) next = start + size;
    }
    group = next;
  }
  return faults;
}
