/**
 * Experiment 7: a page that the CPU and a device compete for, with the detector and without, over a
 * second; and what the length of its naps does.
 */
import { Prng } from '../../../base/prng.ts';
import { PING_PONG, pingPong } from '../ping-pong.ts';
import { ThrashingDetector, UVM_THRASHING } from '../thrashing.ts';
import { atMost } from './experiment.ts';
import type { Experiment, ExperimentResult } from './experiment.ts';

const SEEDS = [1, 2, 3];

/** Moves in a second, the mean of a few seeds. */
function moves(params: object | undefined): number {
  const each = SEEDS.map((seed) => {
    const detector =
      params === undefined
        ? undefined
        : new ThrashingDetector(512, { ...UVM_THRASHING, ...params });
    return pingPong(detector, PING_PONG, new Prng(seed)).moves;
  });
  return each.reduce((sum, one) => sum + one, 0) / each.length;
}

export const thrash: Experiment = {
  number: 7,
  name: 'thrash',
  title: 'a page between CPU and device for a second, lapse and nap swept',
  run({ broken }): ExperimentResult {
    const off = moves(undefined);
    const on = moves(broken === 'detector' ? undefined : {});
    const lapses = [50, 100, 200, 500, 1000, 2000, 5000];
    const naps = [0.25, 0.5, 0.75, 1, 2, 4];
    const byNap = naps.map((nap) => [nap, moves({ nap, tuning: 'off' })] as const);
    return {
      relations: [
        atMost('moves with/without', on / off, 0.2),
        atMost('nap 0.5, not tuned', byNap[1]![1] / off, 0.01),
      ],
      curves: [
        {
          name: 'moves',
          x: 'lapse, us',
          y: 'per s',
          points: lapses.map((us) => [us, moves({ lapseUs: us })]),
        },
        { name: 'moves, lapse not tuned', x: 'nap, lapses', y: 'per s', points: byNap },
      ],
    };
  },
};
