/** Files through the facade: descriptors, arguments, mappings, life cycles; on the CPU engine. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
  bootMachine,
} from '../../../src/index.ts';
import type { LocalMachine, Process, TmpFile } from '../../../src/index.ts';
import { checkInvariants } from '../../model/check-invariants.ts';

const MIB = 2 ** 20;
const RW = PROT_READ | PROT_WRITE;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

let machine: LocalMachine;
let process: Process;
let file: TmpFile;
let free: number;

beforeEach(async () => {
  machine = await bootMachine({ engine: 'cpu', ramBytes: 4 * MIB, deviceBytes: MIB });
  free = (await machine.counters()).ramFreePages;
  process = await machine.spawn();
  file = await machine.tmpfile();
});

afterEach(async () => {
  await machine.close();
  checkInvariants(machine.kernel.sys);
  expect(machine.kernel.counters().ramFreePages).toBe(free);
});

const thrown = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => error,
  );

function map(length: number, flags: number, offset = 0): Promise<number> {
  return process.mmap({ length, prot: RW, flags, fd: file.fd, offset });
}

async function firstByte(addr: number): Promise<number> {
  return (await process.read(addr, 1))[0]!;
}

test('what pwrite wrote pread reads, and a mapping; its stores pread reads [F107]', async () => {
  expect(await file.pwrite(Uint8Array.of(1, 2, 3), PAGE_SIZE)).toBe(3);
  expect(await file.pread(2, PAGE_SIZE + 1)).toEqual(Uint8Array.of(2, 3));
  const addr = await map(2 * PAGE_SIZE, MAP_SHARED);
  expect(await firstByte(addr + PAGE_SIZE)).toBe(1);
  await process.write(addr, Uint8Array.of(9));
  expect(await file.pread(1, 0)).toEqual(Uint8Array.of(9));
  expect(await file.fstat()).toEqual({ errno: 0, size: PAGE_SIZE + 3, blocks: 16 });
});

test('a file serves several processes, from any page on', async () => {
  await file.ftruncate(4 * PAGE_SIZE);
  const other = await machine.spawn();
  const addr = await map(4 * PAGE_SIZE, MAP_SHARED);
  const request = { length: PAGE_SIZE, prot: RW, flags: MAP_SHARED, fd: file.fd };
  const there = await other.mmap({ ...request, offset: 3 * PAGE_SIZE });
  await process.write(addr + 3 * PAGE_SIZE, Uint8Array.of(5));
  expect(await other.read(there, 1)).toEqual(Uint8Array.of(5));
});

test('truncation takes private pages from the device; loads are SIGBUS [F41]', async () => {
  await file.ftruncate(4 * PAGE_SIZE);
  const addr = await map(4 * PAGE_SIZE, MAP_PRIVATE);
  await process.write(addr, new Uint8Array(4 * PAGE_SIZE).fill(7));
  const device = await process.openDevice(0);
  await device.ioctl('MIGRATE_TO_DEV', { addr, npages: 4, ptr: 0 });
  await file.ftruncate(PAGE_SIZE);
  expect((await machine.counters()).devices[0]).toMatchObject({ calloc: 4, cfree: 3 });
  expect(await firstByte(addr)).toBe(7);
  const error = await thrown(process.read(addr + PAGE_SIZE, 1));
  expect(error).toMatchObject({ signal: 'SIGBUS', address: addr + PAGE_SIZE });
  // The device has forgotten the pages, too, and its faults find nothing.
  const buffer = await process.mmap({ length: 4 * PAGE_SIZE, prot: RW });
  const read = await device.tryIoctl('READ', { addr, npages: 4, ptr: buffer });
  expect(read.errno).toBe(-14);
});

test('a hole reads as zeroes, by file, by CPU and by device', async () => {
  await file.pwrite(new Uint8Array(3 * PAGE_SIZE).fill(8), 0);
  const addr = await map(3 * PAGE_SIZE, MAP_SHARED);
  const buffer = await process.mmap({ length: 3 * PAGE_SIZE, prot: RW });
  const device = await process.openDevice(0);
  await device.ioctl('READ', { addr, npages: 3, ptr: buffer });
  await file.fallocate(PUNCH, PAGE_SIZE, PAGE_SIZE);
  expect(await file.fstat()).toMatchObject({ size: 3 * PAGE_SIZE, blocks: 16 });
  const read = await device.ioctl('READ', { addr, npages: 3, ptr: buffer });
  expect(read.faults).toBe(1);
  for (const [i, byte] of [8, 0, 8].entries()) {
    expect(await firstByte(buffer + i * PAGE_SIZE)).toBe(byte);
    expect(await firstByte(addr + i * PAGE_SIZE)).toBe(byte);
    expect(await file.pread(1, i * PAGE_SIZE)).toEqual(Uint8Array.of(byte));
  }
});

test('a page of the file stays where it is when the device asks for it [F40]', async () => {
  await file.ftruncate(2 * PAGE_SIZE);
  const addr = await map(2 * PAGE_SIZE, MAP_PRIVATE);
  await process.touch(addr);
  await process.touch(addr + PAGE_SIZE, 'write');
  const device = await process.openDevice(0);
  const result = await device.tryIoctl('MIGRATE_TO_DEV', { addr, npages: 2, ptr: 0 });
  expect(result.skipped).toEqual({ 'page-cache page to a device': 1 });
  expect(result.errno).toBe(-2);
  expect([...(await process.pageMap(addr, 2))]).toEqual([2, 16]);
});

test('a closed file lives on in its mapping, and its descriptor is EBADF', async () => {
  await file.pwrite(Uint8Array.of(4), 0);
  const addr = await map(PAGE_SIZE, MAP_SHARED);
  await file.close();
  expect(await firstByte(addr)).toBe(4);
  for (const call of [
    () => file.close(),
    () => file.pread(1, 0),
    () => file.pwrite(Uint8Array.of(1), 0),
    () => file.ftruncate(0),
    () => file.fallocate(0, 0, 1),
    () => file.fstat(),
    () => map(PAGE_SIZE, MAP_SHARED),
  ]) {
    expect(await thrown(call())).toMatchObject({ code: 'EBADF' });
  }
  await process.munmap(addr, PAGE_SIZE);
  expect((await machine.counters()).ramFreePages).toBe(free);
});

test('a file that is closed while a write waits is let go when the write is done', async () => {
  const { mem } = machine.kernel.sys;
  await file.pwrite(Uint8Array.of(4), 0);
  const pfn = machine.kernel.sys.inodes.find((inode) => inode !== null)!.cache.get(0);
  expect(mem.trylockPage(pfn)).toBe(true);
  const writing = file.pwrite(Uint8Array.of(5), 0);
  await file.close();
  expect(mem.refcount[pfn]).toBeGreaterThan(0);
  mem.unlockPage(pfn);
  expect(await writing).toBe(1);
  expect((await machine.counters()).ramFreePages).toBe(free);
});

test('a write by descriptor and one by the device to one page: neither is lost', async () => {
  const device = await process.openDevice(0);
  await file.ftruncate(PAGE_SIZE);
  const addr = await map(PAGE_SIZE, MAP_SHARED);
  const word = async (at: number): Promise<number> =>
    new DataView((await file.pread(4, at)).buffer).getUint32(0, true);
  for (let round = 1; round <= 20; round++) {
    await file.pwrite(new Uint8Array(PAGE_SIZE), 0);
    const adding = device.ioctl('ADD', { addr, npages: 1, ptr: 7 });
    for (let turn = 0; turn < round; turn++) await Promise.resolve();
    await file.pwrite(Uint8Array.of(100, 0, 0, 0), 4);
    await adding;
    // The device adds to every word, before or after the other word was written.
    expect([await word(0), await word(8)]).toEqual([7, 7]);
    expect([100, 107]).toContain(await word(4));
  }
});

test('a file that is cut off while the device works on it leaves nothing behind', async () => {
  const device = await process.openDevice(0);
  for (let round = 1; round <= 20; round++) {
    await file.pwrite(new Uint8Array(4 * PAGE_SIZE).fill(1), 0);
    const addr = await map(4 * PAGE_SIZE, MAP_SHARED);
    const adding = device.tryIoctl('ADD', { addr, npages: 4, ptr: 1 });
    for (let turn = 0; turn < round; turn++) await Promise.resolve();
    await file.ftruncate(PAGE_SIZE);
    const { errno: status } = await adding;
    expect([0, -14]).toContain(status);
    expect(await file.fstat()).toMatchObject({ size: PAGE_SIZE, blocks: 8 });
    expect(await thrown(process.read(addr + PAGE_SIZE, 1))).toMatchObject({ signal: 'SIGBUS' });
    await process.munmap(addr, 4 * PAGE_SIZE);
  }
});

test('the file of a device maps fresh pages, which live as long as the mapping', async () => {
  const device = await process.openDevice(0);
  const request = { length: 2 * PAGE_SIZE, prot: RW, flags: MAP_SHARED, fd: device.fd };
  const addr = await process.mmap(request);
  expect([...(await process.read(addr, 2 * PAGE_SIZE))].every((byte) => byte === 0)).toBe(true);
  await process.write(addr, Uint8Array.of(6));
  const other = await process.mmap(request);
  expect([await firstByte(addr), await firstByte(other)]).toEqual([6, 0]);
  await device.close();
  expect(await firstByte(addr)).toBe(6);
  expect(await thrown(process.mmap(request))).toMatchObject({ code: 'EBADF' });
});

test('mapping more of a device than there is memory is ENOMEM, with nothing left', async () => {
  const device = await process.openDevice(0);
  const before = (await machine.counters()).ramFreePages;
  const request = { length: 8 * MIB, prot: RW, flags: MAP_SHARED, fd: device.fd };
  expect(await thrown(process.mmap(request))).toMatchObject({ code: 'ENOMEM' });
  expect((await machine.counters()).ramFreePages).toBe(before);
});

test.each<[string, () => Promise<unknown>, string]>([
  ['a file of NaN bytes', () => machine.tmpfile(Number.NaN), 'EINVAL'],
  ['a file of -1 bytes', () => machine.tmpfile(-1), 'EINVAL'],
  ['pread of NaN bytes', () => file.pread(Number.NaN, 0), 'EINVAL'],
  ['pread at -1', () => file.pread(1, -1), 'EINVAL'],
  ['pwrite of no bytes', () => file.pwrite('abc' as unknown as Uint8Array, 0), 'EINVAL'],
  ['pwrite at half a byte', () => file.pwrite(Uint8Array.of(1), 0.5), 'EINVAL'],
  ['pwrite at the end', () => file.pwrite(Uint8Array.of(1), 2 ** 53 - 1), 'EFBIG'],
  ['ftruncate to NaN', () => file.ftruncate(Number.NaN), 'EINVAL'],
  ['fallocate of nothing', () => file.fallocate(0, 0, 0), 'EINVAL'],
  ['fallocate of an unknown mode', () => file.fallocate(Number.NaN, 0, 1), 'EOPNOTSUPP'],
  ['mmap of half a page', () => map(PAGE_SIZE, MAP_SHARED, 12), 'EINVAL'],
])('%s is refused', async (_name, call, code) => {
  expect(await thrown(call())).toMatchObject({ code });
  expect(await file.fstat()).toMatchObject({ size: 0, blocks: 0 });
});

test('a huge sparse file costs what is written; reads are bounded by its end', async () => {
  await file.ftruncate(2 ** 44);
  await file.pwrite(Uint8Array.of(3), 2 ** 44 - 1);
  expect(await file.fstat()).toMatchObject({ size: 2 ** 44, blocks: 8 });
  expect(await file.pread(2 ** 44, 2 ** 44 - 2)).toEqual(Uint8Array.of(0, 3));
  expect(await thrown(file.pread(2 ** 44, 0))).toMatchObject({ code: 'ENOMEM' });
});

test('anonymous memory takes no file', async () => {
  await file.pwrite(Uint8Array.of(3), 0);
  expect(await firstByte(await map(PAGE_SIZE, MAP_PRIVATE | MAP_ANONYMOUS))).toBe(0);
});
