/*
 * F1 to F3, F6 to F8 and F10 to F12: faults of kernels and of device commands, from the ring to
 * the page. What the fault service decides by itself (F4, F5, F9, the rest of F8) is shown where it
 * is tested, in test/unit/driver/policy.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  HMM_DMIRROR_READ,
  HMM_DMIRROR_WRITE,
  WEBHMM_DMIRROR_ADD,
} from '../../../src/driver/dmirror.ts';
import {
  ACCESS_PREFETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  FAULT_ABSENT,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_LANE,
  FAULT_TYPE,
} from '../../../src/engine/vm/abi.ts';
import {
  arg,
  at,
  GID,
  kernelOf,
  LID,
  load,
  op,
  prefetch,
  reduce,
  store,
  v,
  WG,
  when,
} from '../../../src/engine/vm/ir.ts';
import type { VmExpr, VmIrKernel, VmStatement } from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ } from '../../../src/index.ts';
import { ELSEWHERE, RANGE, RW, Stage, fieldOf, upTo, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const WORDS = PAGE_SIZE / 4;
const FIRST = 1000;
const FIXED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

/** The first word of a page of the range. */
const pageWord = (page: VmExpr | number): VmExpr => at(arg(0), op(page, '*', WORDS));

/** A kernel of whose workgroup the first `lanes` invocations do something. */
function firstLanes(name: string, lanes: number, body: readonly VmStatement[]): VmIrKernel {
  return kernelOf(name, 64, [when(op(GID, '<', lanes), body)]);
}

/** Each invocation adds 1 to the first word of its own page. */
const incrementOwn = (lanes: number): VmIrKernel =>
  firstLanes('own page', lanes, [
    load('x', pageWord(GID)),
    store(pageWord(GID), op(v('x'), '+', 1)),
  ]);

