/*
 * Machines with several copy threads: coherent device memory lies in RAM, so pages go there and
 * come back by all of them.
 */
import { describe, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { bundleNodeWorker } from '../../../cli/node-worker.ts';
import { OpenError, PROT_READ, PROT_WRITE, bootMachine } from '../../../src/index.ts';
import { errno } from '../../../src/base/errno.ts';

const copy = await bundleNodeWorker('src/worker/copy-worker-node.ts');
const MIB = 2 ** 20;
const SIZES = { engine: 'cpu', ramBytes: 32 * MIB, deviceBytes: 8 * MIB } as const;
const LENGTH = 4 * MIB;
/** All in one list, as others are woken for large ones alone. */
const PAGES = { npages: LENGTH / 4096, batch: LENGTH / 4096 };

test('pages go to coherent memory and come home by three threads', async () => {
  const workers = { kernel: copy, core: copy, copy };
  const machine = await bootMachine({ ...SIZES, copyThreads: 3, workers });
  try {
    expect(machine.kernel.engine.hostCopiers?.threads).toBe(3);
    const process = await machine.spawn();
    const addr = await process.mmap({ length: LENGTH, prot: PROT_READ | PROT_WRITE });
    const bytes = Uint8Array.from({ length: LENGTH }, (_, i) => (i * 7 + (i >>> 12)) & 0xff);
    await process.write(addr, bytes);
    const device = await process.openDevice(2);
    const { stats } = machine.kernel.engine;
    for (const command of ['MIGRATE_TO_DEV', 'MIGRATE_TO_SYS'] as const) {
      const before = stats.bytesInHost;
      const { cpages } = await device.ioctl(command, { addr, ptr: 0, ...PAGES });
      expect(cpages).toBe(LENGTH / 4096);
      expect(stats.bytesInHost - before).toBe(LENGTH);
      expect(Buffer.from(await process.read(addr, LENGTH)).equals(bytes)).toBe(true);
    }
  } finally {
    await machine.close();
  }
});

test('a kernel in a thread of its own starts them, and ends them', async () => {
  const machine = await openNodeMachine({ ...SIZES, copyThreads: 2 }, () => {});
  const process = await machine.spawn();
  const addr = await process.mmap({ length: LENGTH, prot: PROT_READ | PROT_WRITE });
  await process.write(addr, new Uint8Array(LENGTH).fill(9));
  const device = await process.openDevice(2);
  const request = { addr, ptr: 0, ...PAGES };
  expect(await device.ioctl('MIGRATE_TO_DEV', request)).toMatchObject({ cpages: LENGTH / 4096 });
  expect((await process.read(addr, LENGTH)).every((byte) => byte === 9)).toBe(true);
  await machine.close();
}, 120_000);

describe('copyThreads', () => {
  test.each([0, -1, 17, 1.5, NaN, '2'])('%s is refused', async (threads) => {
    const opening = bootMachine({ ...SIZES, copyThreads: threads as number });
    const error = await opening.catch((reason: unknown) => reason);
    expect(error instanceof OpenError).toBe(true);
    expect((error as OpenError).errno).toBe(errno.EINVAL);
  });

  test('one starts no thread', async () => {
    const machine = await bootMachine({ ...SIZES, copyThreads: 1 });
    expect(machine.kernel.engine.hostCopiers).toBeUndefined();
    await machine.close();
  });

  test('more without a file that Node can start them from are refused, with a remedy', async () => {
    const error = await bootMachine({ ...SIZES, copyThreads: 2 }).catch(
      (reason: unknown) => reason,
    );
    expect(error instanceof OpenError).toBe(true);
    expect((error as OpenError).message).toContain('ask for one copy thread');
  });
});
