/**
 * G1, path regret: what `auto` loses against the best fixed path, cell by cell, over folio sizes,
 * batches, fragmentations and directions.
 *
 * All paths of a cell copy the same frames. First the fixed paths run in turn, and the fastest is
 * picked; a path that is hopeless after three rounds is dropped. Then `auto` and the picked path
 * run in pairs of their own, so that picking the luckiest of five does not count against `auto`.
 */
import { PAGE_SIZE } from '../src/index.ts';
import type { StrategyName } from '../src/index.ts';
import { seedFor } from './content.ts';
import { CopyOperation } from './copy-operation.ts';
import type { Direction } from './copy-operation.ts';
import { copyPools, fixedStrategies } from './copy-suite.ts';
import { takeFragments } from './fragments.ts';
import type { Fragments } from './fragments.ts';
import { judge } from './goal-parts.ts';
import { roundsIn, shuffledRounds, twoSided } from './goal-runs.ts';
import { bestPath, isWithin, shareWithin, worstCell } from './path-regret.ts';
import type { CellRegret } from './path-regret.ts';
import type { RunContext } from './run-context.ts';
import { interleave } from './sampler.ts';
import type { Sampled } from './sampler.ts';
import { median, pairedRatio } from './stats.ts';
import type { BenchCell, GoalPart } from './types.ts';

const MAX_REGRET = 1.1;
const MIN_SHARE = 0.95;
const MAX_WORST = 1.25;
/** Rounds over all fixed paths, and pairs afterwards. */
const ROUNDS = { minPairs: 5, maxPairs: 15 };
const PAIRS = { minPairs: 15, maxPairs: 60 };
/** A path slower than the fastest by this in the first rounds is not measured further. */
const HOPELESS = 3;
const SCOUTS = 3;

/** A combination in which paths are compared. */
interface RegretCell {
  readonly direction: Direction;
  readonly fragments: Fragments;
  readonly folioBytes: number;
  readonly batch: number;
}

function idOf({ direction, fragments, folioBytes, batch }: RegretCell): string {
  return `goal/G1/${direction}/${fragments}/${folioBytes}/${batch}`;
}

/** The grid; a batch of one folio has no fragmentation. */
function listCells(ctx: RunContext): RegretCell[] {
  const { directions, fragments, folios, batches, maxCellBytes } = ctx.plan.goals.regret;
  return directions.flatMap((direction) =>
    folios.flatMap((folioBytes) =>
      batches
        .filter((batch) => batch * folioBytes <= maxCellBytes)
        .flatMap((batch) =>
          (batch === 1 ? fragments.slice(-1) : fragments).map((how) => ({
            direction,
            fragments: how,
            folioBytes,
            batch,
          })),
        ),
    ),
  );
}

/** Cells that runRegretGoal() adds, about: `auto` and each fixed path. */
export function countRegretCells(ctx: RunContext): number {
  return listCells(ctx).reduce(
    (sum, { direction }) => sum + 1 + fixedStrategies(ctx, direction).length,
    0,
  );
}

/** Measures G1. Adds its cells and result to `ctx`. Needs a WebGPU engine. */
export async function runRegretGoal(ctx: RunContext): Promise<void> {
  const { maxCellBytes } = ctx.plan.goals.regret;
  const cells = listCells(ctx);
  const order = ctx.random.fork('G1 order').shuffle(Uint32Array.from(cells, (_, at) => at));
  const measured: CellRegret[] = [];
  for (const at of order) {
    const cell = cells[at]!;
    if (ctx.msLeftForLast <= 0) {
      ctx.omit(idOf(cell), `the run's ${ctx.plan.lastBudgetMs / 1000} s were used up`);
      continue;
    }
    await ctx.say('goals', `G1 ${idOf(cell)}`);
    const regret = await measureCell(ctx, cell);
    if (regret !== null) measured.push(regret);
  }
  if (measured.length === 0) return;
  ctx.goals.push({ id: 'G1', parts: regretParts(ctx, measured, maxCellBytes) });
}

function regretParts(
  ctx: RunContext,
  measured: readonly CellRegret[],
  maxCellBytes: number,
): GoalPart[] {
  const share = shareWithin(measured, MAX_REGRET, ctx.resampling);
  const worst = worstCell(measured);
  const cells = `${measured.length} cells up to ${maxCellBytes / 2 ** 20} MiB`;
  const what = `share of ${cells} where auto is within ${MAX_REGRET} of the best path`;
  const over = `worst cell, ${worst.id.slice('goal/G1/'.length)}: auto over ${worst.best}`;
  const part = judge(over, worst.regret, '<=', MAX_WORST);
  // A cell counts as a miss only when its interval lies above the bound.
  return [judge(what, share, '>=', MIN_SHARE), { ...part, holds: isWithin(worst, MAX_WORST) }];
}

