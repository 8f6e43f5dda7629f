/**
 * Experiments 3, 5 and 10: sizes of batches, the time that evictions add to a batch, and when
 * faults are replayed.
 */
import { runModel } from '../model-run.ts';
import { policyByName } from '../policies.ts';
import type { ReplayPolicy } from '../policy.ts';
import { plainRegion, TraceWriter } from '../access-trace.ts';
import type { AccessTrace } from '../access-trace.ts';
import { ACCESS_WRITE } from '../policy.ts';
import { makeWorkload } from '../workloads.ts';
import { atLeast, exactly } from './experiment.ts';
import type { Experiment, ExperimentResult } from './experiment.ts';

const LIMITS = [32, 64, 128, 256, 512, 1024];

/** Batch limit × matrix product. Published: best at 256, fewer batches, more duplicates. */
export const batchLimit: Experiment = {
  number: 3,
  name: 'batch-limit',
  title: 'fault records per batch on a matrix product, no prefetch',
  run({ cost, broken }): ExperimentResult {
    const trace = makeWorkload('matmul', { pages: 6912 });
    const policy = policyByName('uvm', { uvm: { prefetch: false, thrashing: undefined } });
    const model = broken === 'records' ? { ...cost, recordUs: 0 } : cost;
    const runs = LIMITS.map((limit) =>
      runModel(trace, policy, {
        cost: model,
        window: 80,
        traits: { batchLimit: limit },
        dedup: false,
      }),
    );
    const speed = runs.map(({ us }) => 1e6 / us);
    const best = LIMITS[speed.indexOf(Math.max(...speed))]!;
    const batches = runs.map(({ counts }) => counts.batches);
    const twice = runs.map(({ counts }) => counts.duplicates + counts.stale);
    return {
      relations: [
        exactly('best limit', best, 256),
        atLeast('speed 256/32', speed[3]! / speed[0]!, 1.1),
        { name: 'speed 1024/256', value: speed[5]! / speed[3]!, low: 0.9, high: 0.999 },
        atLeast('batches 32/512', batches[0]! / batches[4]!, 2),
        atLeast('duplicates 512/32', twice[4]! / twice[0]!, 1.5),
      ],
      curves: [
        { name: 'speed', x: 'records', y: 'runs/s', points: LIMITS.map((x, i) => [x, speed[i]!]) },
        { name: 'batches', x: 'records', y: '', points: LIMITS.map((x, i) => [x, batches[i]!]) },
        { name: 'duplicates', x: 'records', y: '', points: LIMITS.map((x, i) => [x, twice[i]!]) },
      ],
    };
  },
};

const BAND_PAGES = 4096;
/** Where each array begins in its block: 1, 2 and 3 arrays come to the end of theirs at once. */
const BAND_OFFSETS = [0, 0, 0, 160, 160, 320];
const BAND_WINDOW = 96;

/** Arrays that are gone over in step, twice: all blocks have been touched the second time. */
function shiftedArrays(): AccessTrace {
  const stride = BAND_PAGES + 1024;
  const regions = BAND_OFFSETS.map((offset, i) => plainRegion(i * stride + offset, BAND_PAGES));
  const out = new TraceWriter('shifted arrays', regions);
  for (let pass = 0; pass < 2; pass++) {
    for (let page = 0; page < BAND_PAGES; page++) {
      for (const { first } of regions) {
        out.lane();
        out.touch(first + page, ACCESS_WRITE);
      }
    }
  }
  return out.finish();
}

/** Batch time by evictions. Published: bands about 0.2 ms apart. */
export const bands: Experiment = {
  number: 5,
  name: 'bands',
  title: 'batch time by number of evictions, twice the memory there is',
  run({ cost, broken }): ExperimentResult {
    const trace = shiftedArrays();
    const model =
      broken === 'evictions' ? { ...cost, evictBlockUs: 0, linkGiBs: Number.MAX_VALUE } : cost;
    const policy = policyByName('uvm', { uvm: { prefetch: false, thrashing: undefined } });
    const { batchUs, batchEvictions } = runModel(trace, policy, {
      cost: model,
      devicePages: (BAND_OFFSETS.length * BAND_PAGES) / 2,
      window: BAND_WINDOW,
    });
    const modes = [0, 1, 2, 3].map((count) =>
      median(batchUs.filter((_, i) => i > batchUs.length / 2 && batchEvictions[i] === count)),
    );
    const points = modes.map((us, count) => [count, us] as const);
    const step = (from: number): number => modes[from + 1]! - modes[from]!;
    return {
      relations: [
        { name: 'us from 0 to 1 eviction', value: step(0), low: 150, high: 250 },
        { name: '1 to 2', value: step(1), low: 150, high: 250 },
        { name: '2 to 3', value: step(2), low: 150, high: 250 },
      ],
      curves: [{ name: 'batch time', x: 'evictions', y: 'us, median', points }],
    };
  },
};

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

const REPLAYS: readonly ReplayPolicy[] = ['block', 'batch', 'batch-flush', 'once'];

/** Replay policy × duplicates. */
export const replays: Experiment = {
  number: 10,
  name: 'replays',
  title: 'replay policies on a matrix product with shared pages',
  run({ cost, broken }): ExperimentResult {
    const trace = makeWorkload('matmul', { pages: 3072 });
    const policy = policyByName('uvm', { uvm: { prefetch: false, thrashing: undefined } });
    const run = (replay: ReplayPolicy, dedup: boolean) =>
      runModel(trace, policy, {
        cost,
        window: 72,
        dedup: dedup && broken !== 'dedup',
        traits: {
          replay: broken === 'flush' && replay === 'batch-flush' ? 'batch' : replay,
          batchLimit: 128,
        },
      });
    const runs = REPLAYS.map((replay) => run(replay, false));
    const [block, batch, flush, once] = runs.map(({ counts }) => counts);
    const bit = run('batch-flush', true);
    return {
      relations: [
        atLeast('replays block/batch', block!.replays / batch!.replays, 1),
        atLeast('batch/once', batch!.replays / once!.replays, 1),
        atLeast('stale batch/flush', batch!.stale / Math.max(1, flush!.stale), 2),
        exactly('different memories', new Set(runs.map(({ digest }) => digest)).size - 1, 0),
        exactly('duplicates with the dedup bit', bit.counts.duplicates, 0),
      ],
      curves: [
        {
          name: 'replays',
          x: REPLAYS.join(', '),
          y: '',
          points: runs.map((one, i) => [i, one.counts.replays]),
        },
        {
          name: 'stale',
          x: REPLAYS.join(', '),
          y: '',
          points: runs.map((one, i) => [i, one.counts.stale]),
        },
      ],
    };
  },
};
