/**
 * Bookkeeping of migration alone (goal G11): migrate_vma setup, allocation of destinations with
 * their descriptors, pages, finalize, both ways, and nobody copies. A mirror is open on the
 * address space, so notifiers are called as in a real migration. Beside it, in turn, runs the
 * bare four-phase loop over the same page frame numbers. A cell is verified when every page was
 * where it had to be after the last sample.
 */
import {
  CommandList,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../src/index.ts';
import type { Process } from '../src/index.ts';
import { BareLoop } from './bare-loop.ts';
import { nowUs } from './clock.ts';
import { judge } from './goal-parts.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  allocPage,
  migratePfn,
  migratePfnToPage,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
  putPage,
} from './insides.ts';
import type { MigrateVma, MmStruct, Vma } from './insides.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { pairedOrder, pairedRatio, medianEstimate } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Pages of a window; the batch that the goal names. */
const WINDOW = 512;
const MAX_NS_PER_PAGE = 100;
const MAX_RATIO = 6;
/** Cells that the suite adds. */
export const MM_CELLS = 3;

/** Where the time of a window goes. */
interface PhaseTimes {
  setup: number;
  allocate: number;
  pages: number;
  finalize: number;
}

/** A direction of migration. */
type Way = 'toDevice' | 'toRam';

/** Allocates a locked destination page. */
type Allocate = () => number;

/** Migrations of one range without a driver and without copies. */
class NullMigration {
  private readonly vma: Vma;
  private readonly allocate: Record<Way, Allocate>;
  private readonly requests: Record<Way, MigrateVma>;
  private readonly descriptors = new CommandList(WINDOW);
  private readonly phases: PhaseTimes = { setup: 0, allocate: 0, pages: 0, finalize: 0 };

  constructor(ctx: RunContext, vma: Vma) {
    const { sys, devices } = ctx.machine.kernel;
    const { memory } = devices[0]!;
    this.vma = vma;
    this.allocate = {
      toDevice: () => memory.allocPage(),
      toRam: () => {
        const pfn = allocPage(sys);
        if (pfn >= 0) sys.mem.trylockPage(pfn);
        return pfn;
      },
    };
    const request = (flags: number): MigrateVma => ({
      vma,
      src: new Uint32Array(WINDOW),
      dst: new Uint32Array(WINDOW),
      start: 0,
      end: 0,
      cpages: 0,
      npages: 0,
      pgmapOwner: memory.owner,
      flags,
      faultPage: -1,
      reasons: null,
    });
    this.requests = {
      toDevice: request(MIGRATE_VMA_SELECT_SYSTEM),
      toRam: request(MIGRATE_VMA_SELECT_DEVICE_PRIVATE),
    };
  }

  /** Migrates the whole range, window by window. */
  run(direction: Way): number {
    const { vma } = this;
    for (let at = vma.vmStart; at < vma.vmEnd; at += WINDOW * PAGE_SIZE) {
      const request = this.begin(direction, at);
      migrateVmaSetup(request);
      this.allocateAll(request, this.allocate[direction]);
      migrateVmaPages(request);
      migrateVmaFinalize(request);
    }
    return 0;
  }

  /** The same with the clock read between phases. */
  runTimed(direction: Way): PhaseTimes {
    const { vma, phases } = this;
    for (let at = vma.vmStart; at < vma.vmEnd; at += WINDOW * PAGE_SIZE) {
      const request = this.begin(direction, at);
      const begun = nowUs();
      migrateVmaSetup(request);
      const collected = nowUs();
      this.allocateAll(request, this.allocate[direction]);
      const allocated = nowUs();
      migrateVmaPages(request);
      const switched = nowUs();
      migrateVmaFinalize(request);
      phases.setup += collected - begun;
      phases.allocate += allocated - collected;
      phases.pages += switched - allocated;
      phases.finalize += nowUs() - switched;
    }
    return phases;
  }

  resetPhases(): void {
    Object.assign(this.phases, { setup: 0, allocate: 0, pages: 0, finalize: 0 });
  }

