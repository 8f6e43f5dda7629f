/*
 * The contract of the copy-engine port, as one suite for every engine: CPU, Dawn in Node, browsers,
 * real GPUs. See engine-harness.ts for what a harness provides.
 *
 * After each case all of RAM and all of VRAM is compared with the model, which started as noise: a
 * byte written too many shows as surely as one written too few.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { StrategyName } from '../../src/engine/copy-engine.ts';
import type { Direction, EngineHarness } from './engine-harness.ts';
import { Bench, settleAll } from './engine-harness.ts';
import type { FrameArea } from './frame-picks.ts';
import { pickRuns } from './frame-picks.ts';
import { describeLoss } from './loss-contract.ts';
import { describeRefusals } from './refusal-contract.ts';
import { jobSpecs, listFromSpecs } from './random-lists.ts';

const DIRECTIONS: readonly Direction[] = ['up', 'down', 'within', 'ram'];
/** Pages of a job, and jobs of a list. The last batch of each is more than a ring slot. */
const SHAPES: readonly { size: number; batches: readonly number[] }[] = [
  { size: 1, batches: [1, 7, 64, 600, 1200] },
  { size: 16, batches: [1, 7, 60] },
  { size: 512, batches: [1, 2] },
];

/** Where a direction's sources and targets lie. Inside one memory they share it half and half. */
function areasOf(bench: Bench, direction: Direction): { source: FrameArea; target: FrameArea } {
  const { host, vram } = bench;
  if (direction === 'up') return { source: host, target: vram };
  if (direction === 'down') return { source: vram, target: host };
  const area = direction === 'ram' ? host : vram;
  const half = area.count / 2;
  const low = { first: area.first, count: half };
  const high = { first: area.first + half, count: half };
  return { source: high, target: low };
}

/** Copies of a folio of 512 pages (256 in half a memory), of 16 and of one, shuffled. */
function mixedCopies(bench: Bench, direction: Direction, prng: Prng): CommandList {
  const { source, target } = areasOf(bench, direction);
  const large = source.count > 512 ? 512 : 256;
  const half = Math.floor((source.count - large) / 2);
  // Each size has a part of both areas to itself.
  const shares = [
    { at: 0, count: half, size: 1, jobs: Math.min(200, Math.floor(half / 2)) },
    { at: half, count: half, size: 16, jobs: Math.floor(half / 17) },
    { at: 2 * half, count: source.count - 2 * half, size: large, jobs: 1 },
  ];
  const rows = shares.flatMap(({ at, count, size, jobs }) => {
    const from = pickRuns(prng, { first: source.first + at, count }, size, jobs);
    const to = pickRuns(prng, { first: target.first + at, count }, size, jobs);
    return from.map((frame, i) => [frame, to[i]!, size] as const);
  });
  expect(new Set(rows.map(([, , size]) => size)).size).toBe(3);
  const list = new CommandList(rows.length);
  for (const row of prng.shuffle(rows.map((_, i) => i))) list.copy(...rows[row]!);
  return list;
}

function copies(bench: Bench, direction: Direction, size: number, jobs: number, prng: Prng) {
  const { source, target } = areasOf(bench, direction);
  const from = pickRuns(prng, source, size, jobs);
  const to = pickRuns(prng, target, size, jobs);
  const list = new CommandList(jobs);
  for (let i = 0; i < jobs; i++) list.copy(from[i]!, to[i]!, size);
  return list;
}

/** Declares the suite for one kind of engine. */
export function describeCopyEngine(harness: EngineHarness): void {
  describe(`copy engine contract: ${harness.title}`, () => {
    describe('bytes', () => describeBytes(harness));
    describe('order', () => describeOrder(harness));
    describe('random lists', () => describeRandomLists(harness));
    describe('refusals', () => describeRefusals(harness));
    describe('loss', () => describeLoss(harness));
  });
}

function useBench(harness: EngineHarness): () => Bench {
  let bench: Bench | undefined;
  beforeAll(async () => {
    bench = await Bench.open(harness, harness.pages, 1);
  });
  afterAll(async () => {
    await bench?.engine.close();
  });
  return () => {
    if (bench === undefined) throw new Error('the engine did not open');
    return bench;
  };
}