async function measureCell(ctx: RunContext, cell: RegretCell): Promise<CellRegret | null> {
  const id = idOf(cell);
  const copy = takeCell(ctx, cell);
  if (copy === null) {
    ctx.omit(id, 'does not fit the machine');
    return null;
  }
  const half = ctx.plan.goals.regret.cellMs / 2;
  const names = fixedStrategies(ctx, cell.direction);
  const fixed = await measureFixed(ctx, id, copy, names, half);
  names.forEach((name, i) => addCell(ctx, cell, copy, name, fixed[i]!));
  const best = bestPath(fixed.map(({ samples, failure }) => (failure === null ? samples : [])));
  if (best < 0) return null;
  const name = names[best]!;
  const pairs = (roundMs: number): number[] =>
    twoSided(roundsIn({ ...PAIRS, budgetMs: half }, roundMs));
  const sides = [copy.by('auto'), copy.by(name)];
  const [auto, again] = (await interleave(sides, pairs, 1, ctx.signal)) as [Sampled, Sampled];
  const failure = auto.failure ?? again.failure;
  const regret = pairedRatio(auto.samples, again.samples, ctx.resampling);
  const chosen = copy.chosenPath();
  const found = { best: name, regret: regret.value, atLeast: regret.ci[0], atMost: regret.ci[1] };
  // Times below the clock's tick have no ratio.
  const isTimed = failure === null && [regret.value, ...regret.ci].every(Number.isFinite);
  const about = { ...(chosen === null ? {} : { chosen }), ...(isTimed ? found : {}) };
  addCell(ctx, cell, copy, 'auto', { ...auto, failure }, about);
  return failure === null ? { id, best: name, regret } : null;
}

function takeCell(ctx: RunContext, cell: RegretCell): CopyOperation | null {
  const { direction, fragments, folioBytes, batch } = cell;
  const folioPages = folioBytes / PAGE_SIZE;
  const pools = copyPools(ctx);
  const from = direction === 'to-device' ? pools.ram : pools.vram;
  const to = direction === 'to-host' ? pools.ram : pools.vram;
  const shape = { batch, folioPages, fragments };
  const frames = takeFragments(from, to, shape, ctx.random.fork(idOf(cell)));
  const scratch = direction === 'in-device' ? pools.ram.take(batch, folioPages, null) : undefined;
  if (frames === null || scratch === null) return null;
  const seed = seedFor(ctx.plan.seed, idOf(cell));
  const rest = scratch === undefined ? {} : { scratch };
  const spec = { direction, strategy: 'auto' as const, folioPages, ...frames, ...rest, seed };
  return new CopyOperation(ctx.copyMachine, spec);
}

/** Samples of each fixed path, in turn; of hopeless ones only the first. */
async function measureFixed(
  ctx: RunContext,
  id: string,
  copy: CopyOperation,
  names: readonly StrategyName[],
  budgetMs: number,
): Promise<Sampled[]> {
  const operations = names.map((name) => copy.by(name));
  const order = shuffledRounds(ctx, names.length, `${id} paths`);
  const scouted = await interleave(operations, () => order(SCOUTS), 1, ctx.signal);
  const times = scouted.map(({ samples }) => median(samples));
  const least = Math.min(...times.filter((time) => !Number.isNaN(time)));
  const left = names.map((_, at) => at).filter((at) => times[at]! <= HOPELESS * least);
  if (left.length < 2) return scouted;
  const again = shuffledRounds(ctx, left.length, `${id} best paths`);
  const inTime = (roundMs: number): number[] => again(roundsIn({ ...ROUNDS, budgetMs }, roundMs));
  const few = left.map((at) => operations[at]!);
  const results = await interleave(few, inTime, 1, ctx.signal);
  return scouted.map((one, at) => results[left.indexOf(at)] ?? one);
}

function addCell(
  ctx: RunContext,
  cell: RegretCell,
  copy: CopyOperation,
  strategy: StrategyName,
  sampled: Sampled,
  about: BenchCell['params'] = {},
): void {
  const { bytes, pages } = copy;
  const params: BenchCell['params'] = { ...cell, strategy, pages, ...about };
  const id = `${idOf(cell)}/${strategy}`;
  ctx.addCell({ suite: 'copy', id, params, unit: 'us', bytes, pages }, sampled);
}
