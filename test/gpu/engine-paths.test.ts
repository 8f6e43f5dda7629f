/*
 * How lists travel: not only that the bytes arrive, but by which commands. Counters of the engine
 * are compared with what each strategy promises.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandList } from '../../src/engine/command-list.ts';
import type { EngineStats, StrategyName } from '../../src/engine/copy-engine.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import type { WebGpuEngineOptions } from '../../src/gpu/webgpu-engine.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';
import { settleAll } from '../contract/engine-harness.ts';

const HOST = 2048;

async function open(options: Partial<WebGpuEngineOptions> = {}): Promise<WebGpuEngine> {
  const geometry = { hostFrames: HOST, vramFrames: HOST };
  const ram = new Uint8Array(new SharedArrayBuffer(HOST * 4096));
  const engine = await createWebGpuEngine({ ram, geometry, checked: true, ...options });
  if (isEngineOpenError(engine)) throw new Error(engine.cause);
  return engine;
}

/** Runs a list and returns what it added to the totals. */
async function spend(
  engine: WebGpuEngine,
  list: CommandList,
  strategy: StrategyName,
): Promise<EngineStats> {
  const before = { ...engine.stats };
  expect(await engine.submit(list, strategy)).toBe(0);
  const spent = { ...engine.stats };
  for (const key of Object.keys(spent) as (keyof EngineStats)[]) spent[key] -= before[key];
  return spent;
}

/** Rows of single pages whose VRAM frames are neighbours, listed backwards. */
function backwards(pages: number, direction: 'up' | 'down'): CommandList {
  const list = new CommandList(pages);
  for (let i = 0; i < pages; i++) {
    const host = (i * 7) % HOST;
    const vram = HOST + pages - 1 - i;
    if (direction === 'up') list.copy(host, vram);
    else list.copy(vram, host);
  }
  return list;
}

describe('commands of each strategy', () => {
  let engine: WebGpuEngine;
  beforeAll(async () => {
    engine = await open();
  });
  afterAll(() => engine.close());

  for (const direction of ['up', 'down'] as const) {
    it(`commands: one copy a page, ${direction}`, async () => {
      const spent = await spend(engine, backwards(100, direction), 'commands');
      expect(spent).toMatchObject({ copyCommands: 100, dispatches: 0, submissions: 1, maps: 1 });
    });

    it(`staging: one copy a row, ${direction}`, async () => {
      const list = new CommandList(3);
      for (let i = 0; i < 3; i++) {
        const [host, vram] = [i * 512, HOST + (2 - i) * 512];
        list.copy(direction === 'up' ? host : vram, direction === 'up' ? vram : host, 512);
      }
      const spent = await spend(engine, list, 'staging');
      expect(spent).toMatchObject({ copyCommands: 3, dispatches: 0, submissions: 2 });
      const paged = await spend(engine, list, 'commands');
      expect(paged.copyCommands).toBe(3 * 512);
    });

    it(`runs: one copy for rows that are neighbours in VRAM, ${direction}`, async () => {
      const spent = await spend(engine, backwards(100, direction), 'runs');
      expect(spent).toMatchObject({ copyCommands: 1, dispatches: 0, submissions: 1 });
      const gaps = new CommandList(100);
      for (let i = 0; i < 100; i++) {
        const [host, vram] = [i, HOST + 2 * i];
        gaps.copy(direction === 'up' ? host : vram, direction === 'up' ? vram : host);
      }
      expect((await spend(engine, gaps, 'runs')).copyCommands).toBe(100);
    });

    it(`compute: one copy and one dispatch, ${direction}`, async () => {
      const spent = await spend(engine, backwards(100, direction), 'compute');
      expect(spent).toMatchObject({ copyCommands: 1, dispatches: 1, submissions: 1 });
    });
  }

  it('writeBuffer: a write a row, no staging slot', async () => {
    const spent = await spend(engine, backwards(100, 'up'), 'writeBuffer');
    expect(spent).toMatchObject({ copyCommands: 100, dispatches: 0, maps: 0, submissions: 1 });
  });

  it('moves inside an arena: two copies by command, one dispatch by kernel', async () => {
    const list = new CommandList(4);
    for (let i = 0; i < 4; i++) list.copy(HOST + i * 2, HOST + 100 + i * 2);
    expect(await spend(engine, list, 'commands')).toMatchObject({ copyCommands: 8, dispatches: 0 });
    expect(await spend(engine, list, 'compute')).toMatchObject({ copyCommands: 0, dispatches: 1 });
  });

  it('RAM to RAM never reaches the device', async () => {
    const list = new CommandList(3);
    list.copy(0, 1);
    list.clear(2);
    list.checksum(3);
    for (const strategy of ['auto', 'compute', 'cpu'] as const) {
      const before = engine.stats.submissions;
      // Synchronous: nothing has to wait.
      expect(engine.submit(list, strategy)).toBe(0);
      expect(engine.stats.submissions).toBe(before);
    }
  });

  it('the times add up to less than the wall time, and count waiting', async () => {
    const begun = performance.now();
    const spent = await spend(engine, backwards(1500, 'down'), 'commands');
    const wall = performance.now() - begun;
    const { encodeMs, submitMs, hostCopyMs, waitMs } = spent;
    for (const part of [encodeMs, submitMs, hostCopyMs, waitMs]) expect(part).toBeGreaterThan(0);
    expect(encodeMs + submitMs + hostCopyMs).toBeLessThanOrEqual(wall);
    expect(waitMs).toBeLessThanOrEqual(wall);
  });
});

