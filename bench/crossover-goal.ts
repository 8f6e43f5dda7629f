/**
 * G20, the crossover: from which size and batch on offload wins over a CPU copy. What is copied
 * lies in RAM and ends in RAM, which is also where coherent device memory lies; so offload pays a
 * transfer to the device and one back. The CPU's side are 1 to N threads; which number of them is
 * the best of a cell is decided by every other sample, and the ratio comes from the rest.
 */
import { CommandList, PAGE_SIZE } from '../src/index.ts';
import type { HostCopiers } from '../src/index.ts';
import { checkPage, fillPage, poisonPage, seedFor } from './content.ts';
import type { CopyMachine } from './copy-operation.ts';
import { copyPools } from './copy-suite.ts';
import { takeFragments } from './fragments.ts';
import type { Frames } from './fragments.ts';
import { formatBytes, formatNumber } from './format.ts';
import { judge } from './goal-parts.ts';
import { compareSides, shuffledRounds } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { bestPath } from './path-regret.ts';
import type { RunContext } from './run-context.ts';
import type { Operation } from './sampler.ts';
import { pairedRatio } from './stats.ts';
import type { Estimate } from './stats.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
/** Half of them choose the number of threads. */
const BOX = { minPairs: 30, maxPairs: 80 };

/** Time of offload over that of the CPU's best number of threads in one cell. */
export interface CrossoverCell {
  readonly folioBytes: number;
  readonly batch: number;
  /** The CPU's best number of threads. */
  readonly threads: number;
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

/** How many threads copy: 1, 2, 4, ... and all that there are. */
export function threadCounts(most: number): number[] {
  const counts: number[] = [];
  for (let count = 1; count < most; count *= 2) counts.push(count);
  return [...counts, most];
}

/** Cells that runCrossoverGoal() adds: offload and each number of threads. */
export function countCrossoverCells(ctx: RunContext): number {
  return (1 + threadCounts(ctx.plan.copyThreads).length) * listCells(ctx).length;
}

/** Measures G20. Adds its cells and result to `ctx`. */
export async function runCrossoverGoal(ctx: RunContext): Promise<void> {
  const grid = listCells(ctx);
  const cells: CrossoverCell[] = [];
  for (const { folioBytes, batch } of grid) {
    await ctx.say('goals', `G20 ${folioBytes} x ${batch}`);
    const measured = await measureCell(ctx, folioBytes, batch);
    if (measured !== null) cells.push({ folioBytes, batch, ...measured });
  }
  if (cells.length === 0) return;
  const value = cells.length / grid.length;
  const counts = threadCounts(ctx.copyMachine.engine.hostCopiers?.threads ?? 1);
  const against =
    counts.length === 1 ? 'one CPU thread' : `the best of ${counts.join(', ')} threads`;
  const named = `RAM to RAM against ${against}: ${crossoverText(cells)}`;
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
  const time = `${formatNumber(ratio.value)} x the time of ${threadText(nearest.threads)}`;
  return `offload never wins; nearest ${where}, ${time}`;
}

function threadText(threads: number): string {
  return threads === 1 ? 'one CPU thread' : `${threads} CPU threads`;
}

async function measureCell(
  ctx: RunContext,
  folioBytes: number,
  batch: number,
): Promise<Pick<CrossoverCell, 'threads' | 'ratio'> | null> {
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
  const crew = ctx.copyMachine.engine.hostCopiers;
  const counts = threadCounts(crew?.threads ?? 1);
  const side = (via: string, threads: number, operation: Operation): Side => ({
    name: name.replace('G20', `G20/${via}`),
    params: { direction: 'in-host', via, threads, folioBytes, batch, pages },
    operation,
    bytes: pages * PAGE_SIZE,
    pages,
  });
  const sides = [side('offload', 1, roundTrip(given, through))];
  for (const threads of counts) {
    const alone = withThreads(crew, threads, roundTrip(given, null));
    sides.push(side(threads === 1 ? 'cpu' : `cpu-${threads}`, threads, alone));
  }
  const box = { ...BOX, budgetMs: ctx.plan.goals.crossover.cellMs };
  const results = await compareSides(ctx, sides, shuffledRounds(ctx, sides.length, name), box);
  if (results === null) return null;
  const [offload, ...cpu] = results.map(({ samples }) => samples);
  const best = bestPath(cpu.map((samples) => everyOther(samples, 0)));
  const [ours, theirs] = [everyOther(offload!, 1), everyOther(cpu[best]!, 1)];
  return { threads: counts[best]!, ratio: pairedRatio(ours, theirs, ctx.resampling) };
}

/** Samples 0, 2, 4, ... or 1, 3, 5, ... */
function everyOther(samples: readonly number[], first: 0 | 1): number[] {
  return samples.filter((_, i) => i % 2 === first);
}

/** The operation with so many threads that copy within RAM; afterwards it is one again. */
export function withThreads(
  crew: HostCopiers | undefined,
  threads: number,
  operation: Operation,
): Operation {
  if (crew === undefined) return operation;
  return {
    ...operation,
    run: () => {
      crew.active = threads;
      const status = operation.run();
      crew.active = 1;
      return status;
    },
  };
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
