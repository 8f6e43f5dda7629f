/**
 * The copy suite: the engine alone, strategy by folio size by batch by direction. Folios are
 * scattered on both sides, or as the run's settings say. Cells run in a seeded random order, so
 * that a slow minute of the machine does not fall on one strategy; each has a time box, and the
 * boxes shrink as the time box of the run is used up.
 */
import { PAGE_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import type { CellSpec } from './cells.ts';
import { seedFor } from './content.ts';
import { CopyOperation } from './copy-operation.ts';
import type { CopySpec, Direction } from './copy-operation.ts';
import { GpuTime } from './gpu-time.ts';
import { takeFragments } from './fragments.ts';
import type { Fragmentation, Frames } from './fragments.ts';
import { FramePool } from './frames.ts';
import type { Shuffler } from './frames.ts';
import type { RunContext } from './run-context.ts';
import { sampleOperation } from './sampler.ts';
import type { SampleBox, Sampled } from './sampler.ts';
import { median } from './stats.ts';

/** A cell that is to be measured. */
interface CopyCell {
  readonly direction: Direction;
  readonly strategy: StrategyName;
  readonly folioBytes: number;
  readonly batch: number;
}

/** Pools of frames on both sides. */
export interface CopyPools {
  readonly ram: FramePool;
  readonly vram: FramePool;
}

/** Parts of RAM that are left to the machine: its first pages hold what it keeps at boot. */
const RESERVED_RAM_PAGES = 1024;
/** Strategies that are tried in each direction where the engine has them. */
const TO_DEVICE: readonly StrategyName[] = [
  'commands',
  'staging',
  'runs',
  'compute',
  'writeBuffer',
];
/** writeBuffer has no counterpart that reads. */
const TO_HOST: readonly StrategyName[] = ['commands', 'staging', 'runs', 'compute'];
const IN_DEVICE: readonly StrategyName[] = ['commands', 'runs', 'compute'];

/** All frames that the suite may use. */
export function copyPools(ctx: RunContext): CopyPools {
  const { hostFrames, vramFrames } = ctx.copyMachine.engine.geometry;
  const reserved = Math.min(RESERVED_RAM_PAGES, Math.floor(hostFrames / 4));
  return {
    ram: new FramePool(reserved, hostFrames - reserved),
    vram: new FramePool(hostFrames, vramFrames),
  };
}

/** "copy/to-device/staging/4096/64". */
export function copyCellId(cell: CopyCell): string {
  const { direction, strategy, folioBytes, batch } = cell;
  return `copy/${direction}/${strategy}/${folioBytes}/${batch}`;
}

/** The strategies of the engine that move pages in that direction, without `auto`. */
export function fixedStrategies(ctx: RunContext, direction: Direction): StrategyName[] {
  const has = ctx.copyMachine.engine.strategies;
  if (ctx.copyMachine.engine.name === 'cpu') return ['cpu'];
  if (direction === 'in-host') return has.includes('cpu') ? ['cpu'] : [];
  const tables = { 'to-device': TO_DEVICE, 'to-host': TO_HOST, 'in-device': IN_DEVICE };
  return tables[direction].filter((name) => has.includes(name));
}

/** The strategies of the sweep, in a direction. */
export function strategiesFor(ctx: RunContext, direction: Direction): StrategyName[] {
  const { isFull, strategies } = ctx.plan.copy;
  const fixed = fixedStrategies(ctx, direction);
  // What the CPU copies is always there: every other copy is held against it.
  if (direction === 'in-host') return fixed;
  const mayChoose = ctx.copyMachine.engine.name !== 'cpu';
  const all: StrategyName[] = mayChoose ? ['auto', ...fixed] : fixed;
  if (strategies !== undefined) return all.filter((name) => strategies.includes(name));
  return isFull ? all : fixed;
}

/** The directions of the sweep; copies of the CPU are always among them. */
export function directionsFor(ctx: RunContext): readonly Direction[] {
  const { isFull, directions } = ctx.plan.copy;
  const usual: Direction[] = ['to-device', 'to-host', 'in-host'];
  if (directions !== undefined) return [...new Set([...directions, 'in-host' as const])];
  return isFull ? [...usual, 'in-device'] : usual;
}

/** The cells that fit, in order; the others are noted as left out. */
function listCells(ctx: RunContext): CopyCell[] {
  const { folios, batches, maxCellBytes } = ctx.plan.copy;
  const cells: CopyCell[] = [];
  for (const direction of directionsFor(ctx)) {
    for (const strategy of strategiesFor(ctx, direction)) {
      for (const folioBytes of folios) {
        for (const batch of batches) {
          const cell = { direction, strategy, folioBytes, batch };
          if (folioBytes * batch <= maxCellBytes) cells.push(cell);
          else ctx.omit(copyCellId(cell), `moves more than ${maxCellBytes / 2 ** 20} MiB`);
        }
      }
    }
  }
  return cells;
}

/** Number of cells that the suite will try. */
export function countCopyCells(ctx: RunContext): number {
  const before = ctx.omitted.length;
  const count = listCells(ctx).length;
  ctx.omitted.length = before;
  return count;
}

/** The time box of the next cell when `cellsLeft` are still to come. */
export function boxFor(ctx: RunContext, msLeft: number, cellsLeft: number): SampleBox {
  const { box } = ctx.plan.copy;
  return { ...box, budgetMs: Math.min(box.budgetMs, Math.max(0, msLeft / cellsLeft)) };
}

/** How a copy is made, where it is not as usual. */
export interface CopyOptions extends Pick<
  CopySpec,
  'listFolios' | 'lists' | 'inFlight' | 'verify'
> {
  /** Where false, frames of VRAM lie in order, as a driver's allocator hands them out. */
  readonly scatterVram?: boolean;
  readonly fragments?: Fragmentation;
}

/**
 * An operation on freshly taken frames, scattered on both sides unless told otherwise.
 *
 * @returns null when the pools have no room for it.
 */
export function takeCopy(
  ctx: RunContext,
  pools: CopyPools,
  cell: CopyCell,
  options: CopyOptions = {},
): CopyOperation | null {
  const { scatterVram = true, fragments = 'scattered', ...rest } = options;
  const folioPages = cell.folioBytes / PAGE_SIZE;
  const id = copyCellId(cell);
  const shuffler = ctx.random.fork(`frames ${id}`);
  const frames = takeFrames(pools, cell, { fragments, scatterVram }, shuffler);
  const isInDevice = cell.direction === 'in-device';
  const scratchShuffler = fragments === 'contiguous' ? null : shuffler;
  const scratch = isInDevice ? pools.ram.take(cell.batch, folioPages, scratchShuffler) : undefined;
  if (frames === null || scratch === null) return null;
  return new CopyOperation(ctx.copyMachine, {
    direction: cell.direction,
    strategy: cell.strategy,
    folioPages,
    ...frames,
    ...(scratch === undefined ? {} : { scratch }),
    seed: seedFor(ctx.plan.seed, id),
    ...rest,
  });
}

/** Frames of both sides; null when a pool has no room. */
export function takeFrames(
  pools: CopyPools,
  { direction, folioBytes, batch }: Omit<CopyCell, 'strategy'>,
  how: Required<Pick<CopyOptions, 'fragments' | 'scatterVram'>>,
  shuffler: Shuffler,
): Frames | null {
  const folioPages = folioBytes / PAGE_SIZE;
  const { fragments, scatterVram } = how;
  const from = direction === 'to-device' || direction === 'in-host' ? pools.ram : pools.vram;
  const to = direction === 'to-host' || direction === 'in-host' ? pools.ram : pools.vram;
  if (fragments === 'clustered') {
    return takeFragments(from, to, { batch, folioPages, fragments }, shuffler);
  }
  const take = (pool: FramePool, side: 'sources' | 'targets'): Uint32Array | null => {
    const isScattered = fragments === 'scattered' || fragments === side;
    const mayScatter = scatterVram || pool !== pools.vram;
    return pool.take(batch, folioPages, isScattered && mayScatter ? shuffler : null);
  };
  const source = take(from, 'sources');
  const target = take(to, 'targets');
  return source === null || target === null ? null : { source, target };
}

/** How the run wants its cells: where folios lie, lists in flight, who looks at results. */
function copyOptions(ctx: RunContext): CopyOptions {
  const { fragments, channels, verify } = ctx.plan.settings;
  return { fragments, verify, lists: channels, inFlight: channels };
}

function specOf(ctx: RunContext, cell: CopyCell, operation: CopyOperation): CellSpec {
  const { fragments, ringDepth, channels, verify } = ctx.plan.settings;
  const { pages, bytes } = operation;
  // Engines of the CPU have no rings.
  const depth = ctx.copyMachine.engine.name === 'cpu' ? {} : { ringDepth };
  const params = { ...cell, pages, fragments, channels, ...depth, verify };
  const id = copyCellId(cell);
  return { suite: 'copy', id, params, unit: 'us', bytes, pages, unchecked: verify === 'off' };
}

/** What a cell takes on the device; null where nobody can tell. */
async function gpuTimeOf(
  gpuTime: GpuTime | null,
  { strategy }: CopyCell,
  operation: CopyOperation,
  { failure, samples }: Sampled,
): Promise<number | null> {
  const path = strategy === 'auto' ? operation.chosenPath() : strategy;
  // What `queue.writeBuffer` brings is in no submission.
  if (gpuTime === null || failure !== null || path === 'writeBuffer') return null;
  return gpuTime.measure(operation, median(samples));
}

/** Cells that move more than this are measured after all others. */
const LARGE_CELL_BYTES = 32 * 2 ** 20;

/** Measures all cells of the suite. Adds them to `ctx`. */
export async function runCopySuite(ctx: RunContext): Promise<void> {
  const cells = listCells(ctx);
  const order = ctx.random.fork('cell order').shuffle(Uint32Array.from(cells, (_, at) => at));
  // The largest cells last: when a busy machine uses up the run's time, it loses few of them.
  const isLarge = (at: number): number =>
    Number(cells[at]!.folioBytes * cells[at]!.batch > LARGE_CELL_BYTES);
  order.sort((a, b) => isLarge(a) - isLarge(b));
  const pools = copyPools(ctx);
  const gpuTime = GpuTime.of(ctx.copyMachine.engine);
  const begun = performance.now();
  const msLeft = (): number =>
    Math.max(ctx.msLeft, ctx.plan.copy.leastMs - (performance.now() - begun));
  let left = cells.length;
  for (const at of order) {
    const cell = cells[at]!;
    const id = copyCellId(cell);
    if (msLeft() <= 0) {
      ctx.omit(id, `the run's ${ctx.plan.runBudgetMs / 1000} s were used up`);
      left -= 1;
      continue;
    }
    await ctx.say('copy', id);
    pools.ram.reset();
    pools.vram.reset();
    const operation = takeCopy(ctx, pools, cell, copyOptions(ctx));
    if (operation === null) {
      ctx.omit(id, 'does not fit the machine');
    } else {
      const sampled = await sampleOperation(
        operation,
        boxFor(ctx, msLeft(), left),
        ctx.tickUs,
        ctx.signal,
      );
      const gpuUs = await gpuTimeOf(gpuTime, cell, operation, sampled);
      ctx.addCell({ ...specOf(ctx, cell, operation), gpuUs }, sampled);
    }
    left -= 1;
  }
  gpuTime?.close();
}
