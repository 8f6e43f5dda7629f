/*
 * Bursts: flights that fill upload slots are recorded together, with one write of descriptors, and
 * then filled and submitted one by one; what has no slot to fill leaves at once.
 */
import { expect, it } from 'vitest';
import { checksumPageRange } from '../../src/engine/checksum.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { HOST, openSmall } from '../contract/refused-submissions.ts';

const WORDS = 1024;

/** What the engine tells the device from now on, in order. */
function listen({ device }: WebGpuEngine): string[] {
  const said: string[] = [];
  const create = device.createCommandEncoder.bind(device);
  const submit = device.queue.submit.bind(device.queue);
  const write = device.queue.writeBuffer.bind(device.queue);
  device.createCommandEncoder = () => {
    said.push('record');
    return create();
  };
  device.queue.submit = (commands) => {
    said.push('submit');
    submit(commands);
  };
  device.queue.writeBuffer = (...args: Parameters<GPUQueue['writeBuffer']>) => {
    said.push('write');
    write(...args);
  };
  return said;
}

function copies(pages: number, way: 'up' | 'down'): CommandList {
  const list = new CommandList(pages);
  for (let i = 0; i < pages; i++) {
    // Backwards, so that nothing merges.
    const host = pages - i;
    if (way === 'up') list.copy(host, HOST + 2 * i);
    else list.copy(HOST + 2 * i, HOST - 1 - i);
  }
  return list;
}

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
