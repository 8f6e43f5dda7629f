/*
 * E1 to E6: a device that is too small, or whose memory is in pieces.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, HMM_DMIRROR_RELEASE } from '../../../src/driver/dmirror.ts';
import {
  arg,
  at,
  GID,
  kernelOf,
  load,
  op,
  store,
  times,
  v,
  WG,
} from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { MADV_DONTNEED, MADV_HUGEPAGE } from '../../../src/index.ts';
import { Aside, RANGE, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;
/** Pages of the small device. */
const DEVICE = 16;

/** Declares the suite. */
export function describePressure(engine: StageEngine): void {
  describe('too little device memory', () => {
    let stage: Stage;
    let sweep: VmProgram;
    const sweeps: VmProgram[] = [];
    let cycle: VmProgram;
    beforeAll(async () => {
      stage = await Stage.open(engine, DEVICE);
      // An invocation a page, 1 at a time for each of 4 slots; and one that goes round three times.
      const place = at(arg(0), op(WG, '*', WORDS));
      const once = [load('x', place), store(place, op(v('x'), '+', 1))];
      const ir = kernelOf('sweep', 1, once);
      sweep = await stage.compile(ir, { slots: 4 });
      for (let i = 0; i < 3; i++) sweeps.push(await stage.compile(ir, { slots: 4 }));
      const page = op(op(v('i'), '+', GID), '%', arg(1));
      const cell = at(arg(0), op(op(page, '*', WORDS), '+', GID));
      const round = times('i', op(arg(1), '*', 3), [
        load('x', cell),
        store(cell, op(v('x'), '+', 1)),
      ]);
      cycle = await stage.compile(kernelOf('cycle', 4, round), { slots: 1, logWords: 256 });
    });
    afterEach(async () => {
      expect(stage.device.memory.pagesInUse).toBeLessThanOrEqual(DEVICE);
      await stage.clear();
      stage.checkEmpty();
    });
    afterAll(() => stage.close());
    const stageOf = (): Stage => stage;
    describeOversubscription(stageOf, { sweep: () => sweep, sweeps, cycle: () => cycle });
    describeVictims(stageOf, () => sweep);
  });
  describeFragments(engine);
}

interface Programs {
  readonly sweep: () => VmProgram;
  /** One for each process. */
  readonly sweeps: readonly VmProgram[];
  readonly cycle: () => VmProgram;
}

