/**
 * The comparisons behind the goals on the copy engine: submit cost (G3), throughput both ways
 * (G4, G5), the batching curve (G6). Both sides of a ratio run in the same minutes, A, B, B, A.
 *
 * RAM pages are scattered. VRAM frames are contiguous, as a driver's allocator hands them out to
 * a batch; the cells of the copy suite have both sides scattered. A stream is 4096 pages in lists
 * of 512 with three lists in flight, for both sides of a ratio alike.
 */
import { PAGE_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import { BareDescriptors } from './bare-descriptors.ts';
import { BareUpload } from './bare-upload.ts';
import { seedFor } from './content.ts';
import type { CopyOperation } from './copy-operation.ts';
import { copyPools } from './copy-suite.ts';
import type { CopyPools } from './copy-suite.ts';
import { curveExcess, curveSetback, judge, limitOf, withLimit } from './goal-parts.ts';
import { boxOfNear, compareSides, strategySide, twoSided } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import type { RawGpu } from './raw-gpu.ts';
import { ramBytes } from './reference-suite.ts';
import type { RunContext } from './run-context.ts';
import type { Operation } from './sampler.ts';
import { bootstrap, pairedOrder, pairedRatio } from './stats.ts';
import type { Estimate } from './stats.ts';
import type { GoalPart } from './types.ts';

const MIN_UPLOAD_GAIN = 2.5;
const MIN_READBACK_SHARE = 0.5;
const MAX_CURVE_EXCESS = 1.3;
const MAX_SETBACK = 1.1;
const MAX_SUBMIT_SMALL = 1 / 5;
const MAX_SUBMIT_LARGE = 1 / 20;
/** Pages of the engine's largest staging slot. */
const SLOT_PAGES = 1024;

/** Cells that runCopyGoals() adds: four for each size of G3, three, two, two curves. */
export function countCopyGoalCells(ctx: RunContext): number {
  return 4 * 2 + 3 + 2 + 2 * ctx.plan.goals.curve.length;
}

/** Measures G3 to G6. Adds their cells and results to `ctx`. Needs a WebGPU engine. */
export async function runCopyGoals(ctx: RunContext, raw: RawGpu): Promise<void> {
  if (ctx.wants('G3')) await measureSubmitCost(ctx, raw);
  if (ctx.wants('G4')) await measureUpload(ctx, raw);
  if (ctx.wants('G5')) await measureReadback(ctx, raw);
  if (ctx.wants('G6')) await measureCurve(ctx);
}

/** Takes over an operation but reads another clock: JS time of building and submitting. */
function submitClocked(side: Side, ctx: RunContext): Side {
  const { stats } = ctx.copyMachine.engine;
  const inner = side.operation as CopyOperation;
  const operation: Operation = {
    prepare: () => inner.prepare(),
    run: () => inner.run(),
    verify: () => inner.verify(),
    totals: inner.totals,
    clock: () => (stats.encodeMs + stats.submitMs) * 1000,
  };
  return {
    ...side,
    params: { ...side.params, measures: 'JS encode and submit' },
    operation,
    bytes: 0,
  };
}

/** G3: JS time per page of one dispatch over descriptors against a command a page. */
async function measureSubmitCost(ctx: RunContext, raw: RawGpu): Promise<void> {
  const { batchPages, streamPages } = ctx.plan.goals;
  const small = await measureSubmitOf(ctx, raw, batchPages, MAX_SUBMIT_SMALL);
  const large = await measureSubmitOf(ctx, raw, streamPages, MAX_SUBMIT_LARGE);
  if (small === null || large === null) return;
  ctx.goals.push({ id: 'G3', parts: [small, large] });
}

/**
 * One batch size of G3, beside bare WebGPU: once for as much as the same job needs, which is its
 * limit, and once for descriptors alone, of pages that are on the device already.
 */
async function measureSubmitOf(
  ctx: RunContext,
  raw: RawGpu,
  pages: number,
  target: number,
): Promise<GoalPart | null> {
  await ctx.say('goals', `G3 submit cost of ${pages} pages`);
  const pools = copyPools(ctx);
  const side = (strategy: StrategyName): Side =>
    submitClocked(strategySide(ctx, pools, 'G3', 'to-device', strategy, pages, pages), ctx);
  const seed = seedFor(ctx.plan.seed, 'G3');
  const bare = (name: string, operation: Operation): Side => ({
    name: `goal/G3/${name}/${pages}`,
    params: { pages, measures: 'JS encode and submit' },
    operation,
    bytes: 0,
    pages,
  });
  const shuffler = ctx.random.fork('descriptors');
  const slotPages = Math.min(pages, SLOT_PAGES);
  const alone = new BareDescriptors(raw.device, pages, seed, shuffler);
  const sides = [
    side('compute'),
    side('commands'),
    bare('webgpu-upload', bareUpload(ctx, raw, pools, pages, slotPages, true)),
    bare('webgpu-descriptors', alone),
  ];
  // Each comes behind the engine as often as behind bare WebGPU: what the engine leaves under way
  // keeps the GPU process awake, and the next submission is a quarter cheaper.
  const order = (pairs: number): number[] =>
    Array.from({ length: pairs }, (_, i) => (i % 2 === 0 ? [0, 2, 3, 1] : [1, 3, 2, 0])).flat();
  const results = await compareSides(ctx, sides, order, boxOfNear(ctx.plan.goals));
  if (results === null) return null;
  const [compute, commands, least] = results.map((result) => result.samples);
  const ratio = pairedRatio(compute!, commands!, ctx.resampling);
  const part = judge(`JS time a page, descriptors / commands, n = ${pages}`, ratio, '<=', target);
  const what =
    `bare WebGPU over commands, n = ${pages}: a staging buffer, 8 bytes a page and a dispatch ` +
    `for each ${slotPages} pages`;
  const limit = { over: least!, under: commands!, ours: compute!, least: least! };
  return withLimit(part, limitOf(what, limit, ctx.resampling));
}

/** The least upload of scattered pages: see BareUpload. */
function bareUpload(
  ctx: RunContext,
  raw: RawGpu,
  pools: CopyPools,
  pages: number,
  slotPages: number,
  byDescriptors: boolean,
): BareUpload {
  const shuffler = ctx.random.fork(`bare upload ${pages}`);
  const frames = pools.ram.take(pages, 1, shuffler);
  if (frames === null) throw new Error('the machine is too small for a bare upload');
  const places = byDescriptors
    ? shuffler.shuffle(Uint32Array.from({ length: pages }, (_, page) => page))
    : null;
  const seed = seedFor(ctx.plan.seed, `bare upload ${pages}`);
  const ram = ctx.copyMachine.ramWords;
  return new BareUpload(raw.device, { ram, frames, slotPages, places, seed });
}

/**
 * G4: scattered pages to the device, against a writeBuffer call a page. What bare WebGPU gains with
 * staging buffers of a batch each, as many in flight, is the limit.
 */
async function measureUpload(ctx: RunContext, raw: RawGpu): Promise<void> {
  const { batchPages, streamPages } = ctx.plan.goals;
  await ctx.say('goals', 'G4 upload throughput');
  const pools = copyPools(ctx);
  const side = (strategy: StrategyName): Side =>
    strategySide(ctx, pools, 'G4', 'to-device', strategy, streamPages, batchPages);
  const bytes = streamPages * PAGE_SIZE;
  const upload = bareUpload(ctx, raw, pools, streamPages, batchPages, false);
  const bare: Side = {
    name: 'goal/G4/webgpu-upload',
    params: { bytes },
    // Its clock is for G3.
    operation: {
      prepare: () => upload.prepare(),
      run: () => upload.run(),
      verify: () => upload.verify(),
    },
    bytes,
    pages: streamPages,
  };
  const sides = [side('writeBuffer'), side('auto'), bare];
  const order = (pairs: number): number[] =>
    pairedOrder(pairs).flatMap((which, i) => {
      const turn = which === 'a' ? 0 : 1;
      return i % 2 === 0 ? [turn] : [turn, 2];
    });
  const results = await compareSides(ctx, sides, order);
  if (results === null) return;
  const [perPage, auto, least] = results.map((result) => result.samples);
  const gain = pairedRatio(perPage!, auto!, ctx.resampling);
  const part = judge(
    'upload, 4 KiB x 512, GB/s over that of a writeBuffer a page',
    gain,
    '>=',
    MIN_UPLOAD_GAIN,
  );
  const what = 'bare WebGPU by three staging buffers of 2 MiB, over a writeBuffer a page';
  const beside = { over: perPage!, under: least!, ours: auto!, least: least! };
  ctx.goals.push({ id: 'G4', parts: [withLimit(part, limitOf(what, beside, ctx.resampling))] });
}

/** G5: pages from the device to scattered RAM, against a contiguous readback by bare WebGPU. */
async function measureReadback(ctx: RunContext, raw: RawGpu): Promise<void> {
  const { batchPages, streamPages } = ctx.plan.goals;
  await ctx.say('goals', 'G5 readback throughput');
  const pools = copyPools(ctx);
  const scattered = strategySide(ctx, pools, 'G5', 'to-host', 'auto', streamPages, batchPages);
  const bytes = streamPages * PAGE_SIZE;
  const frame = pools.ram.take(1, streamPages, null)?.[0];
  if (frame === undefined) throw new Error('the machine is too small for G5');
  const seed = seedFor(ctx.plan.seed, 'G5');
  const contiguous: Side = {
    name: 'goal/G5/webgpu-contiguous-readback',
    params: { bytes },
    operation: await raw.contiguousReadback(ramBytes(ctx, frame, bytes), seed),
    bytes,
    pages: streamPages,
  };
  const results = await compareSides(ctx, [contiguous, scattered], twoSided);
  if (results === null) return;
  const share = pairedRatio(results[0]!.samples, results[1]!.samples, ctx.resampling);
  const what = 'readback, 4 KiB x 512, GB/s over that of a contiguous readback';
  ctx.goals.push({ id: 'G5', parts: [judge(what, share, '>=', MIN_READBACK_SHARE)] });
}

/** G6: no batch pays more than a round trip and its pages; none is worse than a smaller one. */
async function measureCurve(ctx: RunContext): Promise<void> {
  const { curve, curvePairs } = ctx.plan.goals;
  const box = { ...ctx.plan.goals, maxPairs: curvePairs };
  const parts: GoalPart[] = [];
  for (const direction of ['to-device', 'to-host'] as const) {
    await ctx.say('goals', `G6 batching curve ${direction}`);
    const pools = copyPools(ctx);
    const sides = curve.map((pages) =>
      strategySide(ctx, pools, 'G6', direction, 'auto', pages, pages),
    );
    const shuffler = ctx.random.fork(`curve ${direction}`);
    const order = (rounds: number): number[] =>
      Array.from({ length: rounds }, () =>
        Array.from(shuffler.shuffle(Uint32Array.from(curve, (_, at) => at))),
      ).flat();
    const results = await compareSides(ctx, sides, order, box);
    if (results === null) return;
    const samples = results.map((result) => result.samples);
    const rounds = [samples[0]!.map((_, round) => round)];
    const estimate = (of: typeof curveExcess): Estimate =>
      bootstrap(rounds, ([drawn]) => of(curve, samples, drawn), ctx.resampling);
    const excess = estimate(curveExcess);
    const setback = estimate(curveSetback);
    const over = `${direction}: worst time(n) over time(1) + (n - 1) x best time a page, by rounds`;
    const worse = `${direction}: worst time a page over that of a smaller batch, by rounds`;
    parts.push(judge(over, excess, '<=', MAX_CURVE_EXCESS));
    parts.push(judge(worse, setback, '<=', MAX_SETBACK));
  }
  ctx.goals.push({ id: 'G6', parts });
}
