/*
 * C1 to C7: the copy engine. The originals are tests of channels and pushes of a GPU's own copy
 * engines; here a push is a flight (what goes to the device in one submission), a channel's order
 * is that of the device's queue, and a tracker is what makes a list wait for RAM that a readback
 * has still to write. All of memory is compared with a model that shares no code with the engines.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { Prng } from '../../../src/base/prng.ts';
import { CommandList } from '../../../src/engine/command-list.ts';
import type { EngineStats, StrategyName } from '../../../src/engine/copy-engine.ts';
import { Bench, expectEqualWords, settleAll } from '../engine-harness.ts';
import type { EngineHarness } from '../engine-harness.ts';

/** Pages of the largest staging slot of `SMALL_SLOTS`: what a flight carries at most. */
const FLIGHT_PAGES = 64;
/** Small staging slots, so that a few pages are many flights. */
export const SMALL_SLOTS = { slotPages: [4, 16, FLIGHT_PAGES], lanes: 2 };

/** Declares the suite. */
export function describeCopyScenarios(harness: EngineHarness): void {
  describe(`copies: ${harness.title}`, () => {
    let bench: Bench;
    const isGpu = harness.strategies.includes('staging');
    beforeAll(async () => {
      bench = await Bench.open(harness, 512, 21);
    });
    afterAll(async () => {
      await bench.engine.close();
    });
    const benchOf = (): Bench => bench;
    describePushes(harness, isGpu, benchOf);
    describeOrder(harness, isGpu, benchOf);
    describeClears(harness, benchOf);
    describeMerging(isGpu, benchOf);
    describeDeadChannel(harness);
    describeClocks(benchOf);
  });
}

/** What a list added to the totals. */
async function spend(
  bench: Bench,
  list: CommandList,
  strategy: StrategyName,
): Promise<EngineStats> {
  const before = { ...bench.engine.stats };
  await bench.run(list, strategy);
  const spent = { ...bench.engine.stats };
  for (const key of Object.keys(spent) as (keyof EngineStats)[]) spent[key] -= before[key];
  return spent;
}

function copyOf(from: number, to: number, pages: number): CommandList {
  const list = new CommandList(1);
  list.copy(from, to, pages);
  return list;
}

/** Submits lists one behind the other without waiting; the model takes them in that order. */
async function runTogether(
  bench: Bench,
  lists: readonly CommandList[],
  strategy: (list: number) => StrategyName = () => 'auto',
): Promise<void> {
  const answers = lists.map((list, i) => bench.engine.submit(list, strategy(i)));
  const codes = await settleAll(answers);
  expect(codes.every((code) => code === 0)).toBe(true);
  for (const list of lists) bench.settle(list, bench.model.apply(list));
}

function describePushes(harness: EngineHarness, isGpu: boolean, benchOf: () => Bench): void {
  const pushes = isGpu ? 'it takes one submission, a page more takes two' : 'every byte arrives';
  it(`C1: a push of exactly the largest size: ${pushes}`, async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    const strategy = isGpu ? 'staging' : 'cpu';
    for (const [pages, flights] of [
      [FLIGHT_PAGES - 1, 1],
      [FLIGHT_PAGES, 1],
      [FLIGHT_PAGES + 1, 2],
      [2 * FLIGHT_PAGES, 2],
    ] as const) {
      const up = await spend(bench, copyOf(host.first + 3, vram.first + 5, pages), strategy);
      const down = await spend(bench, copyOf(vram.first + 5, host.first + 200, pages), strategy);
      const wanted = isGpu ? flights : 0;
      expect([pages, up.submissions, down.submissions]).toEqual([pages, wanted, wanted]);
    }
    await bench.compare();
  });

  it('C1: inline data: pages that travel in the commands themselves arrive', async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    const strategy = harness.can('writeBuffer', 'up') && isGpu ? 'writeBuffer' : 'auto';
    const list = new CommandList(3);
    for (const [i, pages] of [1, FLIGHT_PAGES, FLIGHT_PAGES + 3].entries()) {
      list.copy(host.first + 7, vram.first + i * 100, pages);
    }
    const { maps } = await spend(bench, list, strategy);
    expect(maps, 'staging buffers mapped').toBe(0);
    await bench.compare();
  });

  it('C1: pushes interleaved, both ways, none waited for: each sees those before it', async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    // A page goes up, on to the next frame, down somewhere else, up from there, and so on.
    const lists: CommandList[] = [];
    for (let i = 0; i < 12; i++) {
      lists.push(copyOf(host.first + i, vram.first + i, 1 + (i % 3)));
      lists.push(copyOf(vram.first + i, vram.first + 100 + i, 1));
      lists.push(copyOf(vram.first + 100 + i, host.first + 1 + i, 1));
    }
    await runTogether(bench, lists);
    await bench.compare();
  });

  it('C1: 40 pushes of all ways of copying at once leave what one by one leaves', async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    const prng = new Prng(40);
    const ups = harness.strategies.filter((name) => harness.can(name, 'up'));
    const lists = Array.from({ length: 40 }, () => {
      const pages = 1 + prng.below(90);
      const from = host.first + prng.below(host.count - pages);
      return copyOf(from, vram.first + prng.below(vram.count - pages), pages);
    });
    await runTogether(bench, lists, (i) => ups[i % ups.length]!);
    await bench.compare();
  });
}

