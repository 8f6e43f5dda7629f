/**
 * Pages by frame, and the memory of other processes, through the facade: get_user_pages,
 * process_vm_readv, /proc/pid/mem.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  ErrnoError,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_WRITE,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  PROT_READ,
  errno,
} from '../../../src/index.ts';
import type { Process } from '../../../src/index.ts';
import { RW, expectBytes, makeRig, mapFilled, pattern, run } from '../driver/rig.ts';
import type { Rig } from '../driver/rig.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(async () => {
  await rig.machine.close();
});

/** The errno that a call is refused with. */
async function refusal(call: Promise<unknown>): Promise<number> {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ErrnoError);
  return (error as ErrnoError).errno;
}

async function ramFreePages(): Promise<number> {
  return (await rig.machine.counters()).ramFreePages;
}

test('pages on the device come home for each way to take them [F68]', async () => {
  const addr = await mapFilled(rig, 4, 7);
  const { process, device } = rig;
  const at = (page: number): number => addr + page * PAGE_SIZE;
  expect(await run(device, 'MIGRATE_TO_DEV', addr, 4)).toBe('0 4 0');
  expect([...(await process.pageMap(addr, 4))]).toEqual(
    Array.from({ length: 4 }, () => PAGE_DEVICE),
  );
  const held = [
    await process.getUserPages(at(0), 1, FOLL_WRITE),
    await process.getUserPagesFast(at(1), 1, FOLL_WRITE),
    await process.pinUserPages(at(2), 1, FOLL_WRITE | FOLL_LONGTERM),
    await process.pinUserPagesFast(at(3), 1, FOLL_WRITE | FOLL_LONGTERM),
  ];
  expect([...(await process.pageMap(addr, 4))]).toEqual(Array.from({ length: 4 }, () => PAGE_RAM));
  expect((await rig.machine.counters()).vm['device_private_fault']).toBe(4);
  expect(held.map(({ npages }) => npages)).toEqual([1, 1, 1, 1]);
  for (const pages of held) await pages.release();
  expectBytes(await process.read(addr, 4 * PAGE_SIZE), pattern(4, 7));
});

test('a held page does not migrate, a released one does [F34]', async () => {
  const addr = await mapFilled(rig, 2);
  const pages = await rig.process.pinUserPages(addr, 1, FOLL_WRITE);
  await rig.device.tryIoctl('MIGRATE_TO_DEV', { addr, npages: 2, ptr: 0 });
  expect([...(await rig.process.pageMap(addr, 2))]).toEqual([PAGE_RAM, PAGE_DEVICE]);
  await pages.release();
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
});

test('held pages outlive their process, and end with the machine', async () => {
  const free = await ramFreePages();
  const other = await rig.machine.spawn();
  const addr = await other.mmap({ length: 3 * PAGE_SIZE, prot: RW });
  const pages = await other.getUserPages(addr, 3, FOLL_WRITE);
  await other.pinUserPages(addr, 1);
  await other.exit();
  expect(await ramFreePages()).toBe(free - 3);
  await pages.release();
  expect(await ramFreePages()).toBe(free - 1);
  expect(await refusal(pages.release())).toBe(errno.EBADF);
  await rig.machine.close();
  expect(rig.machine.kernel.sys.pageAllocator.freePages).toBeGreaterThanOrEqual(free);
});

test('requests that make no sense are refused and take nothing', async () => {
  const addr = await mapFilled(rig, 1);
  const { process } = rig;
  const free = await ramFreePages();
  expect(await refusal(process.getUserPages(addr, 1, FOLL_LONGTERM))).toBe(errno.EINVAL);
  expect(await refusal(process.getUserPages(addr, 1, 2))).toBe(errno.EINVAL);
  expect(await refusal(process.getUserPages(addr, 1, Number.NaN))).toBe(errno.EINVAL);
  for (const npages of [-1, 0.5, Number.NaN]) {
    expect(await refusal(process.pinUserPages(addr, npages))).toBe(errno.EINVAL);
  }
  expect(await refusal(process.pinUserPages(addr, 2 ** 40))).toBe(errno.ENOMEM);
  expect(await refusal(process.pinUserPages(Number.NaN, 1))).toBe(errno.EFAULT);
  expect(await refusal(process.pinUserPages(2 ** 40, 1, FOLL_NOFAULT))).toBe(errno.EFAULT);
  expect(rig.machine.kernel.gupRelease(77)).toBe(errno.EBADF);
  expect(await refusal(new GonePages(rig).get(addr))).toBe(errno.ESRCH);
  expect(await ramFreePages()).toBe(free);
});

