/*
 * E7: a device that is suspended in the middle of faults, and resumed.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  HMM_DMIRROR_MIGRATE_TO_DEV,
  WEBHMM_DMIRROR_ADD,
  newDmirrorCmd,
} from '../../../src/driver/dmirror.ts';
import { resumeDevice, suspendDevice } from '../../../src/driver/suspend.ts';
import { arg, at, kernelOf, load, op, reduce, store, v, WG } from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { PAGE_RAM } from '../../../src/index.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { SKIP_NO_DESTINATION } from '../../../src/mm/skip-reason.ts';
import { Aside, ELSEWHERE, RANGE, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, Played, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;
const DEVICE = 16;
const PAGES = 24;

/** Declares the suite. */
export function describeSleep(engine: StageEngine): void {
  describe('suspend and resume', () => {
    let stage: Stage;
    let program: VmProgram;
    beforeAll(async () => {
      // Several chunks: while one is emptied, the others have room.
      stage = await Stage.open(engine, DEVICE, { chunkBytes: 4 * PAGE_SIZE });
      // Counts, then wants its page: whatever is done twice shows.
      const place = at(arg(0), op(WG, '*', WORDS));
      const body = [
        reduce('add', at(arg(1), 0), 1),
        load('x', place),
        store(place, op(v('x'), '+', 1)),
      ];
      program = await stage.compile(kernelOf('count and add', 1, body), { slots: 2 });
    });
    afterEach(async () => {
      await stage.clear();
      stage.checkEmpty();
    });
    afterAll(() => stage.close());
    describeCycle(
      () => stage,
      () => program,
    );
    describeRefusals(() => stage);
  });
}

/** A launch during which the device is asked to sleep as soon as batch `at` was served. */
async function launchInto(
  stage: Stage,
  actor: Actor,
  program: VmProgram,
  batch: number,
): Promise<{ launch: Aside; played: () => Played }> {
  let served = 0;
  let played: Played | null = null;
  let hasSlept: (status: Promise<number>) => void = () => {};
  const slept = new Promise<number>((resolve) => {
    hasSlept = resolve;
  });
  const launch = new Aside(async () => {
    played = await actor.launch(program, PAGES, {
      args: [RANGE, ELSEWHERE],
      after: () => {
        // Not waited for: it wants what this batch was granted to be used first.
        if (++served === batch) hasSlept(suspendDevice(stage.device));
      },
    });
  });
  expect(await slept).toBe(0);
  return { launch, played: () => played! };
}

