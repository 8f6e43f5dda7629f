/** What the facade hands out in a real browser: live counters, a trace, and an end. */
import { expect, test } from 'vitest';
import { Machine, MachineError, PAGE_DEVICE, PAGE_SIZE } from '../../src/index.ts';
import type { MachineEvent } from '../../src/index.ts';

const MIB = 2 ** 20;

test('counters and traces come from the kernel worker; a closed machine says so', async () => {
  const machine = await Machine.create({ engine: 'cpu', ramBytes: 16 * MIB, deviceBytes: MIB });
  const process = await machine.spawn();
  const addr = await process.mmap({ length: PAGE_SIZE, prot: 3 });
  await process.write(addr, new Uint8Array([7]));
  const device = await process.openDevice(0);
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
  const events: MachineEvent[] = [];
  const trace = await machine.trace((some) => events.push(...some), { events: ['fault'] });
  const before = machine.vmstat.read('device_private_fault');
  await process.read(addr, 1);
  expect(machine.vmstat.read('device_private_fault') - before).toBe(1);
  await trace.close();
  expect(events.map((event) => event.type === 'fault' && event.found)).toEqual([PAGE_DEVICE]);
  // A program that is still running ends with its machine.
  const url = new URL('../fixtures/programs/wait.js', import.meta.url);
  const program = await process.run(url);
  await machine.close();
  expect(await program.exited).toMatchObject({ status: -1, signal: 'SIGKILL' });
  await expect(process.read(addr, 1)).rejects.toThrow(MachineError);
});
