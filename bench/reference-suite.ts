/**
 * Reference lines: what this machine and its adapter can do without any paging, measured in the
 * same run. JS memcpy, a JS gather of scattered pages, the engine on one contiguous range, and
 * bare WebGPU: a contiguous copy, a contiguous readback, an idle round trip.
 */
import { PAGE_SIZE } from '../src/index.ts';
import { checkPage, fillPage, poisonPage, seedFor } from './content.ts';
import { copyPools, takeCopy } from './copy-suite.ts';
import type { CopyPools } from './copy-suite.ts';
import type { Direction } from './copy-operation.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { RunContext } from './run-context.ts';
import { sampleOperation } from './sampler.ts';
import type { Operation } from './sampler.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const BOX = { minSamples: 15, maxSamples: 40, budgetMs: 250, warmups: 2 };
/** Cells that runReferences() adds with an adapter. */
export const REFERENCE_CELLS = 7;

/**
 * Copies pages in RAM by a JS loop.
 *
 * @param source First word of each page. @param target The same, of where it goes.
 */
export function jsCopy(
  words: Uint32Array,
  source: readonly number[],
  target: readonly number[],
  seed: number,
): Operation {
  let iteration = 0;
  return {
    prepare: (last) => {
      iteration += 1;
      source.forEach((at, page) => fillPage(words, at, seed, iteration, page));
      if (last) target.forEach((at) => poisonPage(words, at));
    },
    run: () => {
      for (let i = 0; i < source.length; i++) {
        words.copyWithin(target[i]!, source[i]!, source[i]! + WORDS_PER_PAGE);
      }
      return 0;
    },
    verify: () => {
      for (let page = 0; page < target.length; page++) {
        const word = checkPage(words, target[page]!, seed, iteration, page, 0);
        if (word >= 0) return `page ${page} is wrong from word ${word} on`;
      }
      return null;
    },
  };
}

/** One memcpy of a whole range. */
function memcpyOperation(ctx: RunContext, pools: CopyPools, seed: number): Operation | null {
  const pages = ctx.plan.referenceBytes / PAGE_SIZE;
  const source = pools.ram.take(1, pages, null)?.[0];
  const target = pools.ram.take(1, pages, null)?.[0];
  if (source === undefined || target === undefined) return null;
  const words = ctx.copyMachine.ramWords;
  const starts = (frame: number): number[] =>
    Array.from({ length: pages }, (_, page) => (frame + page) * WORDS_PER_PAGE);
  const paged = jsCopy(words, starts(source), starts(target), seed);
  const length = pages * WORDS_PER_PAGE;
  const from = words.subarray(source * WORDS_PER_PAGE, source * WORDS_PER_PAGE + length);
  return {
    ...paged,
    run: () => {
      words.set(from, target * WORDS_PER_PAGE);
      return 0;
    },
  };
}

/** The JS half of every upload: scattered pages gathered into one range. */
export function gatherOperation(
  ctx: RunContext,
  pools: CopyPools,
  pages: number,
  seed: number,
): Operation | null {
  const source = pools.ram.take(pages, 1, ctx.random.fork('gather'));
  const target = pools.ram.take(pages, 1, null);
  if (source === null || target === null) return null;
  const starts = (frames: Uint32Array): number[] =>
    Array.from(frames, (frame) => frame * WORDS_PER_PAGE);
  return jsCopy(ctx.copyMachine.ramWords, starts(source), starts(target), seed);
}

async function measure(
  ctx: RunContext,
  name: string,
  operation: Operation | null,
  bytes: number,
): Promise<void> {
  const id = `reference/${name}`;
  await ctx.say('reference', id);
  if (operation === null) {
    ctx.omit(id, 'does not fit the machine');
    return;
  }
  const sampled = await sampleOperation(operation, BOX, ctx.tickUs, ctx.signal);
  const spec = { suite: 'reference' as const, id, params: { name, bytes }, unit: 'us' as const };
  ctx.addCell({ ...spec, bytes, pages: bytes / PAGE_SIZE }, sampled);
}

async function measureEngine(
  ctx: RunContext,
  pools: CopyPools,
  direction: Direction,
): Promise<void> {
  const isCpu = ctx.copyMachine.engine.name === 'cpu';
  const strategy = isCpu ? 'cpu' : 'runs';
  const bytes = ctx.plan.referenceBytes;
  const cell = { direction, strategy, folioBytes: bytes, batch: 1 } as const;
  pools.ram.reset();
  pools.vram.reset();
  const operation = takeCopy(ctx, pools, cell, { fragments: 'contiguous' });
  await measure(ctx, `engine-contiguous-${direction}`, operation, bytes);
}

/** Measures all reference lines. Adds them to `ctx`. */
export async function runReferences(ctx: RunContext, raw: RawGpu | null): Promise<void> {
  const bytes = ctx.plan.referenceBytes;
  const pools = copyPools(ctx);
  const seed = seedFor(ctx.plan.seed, 'reference');
  await measure(ctx, 'memcpy', memcpyOperation(ctx, pools, seed), bytes);
  pools.ram.reset();
  const gather = gatherOperation(ctx, pools, bytes / PAGE_SIZE, seed);
  await measure(ctx, 'gather-4k', gather, bytes);
  await measureEngine(ctx, pools, 'to-device');
  await measureEngine(ctx, pools, 'to-host');
  if (raw === null) {
    ctx.omit('reference/webgpu', 'this run has no WebGPU device');
    return;
  }
  await measure(ctx, 'webgpu-idle-round-trip', raw.idleRoundTrip(), 0);
  await measure(ctx, 'webgpu-contiguous-copy', await raw.contiguousCopy(bytes, seed), bytes);
  pools.ram.reset();
  const frame = pools.ram.take(1, bytes / PAGE_SIZE, null)?.[0];
  const readback =
    frame === undefined ? null : await raw.contiguousReadback(ramBytes(ctx, frame, bytes), seed);
  await measure(ctx, 'webgpu-contiguous-readback', readback, bytes);
}

/** RAM from `frame` on, as bytes. */
export function ramBytes(ctx: RunContext, frame: number, bytes: number): Uint8Array {
  return new Uint8Array(ctx.copyMachine.ramWords.buffer, frame * PAGE_SIZE, bytes);
}