/** Declares the suite. */
export function describeFaults(engine: StageEngine): void {
  describe('faults', () => {
    let stage: Stage;
    beforeAll(async () => {
      stage = await Stage.open(engine, 64);
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());
    const stageOf = (): Stage => stage;
    describeRing(stageOf);
    describeForbidden(stageOf);
    describeNoReplay(stageOf);
    describeSideEffects(stageOf);
  });
  describe('a device', () => describeDevice(engine));
  describeBenchmark(engine);
}

/** Pages that the device was given since. */
function movedSince(stage: Stage): () => number {
  const before = stage.device.memory.calloc;
  return () => stage.device.memory.calloc - before;
}

function describeRing(stageOf: () => Stage): void {
  it('F1: a ring of 8, 24 faults: none is lost, none served twice, records are whole', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(24, FIRST);
    const program = await stage.compile(incrementOwn(24), { ringRecords: 8, dedup: false });
    const moved = movedSince(stage);
    const { report, batches, pager } = await actor.launch(program, 1);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    // Whoever found no room comes again, until the ring has gone round three times.
    expect(batches.map(({ count, overflow }) => [count, overflow])).toEqual([
      [8, 16],
      [8, 8],
      [8, 0],
    ]);
    const lanes = fieldOf(batches, FAULT_LANE);
    expect(new Set(lanes).size).toBe(24);
    const addresses = fieldOf(batches, FAULT_ADDRESS);
    expect(addresses).toEqual(lanes.map((lane) => RANGE + lane * PAGE_SIZE));
    expect([moved(), pager.stats.mapped]).toEqual([24, 24]);
    expect(await actor.words(24)).toEqual(upTo(24).map((page) => FIRST + page + 1));
  });

  it('F2: 13 pages at once, room for 8: a replay at least, in the end all are there', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(13, FIRST);
    const program = await stage.compile(incrementOwn(13), { ringRecords: 8 });
    const { report, batches, pager } = await actor.launch(program, 1);
    expect([batches[0]!.count, batches[0]!.overflow]).toEqual([8, 5]);
    expect(report).toMatchObject({ outcome: 'done', overflow: 5 });
    expect(report.replayed).toBeGreaterThanOrEqual(1);
    expect(pager.stats).toMatchObject({ mapped: 13, evicted: 0 });
    const entries = upTo(13).map((page) => actor.mirror.pageTable.lookup(RANGE / PAGE_SIZE + page));
    expect(entries.every((entry) => entry !== 0)).toBe(true);
    expect(await actor.words(13)).toEqual(upTo(13).map((page) => FIRST + page + 1));
  });

  it('F3: 64 threads on one page: one migration, 63 duplicates', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(1, FIRST);
    const ir = kernelOf('one page', 64, [
      load('x', at(arg(0), 0)),
      store(at(arg(0), op(LID, '+', 1)), v('x')),
    ]);
    for (const dedup of [false, true]) {
      const program = await stage.compile(ir, { ringRecords: 128, dedup });
      const moved = movedSince(stage);
      const { batches, pager } = await actor.launch(program, 1);
      expect(batches.map(({ count }) => count)).toEqual([dedup ? 1 : 64]);
      expect([pager.stats.mapped, moved()]).toEqual([1, 1]);
      const words = new Uint32Array((await actor.process.read(RANGE, 65 * 4)).buffer);
      expect(words.every((word) => word === FIRST)).toBe(true);
    }
  });

  it('F3: a read, a write and an atomic of one page: served once, as what allows all', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(1, FIRST);
    // Shared with a child, so that a page that was served for reading may not be written.
    const child = await actor.process.fork();
    const ir = kernelOf('three ways', 64, [
      when(op(LID, '==', 0), [load('x', at(arg(0), 0)), store(at(arg(1), 0), v('x'))]),
      when(op(LID, '==', 1), [store(at(arg(0), 1), 7)]),
      when(op(LID, '>', 1), [reduce('add', at(arg(0), 2), 1)]),
    ]);
    await actor.map(1, 0, ELSEWHERE);
    const program = await stage.compile(ir, { dedup: false, ringRecords: 128 });
    const { batches, report } = await actor.launch(program, 1, { args: [RANGE, ELSEWHERE] });
    const pages = batches.map((batch) => new Set(fieldOf([batch], FAULT_ADDRESS).map(pageOf)));
    expect(pages).toEqual([new Set([RANGE / PAGE_SIZE]), new Set([ELSEWHERE / PAGE_SIZE])]);
    expect(report).toMatchObject({ outcome: 'done', passes: 3, killed: 0 });
    const words = new Uint32Array((await actor.process.read(RANGE, 12)).buffer);
    expect([...words]).toEqual([FIRST, 7, 62]);
    expect(await wordAt(child, RANGE)).toBe(FIRST);
    expect(await wordAt(child, RANGE + 4)).toBe(0);
  });
}

const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE);

