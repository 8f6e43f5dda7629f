/*
 * M1 to M3 and M7: pages that go to and fro between CPU and device, alone, in large folios and in
 * mixed company.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { dptPfn } from '../../../src/driver/device-page-table.ts';
import {
  Dmirror,
  HMM_DMIRROR_MIGRATE_TO_DEV,
  HMM_DMIRROR_READ,
  newDmirrorCmd,
} from '../../../src/driver/dmirror.ts';
import { arg, at, GID, kernelOf, load, op, store, v, when } from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { FOLL_LONGTERM, FOLL_WRITE, MADV_HUGEPAGE, PROT_READ } from '../../../src/index.ts';
import { ELSEWHERE, RANGE, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;

/** Declares the suite. */
export function describeHops(engine: StageEngine): void {
  describe('pages to and fro', () => {
    let stage: Stage;
    let double: VmProgram;
    beforeAll(async () => {
      // Chunks of their own for large folios and for single pages.
      const chunkBytes = HPAGE_PMD_NR * PAGE_SIZE;
      const options = { ramBytes: 24 * 2 ** 20, chunkBytes, thp: 'madvise' as const, devices: 2 };
      stage = await Stage.open(engine, 3 * HPAGE_PMD_NR, options);
      const place = at(arg(0), op(GID, '*', WORDS));
      const body = [load('x', place), store(place, op(v('x'), '*', 2))];
      const ir = kernelOf('double', 64, [when(op(GID, '<', arg(1)), body)]);
      double = await stage.compile(ir, { slots: 16 });
    });
    afterEach(async () => {
      await stage.clear();
      stage.check();
    });
    afterAll(() => stage.close());
    const stageOf = (): Stage => stage;
    describeTurns(stageOf, () => double);
    describePartial(stageOf);
    describeCrowd(stageOf);
    describeMixed(stageOf, () => double);
  });
}

/** The device doubles the first word of each page, the CPU adds 1 and looks, in turn. */
async function takeTurns(
  actor: Actor,
  double: VmProgram,
  addr: number,
  pages: number,
  afterDevice: () => void,
): Promise<void> {
  const wanted = upTo(pages).map((page) => FIRST + page);
  for (let hop = 0; hop < 4; hop++) {
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, pages, addr)).toEqual([0, pages]);
    const { report } = await actor.launch(double, Math.ceil(pages / 64), { args: [addr, pages] });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    afterDevice();
    for (let page = 0; page < pages; page++) {
      const word = await wordAt(actor.process, addr + page * PAGE_SIZE);
      expect(word, `page ${page}, hop ${hop}`).toBe(wanted[page]! * 2);
      wanted[page] = wanted[page]! * 2 + 1;
      expect(await actor.store(addr + page * PAGE_SIZE, wanted[page]!)).toBe(true);
    }
  }
}

function describeTurns(stageOf: () => Stage, doubleOf: () => VmProgram): void {
  it('M1: CPU and device in turn, single pages: right at each hop, a migration each', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    // Neither end of the mapping is where anything is aligned.
    const addr = RANGE + 3 * PAGE_SIZE;
    await actor.map(21, FIRST, addr);
    const before = [stage.count('device_private_fault'), stage.device.memory.calloc];
    await takeTurns(actor, doubleOf(), addr, 21, () => {
      expect(stage.device.memory.pagesInUse).toBe(21);
    });
    const after = [stage.count('device_private_fault'), stage.device.memory.calloc];
    expect(after.map((count, i) => count - before[i]!)).toEqual([4 * 21, 4 * 21]);
    expect(stage.device.memory.pagesInUse).toBe(0);
  });

  it('M1: the same with a large folio and ragged ends around it: it moves whole', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const { process } = actor;
    const ragged = 5;
    const pages = ragged + HPAGE_PMD_NR + ragged;
    const addr = RANGE + 2 * HPAGE_PMD_NR * PAGE_SIZE - ragged * PAGE_SIZE;
    await actor.map(pages, 0, addr, () => false);
    await process.madvise(addr, pages * PAGE_SIZE, MADV_HUGEPAGE);
    for (let page = 0; page < pages; page++)
      await actor.store(addr + page * PAGE_SIZE, FIRST + page);
    const before = [stage.count('thp_migration_success'), stage.count('device_private_fault')];
    await takeTurns(actor, doubleOf(), addr, pages, () => {});
    const after = [stage.count('thp_migration_success'), stage.count('device_private_fault')];
    // Each hop moves one folio there and back; a fault for it, and one for each page at the ends.
    expect(after.map((count, i) => count - before[i]!)).toEqual([2 * 4, 4 * (2 * ragged + 1)]);
    expect(stage.count('thp_split_page')).toBe(0);
  });
}