function describeOrder(harness: EngineHarness, isGpu: boolean, benchOf: () => Bench): void {
  it('C2: a list waits for RAM that an earlier one still writes, no other list does', async () => {
    const bench = benchOf();
    const { engine, host, vram } = bench;
    const before = engine.stats.submissions;
    const down = copyOf(vram.first + 9, host.first, 8);
    const bystander = copyOf(host.first + 50, vram.first + 300, 1);
    const reader = copyOf(host.first + 7, vram.first + 400, 1);
    const lists = [down, bystander, reader];
    const answers = lists.map((list) => engine.submit(list));
    // The reader would take what RAM held before the readback.
    if (isGpu) expect(engine.stats.submissions - before).toBe(2);
    expect(await settleAll(answers)).toEqual([0, 0, 0]);
    for (const list of lists) bench.settle(list, bench.model.apply(list));
    await bench.compare();
  });

  it('C4: a pipeline of independent jobs, then a list that needs all of them', async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    for (const strategy of harness.strategies.filter((name) => harness.can(name, 'within'))) {
      // Many flights, then a barrier: the next list reads what each of them has written.
      const pipelined = new CommandList(150);
      for (let i = 0; i < 150; i++) pipelined.copy(host.first + i, vram.first + ((i * 7) % 150));
      const moves = new CommandList(150);
      for (let i = 0; i < 150; i++) moves.copy(vram.first + i, vram.first + 200 + ((i * 11) % 150));
      const all = copyOf(vram.first + 200, host.first + 300, 150);
      await runTogether(bench, [pipelined, moves, all], () => strategy);
      await bench.compare(strategy);
    }
  });
}

function describeClears(harness: EngineHarness, benchOf: () => Bench): void {
  it('C3: clears of every odd place and length, over borders: not a word beside them', async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    for (const strategy of harness.strategies.filter((name) => harness.can(name, 'within'))) {
      const list = new CommandList(10);
      [1, 3, 7, FLIGHT_PAGES - 1, FLIGHT_PAGES + 1].forEach((pages, i) => {
        list.clear(vram.first + 1 + i * 97, pages);
        list.clear(host.first + 1 + i * 97, pages);
      });
      await bench.run(list, strategy);
      await bench.compare(strategy);
      await bench.poison(5);
    }
  });
}

function describeMerging(isGpu: boolean, benchOf: () => Bench): void {
  const title = isGpu ? 'a command for each run of neighbours' : 'the bytes arrive, no commands';
  it(`C5: contiguous runs are merged: ${title}`, async () => {
    const bench = benchOf();
    const { host, vram } = bench;
    // Runs of 1, 2, 5 and 24 neighbours in VRAM, whose pages come in any order and from anywhere.
    const runs = [
      [0, 1],
      [10, 2],
      [20, 5],
      [30, 24],
    ] as const;
    const frames = runs.flatMap(([first, pages]) => {
      return Array.from({ length: pages }, (_, i) => vram.first + first + i);
    });
    const shuffled = new Prng(5).shuffle(Uint32Array.from(frames));
    for (const isUp of [true, false]) {
      const list = new CommandList(frames.length);
      shuffled.forEach((frame, i) => {
        const page = host.first + ((i * 13) % 200);
        list.copy(isUp ? page : frame, isUp ? frame : page);
      });
      const merged = await spend(bench, list, isGpu ? 'runs' : 'cpu');
      const single = await spend(bench, list, isGpu ? 'commands' : 'cpu');
      const counts = isGpu ? [runs.length, frames.length] : [0, 0];
      expect([merged.copyCommands, single.copyCommands]).toEqual(counts);
    }
    await bench.compare();
  });
}

function describeDeadChannel(harness: EngineHarness): void {
  it('C6: a dead device answers ENODEV, RAM is as it was, another device goes on', async () => {
    const dying = await Bench.open(harness, 64, 1);
    const other = await Bench.open(harness, 64, 2);
    const up = copyOf(dying.host.first, dying.vram.first, 32);
    const down = copyOf(dying.vram.first, dying.host.first, 32);
    dying.opened.lose();
    const answers = [dying.engine.submit(up), dying.engine.submit(down)];
    await other.run(copyOf(other.host.first, other.vram.first, 32));
    expect(await settleAll(answers)).toEqual([errno.ENODEV, errno.ENODEV]);
    expect(dying.engine.isLost).toBe(true);
    expect(await dying.engine.submit(down)).toBe(errno.ENODEV);
    expect([down.done[0], up.done[0]]).toEqual([0, 0]);
    // RAM is as it was: a readback that never came has written nothing.
    expectEqualWords(dying.ramWords, dying.model.ram, 'RAM');
    expect(other.engine.isLost).toBe(false);
    await other.compare();
    await dying.engine.close();
    await other.engine.close();
  });
}

function describeClocks(benchOf: () => Bench): void {
  it('C7: lists end in the order of their submission, and no clock goes back', async () => {
    const bench = benchOf();
    const { engine, host, vram } = bench;
    const ends: { readonly list: number; readonly at: number }[] = [];
    const readings: number[][] = [];
    const read = (): void => {
      const { encodeMs, submitMs, hostCopyMs, waitMs } = engine.stats;
      readings.push([performance.now(), encodeMs, submitMs, hostCopyMs, waitMs]);
    };
    read();
    const answers = Array.from({ length: 10 }, async (_, i) => {
      const list = copyOf(vram.first + i * 3, host.first + i * 3, 3);
      const code = await engine.submit(list);
      ends.push({ list: i, at: performance.now() });
      read();
      bench.settle(list, bench.model.apply(list));
      return code;
    });
    expect((await Promise.all(answers)).every((code) => code === 0)).toBe(true);
    expect(ends.map(({ list }) => list)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (let i = 1; i < ends.length; i++) {
      expect(ends[i]!.at).toBeGreaterThanOrEqual(ends[i - 1]!.at);
    }
    for (let i = 1; i < readings.length; i++) {
      const wentBack = readings[i]!.some((value, at) => value < readings[i - 1]![at]!);
      expect(wentBack, `${readings[i - 1]!.join()} then ${readings[i]!.join()}`).toBe(false);
    }
    await bench.compare();
  });
}