function describeCycle(stageOf: () => Stage, programOf: () => VmProgram): void {
  it.each([1, 2, 5, 11])(
    'E7: suspended after batch %i: all in RAM, then on, exactly once',
    async (n) => {
      const stage = stageOf();
      const actor = await stage.actor();
      await actor.map(PAGES, FIRST);
      await actor.map(1, 0, ELSEWHERE);
      const { launch, played } = await launchInto(stage, actor, programOf(), n);
      expect(stage.device.memory.pagesInUse).toBe(0);
      stage.check();
      // The kernel waits, the CPU does not: it sees each page as it was or as it will be.
      await launch.asFarAsItGoes();
      expect(launch.isOver).toBe(false);
      const codes = await actor.process.pageMap(RANGE, PAGES);
      expect(new Set(codes)).toEqual(new Set([PAGE_RAM]));
      const words = await actor.words(PAGES);
      const done = words.filter((word, page) => word === FIRST + page + 1).length;
      expect(words.every((word, page) => word === FIRST + page || word === FIRST + page + 1)).toBe(
        true,
      );
      expect(done).toBeLessThan(PAGES);
      const counted = await wordAt(actor.process, ELSEWHERE);
      expect(await actor.store(ELSEWHERE, counted! + 100)).toBe(true);
      const child = await actor.process.fork();
      expect(await resumeDevice(stage.device)).toBe(0);
      await launch.end;
      expect(played().report).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
      expect(await actor.words(PAGES)).toEqual(upTo(PAGES).map((page) => FIRST + page + 1));
      expect(await wordAt(actor.process, ELSEWHERE)).toBe(PAGES + 100);
      expect(await wordAt(child, ELSEWHERE)).toBe(counted! + 100);
    },
  );

  it('E7: what was on the device is there again, by no fault; commands wait so long', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(8, FIRST);
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 6)).toEqual([0, 6]);
    expect(await suspendDevice(stage.device)).toBe(0);
    let added: unknown = null;
    const command = new Aside(async () => {
      added = await actor.command(WEBHMM_DMIRROR_ADD, 8, RANGE, 5);
    });
    await command.asFarAsItGoes();
    expect([command.isOver, stage.device.memory.pagesInUse]).toEqual([false, 0]);
    // One page is unmapped meanwhile: nobody misses it.
    await actor.process.munmap(RANGE, PAGE_SIZE);
    const faults = stage.count('device_private_fault');
    expect(await resumeDevice(stage.device)).toBe(0);
    expect(stage.device.memory.pagesInUse).toBe(5);
    await command.end;
    expect(added).toEqual([errno.EFAULT, 0]);
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 7, RANGE + PAGE_SIZE, 5)).toEqual([0, 7]);
    expect(stage.count('device_private_fault')).toBe(faults);
    const wanted = upTo(8).map((page) => (page === 0 ? null : FIRST + page + 5));
    expect(await actor.words(8)).toEqual(wanted);
  });

  it('E7: a migration that had begun leaves behind what it has not moved yet', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(DEVICE, FIRST);
    const slept: Promise<number>[] = [];
    stage.beforeCopy = async () => {
      if (slept.length === 0) slept.push(suspendDevice(stage.device));
      await Promise.resolve();
    };
    // Windows of two pages, three of them in flight when the device is to sleep.
    const cmd = newDmirrorCmd(RANGE, DEVICE, 0, 2);
    expect(await actor.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, cmd)).toBe(errno.ENOENT);
    stage.beforeCopy = null;
    expect(await Promise.all(slept)).toEqual([0]);
    const { calloc, pagesInUse } = stage.device.memory;
    expect([pagesInUse, cmd.skipped[SKIP_NO_DESTINATION]! > 0]).toEqual([0, true]);
    expect(await resumeDevice(stage.device)).toBe(0);
    expect(stage.device.memory.calloc - calloc).toBeLessThan(DEVICE);
    expect(await actor.words(DEVICE)).toEqual(upTo(DEVICE).map((page) => FIRST + page));
  });

  it('E7: a process ends while its device sleeps: nothing comes back for it', async () => {
    const stage = stageOf();
    const [gone, stays] = [await stage.actor(), await stage.actor()];
    for (const actor of [gone, stays]) {
      await actor.map(4, FIRST);
      expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 4)).toEqual([0, 4]);
    }
    expect(await suspendDevice(stage.device)).toBe(0);
    await gone.end();
    expect(await resumeDevice(stage.device)).toBe(0);
    expect(stage.device.memory.pagesInUse).toBe(4);
    expect(await stays.words(4)).toEqual(upTo(4).map((page) => FIRST + page));
  });
}

function describeRefusals(stageOf: () => Stage): void {
  it('E7: asleep (I42) it can not be suspended, awake not be resumed', async () => {
    const { device } = stageOf();
    expect(await resumeDevice(device)).toBe(errno.EINVAL);
    const both = await Promise.all([suspendDevice(device), suspendDevice(device)]);
    expect(both).toEqual([0, errno.EBUSY]);
    const again = await Promise.all([resumeDevice(device), resumeDevice(device)]);
    expect(again).toEqual([0, errno.EINVAL]);
    expect(await suspendDevice(device)).toBe(0);
    expect(await resumeDevice(device)).toBe(0);
  });

  it('E7: RAM too full for the device: it says so, and is awake with its pages', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(8, FIRST);
    expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, 8)).toEqual([0, 8]);
    const { sys } = stage;
    const hoard: number[] = [];
    while (sys.pageAllocator.freePages > 3) hoard.push(allocPage(sys));
    expect(await suspendDevice(stage.device)).toBe(errno.ENOMEM);
    for (const pfn of hoard) putPage(sys, pfn);
    expect(stage.device.memory.pagesInUse).toBe(8);
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 8, RANGE, 5)).toEqual([0, 8]);
    expect(await actor.words(8)).toEqual(upTo(8).map((page) => FIRST + page + 5));
  });
}
