/*
 * What every engine promises for kernels over virtual memory: the right memory whatever faults,
 * with any number of frames and any window, and faults reported as they are.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  FAULT_ABSENT,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_CONTEXT,
  FAULT_PERMISSION,
  FAULT_TYPE,
  FAULT_WORDS,
  PTE_ALL,
} from '../../src/engine/vm/abi.ts';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import {
  arg,
  at,
  checkpoint,
  GID,
  kernelOf,
  load,
  loop,
  op,
  pack,
  prefetch,
  restore,
  set,
  store,
  v,
  WG,
  when,
  word,
} from '../../src/engine/vm/ir.ts';
import type { VmStatement } from '../../src/engine/vm/ir.ts';
import type { FaultBatch, LaunchReport, LaunchRequest } from '../../src/engine/vm/launch.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { CaseBuilder, SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmEngine, VmProgram, VmProgramOptions } from '../../src/engine/vm/vm-engine.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';
import { describeVmLogs } from './vm-log-contract.ts';

/** An engine under test. */
export interface VmHarness {
  readonly name: string;
  /** Opens an engine with so many frames. */
  open(frames: number): Promise<VmEngine>;
  close(): Promise<void> | void;
}

/** Crosses the border of two blocks of 2 MiB, and the sign bit of an address. */
const BASE = 0x8000_0000 - 8 * 4096;

/** A launch of a case, everything kept for questions afterwards. */
interface Played {
  readonly report: LaunchReport;
  readonly bytes: Uint8Array;
  readonly pager: BackingPager;
  readonly batches: readonly FaultBatch[];
  readonly program: VmProgram;
}

interface PlayOptions extends Partial<VmProgramOptions> {
  readonly frames: number;
  readonly request?: Partial<LaunchRequest>;
  /** Done before the launch. */
  readonly before?: (pager: BackingPager, space: DeviceSpace) => Promise<void> | void;
  readonly context?: number;
}

async function compiled(
  engine: VmEngine,
  one: VmCase,
  options: Partial<VmProgramOptions>,
): Promise<VmProgram> {
  const program = await engine.compile(one.kernel, { slots: 4, hash: true, ...options });
  if ('problems' in program) throw new Error(JSON.stringify(program.problems));
  return program;
}

async function play(engine: VmEngine, one: VmCase, options: PlayOptions): Promise<Played> {
  const { frames, request = {}, before, context = 3, ...compile } = options;
  const space = new DeviceSpace(context);
  const bytes = one.bytes.slice();
  const numbers = Array.from({ length: frames }, (_, i) => i);
  const pager = new BackingPager(engine, space, bytes, one.base, numbers);
  const program = await compiled(engine, one, compile);
  await before?.(pager, space);
  const batches: FaultBatch[] = [];
  const report = await launchKernel(program, {
    space,
    workgroups: one.workgroups,
    args: one.args,
    pager: (batch) => {
      batches.push({ ...batch, records: batch.records.slice() });
      return pager.serve(batch);
    },
    ...request,
  });
  await pager.collect();
  engine.drop(space);
  return { report, bytes, pager, batches, program };
}

/** A field of each record of each batch. */
function fieldOf(batches: readonly FaultBatch[], field: number): number[] {
  return batches.flatMap(({ records }) =>
    Array.from(
      { length: records.length / FAULT_WORDS },
      (_, i) => records[i * FAULT_WORDS + field]!,
    ),
  );
}

/** Declares the suite for an engine. */
export function describeVmEngine(harness: VmHarness): void {
  describe(`kernels over virtual memory: ${harness.name}`, () => {
    let engine: VmEngine;
    beforeAll(async () => {
      engine = await harness.open(1024);
    });
    afterAll(async () => {
      engine.destroy();
      await harness.close();
    });
    describeShapes(() => engine);
    describeFaults(() => engine);
    describeEnds(() => engine);
    describeVmLogs(() => engine);
  });
}

function describeShapes(engineOf: () => VmEngine): void {
  for (const name of SHAPE_NAMES) {
    it(`${name}: right with all of memory, with 3 pages, with 1`, async () => {
      const one = shapeCase(name, 4, BASE, 3);
      const wanted = oracleOf(one);
      for (const frames of [200, 3, 1]) {
        const slots = frames === 200 ? 4 : 3;
        const played = await play(engineOf(), one, { frames, slots });
        const { workgroups } = one;
        expect(played.report, `${frames} frames`).toMatchObject({
          outcome: 'done',
          killed: 0,
          diverged: 0,
          finished: workgroups,
        });
        expect(played.pager.moved.in).toBeGreaterThanOrEqual(one.bytes.length / 4096 / 16);
        expectMemory(one, played.bytes, wanted);
      }
    });

    it(`${name}: no fault and one pass when everything is there`, async () => {
      const one = shapeCase(name, 4, BASE, 4);
      const played = await play(engineOf(), one, {
        frames: 200,
        before: (pager) => pager.populate(),
      });
      expect(played.report).toMatchObject({ passes: 1, faults: 0, replayed: 0 });
      expectMemory(one, played.bytes, oracleOf(one));
    });
  }
}

