/**
 * Goals that hold engines of one setting against each other, on frames of the same RAM: kernels as
 * tuned against the obvious ones (G15), several staging lanes against one (G17). Each engine has a
 * device of its own; everything else is equal.
 */
import { PAGE_SIZE } from '../src/index.ts';
import type { CopyEngine, StrategyName } from '../src/index.ts';
import { seedFor } from './content.ts';
import { CopyOperation } from './copy-operation.ts';
import type { Direction } from './copy-operation.ts';
import { copyPools } from './copy-suite.ts';
import type { CopyPools } from './copy-suite.ts';
import { FramePool } from './frames.ts';
import { judge, withLimit } from './goal-parts.ts';
import { compareSides, shuffledRounds, twoSided } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { createWebGpuEngine } from './insides.ts';
import type { WebGpuEngineOptions } from './insides.ts';
import type { RawGpu } from './raw-gpu.ts';
import { gatherOperation } from './reference-suite.ts';
import type { RunContext } from './run-context.ts';
import { median, pairedRatio } from './stats.ts';
import type { Estimate } from './stats.ts';

/** The obvious kernel: a workgroup a page, 256 invocations, 16 bytes each. */
const OBVIOUS = { lanes: 256, pageLanes: 256, wholeLines: false };
const KERNEL_PAGES = 1024;
const MIN_KERNEL_GAIN = 2;
/** On a GPU the obvious kernel may be the best there is. */
const MIN_KERNEL_SHARE = 0.95;
const MIN_LANES_SHARE = 0.95;
const MIN_LANES_GAIN = 1.3;

/** Cells that runEngineGoals() adds. */
export function countEngineCells(ctx: RunContext): number {
  return 2 + 1 + ctx.plan.goals.lanes.length + 2;
}

/** Measures G15 and G17. Adds their cells and results to `ctx`. Needs a WebGPU engine. */
export async function runEngineGoals(ctx: RunContext, raw: RawGpu): Promise<void> {
  if (ctx.wants('G15')) await measureKernels(ctx);
  if (ctx.wants('G17')) await measureLanes(ctx, raw);
}

/** See withEngines(). */
export type OwnEngine = CopyEngine & { readonly deviceErrors?: readonly string[] };

/** Opens an engine on the machine's RAM with VRAM of its own; null where it can't be had. */
async function openEngine(
  ctx: RunContext,
  pages: number,
  options: Pick<WebGpuEngineOptions, 'tuning' | 'lanes'>,
): Promise<OwnEngine | null> {
  const { engine, ramWords } = ctx.copyMachine;
  const { hostFrames } = engine.geometry;
  const ram = new Uint8Array(ramWords.buffer, ramWords.byteOffset, hostFrames * PAGE_SIZE);
  const { powerPreference } = ctx.plan;
  const geometry = { ...engine.geometry, vramFrames: pages };
  const opened = await createWebGpuEngine({ ram, geometry, powerPreference, ...options });
  if ('submit' in opened) return opened;
  ctx.omit('goal/engines', opened.cause);
  return null;
}

/** What an engine of its own copies. */
export interface OwnCopy {
  readonly direction: Direction;
  readonly strategy: StrategyName;
  readonly pages: number;
  readonly listFolios: number;
  readonly inFlight: number;
  readonly scatterVram: boolean;
}

/** Frames for copies by an engine of its own: those of the machine's RAM, and its device memory. */
export function ownPools(ctx: RunContext, engine: OwnEngine): CopyPools {
  const { hostFrames, vramFrames } = engine.geometry;
  return { ram: copyPools(ctx).ram, vram: new FramePool(hostFrames, vramFrames) };
}

/**
 * A copy by an engine of its own.
 *
 * @param pools Where its frames come from; default: frames that other copies have, too.
 */
export function copyBy(
  ctx: RunContext,
  engine: OwnEngine,
  goal: string,
  copy: OwnCopy,
  { ram, vram }: CopyPools = ownPools(ctx, engine),
): CopyOperation {
  const { direction, pages, scatterVram, ...rest } = copy;
  const shuffler = ctx.random.fork(goal);
  const inVram = scatterVram ? shuffler : null;
  const source =
    direction === 'in-device' ? vram.take(pages, 1, inVram) : ram.take(pages, 1, shuffler);
  const target = vram.take(pages, 1, inVram);
  const scratch = direction === 'in-device' ? ram.take(pages, 1, null) : undefined;
  if (source === null || target === null || scratch === null) {
    throw new Error(`the machine is too small for ${goal}`);
  }
  const { ramWords } = ctx.copyMachine;
  const machine = { engine, ramWords, strayErrors: () => engine.deviceErrors?.length ?? 0 };
  const seed = seedFor(ctx.plan.seed, goal);
  const frames = { source, target, ...(scratch === undefined ? {} : { scratch }) };
  return new CopyOperation(machine, { direction, folioPages: 1, ...frames, ...rest, seed });
}

/** Opens engines with these options, closes them after `work`; does neither without the first. */
export async function withEngines(
  ctx: RunContext,
  pages: number,
  options: readonly Pick<WebGpuEngineOptions, 'tuning' | 'lanes'>[],
  work: (engines: readonly OwnEngine[]) => Promise<void>,
): Promise<void> {
  const engines: OwnEngine[] = [];
  try {
    for (const one of options) {
      const engine = await openEngine(ctx, pages, one);
      if (engine === null) return;
      engines.push(engine);
    }
    await work(engines);
  } finally {
    for (const engine of engines) await engine.close();
  }
}