function describeForbidden(stageOf: () => Stage): void {
  it('F6: a bad address is a fatal record with address and access; others finish', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(8, FIRST);
    const nowhere = ELSEWHERE;
    const ir = firstLanes('stray', 8, [
      when(op(GID, '==', 6), [load('x', nowhere + 4), store(pageWord(GID), v('x'))]),
      when(op(GID, '==', 7), [store(nowhere + PAGE_SIZE + 8, 1)]),
      load('y', pageWord(GID)),
      store(pageWord(GID), op(v('y'), '+', 1)),
    ]);
    const { report, batches, pager } = await actor.launch(await stage.compile(ir), 1);
    expect(report).toMatchObject({ outcome: 'done', killed: 2, finished: 1 });
    expect(pager.stats.cancelled).toBe(2);
    const faults = upTo(fieldOf(batches, FAULT_ADDRESS).length).map((i) =>
      [FAULT_ADDRESS, FAULT_ACCESS, FAULT_TYPE].map((field) => fieldOf(batches, field)[i]),
    );
    expect(faults).toContainEqual([nowhere + 4, ACCESS_READ, FAULT_ABSENT]);
    expect(faults).toContainEqual([nowhere + PAGE_SIZE + 8, ACCESS_WRITE, FAULT_ABSENT]);
    const added = upTo(8).map((page) => (page < 6 ? FIRST + page + 1 : FIRST + page));
    expect(await actor.words(8)).toEqual(added);
  });

  it('F7: a write to read-only memory, readers waiting: they get it, it is cancelled', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(1, FIRST);
    await actor.map(1, 0, ELSEWHERE);
    await actor.process.mprotect(RANGE, PAGE_SIZE, PROT_READ);
    const ir = kernelOf('readers and a writer', 64, [
      when(op(LID, '==', 9), [store(at(arg(0), 0), 666)]),
      load('x', at(arg(0), 0)),
      store(at(arg(1), LID), v('x')),
    ]);
    const program = await stage.compile(ir, { dedup: false, ringRecords: 128 });
    const play = { args: [RANGE, ELSEWHERE] };
    const { report, batches, pager } = await actor.launch(program, 1, play);
    expect(report).toMatchObject({ outcome: 'done', killed: 1 });
    // They met in one batch.
    const [first] = batches;
    expect(new Set(fieldOf([first!], FAULT_ACCESS))).toEqual(new Set([ACCESS_READ, ACCESS_WRITE]));
    expect([first!.count, pager.stats.cancelled]).toEqual([64, 1]);
    const words = new Uint32Array((await actor.process.read(ELSEWHERE, 256)).buffer);
    expect([...words]).toEqual(upTo(64).map((lane) => (lane === 9 ? 0 : FIRST)));
    expect(await actor.words(1)).toEqual([FIRST]);
  });

  it('F8: a prefetch of nothing is dropped: nobody ends, a good one brings its page', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(3, FIRST);
    const ir = firstLanes('hints', 1, [
      prefetch(0x1000),
      prefetch(0xffff_f000, true),
      prefetch(pageWord(1)),
      prefetch(pageWord(2), true),
      load('x', pageWord(0)),
      store(pageWord(2), v('x')),
    ]);
    const { report, batches, pager } = await actor.launch(await stage.compile(ir), 1);
    // The page of the store came with the hint: one batch.
    expect(report).toMatchObject({ outcome: 'done', killed: 0, passes: 2 });
    expect(fieldOf(batches, FAULT_ACCESS)).toContain(ACCESS_PREFETCH);
    expect(pager.stats).toMatchObject({ mapped: 3, cancelled: 0 });
    expect(await actor.words(3)).toEqual([FIRST, FIRST + 1, FIRST]);
  });
}

function describeNoReplay(stageOf: () => Stage): void {
  it('F10: a command of the device, which can not be replayed, is served and goes on', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(4, FIRST);
    await actor.map(4, 0, ELSEWHERE);
    const entry = (): number => actor.mirror.pageTable.lookup(RANGE / PAGE_SIZE + 3);
    expect(entry()).toBe(0);
    expect(await actor.command(HMM_DMIRROR_READ, 4, RANGE, ELSEWHERE)).toEqual([0, 4]);
    expect(entry()).not.toBe(0);
    expect(await actor.words(4, ELSEWHERE)).toEqual(upTo(4).map((page) => FIRST + page));
  });

  it('F10: one that can not be served ends by itself; a kernel and a command go on', async () => {
    const stage = stageOf();
    const actor = await stage.actor();
    await actor.map(4, FIRST);
    await actor.map(4, 0, ELSEWHERE);
    const beyond = RANGE + 3 * PAGE_SIZE;
    const program = await stage.compile(incrementOwn(4));
    const [bad, writes, launch] = await Promise.all([
      actor.command(HMM_DMIRROR_READ, 2, beyond, ELSEWHERE),
      actor.command(HMM_DMIRROR_WRITE, 2, RANGE + 64 * PAGE_SIZE, ELSEWHERE),
      actor.launch(program, 1),
    ]);
    expect([bad[0], writes[0]]).toEqual([errno.EFAULT, errno.EFAULT]);
    expect(launch.report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(await actor.command(WEBHMM_DMIRROR_ADD, 4, RANGE, 5)).toEqual([0, 4]);
    expect(await actor.words(4)).toEqual(upTo(4).map((page) => FIRST + page + 6));
    // What the failed one should have filled is as it was.
    expect(await actor.words(4, ELSEWHERE)).toEqual([0, 1, 2, 3]);
  });
}

