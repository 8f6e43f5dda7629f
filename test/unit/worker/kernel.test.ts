/** The control plane: bad arguments, stale handles and life cycles, on the CPU engine. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import {
  ErrnoError,
  MAP_SHARED,
  Machine,
  OpenError,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_SIZE,
  PAGE_ZERO,
  PROT_READ,
  PROT_WRITE,
  SignalError,
  bootMachine,
} from '../../../src/index.ts';
import type { LocalMachine, MachineOptions } from '../../../src/index.ts';

const MIB = 2 ** 20;
const RW = PROT_READ | PROT_WRITE;

let machine: LocalMachine;

beforeEach(async () => {
  machine = await bootMachine({ engine: 'cpu', ramBytes: 4 * MIB, deviceBytes: MIB });
});

afterEach(async () => {
  await machine.close();
});

const thrown = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => error,
  );

test.for<[string, MachineOptions, RegExp]>([
  ['no RAM', { ramBytes: 0 }, /RAM of 0 bytes; give 1 MiB to 4 GiB/],
  ['RAM above 4 GiB', { ramBytes: 2 ** 32 + 1 }, /4 GiB/],
  ['RAM that is no number', { ramBytes: Number.NaN }, /RAM of NaN/],
  ['no devices', { devices: 0 }, /give 1 to 4/],
  ['five devices', { devices: 5 }, /give 1 to 4/],
  ['device memory of a byte', { deviceBytes: 1 }, /give 4 KiB/],
  ['coherent memory of a byte', { coherentBytes: 1 }, /give 4 KiB/],
  ['three coherent devices', { coherentDevices: 3 }, /give 0 to 2/],
  ['half a coherent device', { coherentDevices: 0.5 }, /give 0 to 2/],
  ['coherent devices whose numbers are taken', { devices: 3, coherentDevices: 1 }, /at most 2/],
  ['too much of both', { ramBytes: 2 ** 32, coherentDevices: 1 }, /exceed 4 GiB/],
  ['chunks of a byte', { chunkBytes: 1 }, /give 4 KiB/],
  ['swap space of a byte', { swapBytes: 1 }, /swap space of 1 bytes; give 4 KiB/],
  ['swap space of NaN', { swapBytes: Number.NaN }, /swap space of NaN/],
  ['32 GiB of swap space', { swapBytes: 2 ** 35 }, /less than 32 GiB/],
  ['an unknown engine', { engine: 'steam' as 'cpu' }, /give webgpu or cpu/],
  ['an unknown strategy', { strategy: 'magic' as 'auto' }, /use one of: auto/],
])('a machine with %s is refused with a remedy', async ([, options, message]) => {
  const error = await thrown(bootMachine({ engine: 'cpu', ...options }));
  expect(error).toBeInstanceOf(OpenError);
  expect(String(error)).toMatch(message);
  expect(error).toMatchObject({ errno: errno.EINVAL });
});

test('without WebGPU the refusal names cause and remedy', async () => {
  const error = await thrown(bootMachine({ ramBytes: MIB, deviceBytes: MIB }));
  expect(error).toBeInstanceOf(OpenError);
  expect(error).toMatchObject({ errno: errno.ENODEV });
  expect(String(error)).toMatch(/WebGPU/);
  expect((error as OpenError).remedy).not.toBe('');
});

test('from sources, Machine.create in Node is refused with what to use instead', async () => {
  const error = await thrown(Machine.create({ engine: 'cpu' }));
  expect(error).toBeInstanceOf(OpenError);
  expect(String(error)).toMatch(/are sources.*openNodeMachine/);
});

test('the facade can be loaded where there is no shared memory yet', () => {
  const code = `delete globalThis.SharedArrayBuffer;
    const { Machine } = await import('./src/index.ts');
    process.stdout.write(typeof Machine + typeof SharedArrayBuffer);`;
  const args = ['--import', './cli/typescript.mjs', '--input-type=module', '-e', code];
  const cwd = resolve(import.meta.dirname, '../../..');
  const child = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
  expect(child).toMatchObject({ status: 0, stdout: 'functionundefined', stderr: '' });
});

test('without cross-origin isolation the refusal names the headers', async () => {
  vi.stubGlobal('SharedArrayBuffer', undefined);
  const error = await thrown(bootMachine({ engine: 'cpu' }));
  vi.unstubAllGlobals();
  expect(error).toMatchObject({ errno: errno.ENODEV });
  expect(String(error)).toMatch(/cross-origin isolated.*COOP.*COEP/);
});

test('the smallest machine boots', async () => {
  const small = await bootMachine({
    engine: 'cpu',
    ramBytes: MIB,
    deviceBytes: PAGE_SIZE,
    chunkBytes: PAGE_SIZE,
    devices: 1,
  });
  expect(small.report).toMatchObject({ ramBytes: MIB, deviceBytes: PAGE_SIZE, devices: 1 });
  await small.close();
});

test('sizes are rounded up to what the machine is made of', async () => {
  const odd = await bootMachine({ engine: 'cpu', ramBytes: MIB + 1, deviceBytes: PAGE_SIZE + 1 });
  expect(odd.report).toMatchObject({ ramBytes: MIB + 65536, deviceBytes: 2 * PAGE_SIZE });
  await odd.close();
});

test('system calls fail with an ErrnoError that names errno and call', async () => {
  const process = await machine.spawn();
  const error = await thrown(process.mmap({ length: 0, prot: RW }));
  expect(error).toBeInstanceOf(ErrnoError);
  expect(error).toMatchObject({ errno: errno.EINVAL, code: 'EINVAL', syscall: 'mmap' });
  expect(await thrown(process.munmap(1, PAGE_SIZE))).toMatchObject({ code: 'EINVAL' });
  expect(await thrown(process.openDevice(4))).toMatchObject({ code: 'ENXIO', syscall: 'open' });
  const badShmem = { length: PAGE_SIZE, prot: RW, flags: MAP_SHARED, shmem: 99 };
  expect(await thrown(process.mmap(badShmem))).toMatchObject({ code: 'EBADF' });
  expect(await thrown(machine.shmem(0))).toMatchObject({ code: 'EINVAL' });
  expect(await thrown(machine.setStrategy('magic' as 'auto'))).toMatchObject({ code: 'EINVAL' });
});

test('accesses without mapping or permission are SIGSEGV with address and access', async () => {
  const process = await machine.spawn();
  const addr = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ });
  const read = await thrown(process.read(addr + PAGE_SIZE - 1, 2));
  expect(read).toBeInstanceOf(SignalError);
  expect(read).toMatchObject({ signal: 'SIGSEGV', address: addr + PAGE_SIZE, access: 'read' });
  const write = await thrown(process.write(addr + 7, new Uint8Array(1)));
  expect(write).toMatchObject({ signal: 'SIGSEGV', address: addr + 7, access: 'write' });
  expect(await thrown(process.touch(addr, 'write'))).toMatchObject({ signal: 'SIGSEGV' });
  expect(await process.read(addr, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
});

test('addresses that are no addresses are EINVAL, not a crash', async () => {
  const process = await machine.spawn();
  for (const addr of [-1, Number.NaN, 2 ** 47, 2 ** 60, 0.5, Number.POSITIVE_INFINITY]) {
    expect(await thrown(process.read(addr, 1)), String(addr)).toMatchObject({ code: 'EINVAL' });
    expect(await thrown(process.touch(addr)), String(addr)).toMatchObject({ code: 'EINVAL' });
  }
  expect(await thrown(process.read(0, 2 ** 60))).toMatchObject({ code: 'EINVAL' });
});

test('a read that asks for more than the host can hold is ENOMEM', async () => {
  const process = await machine.spawn();
  expect(await thrown(process.read(0, 2 ** 46))).toMatchObject({ code: 'ENOMEM' });
});

test('memory that runs out is ENOMEM for the access, and the machine goes on', async () => {
  const process = await machine.spawn();
  const addr = await process.mmap({ length: 8 * MIB, prot: RW });
  expect(await thrown(process.write(addr, new Uint8Array(8 * MIB)))).toMatchObject({
    code: 'ENOMEM',
    syscall: 'write',
  });
  await process.munmap(addr, 8 * MIB);
  const again = await process.mmap({ length: MIB, prot: RW });
  await process.write(again, new Uint8Array(MIB).fill(7));
});

test('touch faults a page in without moving data', async () => {
  const process = await machine.spawn();
  const addr = await process.mmap({ length: 3 * PAGE_SIZE, prot: RW });
  await process.touch(addr);
  await process.touch(addr + PAGE_SIZE, 'write');
  expect([...(await process.pageMap(addr, 3))]).toEqual([PAGE_ZERO, PAGE_RAM, PAGE_NONE]);
});

test('shared memory is one object for two processes', async () => {
  const [one, two] = [await machine.spawn(), await machine.spawn()];
  const shmem = await machine.shmem(2 * PAGE_SIZE);
  const request = { length: 2 * PAGE_SIZE, prot: RW, flags: MAP_SHARED, shmem: shmem.id };
  const at = await one.mmap(request);
  const there = await two.mmap({ ...request, length: PAGE_SIZE, offset: PAGE_SIZE });
  await one.write(at + PAGE_SIZE, new Uint8Array([5]));
  expect(await two.read(there, 1)).toEqual(new Uint8Array([5]));
  expect(await thrown(two.mmap({ ...request, offset: 1 }))).toMatchObject({ code: 'EINVAL' });
});

test('a process that exited answers ESRCH, its devices EBADF, its memory is free', async () => {
  const free = (await machine.counters()).ramFreePages;
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const addr = await process.mmap({ length: MIB, prot: RW });
  await process.write(addr, new Uint8Array(MIB).fill(1));
  await device.ioctl('MIGRATE_TO_DEV', { addr, npages: 100, ptr: 0 });
  await process.exit();
  expect(await thrown(process.read(addr, 1))).toMatchObject({ code: 'ESRCH' });
  expect(await thrown(process.exit())).toMatchObject({ code: 'ESRCH' });
  const late = await device.tryIoctl('READ', { addr, npages: 1, ptr: addr });
  expect(late.errno).toBe(errno.EBADF);
  const { ramFreePages, devices } = await machine.counters();
  expect(ramFreePages).toBe(free);
  expect(devices[0]).toMatchObject({ calloc: 100, cfree: 100 });
});

test('exit waits for a command in progress on the process own device', async () => {
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const addr = await process.mmap({ length: MIB, prot: RW });
  await process.write(addr, new Uint8Array(MIB).fill(1));
  const migration = device.tryIoctl('MIGRATE_TO_DEV', { addr, npages: 200, ptr: 0 });
  await process.exit();
  expect((await migration).errno).toBe(0);
  const { devices } = await machine.counters();
  expect(devices[0]).toMatchObject({ calloc: 200, cfree: 200 });
});

test('a migration names how many pages stayed and why', async () => {
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const addr = await process.mmap({ length: 4 * PAGE_SIZE, prot: RW });
  await process.write(addr, new Uint8Array(4 * PAGE_SIZE).fill(1));
  const { sys } = machine.kernel;
  const [mm] = sys.mms;
  const pte = sys.pageTables.words[sys.pageTables.pteOffset(mm!.pgd, addr)]!;
  const pinned = pte >>> 9;
  sys.mem.getPage(pinned);
  const result = await device.tryIoctl('MIGRATE_TO_DEV', { addr, npages: 4, ptr: 0 });
  expect(result).toMatchObject({ errno: errno.ENOENT, skipped: { 'pinned at unmap': 1 } });
  expect(await process.read(addr, 1)).toEqual(new Uint8Array([1]));
  sys.mem.refcount[pinned]! -= 1;
});

test('closing twice is fine', async () => {
  await machine.close();
  await machine.close();
});
