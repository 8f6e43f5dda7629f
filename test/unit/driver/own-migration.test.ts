/**
 * What a device migrates by itself and what its mirrors know of it: the notifier events of these
 * migrations erase nothing, so the driver must neither leave a stale entry behind nor program one.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dptPfn } from '../../../src/driver/device-page-table.ts';
import { APERTURE_PAGES } from '../../../src/driver/dmirror-device.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { ptePfn } from '../../../src/mm/swapops.ts';
import { RW, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(async () => {
  await rig.machine.close();
});

/** Maps a buffer for device commands and touches it, so that copying to it faults nothing. */
async function mapBuffer(npages: number): Promise<number> {
  const addr = await rig.process.mmap({ length: npages * PAGE_SIZE, prot: RW });
  await rig.process.write(addr, new Uint8Array(npages * PAGE_SIZE));
  return addr;
}

/** Device entries that name another frame than the CPU's page table, of all mirrors. */
function staleEntries(): number {
  const { kernel } = rig.machine;
  const { pageTables } = kernel.sys;
  let stale = 0;
  for (const device of kernel.devices) {
    for (const { mm, pageTable } of device.mirrors) {
      pageTable.forEach((page, entry) => {
        const at = pageTables.pteOffset(mm.pgd, page * PAGE_SIZE);
        if (ptePfn(pageTables.words[at]!) !== dptPfn(entry)) stale++;
      });
    }
  }
  return stale;
}

/** Holds back each of the next `count` submissions until `release` is called for it. */
function holdSubmissions(count: number): { readonly held: () => number; release: () => void } {
  const { engine } = rig.machine.kernel;
  const submit = engine.submit.bind(engine);
  const gates: (() => void)[] = [];
  let left = count;
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    if (left-- > 0) await new Promise<void>((resolve) => gates.push(resolve));
    return submit(list, strategy);
  };
  return { held: () => gates.length, release: () => gates.shift()?.() };
}

/** Lets everything run that needs no timer. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

test('a migration to the device unmaps the pages in every mirror of it [F55]', async () => {
  const second = await rig.process.openDevice(0);
  const addr = await mapFilled(rig, 2);
  const buffer = await mapBuffer(2);
  expect(await run(second, 'READ', addr, 2, buffer)).toBe('0 2 1');
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(staleEntries()).toBe(0);
  // The page that stayed in RAM stays mapped: only the other one is faulted again.
  expect(await run(second, 'READ', addr + PAGE_SIZE, 1, buffer)).toBe('0 1 0');
  expect(await run(second, 'READ', addr, 1, buffer)).toBe('0 1 1');
  expect(await rig.process.read(buffer, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('a page that a device fault saw in RAM may enter the device meanwhile [F55] [F89]', async () => {
  const addr = await mapFilled(rig, 2);
  const buffer = await mapBuffer(2);
  const gate = holdSubmissions(1);
  const second = run(rig.device, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, 1);
  await settle();
  // Has looked at the first page, and waits for the second, which is under migration.
  const read = run(rig.device, 'READ', addr, 2, buffer);
  await settle();
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  gate.release();
  expect(await second).toBe('0 1 0');
  expect(await read).toBe('0 2 1');
  expect(staleEntries()).toBe(0);
  expect(await rig.process.read(buffer, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
});

test('a page that a device fault saw on the device may go home meanwhile [F89]', async () => {
  const addr = await mapFilled(rig, 2);
  const buffer = await mapBuffer(2);
  await run(rig.device, 'MIGRATE_TO_DEV', addr, 1);
  const other = await rig.process.openDevice(0);
  const gate = holdSubmissions(1);
  const migration = run(rig.device, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, 1);
  await settle();
  const read = run(other, 'READ', addr, 2, buffer);
  await settle();
  expect(await rig.process.read(addr, 4)).toEqual(pattern(1, 0).slice(0, 4));
  gate.release();
  expect(await migration).toBe('0 1 0');
  expect(await read).toBe('0 2 1');
  expect(staleEntries()).toBe(0);
  expect(await rig.process.read(buffer, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
});

test('a write to a shared device page waits for the command that has it locked', async () => {
  // The last two pages are the second pass of a READ.
  const pages = APERTURE_PAGES + 2;
  const addr = await mapFilled(rig, pages);
  const last = addr + APERTURE_PAGES * PAGE_SIZE;
  const from = await rig.process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, pages)).toBe(`0 ${pages} 0`);
  await rig.process.fork();
  await rig.process.write(from, pattern(2, 5));
  const to = await mapBuffer(pages);
  // WRITE faults while that pass has the pages locked.
  const gate = holdSubmissions(2);
  const read = run(rig.device, 'READ', addr, pages, to);
  await settle();
  const write = run(rig.device, 'WRITE', last, 2, from);
  await settle();
  gate.release();
  await settle();
  expect(gate.held()).toBe(1);
  // Nothing spins: timers still run while the write waits.
  await settle();
  gate.release();
  expect(await read).toBe(`0 ${pages} 1`);
  expect(await write).toBe('0 2 1');
  expect(await rig.process.read(last, 2 * PAGE_SIZE)).toEqual(pattern(2, 5));
});
