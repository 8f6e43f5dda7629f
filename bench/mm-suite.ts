/**
 * Bookkeeping of migration alone (goal G11): migrate_vma setup, allocation of destinations with
 * their descriptors, pages, finalize, both ways, and nobody copies. A mirror is open on the
 * address space, so notifiers are called as in a real migration. Beside it, in turn, runs the
 * bare four-phase loop over the same page frame numbers. A cell is verified when every page was
 * where it had to be after the last sample.
 */
import { PAGE_DEVICE, PAGE_RAM } from '../src/index.ts';
import { BareLoop } from './bare-loop.ts';
import { batchGarbageParts } from './batch-garbage.ts';
import { judge } from './goal-parts.ts';
import { allocPage, putPage } from './insides.ts';
import { garbageGoal, scaleParts } from './mm-limits.ts';
import { NullMigration, WINDOW, mapRange } from './null-migration.ts';
import type { PhaseTimes, Range } from './null-migration.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { GoalResult, RunContext } from './run-context.ts';
import { interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { pairedOrder, pairedRatio, medianEstimate } from './stats.ts';
import type { GoalPart } from './types.ts';

const MAX_NS_PER_PAGE = 100;
const MAX_RATIO = 6;
/** Cells that the suite adds. */
export const MM_CELLS = 3;

/**
 * Shuffles the free pages of RAM, so that what processes get is scattered like memory of a
 * machine that has been up for a while.
 */
export function scatterFreePages(ctx: RunContext, pages: number): void {
  const { sys } = ctx.machine.kernel;
  const taken = Uint32Array.from({ length: pages }, () => allocPage(sys));
  ctx.random.fork('free pages').shuffle(taken);
  for (const pfn of taken) putPage(sys, pfn);
}

/** Null when every page of the range has that PAGE_* code. */
async function whereabouts(range: Range, code: number): Promise<string | null> {
  const codes = await range.process.pageMap(range.vma.vmStart, range.pages);
  const wrong = codes.findIndex((one) => one !== code);
  return wrong < 0 ? null : `page ${wrong} is in state ${codes[wrong]}, not ${code}`;
}

function pfnsOf(ctx: RunContext, pages: number): Uint32Array {
  const { sys } = ctx.machine.kernel;
  const pfns = Uint32Array.from({ length: pages }, () => allocPage(sys));
  for (const pfn of pfns) putPage(sys, pfn);
  return pfns;
}

/** Microseconds of a run over `pages` pages to nanoseconds of a page. */
function perPage(sampled: Sampled, pages: number): Sampled {
  return { ...sampled, samples: sampled.samples.map((us) => (us * 1000) / pages) };
}

function withPhases(sampled: Sampled, phases: PhaseTimes, pages: number): Sampled {
  const named = Object.entries(phases).map(([name, us]): [string, number] => [name, us / pages]);
  return { ...sampled, phases: Object.fromEntries(named) };
}

/**
 * Measures G11 and G12. Adds cells and results to `ctx`.
 *
 * @param raw For the bare side of whole migrations; null without WebGPU.
 */
export async function runMmSuite(ctx: RunContext, raw: RawGpu | null): Promise<void> {
  const { windows, pairs, warmups } = ctx.plan.mm;
  const pages = windows * WINDOW;
  await ctx.say('mm', `bookkeeping of ${pages} pages`);
  scatterFreePages(ctx, Math.min(2 * pages, ctx.machine.kernel.sys.pageAllocator.freePages));
  const range = await mapRange(ctx.machine, pages);
  await range.process.openDevice(0);
  const migration = new NullMigration(ctx.machine, range.vma);
  const { ramPages, mem } = ctx.machine.kernel.sys;
  const spare = Uint32Array.from({ length: WINDOW }, (_, i) => ramPages + i);
  const { pageCount } = mem;
  const bare = new BareLoop(pfnsOf(ctx, pages), spare, pageCount);
  const operations: Operation[] = [
    { run: () => migration.run('toDevice'), verify: () => whereabouts(range, PAGE_DEVICE) },
    { run: () => migration.run('toRam'), verify: () => whereabouts(range, PAGE_RAM) },
    bare,
  ];
  const order = pairedOrder(pairs).flatMap((side) => (side === 'a' ? [0, 1] : [2]));
  let garbage: GoalResult | null = null;
  await range.mm.mmapLock.readLock();
  try {
    const results = await interleave(operations, () => order, warmups, ctx.signal);
    const phases = results[0]!.failure === null ? timePhases(migration, pages) : null;
    const parts = report(ctx, pages, results, phases);
    const small = new BareLoop(pfnsOf(ctx, WINDOW), spare, pageCount);
    garbage = await garbageGoal(ctx, migration, pages, () => small.run());
    if (ctx.plan.mm.scalePages > 0) parts.push(...(await scaleParts(ctx)));
    if (parts.length > 0) ctx.goals.push({ id: 'G11', parts });
  } finally {
    range.mm.mmapLock.readUnlock();
  }
  await range.process.exit();
  if (garbage === null) return;
  const parts = [...garbage.parts, ...(await batchGarbageParts(ctx, raw))];
  ctx.goals.push({ ...garbage, parts });
}

/** Mean nanoseconds of a page by phase and direction, from runs of their own. */
function timePhases(migration: NullMigration, pages: number): PhaseTimes[] {
  const rounds = 8;
  const sums = (['toDevice', 'toRam'] as const).map((): PhaseTimes => ({
    setup: 0,
    allocate: 0,
    pages: 0,
    finalize: 0,
  }));
  for (let round = 0; round < rounds; round++) {
    (['toDevice', 'toRam'] as const).forEach((direction, which) => {
      migration.resetPhases();
      const times = migration.runTimed(direction);
      const sum = sums[which]!;
      sum.setup += times.setup;
      sum.allocate += times.allocate;
      sum.pages += times.pages;
      sum.finalize += times.finalize;
    });
  }
  const scale = 1000 / (rounds * pages);
  return sums.map((sum) => ({
    setup: sum.setup * scale,
    allocate: sum.allocate * scale,
    pages: sum.pages * scale,
    finalize: sum.finalize * scale,
  }));
}

const NAMES = ['to-device', 'to-host', 'bare-loop'] as const;

function report(
  ctx: RunContext,
  pages: number,
  results: readonly Sampled[],
  phases: readonly PhaseTimes[] | null,
): GoalPart[] {
  const perPages = results.map((sampled) => perPage(sampled, pages));
  NAMES.forEach((name, i) => {
    const split = phases?.[i];
    const sampled = perPages[i]!;
    const params = { direction: name, batch: WINDOW, windows: pages / WINDOW, copier: 'none' };
    const spec = { suite: 'mm' as const, id: `mm/${name}/${WINDOW}`, params, bytes: 0, pages: 1 };
    const cellUnit = { ...spec, unit: 'ns/page' as const };
    ctx.addCell(cellUnit, split === undefined ? sampled : withPhases(sampled, split, 1));
  });
  if (results.some((result) => result.failure !== null)) return [];
  const bare = perPages[2]!.samples;
  const parts: GoalPart[] = [];
  for (const which of [0, 1]) {
    const { samples } = perPages[which]!;
    const name = NAMES[which]!;
    const cost = medianEstimate(samples, ctx.resampling);
    parts.push(judge(`${name}: ns a page at batch ${WINDOW}`, cost, '<=', MAX_NS_PER_PAGE));
    const ratio = pairedRatio(samples, bare, ctx.resampling);
    parts.push(judge(`${name}: over the bare loop`, ratio, '<=', MAX_RATIO));
  }
  return parts;
}
