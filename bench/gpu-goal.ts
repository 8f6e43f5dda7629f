/**
 * G16, real GPUs only: whether a kernel copies as fast as the copy command. Copies inside device
 * memory, of one range and of scattered pages, by the device's own clock, against one copy command
 * of bare WebGPU over as many bytes; and whole copies of scattered pages against a command a page.
 */
import { PAGE_SIZE } from '../src/index.ts';
import { seedFor } from './content.ts';
import type { CopyOperation } from './copy-operation.ts';
import { copyBy, ownPools, withEngines } from './engine-goals.ts';
import type { OwnCopy, OwnEngine } from './engine-goals.ts';
import { judge } from './goal-parts.ts';
import { compareSides, shuffledRounds } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { GpuTime } from './gpu-time.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure } from './sampler.ts';
import type { Operation } from './sampler.ts';
import { pairedRatio } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Pages that are copied: enough to keep a large GPU busy for some tens of microseconds. */
const PAGES = 4096;
const MIN_CONTIGUOUS = 0.9;
const MIN_SCATTERED = 0.85;
const MIN_GAIN = 5;

/** Cells that runGpuGoal() adds on a GPU. */
export const GPU_CELLS = 5;

/** Measures G16. Adds its cells and result to `ctx`; on a software adapter only why not. */
export async function runGpuGoal(ctx: RunContext, raw: RawGpu): Promise<void> {
  const { isSoftware } = ctx.copyMachine.engine.adapter;
  const open = (why: string): void => void ctx.goals.push({ id: 'G16', parts: [], why });
  if (isSoftware) return open('needs a GPU: this adapter computes on the CPU');
  if (!raw.device.features.has('timestamp-query')) {
    return open('the adapter has no clock of its own (timestamp-query)');
  }
  const parts = await measureGpuCopies(ctx, raw);
  if (parts !== null) ctx.goals.push({ id: 'G16', parts });
}

/** The parts of G16, on an adapter that has a clock; null where a cell failed. */
async function measureGpuCopies(ctx: RunContext, raw: RawGpu): Promise<GoalPart[] | null> {
  await ctx.say('goals', 'G16 kernels and the copy command');
  let parts: GoalPart[] | null = null;
  await withEngines(ctx, 8 * PAGES, [{}], async ([engine]) => {
    parts = await compareAll(ctx, raw, engine!);
  });
  return parts;
}

async function compareAll(
  ctx: RunContext,
  raw: RawGpu,
  engine: OwnEngine,
): Promise<GoalPart[] | null> {
  const bytes = PAGES * PAGE_SIZE;
  const bare = await raw.contiguousCopy(bytes, seedFor(ctx.plan.seed, 'G16'));
  const pools = ownPools(ctx, engine);
  const copy = (name: string, scatterVram: boolean): CopyOperation => {
    const list = { pages: PAGES, listFolios: PAGES, inFlight: 1 };
    const how: OwnCopy = { direction: 'in-device', strategy: 'compute', scatterVram, ...list };
    return copyBy(ctx, engine, `G16 ${name}`, how, pools);
  };
  const side = (name: string, clock: string, operation: Operation): Side => ({
    name: `goal/G16/${name}`,
    params: { direction: 'in-device', pages: PAGES, clock },
    operation,
    bytes,
    pages: PAGES,
  });
  const range = copy('range', false);
  const scattered = copy('scattered', true);
  const bareClock = GpuTime.of(raw)!;
  const clock = GpuTime.of(engine)!;
  const sides = [
    side('webgpu-copy', 'device', timed(bare, bareClock)),
    side('range', 'device', timed(range, clock)),
    side('scattered', 'device', timed(scattered, clock)),
    side('scattered-whole', 'thread', scattered),
    side('commands-whole', 'thread', scattered.by('commands')),
  ];
  const order = shuffledRounds(ctx, sides.length, 'G16 order');
  const results = await compareSides(ctx, sides, order);
  bareClock.close();
  clock.close();
  if (results === null) return null;
  const [copied, one, many, kernel, perPage] = results.map(({ samples }) => samples);
  const ratio = (above: number[], below: number[]) => pairedRatio(above, below, ctx.resampling);
  const over = 'over that of a copy command, by the device clock';
  return [
    judge(`GB/s of a kernel over one range, ${over}`, ratio(copied!, one!), '>=', MIN_CONTIGUOUS),
    judge(`GB/s of a kernel, scattered pages, ${over}`, ratio(copied!, many!), '>=', MIN_SCATTERED),
    judge(
      `speed of ${PAGES} scattered pages by kernel over a command a page`,
      ratio(perPage!, kernel!),
      '>=',
      MIN_GAIN,
    ),
  ];
}

/** An operation whose samples are what the device's own clock says of it. */
function timed(operation: Operation, clock: GpuTime): Operation {
  let spentUs = 0;
  return {
    prepare: (last) => operation.prepare?.(last),
    verify: async () => (await operation.verify?.()) ?? null,
    clock: () => spentUs,
    run: async () => {
      const us = await clock.timeOf(operation);
      if (us === null) throw new OperationFailure("the device's clock did not answer");
      spentUs += us;
      return 0;
    },
  };
}