function describeBytes(harness: EngineHarness): void {
  const bench = useBench(harness);
  const names: readonly StrategyName[] = [...harness.strategies, 'auto'];

  for (const strategy of names) {
    for (const direction of DIRECTIONS) {
      if (!harness.can(strategy, direction)) continue;
      for (const { size, batches } of SHAPES) {
        it(`${strategy} copies ${direction}: jobs of ${size} pages`, async () => {
          const prng = new Prng(size);
          for (const jobs of batches) {
            const half = direction === 'within' || direction === 'ram';
            const most = Math.floor((half ? harness.pages / 2 : harness.pages) / size);
            const list = copies(bench(), direction, size, Math.min(jobs, most), prng);
            await bench().run(list, strategy);
          }
          await bench().compare();
        });
      }
    }
    for (const direction of DIRECTIONS) {
      if (!harness.can(strategy, direction)) continue;
      it(`${strategy} copies ${direction}: folios of three sizes in one list`, async () => {
        for (const seed of [1, 2]) {
          await bench().run(mixedCopies(bench(), direction, new Prng(seed)), strategy);
        }
        await bench().compare();
      });
    }
    if (harness.can(strategy, 'up')) describeTransferCases(strategy, harness, bench);
  }

  it('does nothing for an empty list', async () => {
    for (const strategy of names) {
      const before = { ...bench().engine.stats };
      expect(await bench().engine.submit(new CommandList(0), strategy)).toBe(0);
      expect(bench().engine.stats.submissions).toBe(before.submissions);
      expect(bench().engine.stats.jobs).toBe(before.jobs);
    }
    await bench().compare();
  });

  it('fills RAM and VRAM with zeroes', async () => {
    const { host, vram } = bench();
    for (const strategy of names.filter((name) => harness.can(name, 'within'))) {
      for (const size of [1, 16, 300]) {
        const list = new CommandList(6);
        const prng = new Prng(size);
        for (const frame of pickRuns(prng, vram, size, 3)) list.clear(frame, size);
        for (const frame of pickRuns(prng, host, size, 3)) list.clear(frame, size);
        await bench().run(list, strategy);
        await bench().compare(`${strategy} ${size}`);
        await bench().poison(size);
      }
    }
  });

  it('checksums RAM and VRAM alike, page by page and over ranges', async () => {
    const { host, vram } = bench();
    const list = new CommandList(64);
    const prng = new Prng(3);
    for (const size of [1, 2, 17, 200]) {
      for (const frame of pickRuns(prng, vram, size, 4)) list.checksum(frame, size);
      for (const frame of pickRuns(prng, host, size, 4)) list.checksum(frame, size);
    }
    list.checksum(vram.first, vram.count);
    await bench().run(list);
    await bench().compare();
  });

  it('counts what it did', async () => {
    const { engine, host, vram } = bench();
    const before = { ...engine.stats };
    const list = new CommandList(5);
    list.copy(host.first, vram.first, 3);
    list.copy(vram.first + 10, host.first + 10, 2);
    list.clear(vram.first + 20, 1);
    list.copy(host.first + 20, host.first + 30, 4);
    list.clear(host.first + 40, 1);
    await bench().run(list);
    const { stats } = engine;
    expect(stats.lists - before.lists).toBe(1);
    expect(stats.jobs - before.jobs).toBe(5);
    expect(stats.pages - before.pages).toBe(11);
    expect(stats.bytesToDevice - before.bytesToDevice).toBe(3 * 4096);
    expect(stats.bytesToHost - before.bytesToHost).toBe(2 * 4096);
    expect(stats.bytesInHost - before.bytesInHost).toBe(5 * 4096);
  });
}

