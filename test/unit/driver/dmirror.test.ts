/**
 * The test device on the CPU engine: what its commands do to memory, the device and the counters, beyond
 * what the kernel's selftests look at.
 */
import { afterEach, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  PAGE_DEVICE,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_ZERO,
  PROT_READ,
  SignalError,
} from '../../../src/index.ts';
import { MIB, RW, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const rigs: Rig[] = [];

async function rig(options = {}): Promise<Rig> {
  const made = await makeRig(options);
  rigs.push(made);
  return made;
}

/** Every test leaves a machine that gives everything back. */
afterEach(async () => {
  for (const { machine } of rigs.splice(0)) {
    await machine.close();
    const { devices } = machine.kernel.counters();
    for (const { calloc, cfree } of devices) expect(cfree).toBe(calloc);
    expect(machine.kernel.sys.mem.waitingPages).toBe(0);
  }
});

const map = async (r: Rig, addr: number, npages: number): Promise<number[]> => [
  ...(await r.process.pageMap(addr, npages)),
];

test('a migrated page is on the device, changed there by ADD, and comes home changed', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe('0 3 0');
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_DEVICE]);
  expect(await run(r.device, 'ADD', addr, 3, 1000)).toBe('0 3 0');
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 1000));
  expect(await map(r, addr, 3)).toEqual([PAGE_RAM, PAGE_RAM, PAGE_RAM]);
  const { vm } = await r.machine.counters();
  expect([vm['device_private_fault'], vm['pgmigrate_to_device'], vm['pgmigrate_to_ram']]).toEqual([
    3, 3, 3,
  ]);
});

test('ADD on pages that stay in RAM goes through the aperture and moves no page', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 70);
  expect(await run(r.device, 'ADD', addr, 70, 5)).toBe('0 70 1');
  expect(new Set(await map(r, addr, 70))).toEqual(new Set([PAGE_RAM]));
  expect(await r.process.read(addr, 70 * PAGE_SIZE)).toEqual(pattern(70, 5));
  const { vm, engine } = await r.machine.counters();
  expect(vm['pgmigrate_to_device']).toBe(0);
  // Every page crossed to VRAM and back once.
  expect([engine.bytesToDevice, engine.bytesToHost]).toEqual([70 * PAGE_SIZE, 70 * PAGE_SIZE]);
});

test('WRITE to a migrated hole costs one fault round, as its device entry is read-only', async () => {
  const r = await rig();
  const addr = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  const from = await mapFilled(r, 1, 9);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(await run(r.device, 'WRITE', addr, 1, from)).toBe('0 1 1');
  expect(await map(r, addr, 1)).toEqual([PAGE_DEVICE]);
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 9));
});

test('a hole that migrates reads as zeroes, whoever had the device page before', async () => {
  const r = await rig({ deviceBytes: PAGE_SIZE });
  const secret = await mapFilled(r, 1, 0x5ec4e7);
  expect(await run(r.device, 'MIGRATE_TO_DEV', secret, 1)).toBe('0 1 0');
  await r.process.munmap(secret, PAGE_SIZE);
  const addr = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
});

test('pages that find no room on the device stay in RAM, and the range is not wholly mapped', async () => {
  const r = await rig({ deviceBytes: 2 * PAGE_SIZE, chunkBytes: PAGE_SIZE });
  const addr = await mapFilled(r, 3);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe(`${errno.ENOENT} 0 0`);
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_RAM]);
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 0));
});

test('MIGRATE_TO_SYS brings back its own pages and counts them, others it leaves alone', async () => {
  const r = await rig();
  const other = await r.process.openDevice(1);
  const addr = await mapFilled(r, 4);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await run(other, 'MIGRATE_TO_DEV', addr + 2 * PAGE_SIZE, 1);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 4)).toBe('0 2 0');
  expect(await map(r, addr, 4)).toEqual([PAGE_RAM, PAGE_RAM, PAGE_DEVICE + 1, PAGE_RAM]);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 4)).toBe('0 0 0');
});

test('an allocation that FLAGS makes fail keeps one page back, and only once', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  await run(r.device, 'FLAGS', addr, 1);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2)).toBe(`${errno.ENOENT} 0 0`);
  expect(await map(r, addr, 2)).toEqual([PAGE_RAM, PAGE_DEVICE]);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
  await run(r.device, 'FLAGS', addr, 1);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 2)).toBe(`${errno.ENOMEM} 0 0`);
  expect(await map(r, addr, 2)).toEqual([PAGE_DEVICE, PAGE_DEVICE]);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 2)).toBe('0 2 0');
});

test('RELEASE empties the device for every process and gives its chunks back', async () => {
  const r = await rig();
  const stranger = await r.machine.spawn();
  const theirs = await stranger.openDevice(0);
  const addr = await mapFilled(r, 300);
  const there = await mapFilled({ ...r, process: stranger }, 20, 77);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 300);
  await run(theirs, 'MIGRATE_TO_DEV', there, 20);
  expect(await run(r.device, 'RELEASE', addr, 1)).toBe('0 0 0');
  const [memory] = r.machine.kernel.devices;
  expect(memory?.memory.pagesInUse).toBe(0);
  expect(memory?.memory.chunks.every((chunk) => chunk === null)).toBe(true);
  expect(new Set(await map(r, addr, 300))).toEqual(new Set([PAGE_RAM]));
  expect(await stranger.read(there, 20 * PAGE_SIZE)).toEqual(pattern(20, 77));
  // The device is usable again.
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 300)).toBe('0 300 0');
});

