/*
 * F4, F5, F9, H1, H3 and M8 on the machine: the fault service and its policies drive kernels over
 * real memory. What needs several spaces in one service (F4), hints that change while it runs
 * (H2), a CPU that waits (M6's timeslice) and a second copy of a page (M8) is in
 * test/unit/driver/policy.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV } from '../../../src/driver/dmirror.ts';
import { launchUnder } from '../../../src/driver/launch-under.ts';
import { policyByName } from '../../../src/driver/policy/policies.ts';
import type { ReplayPolicy } from '../../../src/driver/policy/policy.ts';
import { NO_HINTS } from '../../../src/driver/policy/policy.ts';
import type { Hints } from '../../../src/driver/policy/policy.ts';
import { ServicePager } from '../../../src/driver/service-pager.ts';
import type { ServicePagerOptions } from '../../../src/driver/service-options.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';
import { arg, at, GID, kernelOf, load, op, store, v, WG, when } from '../../../src/engine/vm/ir.ts';
import type { LaunchReport } from '../../../src/engine/vm/launch.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { RANGE, Stage, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;
const PAGES = 160;

/** Declares the suite. */
export function describePolicies(engine: StageEngine): void {
  describe('policies on the machine', () => {
    let stage: Stage;
    let add: VmProgram;
    let addMany: VmProgram;
    beforeAll(async () => {
      stage = await Stage.open(engine, 1024, { ramBytes: 12 * 2 ** 20 });
      const body = (page: ReturnType<typeof op>, cell: ReturnType<typeof op>) => {
        const place = at(arg(0), op(op(page, '*', WORDS), '+', cell));
        return [load('x', place), store(place, op(v('x'), '+', 1))];
      };
      // An invocation for each page; and 32 of them on the words of 8 pages, which meet there.
      const own = when(op(GID, '<', arg(1)), body(op(GID, '+', 0), op(GID, '*', 0)));
      add = await stage.compile(kernelOf('add', 32, [own]), { slots: 8 });
      const page = op(op(WG, '*', 8), '+', op(GID, '%', 8));
      const many = body(page, op(op(GID, '/', 8), '%', 4));
      const options = { slots: 8, dedup: false, ringRecords: 512 };
      addMany = await stage.compile(kernelOf('add many', 32, many), options);
    });
    afterEach(async () => {
      await stage.clear();
      stage.checkEmpty();
    });
    afterAll(() => stage.close());
    const stageOf = (): Stage => stage;
    describeReplays(stageOf, () => addMany);
    describeHints(stageOf, () => add);
    describeDeparted(stageOf, () => add);
    describeSharing(stageOf);
  });
}

/** Runs a program under a policy, all bookkeeping compared with the page tables. */
async function runUnder(
  actor: Actor,
  program: VmProgram,
  workgroups: number,
  options: ServicePagerOptions,
): Promise<{ report: LaunchReport; pager: ServicePager }> {
  const space = new DeviceSpace(1);
  const { firstFrame, engine } = actor.stage;
  const all = { checks: true, ...options };
  const pager = new ServicePager(actor.mirror, space, RANGE, firstFrame, all);
  // Address 0 of the context is the range.
  const request = { space, workgroups, args: [0, PAGES] };
  const report = await launchUnder(pager, program, request);
  pager.close();
  engine.drop(space);
  return { report, pager };
}

function describeReplays(stageOf: () => Stage, programOf: () => VmProgram): void {
  it('F4: faults over 5 blocks, shuffled: each block is served once in a batch', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    const pages = 5 * HPAGE_PMD_NR;
    const used = upTo(40).map((lane) => ((lane * 7) % 5) * HPAGE_PMD_NR + Math.floor(lane / 5));
    await actor.map(pages, FIRST, RANGE, (page) => used.includes(page));
    const block = op(op(op(GID, '*', 7), '%', 5), '*', HPAGE_PMD_NR);
    const place = at(arg(0), op(op(block, '+', op(GID, '/', 5)), '*', WORDS));
    const body = [load('x', place), store(place, op(v('x'), '+', 1))];
    const ir = kernelOf('shuffled', 64, [when(op(GID, '<', 40), body)]);
    const program = await stage.compile(ir, { dedup: false, ringRecords: 128 });
    const traits = { replay: 'batch', batchLimit: 256 } as const;
    const options = { policy: policyByName('none'), traits, isComplete: true };
    const { report, pager } = await runUnder(actor, program, 1, options);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const { batches, groups, movedPages } = pager.service.counts;
    expect([batches, groups, movedPages]).toEqual([1, 5, 40]);
    for (const page of used) {
      expect(await wordAt(actor.process, RANGE + page * PAGE_SIZE)).toBe(FIRST + page + 1);
    }
  });

  it('F5: each replay policy: the same memory; replays BLOCK >= BATCH >= ONCE', async () => {
    const replays = new Map<ReplayPolicy, number>();
    const stale = new Map<ReplayPolicy, number>();
    for (const replay of ['block', 'batch', 'batch-flush', 'once', 'ack'] as const) {
      const actor = await stageOf().actor();
      // Over the border of two blocks of 2 MiB.
      await actor.map(PAGES, FIRST, RANGE);
      const { report, pager } = await runUnder(actor, programOf(), PAGES / 8, {
        policy: policyByName('none'),
        traits: { replay, batchLimit: 24 },
        isComplete: true,
      });
      expect(report, replay).toMatchObject({ outcome: 'done', killed: 0 });
      const { counts } = pager.service;
      replays.set(replay, counts.replays);
      stale.set(replay, counts.stale);
      for (const page of upTo(PAGES)) {
        const bytes = await actor.process.read(RANGE + page * PAGE_SIZE, 16);
        const wanted = [FIRST + page + 1, 1, 1, 1];
        expect([...new Uint32Array(bytes.buffer)], `${replay}, ${page}`).toEqual(wanted);
      }
      await actor.end();
    }
    expect(replays.get('block')).toBeGreaterThanOrEqual(replays.get('batch')!);
    expect(replays.get('batch')).toBeGreaterThanOrEqual(replays.get('once')!);
    expect(stale.get('batch-flush')).toBeLessThanOrEqual(stale.get('batch')!);
  });
}

