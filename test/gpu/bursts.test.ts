/*
 * Bursts: flights that fill upload slots are recorded together, with one write of descriptors, and
 * then filled and submitted one by one, or two by two by kernel where that delays nothing; what has
 * no slot to fill leaves at once.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { checksumPageRange } from '../../src/engine/checksum.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import type { Slot } from '../../src/gpu/rings.ts';
import { HOST, openSmall } from '../contract/refused-submissions.ts';
import { copies, listen } from './page-lists.ts';

const WORDS = 1024;
const IN_ONE_ARENA = { checked: true, slotPages: [16], lanes: 3, maxArenaBytes: 2 ** 22 };

it('uploads by kernel: all slots recorded, one write of descriptors, then submitted', async () => {
  const { engine, words } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  const up = copies(40, 'up');
  const said = listen(engine);
  const answer = engine.submit(up, 'compute');
  expect(said).toEqual(['record', 'record', 'record', 'write', 'submit', 'submit', 'submit']);
  expect(await answer).toBe(0);
  expect(await engine.submit(copies(40, 'down'), 'runs')).toBe(0);
  const wrong = Array.from({ length: 40 }, (_, i) => i).filter(
    (i) => words[(HOST - 1 - i) * WORDS + 9] !== (40 - i) * WORDS + 9,
  );
  expect(wrong).toEqual([]);
  await engine.close();
});

describe('a burst of uploads from the middle of a list', () => {
  /** What the engine says in the first burst of a list that fills so many slots of 16 pages. */
  async function saidBy(slots: number, lanes: number, strategy: 'compute' | 'runs') {
    const { engine, words } = await openSmall({ ...IN_ONE_ARENA, lanes });
    const pages = 16 * slots;
    const said = listen(engine);
    const before = engine.stats.submissions;
    const answer = engine.submit(copies(pages, 'up'), strategy);
    const burst = said.filter((one) => one.startsWith('submit'));
    expect(await answer).toBe(0);
    const submissions = engine.stats.submissions - before;
    expect(said.filter((one) => one.startsWith('submit'))).toHaveLength(submissions);
    expect(await engine.submit(copies(pages, 'down'), 'runs')).toBe(0);
    const wrong = Array.from({ length: pages }, (_, i) => i).filter(
      (i) => words[(HOST - 1 - i) * WORDS + 9] !== (pages - i) * WORDS + 9,
    );
    expect(wrong).toEqual([]);
    await engine.close();
    return burst;
  }

  it.each([
    // The first never shares a submission, nor does the last of a list.
    [3, 3, ['submit', 'submit', 'submit']],
    [4, 3, ['submit', 'submit 2']],
    [4, 2, ['submit', 'submit']],
    [4, 4, ['submit', 'submit 2', 'submit']],
    [5, 4, ['submit', 'submit 2', 'submit']],
    [6, 5, ['submit', 'submit 2', 'submit 2']],
  ])('by kernel, of %i slots, %i in the burst: %j', async (slots, lanes, burst) => {
    expect(await saidBy(slots, lanes, 'compute')).toEqual(burst);
  });

  it('by copy command: each has its own submission', async () => {
    expect(await saidBy(4, 3, 'runs')).toEqual(['submit', 'submit', 'submit']);
  });

  it('is refused two by two: neither is done', async () => {
    const { engine } = await openSmall(IN_ONE_ARENA);
    engine.vram.arenas[0]!.destroy();
    const list = copies(64, 'up');
    const said = listen(engine);
    expect(await engine.submit(list, 'compute')).toBe(errno.EIO);
    expect(said).toContain('submit 2');
    expect([...list.done].includes(1)).toBe(false);
    await engine.close();
  });
});

it('two that share a submission, of which the second is bad: neither is done', async () => {
  // Flight after flight of 16 pages goes to an arena of its own.
  const options = { checked: true, slotPages: [16], lanes: 3, maxArenaBytes: 32 * 4096 };
  const { engine } = await openSmall(options);
  engine.vram.arenas[2]!.destroy();
  const list = copies(64, 'up');
  const said = listen(engine);
  expect(await engine.submit(list, 'compute')).toBe(errno.EIO);
  expect(said).toContain('submit 2');
  expect([...list.done.subarray(16, 48)].includes(1)).toBe(false);
  expect(await engine.submit(copies(16, 'up'), 'compute')).toBe(0);
  await engine.close();
});

it('readbacks and uploads without slots: each submitted before the next is recorded', async () => {
  const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  const said = listen(engine);
  const answer = engine.submit(copies(40, 'down'), 'runs');
  expect(said).toEqual(['record', 'submit', 'record', 'submit', 'record', 'submit']);
  expect(await answer).toBe(0);
  said.length = 0;
  expect(await engine.submit(copies(2, 'up'), 'writeBuffer')).toBe(0);
  expect(said.filter((one) => one !== 'write')).toEqual(['record', 'submit']);
  await engine.close();
});

it('uploads that a flight without a map follows: all are in its error scope', async () => {
  const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  const { device } = engine;
  const filters: string[] = [];
  const push = device.pushErrorScope.bind(device);
  device.pushErrorScope = (filter) => {
    filters.push(filter);
    push(filter);
  };
  const list = new CommandList(3);
  list.copy(0, HOST, 16);
  list.copy(16, HOST + 16, 16);
  // More pages than the bounce buffer takes, so that a second flight with moves alone is left.
  list.copy(HOST + 512, HOST + 800, 40);
  expect(await engine.submit(list, 'runs')).toBe(0);
  expect(filters.length).toBeGreaterThan(0);
  await engine.close();
});

