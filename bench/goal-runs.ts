/**
 * What the comparisons behind the goals have in common: sides that are measured in turn in the
 * same minutes, as often as a time box allows, and kept as cells.
 */
import { PAGE_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import type { CopyOperation, Direction } from './copy-operation.ts';
import { takeCopy } from './copy-suite.ts';
import type { CopyPools } from './copy-suite.ts';
import type { GoalPlan } from './plan.ts';
import type { RunContext } from './run-context.ts';
import { interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { pairedOrder } from './stats.ts';
import type { BenchCell, SuiteName } from './types.ts';

const WARMUPS = 2;
const IN_FLIGHT = 3;

/** Something to measure under a name of its own. */
export interface Side {
  readonly name: string;
  readonly params: BenchCell['params'];
  readonly operation: Operation;
  readonly bytes: number;
  readonly pages: number;
}

/** A stream of lists of pages by one strategy, into or out of contiguous VRAM. */
export function strategySide(
  ctx: RunContext,
  pools: CopyPools,
  goal: string,
  direction: Direction,
  strategy: StrategyName,
  pages: number,
  listFolios: number,
): Side & { readonly operation: CopyOperation } {
  const cell = { direction, strategy, folioBytes: PAGE_SIZE, batch: pages };
  const options = { scatterVram: false, listFolios, inFlight: IN_FLIGHT };
  const operation = takeCopy(ctx, pools, cell, options);
  if (operation === null) throw new Error(`the machine is too small for ${goal}`);
  const params = { ...cell, pages, listPages: listFolios, inFlight: IN_FLIGHT, vram: 'contiguous' };
  const name = `goal/${goal}/${direction}/${strategy}/${pages}`;
  return { name, params, operation, bytes: operation.bytes, pages };
}

/** A time box of a comparison. */
export interface PairBox {
  readonly minPairs: number;
  readonly maxPairs: number;
  /** Milliseconds of the comparison, preparation included. */
  readonly budgetMs: number;
}

/** The box of a comparison whose value lies near its bound: it has to be steady. */
export function boxOfNear({ minPairs, maxPairs, budgetMs, nearTimes }: GoalPlan): PairBox {
  return { minPairs, maxPairs: nearTimes * maxPairs, budgetMs: nearTimes * budgetMs };
}

/** How many rounds fit a box when one took `roundMs`. */
export function roundsIn(box: PairBox, roundMs: number): number {
  const { minPairs, maxPairs, budgetMs } = box;
  return Math.max(minPairs, Math.min(maxPairs, Math.floor(budgetMs / roundMs)));
}

/**
 * Runs the sides, as many times each as fits, and keeps their cells; null where one of them failed.
 *
 * @param order Gives the turns of so many pairs. @param box Default: the plan's.
 */
export async function compareSides(
  ctx: RunContext,
  sides: readonly Side[],
  order: (pairs: number) => number[],
  box: PairBox = ctx.plan.goals,
  suite: SuiteName = 'copy',
): Promise<Sampled[] | null> {
  const operations = sides.map((side) => side.operation);
  const inTime = (roundMs: number): number[] => order(roundsIn(box, roundMs));
  const results = await interleave(operations, inTime, WARMUPS, ctx.signal);
  sides.forEach((side, i) => {
    const { name: id, params, bytes, pages } = side;
    ctx.addCell({ suite, id, params, unit: 'us', bytes, pages }, results[i]!);
  });
  return results.some((result) => result.failure !== null) ? null : results;
}

/** A, B, B, A, ... of two sides. */
export function twoSided(pairs: number): number[] {
  return pairedOrder(pairs).map((side) => (side === 'a' ? 0 : 1));
}

/** Rounds over all sides, each in an order of its own; round i gives the i-th sample of each. */
export function shuffledRounds(
  ctx: RunContext,
  sides: number,
  name: string,
): (rounds: number) => number[] {
  const shuffler = ctx.random.fork(name);
  const indexes = Uint32Array.from({ length: sides }, (_, at) => at);
  return (rounds) =>
    Array.from({ length: rounds }, () => [...shuffler.shuffle(indexes.slice())]).flat();
}
