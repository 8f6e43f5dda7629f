/**
 * EXCLUSIVE and CHECK_EXCLUSIVE: pages in RAM that the device has for itself, what it may do with
 * them, and who takes them back. And passes over RAM pages that change under the device.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { DPT_ATOMIC, DPT_WRITE, dptPfn } from '../../../src/driver/device-page-table.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_DEVICE,
  PAGE_EXCLUSIVE,
  PAGE_RAM,
  PROT_READ,
} from '../../../src/index.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { ptePfn } from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { checkInvariants } from '../../../src/sim/check-invariants.ts';
import { RW, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(async () => {
  await rig.machine.close();
});

/** The address space of the rig's process. */
function space(): MmStruct {
  const [mm] = rig.machine.kernel.sys.mms;
  if (mm === undefined) throw new Error('no address space');
  return mm;
}

/** PAGE_* codes of a range. */
async function places(addr: number, npages: number): Promise<number[]> {
  return [...(await rig.process.pageMap(addr, npages))];
}

/** Entries of the first mirror for a page: [frame, DPT_* bits], or null. */
function deviceEntry(addr: number): [number, number] | null {
  const [mirror] = rig.machine.kernel.devices[0]!.mirrors;
  const entry = mirror?.pageTable.lookup(addr / PAGE_SIZE) ?? 0;
  return entry === 0 ? null : [dptPfn(entry), entry & (DPT_ATOMIC | DPT_WRITE)];
}

function framesOf(addr: number): number {
  const { pageTables } = space().sys;
  return ptePfn(pageTables.words[pageTables.pteOffset(space().pgd, addr)]!);
}

/** Growth of vm counters while `work` runs. */
async function counted(names: readonly string[], work: () => Promise<unknown>): Promise<number[]> {
  const before: Readonly<Record<string, number>> = (await rig.machine.counters()).vm;
  await work();
  const after: Readonly<Record<string, number>> = (await rig.machine.counters()).vm;
  return names.map((name) => after[name]! - before[name]!);
}

/** Lets the next submission to the copy engine wait for `open`; `reached` says that it does. */
function holdSubmission(): { readonly reached: Promise<void>; readonly open: () => void } {
  const { engine } = rig.machine.kernel;
  const submit = engine.submit.bind(engine);
  let open = (): void => undefined;
  let arrive = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    engine.submit = submit;
    arrive();
    await gate;
    return submit(list, strategy);
  };
  return { reached, open };
}

/** MADV_DONTNEED of one page: the mmap lock is held for read only. */
async function zap(addr: number): Promise<void> {
  const mm = space();
  await mm.mmapLock.readLock();
  zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
  mm.mmapLock.readUnlock();
}

test('EXCLUSIVE gives the device the pages, which stay where they are [F96] [F116]', async () => {
  const addr = await mapFilled(rig, 3, 5);
  const out = await mapFilled(rig, 3);
  const frames = [0, 1, 2].map((i) => framesOf(addr + i * PAGE_SIZE));
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 3)).toBe('0 0 0');
  const grown = await counted(['device_exclusive_make', 'pgmigrate_to_device'], async () => {
    expect(await run(rig.device, 'EXCLUSIVE', addr, 3, out)).toBe('0 3 0');
  });
  expect(grown).toEqual([3, 0]);
  expectBytes(await rig.process.read(out, 3 * PAGE_SIZE), pattern(3, 5));
  expect(await places(addr, 3)).toEqual([PAGE_EXCLUSIVE, PAGE_EXCLUSIVE, PAGE_EXCLUSIVE]);
  frames.forEach((pfn, i) => {
    expect(deviceEntry(addr + i * PAGE_SIZE)).toEqual([pfn, DPT_ATOMIC]);
  });
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 3)).toBe(`${errno.EPERM} 0 0`);
});

test('the CPU takes back the page that it touches, and no other [F98] [F116]', async () => {
  const addr = await mapFilled(rig, 3);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 3)).toBe('0 3 0');
  await rig.process.write(addr + PAGE_SIZE, Uint8Array.of(200));
  expect(await places(addr, 3)).toEqual([PAGE_EXCLUSIVE, PAGE_RAM, PAGE_EXCLUSIVE]);
  const checks: string[] = [];
  for (const i of [0, 1, 2]) {
    checks.push(await run(rig.device, 'CHECK_EXCLUSIVE', addr + i * PAGE_SIZE, 1));
  }
  expect(checks).toEqual([`${errno.EPERM} 0 0`, '0 0 0', `${errno.EPERM} 0 0`]);
  expect(deviceEntry(addr + PAGE_SIZE)).toBeNull();
});

