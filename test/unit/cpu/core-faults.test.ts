/*
 * Faults of cores in real threads: one page for eight of them, hints, and what is counted of it
 * all.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { PAGE_DEVICE, PAGE_RAM, PAGE_SIZE } from '../../../src/index.ts';
import type { Machine, Process } from '../../../src/index.ts';
import { oneMigrationEach } from './one-migration.ts';

const program = (name: string): URL => new URL(`../../fixtures/programs/${name}`, import.meta.url);
const RW = 3;

describe('faults of cores', () => {
  let machine: Machine;
  let process: Process;

  beforeEach(async () => {
    machine = await openNodeMachine({ engine: 'cpu', ramBytes: 32 * 2 ** 20 }, () => undefined);
    process = await machine.spawn();
  });

  afterEach(() => machine.close());

  const run = async (name: string, args: unknown): Promise<unknown> =>
    (await process.run(program(name), args)).exited;

  test('M3: 8 cores that fault on one device page cause exactly one migration', async () => {
    await oneMigrationEach(machine, program('one-page.js').href, { cores: 8, rounds: 8 });
  }, 120_000);

  test('a hint brings device pages home while the program goes on', async () => {
    const addr = await process.mmap({ length: 64 * PAGE_SIZE, prot: RW });
    await process.write(addr, new Uint8Array(64 * PAGE_SIZE).fill(7));
    const device = await process.openDevice(0);
    await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 64 });
    const hints = [
      [addr + 8 * PAGE_SIZE, 16 * PAGE_SIZE],
      ['NaN', PAGE_SIZE],
      [addr, 'NaN'],
      [-1, PAGE_SIZE],
    ];
    expect(await run('prefetch.js', { hints, wait: 50 })).toMatchObject({ status: 0 });
    const home = Array.from({ length: 16 }, () => PAGE_RAM);
    const codes = async (): Promise<number[]> => [...(await process.pageMap(addr, 64))];
    await expect.poll(async () => (await codes()).slice(8, 24)).toEqual(home);
    const [before, after] = [(await codes())[7], (await codes())[24]];
    expect([before, after]).toEqual([PAGE_DEVICE, PAGE_DEVICE]);
    expect(machine.vmstat.read('prefetch_hinted')).toBe(16);
    expect(machine.vmstat.read('device_private_fault')).toBe(0);
  });

  test('a flood of hints harms nobody', async () => {
    const addr = await process.mmap({ length: 512 * PAGE_SIZE, prot: RW });
    const hints = Array.from({ length: 3000 }, (_, i) => [addr + (i % 512) * PAGE_SIZE, 4096]);
    const args = { hints: hints.slice(0, 250), wait: 5 };
    expect(await run('prefetch.js', args)).toMatchObject({ status: 0 });
    await process.touch(addr, 'write');
  });

  test('how long faults took is counted by kind, live', async () => {
    const { faultLatency } = machine;
    expect(faultLatency.read('minor')).toMatchObject({ count: 0, totalNs: 0 });
    await run('sum.js', { words: 4096 });
    const minor = faultLatency.read('minor');
    expect(minor.count).toBe(4);
    expect(minor.totalNs).toBeGreaterThan(0);
    expect(minor.histogram.reduce((sum, n) => sum + n, 0)).toBe(4);
    // No fault is faster than a microsecond, nor does it take a minute.
    expect(minor.histogram.slice(0, 9).every((n) => n === 0)).toBe(true);
    expect(faultLatency.read('major').count).toBe(0);
    expect(faultLatency.read('protection').count).toBe(0);
    await oneMigrationEach(machine, program('one-page.js').href, { cores: 1, rounds: 3 });
    expect(faultLatency.read('major').count).toBe(3);
  }, 120_000);
});
