/**
 * Loads, stores and bulk operations that hit the TLB of a core, each in turn with the same on plain
 * shared memory, in the worker of the core. Its memory is huge pages: frames follow each other. All
 * of it is there, nothing traps, so where no further workers are to be had (bench-core.ts) the core
 * is in this thread.
 */
import { MADV_HUGEPAGE, PROT_READ, PROT_WRITE } from '../src/index.ts';
import type { Process } from '../src/index.ts';
import { BenchCore, hasCores, startCore } from './bench-core.ts';
import { judge } from './goal-parts.ts';
import { makeCore, markDead } from './insides.ts';
import type { RunContext } from './run-context.ts';
import { pairedRatio } from './stats.ts';
import { LOOP_PAIRS } from './tlb-loops.ts';
import { BULK_CASES, TLB_BYTES, timeTlb } from './tlb-times.ts';
import type { TlbTimes } from './tlb-times.ts';
import type { GoalPart } from './types.ts';

const MAX_HIT = 6;
const MAX_BULK = 1 / 0.85;

/** Cells that the suite adds: the core's side and the plain one. */
export const TLB_CELLS = 2 * (LOOP_PAIRS.length + BULK_CASES.length);

/** Measures hits. Adds their cells and the goal TLB to `ctx`. */
export async function runTlbSuite(ctx: RunContext): Promise<void> {
  await ctx.say('fault', 'TLB of a core');
  const process = await ctx.machine.spawn();
  const huge = 2 ** 21;
  const mapped = await process.mmap({ length: TLB_BYTES + huge, prot: PROT_READ | PROT_WRITE });
  const base = Math.ceil(mapped / huge) * huge;
  await process.madvise(base, TLB_BYTES, MADV_HUGEPAGE);
  // Touched for loading and storing: there is nothing left to fault.
  await process.write(base, new Uint8Array(TLB_BYTES).fill(7));
  const times = await (hasCores() ? timesInWorker : timesHere)(ctx, process, base);
  await process.exit();
  const parts = times.map(({ name, core: ours, plain, repeats }): GoalPart => {
    for (const [side, samples] of [
      ['core', ours],
      ['plain', plain],
    ] as const) {
      const params = { access: 'tlb', what: name, side };
      const spec = {
        suite: 'fault' as const,
        id: `fault/tlb/${name.replaceAll(' ', '-')}/${side}`,
      };
      const sampled = { samples, dropped: 0, chained: repeats[side], failure: null, phases: null };
      ctx.addCell({ ...spec, params, unit: 'us', bytes: 0, pages: 0 }, sampled);
    }
    const isLoop = LOOP_PAIRS.some((pair) => pair.name === name);
    const ratio = pairedRatio(ours, plain, ctx.resampling);
    return judge(`${name}, over plain shared memory`, ratio, '<=', isLoop ? MAX_HIT : MAX_BULK);
  });
  ctx.goals.push({ id: 'TLB', parts });
}

async function timesInWorker(ctx: RunContext, process: Process, base: number): Promise<TlbTimes[]> {
  const core = await BenchCore.start(ctx, process);
  try {
    return await core.tlb(base, ctx.plan.fault.tlbPairs);
  } finally {
    core.end();
  }
}

function timesHere(ctx: RunContext, process: Process, base: number): TlbTimes[] {
  const image = startCore(ctx, process);
  const core = makeCore(image);
  core.resume();
  try {
    return timeTlb(core, base, ctx.plan.fault.tlbPairs);
  } finally {
    core.suspend();
    markDead(image);
    ctx.machine.kernel.endCore(image.slot);
  }
}