function describePartial(stageOf: () => Stage): void {
  it('M2: hole, zero page, read-only, shared, pinned: all but the pinned one move', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const { process } = actor;
    const [hole, zero, shared, pinned] = [1, 2, 4, 5];
    const isFilled = (page: number): boolean => page !== hole && page !== zero;
    await actor.map(10, FIRST, RANGE, isFilled);
    await process.touch(RANGE + zero * PAGE_SIZE, 'read');
    const child = await process.fork();
    for (let page = 0; page < 10; page++) {
      if (isFilled(page) && page !== shared) {
        await actor.store(RANGE + page * PAGE_SIZE, 2 * FIRST + page);
      }
    }
    await process.mprotect(RANGE + 8 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ);
    const flags = FOLL_WRITE | FOLL_LONGTERM;
    const pin = await process.pinUserPages(RANGE + pinned * PAGE_SIZE, 1, flags);
    const cmd = newDmirrorCmd(RANGE, 10, 0);
    // The command's answer is whether the device has all of it.
    expect(await actor.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, cmd)).toBe(errno.ENOENT);
    expect(onDevice(actor, 10)).toEqual(upTo(10).map((page) => page !== pinned));
    expect(cmd.skipped.reduce((sum, count) => sum + count, 0)).toBe(1);
    await pin.release();
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 10)).toEqual([0, 10]);
    const mine = upTo(10).map((page) => {
      if (!isFilled(page)) return 0;
      return page === shared ? FIRST + page : 2 * FIRST + page;
    });
    expect(await actor.words(10)).toEqual(mine);
    for (let page = 0; page < 10; page++) {
      const word = await wordAt(child, RANGE + page * PAGE_SIZE);
      expect(word, `child, page ${page}`).toBe(isFilled(page) ? FIRST + page : 0);
    }
    // What is shared is copied before it is changed.
    expect(await actor.store(RANGE + shared * PAGE_SIZE, 5)).toBe(true);
    expect(await wordAt(child, RANGE + shared * PAGE_SIZE)).toBe(FIRST + shared);
  });
}

/** Which pages of the range the mirror has in its device's memory. */
function onDevice(actor: Actor, pages: number, addr = RANGE): boolean[] {
  const { memory } = actor.stage.device;
  return upTo(pages).map((page) => {
    const entry = actor.mirror.pageTable.lookup(addr / PAGE_SIZE + page);
    return entry !== 0 && memory.has(dptPfn(entry));
  });
}

function describeCrowd(stageOf: () => Stage): void {
  it('M3: 8 accesses of one device page at once: a single migration home, all go on', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(2, FIRST);
    for (let round = 0; round < 5; round++) {
      expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 2)).toEqual([0, 2]);
      const names = ['device_private_fault', 'pgmigrate_to_ram', 'migration_entry_wait'];
      const before = names.map((name) => stage.count(name));
      const reads = upTo(8).map((i) => wordAt(actor.process, RANGE + i * 4));
      expect(await Promise.all(reads)).toEqual([FIRST, 0, 0, 0, 0, 0, 0, 0]);
      const grown = names.map((name, i) => stage.count(name) - before[i]!);
      expect(grown.slice(0, 2)).toEqual([1, 1]);
      // Those that came too late waited for that one.
      expect(grown[2]).toBeGreaterThanOrEqual(1);
    }
  });
}

function describeMixed(stageOf: () => Stage, doubleOf: () => VmProgram): void {
  const pages = 12;

  /** Pages in RAM, on this device, on another one, in turn. */
  async function mixed(stage: Stage): Promise<{ actor: Actor; other: Dmirror }> {
    const actor = await stage.actor();
    await actor.map(pages, FIRST);
    const other = Dmirror.open(stage.machine.kernel.devices[1]!, actor.mm);
    if (typeof other === 'number') throw new Error(`open ${other}`);
    for (let page = 1; page < pages; page += 3) {
      const addr = RANGE + page * PAGE_SIZE;
      expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 1, addr)).toEqual([0, 1]);
      const cmd = newDmirrorCmd(addr + PAGE_SIZE, 1, 0);
      expect(await other.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, cmd)).toBe(0);
    }
    expect(stage.machine.kernel.devices.map(({ memory }) => memory.pagesInUse)).toEqual([4, 4]);
    return { actor, other };
  }

  it('M7: a device fault over RAM, own and foreign pages: fixed up, then right', async () => {
    const stage = stageOf();
    const { actor, other } = await mixed(stage);
    await actor.map(pages, 0, ELSEWHERE);
    const cmd = newDmirrorCmd(RANGE, pages, ELSEWHERE);
    expect(await actor.mirror.ioctl(HMM_DMIRROR_READ, cmd)).toBe(0);
    expect(cmd.cpages).toBe(pages);
    expect(cmd.faults).toBeGreaterThanOrEqual(1);
    expect(await actor.words(pages, ELSEWHERE)).toEqual(upTo(pages).map((page) => FIRST + page));
    // The other's pages came home, for nobody reads another device's memory. HMM faults whatever
    // lies behind the first page that it can't take as it is, so of our own one stayed.
    expect(stage.machine.kernel.devices.map(({ memory }) => memory.pagesInUse)).toEqual([1, 0]);
    expect(onDevice(actor, pages)).toEqual(upTo(pages).map((page) => page === 1));
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, pages)).toEqual([0, pages]);
    await other.close();
  });

  it('M7: a kernel over the same mixture gets all of it, by a fault for each page', async () => {
    const stage = stageOf();
    const { actor, other } = await mixed(stage);
    const { report } = await actor.launch(doubleOf(), 1, { args: [RANGE, pages] });
    expect(report).toMatchObject({ outcome: 'done', killed: 0, faults: pages });
    expect(onDevice(actor, pages)).toEqual(upTo(pages).map(() => true));
    expect(await actor.words(pages)).toEqual(upTo(pages).map((page) => 2 * (FIRST + page)));
    await other.close();
  });
}