function describeHints(stageOf: () => Stage, programOf: () => VmProgram): void {
  it.each([
    [{}, true],
    [{ preferred: 'device' }, true],
    [{ preferred: 'device', accessedBy: true }, true],
    [{ readMostly: true }, true],
    // The device would use these in RAM; where it can't, they come all the same.
    [{ preferred: 'ram' }, false],
    [{ accessedBy: true }, false],
    [{ readMostly: true, preferred: 'ram' }, false],
  ] as [Partial<Hints>, boolean][])(
    'H1: UVM with %j: everybody finishes and is right; moved as a matter of course: %s',
    async (some, moves) => {
      const actor = await stageOf().actor();
      await actor.map(PAGES, FIRST);
      const hints = [{ first: 0, outer: PAGES, hints: { ...NO_HINTS, ...some } }];
      const options = { policy: policyByName('uvm'), hints };
      const { report, pager } = await runUnder(actor, programOf(), PAGES / 32, options);
      expect(report).toMatchObject({ outcome: 'done', killed: 0, finished: PAGES / 32 });
      if (moves) expect(pager.stats).toMatchObject({ in: PAGES, out: 0, cancelled: 0 });
      expect(await actor.words(PAGES)).toEqual(upTo(PAGES).map((page) => FIRST + page + 1));
    },
  );

  it('H3: what was prefetched does not fault: none at all under any policy', async () => {
    for (const name of ['uvm', 'xe', 'kfd', 'tbn', 'none'] as const) {
      const actor = await stageOf().actor();
      await actor.map(PAGES, FIRST);
      expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, PAGES)).toEqual([0, PAGES]);
      const policy = policyByName(name);
      const { report, pager } = await runUnder(actor, programOf(), PAGES / 32, { policy });
      expect(report, name).toMatchObject({ outcome: 'done', faults: 0, passes: 1 });
      expect([name, pager.stats.in]).toEqual([name, 0]);
      expect(await actor.words(PAGES)).toEqual(upTo(PAGES).map((page) => FIRST + page + 1));
      await actor.end();
    }
  });
}

function describeDeparted(stageOf: () => Stage, programOf: () => VmProgram): void {
  it('F9: a process ends with its faults in a batch: they end it alone, others go on', async () => {
    const stage = stageOf();
    const [gone, stays] = [await stage.actor(), await stage.actor()];
    for (const actor of [gone, stays]) await actor.map(32, FIRST);
    const program = programOf();
    let batches = 0;
    const departed = await gone.launch(program, 1, {
      args: [RANGE, 32],
      before: async () => {
        // The batch is there, the address space is not.
        if (++batches === 1) await gone.process.machine.api.exit(gone.process.pid);
      },
    });
    const { report } = await stays.launch(program, 1, { args: [RANGE, 32] });
    expect(departed.report.finished + departed.report.killed).toBeGreaterThan(0);
    expect(departed.report).toMatchObject({ outcome: 'done', killed: 32 });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(await stays.words(32)).toEqual(upTo(32).map((page) => FIRST + page + 1));
  });
}

function describeSharing(stageOf: () => Stage): void {
  it('M8: many readers share one device page; a writer gets its own, all are told', async () => {
    const stage = stageOf();
    const parent = await stage.actor();
    await parent.map(1, FIRST);
    expect(await parent.command(HMM_DMIRROR_MIGRATE_TO_DEV, 1)).toEqual([0, 1]);
    const children = await Promise.all(upTo(3).map(() => parent.process.fork()));
    expect(stage.device.memory.pagesInUse).toBe(1);
    const invalidated = stage.count('mmu_invalidate');
    const ir = kernelOf('write', 64, [when(op(GID, '==', 0), [store(at(arg(0), 0), 7)])]);
    const { report } = await parent.launch(await stage.compile(ir), 1);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(stage.count('mmu_invalidate')).toBeGreaterThan(invalidated);
    expect(await parent.words(1)).toEqual([7]);
    for (const child of children) expect(await wordAt(child, RANGE)).toBe(FIRST);
  });
}
