/**
 * CPU faults on device memory: pages are migrated to the device and changed there, then the CPU
 * touches them one by one in random order, and each touch brings one page back. Latency of each
 * touch is a sample; afterwards all pages are in RAM and all bytes are compared.
 */
import { PAGE_DEVICE, PAGE_RAM, PAGE_SIZE } from '../src/index.ts';
import { nowUs } from './clock.ts';
import { withProcess } from './migrate-suite.ts';
import type { MigratingProcess } from './migrate-suite.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, failureText } from './sampler.ts';
import type { Sampled } from './sampler.ts';

/** Samples that are dropped from the front. */
const WARMUPS = 5;
const ACCESSES = ['read', 'write'] as const;
/** Cells that the suite adds. */
export const FAULT_CELLS = ACCESSES.length;

/** Measures faults by load and by store. Adds their cells to `ctx`. */
export async function runFaultSuite(ctx: RunContext): Promise<void> {
  for (const access of ACCESSES) {
    const id = `fault/${access}/1`;
    const pages = ctx.plan.fault.pages + WARMUPS;
    await ctx.say('fault', id);
    const sampled = await withProcess(ctx, pages, id, (subject) => faultAll(ctx, subject, access));
    const params = { access, batch: 1, pages: 1, direction: 'to-host', strategy: 'auto' };
    const spec = { suite: 'fault' as const, id, params, unit: 'us' as const };
    ctx.addCell({ ...spec, bytes: PAGE_SIZE, pages: 1 }, sampled);
  }
}

async function faultAll(
  ctx: RunContext,
  subject: MigratingProcess,
  access: 'read' | 'write',
): Promise<Sampled> {
  const samples: number[] = [];
  let failure: string | null = null;
  const stray = ctx.copyMachine.strayErrors();
  try {
    const errno = await subject.migrate('MIGRATE_TO_DEV');
    if (errno !== 0) throw new OperationFailure(`MIGRATE_TO_DEV answered errno ${errno}`);
    await subject.expectAll(PAGE_DEVICE);
    await subject.addOnDevice();
    const order = ctx.random
      .fork(`fault order ${access}`)
      .shuffle(Uint32Array.from({ length: subject.pages }, (_, page) => page));
    for (const page of order) {
      ctx.signal?.throwIfAborted();
      const start = nowUs();
      await subject.process.touch(subject.addr + page * PAGE_SIZE, access);
      samples.push(nowUs() - start);
    }
    await subject.expectAll(PAGE_RAM);
    const errors = ctx.copyMachine.strayErrors() - stray;
    failure = errors > 0 ? `${errors} uncaptured GPU errors` : await subject.compare();
  } catch (error) {
    failure = failureText(error);
  }
  return { samples: samples.slice(WARMUPS), dropped: WARMUPS, chained: 1, failure, phases: null };
}
