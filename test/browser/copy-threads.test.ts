/** Copy threads of a machine in a browser, whose kernel worker starts workers of its own. */
import { expect, test } from 'vitest';
import { Machine, PAGE_SIZE } from '../../src/index.ts';

const MIB = 2 ** 20;
/** More than a list needs for other threads to be woken. */
const LENGTH = 6 * MIB;

test('pages go to coherent memory and come home by three threads', async () => {
  const sizes = { ramBytes: 32 * MIB, deviceBytes: 8 * MIB };
  await using machine = await Machine.create({ engine: 'cpu', ...sizes, copyThreads: 3 });
  const process = await machine.spawn();
  const addr = await process.mmap({ length: LENGTH, prot: 3 });
  const bytes = Uint8Array.from({ length: LENGTH }, (_, i) => (i * 7 + (i >>> 12)) & 0xff);
  await process.write(addr, bytes);
  const device = await process.openDevice(2);
  for (const command of ['MIGRATE_TO_DEV', 'MIGRATE_TO_SYS'] as const) {
    const npages = LENGTH / PAGE_SIZE;
    const { cpages } = await device.ioctl(command, { addr, ptr: 0, npages, batch: npages });
    expect(cpages).toBe(npages);
    const found = await process.read(addr, LENGTH);
    expect(found.findIndex((byte, i) => byte !== bytes[i])).toBe(-1);
  }
});

test('too many are refused', async () => {
  const opening = Machine.create({ engine: 'cpu', copyThreads: 17 });
  await expect(opening).rejects.toThrow('17 copy threads');
});
