/*
 * No process and no device ever sees a byte that somebody else has written and given back. Before
 * each case all of RAM, VRAM and the staging memory in between is filled with a pattern by another
 * process, through its own stores and its own device, and freed. Then a fresh page is had in one of
 * all the ways there are: it must be zero, or hold what its owner wrote.
 *
 * The cases run on every copy engine: Dawn runs what the CPU engine runs.
 */
import { afterEach, describe, expect, test } from 'vitest';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  bootMachine,
} from '../../src/index.ts';
import type { LocalMachine, MachineOptions, Process, TestDevice } from '../../src/index.ts';

const MIB = 2 ** 20;
const RW = 3;
export const RANGE = 2 ** 32;
const BUFFER = 2 ** 33;
/** What the former owner wrote everywhere. */
const POISON = 0xa7;
/** What the owner of a page writes. */
export const OWN = 0x31;
/** Pages of small cases. */
export const PAGES = 8;
const HUGE_PAGES = 512;

/** A machine whose memory was all somebody else's. */
interface Stage {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly device: TestDevice;
  readonly other: TestDevice;
}

const machines: LocalMachine[] = [];

export async function openStage(options: MachineOptions): Promise<Stage> {
  const machine = await bootMachine({
    ramBytes: 6 * MIB,
    deviceBytes: 4 * MIB,
    chunkBytes: 2 * MIB,
    thp: 'never',
    ...options,
  });
  machines.push(machine);
  await poison(machine);
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  return { machine, process, device, other: await process.openDevice(1) };
}

/** Writes the pattern to every page of RAM and of both devices, and ends the process that did. */
async function poison(machine: LocalMachine): Promise<void> {
  const villain = await machine.spawn();
  const { deviceBytes } = machine.report;
  for (const minor of [0, 1]) {
    const device = await villain.openDevice(minor);
    const addr = await map(villain, RANGE + minor * 2 ** 31, deviceBytes / 2 / PAGE_SIZE);
    // In two halves, since RAM has to hold what goes to the device.
    for (const half of [0, 1]) {
      const base =
        half === 0 ? addr : await map(villain, addr + 2 ** 30, deviceBytes / 2 / PAGE_SIZE);
      await villain.write(base, new Uint8Array(deviceBytes / 2).fill(POISON));
      const npages = deviceBytes / 2 / PAGE_SIZE;
      await device.tryIoctl('MIGRATE_TO_DEV', { addr: base, ptr: 0, npages });
    }
    // Through the aperture, too, and the bounce memory of commands.
    const ram = await map(villain, BUFFER + minor * 2 ** 31, 128);
    await villain.write(ram, new Uint8Array(128 * PAGE_SIZE).fill(POISON));
    for (const command of ['READ', 'WRITE'] as const) {
      await device.ioctl(command, { addr: ram, ptr: ram + 64 * PAGE_SIZE, npages: 64 });
    }
  }
  // All that is left of RAM: until there is no more.
  const rest = machine.kernel.counters().ramFreePages - 4;
  const addr = await map(villain, 2 ** 36, rest);
  await villain.write(addr, new Uint8Array(rest * PAGE_SIZE).fill(POISON));
  await villain.exit();
}

export async function map(
  process: Process,
  addr: number,
  npages: number,
  prot = RW,
): Promise<number> {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return process.mmap({ addr, length: npages * PAGE_SIZE, prot, flags });
}

/** Every byte of the range as the process loads it: zero, or one of `allowed`. */
export async function expectClean(
  process: Process,
  addr: number,
  npages: number,
  allowed: readonly number[] = [],
): Promise<void> {
  const bytes = await process.read(addr, npages * PAGE_SIZE);
  expectOnly(bytes, [0, ...allowed]);
}

export function expectOnly(bytes: Uint8Array, allowed: readonly number[]): void {
  expect(bytes.length).toBeGreaterThan(0);
  const at = bytes.findIndex((byte) => !allowed.includes(byte));
  expect(at < 0 ? 'clean' : `byte ${at} is ${bytes[at]}`).toBe('clean');
}

const own = (npages: number): Uint8Array => new Uint8Array(npages * PAGE_SIZE).fill(OWN);

/** A byte on every page, so that each page is the process's own. */
export async function touchAll(process: Process, addr: number, npages: number): Promise<void> {
  for (let i = 0; i < npages; i++) await process.write(addr + i * PAGE_SIZE, Uint8Array.of(OWN));
}

