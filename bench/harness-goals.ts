/**
 * Whether the harness itself is to be believed. G18: two sides that are the same thing must not be
 * called different in more than 1 of 20 comparisons; what the harness adds to a sample is small;
 * the clock's tick is found. G19: looking at a result outside the timed window changes nothing in
 * the next one.
 */
import { PAGE_SIZE } from '../src/index.ts';
import { detectTickUs, nowUs } from './clock.ts';
import { seedFor } from './content.ts';
import type { CopyOperation } from './copy-operation.ts';
import { copyPools, takeCopy } from './copy-suite.ts';
import { judge, withLimit } from './goal-parts.ts';
import { compareSides, shuffledRounds } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { gatherOperation } from './reference-suite.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, interleave, sampleChained } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { bootstrap, differs, mean, medianEstimate, pairedOrder } from './stats.ts';
import { pairedRatio } from './stats.ts';
import type { Estimate, RandomSource } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Pairs of one A/A comparison: the least that a comparison of this benchmark has. */
const PAIRS = 15;
const MAX_DIFFERENT = 0.05;
const MAX_OVERHEAD_US = 1;
const MAX_TICK_DIFFERENCE_US = 1;
const MAX_VERIFY_EFFECT = 0.03;
const CHAINED = 20_000;
const OVERHEAD_SAMPLES = 15;
/** Long against a tick of 5 us. */
const GATHER_PAGES = 256;
const UPLOAD_PAGES = 8;
const WARMUPS = 2;

/** Cells that runHarnessGoals() adds. */
export const HARNESS_CELLS = 2 + 1 + 6;

/** Measures G18 and G19. Adds their cells and results to `ctx`. */
export async function runHarnessGoals(ctx: RunContext): Promise<void> {
  if (ctx.wants('G18')) await measureHarness(ctx);
  if (ctx.wants('G19')) await measureVerification(ctx);
}

async function measureHarness(ctx: RunContext): Promise<void> {
  await ctx.say('goals', 'G18 the harness compares things with themselves');
  const pools = copyPools(ctx);
  const gather = gatherOperation(ctx, pools, GATHER_PAGES, seedFor(ctx.plan.seed, 'G18'));
  const cell = { direction: 'to-device', strategy: 'auto', folioBytes: PAGE_SIZE } as const;
  const upload = takeCopy(ctx, pools, { ...cell, batch: UPLOAD_PAGES });
  if (gather === null || upload === null) throw new Error('the machine is too small for G18');
  const flags: number[] = [];
  for (const [name, operation] of [
    ['gather', gather],
    ['upload', upload],
  ] as const) {
    const found = await compareWithItself(ctx, name, operation);
    if (found === null) return;
    flags.push(...found);
  }
  const same = sameThingPart(flags, ctx.resampling);
  ctx.goals.push({ id: 'G18', parts: [same, await overheadPart(ctx), tickPart(ctx)] });
}

/** 1 for each A/A comparison of `operation` that was called different, 0 for the others. */
async function compareWithItself(
  ctx: RunContext,
  name: string,
  operation: Operation,
): Promise<number[] | null> {
  const { minComparisons, maxComparisons } = ctx.plan.goals.harness;
  const { budgetMs } = ctx.plan.goals;
  const order = (roundMs: number): number[] => {
    const fitting = Math.floor(budgetMs / (roundMs * PAIRS));
    const count = Math.max(minComparisons, Math.min(maxComparisons, fitting));
    return pairedOrder(count * PAIRS).map((side) => (side === 'a' ? 0 : 1));
  };
  // Both sides are one operation, which is verified once, at the very end.
  const side: Operation = { prepare: () => operation.prepare?.(true), run: () => operation.run() };
  const [a, b] = (await interleave([side, side], order, WARMUPS, ctx.signal)) as [Sampled, Sampled];
  const failure = a.failure ?? b.failure ?? (await operation.verify?.()) ?? null;
  const spec = { suite: 'copy' as const, id: `goal/G18/${name}`, unit: 'us' as const };
  ctx.addCell({ ...spec, params: { how: name }, bytes: 0, pages: 0 }, { ...a, failure });
  if (failure !== null) return null;
  return differenceFlags(a.samples, b.samples, ctx.resampling);
}

/**
 * Samples of two sides cut into comparisons: 1 for each that is called different, 0 for the others.
 */
export function differenceFlags(
  a: readonly number[],
  b: readonly number[],
  random: RandomSource,
): number[] {
  const flags: number[] = [];
  for (let at = 0; at + PAIRS <= a.length; at += PAIRS) {
    const ratio = pairedRatio(a.slice(at, at + PAIRS), b.slice(at, at + PAIRS), random);
    flags.push(Number(differs(ratio)));
  }
  return flags;
}

/** The part of G18 on comparisons of things with themselves. */
export function sameThingPart(flags: readonly number[], random: RandomSource): GoalPart {
  const share = bootstrap([flags], ([drawn]) => mean([...drawn!]), random);
  const what = `share of ${flags.length} comparisons of a thing with itself called different`;
  return judge(what, share, '<=', MAX_DIFFERENT);
}