  private begin(direction: Way, start: number): MigrateVma {
    const request = this.requests[direction];
    request.start = start;
    request.end = start + WINDOW * PAGE_SIZE;
    this.descriptors.reset();
    return request;
  }

  /** A destination and a copy descriptor for each page; nobody runs the descriptors. */
  private allocateAll(request: MigrateVma, allocate: Allocate): void {
    const { src, dst, cpages } = request;
    if (cpages !== WINDOW) {
      migrateVmaFinalize(request);
      throw new OperationFailure(`only ${cpages} of ${WINDOW} pages could be collected`);
    }
    for (let i = 0; i < WINDOW; i++) {
      const entry = src[i]!;
      if ((entry & MIGRATE_PFN_MIGRATE) === 0) continue;
      const pfn = allocate();
      if (pfn < 0) this.giveUp(request, i);
      this.descriptors.copy(migratePfnToPage(entry), pfn);
      dst[i] = (migratePfn(pfn) | (entry & MIGRATE_PFN_WRITE)) >>> 0;
    }
  }

  /** Gives back the first `count` destinations and leaves every page where it was. */
  private giveUp(request: MigrateVma, count: number): never {
    const { sys } = this.vma.mm;
    for (let i = 0; i < count; i++) {
      const pfn = migratePfnToPage(request.dst[i]!);
      request.dst[i] = 0;
      if (pfn < 0) continue;
      sys.mem.unlockPage(pfn);
      putPage(sys, pfn);
    }
    migrateVmaFinalize(request);
    throw new OperationFailure('the machine ran out of pages');
  }
}

/** The address space of the only process and its only mapping. */
interface Range {
  readonly process: Process;
  readonly mm: MmStruct;
  readonly vma: Vma;
  readonly pages: number;
}