/** The copy engine's part that is done by kernels, and a device that is lost. */
function describeDevice(engine: StageEngine): void {
  it('C3: a kernel fills bytes from any place to any other: not a byte beside them', async () => {
    const stage = await Stage.open(engine, 16);
    const actor = await stage.actor();
    // Each invocation one byte, so that four of them share a word.
    const ir = kernelOf('memset', 64, [
      when(op(GID, '<', arg(1)), [store(op(arg(0), '+', GID), arg(2), 'byte')]),
    ]);
    const program = await stage.compile(ir);
    const bytes = 4 * PAGE_SIZE;
    await actor.map(4, 0, RANGE, () => false);
    const wanted = new Uint8Array(bytes).fill(0x11);
    await actor.process.write(RANGE, wanted);
    const spans = [
      [1, 1],
      [PAGE_SIZE - 3, 7],
      [2 * PAGE_SIZE + 1, PAGE_SIZE + 130],
    ] as const;
    for (const [i, [at, count]] of spans.entries()) {
      const args = [RANGE + at, count, 0xa0 + i];
      const { report } = await actor.launch(program, Math.ceil(count / 64), { args });
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      wanted.fill(0xa0 + i, at, at + count);
    }
    const found = await actor.process.read(RANGE, bytes);
    expect(found.findIndex((byte, at) => byte !== wanted[at])).toBe(-1);
    await stage.close();
  });

  it('C6: the device is lost under a kernel: the launch fails, the CPU goes on', async () => {
    const stage = await Stage.open(engine, 16);
    const [actor, other] = [await stage.actor(), await stage.actor()];
    await actor.map(8, FIRST);
    await other.map(2, FIRST);
    const program = await stage.compile(incrementOwn(8), { ringRecords: 2 });
    let batches = 0;
    const { report } = await actor.launch(program, 1, {
      before: async () => {
        if (++batches === 2) await stage.machine.loseDevice();
      },
    });
    expect(['failed', 'cancelled']).toContain(report.outcome);
    // What was on the device is lost, and says so; what was not is as it was.
    const words = await actor.words(8);
    const lost = words.filter((word) => word === null).length;
    expect(lost).toBeGreaterThanOrEqual(1);
    expect(lost).toBeLessThan(8);
    for (const [page, word] of words.entries()) {
      if (word !== null) expect(word).toBe(FIRST + page);
    }
    expect(await other.words(2)).toEqual([FIRST, FIRST + 1]);
    expect(await other.store(RANGE, 5)).toBe(true);
    await actor.end();
    await other.end();
    stage.check();
    await stage.close();
  });
}

function describeSideEffects(stageOf: () => Stage): void {
  it('F11: a counter that is added to before a fault is not doubled by the replay', async () => {
    const stage = stageOf();
    const lanes = 48;
    const ir = firstLanes('count, then fault', lanes, [
      // Both kinds of side effect: an atomic one, and a cell of the invocation's own.
      reduce('add', at(arg(1), 0), 1),
      load('own', at(arg(1), op(GID, '+', 1))),
      store(at(arg(1), op(GID, '+', 1)), op(v('own'), '+', 1)),
      load('x', pageWord(op(GID, '%', 16))),
      store(pageWord(op(op(GID, '%', 16), '+', 16)), v('x')),
      reduce('add', at(arg(1), 100), 1),
    ]);
    const program = await stage.compile(ir);
    for (const forceAt of [0, 1, 2, 3, 4, 5, undefined]) {
      const actor = await stage.actor();
      await actor.map(32, FIRST);
      await actor.map(1, 0, ELSEWHERE);
      // The counters' page is taken away again and again.
      let taken = 0;
      const { report } = await actor.launch(program, 1, {
        args: [RANGE, ELSEWHERE],
        request: forceAt === undefined ? {} : { forceAt },
        after: async ({ pass }) => {
          if (pass % 2 === 1 && taken++ < 4) await wordAt(actor.process, ELSEWHERE);
        },
      });
      expect(report).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
      expect(report.replayed).toBeGreaterThanOrEqual(2);
      const cells = new Uint32Array((await actor.process.read(ELSEWHERE, 404)).buffer);
      expect([cells[0], cells[100]], `forced at ${forceAt}`).toEqual([lanes, lanes]);
      expect([...cells.subarray(1, 1 + lanes)]).toEqual(upTo(lanes).map(() => 1));
      await actor.end();
    }
  });
}

