/* Ranges that move in the address space while the device has them, or works on them. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  MADV_DONTNEED,
  MADV_FREE,
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PAGE_SIZE,
  PMD_SIZE,
  PM_PRESENT,
  PM_SWAP,
} from '../../../src/index.ts';
import { MIB, RW, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const PMD_PAGES = PMD_SIZE / PAGE_SIZE;
const BASE = 2 ** 40;
const ELSEWHERE = 2 ** 41;
const MOVE_TO = MREMAP_MAYMOVE | MREMAP_FIXED;

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig({ ramBytes: 32 * MIB, deviceBytes: 8 * MIB, chunkBytes: 4 * MIB });
});

afterEach(() => rig.machine.close());

async function count(name: string): Promise<number> {
  return (await rig.machine.counters()).vm[name]!;
}

/** Device pages in use. */
async function onDevice(): Promise<number> {
  const { calloc, cfree } = (await rig.machine.counters()).devices[0]!;
  return calloc - cfree;
}

/** A PMD range on the device as one entry. */
async function mapHugeOnDevice(): Promise<void> {
  const { process, device } = rig;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  expect(await process.mmap({ addr: BASE, length: 2 * PMD_SIZE, prot: RW, flags })).toBe(BASE);
  await process.madvise(BASE, PMD_SIZE, MADV_HUGEPAGE);
  await process.write(BASE, pattern(PMD_PAGES, 7));
  expect(await run(device, 'MIGRATE_TO_DEV', BASE, PMD_PAGES)).toBe(`0 ${PMD_PAGES} 0`);
  expect(await onDevice()).toBe(PMD_PAGES);
}

test('a huge device entry moves whole between aligned places [F106]', async () => {
  const { process } = rig;
  await mapHugeOnDevice();
  const splits = await count('thp_split_pmd');
  await process.mremap(BASE, PMD_SIZE, PMD_SIZE, MOVE_TO, ELSEWHERE);
  expect(await count('thp_split_pmd')).toBe(splits);
  const entries = await process.pagemap(ELSEWHERE, PMD_PAGES);
  expect(entries[2 * 511]! - entries[0]!).toBe(511);
  expect(entries[2 * 511 + 1]! & PM_SWAP).toBe(PM_SWAP);
  expect(entries[2 * 511 + 1]!).toBeLessThan(PM_PRESENT);
  const faults = await count('device_private_fault');
  expectBytes(await process.read(ELSEWHERE, PMD_SIZE), pattern(PMD_PAGES, 7));
  // It came home at once.
  expect((await count('device_private_fault')) - faults).toBe(1);
  expect(await onDevice()).toBe(0);
});

test('a huge device entry is split when the new place is not aligned [F106]', async () => {
  const { process, device } = rig;
  await mapHugeOnDevice();
  const target = ELSEWHERE + PMD_SIZE / 4;
  await process.mremap(BASE, PMD_SIZE, PMD_SIZE, MOVE_TO, target);
  expect([await count('thp_split_pmd'), await onDevice()]).toEqual([1, PMD_PAGES]);
  expect(await run(device, 'ADD', target, PMD_PAGES, 3)).toMatch(new RegExp(`^0 ${PMD_PAGES} `));
  expectBytes(await process.read(target, PMD_SIZE), pattern(PMD_PAGES, 10));
  expect(await onDevice()).toBe(0);
});

test('half of a huge device entry moves, both halves keep their bytes [F106]', async () => {
  const { process } = rig;
  await mapHugeOnDevice();
  const half = PMD_SIZE / 2;
  await process.mremap(BASE + half, half, half, MOVE_TO, ELSEWHERE);
  const all = pattern(PMD_PAGES, 7);
  expectBytes(await process.read(ELSEWHERE, half), all.subarray(half));
  expectBytes(await process.read(BASE, half), all.subarray(0, half));
  expect(await onDevice()).toBe(0);
});

test('FREE ignores a huge device entry, DONTNEED of half of it keeps the other [F104]', async () => {
  const { process } = rig;
  await mapHugeOnDevice();
  await process.madvise(BASE, PMD_SIZE, MADV_FREE);
  expect([await onDevice(), await count('thp_split_pmd')]).toEqual([PMD_PAGES, 0]);
  const half = PMD_SIZE / 2;
  await process.madvise(BASE, half, MADV_DONTNEED);
  expectBytes(await process.read(BASE, half), new Uint8Array(half));
  expectBytes(await process.read(BASE + half, half), pattern(PMD_PAGES, 7).subarray(half));
});

test('smaps counts a huge device entry like a large folio in RAM [F108]', async () => {
  const { process } = rig;
  await mapHugeOnDevice();
  const { rss, anonymous, anonHugePages } = (await process.smaps())[0]!;
  expect([rss, anonymous, anonHugePages]).toEqual([PMD_SIZE, PMD_SIZE, PMD_SIZE]);
});

test('a range moves after the device is done with it, however long that takes', async () => {
  const { process, device, machine } = rig;
  const addr = await mapFilled(rig, 4);
  await run(device, 'ADD', addr, 4, 0);
  const { engine } = machine.kernel;
  const submit = engine.submit.bind(engine);
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const started = new Promise<void>((resolve) => {
    engine.submit = async (...args) => {
      resolve();
      await gate;
      return submit(...args);
    };
  });
  const adding = run(device, 'ADD', addr, 4, 5);
  await started;
  const moving = process.mremap(addr, 4 * PAGE_SIZE, 4 * PAGE_SIZE, MOVE_TO, ELSEWHERE);
  const first = await Promise.race([moving, Promise.resolve().then(() => 'not yet')]);
  expect(first).toBe('not yet');
  open();
  expect([await adding, await moving]).toEqual(['0 4 0', ELSEWHERE]);
  engine.submit = submit;
  expectBytes(await process.read(ELSEWHERE, 4 * PAGE_SIZE), pattern(4, 5));
  expect(await run(device, 'ADD', addr, 4, 5)).toMatch(/^-14 /);
});