it('checksums beside uploads of several flights keep their own results', async () => {
  const { engine, words } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  const fill = new CommandList(60);
  for (let i = 0; i < 60; i++) fill.copy(100 + i, HOST + 512 + i);
  expect(await engine.submit(fill, 'compute')).toBe(0);
  const list = new CommandList(100);
  for (let i = 0; i < 50; i++) {
    list.copy(i, HOST + 2 * i);
    list.checksum(HOST + 512 + i);
  }
  expect(await engine.submit(list, 'compute')).toBe(0);
  const wrong = Array.from({ length: 50 }, (_, i) => i).filter((i) => {
    return list.result[2 * i + 1] !== checksumPageRange(words, 100 + i, 1) >>> 0;
  });
  expect(wrong).toEqual([]);
  await engine.close();
});

it('an error scope of several flights: all fail, and its error is noted once', async () => {
  const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  engine.vram.arenas[0]!.destroy();
  const list = new CommandList(3);
  list.copy(0, HOST, 16);
  list.copy(16, HOST + 16, 16);
  // Half of it fits into the bounce buffer beside the second upload.
  list.copy(HOST + 100, HOST + 140, 32);
  expect(await engine.submit(list, 'staging')).toBe(errno.EIO);
  expect(engine.stats.submissions).toBe(3);
  expect([...list.done]).toEqual([0, 0, 0]);
  expect(engine.deviceErrors).toHaveLength(1);
  expect(engine.deviceErrors[0]).toContain('destroyed');
  await engine.close();
});

describe('memory of a mapped slot that the device takes back between planning and filling', () => {
  const rob = (slot: Slot): void => {
    // What a buffer that was detached looks like.
    slot.range = new ArrayBuffer(0);
  };

  /** Hears of each slot that is taken from now on, before whoever takes it. */
  function onTake({ parts }: WebGpuEngine, heard: (taken: readonly Slot[]) => void): void {
    const { uploads } = parts;
    const take = uploads.take.bind(uploads);
    const taken: Slot[] = [];
    uploads.take = (pages) => {
      const slot = take(pages);
      if (slot !== null) taken.push(slot);
      heard(taken);
      return slot;
    };
  }

  it.each([0, 1, 2])('of flight %i of three: ENODEV, what left before it at most', async (at) => {
    const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
    onTake(engine, (taken) => {
      if (taken.length === 3) rob(taken[at]!);
    });
    const list = copies(40, 'up');
    const said = listen(engine);
    expect(await engine.submit(list, 'runs')).toBe(errno.ENODEV);
    expect(said.filter((one) => one === 'submit').length).toBe(at === 2 ? 0 : at);
    expect([...list.done].includes(1)).toBe(false);
    expect(engine.isLost).toBe(true);
    expect(await engine.submit(copies(1, 'up'), 'runs')).toBe(errno.ENODEV);
    await engine.close();
  });

  it('of the second flight, while the first is submitted', async () => {
    const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
    const slots: Slot[] = [];
    onTake(engine, (taken) => slots.splice(0, 3, ...taken));
    const said = listen(engine);
    const submit = engine.device.queue.submit.bind(engine.device.queue);
    engine.device.queue.submit = (commands) => {
      submit(commands);
      if (slots[1]!.range !== null) rob(slots[1]!);
    };
    expect(await engine.submit(copies(40, 'up'), 'runs')).toBe(errno.ENODEV);
    expect(said).toEqual(['record', 'record', 'record', 'submit']);
    await engine.close();
  });
});

it('memory of the second of two that leave together, robbed while the first leaves', async () => {
  const { engine } = await openSmall(IN_ONE_ARENA);
  const { uploads } = engine.parts;
  const taken: Slot[] = [];
  const take = uploads.take.bind(uploads);
  uploads.take = (pages) => {
    const slot = take(pages);
    if (slot !== null) taken.push(slot);
    return slot;
  };
  const said = listen(engine);
  const submit = engine.device.queue.submit.bind(engine.device.queue);
  engine.device.queue.submit = (commands) => {
    submit(commands);
    if (taken[2]!.range !== null) taken[2]!.range = new ArrayBuffer(0);
  };
  const list = copies(64, 'up');
  expect(await engine.submit(list, 'compute')).toBe(errno.ENODEV);
  expect(said.filter((one) => one.startsWith('submit'))).toEqual(['submit', 'submit']);
  expect([...list.done].includes(1)).toBe(false);
  await engine.close();
});

it.each([
  ['one', 'runs'],
  ['two together', 'compute'],
] as const)('a launch of %s that throws ends the engine: nothing is done', async (_, strategy) => {
  const { engine } = await openSmall({ checked: true, slotPages: [16], lanes: 3 });
  const said = listen(engine);
  const submit = engine.device.queue.submit.bind(engine.device.queue);
  engine.device.queue.submit = (commands) => {
    if (said.filter((one) => one === 'submit').length === 1) throw new Error('no');
    submit(commands);
  };
  const list = copies(64, 'up');
  expect(() => engine.submit(list, strategy)).toThrow('no');
  expect([...list.done].includes(1)).toBe(false);
  expect(await engine.lost).toContain('a launch failed: Error: no');
  expect(await engine.submit(copies(1, 'up'), 'runs')).toBe(errno.ENODEV);
  expect(said.filter((one) => one === 'submit')).toHaveLength(1);
  await engine.close();
});
