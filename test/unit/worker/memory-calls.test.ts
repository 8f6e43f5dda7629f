/* mremap, madvise, mincore, pagemap, smaps, clear_refs and the OOM reaper through the facade. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  CLEAR_REFS_SOFT_DIRTY,
  ErrnoError,
  MADV_DONTNEED,
  MADV_GUARD_INSTALL,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_SIZE,
  PM_PRESENT,
  PM_SOFT_DIRTY,
  PM_SWAP,
  SignalError,
} from '../../../src/index.ts';
import { RW, expectBytes, makeRig, mapFilled, pattern, run } from '../driver/rig.ts';
import type { Rig } from '../driver/rig.ts';

const MAP_POPULATE = 0x8000;

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(() => rig.machine.close());

async function codeOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ErrnoError);
  const { code, syscall } = error as ErrnoError;
  return `${syscall} ${code}`;
}

async function messageOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'no error',
    (reason: unknown) => (reason as Error).message,
  );
}

/** The PM_* bits of each page. */
async function bits(addr: number, npages: number): Promise<number[]> {
  const entries = await rig.process.pagemap(addr, npages);
  return Array.from({ length: npages }, (_, i) => entries[2 * i + 1]!);
}

test('a range on the device moves, and the device finds it at its new place [F106]', async () => {
  const { process, device, machine } = rig;
  const addr = await mapFilled(rig, 4);
  expect(await run(device, 'MIGRATE_TO_DEV', addr, 4, 0)).toBe('0 4 0');
  const length = 4 * PAGE_SIZE;
  const target = 2 ** 40;
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  expect(await process.mremap(addr, length, length, flags, target)).toBe(target);
  expect(await run(device, 'ADD', target, 4, 5)).toBe('0 4 1');
  expect(await run(device, 'ADD', addr, 4, 5)).toMatch(/^-14 /);
  const before = (await machine.counters()).vm['device_private_fault'];
  expectBytes(await process.read(target, length), pattern(4, 5));
  expect((await machine.counters()).vm['device_private_fault']).toBe(before! + 4);
});

test('DONTNEED drops pages of the device, guards are signals [F104]', async () => {
  const { process, device, machine } = rig;
  const addr = await mapFilled(rig, 2);
  await run(device, 'MIGRATE_TO_DEV', addr, 2, 0);
  await process.madvise(addr, 2 * PAGE_SIZE, MADV_DONTNEED);
  const { calloc, cfree } = (await machine.counters()).devices[0]!;
  expect(calloc - cfree).toBe(0);
  expectBytes(await process.read(addr, PAGE_SIZE), new Uint8Array(PAGE_SIZE));
  await process.madvise(addr, PAGE_SIZE, MADV_GUARD_INSTALL);
  const signal = await process.touch(addr).catch((reason: unknown) => reason);
  expect(signal).toBeInstanceOf(SignalError);
  expect(await run(device, 'ADD', addr, 1, 1)).toMatch(/^-14 /);
});

test('writes since soft-dirty was cleared are known, on the device pages are swapped [F108]', async () => {
  const { process, device } = rig;
  const addr = await mapFilled(rig, 3);
  await process.clearRefs(CLEAR_REFS_SOFT_DIRTY);
  await process.write(addr, Uint8Array.of(1));
  await run(device, 'MIGRATE_TO_DEV', addr, 2, 0);
  expect(
    await bits(addr, 3).then((all) => all.map((one) => one & (PM_SOFT_DIRTY | PM_SWAP))),
  ).toEqual([PM_SOFT_DIRTY | PM_SWAP, PM_SWAP, 0]);
  expect((await bits(addr, 3)).map((one) => one >= PM_PRESENT)).toEqual([false, false, true]);
  expect([...(await process.mincore(addr, 3 * PAGE_SIZE))]).toEqual([1, 1, 1]);
  const section = (await process.smaps()).find(({ start }) => start === addr);
  expect([section?.rss, section?.anonymous]).toEqual([3 * PAGE_SIZE, 3 * PAGE_SIZE]);
});

test('clearing soft-dirty makes the device fault again [F92]', async () => {
  const { process, device } = rig;
  const addr = await mapFilled(rig, 1);
  expect(await run(device, 'ADD', addr, 1, 1)).toBe('0 1 1');
  expect(await run(device, 'ADD', addr, 1, 1)).toBe('0 1 0');
  await process.clearRefs(CLEAR_REFS_SOFT_DIRTY);
  expect((await bits(addr, 1))[0]! & PM_SOFT_DIRTY).toBe(0);
  expect(await run(device, 'ADD', addr, 1, 1)).toBe('0 1 1');
  // It got its write permission by a fault, which notes the write.
  expect((await bits(addr, 1))[0]! & PM_SOFT_DIRTY).toBe(PM_SOFT_DIRTY);
});