export function describeIsolation(engine: 'cpu' | 'webgpu'): void {
  const open = (options: MachineOptions = {}): Promise<Stage> => openStage({ engine, ...options });

  afterEach(async () => {
    for (const machine of machines.splice(0)) await machine.close();
  });

  describe(`fresh memory, on the ${engine} engine`, () => {
    test('the poison is everywhere before a case begins', async () => {
      const { machine } = await open();
      const { ram, pageAllocator } = machine.kernel.sys;
      let poisoned = 0;
      pageAllocator.forEachFree((pfn, order) => {
        for (let i = pfn; i < pfn + 2 ** order; i++) {
          const bytes = ram.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
          if (bytes.every((byte) => byte === POISON)) poisoned++;
        }
      });
      // All but the few that page tables of counts and bounces took in the end.
      expect(poisoned).toBeGreaterThan(0.9 * pageAllocator.freePages);
    });

    describeRam(open);
    describeFiles(open);
    describeDevice(open);
    describeHuge(open);
  });
}

type Open = (options?: MachineOptions) => Promise<Stage>;

function describeRam(open: Open): void {
  test('anonymous memory is zero where it was not written', async () => {
    const { process } = await open();
    const addr = await map(process, RANGE, PAGES);
    await expectClean(process, addr, PAGES);
    await touchAll(process, addr, PAGES);
    await expectClean(process, addr, PAGES, [OWN]);
  });

  test('copy on write copies the whole page and nothing else', async () => {
    const { process } = await open();
    const addr = await map(process, RANGE, PAGES);
    await touchAll(process, addr, PAGES);
    const child = await process.fork();
    for (let i = 0; i < PAGES; i++) {
      await child.write(addr + i * PAGE_SIZE + 9, Uint8Array.of(OWN));
    }
    await expectClean(child, addr, PAGES, [OWN]);
    await expectClean(process, addr, PAGES, [OWN]);
  });

  test('memory that was dropped is zero again', async () => {
    const { machine, process } = await open();
    const addr = await map(process, RANGE, PAGES);
    await process.write(addr, own(PAGES));
    const advice = 4;
    expect(await machine.kernel.madvise(process.pid, addr, PAGES * PAGE_SIZE, advice)).toBe(0);
    await touchAll(process, addr, 1);
    const [first, ...rest] = await process.read(addr, PAGES * PAGE_SIZE);
    expect(first).toBe(OWN);
    expectOnly(Uint8Array.from(rest), [0]);
  });
}

function describeFiles(open: Open): void {
  test('holes of a file, and the rest of its last page, are zero', async () => {
    const { machine, process } = await open();
    const { kernel } = machine;
    const fd = kernel.tmpfile(3 * PAGE_SIZE + 100);
    await kernel.pwrite(fd, Uint8Array.of(OWN), PAGE_SIZE + 7);
    expectOnly(kernel.pread(fd, 4 * PAGE_SIZE, 0).bytes, [0, OWN]);
    for (const flags of [1, 2]) {
      const addr = await process.mmap({ length: 4 * PAGE_SIZE, prot: RW, flags, fd });
      await expectClean(process, addr, 4, [OWN]);
      await process.write(addr + 2 * PAGE_SIZE, Uint8Array.of(OWN));
      await expectClean(process, addr, 4, [OWN]);
    }
    await kernel.ftruncate(fd, 100);
    await kernel.ftruncate(fd, 4 * PAGE_SIZE);
    expectOnly(kernel.pread(fd, 4 * PAGE_SIZE, 0).bytes, [0]);
    await kernel.fallocate(fd, 0, 0, 8 * PAGE_SIZE);
    expectOnly(kernel.pread(fd, 8 * PAGE_SIZE, 0).bytes, [0]);
  });
}

/** What the device reads of a range through its page table, as the process receives it. */
export async function deviceSees(
  stage: Stage,
  device: TestDevice,
  addr: number,
  npages: number,
): Promise<Uint8Array> {
  const ptr = await map(stage.process, BUFFER, npages);
  await device.ioctl('READ', { addr, ptr, npages });
  return stage.process.read(ptr, npages * PAGE_SIZE);
}