async function mapRange(ctx: RunContext, pages: number): Promise<Range> {
  const { sys } = ctx.machine.kernel;
  const before = new Set(sys.mms);
  const process = await ctx.machine.spawn();
  const mm = [...sys.mms].find((one) => !before.has(one));
  const addr = await process.mmap({ length: pages * PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
  for (let page = 0; page < pages; page++) {
    await process.touch(addr + page * PAGE_SIZE, 'write');
  }
  const vma = mm?.vmas.find((one) => one.vmStart === addr);
  if (mm === undefined || vma === undefined) throw new Error('the process has no such mapping');
  return { process, mm, vma, pages };
}

/**
 * Shuffles the free pages of RAM, so that what processes get is scattered like memory of a
 * machine that has been up for a while.
 */
export function scatterFreePages(ctx: RunContext, pages: number): void {
  const { sys } = ctx.machine.kernel;
  const taken = Uint32Array.from({ length: pages }, () => allocPage(sys));
  ctx.random.fork('free pages').shuffle(taken);
  for (const pfn of taken) putPage(sys, pfn);
}

/** Null when every page of the range has that PAGE_* code. */
async function whereabouts(range: Range, code: number): Promise<string | null> {
  const codes = await range.process.pageMap(range.vma.vmStart, range.pages);
  const wrong = codes.findIndex((one) => one !== code);
  return wrong < 0 ? null : `page ${wrong} is in state ${codes[wrong]}, not ${code}`;
}

function pfnsOf(ctx: RunContext, pages: number): Uint32Array {
  const { sys } = ctx.machine.kernel;
  const pfns = Uint32Array.from({ length: pages }, () => allocPage(sys));
  for (const pfn of pfns) putPage(sys, pfn);
  return pfns;
}

/** Microseconds of a run over `pages` pages to nanoseconds of a page. */
function perPage(sampled: Sampled, pages: number): Sampled {
  return { ...sampled, samples: sampled.samples.map((us) => (us * 1000) / pages) };
}

function withPhases(sampled: Sampled, phases: PhaseTimes, pages: number): Sampled {
  const named = Object.entries(phases).map(([name, us]): [string, number] => [name, us / pages]);
  return { ...sampled, phases: Object.fromEntries(named) };
}

/** Measures G11. Adds its cells and result to `ctx`. */
export async function runMmSuite(ctx: RunContext): Promise<void> {
  const { windows, pairs, warmups } = ctx.plan.mm;
  const pages = windows * WINDOW;
  await ctx.say('mm', `bookkeeping of ${pages} pages`);
  scatterFreePages(ctx, Math.min(2 * pages, ctx.machine.kernel.sys.pageAllocator.freePages));
  const range = await mapRange(ctx, pages);
  await range.process.openDevice(0);
  const migration = new NullMigration(ctx, range.vma);
  const bare = new BareLoop(
    pfnsOf(ctx, pages),
    Uint32Array.from({ length: WINDOW }, (_, i) => ctx.machine.kernel.sys.ramPages + i),
    ctx.machine.kernel.sys.mem.pageCount,
  );
  const operations: Operation[] = [
    { run: () => migration.run('toDevice'), verify: () => whereabouts(range, PAGE_DEVICE) },
    { run: () => migration.run('toRam'), verify: () => whereabouts(range, PAGE_RAM) },
    bare,
  ];
  const order = pairedOrder(pairs).flatMap((side) => (side === 'a' ? [0, 1] : [2]));
  await range.mm.mmapLock.readLock();
  try {
    const results = await interleave(operations, () => order, warmups, ctx.signal);
    const phases = results[0]!.failure === null ? timePhases(migration, pages) : null;
    report(ctx, pages, results, phases);
  } finally {
    range.mm.mmapLock.readUnlock();
  }
  await range.process.exit();
}

/** Mean nanoseconds of a page by phase and direction, from runs of their own. */
function timePhases(migration: NullMigration, pages: number): PhaseTimes[] {
  const rounds = 8;
  const sums = (['toDevice', 'toRam'] as const).map((): PhaseTimes => ({
    setup: 0,
    allocate: 0,
    pages: 0,
    finalize: 0,
  }));
  for (let round = 0; round < rounds; round++) {
    (['toDevice', 'toRam'] as const).forEach((direction, which) => {
      migration.resetPhases();
      const times = migration.runTimed(direction);
      const sum = sums[which]!;
      sum.setup += times.setup;
      sum.allocate += times.allocate;
      sum.pages += times.pages;
      sum.finalize += times.finalize;
    });
  }
  const scale = 1000 / (rounds * pages);
  return sums.map((sum) => ({
    setup: sum.setup * scale,
    allocate: sum.allocate * scale,
    pages: sum.pages * scale,
    finalize: sum.finalize * scale,
  }));
}

const NAMES = ['to-device', 'to-host', 'bare-loop'] as const;

function report(
  ctx: RunContext,
  pages: number,
  results: readonly Sampled[],
  phases: readonly PhaseTimes[] | null,
): void {
  const perPages = results.map((sampled) => perPage(sampled, pages));
  NAMES.forEach((name, i) => {
    const split = phases?.[i];
    const sampled = perPages[i]!;
    const params = { direction: name, batch: WINDOW, windows: pages / WINDOW, copier: 'none' };
    const spec = { suite: 'mm' as const, id: `mm/${name}/${WINDOW}`, params, bytes: 0, pages: 1 };
    const cellUnit = { ...spec, unit: 'ns/page' as const };
    ctx.addCell(cellUnit, split === undefined ? sampled : withPhases(sampled, split, 1));
  });
  if (results.some((result) => result.failure !== null)) return;
  const bare = perPages[2]!.samples;
  const parts: GoalPart[] = [];
  for (const which of [0, 1]) {
    const { samples } = perPages[which]!;
    const name = NAMES[which]!;
    const cost = medianEstimate(samples, ctx.resampling);
    parts.push(judge(`${name}: ns a page at batch ${WINDOW}`, cost, '<=', MAX_NS_PER_PAGE));
    const ratio = pairedRatio(samples, bare, ctx.resampling);
    parts.push(judge(`${name}: over the bare loop`, ratio, '<=', MAX_RATIO));
  }
  ctx.goals.push({ id: 'G11', parts });
}
