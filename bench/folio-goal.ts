/**
 * G13, large folios: a folio of 2 MiB against 512 pages of 4 KiB, bookkeeping alone and whole
 * migrations. Limits are sampled beside both: bookkeeping of a folio can't be cheaper than a bare
 * loop that does nothing but exchange its entry; and a whole migration of a folio can't be faster
 * than a bare upload of as many bytes under the same circumstances.
 */
import { PAGE_DEVICE, PAGE_RAM, PAGE_SIZE, PMD_SIZE } from '../src/index.ts';
import { BareFolios } from './bare-folio.ts';
import { seedFor } from './content.ts';
import { judge, limitOf, withLimit } from './goal-parts.ts';
import { compareSides, shuffledRounds } from './goal-runs.ts';
import type { Side } from './goal-runs.ts';
import { MigratingProcess } from './migrate-suite.ts';
import { NullFolioMigration, mapHugeRange } from './null-folios.ts';
import { NullMigration, WINDOW, mapRange } from './null-migration.ts';
import type { Range } from './null-migration.ts';
import type { RawGpu } from './raw-gpu.ts';
import { contiguousUpload } from './raw-upload.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure } from './sampler.ts';
import type { Operation } from './sampler.ts';
import { pairedRatio } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Folios, and windows of as many pages, of one sample of bookkeeping. */
const FOLIOS = 4;
/** Round trips of the folios in one sample, so that it is long against the clock's tick. */
const REPEATED = 16;
/** Samples that are thrown away before. */
const COMPILED = 50;
const MAX_BOOKKEEPING = 1 / 50;
const MIN_WHOLE = 3;
/** Times as many pairs of whole migrations as of other comparisons: answers come at two speeds. */
const WHOLE_TIMES = 3;

/** Cells that runFolioGoal() adds. */
export const FOLIO_CELLS = 3 + 3;

/** Measures G13. Adds its cells and result to `ctx`. */
export async function runFolioGoal(ctx: RunContext, raw: RawGpu): Promise<void> {
  await ctx.say('migrate', 'G13 bookkeeping of large folios');
  const bookkeeping = await measureBookkeeping(ctx);
  await ctx.say('migrate', 'G13 whole migrations of a large folio');
  const whole = await measureWhole(ctx, raw);
  if (bookkeeping === null || whole === null) return;
  ctx.goals.push({ id: 'G13', parts: [bookkeeping, whole] });
}

/** Bookkeeping of a range both ways, in one sample, and where the range is. */
interface Bookkept {
  readonly name: string;
  readonly params: Side['params'];
  readonly range: Pick<Range, 'process' | 'mm'>;
  readonly start: number;
  readonly pages: number;
  readonly run: () => void;
}

/** Folios, and as many windows of single pages. */
async function bookkept(ctx: RunContext): Promise<Bookkept[]> {
  const { machine } = ctx;
  const huge = await mapHugeRange(machine, FOLIOS);
  const single = await mapRange(machine, FOLIOS * WINDOW);
  const folios = new NullFolioMigration(machine, huge);
  const windows = new NullMigration(machine, single.vma);
  const repeated = (once: () => void) => () => {
    for (let i = 0; i < REPEATED; i++) once();
  };
  const pages = FOLIOS * WINDOW;
  return [
    {
      name: 'folios',
      params: { folioBytes: PMD_SIZE, batch: FOLIOS * REPEATED },
      range: huge,
      start: huge.start,
      pages,
      run: repeated(() => {
        folios.run('toDevice');
        folios.run('toRam');
      }),
    },
    {
      name: 'pages',
      params: { folioBytes: PAGE_SIZE, batch: pages },
      range: single,
      start: single.vma.vmStart,
      pages,
      run: () => windows.roundTrips(FOLIOS),
    },
  ];
}

function bookkeepingSide({ name, params, range, start, pages, run }: Bookkept): Side {
  return {
    name: `goal/G13/bookkeeping/${name}`,
    params: { ...params, copier: 'none', direction: 'both ways' },
    operation: {
      run: () => {
        run();
        return 0;
      },
      verify: async () => {
        const codes = await range.process.pageMap(start, pages);
        return codes.every((code) => code === PAGE_RAM) ? null : 'a page did not come home';
      },
    },
    bytes: 0,
    pages: 0,
  };
}

function bareSide(operation: BareFolios): Side {
  return {
    name: 'goal/G13/bookkeeping/bare',
    params: {
      folioBytes: PMD_SIZE,
      batch: FOLIOS * REPEATED,
      copier: 'none',
      direction: 'both ways',
    },
    operation,
    bytes: 0,
    pages: 0,
  };
}

