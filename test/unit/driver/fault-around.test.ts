/*
 * Fault-around: which window a CPU fault brings home, what stays, and what is counted. The windows
 * are those of 64 KiB at first, aligned, within the VMA.
 */
import { describe, expect, test } from 'vitest';
import { FaultAround } from '../../../src/driver/fault-around.ts';
import { MADV_DONTNEED, PAGE_DEVICE, PAGE_RAM, PAGE_SIZE } from '../../../src/index.ts';
import type { Vma } from '../../../src/mm/mm-types.ts';
import { MIB, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const KIB = 1024;
const ON = { faultAroundBytes: 2 * MIB, deviceBytes: 4 * MIB, ramBytes: 16 * MIB };

/** Pages of a range that are in RAM, as a list of their indexes. */
async function home({ process }: Rig, addr: number, npages: number): Promise<number[]> {
  const codes = await process.pageMap(addr, npages);
  return [...codes.keys()].filter((page) => codes[page] === PAGE_RAM);
}

async function onDevice(rig: Rig, npages: number): Promise<number> {
  const addr = await mapFilled(rig, npages);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, npages)).toMatch(/^0 /);
  return addr;
}

const count = ({ machine }: Rig, name: string): Promise<number> =>
  machine.counters().then(({ vm }) => vm[name]!);

describe('window of a fault', () => {
  const vma = (start: number, pages: number): Vma =>
    ({ vmStart: start, vmEnd: start + pages * PAGE_SIZE }) as Vma;
  const pagesOf = (around: FaultAround, area: Vma, page: number): string => {
    const { start, end } = around.next(area, area.vmStart + page * PAGE_SIZE);
    return `${(start - area.vmStart) / PAGE_SIZE}-${(end - area.vmStart) / PAGE_SIZE}`;
  };

  test('doubles as faults follow each other, up to its limit', () => {
    const around = new FaultAround(512);
    const area = vma(2 ** 30, 2048);
    const windows: string[] = [];
    for (let page = 0; page < 2048;) {
      const window = pagesOf(around, area, page);
      windows.push(window);
      page = Number(window.split('-')[1]);
    }
    expect(windows.slice(0, 7)).toEqual([
      '0-16',
      '0-32',
      '0-64',
      '0-128',
      '0-256',
      '0-512',
      '512-1024',
    ]);
  });

  test('halves with each fault somewhere else, down to the page', () => {
    const around = new FaultAround(512);
    const area = vma(2 ** 30, 2048);
    const windows = [100, 900, 300, 1500, 700, 1200].map((page) => pagesOf(around, area, page));
    expect(windows).toEqual(['96-112', '896-904', '300-304', '1500-1502', '700-701', '1200-1201']);
  });

  test('follows faults that go down, too', () => {
    const around = new FaultAround(512);
    const area = vma(2 ** 30, 2048);
    expect([pagesOf(around, area, 1023), pagesOf(around, area, 1007)]).toEqual([
      '1008-1024',
      '992-1024',
    ]);
  });

  test('stays within its VMA, and remembers each by itself', () => {
    const around = new FaultAround(512);
    const area = vma(2 ** 30 + 3 * PAGE_SIZE, 7);
    const other = vma(2 ** 31, 64);
    expect(pagesOf(around, area, 2)).toBe('0-7');
    expect(pagesOf(around, other, 20)).toBe('16-32');
    expect(pagesOf(around, other, 32)).toBe('32-64');
  });
});

