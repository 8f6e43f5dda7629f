/**
 * Measures what a published table shows. A cell says in `path` which row of our table it is, and
 * in `column` which column.
 */
import { PAGE_SIZE, PMD_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import { copyPools, fixedStrategies, takeCopy } from './copy-suite.ts';
import type { CopyOperation, Direction } from './copy-operation.ts';
import { shortBytes } from './format.ts';
import { halfCycle, renameOther, withProcess } from './migrate-suite.ts';
import {
  MATRIX_DIRECTIONS,
  OFFLOAD_CHANNELS,
  OFFLOAD_FOLIOS,
  PRESETS,
  THP_SIZES,
  offloadPath,
} from './presets.ts';
import type { RunContext } from './run-context.ts';
import { interleave, sampleOperation } from './sampler.ts';
import type { Sampled } from './sampler.ts';
import { roundsIn, shuffledRounds } from './goal-runs.ts';
import type { BenchCell, PresetName } from './types.ts';

const WAYS = [
  ['to-device', 'to the device'],
  ['to-host', 'home'],
] as const;

/** Measures one preset. Adds its cells to `ctx`. */
export async function runPreset(ctx: RunContext, preset: PresetName): Promise<void> {
  const runs: Readonly<Record<PresetName, (ctx: RunContext) => Promise<void>>> = {
    'dma-offload': runOffload,
    'thp-migration': runThp,
    nvbandwidth: runMatrix,
    'xe-phases': runPhases,
  };
  await runs[preset](ctx);
}

/** Cells that a preset adds. */
export function countPresetCells(preset: PresetName): number {
  const counts: Readonly<Record<PresetName, number>> = {
    'dma-offload': OFFLOAD_FOLIOS.length * (1 + OFFLOAD_CHANNELS.length),
    'thp-migration': THP_SIZES.length * 4,
    nvbandwidth: MATRIX_DIRECTIONS.length * 2,
    'xe-phases': 2,
  };
  return counts[preset];
}

/** A copy that is a cell of a preset's table. */
interface PresetCopy {
  readonly id: string;
  readonly params: BenchCell['params'];
  readonly operation: CopyOperation;
}

/** All copies of one column in turn, so that a slow minute falls on all rows alike. */
async function measureCopies(ctx: RunContext, copies: readonly PresetCopy[]): Promise<void> {
  const { minPairs, maxPairs, budgetMs } = ctx.plan.goals;
  const box = { minPairs, maxPairs, budgetMs: budgetMs / 2 };
  const rounds = shuffledRounds(ctx, copies.length, copies[0]?.id ?? '');
  const operations = copies.map(({ operation }) => operation);
  const order = (roundMs: number): number[] => rounds(roundsIn(box, roundMs));
  const results = await interleave(operations, order, 1, ctx.signal);
  copies.forEach(({ id, params, operation }, i) => {
    const { bytes, pages } = operation;
    const spec = { suite: 'copy' as const, id, params: { ...params, pages }, unit: 'us' as const };
    ctx.addCell({ ...spec, bytes, pages }, results[i]!);
  });
}

function fitsStrategy(ctx: RunContext, direction: Direction, name: StrategyName): boolean {
  return ctx.copyMachine.engine.name === 'cpu' || fixedStrategies(ctx, direction).includes(name);
}

async function runOffload(ctx: RunContext): Promise<void> {
  for (const folioBytes of OFFLOAD_FOLIOS) {
    await ctx.say('copy', `dma-offload ${shortBytes(folioBytes)}`);
    const batch = Math.max(1, Math.floor(ctx.plan.presetBytes / folioBytes));
    const pools = copyPools(ctx);
    const copies = [0, ...OFFLOAD_CHANNELS].flatMap((channels): PresetCopy[] => {
      // All rows use the same RAM and, one after the other, the same VRAM.
      pools.ram.reset();
      pools.vram.reset();
      const direction = channels === 0 ? 'in-host' : 'to-device';
      const strategy = channels === 0 ? 'cpu' : 'auto';
      const listFolios = Math.max(1, Math.min(512, Math.ceil(batch / 16)));
      const options = { listFolios, inFlight: Math.max(1, channels), scatterVram: false };
      const operation = takeCopy(ctx, pools, { direction, strategy, folioBytes, batch }, options);
      const path = offloadPath(channels);
      const id = `preset/dma-offload/${channels}/${folioBytes}`;
      if (operation === null) ctx.omit(id, 'does not fit the machine');
      const column = shortBytes(folioBytes);
      const params = { direction, strategy, folioBytes, batch, channels, path, column };
      return operation === null ? [] : [{ id, params, operation }];
    });
    await measureCopies(ctx, copies);
  }
}

async function runMatrix(ctx: RunContext): Promise<void> {
  const bytes = ctx.plan.presetBytes;
  for (const [i, direction] of MATRIX_DIRECTIONS.entries()) {
    await ctx.say('copy', `nvbandwidth ${direction}`);
    const column = PRESETS.nvbandwidth.columns[i]!;
    const rows = [
      ['copy commands (CE)', 'runs'],
      ['kernels (SM)', 'compute'],
    ] as const;
    const copies = rows.flatMap(([path, name]): PresetCopy[] => {
      if (!fitsStrategy(ctx, direction, name)) return [];
      const strategy = ctx.copyMachine.engine.name === 'cpu' ? 'cpu' : name;
      const pools = copyPools(ctx);
      const cell = { direction, strategy, folioBytes: bytes, batch: 1 } as const;
      const operation = takeCopy(ctx, pools, cell, { fragments: 'contiguous' });
      const id = `preset/nvbandwidth/${direction}/${name}`;
      if (operation === null) ctx.omit(id, 'does not fit the machine');
      const params = { ...cell, path, column };
      return operation === null ? [] : [{ id, params, operation }];
    });
    // Copies of one direction share frames, and those out of VRAM keep content there: one by one.
    for (const copy of copies) await measureCopies(ctx, [copy]);
  }
}

/** Whole migrations of a range, large folios or single pages. */
async function measureRange(
  ctx: RunContext,
  id: string,
  params: BenchCell['params'],
  range: { readonly pages: number; readonly huge: boolean; readonly way: 'to-device' | 'to-host' },
): Promise<void> {
  const { pages, huge, way } = range;
  const { box } = ctx.plan.migrate;
  const work = async (): Promise<Sampled> =>
    withProcess(
      ctx,
      pages,
      id,
      (subject) => sampleOperation(halfCycle(ctx, subject, way), box, 0, ctx.signal),
      huge,
    );
  const sampled = await work();
  const spec = { suite: 'migrate' as const, id, params, unit: 'us' as const };
  ctx.addCell({ ...spec, bytes: pages * PAGE_SIZE, pages }, renameOther(sampled));
}

async function runThp(ctx: RunContext): Promise<void> {
  for (const bytes of THP_SIZES) {
    for (const huge of [true, false]) {
      for (const [way, named] of WAYS) {
        const id = `preset/thp-migration/${huge ? 'thp' : 'pages'}/${way}/${bytes}`;
        if (bytes > ctx.plan.presetBytes) {
          ctx.omit(id, `moves more than ${ctx.plan.presetBytes / 2 ** 20} MiB`);
          continue;
        }
        await ctx.say('migrate', id);
        const path = `${huge ? 'THP' : '4 KiB pages'} ${named}`;
        const params = { direction: way, path, column: shortBytes(bytes) };
        await measureRange(ctx, id, params, { pages: bytes / PAGE_SIZE, huge, way });
      }
    }
  }
}

async function runPhases(ctx: RunContext): Promise<void> {
  for (const [i, huge] of [false, true].entries()) {
    const column = PRESETS['xe-phases'].columns[i]!;
    const id = `preset/xe-phases/${huge ? 'folio' : 'pages'}`;
    await ctx.say('migrate', id);
    const params = { direction: 'to-device', path: 'migrate', column };
    const pages = PMD_SIZE / PAGE_SIZE;
    await measureRange(ctx, id, params, { pages, huge, way: 'to-device' });
  }
}