/** F12: 64 MiB on the CPU engine; on WebGPU 2 MiB, since each pass waits for a readback there. */
function describeBenchmark(engine: StageEngine): void {
  const pages = engine === 'cpu' ? 16_384 : 512;
  describe(`F12: the fault benchmark's grid: ${pages} pages, a word of each`, () => {
    const few = engine === 'cpu' ? pages : pages / 4;
    const options = { slots: 8, dedup: false, ringRecords: 64 };
    const ownPages = kernelOf('own', 1, [store(pageWord(WG), op(WG, '+', 1))]);
    let stage: Stage;
    let own: VmProgram;
    let shared: VmProgram;
    beforeAll(async () => {
      const ramBytes = pages * PAGE_SIZE * 1.5;
      stage = await Stage.open(engine, pages + 64, { ramBytes });
      // A thread is a workgroup of one invocation; as many run at once as the window has room for.
      own = await stage.compile(ownPages, options);
      const page = op(WG, '/', 8);
      const cell = at(arg(0), op(op(page, '*', WORDS), '+', op(WG, '%', 8)));
      shared = await stage.compile(kernelOf('shared', 1, [store(cell, op(WG, '+', 1))]), options);
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());

    /** Runs `threads` at a time over so many pages; answers faults and pages moved. */
    async function play(actor: Actor, program: VmProgram, threads: number, touched: number) {
      const { process } = actor;
      await process.mmap({ addr: RANGE, length: touched * PAGE_SIZE, prot: RW, flags: FIXED });
      const workgroups = program === shared ? 8 * touched : touched;
      const request = { window: threads };
      const { report, pager } = await actor.launch(program, workgroups, { request });
      expect(report).toMatchObject({ outcome: 'done', killed: 0, overflow: 0 });
      expect(pager.stats).toMatchObject({ mapped: touched, evicted: 0 });
      return report.faults;
    }

    /** Every word is what its thread has stored; looked at in steps. */
    async function check(actor: Actor, touched: number, threadsPerPage = 1): Promise<void> {
      for (let page = 0; page < touched; page += 61) {
        const lane = page % threadsPerPage;
        const word = await wordAt(actor.process, RANGE + page * PAGE_SIZE + lane * 4);
        expect(word, `page ${page}`).toBe(page * threadsPerPage + lane + 1);
      }
    }

    it('F12: one thread: a fault and a migration for each page', async () => {
      const actor = await stage.actor();
      const moved = movedSince(stage);
      expect(await play(actor, own, 1, few)).toBe(few);
      expect(moved()).toBe(few);
      await check(actor, few);
    });

    it('F12: 8 threads, each its own pages: a fault and a migration for each page', async () => {
      const actor = await stage.actor();
      const moved = movedSince(stage);
      expect(await play(actor, own, 8, pages)).toBe(pages);
      expect(moved()).toBe(pages);
      await check(actor, pages);
    });

    it('F12: 8 threads on the same pages: 8 faults and one migration for each page', async () => {
      const actor = await stage.actor();
      const moved = movedSince(stage);
      expect(await play(actor, shared, 8, few)).toBe(8 * few);
      expect(moved()).toBe(few);
      await check(actor, few, 8);
    });

    it('F12: 4 processes at once, a quarter each: a migration for each page', async () => {
      const actors = await Promise.all([0, 1, 2, 3].map(() => stage.actor()));
      const moved = movedSince(stage);
      const each = pages / 4;
      const faults = await Promise.all(
        actors.map(async (actor) => play(actor, await stage.compile(ownPages, options), 8, each)),
      );
      expect(faults).toEqual([each, each, each, each]);
      expect(moved()).toBe(pages);
      for (const actor of actors) await check(actor, each);
    });
  });
}
