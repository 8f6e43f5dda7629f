/* Several cores load the same device page at the same time, in Node and in browsers. */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/index.ts';
import type { Machine } from '../../../src/index.ts';

/** Runs rounds with a page each. Expects that every page came home by one migration. */
export async function oneMigrationEach(
  machine: Machine,
  entry: string,
  { cores, rounds }: { cores: number; rounds: number },
): Promise<void> {
  const process = await machine.spawn();
  const bytes = rounds * PAGE_SIZE;
  const barrier = await process.mmap({ length: PAGE_SIZE, prot: 3 });
  await process.write(barrier, new Uint8Array(4));
  const pages = await process.mmap({ length: bytes, prot: 3 });
  const words = Uint32Array.from({ length: bytes / 4 }, (_, k) => k);
  await process.write(pages, new Uint8Array(words.buffer));
  const device = await process.openDevice(0);
  await device.ioctl('MIGRATE_TO_DEV', { addr: pages, ptr: 0, npages: rounds });
  const before = machine.vmstat.snapshot();
  const args = { barrier, cores, pages, rounds };
  const programs = Array.from({ length: cores }, () => process.run(entry, args));
  for (const running of programs) {
    expect(await (await running).exited).toEqual({ status: 0, signal: '', message: '' });
  }
  const after = machine.vmstat.snapshot();
  const grown = (name: 'device_private_fault' | 'pgmigrate_to_ram'): number =>
    after[name] - before[name];
  expect(grown('device_private_fault')).toBe(rounds);
  expect(grown('pgmigrate_to_ram')).toBe(rounds);
  await process.exit();
}