test('ADD works on such pages in place: nothing is lent, nobody is told [F96]', async () => {
  const addr = await mapFilled(rig, 2);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 2)).toBe('0 2 0');
  const names = ['mmu_invalidate', 'device_exclusive_revoke', 'hmm_fault'];
  const grown = await counted(names, async () => {
    expect(await run(rig.device, 'ADD', addr, 2, 1000)).toBe('0 2 0');
  });
  expect(grown).toEqual([0, 0, 0]);
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 2)).toBe(`${errno.EPERM} 0 0`);
  expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 1000));
});

test('a page that is not exclusive is lent for ADD, which tells its watchers', async () => {
  const addr = await mapFilled(rig, 1);
  await run(rig.device, 'ADD', addr, 1, 1);
  const [invalidations] = await counted(['mmu_invalidate'], () =>
    run(rig.device, 'ADD', addr, 1, 1),
  );
  expect(invalidations).toBe(1);
});

test('READ reads them in place, WRITE faults and so gives them back [F98]', async () => {
  const addr = await mapFilled(rig, 1);
  const buffer = await mapFilled(rig, 1, 7);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  expect(await run(rig.device, 'READ', addr, 1, buffer)).toBe('0 1 0');
  expect(await places(addr, 1)).toEqual([PAGE_EXCLUSIVE]);
  await rig.process.write(buffer, pattern(1, 7));
  expect(await run(rig.device, 'WRITE', addr, 1, buffer)).toBe('0 1 1');
  expect(await places(addr, 1)).toEqual([PAGE_RAM]);
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 1)).toBe('0 0 0');
  expectBytes(await rig.process.read(addr, PAGE_SIZE), pattern(1, 7));
});

test('a write by the device after mprotect is EPERM [F99]', async () => {
  const addr = await mapFilled(rig, 2);
  const buffer = await mapFilled(rig, 2, 9);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 2)).toBe('0 2 0');
  await rig.process.mprotect(addr, 2 * PAGE_SIZE, PROT_READ);
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 2)).toBe('0 0 0');
  expect(await run(rig.device, 'WRITE', addr, 2, buffer)).toBe(`${errno.EPERM} 0 0`);
  expect(await run(rig.device, 'ADD', addr, 2, 1)).toBe(`${errno.EPERM} 0 0`);
  expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 0));
});

test('a store of the CPU during an ADD waits for it and is not lost [F98]', async () => {
  const addr = await mapFilled(rig, 1);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  const { reached, open } = holdSubmission();
  const adding = run(rig.device, 'ADD', addr, 1, 50);
  await reached;
  let stored = false;
  const store = rig.process.write(addr, Uint8Array.of(7, 0, 0, 0)).then(() => (stored = true));
  for (let i = 0; i < 50; i++) await Promise.resolve();
  expect(stored).toBe(false);
  open();
  expect(await adding).toBe('0 1 0');
  await store;
  const wanted = pattern(1, 50);
  wanted.set([7, 0, 0, 0]);
  expectBytes(await rig.process.read(addr, PAGE_SIZE), wanted);
});

test('another device that reads takes the pages back [F98] [F97]', async () => {
  const addr = await mapFilled(rig, 1);
  const buffer = await mapFilled(rig, 1, 3);
  const other = await rig.process.openDevice(1);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  expect(await run(other, 'READ', addr, 1, buffer)).toBe('0 1 1');
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 1)).toBe('0 0 0');
  expectBytes(await rig.process.read(buffer, PAGE_SIZE), pattern(1, 0));
  // And one that wants them for itself, too.
  expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  expect(await run(other, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', addr, 1)).toBe('0 0 0');
  expect(await run(other, 'CHECK_EXCLUSIVE', addr, 1)).toBe(`${errno.EPERM} 0 0`);
});

test('EXCLUSIVE ends at the first page that it can not have [F97]', async () => {
  const addr = await mapFilled(rig, 3);
  await rig.process.mprotect(addr + 2 * PAGE_SIZE, PAGE_SIZE, PROT_READ);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 3)).toBe(`${errno.EFAULT} 0 0`);
  expect(await places(addr, 3)).toEqual([PAGE_EXCLUSIVE, PAGE_EXCLUSIVE, PAGE_RAM]);
  const flags = MAP_SHARED | MAP_ANONYMOUS;
  const shared = await rig.process.mmap({ length: PAGE_SIZE, prot: RW, flags });
  expect(await run(rig.device, 'EXCLUSIVE', shared, 1)).toBe(`${errno.EOPNOTSUPP} 0 0`);
});

