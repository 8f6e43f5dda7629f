/**
 * What bookkeeping must not do as machines grow and time passes: cost more a page in a large range
 * than in a small one, boot slowly (parts of G11), or make garbage (G12).
 *
 * The heap can be read in Node, and in a page of Chromium; not in a worker of a browser.
 */
import { OpenError, bootMachine } from '../src/index.ts';
import type { LocalMachine } from '../src/index.ts';
import { nowUs } from './clock.ts';
import { judge, withLimit } from './goal-parts.ts';
import { growthOf } from './heap.ts';
import { NullMigration, WINDOW, mapRange } from './null-migration.ts';
import type { GoalResult, RunContext } from './run-context.ts';
import { interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { bootstrap, medianEstimate, pairedOrder, pairedRatio, quantile } from './stats.ts';
import type { GoalPart } from './types.ts';

const SMALL_PAGES = 4096;
const MAX_SCALE_RATIO = 1.3;
const MAX_BOOT_MS = 1000;
const BOOTS = 3;
const SCALE_PAIRS = 8;
const MAX_HEAP_BYTES_PER_PAGE = 1;
const MAX_BATCH_SPREAD = 2;
/** Batches between two looks at the heap: what they leave behind stays below a collection. */
const HEAP_BATCHES = 200;
const HEAP_SAMPLES = 9;
/** Round trips by which the lengths of both sides are matched. */
const MATCHED_BATCHES = 64;
const GIB = 2 ** 30;

/** Boots the largest machine and migrates far more pages than any cache holds. Parts of G11. */
export async function scaleParts(ctx: RunContext): Promise<GoalPart[]> {
  await ctx.say('mm', 'booting a machine with 4 GiB of RAM');
  const boots: number[] = [];
  let machine: LocalMachine | null = null;
  try {
    for (let i = 0; i < BOOTS; i++) {
      await machine?.close();
      const begun = nowUs();
      machine = await bootLarge();
      boots.push(nowUs() - begun);
    }
    if (machine === null) return [];
    const parts = [bootPart(ctx, boots), ...(await measureScale(ctx, machine))];
    await machine.close();
    return parts;
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    ctx.omit(`mm/scale/${ctx.plan.mm.scalePages}`, error.message);
    return [];
  }
}

function bootLarge(): Promise<LocalMachine> {
  const sizes = { ramBytes: 4 * GIB, deviceBytes: 4 * WINDOW * 4096, devices: 1 };
  return bootMachine({ engine: 'cpu', coherentDevices: 0, ...sizes });
}

function bootPart(ctx: RunContext, boots: readonly number[]): GoalPart {
  const params = { ramBytes: 4 * GIB };
  const spec = { suite: 'mm' as const, id: 'mm/boot/4GiB', params, bytes: 0, pages: 0 };
  ctx.addCell({ ...spec, unit: 'us' }, sampledOf([...boots]));
  const ms = medianEstimate(
    boots.map((us) => us / 1000),
    ctx.resampling,
  );
  return judge('ms to boot a machine with 4 GiB of RAM', ms, '<=', MAX_BOOT_MS);
}

function sampledOf(samples: number[]): Sampled {
  return { samples, dropped: 0, chained: 1, failure: null, phases: null };
}

async function measureScale(ctx: RunContext, machine: LocalMachine): Promise<GoalPart[]> {
  const { scalePages } = ctx.plan.mm;
  await ctx.say('mm', `touching ${scalePages} pages`);
  const range = await mapRange(machine, scalePages);
  const migration = new NullMigration(machine, range.vma);
  const sizes = [SMALL_PAGES, scalePages];
  await ctx.say('mm', `bookkeeping of ${SMALL_PAGES} and of ${scalePages} pages`);
  const operations = sizes.map((pages): Operation => ({
    run: () => migration.roundTrips(pages / WINDOW),
  }));
  const order = pairedOrder(SCALE_PAIRS).map((side) => (side === 'a' ? 0 : 1));
  await range.mm.mmapLock.readLock();
  let results: Sampled[];
  try {
    results = await interleave(operations, () => order, 1, ctx.signal);
  } finally {
    range.mm.mmapLock.readUnlock();
  }
  const perPage = results.map((sampled, i) => ({
    ...sampled,
    samples: sampled.samples.map((us) => (us * 1000) / (2 * sizes[i]!)),
  }));
  perPage.forEach((sampled, i) => {
    const pages = sizes[i]!;
    const params = { direction: `both ways, ${pages} pages`, batch: WINDOW, copier: 'none' };
    const id = `mm/scale/${pages}`;
    ctx.addCell({ suite: 'mm', id, params, bytes: 0, pages: 1, unit: 'ns/page' }, sampled);
  });
  await range.process.exit();
  if (results.some(({ failure }) => failure !== null)) return [];
  const ratio = pairedRatio(perPage[1]!.samples, perPage[0]!.samples, ctx.resampling);
  const what = `cost a page at ${scalePages} pages over that at ${SMALL_PAGES}`;
  return [judge(what, ratio, '<=', MAX_SCALE_RATIO)];
}

/**
 * What steady-state bookkeeping leaves on the heap, and how even its batches are: G12.
 *
 * @param bare One batch of the bare loop: on a busy machine its spread is the limit.
 * @returns null where nobody says how much of the heap is in use.
 */
export async function garbageGoal(
  ctx: RunContext,
  migration: NullMigration,
  pages: number,
  bare: () => void,
): Promise<GoalResult | null> {
  const { heap } = ctx;
  if (heap === null) return null;
  const windows = pages / WINDOW;
  const perPage: number[] = [];
  const rounds = Math.max(1, Math.round(HEAP_BATCHES / (2 * windows)));
  for (let i = 0; i < HEAP_SAMPLES; i++) {
    const grown = await growthOf(heap, () => {
      for (let round = 0; round < rounds; round++) migration.roundTrips(windows);
    });
    perPage.push(grown / (rounds * 2 * pages));
  }
  if (perPage.some(Number.isNaN)) return null;
  const bytes = medianEstimate(perPage, ctx.resampling);
  const { ours, theirs } = batchTimes(migration, bare, ctx.plan.mm.spreadBatches);
  const spread = bootstrap([ours], ([drawn]) => spreadOf(drawn!), ctx.resampling);
  const what = 'p99 over p50 of a batch of the bare loop, in turn';
  const limit = { what, value: spreadOf(theirs), samples: theirs };
  const parts = [
    judge('bytes a page on the JS heap, bookkeeping', bytes, '<=', MAX_HEAP_BYTES_PER_PAGE),
    withLimit(judge('p99 over p50 of a batch of 512', spread, '<=', MAX_BATCH_SPREAD), limit),
  ];
  return { id: 'G12', parts };
}

function spreadOf(times: ArrayLike<number>): number {
  return quantile(times, 0.99) / quantile(times, 0.5);
}

/**
 * Microseconds of round trips of a batch, and of the bare loop for as long, in turn: what
 * interrupts either is then as large a share of it.
 */
function batchTimes(
  migration: NullMigration,
  bare: () => void,
  batches: number,
): { ours: number[]; theirs: number[] } {
  const ours: number[] = [];
  const theirs: number[] = [];
  const perBatch = barePerBatch(migration, bare);
  for (let i = 0; i < batches; i++) {
    const begun = nowUs();
    migration.roundTrips(1);
    const between = nowUs();
    for (let j = 0; j < perBatch; j++) bare();
    theirs.push(nowUs() - between);
    ours.push(between - begun);
  }
  return { ours, theirs };
}

/** Runs of the bare loop that take about as long as one round trip. */
function barePerBatch(migration: NullMigration, bare: () => void): number {
  let ours = Infinity;
  let theirs = Infinity;
  // The least of a few, as each may be interrupted.
  for (let i = 0; i < 5; i++) {
    const begun = nowUs();
    for (let j = 0; j < MATCHED_BATCHES; j++) migration.roundTrips(1);
    const between = nowUs();
    for (let j = 0; j < MATCHED_BATCHES; j++) bare();
    ours = Math.min(ours, between - begun);
    theirs = Math.min(theirs, nowUs() - between);
  }
  return Math.max(1, Math.round(ours / theirs));
}
