/*
 * M5 and M6: what comes between the steps of a device fault, and CPUs that want what the device
 * works on.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  HMM_DMIRROR_CHECK_EXCLUSIVE,
  HMM_DMIRROR_EXCLUSIVE,
  WEBHMM_DMIRROR_ADD,
} from '../../../src/driver/dmirror.ts';
import {
  arg,
  at,
  GID,
  kernelOf,
  load,
  op,
  reduce,
  store,
  times,
  v,
} from '../../../src/engine/vm/ir.ts';
import { PROT_READ } from '../../../src/index.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { ELSEWHERE, RANGE, RW, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const FIRST = 1000;

/** Declares the suite. */
export function describeRaces(engine: StageEngine): void {
  describe('races of device and CPU', () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await Stage.open(engine, 64);
    });
    afterEach(async () => {
      await stage.clear();
      stage.checkEmpty();
    });
    afterAll(() => stage.close());
    const stageOf = (): Stage => stage;
    describeInvalidation(stageOf);
    describeAtomics(stageOf);
    describeExclusive(stageOf);
  });
}

/**
 * Drops the page at `addr` between the look at the CPU's page tables and the entry in the device's,
 * `rounds` times: right when the look gives its lock back. Answers how often that was.
 */
function zapAfterLooks(actor: Actor, addr: number, rounds: number): () => number {
  const { mm } = actor;
  const { mmapLock } = mm;
  const unlock = mmapLock.readUnlock.bind(mmapLock);
  let done = 0;
  mmapLock.readUnlock = () => {
    const isLast = done < rounds;
    if (isLast) {
      done++;
      // Under the lock that it still holds, as MADV_DONTNEED would under its own.
      zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
    }
    unlock();
  };
  return () => done;
}

function describeInvalidation(stageOf: () => Stage): void {
  it('M5: an invalidation between range fault and bind: done again, nothing stale', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(2, FIRST);
    const { pageTable } = actor.mirror;
    let faults = stage.count('hmm_fault');
    const done = zapAfterLooks(actor, RANGE, 3);
    expect(await actor.mirror.fault(RANGE, RANGE + 2 * PAGE_SIZE, true)).toBe(0);
    expect(done()).toBe(3);
    faults = stage.count('hmm_fault') - faults;
    // Each time what had been found was gone, and had to be made anew.
    expect(faults).toBeGreaterThanOrEqual(3);
    expect(pageTable.lookup(RANGE / PAGE_SIZE)).not.toBe(0);
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 2, RANGE, 7)).toEqual([0, 2]);
    // The page that was dropped is a new one, of zeroes; its neighbour is as it was.
    expect(await actor.words(2)).toEqual([7, FIRST + 8]);
  });

  it('M5: invalidations without end: it gives up after a second, bound to nothing', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(1, FIRST);
    const { context } = stage.device;
    const { nowMs } = context;
    let now = 0;
    // A clock of its own, so that no second has to pass: 10 ms a look.
    Object.assign(context, { nowMs: () => (now += 10) });
    try {
      const done = zapAfterLooks(actor, RANGE, Infinity);
      expect(await actor.mirror.fault(RANGE, RANGE + PAGE_SIZE, true)).toBe(errno.EBUSY);
      expect(done()).toBeGreaterThan(50);
      expect(done()).toBeLessThanOrEqual(101);
    } finally {
      Object.assign(context, { nowMs });
    }
    expect(actor.mirror.pageTable.lookup(RANGE / PAGE_SIZE)).toBe(0);
  });
}