test('a reaped process has nothing left to compute on', async () => {
  const { process, device, machine } = rig;
  const addr = await mapFilled(rig, 2);
  await run(device, 'MIGRATE_TO_DEV', addr, 1, 0);
  await process.oomReap();
  const { calloc, cfree } = (await machine.counters()).devices[0]!;
  expect(calloc - cfree).toBe(0);
  expect(await process.touch(addr).catch((reason: unknown) => String(reason))).toMatch(/SIGBUS/);
  expect(await run(device, 'ADD', addr, 1, 1)).toMatch(/^-/);
  await process.exit();
});

test('bad arguments are errnos of the call, nothing changes', async () => {
  const { process } = rig;
  const addr = await process.mmap({ length: PAGE_SIZE, prot: RW });
  expect(await codeOf(process.mremap(addr, PAGE_SIZE, 0))).toBe('mremap EINVAL');
  expect(await codeOf(process.mremap(1, PAGE_SIZE, PAGE_SIZE))).toBe('mremap EINVAL');
  expect(await codeOf(process.madvise(addr, PAGE_SIZE, 99))).toBe('madvise EINVAL');
  expect(await codeOf(process.madvise(addr, 2 * PAGE_SIZE, MADV_DONTNEED))).toBe('madvise ENOMEM');
  expect(await codeOf(process.mincore(addr + 1, 1))).toBe('mincore EINVAL');
  expect(await codeOf(process.mincore(addr, Number.NaN))).toBe('mincore EINVAL');
  expect(await codeOf(process.mincore(0, 2 ** 46))).toBe('mincore ENOMEM');
  expect(await codeOf(process.pagemap(addr + 1, 1))).toBe('pagemap EINVAL');
  expect(await codeOf(process.pagemap(addr, -1))).toBe('pagemap EINVAL');
  expect(await codeOf(process.pagemap(0, 2 ** 34))).toBe('pagemap ENOMEM');
  expect(await codeOf(process.clearRefs(7))).toBe('clear_refs EINVAL');
  await process.exit();
  expect(await codeOf(process.madvise(addr, PAGE_SIZE, MADV_DONTNEED))).toBe('madvise ESRCH');
  expect(await codeOf(process.mremap(addr, PAGE_SIZE, PAGE_SIZE))).toBe('mremap ESRCH');
  expect(await codeOf(process.smaps())).toBe('smaps ESRCH');
  expect(await codeOf(process.mincore(addr, 1))).toBe('mincore ESRCH');
  expect(await codeOf(process.pagemap(addr, 1))).toBe('pagemap ESRCH');
  expect(await codeOf(process.clearRefs(1))).toBe('clear_refs ESRCH');
  expect(await codeOf(process.oomReap())).toBe('oom_reap ESRCH');
});

test('mmap ignores MAP_POPULATE; MADV_POPULATE_WRITE has the pages there', async () => {
  const { process } = rig;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  const addr = await process.mmap({ length: PAGE_SIZE, prot: RW, flags });
  expect([...(await process.pageMap(addr, 1))]).toEqual([PAGE_NONE]);
  await process.madvise(addr, PAGE_SIZE, MADV_POPULATE_WRITE);
  expect([...(await process.pageMap(addr, 1))]).toEqual([PAGE_RAM]);
});

test('an ioctl that leaves pages behind says why, other failures do not', async () => {
  const { device, process } = rig;
  const addr = await mapFilled(rig, 1);
  const pin = await process.pinUserPages(addr, 1);
  const request = { addr, npages: 1, ptr: 0 };
  const name = 'ioctl HMM_DMIRROR_MIGRATE_TO_DEV';
  const pinned = `ENOENT: ${name} (left behind: pinned at collect: 1)`;
  expect(await messageOf(device.ioctl('MIGRATE_TO_DEV', request))).toBe(pinned);
  await pin.release();
  const unaligned = device.ioctl('MIGRATE_TO_DEV', { ...request, addr: addr + 1 });
  expect(await messageOf(unaligned)).toBe(`EINVAL: ${name}`);
});
