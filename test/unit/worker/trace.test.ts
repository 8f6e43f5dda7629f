/* The trace: which events come, with what, in which order; and what a slow listener loses. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import {
  MADV_DONTNEED,
  PAGE_DEVICE,
  PAGE_NONE,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
  bootMachine,
} from '../../../src/index.ts';
import type {
  LocalMachine,
  Process,
  RunningProgram,
  TestDevice,
  MachineEvent,
  MachineEventType,
} from '../../../src/index.ts';

const OPTIONS = { engine: 'cpu', ramBytes: 2 ** 24, deviceBytes: 2 ** 20 } as const;
const RW = PROT_READ | PROT_WRITE;

let machine: LocalMachine;
let process: Process;
let device: TestDevice;
let addr: number;
let events: MachineEvent[];
let lost: number;

const take = (some: readonly MachineEvent[], dropped: number): void => {
  events.push(...some);
  lost += dropped;
};
const types = (): MachineEventType[] => events.map(({ type }) => type);

beforeEach(async () => {
  machine = await bootMachine(OPTIONS);
  process = await machine.spawn();
  device = await process.openDevice(0);
  addr = await process.mmap({ length: 16 * PAGE_SIZE, prot: RW });
  await process.write(addr, new Uint8Array(8));
  events = [];
  lost = 0;
});

afterEach(() => machine.close());

test('a fault back from the device shows as fault, migration and invalidation', async () => {
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
  const trace = await machine.trace(take);
  const before = Date.now();
  await process.read(addr + 5, 1);
  const after = Date.now();
  await trace.close();
  // By the order of their ends: the fault contains the migration, which begins by an invalidation.
  expect(types()).toEqual([
    'invalidate',
    'migrate_begin',
    ...types().slice(2, -2),
    'migrate_end',
    'fault',
  ]);
  const { pid } = process;
  const [fault] = events.filter(({ type }) => type === 'fault');
  expect(fault).toMatchObject({ pid, address: addr + 5, access: 'read', outcome: 'ok' });
  expect(fault).toMatchObject({ found: PAGE_DEVICE, isRemote: false });
  const range = { pid, start: addr, end: addr + PAGE_SIZE };
  expect(events[0]).toMatchObject({ ...range, event: 'MIGRATE' });
  expect(events[1]).toMatchObject({ ...range, pages: 1 });
  const end = events.at(-2)!;
  expect(end).toMatchObject({ ...range, toDevice: 0, toRam: 1, failed: 0 });
  // Virtual time has no gaps; wall time is that of everybody, and durations nest.
  expect(events.map(({ sequence }) => sequence - events[0]!.sequence)).toEqual([...events.keys()]);
  expect(fault!.timeMs).toBeGreaterThan(before - 5000);
  expect(fault!.timeMs).toBeLessThan(after + 5000);
  expect(fault!.timeMs + fault!.durationMs).toBeGreaterThanOrEqual(end.timeMs + end.durationMs);
  expect(fault!.timeMs).toBeLessThanOrEqual(events[0]!.timeMs);
  expect(lost).toBe(0);
});

test('only the kinds that were asked for come', async () => {
  const trace = await machine.trace(take, { events: ['migrate_end', 'migrate_end'] });
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
  await process.read(addr, 1);
  await trace.close();
  expect(types()).toEqual(['migrate_end', 'migrate_end']);
  expect(events.map((event) => event.type === 'migrate_end' && event.toDevice)).toEqual([1, 0]);
});

test('a store to what a child shares is a shootdown; the child faults for itself', async () => {
  const child = await process.fork();
  await using trace = await machine.trace(take, { events: ['fault', 'tlb_shootdown'] });
  await child.write(addr, new Uint8Array(1));
  await process.madvise(addr, PAGE_SIZE, MADV_DONTNEED);
  await trace.close();
  expect(types()).toEqual(['tlb_shootdown', 'fault', 'tlb_shootdown']);
  expect(events.map(({ pid }) => pid)).toEqual([child.pid, child.pid, process.pid]);
  expect(events[2]).toMatchObject({ entries: 1, isComplete: true });
});

test('faults that fail say how', async () => {
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
  await machine.loseDevice();
  const trace = await machine.trace(take, { events: ['fault'] });
  await expect(process.read(addr, 1)).rejects.toThrow('SIGBUS');
  await trace.close();
  expect(events.at(-1)).toMatchObject({ type: 'fault', found: PAGE_DEVICE, outcome: 'SIGBUS' });
});

test('a device that looks at memory faults on behalf of the process', async () => {
  const trace = await machine.trace(take, { events: ['fault'] });
  await device.ioctl('READ', { addr: addr + PAGE_SIZE, ptr: addr, npages: 1 });
  await trace.close();
  expect(events).toContainEqual(
    expect.objectContaining({ address: addr + PAGE_SIZE, isRemote: true, found: PAGE_NONE }),
  );
});

test('while nobody listens there is nothing to call', async () => {
  const { sys } = machine.kernel;
  expect(sys.trace).toBe(null);
  const first = await machine.trace(take);
  const second = await machine.trace(() => undefined);
  expect(sys.trace).not.toBe(null);
  await first.close();
  expect(sys.trace).not.toBe(null);
  await second.close();
  expect(sys.trace).toBe(null);
  await process.write(addr + PAGE_SIZE, new Uint8Array(1));
  expect(events).toEqual([]);
});

describe('a listener that is too slow', () => {
  test('loses events, which are counted, and gets those before', async () => {
    const trace = await machine.trace(take, { events: ['fault'], capacity: 4 });
    const faults = machine.vmstat.read('pgfault');
    await process.write(addr + PAGE_SIZE, new Uint8Array(15 * PAGE_SIZE));
    await trace.close();
    expect(machine.vmstat.read('pgfault') - faults).toBe(15);
    expect(events.map((event) => event.type === 'fault' && event.address)).toEqual(
      [1, 2, 3, 4].map((page) => addr + page * PAGE_SIZE),
    );
    expect(lost).toBe(11);
    expect(trace.dropped).toBe(11);
  });

  test('has all of them when there is room', async () => {
    const trace = await machine.trace(take, { events: ['fault'], capacity: 15 });
    await process.write(addr + PAGE_SIZE, new Uint8Array(15 * PAGE_SIZE));
    await trace.close();
    expect([events.length, lost]).toEqual([15, 0]);
  });

  test('gets batch after batch, through a buffer that wraps around', async () => {
    const trace = await machine.trace(take, { events: ['fault'], capacity: 5 });
    for (let page = 1; page < 16; page++) {
      await process.write(addr + page * PAGE_SIZE, new Uint8Array(1));
      if (page % 3 === 0) await expect.poll(() => events.length).toBe(page);
    }
    await trace.close();
    expect(events.map((event) => event.type === 'fault' && event.address)).toEqual(
      Array.from({ length: 15 }, (_, i) => addr + (i + 1) * PAGE_SIZE),
    );
    expect(lost).toBe(0);
  });
});

test.for([
  { events: ['dance' as 'fault'] },
  { events: [] },
  { capacity: 0 },
  { capacity: 2 ** 21 },
  { capacity: Number.NaN },
])('%j is EINVAL', async (options) => {
  await expect(machine.trace(take, options)).rejects.toMatchObject({ code: 'EINVAL' });
  expect(machine.kernel.sys.trace).toBe(null);
});

test('a trace that is closed twice, or after its machine, goes quietly', async () => {
  const first = await machine.trace(take);
  await first.close();
  await first.close();
  await using second = await machine.trace(take);
  await machine.close();
  await expect(second.close()).rejects.toThrow('the machine is closed');
});

test('from a kernel worker, with a core that answers shootdowns', async () => {
  await using other = await openNodeMachine(OPTIONS, () => undefined);
  const owner = await other.spawn();
  const url = new URL('../../fixtures/programs/wait.js', import.meta.url);
  let program: RunningProgram | null = null;
  const at = await new Promise<number>((resolve, reject) => {
    owner
      .run(url, null, { onOutput: (text) => resolve(Number(text)) })
      .then((running) => (program = running), reject);
  });
  const trace = await other.trace(take);
  await owner.madvise(at, PAGE_SIZE, MADV_DONTNEED);
  await trace.close();
  expect(events).toContainEqual(
    expect.objectContaining({ type: 'tlb_shootdown', pid: owner.pid, start: at, isComplete: true }),
  );
  await program![Symbol.asyncDispose]();
});
