/* Poisoned pages through the facade. */
import { afterEach, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PMD_SIZE } from '../../../src/base/units.ts';
import {
  MAP_ANONYMOUS,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
  bootMachine,
} from '../../../src/index.ts';
import type { LocalMachine, Process } from '../../../src/index.ts';
import { findProblems } from '../../../src/sim/check-invariants.ts';

const RW = PROT_READ | PROT_WRITE;
const SIGBUS = { signal: 'SIGBUS' };
let machine: LocalMachine;

afterEach(async () => {
  expect(findProblems(machine.kernel.sys)).toEqual([]);
  await machine.close();
});

async function makeProcess(thp: 'never' | 'always'): Promise<Process> {
  machine = await bootMachine({ engine: 'cpu', ramBytes: 2 ** 23, devices: 1, thp });
  return machine.spawn();
}

test('a broken page is SIGBUS, on the CPU and for the device', async () => {
  const process = await makeProcess('never');
  const addr = await process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  await process.write(addr, new Uint8Array(2 * PAGE_SIZE).fill(7));
  await process.poison(addr);
  await expect(process.read(addr, 1)).rejects.toMatchObject(SIGBUS);
  await expect(process.poison(addr)).rejects.toMatchObject({ code: 'EFAULT' });
  expect(await process.read(addr + PAGE_SIZE, 1)).toEqual(Uint8Array.of(7));
  await using device = await process.openDevice(0);
  const { errno } = await device.tryIoctl('READ', { addr, ptr: addr + PAGE_SIZE, npages: 1 });
  expect(errno).toBe(-14);
});

test('one page of a large folio breaks; the others live on by themselves', async () => {
  const process = await makeProcess('always');
  const base = await process.mmap({ length: 2 * PMD_SIZE, prot: RW });
  const addr = Math.ceil(base / PMD_SIZE) * PMD_SIZE;
  await process.write(addr, new Uint8Array(PMD_SIZE).fill(7));
  const { sys } = machine.kernel;
  const splits = sys.vmstat.read('thp_split_page');
  await process.poison(addr + 5 * PAGE_SIZE);
  expect(sys.vmstat.read('thp_split_page')).toBe(splits + 1);
  for (const page of [0, 4, 6, HPAGE_PMD_NR - 1]) {
    expect(await process.read(addr + page * PAGE_SIZE, 1)).toEqual(Uint8Array.of(7));
  }
  await expect(process.read(addr + 5 * PAGE_SIZE, 1)).rejects.toMatchObject(SIGBUS);
  await process.munmap(base, 2 * PMD_SIZE);
});

test('a page of a mapping of huge pages stays as it is', async () => {
  const process = await makeProcess('never');
  for (const sharing of [MAP_PRIVATE, MAP_SHARED]) {
    const flags = sharing | MAP_ANONYMOUS | MAP_HUGETLB;
    const addr = await process.mmap({ length: PMD_SIZE, prot: RW, flags });
    await process.write(addr + PAGE_SIZE, Uint8Array.of(7));
    await expect(process.poison(addr + PAGE_SIZE)).rejects.toMatchObject({ code: 'EBUSY' });
    expect(await process.read(addr + PAGE_SIZE, 1)).toEqual(Uint8Array.of(7));
    await process.munmap(addr, PMD_SIZE);
  }
});

test('bad arguments have the errno of the kernel', async () => {
  const process = await makeProcess('never');
  const addr = await process.mmap({ length: PAGE_SIZE, prot: RW });
  await expect(process.poison(addr + 1)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(process.poison(Number.NaN)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(process.poison(addr)).rejects.toMatchObject({ code: 'EBUSY' });
  await process.munmap(addr, PAGE_SIZE);
  await expect(process.poison(addr)).rejects.toMatchObject({ code: 'EFAULT' });
  await process.exit();
  await expect(process.poison(addr)).rejects.toMatchObject({ code: 'ESRCH' });
});