/** G15: copies of scattered pages inside VRAM, where nothing but the kernel differs. */
async function measureKernels(ctx: RunContext): Promise<void> {
  await ctx.say('goals', 'G15 kernels');
  const vramPages = 4 * KERNEL_PAGES;
  await withEngines(ctx, vramPages, [{}, { tuning: OBVIOUS }], async (engines) => {
    const sides = engines.map((engine, i): Side => {
      const name = i === 0 ? 'tuned' : 'obvious';
      const operation = copyBy(ctx, engine, `G15 ${name}`, {
        direction: 'in-device',
        strategy: 'compute',
        pages: KERNEL_PAGES,
        listFolios: KERNEL_PAGES,
        inFlight: 1,
        scatterVram: true,
      });
      const params = { direction: 'in-device', strategy: 'compute', kernel: name };
      const { bytes, pages } = operation;
      return { name: `goal/G15/${name}`, params: { ...params, pages }, operation, bytes, pages };
    });
    const results = await compareSides(ctx, sides, twoSided);
    if (results === null) return;
    const gain = pairedRatio(results[1]!.samples, results[0]!.samples, ctx.resampling);
    const target = ctx.copyMachine.engine.adapter.isSoftware ? MIN_KERNEL_GAIN : MIN_KERNEL_SHARE;
    const what = 'speed of the tuned kernel over one of 256 invocations a page';
    ctx.goals.push({ id: 'G15', parts: [judge(what, gain, '>=', target)] });
  });
}

/**
 * The most that overlapping can bring: gather and copy one after the other, over the longer of
 * them.
 */
export function overlapLimit(gathered: readonly number[], copied: readonly number[]): number[] {
  return gathered.map((gather, i) => (gather + copied[i]!) / Math.max(gather, copied[i]!));
}

/** G17: a stream to the device through one staging lane and through several. */
async function measureLanes(ctx: RunContext, raw: RawGpu): Promise<void> {
  await ctx.say('goals', 'G17 staging lanes');
  const { streamPages: pages, batchPages: listFolios, lanes: several } = ctx.plan.goals;
  const all = [1, ...several];
  const options = all.map((lanes) => ({ lanes }));
  await withEngines(ctx, pages, options, async (engines) => {
    const streams = engines.map((engine, i): Side => {
      const inFlight = all[i]!;
      const cell = { direction: 'to-device', strategy: 'runs', pages } as const;
      const shape = { listFolios, inFlight, scatterVram: false };
      const operation = copyBy(ctx, engine, `G17 ${inFlight}`, { ...cell, ...shape });
      const name = `goal/G17/${inFlight}`;
      return {
        name,
        params: { ...cell, lanes: inFlight },
        operation,
        bytes: operation.bytes,
        pages,
      };
    });
    const bytes = pages * PAGE_SIZE;
    const seed = seedFor(ctx.plan.seed, 'G17');
    const gather = gatherOperation(ctx, copyPools(ctx), pages, seed);
    if (gather === null) throw new Error('the machine is too small for G17');
    const copy = await raw.contiguousCopy(bytes, seed);
    const params = { bytes };
    const halves: Side[] = [
      { name: 'goal/G17/js-gather', params, operation: gather, bytes, pages },
      { name: 'goal/G17/webgpu-contiguous-copy', params, operation: copy, bytes, pages },
    ];
    const sides = [...streams, ...halves];
    const results = await compareSides(ctx, sides, shuffledRounds(ctx, sides.length, 'G17'));
    if (results === null) return;
    const samples = results.map((result) => result.samples);
    const gains = several.map((_, i) => pairedRatio(samples[0]!, samples[i + 1]!, ctx.resampling));
    const halved = overlapLimit(samples.at(-2)!, samples.at(-1)!);
    report(ctx, several, gains, halved);
  });
}

function report(
  ctx: RunContext,
  several: readonly number[],
  gains: readonly Estimate[],
  halved: readonly number[],
): void {
  const ranked = gains.map((gain, i) => ({ gain, lanes: several[i]! }));
  const best = ranked.toSorted((a, b) => b.gain.value - a.gain.value)[0]!;
  const worst = ranked.toSorted((a, b) => a.gain.ci[1] - b.gain.ci[1])[0]!;
  const least = judge(
    `upload, ${worst.lanes} lanes, the worst number: speed over one lane`,
    worst.gain,
    '>=',
    MIN_LANES_SHARE,
  );
  const what = 'JS gather and contiguous copy in turn, over the longer of them';
  const limit = { what, value: median(halved), samples: [...halved] };
  const gain = `upload, ${best.lanes} lanes, the best number: speed over one lane`;
  const parts = [
    // Below the bound only when the whole interval is.
    { ...least, holds: worst.gain.ci[1] >= MIN_LANES_SHARE },
    withLimit(judge(gain, best.gain, '>=', MIN_LANES_GAIN), limit),
  ];
  ctx.goals.push({ id: 'G17', parts });
}
