/**
 * Batches of folios of several sizes, as they come out of an address space whose memory is partly
 * huge: of 64 folios one has 2 MiB, seven have 64 KiB and the others 4 KiB, in shuffled order, each
 * by strategy and direction. Only where a run asks for it (`--folios mix`).
 */
import { PAGE_SIZE, PMD_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import { seedFor } from './content.ts';
import { CopyOperation } from './copy-operation.ts';
import type { Direction } from './copy-operation.ts';
import { boxFor, copyPools, directionsFor, strategiesFor, takeFrames } from './copy-suite.ts';
import type { CopyPools } from './copy-suite.ts';
import type { Fragmentation } from './fragments.ts';
import type { Shuffler } from './frames.ts';
import type { RunContext } from './run-context.ts';
import { sampleOperation } from './sampler.ts';

const KIB = 1024;
/** Folios of the smallest batch that holds one of each size, and how many are of which. */
export const MIX_UNIT = 64;
const SHARES = [
  { folioBytes: PMD_SIZE, folios: 1 },
  { folioBytes: 64 * KIB, folios: 7 },
  { folioBytes: PAGE_SIZE, folios: MIX_UNIT - 8 },
] as const;

/** Pages of a mixed batch, a multiple of MIX_UNIT. */
export function mixPages(batch: number): number {
  const bytes = SHARES.reduce((sum, { folioBytes, folios }) => sum + folioBytes * folios, 0);
  return (batch / MIX_UNIT) * (bytes / PAGE_SIZE);
}

/** A mixed batch: first frames, and pages, of each folio. */
export interface MixedFrames {
  readonly source: Uint32Array;
  readonly target: Uint32Array;
  readonly folioPages: Uint32Array;
  /** RAM to check copies within VRAM with; null for other directions. */
  readonly scratch: Uint32Array | null;
}

/**
 * Takes frames for a batch; folios of a size lie as `fragments` says, largest first.
 *
 * @param batch A multiple of MIX_UNIT. @returns null when a pool has no room.
 */
export function takeMix(
  pools: CopyPools,
  direction: Direction,
  batch: number,
  fragments: Fragmentation,
  shuffler: Shuffler,
): MixedFrames | null {
  const sources: number[] = [];
  const targets: number[] = [];
  const pages: number[] = [];
  const checks: number[] = [];
  for (const { folioBytes, folios } of SHARES) {
    const folioPages = folioBytes / PAGE_SIZE;
    const count = (batch / MIX_UNIT) * folios;
    const how = { fragments, scatterVram: true };
    const frames = takeFrames(pools, { direction, folioBytes, batch: count }, how, shuffler);
    const scratch = direction === 'in-device' ? pools.ram.take(count, folioPages, null) : [];
    if (frames === null || scratch === null) return null;
    sources.push(...frames.source);
    targets.push(...frames.target);
    checks.push(...scratch);
    for (let i = 0; i < count; i++) pages.push(folioPages);
  }
  const order = Uint32Array.from(sources, (_, at) => at);
  if (fragments !== 'contiguous') shuffler.shuffle(order);
  return {
    source: order.map((at) => sources[at]!),
    target: order.map((at) => targets[at]!),
    folioPages: order.map((at) => pages[at]!),
    scratch: direction === 'in-device' ? order.map((at) => checks[at]!) : null,
  };
}

interface MixCell {
  readonly direction: Direction;
  readonly strategy: StrategyName;
  readonly batch: number;
}

/** "mix/to-device/auto/512". */
function idOf({ direction, strategy, batch }: MixCell): string {
  return `mix/${direction}/${strategy}/${batch}`;
}

function listCells(ctx: RunContext): MixCell[] {
  const { batches, isMixed = false } = ctx.plan.copy;
  if (!isMixed) return [];
  return directionsFor(ctx).flatMap((direction) =>
    strategiesFor(ctx, direction).flatMap((strategy) =>
      batches.map((batch) => ({ direction, strategy, batch })),
    ),
  );
}

/** Cells that runMixSuite() adds or leaves out. */
export function countMixCells(ctx: RunContext): number {
  return listCells(ctx).length;
}

/** Why a cell is not measured; null when it is. */
function whyNot(ctx: RunContext, { batch }: MixCell): string | null {
  const { maxCellBytes } = ctx.plan.copy;
  if (batch % MIX_UNIT !== 0) return `a mix has ${MIX_UNIT} folios, or a multiple`;
  const isLarge = mixPages(batch) * PAGE_SIZE > maxCellBytes;
  return isLarge ? `moves more than ${maxCellBytes / 2 ** 20} MiB` : null;
}

function takeCell(ctx: RunContext, pools: CopyPools, cell: MixCell): CopyOperation | null {
  const { fragments, channels, verify } = ctx.plan.settings;
  const { direction, strategy, batch } = cell;
  const id = idOf(cell);
  const shuffler = ctx.random.fork(`frames ${id}`);
  const frames = takeMix(pools, direction, batch, fragments, shuffler);
  if (frames === null) return null;
  const { scratch, ...both } = frames;
  return new CopyOperation(ctx.copyMachine, {
    direction,
    strategy,
    ...both,
    ...(scratch === null ? {} : { scratch }),
    seed: seedFor(ctx.plan.seed, id),
    lists: channels,
    inFlight: channels,
    verify,
  });
}

/** Measures all mixed batches that the run asks for. Adds their cells to `ctx`. */
export async function runMixSuite(ctx: RunContext): Promise<void> {
  const cells = listCells(ctx);
  const order = ctx.random.fork('mix order').shuffle(Uint32Array.from(cells, (_, at) => at));
  const pools = copyPools(ctx);
  let left = cells.length;
  for (const at of order) {
    const cell = cells[at]!;
    const id = idOf(cell);
    await ctx.say('copy', id);
    pools.ram.reset();
    pools.vram.reset();
    const why = whyNot(ctx, cell);
    const operation = why === null ? takeCell(ctx, pools, cell) : null;
    if (operation === null) ctx.omit(id, why ?? 'does not fit the machine');
    else {
      const box = boxFor(ctx, ctx.msLeft, left);
      const sampled = await sampleOperation(operation, box, ctx.tickUs, ctx.signal);
      const { pages, bytes } = operation;
      const { fragments, channels, verify } = ctx.plan.settings;
      const params = { ...cell, folios: 'mix', pages, fragments, channels, verify };
      const unchecked = verify === 'off';
      ctx.addCell({ suite: 'copy', id, params, unit: 'us', bytes, pages, unchecked }, sampled);
    }
    left -= 1;
  }
}