describe('fault-around', () => {
  test('off, one page comes home', async () => {
    const rig = await makeRig();
    const addr = await onDevice(rig, 64);
    await rig.process.touch(addr + 20 * PAGE_SIZE, 'read');
    expect(await home(rig, addr, 64)).toEqual([20]);
    expect(await count(rig, 'prefetch_fault_around')).toBe(0);
    await rig.machine.close();
  });

  test('one migration brings the window home, with its contents', async () => {
    const rig = await makeRig(ON);
    const addr = await onDevice(rig, 64);
    const first = Math.ceil(addr / (64 * KIB)) * 64 * KIB;
    const start = (first - addr) / PAGE_SIZE;
    const before = await rig.machine.counters();
    await rig.process.touch(first + 5 * PAGE_SIZE, 'write');
    const wanted = Array.from({ length: 16 }, (_, i) => start + i);
    expect(await home(rig, addr, 64)).toEqual(wanted);
    const after = await rig.machine.counters();
    expect(after.engine.lists - before.engine.lists).toBe(1);
    expect(after.vm['device_private_fault']! - before.vm['device_private_fault']!).toBe(1);
    expect(after.vm['prefetch_fault_around']).toBe(15);
    expectBytes(await rig.process.read(addr, 64 * PAGE_SIZE), pattern(64, 0));
    await rig.machine.close();
  });

  test('a window that RAM has no room for is the page alone', async () => {
    const rig = await makeRig({ ...ON, ramBytes: MIB });
    const addr = await onDevice(rig, 32);
    const { sys } = rig.machine.kernel;
    const hog = await rig.process.mmap({ length: MIB, prot: 3 });
    for (let page = 0; sys.pageAllocator.freePages > 4; page++) {
      await rig.process.touch(hog + page * PAGE_SIZE, 'write');
    }
    await rig.process.touch(addr + 8 * PAGE_SIZE, 'read');
    expect(await home(rig, addr, 32)).toEqual([8]);
    expect(await count(rig, 'prefetch_fault_around')).toBe(0);
    await rig.machine.close();
  });

  test('pages are counted as used when they are touched first', async () => {
    const rig = await makeRig(ON);
    const addr = await onDevice(rig, 64);
    await rig.process.touch(addr + 20 * PAGE_SIZE, 'read');
    const came = (await home(rig, addr, 64)).filter((page) => page !== 20);
    expect(await count(rig, 'prefetch_used')).toBe(0);
    await rig.process.touch(addr + came[0]! * PAGE_SIZE, 'read');
    await rig.process.touch(addr + came[0]! * PAGE_SIZE, 'write');
    await rig.process.touch(addr + came[1]! * PAGE_SIZE, 'write');
    expect(await count(rig, 'prefetch_used')).toBe(2);
    expect(await count(rig, 'prefetch_wasted')).toBe(0);
    await rig.machine.close();
  });

  test('pages that leave again untouched are counted as wasted, others are not', async () => {
    const rig = await makeRig(ON);
    const addr = await onDevice(rig, 64);
    await rig.process.touch(addr + 20 * PAGE_SIZE, 'read');
    const came = await home(rig, addr, 64);
    const [used, gone, unmapped] = came.filter((page) => page !== 20);
    await rig.process.touch(addr + used! * PAGE_SIZE, 'read');
    expect(await run(rig.device, 'MIGRATE_TO_DEV', addr + gone! * PAGE_SIZE, 1)).toMatch(/^0 /);
    await rig.process.madvise(addr + unmapped! * PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED);
    expect(await run(rig.device, 'MIGRATE_TO_DEV', addr + used! * PAGE_SIZE, 1)).toMatch(/^0 /);
    expect(await count(rig, 'prefetch_wasted')).toBe(2);
    expect(await count(rig, 'prefetch_used')).toBe(1);
    await rig.machine.close();
  });

  test('pages of another device stay where they are', async () => {
    const rig = await makeRig(ON);
    const addr = await onDevice(rig, 64);
    const start = (Math.ceil(addr / (64 * KIB)) * 64 * KIB - addr) / PAGE_SIZE;
    const other = await rig.process.openDevice(1);
    await rig.process.touch(addr + (start + 3) * PAGE_SIZE, 'read');
    expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 64)).toMatch(/^0 /);
    expect(await run(rig.device, 'MIGRATE_TO_SYS', addr + (start + 4) * PAGE_SIZE, 1)).toMatch(
      /^0 /,
    );
    expect(await run(other, 'MIGRATE_TO_DEV', addr + (start + 4) * PAGE_SIZE, 1)).toMatch(/^0 /);
    await rig.process.touch(addr + (start + 5) * PAGE_SIZE, 'read');
    const codes = await rig.process.pageMap(addr, 64);
    expect(codes[start + 4]).toBe(PAGE_DEVICE + 1);
    expect(codes[start + 5]).toBe(PAGE_RAM);
    await rig.machine.close();
  });

  test('a window is a power of two from 4 KiB to 2 MiB', async () => {
    for (const faultAroundBytes of [0, 5000, 3 * 4096, 4 * MIB, NaN, -4096]) {
      await expect(makeRig({ faultAroundBytes }), String(faultAroundBytes)).rejects.toThrow(
        'fault-around',
      );
    }
  });
});
