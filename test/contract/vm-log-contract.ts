/*
 * What becomes of logs that fill up: more room, fewer workgroups in flight, and in the end a launch
 * that says why it can't go on. On every engine.
 */
import { describe, expect, it } from 'vitest';
import { PTE_ALL } from '../../src/engine/vm/abi.ts';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import {
  arg,
  at,
  atomic,
  GID,
  kernelOf,
  load,
  loop,
  op,
  reduce,
  set,
  store,
  times,
  v,
} from '../../src/engine/vm/ir.ts';
import type { VmExpr, VmStatement } from '../../src/engine/vm/ir.ts';
import type { LaunchReport, LaunchRequest } from '../../src/engine/vm/launch.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { MAX_LOG_WORDS } from '../../src/engine/vm/vm-engine.ts';
import type { VmEngine } from '../../src/engine/vm/vm-engine.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x8000_0000 - 8 * 4096;
const LANES = 32;

interface Setup {
  readonly frames: number;
  readonly slots: number;
  /** Room for states and logs. */
  readonly memoBytes: number;
  /** Pages that are there from the first; the others of the memory are not. */
  readonly resident?: readonly number[];
  readonly request?: Partial<LaunchRequest>;
}

/** Runs a case with little room for logs. */
async function play(
  engine: VmEngine,
  one: VmCase,
  { frames, slots, memoBytes, resident, request }: Setup,
): Promise<{ report: LaunchReport; bytes: Uint8Array }> {
  const space = new DeviceSpace(1);
  const bytes = one.bytes.slice();
  const numbers = Array.from({ length: frames }, (_, i) => i);
  const pager = new BackingPager(engine, space, bytes, one.base, numbers);
  const program = await engine.compile(one.kernel, { slots, memoBytes, logWords: 4, hash: true });
  if ('problems' in program) throw new Error(JSON.stringify(program.problems));
  if (resident !== undefined) {
    await pager.populate(
      PTE_ALL,
      resident.map((page) => one.base + page * 4096),
    );
  }
  const report = await launchKernel(program, {
    space,
    workgroups: one.workgroups,
    args: one.args,
    pager: (batch) => pager.serve(batch),
    ...request,
  });
  await pager.collect();
  engine.drop(space);
  return { report, bytes };
}

/** Room for the states of so many slots, and so many words of log for one of them. */
function roomFor(slots: number, words: number): number {
  return 4 * (slots * (1 + 4 * LANES) + LANES * words);
}

/** Loads page 1 of the memory, then words of page 0, and adds their sum to a word of it. */
function summing(rounds: VmExpr): VmCase {
  const body: VmStatement[] = [
    load('sum', arg(1)),
    ...times('i', rounds, [
      load('x', at(arg(0), op(v('i'), '&', 511))),
      set('sum', op(v('sum'), '+', v('x'))),
    ]),
    reduce('add', at(arg(0), op(GID, '+', 512)), v('sum')),
  ];
  const to = new CaseBuilder(BASE, 1);
  to.array(1024, (i) => i * 3);
  to.array(1024, () => 5);
  return to.build('summing', kernelOf('summing', LANES, body), 4);
}