/** What a sample costs besides its operation: two looks at the clock, a call, an await. */
async function overheadPart(ctx: RunContext): Promise<GoalPart> {
  const nothing: Operation = { run: () => Promise.resolve(Number(nowUs() < 0)) };
  const sampled = await sampleChained(nothing, CHAINED, OVERHEAD_SAMPLES);
  const spec = { suite: 'copy' as const, id: 'goal/G18/nothing', unit: 'us' as const };
  ctx.addCell({ ...spec, params: { how: 'nothing' }, bytes: 0, pages: 0 }, sampled);
  const cost = medianEstimate(sampled.samples, ctx.resampling);
  return judge('us that the harness adds to an operation', cost, '<=', MAX_OVERHEAD_US);
}

/** The tick found when the run began, and the one found now. */
function tickPart(ctx: RunContext): GoalPart {
  const ticks = [ctx.tickUs, detectTickUs()];
  const value = Math.abs(ticks[0]! - ticks[1]!);
  const what = `tick of the clock, found twice: ${ticks.join(' and ')} us, their difference`;
  return judge(what, { value, ci: [value, value] }, '<=', MAX_TICK_DIFFERENCE_US);
}

/** How far a ratio is from 1, with the interval of that distance. */
export function distanceFromOne(ratio: Estimate): Estimate {
  const ends = ratio.ci.map((end) => Math.abs(end - 1));
  const low = ratio.ci[0] <= 1 && ratio.ci[1] >= 1 ? 0 : Math.min(...ends);
  return { value: Math.abs(ratio.value - 1), ci: [low, Math.max(...ends)] };
}

/** What G19 compares with and without verification: results in RAM, and in device memory. */
const LOOKED_AT = ['to-host', 'to-device'] as const;

/** G19: the same copy, with all of the result before looked at, and without. */
async function measureVerification(ctx: RunContext): Promise<void> {
  const parts: GoalPart[] = [];
  for (const direction of LOOKED_AT) {
    await ctx.say('goals', `G19 verified and unverified, ${direction}`);
    const part = await measureEffect(ctx, direction);
    if (part === null) return;
    parts.push(part);
  }
  ctx.goals.push({ id: 'G19', parts: [...parts, verifiedShare(ctx)] });
}

async function measureEffect(
  ctx: RunContext,
  direction: (typeof LOOKED_AT)[number],
): Promise<GoalPart | null> {
  const pages = ctx.plan.goals.batchPages;
  const cell = { direction, strategy: 'auto', folioBytes: PAGE_SIZE } as const;
  const copy = takeCopy(ctx, copyPools(ctx), { ...cell, batch: pages });
  if (copy === null) throw new Error('the machine is too small for G19');
  const { plain, verified } = verifiedAndPlain(copy, direction === 'to-device');
  const side = (name: string, operation: Operation): Side => ({
    name: `goal/G19/${direction}/${name}`,
    params: { ...cell, batch: pages, pages, how: name },
    operation,
    bytes: copy.bytes,
    pages,
  });
  const sides = [side('verified', verified), side('plain', plain), side('plain-again', plain)];
  const order = shuffledRounds(ctx, sides.length, `G19 order ${direction}`);
  const { minPairs, budgetMs, verifyPairs } = ctx.plan.goals;
  const box = { minPairs, maxPairs: verifyPairs, budgetMs };
  const results = await compareSides(ctx, sides, order, box);
  if (results === null) return null;
  const [looked, not, again] = results.map((result) => result.samples);
  const effect = distanceFromOne(pairedRatio(looked!, not!, ctx.resampling));
  const by = direction === 'to-host' ? 'words compared in RAM' : 'checksums by the device';
  const what = `verified over unverified medians, distance from 1 (${by})`;
  const part = judge(what, effect, '<=', MAX_VERIFY_EFFECT);
  const noise = again!.map((time, i) => time / not![i]!);
  const same = distanceFromOne(medianEstimate(noise, ctx.resampling));
  const limit = {
    what: 'unverified over unverified, distance from 1 that its interval reaches: noise',
    value: same.ci[1],
    samples: noise,
  };
  return withLimit(part, limit);
}

/**
 * The copy, and the copy whose last result is looked at before each sample. A look on the device is
 * followed by copies that are not timed, as the first samples of a cell are: any kernel makes the
 * next copies slower on software adapters. The other side then has them, too, so that nothing but
 * the look is between the two.
 */
export function verifiedAndPlain(
  copy: CopyOperation,
  isOnDevice: boolean,
): Record<'plain' | 'verified', Operation> {
  let hasRun = false;
  const run = (): number | Promise<number> => {
    hasRun = true;
    return copy.run();
  };
  const prepare = async (): Promise<void> => {
    await copy.prepare();
    for (let left = isOnDevice && hasRun ? WARMUPS : 0; left > 0; left--) {
      const status = await copy.run();
      if (status !== 0) throw new OperationFailure(`the operation answered errno ${status}`);
      await copy.prepare();
    }
  };
  const plain: Operation = { prepare, run, verify: () => copy.verify() };
  const verified: Operation = {
    ...plain,
    prepare: async () => {
      const wrong = hasRun ? await copy.verify() : null;
      if (wrong !== null) throw new OperationFailure(wrong);
      await prepare();
    },
  };
  return { plain, verified };
}

/** Of the cells so far, those whose last result was looked at and was right. */
export function verifiedShare(ctx: Pick<RunContext, 'cells'>): GoalPart {
  const value = mean(ctx.cells.map((cell) => Number(cell.verified)));
  return judge('share of timed cells verified', { value, ci: [value, value] }, '>=', 1);
}