function describeAtomics(stageOf: () => Stage): void {
  it('M6: device atomics against a CPU that adds, too: none is lost, both get on', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const rounds = 5;
    await actor.map(1, 0);
    await actor.map(rounds, FIRST, ELSEWHERE);
    // Each round wants another page, so that the kernel stops between its additions.
    const ir = kernelOf('atomics', 64, [
      ...times('i', rounds, [
        reduce('add', at(arg(0), 0), 1),
        load('x', at(arg(1), op(op(v('i'), '*', 1024), '+', op(GID, '%', 64)))),
        reduce('add', at(arg(0), 1), 1),
      ]),
    ]);
    const program = await stage.compile(ir, { slots: 2 });
    let added = 0;
    const { report, batches, pager } = await actor.launch(program, 4, {
      args: [RANGE, ELSEWHERE],
      after: async ({ pass }) => {
        // Between two passes nothing of the device is under way: a read and a write are one.
        if (pass % 2 === 0 || added >= 20) return;
        const word = await wordAt(actor.process, RANGE);
        if (await actor.store(RANGE, word! + 1)) added++;
      },
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
    expect(added).toBeGreaterThan(2);
    // What the CPU took came back each time, and not more often than it was taken.
    expect(pager.stats.mapped).toBeLessThanOrEqual(1 + rounds + added);
    expect(batches.length).toBeLessThanOrEqual(2 * (added + rounds + 2));
    const words = new Uint32Array((await actor.process.read(RANGE, 8)).buffer);
    expect([...words]).toEqual([4 * 64 * rounds + added, 4 * 64 * rounds]);
  });
}

function describeExclusive(stageOf: () => Stage): void {
  /** Four pages that the device has for itself, and has added 5 to. */
  async function claimed(): Promise<Actor> {
    const actor = await stageOf().actor();
    await actor.map(4, FIRST);
    expect(await actor.command(HMM_DMIRROR_EXCLUSIVE, 4)).toEqual([0, 4]);
    expect(await actor.command(HMM_DMIRROR_CHECK_EXCLUSIVE, 4)).toEqual([errno.EPERM, 0]);
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 4, RANGE, 5)).toEqual([0, 4]);
    return actor;
  }
  const isFree = async (actor: Actor): Promise<boolean> =>
    (await actor.command(HMM_DMIRROR_CHECK_EXCLUSIVE, 4))[0] === 0;
  const added = upTo(4).map((page) => FIRST + page + 5);

  it('M6: exclusive pages, then fork: both have what the device has written', async () => {
    const actor = await claimed();
    const child = await actor.process.fork();
    expect(await isFree(actor)).toBe(true);
    expect(await actor.words(4)).toEqual(added);
    expect(await actor.store(RANGE, 1)).toBe(true);
    for (const page of upTo(4)) {
      expect(await wordAt(child, RANGE + page * PAGE_SIZE)).toBe(added[page]);
    }
  });

  it('M6: exclusive pages, then mprotect: the device lets go, the CPU may read only', async () => {
    const actor = await claimed();
    await actor.process.mprotect(RANGE, 4 * PAGE_SIZE, PROT_READ);
    expect(await isFree(actor)).toBe(true);
    expect(await actor.words(4)).toEqual(added);
    expect(await actor.store(RANGE, 1)).toBe(false);
    await actor.process.mprotect(RANGE, 4 * PAGE_SIZE, RW);
    expect(await actor.store(RANGE, 1)).toBe(true);
    expect(await actor.words(4)).toEqual([1, ...added.slice(1)]);
  });

  it('M6: exclusive claim of what a child shares: copied first, the original stays', async () => {
    const actor = await stageOf().actor();
    await actor.map(4, FIRST);
    const child = await actor.process.fork();
    expect(await actor.command(HMM_DMIRROR_EXCLUSIVE, 4)).toEqual([0, 4]);
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 4, RANGE, 5)).toEqual([0, 4]);
    expect(await wordAt(child, RANGE)).toBe(FIRST);
    // A CPU store takes one page back, that page alone.
    expect(await actor.store(RANGE, 1)).toBe(true);
    expect(await isFree(actor)).toBe(false);
    expect(await actor.words(4)).toEqual([1, ...added.slice(1)]);
    expect(await isFree(actor)).toBe(true);
    expect(await wordAt(child, RANGE + 3 * PAGE_SIZE)).toBe(FIRST + 3);
  });

  it('M6: a device atomic of a kernel takes an exclusive page to the device, once', async () => {
    const actor = await claimed();
    const ir = kernelOf('add', 64, [reduce('add', at(arg(0), 0), 1), store(at(arg(0), 1), 9)]);
    const program = await stageOf().compile(ir);
    const { report } = await actor.launch(program, 1);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(await actor.words(4)).toEqual([added[0]! + 64, ...added.slice(1)]);
  });
}
