/*
 * How a range is cut into windows: what the copy engine is given, in which order, and what comes of
 * a failure in the middle.
 */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { MADV_HUGEPAGE, PAGE_DEVICE, PROT_NONE } from '../../../src/index.ts';
import { MIB, RW, expectBytes, makeRig, mapFilled, pattern } from './rig.ts';
import type { Rig } from './rig.ts';

const BIG = { ramBytes: 32 * MIB, deviceBytes: 16 * MIB, chunkBytes: 4 * MIB };

/** Notes how many rows each list has that the engine is given, and how many are in progress. */
function watchLists({ machine }: Rig): { rows: number[]; most: () => number } {
  const { engine } = machine.kernel;
  const rows: number[] = [];
  const inner = engine.submit.bind(engine);
  let busy = 0;
  let most = 0;
  engine.submit = async (list, strategy) => {
    rows.push(list.length);
    busy++;
    most = Math.max(most, busy);
    await new Promise((resolve) => setTimeout(resolve, 0));
    busy--;
    return inner(list, strategy);
  };
  return { rows, most: () => most };
}

/** An address in the mapping that no page table boundary is near to. */
const aligned = (addr: number): number => Math.ceil(addr / PMD_SIZE) * PMD_SIZE;

test('a range of one page table goes in one window', async () => {
  const rig = await makeRig(BIG);
  const addr = aligned(await mapFilled(rig, 1024));
  const { rows } = watchLists(rig);
  const result = await rig.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 512 });
  expect(result.cpages).toBe(512);
  expect(rows).toEqual([512]);
  await rig.machine.close();
});

test('a longer one begins with 16 pages, alone, and goes on to where page tables end', async () => {
  const rig = await makeRig(BIG);
  const base = await mapFilled(rig, 3072);
  const addr = aligned(base);
  const { rows, most } = watchLists(rig);
  const result = await rig.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2300 });
  expect(result.cpages).toBe(2300);
  expect(rows).toEqual([16, 1008, 1024, 252]);
  expect(most()).toBe(3);
  expect(result.firstMs).toBeGreaterThan(0);
  expectBytes(await rig.process.read(base, 3072 * PAGE_SIZE), pattern(3072, 0));
  await rig.machine.close();
});

test('a batch that was asked for is kept, and has a limit', async () => {
  const rig = await makeRig(BIG);
  const addr = aligned(await mapFilled(rig, 2048));
  const { rows } = watchLists(rig);
  await rig.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1500, batch: 1000 });
  await rig.device.ioctl('MIGRATE_TO_SYS', { addr, ptr: 0, npages: 1500, batch: 4096 });
  expect(rows).toEqual([1000, 500, 1500]);
  for (const batch of [-1, 4097, 0.5, Number.NaN]) {
    const refused = await rig.device.tryIoctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1, batch });
    expect(refused.errno).toBe(errno.EINVAL);
  }
  expect(rows).toHaveLength(3);
  await rig.machine.close();
});

test('a large folio is not cut to be early', async () => {
  const rig = await makeRig(BIG);
  const { process, device } = rig;
  const addr = aligned(await process.mmap({ length: 4 * PMD_SIZE, prot: RW }));
  await process.madvise(addr, 2 * PMD_SIZE, MADV_HUGEPAGE);
  await process.write(addr, pattern(1024, 0));
  const { rows } = watchLists(rig);
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1024 });
  expect(rows).toEqual([2]);
  expect((await rig.machine.counters()).vm['thp_split_page']).toBe(0);
  await rig.machine.close();
});

test('windows that have begun are finished when a later one can not begin', async () => {
  const rig = await makeRig(BIG);
  const { process, device } = rig;
  const addr = aligned(await mapFilled(rig, 2560));
  await process.mprotect(addr + 1024 * PAGE_SIZE, 512 * PAGE_SIZE, PROT_NONE);
  const result = await device.tryIoctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2048 });
  expect(result.errno).toBe(errno.EINVAL);
  const codes = await process.pageMap(addr, 2048);
  expect(codes.filter((code) => code === PAGE_DEVICE)).toHaveLength(1024);
  await rig.machine.close();
});

test.each([
  ['the window before it fails', true, errno.ENOMEM],
  ['all before it came home', false, errno.EINVAL],
])('a gap in the range: %s, and that is what the caller hears', async (_what, fails, expected) => {
  const rig = await makeRig();
  const addr = await mapFilled(rig, 4);
  await rig.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2 });
  await rig.process.munmap(addr + 2 * PAGE_SIZE, PAGE_SIZE);
  rig.machine.kernel.devices[0]!.failNextAllocation = fails;
  const result = await rig.device.tryIoctl('MIGRATE_TO_SYS', { addr, ptr: 0, npages: 4 });
  expect(result.errno).toBe(expected);
  const onDevice = (await rig.process.pageMap(addr, 2)).filter((page) => page >= PAGE_DEVICE);
  expect(onDevice).toHaveLength(fails ? 2 : 0);
  await rig.machine.close();
});
