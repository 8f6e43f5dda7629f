/**
 * G2, coalescing: pages of 4 KiB in shuffled order, drawn from clusters of 64 KiB, are to be moved
 * nearly as fast as folios of 64 KiB, because the engine sorts and merges them; and far faster than
 * the same pages with a command each. Nothing that merges can be faster than the folios, so these
 * are also the limit of the second ratio.
 */
import { PAGE_SIZE } from '../src/index.ts';
import { seedFor } from './content.ts';
import { CopyOperation } from './copy-operation.ts';
import type { Direction } from './copy-operation.ts';
import { copyPools } from './copy-suite.ts';
import { CLUSTER_FOLIOS, takeFragments } from './fragments.ts';
import type { Fragments } from './fragments.ts';
import { judge, limitOf, withLimit } from './goal-parts.ts';
import { boxOfNear, compareSides, shuffledRounds } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import type { RunContext } from './run-context.ts';
import { pairedRatio } from './stats.ts';
import type { GoalPart } from './types.ts';

const MIN_OF_FOLIOS = 0.9;
const MIN_OVER_SINGLE = 3.5;
const DIRECTIONS = ['to-device', 'in-device'] as const;

/** Cells that runCoalesceGoal() adds: three sides each way. */
export const COALESCE_CELLS = 3 * DIRECTIONS.length;

/** Measures G2. Adds its cells and result to `ctx`. Needs a WebGPU engine. */
export async function runCoalesceGoal(ctx: RunContext): Promise<void> {
  const parts: GoalPart[] = [];
  for (const direction of DIRECTIONS) {
    const measured = await measure(ctx, direction);
    if (measured === null) return;
    parts.push(...measured);
  }
  ctx.goals.push({ id: 'G2', parts });
}

async function measure(
  ctx: RunContext,
  direction: (typeof DIRECTIONS)[number],
): Promise<readonly GoalPart[] | null> {
  await ctx.say('goals', `G2 coalescing ${direction}`);
  const pages = ctx.plan.goals.coalescePages;
  const pools = copyPools(ctx);
  const take = (folioPages: number, fragments: Fragments): CopyOperation => {
    const batch = pages / folioPages;
    const name = `goal/G2/${direction}/${folioPages}`;
    const from = direction === 'to-device' ? pools.ram : pools.vram;
    const shape = { batch, folioPages, fragments };
    const frames = takeFragments(from, pools.vram, shape, ctx.random.fork(name));
    const scratch = direction === 'to-device' ? null : pools.ram.take(batch, folioPages, null);
    if (frames === null) throw new Error('the machine is too small for G2');
    return new CopyOperation(ctx.copyMachine, {
      direction: direction satisfies Direction,
      strategy: 'runs',
      folioPages,
      ...frames,
      ...(scratch === null ? {} : { scratch }),
      seed: seedFor(ctx.plan.seed, name),
    });
  };
  const single = take(1, 'clustered');
  const folios = take(CLUSTER_FOLIOS, 'scattered');
  const side = (name: string, operation: Side['operation'], folioPages: number): Side => ({
    name: `goal/G2/${direction}/${name}`,
    params: { direction, how: name, folioBytes: folioPages * PAGE_SIZE, batch: pages / folioPages },
    operation,
    bytes: pages * PAGE_SIZE,
    pages,
  });
  const sides = [
    side('merged', single, 1),
    side('folios', folios, CLUSTER_FOLIOS),
    side('single', single.by('commands'), 1),
  ];
  const order = shuffledRounds(ctx, sides.length, `G2 ${direction}`);
  const results = await compareSides(ctx, sides, order, boxOfNear(ctx.plan.goals));
  if (results === null) return null;
  const [merged, whole, alone] = results.map((result) => result.samples);
  const ofFolios = pairedRatio(whole!, merged!, ctx.resampling);
  const overSingle = pairedRatio(alone!, merged!, ctx.resampling);
  const where = `${direction}, ${pages} shuffled pages in clusters of 64 KiB`;
  const what = `${direction}: 64 KiB folios over a command a page`;
  const beside = { over: alone!, under: whole!, ours: merged!, least: whole! };
  const limit = limitOf(what, beside, ctx.resampling);
  return [
    judge(`${where}: speed over 64 KiB folios`, ofFolios, '>=', MIN_OF_FOLIOS),
    withLimit(
      judge(`${where}: speed over a command a page`, overSingle, '>=', MIN_OVER_SINGLE),
      limit,
    ),
  ];
}