describe('flights', () => {
  it('a list larger than a slot becomes several flights, in the air together', async () => {
    const engine = await open({ slotPages: [4, 16], lanes: 3 });
    const list = backwards(100, 'down');
    const answer = engine.submit(list, 'commands');
    // Three slots of 16 pages: three flights left at once, before anything came back.
    expect(engine.stats.submissions).toBe(3);
    expect(list.done.indexOf(1)).toBe(-1);
    expect(await answer).toBe(0);
    expect(engine.stats.submissions).toBe(7);
    await engine.close();
  });

  it('done bits appear flight by flight', async () => {
    const engine = await open({ slotPages: [16], lanes: 1 });
    const list = backwards(64, 'up');
    const answer = Promise.resolve(engine.submit(list, 'commands'));
    const seen = new Set<number>();
    const state = { over: false };
    void answer.then(() => (state.over = true));
    while (!state.over) {
      seen.add(list.done.reduce((sum, bit) => sum + bit, 0));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect([...seen].some((count) => count > 0 && count < 64)).toBe(true);
    expect([...seen].every((count) => count % 16 === 0)).toBe(true);
    await engine.close();
  });

  it('a folio that fits a slot is not cut in two because the slot is part full', async () => {
    const engine = await open({ slotPages: [16], lanes: 2 });
    const list = new CommandList(2);
    list.copy(0, HOST, 10);
    list.copy(20, HOST + 20, 10);
    const spent = await spend(engine, list, 'staging');
    expect(spent).toMatchObject({ submissions: 2, copyCommands: 2 });
    const longer = new CommandList(1);
    longer.copy(0, HOST, 40);
    expect(await spend(engine, longer, 'staging')).toMatchObject({
      submissions: 3,
      copyCommands: 3,
    });
    await engine.close();
  });

  it('uploads and readbacks do not wait for each other', async () => {
    const engine = await open({ slotPages: [16], lanes: 1 });
    const up = backwards(16, 'up');
    const down = new CommandList(1);
    down.copy(HOST + 100, 1000, 16);
    const answers = [engine.submit(up, 'commands'), engine.submit(down, 'commands')];
    // With one slot of each kind both lists are on their way at once.
    expect(engine.stats.submissions).toBe(2);
    expect(await settleAll(answers)).toEqual([0, 0]);
    await engine.close();
  });

  it('a list that reads RAM waits for a readback into it, and only then', async () => {
    const engine = await open();
    const down = new CommandList(1);
    down.copy(HOST, 0, 8);
    const reader = new CommandList(1);
    reader.copy(7, HOST + 100);
    const bystander = new CommandList(1);
    bystander.copy(8, HOST + 200);
    const answers = [engine.submit(down, 'commands'), engine.submit(bystander, 'commands')];
    expect(engine.stats.submissions).toBe(2);
    answers.push(engine.submit(reader, 'commands'));
    expect(engine.stats.submissions).toBe(2);
    expect(await settleAll(answers)).toEqual([0, 0, 0]);
    expect(engine.stats.submissions).toBe(3);
    await engine.close();
  });

  it('readbacks land in the order of their submission, whichever map answers first', async () => {
    const engine = await open({ slotPages: [16], lanes: 2 });
    const { readbacks } = engine.parts;
    const [slow, fast] = [readbacks.take(1)!, readbacks.take(1)!];
    const mapAsync = slow.buffer.mapAsync.bind(slow.buffer);
    slow.buffer.mapAsync = async (mode, offset, size) => {
      await mapAsync(mode, offset, size);
      await new Promise((resolve) => setTimeout(resolve, 30));
    };
    readbacks.give(fast);
    // The slot that was given last is taken first.
    readbacks.give(slow);
    const fill = new CommandList(1);
    fill.add(HOST + 1, 9, 1);
    expect(await engine.submit(fill)).toBe(0);
    const order: string[] = [];
    const read = (frame: number, name: string): Promise<unknown> => {
      const list = new CommandList(1);
      list.copy(HOST + frame, 3);
      return Promise.resolve(engine.submit(list, 'staging')).then(() => order.push(name));
    };
    await Promise.all([read(0, 'zeroes, slowly'), read(1, 'nines, at once')]);
    expect(order).toEqual(['zeroes, slowly', 'nines, at once']);
    expect(new Uint32Array(engine.parts.memory.bytes.buffer)[3 * 1024]).toBe(9);
    await engine.close();
  });

  it('a grid of more than one row covers every job', async () => {
    const vramFrames = 65_535 + 9;
    const geometry = { hostFrames: 16, vramFrames };
    const ram = new Uint8Array(new SharedArrayBuffer(16 * 4096));
    // A workgroup a page, as on GPUs: more than 65,535 of them.
    const tuning = { lanes: 4, pageLanes: 4, wholeLines: true };
    const limits = { maxGroupsPerDimension: 65_535, tuning };
    const engine = await createWebGpuEngine({ ram, geometry, checked: true, ...limits });
    if (isEngineOpenError(engine)) throw new Error(engine.cause);
    expect(engine.vram.arenas.length).toBe(1);
    const add = new CommandList(1);
    add.add(16, 5, vramFrames);
    expect(await spend(engine, add, 'auto')).toMatchObject({ dispatches: 1 });
    const look = new CommandList(3);
    for (const [i, frame] of [0, 65_534, vramFrames - 1].entries()) look.copy(16 + frame, i);
    expect(await engine.submit(look)).toBe(0);
    const words = new Uint32Array(ram.buffer, 0, 3 * 1024);
    expect(words.every((word) => word === 5)).toBe(true);
    const clear = new CommandList(1);
    clear.clear(16, vramFrames);
    expect(await spend(engine, clear, 'compute')).toMatchObject({ dispatches: 1, copyCommands: 0 });
    const sum = new CommandList(2);
    sum.checksum(16, vramFrames);
    expect(await engine.submit(sum)).toBe(0);
    sum.reset();
    expect(await engine.kernelStatus()).toBe('');
    expect(await engine.submit(look)).toBe(0);
    expect(words.every((word) => word === 0)).toBe(true);
    await engine.close();
  });
});
