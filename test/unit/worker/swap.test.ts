/** Swap space under a whole machine: processes, fork, the test device; on the CPU engine. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  MADV_PAGEOUT,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  PAGE_SWAP,
  PROT_READ,
  PROT_WRITE,
  bootMachine,
} from '../../../src/index.ts';
import type { LocalMachine, Process } from '../../../src/index.ts';
import { checkInvariants } from '../../model/check-invariants.ts';

const MIB = 2 ** 20;
const RW = PROT_READ | PROT_WRITE;
const PAGES = 8;

let machine: LocalMachine;
let process: Process;
let addr: number;

beforeEach(async () => {
  const sizes = { ramBytes: 4 * MIB, deviceBytes: MIB, swapBytes: 64 * PAGE_SIZE };
  machine = await bootMachine({ engine: 'cpu', ...sizes });
  process = await machine.spawn();
  addr = await process.mmap({ length: PAGES * PAGE_SIZE, prot: RW });
  const bytes = new Uint8Array(PAGES * PAGE_SIZE).map((_, i) => Math.floor(i / PAGE_SIZE) + 1);
  await process.write(addr, bytes);
});

afterEach(async () => {
  const { sys } = machine.kernel;
  await machine.close();
  checkInvariants(sys);
  expect(sys.swap!.freeSlots).toBe(64);
});

/** Pages out [first, first + count) of the buffer; how many went. */
async function pageout(first: number, count: number): Promise<number> {
  const before = machine.kernel.sys.vmstat.read('pswpout');
  await process.madvise(addr + first * PAGE_SIZE, count * PAGE_SIZE, MADV_PAGEOUT);
  return machine.kernel.sys.vmstat.read('pswpout') - before;
}

async function firstBytes(of: Process, at = addr): Promise<number[]> {
  const bytes = await of.read(at, PAGES * PAGE_SIZE);
  return Array.from({ length: PAGES }, (_, i) => bytes[i * PAGE_SIZE]!);
}

const FILLED = [1, 2, 3, 4, 5, 6, 7, 8];

test('pages go out and come back as they are touched', async () => {
  expect(await pageout(0, PAGES)).toBe(PAGES);
  await process.touch(addr + 2 * PAGE_SIZE);
  const codes = await process.pageMap(addr, 4);
  expect([...codes]).toEqual([PAGE_SWAP, PAGE_SWAP, PAGE_RAM, PAGE_SWAP]);
  expect(await firstBytes(process)).toEqual(FILLED);
  expect((await machine.counters()).vm).toMatchObject({ pswpout: PAGES, pswpin: PAGES });
});

test('a child and its parent read the same slots and write pages of their own', async () => {
  expect(await pageout(0, PAGES)).toBe(PAGES);
  const child = await process.fork();
  await child.write(addr, Uint8Array.of(99));
  expect(await firstBytes(process)).toEqual(FILLED);
  expect(await firstBytes(child)).toEqual([99, ...FILLED.slice(1)]);
});

test('a device leaves swapped pages where they are, and swaps them in to read them [F39] [F80]', async () => {
  const device = await process.openDevice(0);
  expect(await pageout(0, 2)).toBe(2);
  const request = { addr, npages: PAGES, ptr: 0 };
  const moved = await device.tryIoctl('MIGRATE_TO_DEV', request);
  expect(moved.skipped).toEqual({ 'not a page': 2 });
  const codes = await process.pageMap(addr, 3);
  expect([...codes]).toEqual([PAGE_SWAP, PAGE_SWAP, PAGE_DEVICE]);
  const buffer = await process.mmap({ length: PAGES * PAGE_SIZE, prot: RW });
  const read = await device.ioctl('READ', { ...request, ptr: buffer });
  expect([read.cpages, read.faults]).toEqual([PAGES, 1]);
  expect(await firstBytes(process, buffer)).toEqual(FILLED);
  // Now they are in RAM again, and may go to the device, swap cache or not.
  await device.ioctl('MIGRATE_TO_DEV', request);
  expect([...(await process.pageMap(addr, 2))]).toEqual([PAGE_DEVICE, PAGE_DEVICE]);
  expect(machine.kernel.sys.swap!.freeSlots).toBe(64);
});
