/**
 * G7, the first page of a large batch: what a reviewer of the kernel's batch copies asked for. A
 * migration of 4096 pages in the driver's own windows, the same in one batch that is not split, and
 * of one page alone, interleaved on the same range.
 */
import { PAGE_RAM } from '../src/index.ts';
import { judge } from './goal-parts.ts';
import { withProcess } from './migrate-suite.ts';
import type { MigratingProcess } from './migrate-suite.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { pairedRatio } from './stats.ts';

const PAGES = 4096;
const WARMUPS = 2;
const MAX_FIRST = 1.5;
const MAX_TOTAL = 1.15;
const SIDES = ['one page', 'windows', 'one batch'] as const;

/** Cells that runEarlyGoals() adds: the three sides, and the first pages of the windows. */
export const EARLY_CELLS = SIDES.length + 1;

/** Measures G7. Adds its cells and result to `ctx`. */
export async function runEarlyGoals(ctx: RunContext): Promise<void> {
  await ctx.say('migrate', 'G7 first page of a large batch');
  const firsts: number[] = [];
  let results: Sampled[] = [];
  await withProcess(ctx, PAGES, 'goal/G7', async (subject) => {
    const operations = [
      migration(subject, 1, 0, []),
      migration(subject, PAGES, 0, firsts),
      migration(subject, PAGES, PAGES, []),
    ];
    const { minPairs, maxPairs, budgetMs } = ctx.plan.goals;
    const rounds = (roundMs: number): number =>
      Math.max(minPairs, Math.min(maxPairs, Math.floor(budgetMs / roundMs)));
    const shuffler = ctx.random.fork('G7 order');
    const order = (roundMs: number): number[] =>
      Array.from({ length: rounds(roundMs) }, () => [
        ...shuffler.shuffle(Uint32Array.from(operations, (_, at) => at)),
      ]).flat();
    results = await interleave(operations, order, WARMUPS, ctx.signal);
    const wrong = await verify(subject);
    for (const result of results) result.failure ??= wrong;
    return results[0]!;
  });
  if (results.length === 0) return;
  report(ctx, results, firsts.slice(WARMUPS));
}

/** A migration to the device; what the last one took comes home first. */
function migration(
  subject: MigratingProcess,
  pages: number,
  batch: number,
  firsts: number[],
): Operation {
  return {
    prepare: async () => {
      const errno = await subject.migrate('MIGRATE_TO_SYS');
      if (errno !== 0) throw new OperationFailure(`MIGRATE_TO_SYS answered errno ${errno}`);
    },
    run: async () => {
      const { errno, firstMs } = await subject.toDevice(pages, batch);
      firsts.push(firstMs * 1000);
      return errno;
    },
  };
}

async function verify(subject: MigratingProcess): Promise<string | null> {
  await subject.addOnDevice();
  await subject.migrate('MIGRATE_TO_SYS');
  await subject.expectAll(PAGE_RAM);
  return subject.compare();
}

function report(ctx: RunContext, results: readonly Sampled[], firsts: number[]): void {
  const add = (name: string, pages: number, sampled: Sampled): void => {
    const params = { direction: 'to-device', batch: pages, pages, strategy: 'auto', split: name };
    const id = `goal/G7/${name.replaceAll(' ', '-')}`;
    ctx.addCell({ suite: 'migrate', id, params, unit: 'us', bytes: 0, pages }, sampled);
  };
  SIDES.forEach((name, i) => add(name, i === 0 ? 1 : PAGES, results[i]!));
  const [one, windows, batch] = results;
  add('first pages', PAGES, { ...windows!, samples: firsts, phases: null });
  if (results.some(({ failure }) => failure !== null)) return;
  const first = pairedRatio(firsts, one!.samples, ctx.resampling);
  const total = pairedRatio(windows!.samples, batch!.samples, ctx.resampling);
  ctx.goals.push({
    id: 'G7',
    parts: [
      judge('first page of 4096 over a page alone', first, '<=', MAX_FIRST),
      judge('4096 pages in windows over one batch', total, '<=', MAX_TOTAL),
    ],
  });
}
