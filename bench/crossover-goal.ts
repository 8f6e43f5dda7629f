/**
 * G20, the crossover: from which size and batch on offload wins over a CPU copy. What is copied
 * lies in RAM and ends in RAM, which is also where coherent device memory lies; so offload pays a
 * transfer to the device and one back. The CPU's side is this thread alone.
 */
import { CommandList, PAGE_SIZE } from '../src/index.ts';
import { checkPage, fillPage, poisonPage, seedFor } from './content.ts';
import type { CopyMachine } from './copy-operation.ts';
import { copyPools } from './copy-suite.ts';
import { takeFragments } from './fragments.ts';
import type { Frames } from './fragments.ts';
import { formatBytes, formatNumber } from './format.ts';
import { judge } from './goal-parts.ts';
import { compareSides, twoSided } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import type { RunContext } from './run-context.ts';
import type { Operation } from './sampler.ts';
import { pairedRatio } from './stats.ts';
import type { Estimate } from './stats.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const BOX = { minPairs: 15, maxPairs: 60 };

/** Time of offload over that of the CPU in one cell. */
export interface CrossoverCell {
  readonly folioBytes: number;
  readonly batch: number;
  readonly ratio: Estimate;
}

function listCells(ctx: RunContext): { folioBytes: number; batch: number }[] {
  const { folios, batches, maxCellBytes } = ctx.plan.goals.crossover;
  return folios.flatMap((folioBytes) =>
    batches
      .filter((batch) => batch * folioBytes <= maxCellBytes)
      .map((batch) => ({ folioBytes, batch })),
  );
}

/** Cells that runCrossoverGoal() adds: two sides each. */
export function countCrossoverCells(ctx: RunContext): number {
  return 2 * listCells(ctx).length;
}

/** Measures G20. Adds its cells and result to `ctx`. */
export async function runCrossoverGoal(ctx: RunContext): Promise<void> {
  const grid = listCells(ctx);
  const cells: CrossoverCell[] = [];
  for (const { folioBytes, batch } of grid) {
    await ctx.say('goals', `G20 ${folioBytes} x ${batch}`);
    const ratio = await measureCell(ctx, folioBytes, batch);
    if (ratio !== null) cells.push({ folioBytes, batch, ratio });
  }
  if (cells.length === 0) return;
  const value = cells.length / grid.length;
  const named = `RAM to RAM, one CPU thread: ${crossoverText(cells)}`;
  const what = `${named}; share of cells timed both ways`;
  ctx.goals.push({ id: 'G20', parts: [judge(what, { value, ci: [value, value] }, '>=', 1)] });
}

/**
 * Names for each folio size the batch from which offload wins, meaning that the whole interval of
 * its ratio is below 1 there and in all larger batches.
 */
export function crossoverText(cells: readonly CrossoverCell[]): string {
  const sizes = [...new Set(cells.map(({ folioBytes }) => folioBytes))];
  const wins = sizes.flatMap((size) => {
    const row = cells.filter(({ folioBytes }) => folioBytes === size);
    const lost = row.findLastIndex(({ ratio }) => ratio.ci[1] >= 1);
    const first = row[lost + 1];
    return first === undefined ? [] : [`${formatBytes(size)} from a batch of ${first.batch} on`];
  });
  if (wins.length > 0) return `offload wins with ${wins.join(', ')}`;
  const nearest = cells.toSorted((a, b) => a.ratio.value - b.ratio.value)[0]!;
  const { folioBytes, batch, ratio } = nearest;
  const where = `${formatBytes(folioBytes)} x ${batch}`;
  return `offload never wins; nearest ${where}, ${formatNumber(ratio.value)} x the CPU's time`;
}

async function measureCell(
  ctx: RunContext,
  folioBytes: number,
  batch: number,
): Promise<Estimate | null> {
  const folioPages = folioBytes / PAGE_SIZE;
  const pages = batch * folioPages;
  const name = `goal/G20/${folioBytes}/${batch}`;
  const pools = copyPools(ctx);
  const shape = { batch, folioPages, fragments: 'scattered' as const };
  const frames = takeFragments(pools.ram, pools.ram, shape, ctx.random.fork(name));
  const through = pools.vram.take(batch, folioPages, null);
  if (frames === null || through === null) {
    ctx.omit(name, 'does not fit the machine');
    return null;
  }
  const given = {
    machine: ctx.copyMachine,
    frames,
    folioPages,
    seed: seedFor(ctx.plan.seed, name),
  };
  const side = (via: 'cpu' | 'offload', operation: Operation): Side => ({
    name: `goal/G20/${via}/${folioBytes}/${batch}`,
    params: { direction: 'in-host', via, threads: 1, folioBytes, batch, pages },
    operation,
    bytes: pages * PAGE_SIZE,
    pages,
  });
  const sides = [side('offload', roundTrip(given, through)), side('cpu', roundTrip(given, null))];
  const box = { ...BOX, budgetMs: ctx.plan.goals.crossover.cellMs };
  const results = await compareSides(ctx, sides, twoSided, box);
  if (results === null) return null;
  return pairedRatio(results[0]!.samples, results[1]!.samples, ctx.resampling);
}

interface Given {
  readonly machine: CopyMachine;
  readonly frames: Frames;
  readonly folioPages: number;
  readonly seed: number;
}

/** A copy of RAM to RAM by way of device frames, or by this thread where there are none. */
function roundTrip(given: Given, through: Uint32Array | null): Operation {
  const { machine, frames, folioPages, seed } = given;
  const { source, target } = frames;
  const words = machine.ramWords;
  const stray = machine.strayErrors();
  const record = (from: Uint32Array, to: Uint32Array): CommandList => {
    const list = new CommandList(from.length);
    from.forEach((frame, i) => list.copy(frame, to[i]!, folioPages));
    return list;
  };
  const lists =
    through === null
      ? [record(source, target)]
      : [record(source, through), record(through, target)];
  const strategy = through === null ? 'cpu' : 'auto';
  let iteration = 0;
  const each = (heads: Uint32Array, visit: (at: number, page: number) => void): void => {
    for (let page = 0; page < heads.length * folioPages; page++) {
      const frame = heads[Math.floor(page / folioPages)]! + (page % folioPages);
      visit(frame * WORDS_PER_PAGE, page);
    }
  };
  return {
    prepare: () => {
      iteration += 1;
      each(source, (at, page) => fillPage(words, at, seed, iteration, page));
      each(target, (at) => poisonPage(words, at));
    },
    run: async () => {
      for (const list of lists) {
        const status = await machine.engine.submit(list, strategy);
        if (status !== 0) return status;
      }
      return 0;
    },
    verify: () => {
      let wrong: string | null = null;
      each(target, (at, page) => {
        const word = checkPage(words, at, seed, iteration, page, 0);
        if (word >= 0) wrong ??= `page ${page} is wrong from word ${word} on`;
      });
      const errors = machine.strayErrors() - stray;
      return errors > 0 ? `${errors} uncaptured GPU errors` : wrong;
    },
  };
}