/** Cases that need a way up, done with each strategy that has one. */
function describeTransferCases(
  strategy: StrategyName,
  harness: EngineHarness,
  bench: () => Bench,
): void {
  const back: StrategyName = harness.can(strategy, 'down') ? strategy : 'auto';

  it(`${strategy} reads one source as often as asked`, async () => {
    const { host, vram } = bench();
    const targets = pickRuns(new Prng(5), vram, 2, 100);
    const up = new CommandList(100);
    for (const target of targets) up.copy(host.first + 3, target, 2);
    await bench().run(up, strategy);
    const down = new CommandList(100);
    for (let i = 0; i < 100; i++) down.copy(targets[7]!, host.first + 2 * i, 2);
    await bench().run(down, back);
    await bench().compare();
  });

  it(`${strategy} moves the last word of the last page of each memory`, async () => {
    const { host, vram } = bench();
    const lastHost = host.first + host.count - 1;
    const lastVram = vram.first + vram.count - 1;
    bench().ramWords[lastHost * 1024 + 1023] = 0xfeedface;
    bench().model.frame(lastHost)[1023] = 0xfeedface;
    const up = new CommandList(1);
    up.copy(lastHost, lastVram);
    await bench().run(up, strategy);
    const down = new CommandList(1);
    down.copy(lastVram, host.first);
    await bench().run(down, back);
    expect(bench().ramWords[host.first * 1024 + 1023]).toBe(0xfeedface);
    await bench().compare();
  });

  it(`${strategy} and an addition: the device's bytes come back, no copy kept in RAM [F12]`, async () => {
    const { host, vram, engine } = bench();
    const frames = pickRuns(new Prng(6), vram, 4, 9);
    const up = new CommandList(9);
    frames.forEach((frame, i) => up.copy(host.first + 4 * i, frame, 4));
    await bench().run(up, strategy);
    // Drawn only now, so that nothing could have been prepared; the time is the seed, and shown.
    const seed = Date.now() >>> 0;
    const operand = new Prng(seed).nextU32();
    const add = new CommandList(9);
    for (const frame of frames) add.add(frame, operand, 4);
    await bench().run(add, strategy === 'cpu' || engine.name === 'webgpu' ? undefined : strategy);
    const down = new CommandList(9);
    frames.forEach((frame, i) => down.copy(frame, host.first + 512 + 4 * i, 4));
    await bench().run(down, back);
    await bench().compare(`seed ${seed}`);
  });

  it(`${strategy} shows what somebody else wrote to VRAM`, async (context) => {
    const { opened, host, vram, model } = bench();
    if (opened.pokeVram === undefined) {
      context.skip('nobody but this engine reaches its VRAM');
      return;
    }
    const frame = vram.first + 777;
    const up = new CommandList(1);
    up.copy(host.first, frame);
    await bench().run(up, strategy);
    const value = Date.now() >>> 0;
    opened.pokeVram(frame, 1023, value);
    model.frame(frame)[1023] = value;
    const down = new CommandList(2);
    down.copy(frame, host.first + 1);
    const sum = down.checksum(frame);
    await bench().run(down, back === 'auto' ? undefined : back);
    expect(bench().ramWords[(host.first + 1) * 1024 + 1023]).toBe(value);
    expect(down.result[sum]).not.toBe(0);
    await bench().compare();
  });
}

function describeOrder(harness: EngineHarness): void {
  const bench = useBench(harness);
  const names: readonly StrategyName[] = [...harness.strategies, 'auto'];

  for (const strategy of names.filter((name) => harness.can(name, 'down'))) {
    it(`${strategy}: lists that nobody waits for take effect in order`, async () => {
      const { host, vram, engine, model } = bench();
      const lists: CommandList[] = [];
      const next = (): CommandList => {
        const list = new CommandList(300);
        lists.push(list);
        return list;
      };
      const up = next();
      for (let i = 0; i < 300; i++) up.copy(host.first + i, vram.first + 2 * i);
      next().add(vram.first, 41, 600);
      const down = next();
      for (let i = 0; i < 300; i++) down.copy(vram.first + 2 * i, host.first + 599 - i);
      // Reads RAM that the list before has still to write, then overwrites what both used.
      next().copy(host.first + 300, host.first + 650, 300);
      next().checksum(host.first + 300, 300);
      next().clear(host.first + 300, 300);
      const again = next();
      again.copy(host.first + 650, vram.first + 700, 300);
      again.checksum(vram.first, 600);
      next().copy(vram.first + 700, host.first + 300, 300);
      next().copy(vram.first + 100, host.first + 300, 300);
      next().clear(vram.first, 1000);
      const pending = lists.map((list) =>
        engine.submit(list, list.op[0] === 1 ? only(list) : undefined),
      );
      expect(await settleAll(pending)).toEqual(lists.map(() => 0));
      for (const list of lists) bench().settle(list, model.apply(list));
      await bench().compare();

      function only(list: CommandList): StrategyName | undefined {
        const touchesVram = list.source[0]! >= vram.first || list.target[0]! >= vram.first;
        return touchesVram ? strategy : undefined;
      }
    });
  }
}

function describeRandomLists(harness: EngineHarness): void {
  const bench = useBench(harness);
  const names = [...harness.strategies, 'auto' as const].filter((name) =>
    harness.can(name, 'down'),
  );

  it('bursts of random lists leave memory as the model says', async () => {
    const burst = fc.array(jobSpecs(harness.pages), { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(burst, fc.constantFrom(...names), async (specs, strategy) => {
      const lists = specs.map((jobs) => listFromSpecs(jobs, bench()));
      const pending = lists.map((list) => bench().engine.submit(list, strategy));
      expect(await settleAll(pending)).toEqual(lists.map(() => 0));
      for (const list of lists) bench().settle(list, bench().model.apply(list));
      await bench().compare(strategy);
    });
    // On a failure fast-check prints the seed and the path that repeat it.
    await fc.assert(property, { numRuns: 40 });
  });
}