test('READ into a buffer that is not mapped is EFAULT, into a mapped one it fills', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const buffer = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  expect(await run(r.device, 'READ', addr, 1, buffer + PAGE_SIZE * 1000)).toBe(
    `${errno.EFAULT} 0 0`,
  );
  expect(await run(r.device, 'READ', addr, 1, buffer)).toBe('0 1 0');
  expect(await r.process.read(buffer, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('a snapshot faults nothing in', async () => {
  const r = await rig();
  const addr = await r.process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  const out = await mapFilled(r, 1);
  await r.process.touch(addr, 'read');
  expect(await run(r.device, 'SNAPSHOT', addr, 2, out)).toBe('0 2 0');
  expect([...(await r.process.read(out, 2))]).toEqual([0x11, 0x00]);
  expect(await map(r, addr, 2)).toEqual([PAGE_ZERO, PAGE_NONE]);
});

test('bad ranges are EINVAL for every command and change nothing', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const before = await r.machine.counters();
  const ranges: [number, number][] = [
    [addr + 1, 1],
    [addr, 0],
    [addr, -1],
    [addr, Number.NaN],
    [Number.NaN, 1],
    [-PAGE_SIZE, 1],
    [addr, 2 ** 52],
    [addr, 0.5],
  ];
  const commands = ['READ', 'WRITE', 'MIGRATE_TO_DEV', 'SNAPSHOT', 'RELEASE', 'FLAGS'] as const;
  for (const command of commands) {
    for (const [at, npages] of ranges) {
      expect(await run(r.device, command, at, npages, addr)).toBe(`${errno.EINVAL} 0 0`);
    }
  }
  expect(await r.machine.counters()).toEqual(before);
});

test('ranges without memory behind them: EFAULT to read, EINVAL to migrate', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const hole = addr - 64 * PAGE_SIZE;
  expect(await run(r.device, 'READ', hole, 1, addr)).toBe(`${errno.EFAULT} 0 0`);
  expect(await run(r.device, 'MIGRATE_TO_DEV', hole, 1)).toBe(`${errno.EINVAL} 0 0`);
});

test('a range larger than RAM can hold is ENOMEM for READ, without allocating', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const free = (await r.machine.counters()).ramFreePages;
  expect(await run(r.device, 'READ', addr, 2 ** 30, addr)).toBe(`${errno.ENOMEM} 0 0`);
  expect((await r.machine.counters()).ramFreePages).toBe(free);
});

test('a closed device answers EBADF, and its pages still fault home', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await r.device.close();
  expect(await run(r.device, 'READ', addr, 1, addr)).toBe(`${errno.EBADF} 0 0`);
  expect(await r.process.read(addr, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
});

test('device loss: device pages are SIGBUS, RAM pages intact, nothing half moved', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 4);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await r.machine.loseDevice();
  const home = addr + 2 * PAGE_SIZE;
  expect(await r.process.read(home, 2 * PAGE_SIZE)).toEqual(pattern(4, 0).slice(2 * PAGE_SIZE));
  const lost = await r.process.read(addr + 5, 1).catch((error: unknown) => error);
  expect(lost).toBeInstanceOf(SignalError);
  expect(lost).toMatchObject({ signal: 'SIGBUS', address: addr + 5 });
  expect(await run(r.device, 'MIGRATE_TO_DEV', home, 2)).toBe(`${errno.ENODEV} 0 0`);
  expect(await map(r, addr, 4)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_RAM, PAGE_RAM]);
  await r.process.munmap(addr, 2 * PAGE_SIZE);
});

test('a device write on a page shared by fork copies it: the other process keeps its bytes', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 1);
  const child = await r.process.fork();
  expect((await run(r.device, 'ADD', addr, 1, 3)).split(' ').slice(0, 2)).toEqual(['0', '1']);
  expect(await child.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 3));
});

test('the mirror of the same device in another file forgets pages that were brought home', async () => {
  const r = await rig();
  const second = await r.process.openDevice(0);
  const addr = await mapFilled(r, 1);
  const out = await mapFilled(r, 1, 1);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 1);
  expect(await run(second, 'READ', addr, 1, out)).toBe('0 1 1');
  await run(r.device, 'MIGRATE_TO_SYS', addr, 1);
  await r.process.write(addr, pattern(1, 50));
  expect(await run(second, 'READ', addr, 1, out)).toBe('0 1 1');
  expect(await r.process.read(out, PAGE_SIZE)).toEqual(pattern(1, 50));
});

test('mprotect to read-only makes a device write EPERM, back to writable it works again', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe('0 2 1');
  await r.process.mprotect(addr, 2 * PAGE_SIZE, PROT_READ);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe(`${errno.EPERM} 0 0`);
  await r.process.mprotect(addr, 2 * PAGE_SIZE, RW);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe('0 2 1');
});

test('commands of several files at once on one range end with the sum of their work', async () => {
  const r = await rig({ ramBytes: 16 * MIB });
  const addr = await mapFilled(r, 200);
  const files = [r.device, await r.process.openDevice(0), await r.process.openDevice(1)];
  const adds = files.map((file, i) => run(file, 'ADD', addr, 200, 10 ** i));
  const moves = files.map((file) => run(file, 'MIGRATE_TO_DEV', addr, 200));
  for (const line of await Promise.all(adds)) expect(line.startsWith('0 200')).toBe(true);
  await Promise.all(moves);
  expect(await r.process.read(addr, 200 * PAGE_SIZE)).toEqual(pattern(200, 111));
});