function describeOversubscription(stageOf: () => Stage, { sweep, sweeps, cycle }: Programs): void {
  it.each([
    ['9/8', 18],
    ['3/2', 24],
    ['2', 32],
  ])(
    'E1: %s times the memory, each page once: right, and as much goes as has to',
    async (_, pages) => {
      const actor = await stageOf().actor();
      await actor.map(pages, FIRST);
      const { report, pager } = await actor.launch(sweep(), pages);
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.stats).toMatchObject({ mapped: pages, evicted: pages - DEVICE });
      expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
    },
  );

  it.each([
    ['9/8', 18],
    ['2', 32],
  ])('E1: %s times the memory, round and round: right, and it goes on moving', async (_, pages) => {
    const actor = await stageOf().actor();
    await actor.map(pages, 0, RANGE, () => false);
    const { report, pager } = await actor.launch(cycle(), 1, { args: [RANGE, pages] });
    expect(report).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
    // The first out is the next that is wanted: nearly each visit of each round moves its page.
    expect(pager.stats.mapped).toBeGreaterThan(2 * pages);
    for (let page = 0; page < pages; page++) {
      const bytes = await actor.process.read(RANGE + page * PAGE_SIZE, 16);
      expect([...new Uint32Array(bytes.buffer)], `page ${page}`).toEqual([3, 3, 3, 3]);
    }
  });

  it('E2: one range that is four times the device: what fits goes, a kernel gets all', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const pages = 4 * DEVICE;
    await actor.map(pages, FIRST);
    // The command says that not all of it is there; what is there is a whole device.
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, pages)).toEqual([errno.ENOENT, 0]);
    expect(stage.device.memory.pagesInUse).toBe(DEVICE);
    const { report, pager } = await actor.launch(sweep(), pages);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(pager.stats.evicted).toBeGreaterThanOrEqual(pages - DEVICE);
    expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
  });

  it('E3: three processes at once, 1.5 times the memory: each gets on, all are right', async () => {
    const stage = stageOf();
    const actors = await Promise.all(upTo(3).map(() => stage.actor()));
    const pages = DEVICE / 2;
    for (const actor of actors) await actor.map(pages, FIRST);
    // Twice each: in the second burst everybody finds the device full of the others' pages.
    for (let burst = 1; burst <= 2; burst++) {
      const played = await Promise.all(actors.map((actor, i) => actor.launch(sweeps[i]!, pages)));
      for (const { report } of played) {
        expect(report).toMatchObject({ outcome: 'done', killed: 0, finished: pages });
      }
      expect(stage.device.memory.pagesInUse).toBe(DEVICE);
    }
    for (const actor of actors) {
      expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 2));
    }
  });

  it('E3: bursts of one process while another runs all the time', async () => {
    const stage = stageOf();
    const [steady, bursty] = [await stage.actor(), await stage.actor()];
    const pages = 24;
    await steady.map(pages, FIRST);
    await bursty.map(4, FIRST);
    let bursts = 0;
    let burst: Promise<void> = Promise.resolve();
    const { report } = await steady.launch(sweep(), pages, {
      after: () => {
        // Not waited for: it wants the device as soon as this pass is on its way.
        if (bursts >= 3) return;
        bursts++;
        burst = burst.then(async () => {
          const played = await bursty.launch(sweeps[0]!, 4);
          expect(played.report).toMatchObject({ outcome: 'done', killed: 0 });
        });
      },
    });
    await burst;
    expect(report).toMatchObject({ outcome: 'done', killed: 0, finished: pages });
    expect(await steady.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
    expect(await bursty.words(4)).toEqual(upTo(4).map((page) => FIRST + page + 1 + 2));
  });

  it('E4: a batch that needs twice the memory: nothing of it is evicted for the rest', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const pages = 2 * DEVICE;
    await actor.map(pages, FIRST);
    const lanes = [load('x', at(arg(0), op(GID, '*', WORDS)))];
    const all = kernelOf('all at once', pages, [
      ...lanes,
      store(at(arg(0), op(GID, '*', WORDS)), op(v('x'), '+', 1)),
    ]);
    const program = await stage.compile(all, { slots: 1 });
    const resident: number[] = [];
    const { report, pager, batches } = await actor.launch(program, 1, {
      after: () => void resident.push(stage.device.memory.pagesInUse),
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    // As many as there is room for are granted at once, and stay for the pass that wanted them.
    expect(batches.map(({ count }) => count)).toEqual([pages, DEVICE]);
    expect(resident).toEqual([DEVICE, DEVICE]);
    expect(pager.stats).toMatchObject({ mapped: pages, evicted: DEVICE });
    expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
  });
}

function describeVictims(stageOf: () => Stage, sweepOf: () => VmProgram): void {
  /** A kernel runs into a full device; while the first victim is copied home, something happens. */
  async function duringEviction(act: (actor: Actor, victim: number) => Promise<unknown>) {
    const stage = stageOf();
    const actor = await stage.actor();
    const pages = DEVICE + 4;
    await actor.map(pages, FIRST);
    let aside: Aside | null = null;
    let address = 0;
    stage.beforeCopy = async ({ source, target }) => {
      if (target[0]! >= stage.firstFrame || source[0]! < stage.firstFrame) return;
      // Private memory has its page by its address.
      if (aside === null) address = stage.sys.mem.index[source[0]!]! * PAGE_SIZE;
      aside ??= new Aside(() => act(actor, address));
      await aside.asFarAsItGoes();
    };
    const played = await actor.launch(sweepOf(), pages);
    stage.beforeCopy = null;
    expect(aside).not.toBeNull();
    await aside!.end;
    const victim = (address - RANGE) / PAGE_SIZE;
    expect(victim < pages && victim >= 0).toBe(true);
    return { actor, pages, victim, ...played };
  }

  it('E5: the CPU touches a victim under eviction: it waits, reads what was stored', async () => {
    const stage = stageOf();
    let word: number | null = null;
    const faults = stage.count('device_private_fault');
    const played = await duringEviction(async ({ process }, address) => {
      word = await wordAt(process, address);
    });
    const { actor, pages, victim, report } = played;
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(word).toBe(FIRST + victim + 1);
    // By the copy that was under way, not by a second one.
    expect(stage.count('device_private_fault')).toBe(faults);
    expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
  });

  it('E5: munmap of a victim under eviction: it is gone, the others are right', async () => {
    const { actor, pages, victim, report } = await duringEviction(({ process }, address) =>
      process.munmap(address, PAGE_SIZE),
    );
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const wanted = upTo(pages).map((page) => (page === victim ? null : FIRST + page + 1));
    expect(await actor.words(pages)).toEqual(wanted);
  });

  it('E5: MADV_DONTNEED of a victim under eviction: zeroes, the others are right', async () => {
    const { actor, pages, victim, report } = await duringEviction(({ process }, address) =>
      process.madvise(address, PAGE_SIZE, MADV_DONTNEED),
    );
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const wanted = upTo(pages).map((page) => (page === victim ? 0 : FIRST + page + 1));
    expect(await actor.words(pages)).toEqual(wanted);
  });

  it('E5: a victim that its process pins in the meantime stays what it is, and right', async () => {
    const { actor, pages, report } = await duringEviction(async ({ process }, address) => {
      const pin = await process.pinUserPages(address, 1);
      await pin.release();
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => FIRST + page + 1));
  });
}

function describeFragments(engine: StageEngine): void {
  describe('device memory in pieces', () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await Stage.open(engine, HPAGE_PMD_NR, { ramBytes: 16 * 2 ** 20, thp: 'madvise' });
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());

    const counts = (): number[] =>
      ['thp_migration_success', 'thp_split_page'].map((name) => stage.count(name));
    const grown = (before: readonly number[]): number[] =>
      counts().map((count, i) => count - before[i]!);

    it('E6: full of 4K, every other one freed: 2M stay out, come whole when all is', async () => {
      const small = await stage.actor();
      await small.map(HPAGE_PMD_NR, FIRST);
      expect(await small.command(HMM_DMIRROR_MIGRATE_TO_DEV, HPAGE_PMD_NR)).toEqual([0, 512]);
      for (let page = 0; page < HPAGE_PMD_NR; page += 2) {
        await small.process.munmap(RANGE + page * PAGE_SIZE, PAGE_SIZE);
      }
      expect(stage.device.memory.pagesInUse).toBe(HPAGE_PMD_NR / 2);
      const large = await stage.actor();
      await large.map(HPAGE_PMD_NR, FIRST, RANGE, () => false);
      await large.process.madvise(RANGE, HPAGE_PMD_NR * PAGE_SIZE, MADV_HUGEPAGE);
      for (const page of upTo(HPAGE_PMD_NR)) await large.store(RANGE + page * PAGE_SIZE, page);
      // Half of it is free, but no 2 MiB are: the folio stays whole where it is.
      let before = counts();
      const [status] = await large.command(HMM_DMIRROR_MIGRATE_TO_DEV, HPAGE_PMD_NR);
      expect([status, ...grown(before)]).toEqual([errno.ENOENT, 0, 0]);
      // With all of it free the chunk is carved anew, and the folio goes as one.
      await small.process.munmap(RANGE, HPAGE_PMD_NR * PAGE_SIZE);
      before = counts();
      expect(await large.command(HMM_DMIRROR_MIGRATE_TO_DEV, HPAGE_PMD_NR)).toEqual([0, 512]);
      expect(grown(before)).toEqual([1, 0]);
      // Part of it is unmapped; the rest is split on its way home, page by page.
      before = counts();
      await large.process.munmap(RANGE, 3 * PAGE_SIZE);
      expect(await large.command(HMM_DMIRROR_RELEASE, 1)).toEqual([0, 0]);
      expect(stage.device.memory.pagesInUse).toBe(0);
      const wanted = upTo(HPAGE_PMD_NR).map((page) => (page < 3 ? null : page));
      expect(await large.words(HPAGE_PMD_NR)).toEqual(wanted);
      await large.end();
      await small.end();
      stage.checkEmpty();
    });
  });
}
