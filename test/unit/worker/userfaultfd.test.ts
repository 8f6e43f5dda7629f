/* userfaultfd through the facade: messages, ioctls, and what becomes of waiting accesses. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findProblems } from '../../../src/sim/check-invariants.ts';
import {
  PAGE_SIZE,
  PMD_SIZE,
  PROT_READ,
  PROT_WRITE,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
  bootMachine,
} from '../../../src/index.ts';
import type { LocalMachine, Process, Userfaultfd } from '../../../src/index.ts';

const RW = PROT_READ | PROT_WRITE;
let machine: LocalMachine;
let process: Process;
let uffd: Userfaultfd;

beforeEach(async () => {
  machine = await bootMachine({ engine: 'cpu', ramBytes: 2 ** 20, devices: 1 });
  process = await machine.spawn();
  uffd = await process.userfaultfd();
});

afterEach(() => machine.close());

const map = (pages: number): Promise<number> =>
  process.mmap({ length: pages * PAGE_SIZE, prot: RW });

test('a monitor answers the fault of a read with a page', async () => {
  const [addr, source] = [await map(1), await map(1)];
  await process.write(source, new Uint8Array(PAGE_SIZE).fill(0xab));
  expect(await uffd.register(addr, PAGE_SIZE)).toBeGreaterThan(0);
  expect(await uffd.poll()).toBe(null);
  const reading = process.read(addr, 2);
  const { address, flags } = await uffd.read();
  expect([address, flags]).toEqual([addr, 0]);
  expect(await uffd.copy(address, source, PAGE_SIZE)).toBe(PAGE_SIZE);
  expect(await reading).toEqual(Uint8Array.of(0xab, 0xab));
});

test('a monitor sees who writes, and lets it go on', async () => {
  const addr = await map(1);
  await process.write(addr, Uint8Array.of(1));
  await uffd.register(addr, PAGE_SIZE, { writeProtect: true });
  await uffd.writeprotect(addr, PAGE_SIZE);
  const writing = process.write(addr, Uint8Array.of(2));
  const { flags } = await uffd.read();
  expect(flags).toBe(UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
  await uffd.writeprotect(addr, PAGE_SIZE, false);
  await writing;
  expect(await process.read(addr, 1)).toEqual(Uint8Array.of(2));
});

describe('a large folio', () => {
  /** A process with a large folio of sevens, on a machine that makes them; its address. */
  async function makeLarge(): Promise<number> {
    await machine.close();
    machine = await bootMachine({ engine: 'cpu', ramBytes: 2 ** 23, devices: 1, thp: 'always' });
    process = await machine.spawn();
    const base = await process.mmap({ length: 2 * PMD_SIZE, prot: RW });
    const addr = Math.ceil(base / PMD_SIZE) * PMD_SIZE;
    await process.write(addr, new Uint8Array(PMD_SIZE).fill(7));
    expect(machine.kernel.sys.vmstat.read('thp_fault_alloc')).toBeGreaterThan(0);
    return addr;
  }

  test.each([0, UFFD_FEATURE_WP_UNPOPULATED])(
    'is protected as a whole; a page is let go by itself (features %i)',
    async (features) => {
      const addr = await makeLarge();
      uffd = await process.userfaultfd(features);
      await uffd.register(addr, PMD_SIZE, { writeProtect: true });
      await uffd.writeprotect(addr, PMD_SIZE);
      const writing = process.write(addr + 5 * PAGE_SIZE, Uint8Array.of(8));
      const { address } = await uffd.read();
      expect(address).toBe(addr + 5 * PAGE_SIZE);
      await uffd.writeprotect(address, PAGE_SIZE, false);
      await writing;
      const second = process.write(addr + 6 * PAGE_SIZE, Uint8Array.of(9));
      expect((await uffd.read()).address).toBe(addr + 6 * PAGE_SIZE);
      await uffd.close();
      await second;
      const bytes = await process.read(addr + 4 * PAGE_SIZE, 3 * PAGE_SIZE);
      expect([bytes[0], bytes[PAGE_SIZE], bytes[2 * PAGE_SIZE]]).toEqual([7, 8, 9]);
      expect(findProblems(machine.kernel.sys)).toEqual([]);
    },
  );

  test('does not come from a fault that a monitor answers, nor from a migration', async () => {
    const addr = (await makeLarge()) - PMD_SIZE;
    await process.munmap(addr, 3 * PMD_SIZE);
    await process.mmap({ addr, length: 2 * PMD_SIZE, prot: RW });
    uffd = await process.userfaultfd();
    await uffd.register(addr, PMD_SIZE);
    await using device = await process.openDevice(0);
    const request = { addr, ptr: 0, npages: PMD_SIZE / PAGE_SIZE };
    const { errno, skipped } = await device.tryIoctl('MIGRATE_TO_DEV', request);
    expect(errno).toBe(-2);
    expect(Object.keys(skipped)).toEqual(['userfaultfd']);
    const reading = process.read(addr, 1);
    expect((await uffd.read()).address).toBe(addr);
    await uffd.zeropage(addr, PAGE_SIZE);
    expect(await reading).toEqual(Uint8Array.of(0));
  });
});