/** Declares the suite for an engine. */
export function describeVmLogs(engineOf: () => VmEngine): void {
  describe('logs that fill up', () => {
    // Steps over the grid: adds 1 to each word, and counts in an order that faults decide.
    const workgroups = 16;
    const total = workgroups * LANES;
    const rounds = 16;
    const strides = (): VmCase => {
      const body = times('i', rounds, [
        set('at', op(GID, '+', op(v('i'), '*', total))),
        load('x', at(arg(0), v('at'))),
        store(at(arg(0), v('at')), op(v('x'), '+', 1)),
        atomic('t', 'add', arg(1), 1),
        store(at(arg(2), op(v('t'), '&', 1023)), 7),
      ]);
      const to = new CaseBuilder(BASE, 1);
      to.array(total * rounds, (i) => i * 5);
      to.array(1);
      to.array(1024);
      return to.build('strides', kernelOf('strides', LANES, body), workgroups);
    };

    it('of a window: fewer are in flight, who has begun goes on, all exactly once', async () => {
      const one = strides();
      const wanted = oracleOf(one);
      for (const frames of [3, 7]) {
        const setup = { frames, slots: workgroups, memoBytes: roomFor(workgroups, 128) };
        const { report, bytes } = await play(engineOf(), one, setup);
        expect(report, `${frames} frames`).toMatchObject({
          outcome: 'done',
          finished: workgroups,
          killed: 0,
          diverged: 0,
        });
        expect(report.window).toBeLessThan(8);
        expect(report.logWords).toBeGreaterThan(rounds);
        expectMemory(one, bytes, wanted);
      }
    });

    it('never more of them than have a log are in flight', async () => {
      const one = strides();
      let window = workgroups;
      const arrange = (work: Uint32Array): void => {
        for (let index = 1; index < work.length; index += 2) {
          expect(work[index]).toBeLessThan(window);
        }
      };
      const onPass = (counts: { window: number }): void => void (window = counts.window);
      const setup = { frames: 5, slots: workgroups, memoBytes: roomFor(workgroups, 60) };
      const { report } = await play(engineOf(), one, { ...setup, request: { arrange, onPass } });
      expect(report.outcome).toBe('done');
      expect(report.window).toBe(window);
      expect(window).toBeLessThan(3);
    });

    it('of one alone, as long as may be: it goes on where nothing faults any more', async () => {
      const one = summing({ kind: 'const', value: 300 });
      const setup = { frames: 2, slots: 2, memoBytes: roomFor(2, 100), resident: [0] };
      const { report, bytes } = await play(engineOf(), one, setup);
      expect(report).toMatchObject({ outcome: 'done', window: 1, finished: 4, diverged: 0 });
      expect(report.logWords).toBeLessThan(300);
      expectMemory(one, bytes, oracleOf(one));
    });

    it('of two that take each other the only frame: each goes on alone until it ends', async () => {
      // More loads of a page of one's own than there may be words of log.
      const rounds = MAX_LOG_WORDS + 100;
      const mine = op(GID, '*', 1024);
      const body: VmStatement[] = [
        store(at(arg(0), op(mine, '+', 512)), 7),
        ...times('i', rounds, [load('x', at(arg(0), op(mine, '+', op(v('i'), '&', 511))))]),
      ];
      const to = new CaseBuilder(BASE, 1);
      to.array(2048, (i) => i);
      const one = to.build('alone', kernelOf('alone', 1, body), 2);
      let passes = 0;
      const request: Partial<LaunchRequest> = {
        onPass: () => void passes++,
        isAborted: () => passes > 100,
      };
      const setup = { frames: 1, slots: 2, memoBytes: 2 ** 22, request };
      const { report, bytes } = await play(engineOf(), one, setup);
      expect(report).toMatchObject({ outcome: 'done', window: 2, finished: 2, diverged: 0 });
      expect(report.logWords).toBe(MAX_LOG_WORDS);
      const words = new Uint32Array(bytes.buffer);
      expect([words[511], words[512], words[513], words[1536]]).toEqual([511, 7, 513, 7]);
    });

    it('of one alone, and then it faults: the launch ends, and says for which', async () => {
      const body = times('i', 100, [
        load('x', op(arg(0), '+', op(op(v('i'), '&', 1), '*', 4096))),
        reduce('add', at(arg(0), op(GID, '+', 512)), v('x')),
      ]);
      const to = new CaseBuilder(BASE, 1);
      to.array(2048, () => 1);
      const one = to.build('bounce', kernelOf('bounce', LANES, body), 3);
      const setup = { frames: 1, slots: 2, memoBytes: roomFor(2, 24) };
      const { report, bytes } = await play(engineOf(), one, setup);
      expect(report).toMatchObject({ outcome: 'logFull', window: 1 });
      expect(report.workgroup).toBeGreaterThanOrEqual(0);
      expect(report.logWords).toBeGreaterThanOrEqual(16);
      expect(report.logWords).toBeLessThan(100);
      // What it did until then it did once.
      const words = new Uint32Array(bytes.buffer).subarray(512, 512 + 3 * LANES);
      expect(Math.max(...words)).toBeLessThanOrEqual(1 + 100);
    });

    it('by a loop without end behind a fault: it ran out of its budget', async () => {
      const body: VmStatement[] = [
        load('x', arg(1)),
        loop(op(v('x'), '>=', 0), [load('x', at(arg(0), op(v('x'), '&', 511)))]),
        store(arg(1), v('x')),
      ];
      const to = new CaseBuilder(BASE, 1);
      to.array(1024, (i) => i);
      to.array(1024, () => 5);
      const one = to.build('forever', kernelOf('forever', LANES, body), 4);
      const memoBytes = roomFor(4, 100);
      const request = { budget: 2000 };
      const { report } = await play(engineOf(), one, { frames: 2, slots: 4, memoBytes, request });
      expect(report.outcome).toBe('endless');
      expect(report.workgroup).toBeGreaterThanOrEqual(0);
    });
  });
}
