/**
 * Where the time of a migration goes: a batch of 512 pages to the device and home again, phase by
 * phase, as xe's statistics split it. Between the ways the device adds a constant drawn only then
 * to every word; at the end the CPU compares all of them. A few rounds behind the timed ones tell
 * what the copies take on the device, where it has timestamps.
 */
import { PAGE_SIZE, Prng } from '../src/index.ts';
import { checkPage, seedFor } from './content.ts';
import { CopiedMigration } from './copied-migration.ts';
import type { CopiedPhases, DeviceTime } from './copied-migration.ts';
import { GpuTime } from './gpu-time.ts';
import { scatterFreePages } from './mm-suite.ts';
import { PHASES } from './phase-names.ts';
import { WINDOW, mapRange } from './null-migration.ts';
import type { Range, Way } from './null-migration.ts';
import type { RunContext } from './run-context.ts';
import { failureText } from './sampler.ts';
import type { Sampled } from './sampler.ts';
import { median } from './stats.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const WAYS: readonly (readonly [way: Way, direction: string])[] = [
  ['toDevice', 'to-device'],
  ['toRam', 'to-host'],
];

/** Rounds that tell the time on the device, the median of which counts. */
const DEVICE_ROUNDS = 3;

/** Cells that the suite adds. */
export const PHASE_CELLS = WAYS.length;

/** Measures both ways. Adds their cells to `ctx`. */
export async function runPhaseSuite(ctx: RunContext): Promise<void> {
  await ctx.say('migrate', 'phases of a migration of 512 pages');
  scatterFreePages(ctx, Math.min(4 * WINDOW, ctx.machine.kernel.sys.pageAllocator.freePages));
  const taken: Record<Way, CopiedPhases[]> = { toDevice: [], toRam: [] };
  const onDevice: Record<Way, DeviceTime[]> = { toDevice: [], toRam: [] };
  const range = await mapRange(ctx.machine, WINDOW);
  await range.process.openDevice(0);
  let failure: string | null = null;
  try {
    failure = await measure(ctx, range, taken, onDevice);
  } catch (error) {
    failure = failureText(error);
  }
  await range.process.exit();
  for (const [way, direction] of WAYS) {
    const timed = summary(taken[way].slice(ctx.plan.migrate.box.warmups), failure);
    const known = failure === null && onDevice[way].length === DEVICE_ROUNDS;
    const gpuUs = known ? median(onDevice[way].map(({ us }) => us)) : null;
    const submissions = known ? median(onDevice[way].map((one) => one.submissions)) : 0;
    const sampled = known ? { ...timed, counts: { submissions } } : timed;
    const params = { direction, batch: WINDOW, pages: WINDOW, strategy: 'auto', by: 'hand' };
    const id = `${PHASES}${direction}/${WINDOW}`;
    const bytes = WINDOW * PAGE_SIZE;
    const dropped = ctx.plan.migrate.box.warmups;
    const spec = { suite: 'migrate' as const, id, params, unit: 'us' as const };
    ctx.addCell({ ...spec, bytes, pages: WINDOW, gpuUs }, { ...sampled, dropped });
  }
}

/** Round trips as many as the box allows. Answers what was wrong with the content, or null. */
async function measure(
  ctx: RunContext,
  range: Range,
  taken: Record<Way, CopiedPhases[]>,
  onDevice: Record<Way, DeviceTime[]>,
): Promise<string | null> {
  const { minSamples, maxSamples, budgetMs, warmups } = ctx.plan.migrate.box;
  const seed = seedFor(ctx.plan.seed, PHASES);
  const random = new Prng(seedFor(seed, 'constants'));
  const migration = new CopiedMigration(ctx.machine, range);
  await migration.fill(seed);
  let added = 0;
  await range.mm.mmapLock.readLock();
  try {
    const begun = performance.now();
    for (let round = 0; round < maxSamples + warmups; round++) {
      const isLate = performance.now() - begun > budgetMs;
      if (isLate && round >= minSamples + warmups) break;
      taken.toDevice.push(await migration.copy('toDevice'));
      const constant = random.nextU32();
      added = (added + constant) >>> 0;
      await migration.add(constant);
      taken.toRam.push(await migration.copy('toRam'));
      ctx.signal?.throwIfAborted();
    }
    await timeOnDevice(ctx, migration, onDevice);
  } finally {
    range.mm.mmapLock.readUnlock();
  }
  return compare(range, seed, added);
}

/** Rounds of their own: noting times costs time itself. */
async function timeOnDevice(
  ctx: RunContext,
  migration: CopiedMigration,
  onDevice: Record<Way, DeviceTime[]>,
): Promise<void> {
  const clock = GpuTime.of(ctx.copyMachine.engine);
  if (clock === null) return;
  try {
    for (let round = 0; round < DEVICE_ROUNDS; round++) {
      for (const [way] of WAYS) {
        const time = await migration.timeOnDevice(way, clock);
        if (time !== null) onDevice[way].push(time);
      }
    }
  } finally {
    clock.close();
  }
}

async function compare(range: Range, seed: number, added: number): Promise<string | null> {
  const bytes = await range.process.read(range.vma.vmStart, WINDOW * PAGE_SIZE);
  const words = new Uint32Array(bytes.buffer);
  for (let page = 0; page < WINDOW; page++) {
    const wrong = checkPage(words, page * WORDS_PER_PAGE, seed, 0, page, added);
    if (wrong >= 0) return `page ${page} of ${WINDOW} is wrong from word ${wrong} on`;
  }
  return null;
}

/** Whole times, and the median of each phase. */
function summary(rounds: readonly CopiedPhases[], failure: string | null): Sampled {
  const names = Object.keys(rounds[0] ?? {});
  const phases = names.map((name): [string, number] => [
    name,
    median(rounds.map((round) => round[name]!)),
  ]);
  const samples = rounds.map((round) => Object.values(round).reduce((sum, us) => sum + us, 0));
  const split = phases.length === 0 ? null : Object.fromEntries(phases);
  return { samples, dropped: 0, chained: 1, failure, phases: split };
}