test('zeroes, poison, wake', async () => {
  const addr = await map(2);
  await uffd.register(addr, 2 * PAGE_SIZE);
  expect(await uffd.zeropage(addr, PAGE_SIZE)).toBe(PAGE_SIZE);
  expect(await process.read(addr, 1)).toEqual(Uint8Array.of(0));
  expect(await uffd.poison(addr + PAGE_SIZE, PAGE_SIZE)).toBe(PAGE_SIZE);
  await expect(process.read(addr + PAGE_SIZE, 1)).rejects.toMatchObject({ signal: 'SIGBUS' });
  await uffd.wake(addr, PAGE_SIZE);
});

test('closing it lets a waiting access go on, and ends a waiting read with EBADF', async () => {
  const addr = await map(1);
  await uffd.register(addr, PAGE_SIZE);
  const [access, message] = [process.read(addr, 1), uffd.read()];
  const second = uffd.read();
  await message;
  const ended = expect(second).rejects.toMatchObject({ code: 'EBADF' });
  await uffd.close();
  await ended;
  expect(await access).toEqual(Uint8Array.of(0));
  await expect(uffd.close()).rejects.toMatchObject({ code: 'EBADF' });
  await expect(uffd.poll()).rejects.toMatchObject({ code: 'EBADF' });
  await expect(uffd.wake(addr, PAGE_SIZE)).rejects.toMatchObject({ code: 'EBADF' });
});

test('the end of its process closes it: nobody waits for ever', async () => {
  const addr = await map(1);
  await uffd.register(addr, PAGE_SIZE);
  const access = process.read(addr, 1).then(
    () => 'read',
    () => 'gone',
  );
  await uffd.read();
  await process.exit();
  expect(['read', 'gone']).toContain(await access);
  await expect(uffd.poll()).rejects.toMatchObject({ code: 'EBADF' });
});

test('bad arguments have the errno of the kernel', async () => {
  const addr = await map(1);
  await expect(process.userfaultfd(1 << 1)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(process.userfaultfd(Number.NaN)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(uffd.register(addr, PAGE_SIZE, {})).rejects.toMatchObject({ code: 'EINVAL' });
  const noSource = { op: 'COPY', start: addr, length: PAGE_SIZE } as const;
  await expect(uffd.tryIoctl(noSource)).resolves.toBe(-22);
  const unknown = { op: 'MOVE', start: addr, length: PAGE_SIZE } as never;
  await expect(uffd.tryIoctl(unknown)).resolves.toBe(-22);
  await uffd.register(addr, PAGE_SIZE);
  await expect(uffd.copy(addr, addr + 1e9, PAGE_SIZE)).rejects.toMatchObject({ code: 'EFAULT' });
  await process.exit();
  await expect(process.userfaultfd()).rejects.toMatchObject({ code: 'ESRCH' });
});
