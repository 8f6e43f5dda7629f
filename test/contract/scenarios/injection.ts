/*
 * M9: whatever a migration or a fault needs is refused, the first time, the second time, and so on
 * until a run is clean.
 *
 * Oracle: each run ends; every invariant holds; every word is as it was or as it should become,
 * exactly once; what a launch says about itself is true; and with memory again everything can be
 * read, and nothing is left behind. Working memory of a migration (the arrays of migrate_vma) is
 * pooled here and comes from the host, so there is nothing to refuse.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, HMM_DMIRROR_RELEASE } from '../../../src/driver/dmirror.ts';
import { arg, at, kernelOf, load, op, store, v, WG } from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE } from '../../../src/index.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { RANGE, RW, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;
const FIXED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
const DEVICE = 12;
const PAGES = 16;
/** More refusals than any of the runs has places for. */
const MOST = 400;

/** Refuses the `nth` request. */
class Trap {
  reached = 0;
  private readonly nth: number;

  constructor(nth: number) {
    this.nth = nth;
  }

  springs(): boolean {
    return ++this.reached === this.nth;
  }
}

/** Makes a method answer an errno when the trap springs. Answers how to undo that. */
function refuse(owner: object, method: string, trap: Trap, status: number = errno.ENOMEM) {
  const methods = owner as Record<string, (...args: unknown[]) => unknown>;
  const inner = methods[method]!;
  methods[method] = function (this: unknown, ...args) {
    return trap.springs() ? status : inner.apply(owner, args);
  };
  return () => void (methods[method] = inner);
}

/** What can be refused, and how. */
const SITES: Readonly<Record<string, (stage: Stage, trap: Trap) => () => void>> = {
  'page table': ({ sys }, trap) => refuse(sys.pageTables, 'allocTable', trap),
  'page of RAM': ({ sys }, trap) => refuse(sys.pageAllocator, 'pop', trap),
  'page of the device': ({ device }, trap) => refuse(device.memory, 'fillFreeList', trap),
  'copy to the device': (stage, trap) => {
    stage.failsCopy = ({ target }) => target[0]! >= stage.firstFrame && trap.springs();
    return () => void (stage.failsCopy = null);
  },
  'copy to RAM': (stage, trap) => {
    stage.failsCopy = ({ target }) => target[0]! < stage.firstFrame && trap.springs();
    return () => void (stage.failsCopy = null);
  },
  eviction: ({ device }, trap) => refuse(device, 'evictPage', trap),
};

/** Declares the suite. */
export function describeInjection(engine: StageEngine): void {
  describe('M9: the nth request is refused', () => {
    let stage: Stage;
    let add: VmProgram;
    beforeAll(async () => {
      stage = await Stage.open(engine, DEVICE);
      const place = at(arg(0), op(WG, '*', WORDS));
      const ir = kernelOf('add', 1, [load('x', place), store(place, op(v('x'), '+', 1))]);
      add = await stage.compile(ir, { slots: 4 });
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());

    it.each(Object.keys(SITES))('M9: %s, n = 1, 2, ... until a run is clean', async (site) => {
      let hits = 0;
      for (let nth = 1; nth < MOST; nth++) {
        const trap = new Trap(nth);
        await play(stage, add, () => SITES[site]!(stage, trap));
        stage.checkEmpty();
        if (trap.reached < nth) break;
        hits++;
      }
      expect(hits, 'places that were reached').toBeGreaterThanOrEqual(3);
      expect(hits).toBeLessThan(MOST - 1);
    });
  });
  describeSplits(engine);
}

/** Pages go up, a kernel wants more than there is room for, the CPU and a child look, it ends. */
async function play(stage: Stage, add: VmProgram, arm: () => () => void): Promise<void> {
  const actor = await stage.actor();
  const disarm = arm();
  const { process } = actor;
  await process
    .mmap({ addr: RANGE, length: PAGES * PAGE_SIZE, prot: RW, flags: FIXED })
    .catch(() => 0);
  const before: number[] = [];
  for (const page of upTo(PAGES)) {
    const isStored = await actor.store(RANGE + page * PAGE_SIZE, FIRST + page);
    before.push(isStored ? FIRST + page : 0);
  }
  await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 6);
  const { report } = await actor.launch(add, PAGES);
  const child = await process.fork().catch(() => null);
  for (const page of [1, 5, PAGES - 1]) await wordAt(process, RANGE + page * PAGE_SIZE);
  if (child !== null) await child.touch(RANGE, 'write').catch(() => undefined);
  await actor.command(HMM_DMIRROR_RELEASE, 1);
  disarm();
  stage.check();
  const after = await actor.words(PAGES);
  const added = after.map((word, page) => (word ?? Number.NaN) - before[page]!);
  expect(
    added.every((one) => one === 0 || one === 1),
    added.join(),
  ).toBe(true);
  // A launch that went to its end has ended whom it has not served, and says how many.
  const sum = added.reduce((total, one) => total + one, 0);
  if (report.outcome === 'done') expect(sum).toBe(PAGES - report.killed);
  else expect(['cancelled', 'failed']).toContain(report.outcome);
  if (child !== null) {
    for (const page of upTo(PAGES)) {
      expect(await wordAt(child, RANGE + page * PAGE_SIZE), `child, ${page}`).toBe(after[page]);
    }
    await child.exit();
  }
  await actor.end();
}

function describeSplits(engine: StageEngine): void {
  describe('M9: a large folio that can not be split', () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await Stage.open(engine, HPAGE_PMD_NR, { ramBytes: 16 * 2 ** 20 });
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());

    /** A folio on the device of which somebody has a reference more. */
    async function held(): Promise<{ actor: Actor; pfn: number }> {
      const actor = await stage.actor();
      await actor.map(HPAGE_PMD_NR, FIRST, RANGE, () => false);
      await actor.process.madvise(RANGE, HPAGE_PMD_NR * PAGE_SIZE, MADV_HUGEPAGE);
      for (const page of upTo(HPAGE_PMD_NR)) await actor.store(RANGE + page * PAGE_SIZE, page);
      const moved = await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, HPAGE_PMD_NR);
      expect(moved).toEqual([0, HPAGE_PMD_NR]);
      const pfn = stage.device.memory.startPfn;
      stage.sys.mem.getPage(pfn);
      return { actor, pfn };
    }

    it('M9: split, while somebody holds the folio: it stays, is right, goes later', async () => {
      const { actor, pfn } = await held();
      const splits = stage.count('thp_split_page');
      // Room for single pages only: the folio would have to be split for that.
      const { pageAllocator } = stage.sys;
      const inner = pageAllocator.popHuge.bind(pageAllocator);
      pageAllocator.popHuge = () => errno.ENOMEM;
      const [status] = await actor.command(HMM_DMIRROR_RELEASE, 1);
      expect(status).toBeLessThan(0);
      expect(stage.count('thp_split_page')).toBe(splits);
      expect(stage.device.memory.pagesInUse).toBe(HPAGE_PMD_NR);
      putPage(stage.sys, pfn);
      expect(await actor.command(HMM_DMIRROR_RELEASE, 1)).toEqual([0, 0]);
      pageAllocator.popHuge = inner;
      expect(stage.count('thp_split_page')).toBe(splits + 1);
      expect(await actor.words(HPAGE_PMD_NR)).toEqual(upTo(HPAGE_PMD_NR));
      await actor.end();
      stage.checkEmpty();
    });
  });
}