/** Both ways of all folios against both ways of as many windows of single pages. */
async function measureBookkeeping(ctx: RunContext): Promise<GoalPart | null> {
  const subjects = await bookkept(ctx);
  // As in a real migration there is a mirror whose notifier is called.
  for (const { range } of subjects) await range.process.openDevice(0);
  const bare = new BareFolios(FOLIOS, 2 * REPEATED);
  const sides = [...subjects.map(bookkeepingSide), bareSide(bare)];
  const { minPairs, maxPairs, budgetMs } = ctx.plan.goals;
  const box = { minPairs, maxPairs: 4 * maxPairs, budgetMs: budgetMs / 4 };
  for (const { range } of subjects) await range.mm.mmapLock.readLock();
  // The compilers need more than the two rounds that a comparison drops.
  for (let i = 0; i < COMPILED; i++) {
    for (const { run } of subjects) run();
    bare.run();
  }
  const order = shuffledRounds(ctx, sides.length, 'G13 bookkeeping order');
  const results = await compareSides(ctx, sides, order, box, 'migrate');
  for (const { range } of subjects) {
    range.mm.mmapLock.readUnlock();
    await range.process.exit();
  }
  if (results === null) return null;
  const [ours, theirs, least] = results;
  const perFolio = ours!.samples.map((us) => us / REPEATED);
  const ratio = pairedRatio(perFolio, theirs!.samples, ctx.resampling);
  const part = judge('bookkeeping of a 2 MiB folio over 512 pages', ratio, '<=', MAX_BOOKKEEPING);
  const bareFolio = least!.samples.map((us) => us / REPEATED);
  const what = 'a bare exchange of one entry over bookkeeping of 512 pages';
  const beside = { over: bareFolio, under: theirs!.samples, ours: perFolio, least: bareFolio };
  return withLimit(part, limitOf(what, beside, ctx.resampling));
}

function expectMoved(errno: number): void {
  if (errno !== 0) throw new OperationFailure(`a migration answered errno ${errno}`);
}

/** A migration to the device; what the last one took comes home first. */
function wholeMigration(subject: MigratingProcess): Operation {
  return {
    prepare: async () => expectMoved(await subject.migrate('MIGRATE_TO_SYS')),
    run: () => subject.migrate('MIGRATE_TO_DEV'),
    verify: async () => {
      await subject.expectAll(PAGE_DEVICE);
      await subject.addOnDevice();
      await subject.migrate('MIGRATE_TO_SYS');
      await subject.expectAll(PAGE_RAM);
      return subject.compare();
    },
  };
}

async function measureWhole(ctx: RunContext, raw: RawGpu): Promise<GoalPart | null> {
  const single = await MigratingProcess.start(ctx, WINDOW, 'goal/G13/single');
  const huge = await MigratingProcess.start(ctx, WINDOW, 'goal/G13/huge', true);
  const other = await MigratingProcess.start(ctx, WINDOW, 'goal/G13/other', true);
  const seed = seedFor(ctx.plan.seed, 'G13');
  const side = (name: string, params: Side['params'], operation: Operation): Side => ({
    name: `goal/G13/to-device/${name}`,
    params: { direction: 'to-device', ...params, pages: WINDOW },
    operation,
    bytes: PMD_SIZE,
    pages: WINDOW,
  });
  // A migration home comes before the others, too.
  const before = async (): Promise<void> => {
    expectMoved(await other.migrate('MIGRATE_TO_DEV'));
    expectMoved(await other.migrate('MIGRATE_TO_SYS'));
  };
  const sides = [
    side('pages', { folioBytes: PMD_SIZE / WINDOW, batch: WINDOW }, wholeMigration(single)),
    side('folio', { folioBytes: PMD_SIZE, batch: 1 }, wholeMigration(huge)),
    side('webgpu-contiguous-upload', {}, contiguousUpload(raw.device, PMD_SIZE, seed, before)),
  ];
  const order = shuffledRounds(ctx, sides.length, 'G13 order');
  const { minPairs, maxPairs, budgetMs } = ctx.plan.goals;
  const box = { minPairs, maxPairs: WHOLE_TIMES * maxPairs, budgetMs };
  const results = await compareSides(ctx, sides, order, box, 'migrate');
  for (const process of [single, huge, other]) await process.end();
  if (results === null) return null;
  const [pages, folio, bare] = results.map((result) => result.samples);
  const gain = pairedRatio(pages!, folio!, ctx.resampling);
  const what = 'whole migration of 512 pages over a bare WebGPU upload of 2 MiB';
  const part = judge('whole migration of 512 pages over a 2 MiB folio', gain, '>=', MIN_WHOLE);
  const beside = { over: pages!, under: bare!, ours: folio!, least: bare! };
  return withLimit(part, limitOf(what, beside, ctx.resampling));
}