function describeFaults(engineOf: () => VmEngine): void {
  const elementwise = (groups = 4): VmCase => shapeCase('elementwise', groups, BASE, 5);

  it('a record names address, access, type and context', async () => {
    const { batches } = await play(engineOf(), elementwise(), { frames: 8, context: 9 });
    expect(fieldOf(batches, FAULT_CONTEXT).every((context) => context === 9)).toBe(true);
    const one = elementwise();
    const pages = fieldOf(batches, FAULT_ADDRESS).map((address) => Math.floor(address / 4096));
    expect(new Set(pages)).toEqual(new Set([0, 1, 2].map((page) => BASE / 4096 + page)));
    const kinds = fieldOf(batches, FAULT_ACCESS);
    const target = pages.indexOf(one.args[2]! / 4096);
    expect(kinds[target]).toBe(ACCESS_WRITE);
    expect(kinds[pages.indexOf(one.args[0]! / 4096)]).toBe(ACCESS_READ);
    expect(new Set(fieldOf(batches, FAULT_TYPE))).toEqual(new Set([FAULT_ABSENT]));
  });

  it('a page is reported once a pass, or by everyone where that is asked for', async () => {
    const once = await play(engineOf(), elementwise(), { frames: 8 });
    expect(once.batches.map(({ count }) => count)).toEqual([1, 1, 1]);
    const all = await play(engineOf(), elementwise(), {
      frames: 8,
      dedup: false,
      ringRecords: 512,
    });
    expect(all.batches.map(({ count }) => count)).toEqual([256, 256, 256]);
    expectMemory(elementwise(), all.bytes, once.bytes);
  });

  it('a full ring counts what it drops, and what was dropped comes again', async () => {
    const options = { frames: 8, dedup: false, ringRecords: 5 };
    const { batches, report, bytes } = await play(engineOf(), elementwise(), options);
    expect(batches.map(({ count, overflow }) => [count, overflow])).toEqual([
      [5, 251],
      [5, 251],
      [5, 251],
    ]);
    expect(report).toMatchObject({ outcome: 'done', faults: 768, overflow: 753 });
    expectMemory(elementwise(), bytes, oracleOf(elementwise()));
  });

  it('a store to a page that may only be read is a permission fault', async () => {
    const one = shapeCase('increment', 4, BASE, 5);
    const { batches, bytes, report } = await play(engineOf(), one, { frames: 8 });
    expect(fieldOf(batches, FAULT_TYPE)).toEqual([FAULT_ABSENT, FAULT_PERMISSION]);
    expect(fieldOf(batches, FAULT_ACCESS)).toEqual([ACCESS_READ, ACCESS_WRITE]);
    expect(report.passes).toBe(3);
    expectMemory(one, bytes, oracleOf(one));
  });

  it('never more workgroups than the window are in flight', async () => {
    const one = elementwise(10);
    for (const window of [1, 3]) {
      let most = 0;
      const arrange = (work: Uint32Array): void => {
        most = Math.max(most, work.length / 2);
      };
      const played = await play(engineOf(), one, {
        frames: 8,
        slots: 8,
        request: { window, arrange },
      });
      expect(most).toBe(window);
      expect(played.report.finished).toBe(10);
      expectMemory(one, played.bytes, oracleOf(one));
    }
  });

  it('only stopped workgroups run again', async () => {
    const one = elementwise(16);
    const first = one.args[0]!;
    const { report } = await play(engineOf(), one, {
      frames: 8,
      slots: 16,
      before: (pager) => pager.populate(PTE_ALL, pager.base === first ? [1, 2].map(pageOf) : []),
    });
    // The first array is absent for all 16, once; then nothing is.
    expect(report).toMatchObject({ passes: 2, replayed: 16, faults: 1 });
  });

  it('2 MiB are mapped by one entry, and by pages again after one changes', async () => {
    const block = 3 * 2 ** 21;
    const one = shapeCase('elementwise', 4, block + 7 * 4096, 5);
    const engine = engineOf();
    const space = new DeviceSpace(1);
    const first = 256;
    const fill = (): void => {
      for (let page = 0; page < 3; page++) {
        const bytes = one.bytes.subarray(page * 4096, page * 4096 + 4096);
        engine.writeFrame(first + 7 + page, bytes);
      }
    };
    fill();
    expect(space.mapBlock(block + 12345, first, PTE_ALL)).toBe(0);
    const program = await compiled(engine, one, {});
    const request = { space, workgroups: 4, args: one.args, pager: () => false };
    expect(await launchKernel(program, request)).toMatchObject({ outcome: 'done', faults: 0 });
    const wanted = oracleOf(one).slice(2 * 4096, 3 * 4096);
    expect((await engine.readFrames([first + 9]))[0]).toEqual(wanted);

    // One page less: the others stay where they were.
    fill();
    space.unmapPage(one.base + 2 * 4096);
    const records: FaultBatch[] = [];
    const pager = (batch: FaultBatch): void => {
      records.push({ ...batch, records: batch.records.slice() });
      engine.writeFrame(5, one.bytes.subarray(2 * 4096, 3 * 4096));
      space.mapPage(one.base + 2 * 4096, 5, PTE_ALL);
    };
    const again = await launchKernel(program, { ...request, pager });
    expect(again).toMatchObject({ outcome: 'done', faults: 1, passes: 2 });
    expect(Math.floor(fieldOf(records, FAULT_ADDRESS)[0]! / 4096)).toBe(one.base / 4096 + 2);
    expect((await engine.readFrames([5]))[0]).toEqual(wanted);
    engine.drop(space);
  });

  it('a hint is reported and stops nobody; a useless one changes nothing', async () => {
    const ir = kernelOf('hints', 64, [
      prefetch(at(arg(1), GID), true),
      prefetch(0x1000),
      load('x', at(arg(0), GID)),
      store(at(arg(1), GID), v('x')),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(128, (i) => i + 1);
    to.array(128);
    const one = to.build('hints', ir, 2);
    const { report, batches, bytes } = await play(engineOf(), one, { frames: 4 });
    // Without the hint: one pass a page. With it both pages come in after the first.
    expect(report).toMatchObject({ outcome: 'done', passes: 2, killed: 0 });
    const pages = fieldOf(batches, FAULT_ADDRESS).map((address) => Math.floor(address / 4096));
    expect(new Set(pages)).toEqual(new Set([1, BASE / 4096, BASE / 4096 + 1]));
    expectMemory(one, bytes, oracleOf(one));
  });
}

function pageOf(index: number): number {
  return BASE + index * 4096;
}

function describeEnds(engineOf: () => VmEngine): void {
  it('an access to nowhere ends its invocation; all others finish', async () => {
    const ir = kernelOf('stray', 64, [
      load('x', at(arg(0), GID)),
      when(op(op(GID, '%', 64), '==', 5), [store(0x1000, 1)]),
      store(at(arg(0), GID), op(v('x'), '+', 1)),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(256, (i) => i * 3);
    const one = to.build('stray', ir, 4);
    const { report, bytes } = await play(engineOf(), one, { frames: 4 });
    expect(report).toMatchObject({ outcome: 'done', killed: 4, finished: 4 });
    const words = new Uint32Array(bytes.buffer);
    for (let i = 0; i < 256; i++) expect(words[i]).toBe(i % 64 === 5 ? i * 3 : i * 3 + 1);
  });

  it('a kernel without end is ended by its budget, the next launch is not touched', async () => {
    const ir = kernelOf('forever', 64, [
      load('x', at(arg(0), GID)),
      loop(op(v('x'), '>=', 0), [set('x', op(v('x'), '+', 1))]),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(64);
    const one = to.build('forever', ir, 1);
    const endless = await play(engineOf(), one, { frames: 4, request: { budget: 1000 } });
    expect(endless.report).toMatchObject({ outcome: 'endless', passes: 2, finished: 0 });
    const next = shapeCase('chase', 2, BASE, 1);
    const played = await play(engineOf(), next, { frames: 4 });
    expectMemory(next, played.bytes, oracleOf(next));
  });

  it('a loop of exactly its budget finishes', async () => {
    const one = shapeCase('chase', 2, BASE, 1);
    // 12 rounds and the look at the condition that ends them.
    const enough = await play(engineOf(), one, { frames: 4, request: { budget: 13 } });
    expect(enough.report.outcome).toBe('done');
    const short = await play(engineOf(), one, { frames: 4, request: { budget: 12 } });
    expect(short.report.outcome).toBe('endless');
  });

  it('a pager that never serves ends as stalled, one that gives up as cancelled', async () => {
    const one = shapeCase('chase', 2, BASE, 1);
    const idle = { request: { pager: () => {}, patience: 5 }, frames: 1 };
    expect((await play(engineOf(), one, idle)).report).toMatchObject({
      outcome: 'stalled',
      passes: 6,
    });
    const quits = { request: { pager: () => false }, frames: 1 };
    expect((await play(engineOf(), one, quits)).report.outcome).toBe('cancelled');
  });

  it('a full log grows and nothing is lost', async () => {
    const one = shapeCase('bfs', 4, BASE, 9);
    const { report, bytes } = await play(engineOf(), one, { frames: 2, logWords: 4 });
    expect(report.outcome).toBe('done');
    expect(report.logGrowths).toBeGreaterThanOrEqual(1);
    expectMemory(one, bytes, oracleOf(one));
  });

  it('a long loop with checkpoints needs no long log, one without does', async () => {
    // Each invocation sums 200 words, two pages away from each other in turn.
    const sum = (checks: boolean): VmStatement[] => [
      restore('s', [0, 0, 0, 0]),
      set('i', word('s', 0)),
      set('sum', word('s', 1)),
      loop(op(v('i'), '<', 200), [
        ...(checks ? [pack('s', [v('i'), v('sum'), 0, 0]), checkpoint('s')] : []),
        load('x', at(arg(0), op(op(op(v('i'), '&', 1), '*', 1024), '+', v('i')))),
        set('sum', op(v('sum'), '+', v('x'))),
        set('i', op(v('i'), '+', 1)),
      ]),
      store(at(arg(1), GID), v('sum')),
    ];
    for (const checks of [true, false]) {
      const to = new CaseBuilder(BASE, 1);
      to.array(2048, (i) => i * i);
      to.array(64);
      const one = to.build('sum', kernelOf('sum', 64, sum(checks)), 1);
      const { report, bytes } = await play(engineOf(), one, { frames: 1, logWords: 8 });
      expect(report).toMatchObject({ outcome: 'done', diverged: 0 });
      if (checks) expect(report.logGrowths).toBe(0);
      else expect(report.logGrowths).toBeGreaterThan(3);
      expectMemory(one, bytes, oracleOf(one));
    }
  });

  /** A word of each of `pages` pages, with a checkpoint behind each; or round and round. */
  const walk = (pages: number, rounds: number): VmCase => {
    const page = op(op(word('s', 0), '&', pages - 1), '*', 1024);
    const ir = kernelOf('walk', 1, [
      restore('s', [0, 0, 0, 0]),
      loop(op(word('s', 0), '<', rounds), [
        load('x', at(arg(0), page)),
        pack('s', [op(word('s', 0), '+', 1), op(word('s', 1), '+', v('x')), 0, 0]),
        checkpoint('s'),
      ]),
      store(arg(0), word('s', 1)),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(pages * 1024, (i) => i);
    return to.build('walk', ir, 1);
  };

  it('who comes from checkpoint to checkpoint is not stalled', async () => {
    const one = walk(32, 32);
    const request = { patience: 4 };
    const { report, bytes } = await play(engineOf(), one, { frames: 1, request });
    expect(report).toMatchObject({ outcome: 'done', workgroup: -1 });
    expect(report.passes).toBeGreaterThan(32);
    expectMemory(one, bytes, oracleOf(one));
  });

  it('rounds count for the budget from pass to pass, behind checkpoints, too', async () => {
    const one = walk(2, 40);
    const run = (budget: number): ReturnType<typeof play> =>
      play(engineOf(), one, { frames: 1, request: { budget } });
    // The loop looks once more before it ends.
    expect((await run(41)).report.outcome).toBe('done');
    const { report } = await run(39);
    expect(report).toMatchObject({ outcome: 'endless', workgroup: 0 });
  });

  it('a checkpoint is not that of the workgroup that had the slot before', async () => {
    const ir = kernelOf('marks', 64, [
      restore('s', [0, 0, 0, 0]),
      when(op(word('s', 0), '==', 0), [
        load('x', at(arg(0), GID)),
        pack('s', [1, v('x'), 0, 0]),
        checkpoint('s'),
      ]),
      store(at(arg(1), GID), op(word('s', 1), '+', 1)),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(512, (i) => i * 3);
    to.array(512);
    const one = to.build('marks', ir, 8);
    // With one frame each workgroup stops before its checkpoint, and behind it.
    const { report, bytes } = await play(engineOf(), one, { frames: 1, slots: 1 });
    expect(report.outcome).toBe('done');
    expectMemory(one, bytes, oracleOf(one));
  });

  it('the last workgroup is admitted, and none twice', async () => {
    const ir = kernelOf('count', 64, [
      load('x', at(arg(0), WG)),
      when(op(op(GID, '%', 64), '==', 0), [store(at(arg(0), WG), op(v('x'), '+', 1))]),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(37);
    const one = to.build('count', ir, 37);
    const { report, bytes } = await play(engineOf(), one, { frames: 1, slots: 5 });
    expect(report.finished).toBe(37);
    const words = new Uint32Array(bytes.buffer);
    expect([...words.subarray(0, 38)]).toEqual([...Array<number>(37).fill(1), 0]);
  });
}
