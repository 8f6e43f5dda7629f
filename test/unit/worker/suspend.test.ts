/* Suspend and resume of a device as programs call them, and what must not wait for ever. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_DEVICE, PAGE_RAM, PAGE_SIZE } from '../../../src/index.ts';
import type { ErrnoError } from '../../../src/index.ts';
import { makeRig, mapFilled, pattern, run } from '../driver/rig.ts';
import type { Rig } from '../driver/rig.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(() => rig.machine.close());

/** The errno that a call throws; 0 when it does not. */
async function errnoOf(call: Promise<void>): Promise<number> {
  try {
    await call;
    return 0;
  } catch (error) {
    return (error as ErrnoError).errno;
  }
}

test('what is on the device goes to RAM, and comes back', async () => {
  const { machine, process, device } = rig;
  const addr = await mapFilled(rig, 8);
  expect(await run(device, 'MIGRATE_TO_DEV', addr, 8)).toBe('0 8 0');
  await machine.suspendDevice(0);
  expect(new Set(await process.pageMap(addr, 8))).toEqual(new Set([PAGE_RAM]));
  expect(await process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
  await machine.resumeDevice(0);
  expect(new Set(await process.pageMap(addr, 8))).toEqual(new Set([PAGE_DEVICE]));
  expect(await process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('there are no such devices, and no other order', async () => {
  const { machine } = rig;
  for (const minor of [-1, 9, 0.5, Number.NaN, '0' as unknown as number]) {
    expect(await errnoOf(machine.suspendDevice(minor))).toBe(errno.ENXIO);
    expect(await errnoOf(machine.resumeDevice(minor))).toBe(errno.ENXIO);
  }
  expect(await errnoOf(machine.resumeDevice(0))).toBe(errno.EINVAL);
  await machine.suspendDevice(0);
  expect(await errnoOf(machine.suspendDevice(0))).toBe(errno.EBUSY);
  // The other one is another.
  await machine.suspendDevice(1);
  await machine.resumeDevice(0);
  expect(await errnoOf(machine.resumeDevice(0))).toBe(errno.EINVAL);
});

test('a process ends while its command waits for a device that sleeps', async () => {
  const { machine, process, device } = rig;
  const addr = await mapFilled(rig, 2);
  await machine.suspendDevice(0);
  const waiting = device.tryIoctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2 });
  await process.exit();
  await machine.resumeDevice(0);
  expect((await waiting).errno).toBe(errno.EINVAL);
});

test('a kernel waits for the device, and is right in the end', async () => {
  const { machine, process, device } = rig;
  const addr = await mapFilled(rig, 1);
  const kernel = await device.compileKernel({ shape: 'increment', window: 4 });
  await machine.suspendDevice(0);
  const { report } = device.startLaunch(kernel, { workgroups: 4, args: [addr] });
  const first = await Promise.race([report, new Promise((resolve) => setTimeout(resolve, 20))]);
  expect(first).toBeUndefined();
  expect(await process.read(addr, 1024)).toEqual(pattern(1, 0).slice(0, 1024));
  await machine.resumeDevice(0);
  expect(await report).toMatchObject({ outcome: 'done' });
  expect(await process.read(addr, 1024)).toEqual(pattern(1, 1).slice(0, 1024));
});

test('a machine is closed while a kernel and a command wait for a device that sleeps', async () => {
  const { machine, device } = rig;
  const addr = await mapFilled(rig, 1);
  const kernel = await device.compileKernel({ shape: 'increment', window: 4 });
  await machine.suspendDevice(0);
  const { report } = device.startLaunch(kernel, { workgroups: 4, args: [addr] });
  const command = device.tryIoctl('READ', { addr, ptr: addr, npages: 1 });
  const ends = Promise.allSettled([report, command]);
  await machine.close();
  expect(await ends).toHaveLength(2);
  expect(machine.isOver).toBe(true);
});
