/**
 * What a run is made of, drawn from its seed: sizes of the machine, how much happens at a time, and
 * the weight of every operation. Weights are drawn anew for each seed (swarm testing): a run in
 * which an operation never happens, or nothing else does, gets to places where an even mixture
 * never would.
 */
import { Prng } from '../base/prng.ts';

export interface SimConfig {
  readonly seed: number;
  readonly ramPages: number;
  readonly devicePages: number;
  readonly chunkPages: number;
  /** Pages of a coherent device, and slots of swap space; 0 = none. */
  readonly coherentPages: number;
  readonly swapPages: number;
  /** Every anonymous page may be part of a large folio. */
  readonly isHuge: boolean;
  /** Operations in flight at a time, CPU cores, address spaces. */
  readonly tasks: number;
  readonly cores: number;
  readonly processes: number;
  /** Most turns of the microtask queue after a step. */
  readonly turns: number;
  /** Steps from one rest to the next. */
  readonly restEvery: number;
  /** Weight by name of operation; 0 = never. */
  readonly weights: Readonly<Record<string, number>>;
}

/** What the configuration has to know of an operation. */
export interface Weighted {
  readonly name: string;
  /** How often it happens in an even mixture. */
  readonly weight: number;
  /** Never left out: without it nothing would get anywhere. */
  readonly isVital?: boolean;
  /** A fault: left out of most runs. */
  readonly isFault?: boolean;
}

/** Limits of a run that the caller sets. */
export interface SimChoice {
  /** Only these operations, besides the vital ones. */
  readonly only?: readonly string[];
  /** Not these. */
  readonly skip?: readonly string[];
}

/** What RAM and devices have more where there are large folios. */
const HUGE_RAM = 5 * 512;
const HUGE_DEVICE = 3 * 512;

/** The configuration of a seed. */
export function makeConfig(
  seed: number,
  operations: readonly Weighted[],
  choice: SimChoice = {},
): SimConfig {
  const random = new Prng(seed).fork('swarm');
  const isTight = random.chance(0.25);
  const coherentPages = random.chance(0.4) ? 6 + random.below(20) : 0;
  const isHuge = random.chance(0.06);
  const swapPages = random.chance(0.4) ? 4 + random.below(60) : 0;
  const weights: Record<string, number> = {};
  for (const { name, weight, isVital, isFault } of operations) {
    // Drawn for all, so that leaving one out leaves the others as they are.
    const factor = [0, 0.3, 1, 1, 1, 3][random.below(6)]!;
    const isLeftOut = random.chance(isFault === true ? 0.5 : 0);
    const isChosen = choice.only === undefined || choice.only.includes(name);
    const isSkipped = choice.skip?.includes(name) === true;
    if (isVital === true) weights[name] = weight * Math.max(0.3, factor);
    else weights[name] = isLeftOut || isSkipped || !isChosen ? 0 : weight * factor;
  }
  return {
    seed,
    ramPages: (isTight ? 150 + random.below(60) : 420) + (isHuge ? HUGE_RAM : 0),
    devicePages: 8 + random.below(40) + (isHuge ? HUGE_DEVICE : 0),
    chunkPages: 4 + random.below(12) + (isHuge ? HUGE_DEVICE : 0),
    coherentPages,
    swapPages,
    isHuge,
    tasks: 1 + random.below(6),
    cores: 1 + random.below(3),
    processes: 2 + random.below(3),
    turns: 1 + random.below(6),
    restEvery: 200 + random.below(800),
    weights,
  };
}
