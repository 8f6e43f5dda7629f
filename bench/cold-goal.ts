/**
 * G14, the cold start: the first migration after boot against later ones of the same machine, and
 * making 64 MiB of device memory against one clear of a fresh buffer of that size, which is what
 * the device has to do at least before such memory may be used.
 */
import { OpenError, bootMachine } from '../src/index.ts';
import { nowUs } from './clock.ts';
import { judge } from './goal-parts.ts';
import { compareSides, twoSided } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { createVram } from './insides.ts';
import { MigratingProcess } from './migrate-suite.ts';
import { WINDOW } from './null-migration.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, failureText } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { median, pairedRatio } from './stats.ts';
import type { GoalPart } from './types.ts';

const DEVICE_BYTES = 64 * 2 ** 20;
const RAM_BYTES = 32 * 2 ** 20;
/** Migrations after the first, of which the median is the steady state. */
const STEADY = 9;
const MAX_FIRST = 1.5;
const MAX_INIT = 1.2;
const INIT_PAIRS = { minPairs: 10, maxPairs: 40 };
// GPUBufferUsage.COPY_SRC | COPY_DST | STORAGE, as an arena has them.
const ARENA_USAGE = 0x4 | 0x8 | 0x80;

/** Cells that runColdGoal() adds. */
export const COLD_CELLS = 4;

/** Measures G14. Adds its cells and result to `ctx`. */
export async function runColdGoal(ctx: RunContext, raw: RawGpu): Promise<void> {
  await ctx.say('migrate', 'G14 first migrations');
  const first = await measureFirst(ctx);
  await ctx.say('migrate', 'G14 making device memory');
  const init = await measureInit(ctx, raw);
  if (first === null || init === null) return;
  ctx.goals.push({ id: 'G14', parts: [first, init] });
}

async function measureFirst(ctx: RunContext): Promise<GoalPart | null> {
  const firsts: number[] = [];
  const later: number[] = [];
  let failure: string | null = null;
  try {
    for (let boot = 0; boot < ctx.plan.goals.boots; boot++) {
      const times = await bootAndMigrate(ctx);
      firsts.push(times[0]!);
      later.push(median(times.slice(1)));
    }
  } catch (error) {
    failure = error instanceof OpenError ? error.message : failureText(error);
  }
  const add = (name: string, samples: number[]): void => {
    const sampled: Sampled = { samples, dropped: 0, chained: 1, failure, phases: null };
    const id = `goal/G14/${name}`;
    const params = { direction: 'to-device', batch: WINDOW, pages: WINDOW, when: name };
    const spec = { suite: 'migrate' as const, id, params, unit: 'us' as const };
    ctx.addCell({ ...spec, bytes: WINDOW * 4096, pages: WINDOW }, sampled);
  };
  add('first', firsts);
  add('later', later);
  if (failure !== null) return null;
  const ratio = pairedRatio(firsts, later, ctx.resampling);
  return judge('first migration after boot over later ones', ratio, '<=', MAX_FIRST);
}

/**
 * Microseconds of the migrations to the device of a machine of its own, the first one first, each
 * of content that was just written.
 */
async function bootAndMigrate(ctx: RunContext): Promise<number[]> {
  const { engine, powerPreference } = ctx.plan;
  const power = powerPreference === undefined ? {} : { powerPreference };
  const sizes = { ramBytes: RAM_BYTES, deviceBytes: DEVICE_BYTES, devices: 1, coherentDevices: 0 };
  const machine = await bootMachine({ engine, ...sizes, ...power });
  try {
    const subject = await MigratingProcess.start({ plan: ctx.plan, machine }, WINDOW, 'goal/G14');
    const times: number[] = [];
    for (let i = 0; i <= STEADY; i++) {
      // What was just written, while the device had nothing to do, goes more slowly than what has
      // just come from there: that is no cold start, so all of them are such.
      if (i > 0) await subject.write();
      const begun = nowUs();
      const there = await subject.migrate('MIGRATE_TO_DEV');
      times.push(nowUs() - begun);
      await subject.addOnDevice();
      const back = await subject.migrate('MIGRATE_TO_SYS');
      if (there !== 0 || back !== 0) throw new OperationFailure(`errnos ${there} and ${back}`);
      const wrong = await subject.compare();
      if (wrong !== null) throw new OperationFailure(wrong);
    }
    await subject.end();
    return times;
  } finally {
    await machine.close();
  }
}

/** Something that makes buffers, which are destroyed before the next sample. */
function making(make: () => Promise<readonly GPUBuffer[]>): Operation {
  let made: readonly GPUBuffer[] = [];
  const destroy = (): void => {
    for (const buffer of made) buffer.destroy();
    made = [];
  };
  return {
    prepare: destroy,
    run: async () => {
      made = await make();
      return 0;
    },
    verify: () => {
      const bytes = made.reduce((sum, { size }) => sum + size, 0);
      destroy();
      return bytes === DEVICE_BYTES ? null : `${bytes} bytes were made`;
    },
  };
}

async function measureInit(ctx: RunContext, raw: RawGpu): Promise<GoalPart | null> {
  const { device } = raw;
  const vram = making(async () => {
    const made = await createVram(device, DEVICE_BYTES / 4096, Number.MAX_SAFE_INTEGER);
    if (!('arenas' in made)) throw new OperationFailure(made.cause);
    return made.arenas;
  });
  const clear = making(async () => {
    const buffer = device.createBuffer({ size: DEVICE_BYTES, usage: ARENA_USAGE });
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(buffer);
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return [buffer];
  });
  const side = (name: string, operation: Operation): Side => ({
    name: `goal/G14/${name}`,
    params: { bytes: DEVICE_BYTES, how: name },
    operation,
    bytes: DEVICE_BYTES,
    pages: 0,
  });
  const sides = [side('device-memory', vram), side('fresh-clear', clear)];
  const box = { ...INIT_PAIRS, budgetMs: ctx.plan.goals.budgetMs / 2 };
  const results = await compareSides(ctx, sides, twoSided, box, 'migrate');
  if (results === null) return null;
  const ratio = pairedRatio(results[0]!.samples, results[1]!.samples, ctx.resampling);
  return judge('making 64 MiB of device memory over one clear of it', ratio, '<=', MAX_INIT);
}
