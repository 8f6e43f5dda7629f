/**
 * What whole migrations leave on the JS heap, beside the bare WebGPU calls that move as many bytes:
 * the end-to-end half of goal G12, in a browser. Batches of 512 pages go to the device and home
 * again; both sides are measured in turn.
 */
import { PAGE_SIZE, PROT_READ, PROT_WRITE } from '../src/index.ts';
import type { Process, TestDevice } from '../src/index.ts';
import { judge } from './goal-parts.ts';
import { growthOf } from './heap.ts';
import type { HeapReader } from './heap.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, failureText } from './sampler.ts';
import type { Sampled } from './sampler.ts';
import { medianEstimate, pairedOrder } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Pages of a batch: what the driver migrates at a time. */
const BATCH = 512;
/**
 * Batches that one call migrates: those of the goal, and a single one, which shows what a call
 * itself leaves.
 */
const CALLS = [8, 1] as const;
/** Batches of one sample: many against what asking costs, few against a garbage collection. */
const BATCHES_PER_SAMPLE = { quick: 32, full: 64 } as const;
const PAIRS = 15;
/** As many again, for the compilers: what runs once a batch is compiled late. */
const WARMUPS = { quick: 10, full: 25 } as const;
const MAX_BYTES = 1024;

/** Runs batches, half of them to the device and half home. */
type Run = (batches: number) => Promise<void>;

/** Measures both sides. Adds its cells to `ctx` and answers parts of G12; none without a heap. */
export async function batchGarbageParts(ctx: RunContext, raw: RawGpu | null): Promise<GoalPart[]> {
  const { heap } = ctx;
  if (heap === null || !heap.isBrowser || raw === null) return [];
  const parts: GoalPart[] = [];
  for (const batches of ctx.plan.quick ? CALLS.slice(0, 1) : CALLS) {
    await ctx.say('mm', `garbage of migrations, ${batches} x ${BATCH} pages a call`);
    const above = await measureCall(ctx, raw, heap, batches);
    if (above === null || batches !== CALLS[0]) continue;
    const what = `bytes a batch on the JS heap above the bare calls, ${batches} batches a call`;
    parts.push(judge(what, medianEstimate(above, ctx.resampling), '<=', MAX_BYTES));
  }
  return parts;
}

/** Bytes a batch above those of the bare calls, pair by pair; null where something failed. */
async function measureCall(
  ctx: RunContext,
  raw: RawGpu,
  heap: HeapReader,
  batches: number,
): Promise<number[] | null> {
  const length = ctx.plan.quick ? 'quick' : 'full';
  const [warmups, many] = [WARMUPS[length], BATCHES_PER_SAMPLE[length]];
  const sides: readonly [number[], number[]] = [[], []];
  let failure: string | null = null;
  const subject = await Subject.start(ctx, batches * BATCH);
  const bare = raw.batchLoop(BATCH * PAGE_SIZE);
  try {
    const runs: readonly [Run, Run] = [(n) => subject.run(n / batches), (n) => bare.run(n)];
    const order = pairedOrder(PAIRS + warmups).map((side) => (side === 'a' ? 0 : 1));
    for (const side of order) {
      const grown = await growthOf(heap, () => runs[side](many));
      sides[side].push(grown / many);
      ctx.signal?.throwIfAborted();
    }
    if (sides.flat().some(Number.isNaN))
      throw new OperationFailure('the heap shrinks all the time');
  } catch (error) {
    failure = failureText(error);
  } finally {
    bare.close();
    await subject.end();
  }
  const [ours, theirs] = sides.map((samples) => samples.slice(warmups)) as [number[], number[]];
  const sampled = { dropped: warmups, chained: 1, failure, phases: null };
  addCells(ctx, batches, [ours, theirs], sampled);
  if (failure !== null) return null;
  return ours.map((bytes, i) => bytes - theirs[i]!);
}

function addCells(
  ctx: RunContext,
  batches: number,
  [ours, theirs]: readonly [number[], number[]],
  about: Omit<Sampled, 'samples'>,
): void {
  const cells = [
    ['migrate', ours],
    ['bare', theirs],
  ] as const;
  for (const [name, samples] of cells) {
    const sampled: Sampled = { samples, ...about };
    const params = { side: name, batch: BATCH, batchesACall: batches };
    const spec = { suite: 'mm' as const, id: `mm/garbage/${name}/${batches}`, params };
    ctx.addCell({ ...spec, unit: 'bytes', bytes: 0, pages: 0 }, sampled);
  }
}

/** A process whose pages travel, and the device they travel to. */
class Subject {
  private readonly process: Process;
  private readonly device: TestDevice;
  private readonly request: { addr: number; ptr: number; npages: number };

  private constructor(process: Process, device: TestDevice, addr: number, npages: number) {
    this.process = process;
    this.device = device;
    this.request = { addr, ptr: 0, npages };
  }

  static async start(ctx: RunContext, pages: number): Promise<Subject> {
    const process = await ctx.machine.spawn();
    const length = pages * PAGE_SIZE;
    const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    await process.write(addr, new Uint8Array(length).fill(1));
    return new Subject(process, await process.openDevice(0), addr, pages);
  }

  /** Calls the device so often, alternating between the two directions. */
  async run(calls: number): Promise<void> {
    const { device, request } = this;
    for (let i = 0; i < calls; i += 2) {
      const there = await device.tryIoctl('MIGRATE_TO_DEV', request);
      const back = await device.tryIoctl('MIGRATE_TO_SYS', request);
      if (there.errno !== 0 || back.errno !== 0 || back.cpages !== request.npages) {
        const text = `${there.errno}, ${back.errno}, ${back.cpages} pages came home`;
        throw new OperationFailure(`migration answered errnos ${text}`);
      }
    }
  }

  async end(): Promise<void> {
    await this.device.close();
    await this.process.exit();
  }
}
