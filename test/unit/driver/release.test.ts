/* RELEASE over several chunks: what lies scattered comes home, and each chunk can be had again. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PAGE_RAM, PAGE_SIZE } from '../../../src/index.ts';
import { expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

/** Pages of a chunk of the machine below. */
const CHUNK = 16;

let rig: Rig;

beforeEach(async () => {
  // No multiple of the chunk: the last one is shorter.
  rig = await makeRig({ deviceBytes: 60 * PAGE_SIZE, chunkBytes: CHUNK * PAGE_SIZE });
});

afterEach(async () => {
  await rig.machine.close();
});

/** Pages of each chunk of device 0 that are in use; null where none is registered. */
function chunkUse(): (number | null)[] {
  return rig.machine.kernel.devices[0]!.memory.chunks.map((chunk) =>
    chunk === null ? null : chunk.pgmap.ref - 1,
  );
}

test('a device grows chunk by chunk, to its last page [F16]', async () => {
  const addr = await mapFilled(rig, 61);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, CHUNK)).toBe(`0 ${CHUNK} 0`);
  expect(chunkUse()).toEqual([CHUNK, null, null, null]);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, CHUNK + 1)).toBe(`0 ${CHUNK + 1} 0`);
  expect(chunkUse()).toEqual([CHUNK, 1, null, null]);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 60)).toBe('0 60 0');
  expect(chunkUse()).toEqual([CHUNK, CHUNK, CHUNK, 12]);
  const { calloc, cfree } = (await rig.machine.counters()).devices[0]!;
  expect([calloc, cfree]).toEqual([60, 0]);
});

test('RELEASE evicts what lies scattered over chunks, of all processes [F17] [F61]', async () => {
  const other = await rig.machine.spawn();
  const device = await other.openDevice(0);
  const mine = await mapFilled(rig, 30);
  const theirs = await mapFilled({ ...rig, process: other, device }, 30, 1000);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', mine, 30)).toBe('0 30 0');
  expect(await run(device, 'MIGRATE_TO_DEV', theirs, 30)).toBe('0 30 0');
  for (let page = 0; page < 30; page += 2) {
    await rig.process.touch(mine + page * PAGE_SIZE, 'read');
    await other.touch(theirs + page * PAGE_SIZE, 'read');
  }
  expect(chunkUse()).toEqual([8, 8, 8, 6]);
  const { vm: before } = await rig.machine.counters();
  expect(await run(rig.device, 'RELEASE', mine, 1)).toBe('0 0 0');
  expect(chunkUse()).toEqual([null, null, null, null]);
  const { vm, devices } = await rig.machine.counters();
  expect(vm['pgmigrate_to_ram']! - before['pgmigrate_to_ram']!).toBe(30);
  expect([devices[0]!.calloc, devices[0]!.cfree]).toEqual([60, 60]);
  expect(new Set(await rig.process.pageMap(mine, 30))).toEqual(new Set([PAGE_RAM]));
  expectBytes(await rig.process.read(mine, 30 * PAGE_SIZE), pattern(30, 0));
  expectBytes(await other.read(theirs, 30 * PAGE_SIZE), pattern(30, 1000));
  expect(vm['device_private_fault']).toBe(before['device_private_fault']);
});

test('RELEASE of a device that is empty, and again, is nothing to do', async () => {
  const addr = await mapFilled(rig, 1);
  expect(await run(rig.device, 'RELEASE', addr, 1)).toBe('0 0 0');
  expect(await run(rig.device, 'RELEASE', addr, 1)).toBe('0 0 0');
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(chunkUse()).toEqual([1, null, null, null]);
});