/** A process that is no more. */
class GonePages {
  private readonly rig: Rig;

  constructor(rig: Rig) {
    this.rig = rig;
  }

  async get(addr: number): Promise<unknown> {
    const gone = await this.rig.machine.spawn();
    await gone.exit();
    return gone.getUserPages(addr, 1);
  }
}

test('pages end where memory ends: as many as there are', async () => {
  const addr = await mapFilled(rig, 3);
  await rig.process.munmap(addr + 2 * PAGE_SIZE, PAGE_SIZE);
  await using pages = await rig.process.getUserPagesFast(addr, 3);
  expect(pages.npages).toBe(2);
});

async function otherProcess(): Promise<{ other: Process; local: number }> {
  const other = await rig.machine.spawn();
  return { other, local: await other.mmap({ length: 4 * PAGE_SIZE, prot: RW }) };
}

test('process_vm_readv and _writev copy between processes, from the device too [F68]', async () => {
  const remote = await mapFilled(rig, 4, 3);
  const { other, local } = await otherProcess();
  expect(await run(rig.device, 'MIGRATE_TO_DEV', remote, 4)).toBe('0 4 0');
  const length = 4 * PAGE_SIZE - 8;
  const range = { local, remote: remote + 8, length };
  expect(await other.processVmReadv(rig.process, range)).toBe(length);
  expectBytes(await other.read(local, length), pattern(4, 3).subarray(8));
  await other.write(local, Uint8Array.of(9, 9));
  expect(await other.processVmWritev(rig.process, { ...range, length: 2 })).toBe(2);
  expect([...(await rig.process.read(remote + 7, 4))]).toEqual([0, 9, 9, 0]);
});

test('process_vm_readv of what is not there is EFAULT, EINVAL or ESRCH', async () => {
  const remote = await mapFilled(rig, 1);
  const { other, local } = await otherProcess();
  const copy = (from: number, to: number, length: number): Promise<number> =>
    refusal(other.processVmReadv(rig.process, { local: to, remote: from, length }));
  expect(await copy(remote + PAGE_SIZE * 99, local, 1)).toBe(errno.EFAULT);
  expect(await copy(remote, local - 99 * PAGE_SIZE, 1)).toBe(errno.EFAULT);
  expect(await copy(Number.NaN, local, 1)).toBe(errno.EINVAL);
  expect(await copy(remote, local, -1)).toBe(errno.EINVAL);
  await rig.process.exit();
  expect(await copy(remote, local, 1)).toBe(errno.ESRCH);
});

test('/proc/pid/mem reads and writes as the process could, from the device too [F68]', async () => {
  const { process, device } = rig;
  const addr = await mapFilled(rig, 2, 5);
  expect(await run(device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
  expectBytes(await process.procMemRead(addr, PAGE_SIZE), pattern(2, 5).subarray(0, PAGE_SIZE));
  expect([...(await process.pageMap(addr, 2))]).toEqual([PAGE_RAM, PAGE_DEVICE]);
  expect(await process.procMemWrite(addr + 1, Uint8Array.of(1, 2, 3))).toBe(3);
  expect([...(await process.read(addr, 5))]).toEqual([5, 1, 2, 3, 6]);
  await process.mprotect(addr, PAGE_SIZE, PROT_READ);
  expect(await refusal(process.procMemWrite(addr, Uint8Array.of(1)))).toBe(errno.EIO);
  expect((await process.procMemRead(addr + 2 * PAGE_SIZE - 3, 9)).length).toBe(3);
  expect(await refusal(process.procMemRead(addr + 2 * PAGE_SIZE, 1))).toBe(errno.EIO);
  expect(await refusal(process.procMemRead(Number.NaN, 1))).toBe(errno.EINVAL);
  expect(await refusal(process.procMemRead(0, 2 ** 46))).toBe(errno.ENOMEM);
  expect(await refusal(process.procMemWrite(-1, Uint8Array.of(1)))).toBe(errno.EINVAL);
  expect(await refusal(process.procMemWrite(addr, 'no bytes' as never))).toBe(errno.EINVAL);
});