function describeDevice(open: Open): void {
  test('a hole that migrates is zero, on the device and back home [F46]', async () => {
    const stage = await open();
    const addr = await map(stage.process, RANGE, PAGES);
    await stage.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: PAGES });
    expect(await stage.process.pageMap(addr, PAGES)).toEqual(
      new Uint8Array(PAGES).fill(PAGE_DEVICE),
    );
    expectOnly(await deviceSees(stage, stage.device, addr, PAGES), [0]);
    await expectClean(stage.process, addr, PAGES);
  });

  test('zero pages and holes are zero for a device that reads them in RAM', async () => {
    const stage = await open();
    const addr = await map(stage.process, RANGE, PAGES);
    await stage.process.read(addr, 2 * PAGE_SIZE);
    expectOnly(await deviceSees(stage, stage.device, addr, PAGES), [0]);
    expectOnly(await deviceSees(stage, stage.other, addr, PAGES), [0]);
  });

  test('a page that was evicted and taken again holds nothing of before', async () => {
    const stage = await open();
    const addr = await map(stage.process, RANGE, PAGES);
    await stage.process.write(addr, own(PAGES));
    await stage.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: PAGES });
    await stage.device.ioctl('RELEASE', { addr, ptr: 0, npages: 1 });
    await expectClean(stage.process, addr, PAGES, [OWN]);
    const stranger = await stage.machine.spawn();
    const device = await stranger.openDevice(0);
    const theirs = await map(stranger, RANGE, PAGES);
    await device.ioctl('MIGRATE_TO_DEV', { addr: theirs, ptr: 0, npages: PAGES });
    await expectClean(stranger, theirs, PAGES);
  });

  test('short batches carry nothing of longer ones before them', async () => {
    const stage = await open();
    const addr = await map(stage.process, RANGE, PAGES);
    await touchAll(stage.process, addr, PAGES);
    for (const npages of [1, 3, 2]) {
      await stage.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages });
      expectOnly(await deviceSees(stage, stage.device, addr, PAGES), [0, OWN]);
      await expectClean(stage.process, addr, PAGES, [OWN]);
    }
  });

  test('swapped-out memory comes back as its owner wrote it', async () => {
    const { machine, process } = await open({ swapBytes: MIB });
    const addr = await map(process, RANGE, PAGES);
    await touchAll(process, addr, PAGES);
    expect(await machine.kernel.madvise(process.pid, addr, PAGES * PAGE_SIZE, 21)).toBe(0);
    const codes = await process.pageMap(addr, PAGES);
    expect(codes.filter((code) => code === PAGE_RAM).length).toBe(0);
    await expectClean(process, addr, PAGES, [OWN]);
  });

  test('holes that migrate to coherent device memory are zero [F13]', async () => {
    const stage = await open({ coherentDevices: 1, coherentBytes: MIB / 2 });
    const villain = await stage.machine.spawn();
    const theirs = await villain.openDevice(2);
    const poisoned = await map(villain, RANGE, 128);
    await villain.write(poisoned, new Uint8Array(128 * PAGE_SIZE).fill(POISON));
    await theirs.ioctl('MIGRATE_TO_DEV', { addr: poisoned, ptr: 0, npages: 128 });
    expect((await villain.pageMap(poisoned, 1))[0]).toBe(PAGE_DEVICE + 2);
    await villain.exit();
    const device = await stage.process.openDevice(2);
    const addr = await map(stage.process, RANGE, PAGES);
    await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: PAGES });
    expect((await stage.process.pageMap(addr, 1))[0]).toBe(PAGE_DEVICE + 2);
    await expectClean(stage.process, addr, PAGES);
  });

  test('a device reaches only what its own process maps', async () => {
    const stage = await open();
    const stranger = await stage.machine.spawn();
    const device = await stranger.openDevice(0);
    const theirs = await map(stranger, RANGE, PAGES);
    const buffer = await map(stranger, BUFFER, PAGES);
    const addr = await map(stage.process, RANGE, PAGES);
    await stage.process.write(addr, own(PAGES));
    await stage.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: PAGES });
    await device.ioctl('READ', { addr: theirs, ptr: buffer, npages: PAGES });
    await expectClean(stranger, buffer, PAGES);
    await device.ioctl('MIGRATE_TO_DEV', { addr: theirs, ptr: 0, npages: PAGES });
    await expectClean(stranger, theirs, PAGES);
  });
}

function describeHuge(open: Open): void {
  test('large folios are zero where they were not written', async () => {
    const stage = await open({ thp: 'always', ramBytes: 10 * MIB });
    const addr = await map(stage.process, RANGE, HUGE_PAGES);
    await stage.process.write(addr + 5, Uint8Array.of(OWN));
    expect(stage.machine.kernel.counters().vm['thp_fault_alloc']).toBeGreaterThan(0);
    await expectClean(stage.process, addr, HUGE_PAGES, [OWN]);
  });

  test('and where no folio is free, so are the single pages instead', async () => {
    const stage = await open({ thp: 'always', ramBytes: 10 * MIB });
    const addr = await map(stage.process, RANGE, HUGE_PAGES);
    stage.machine.kernel.sys.pageAllocator.failAt = 1;
    for (let i = 0; i < HUGE_PAGES; i += 64) {
      await stage.process.write(addr + i * PAGE_SIZE, Uint8Array.of(OWN));
    }
    await expectClean(stage.process, addr, HUGE_PAGES, [OWN]);
  });

  test('large holes that migrate are zero [F110]', async () => {
    const stage = await open({ thp: 'always', ramBytes: 10 * MIB });
    const addr = await map(stage.process, RANGE, HUGE_PAGES);
    await stage.device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: HUGE_PAGES });
    expectOnly(await deviceSees(stage, stage.device, addr + 3 * PAGE_SIZE, 64), [0]);
    await expectClean(stage.process, addr, HUGE_PAGES);
  });
}