test('EXCLUSIVE brings pages home from the device, and maps them where they are then', async () => {
  const addr = await mapFilled(rig, 2);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
  expect(await places(addr, 1)).toEqual([PAGE_DEVICE]);
  expect(await run(rig.device, 'EXCLUSIVE', addr, 2)).toBe('0 2 0');
  expect(deviceEntry(addr)).toEqual([framesOf(addr), DPT_ATOMIC]);
  expect(space().sys.mem.isZoneDevice(framesOf(addr))).toBe(false);
  expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 0));
});

test('CHECK_EXCLUSIVE of more pages than there are takes no time', async () => {
  const addr = await mapFilled(rig, 1);
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', 0, 2 ** 40)).toBe('0 0 0');
  expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
  expect(await run(rig.device, 'CHECK_EXCLUSIVE', 0, 2 ** 40)).toBe(`${errno.EPERM} 0 0`);
});

test('a page that goes while the claim is made leaves no stale device entry [F93]', async () => {
  const { sys } = rig.machine.kernel;
  const addr = await rig.process.mmap({ length: PAGE_SIZE, prot: RW });
  const outcomes = new Set<string>();
  for (let turns = 0; turns < 60; turns++) {
    await rig.process.write(addr, Uint8Array.of(1));
    expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
    const claimed = run(rig.device, 'EXCLUSIVE', addr, 1);
    for (let i = 0; i < turns; i++) await Promise.resolve();
    await zap(addr);
    const outcome = await claimed;
    outcomes.add(outcome);
    const entry = deviceEntry(addr);
    expect(entry?.[0] ?? null).toBe(entry === null ? null : framesOf(addr));
    checkInvariants(sys);
    await zap(addr);
  }
  expect([...outcomes].toSorted()).toEqual([`${errno.ENOENT} 0 0`, '0 1 0']);
});

test('a lent page that goes during the pass leaves no stale device entry', async () => {
  const addr = await mapFilled(rig, 1);
  const { reached, open } = holdSubmission();
  const adding = run(rig.device, 'ADD', addr, 1, 1);
  await reached;
  await zap(addr);
  open();
  expect(await adding).toBe('0 1 1');
  expect(deviceEntry(addr)).toBeNull();
  checkInvariants(rig.machine.kernel.sys);
});

test('a lent page that stays is mapped for the device again', async () => {
  const addr = await mapFilled(rig, 1);
  expect(await run(rig.device, 'ADD', addr, 1, 1)).toBe('0 1 1');
  expect(deviceEntry(addr)).toEqual([framesOf(addr), DPT_WRITE]);
});

test.each([
  ['private', MAP_PRIVATE | MAP_ANONYMOUS],
  ['shared', MAP_SHARED | MAP_ANONYMOUS],
])('what is written through a pin of %s memory is not lost: ADD is EBUSY', async (_name, flags) => {
  const addr = await rig.process.mmap({ length: PAGE_SIZE, prot: RW, flags });
  const { sys } = rig.machine.kernel;
  const pfn = await pinUserPage(space(), addr);
  expect(await run(rig.device, 'ADD', addr, 1, 1)).toBe(`${errno.EBUSY} 0 0`);
  if ((flags & MAP_PRIVATE) !== 0) {
    expect(await run(rig.device, 'EXCLUSIVE', addr, 1)).toBe('0 1 0');
    expect(await run(rig.device, 'ADD', addr, 1, 1)).toBe(`${errno.EBUSY} 0 0`);
  }
  expect(sys.mem.isLocked(pfn)).toBe(false);
  unpinUserPage(sys, pfn);
  expect(await run(rig.device, 'ADD', addr, 1, 1)).toMatch(/^0 1 [01]$/);
});

test('closing the file or the process leaves nothing behind', async () => {
  const free = (await rig.machine.counters()).ramFreePages;
  const process = await rig.machine.spawn();
  const device = await process.openDevice(0);
  const addr = await process.mmap({ length: 3 * PAGE_SIZE, prot: RW });
  expect(await run(device, 'EXCLUSIVE', addr, 3)).toBe('0 3 0');
  await device.close();
  expect([...(await process.read(addr, 1))]).toEqual([0]);
  await process.exit();
  expect((await rig.machine.counters()).ramFreePages).toBe(free);
});
