/**
 * What takes a page away while a command that holds the mmap lock for read, too, is at work: the
 * device page table must not get an entry for a page that is gone.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { DPT_WRITE, dptPfn } from '../../../src/driver/device-page-table.ts';
import { Dmirror, HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from '../../../src/driver/dmirror.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from '../../../src/mm/mmu-notifier.ts';
import { ptePfn } from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { RW, makeRig, mapFilled, run } from './rig.ts';
import type { Rig } from './rig.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await makeRig();
});

afterEach(async () => {
  await rig.machine.close();
});

function addressSpace(): MmStruct {
  return [...rig.machine.kernel.sys.mms][0]!;
}

/** Drops a page, as MADV_DONTNEED does, whoever else has the mmap lock for read. */
async function zap(addr: number): Promise<void> {
  const mm = addressSpace();
  await mm.mmapLock.readLock();
  zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
  mm.mmapLock.readUnlock();
}

/** Zaps a page just before the engine gets its next list. */
function zapDuringNextCopy(addr: number): void {
  const { engine } = rig.machine.kernel;
  const submit = engine.submit.bind(engine);
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    engine.submit = submit;
    await zap(addr);
    return submit(list, strategy);
  };
}

function mappedPages(): number {
  const { devices } = rig.machine.kernel;
  return [...devices[0]!.mirrors].reduce((sum, { pageTable }) => sum + pageTable.mapped, 0);
}

test('a page that is zapped on its way to the device is free, and not mapped there', async () => {
  const addr = await mapFilled(rig, 2);
  zapDuringNextCopy(addr);
  // Not all of the range is mapped.
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('-2 0 0');
  expect(mappedPages()).toBe(1);
  expect(rig.machine.kernel.devices[0]!.memory.pagesInUse).toBe(1);
  expect(await rig.process.read(addr, 4)).toEqual(new Uint8Array(4));
});

test('a page that is zapped during a device write is not mapped again by its end', async () => {
  const addr = await mapFilled(rig, 2);
  expect(await run(rig.device, 'ADD', addr, 2, 1)).toBe('0 2 1');
  expect(mappedPages()).toBe(2);
  zapDuringNextCopy(addr);
  expect(await run(rig.device, 'ADD', addr, 2, 1)).toBe('0 2 0');
  expect(mappedPages()).toBe(1);
  expect(await rig.process.read(addr, 4)).toEqual(new Uint8Array(4));
});

test('a file opened during an invalidation migrates only when it hears of others', async () => {
  const addr = await rig.process.mmap({ length: PAGE_SIZE, prot: RW });
  await rig.process.write(addr, Uint8Array.of(1));
  const mm = addressSpace();
  const range = new MmuNotifierRange();
  mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(range);
  const mirror = Dmirror.open(rig.machine.kernel.devices[0]!, mm);
  if (typeof mirror === 'number') throw new Error(`open ${mirror}`);
  let isDone = false;
  const command = mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd(addr, 1, 0));
  void command.then(() => (isDone = true));
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect([isDone, mirror.pageTable.mapped]).toEqual([false, 0]);
  mmuNotifierInvalidateRangeEnd(range);
  expect(await command).toBe(0);
  expect(mirror.pageTable.mapped).toBe(1);
  await zap(addr);
  expect(mirror.pageTable.mapped).toBe(0);
  await mirror.close();
});

test('a claim sees a zap also while an invalidation of somebody else lasts', async () => {
  const addr = await rig.process.mmap({ length: PAGE_SIZE, prot: RW });
  const mm = addressSpace();
  const { pageTables } = mm.sys;
  for (let turns = 0; turns < 60; turns++) {
    await rig.process.write(addr, Uint8Array.of(1));
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 1);
    const range = new MmuNotifierRange();
    mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
    mmuNotifierInvalidateRangeStart(range);
    const claimed = run(rig.device, 'EXCLUSIVE', addr, 1);
    for (let i = 0; i < turns; i++) await Promise.resolve();
    await zap(addr);
    await claimed;
    mmuNotifierInvalidateRangeEnd(range);
    for (const { pageTable } of rig.machine.kernel.devices[0]!.mirrors) {
      const entry = pageTable.lookup(addr / PAGE_SIZE);
      const pte = pageTables.words[pageTables.pteOffset(mm.pgd, addr)]!;
      expect(entry === 0 || dptPfn(entry) === ptePfn(pte)).toBe(true);
    }
    await zap(addr);
  }
});

test('a page write-protected while it was copied is not writable for the device', async () => {
  const addr = await mapFilled(rig, 2);
  const uffd = await rig.process.userfaultfd();
  await uffd.register(addr, 2 * PAGE_SIZE, { writeProtect: true });
  const { engine } = rig.machine.kernel;
  const submit = engine.submit.bind(engine);
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    engine.submit = submit;
    await uffd.writeprotect(addr, PAGE_SIZE);
    return submit(list, strategy);
  };
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
  const [mirror] = rig.machine.kernel.devices[0]!.mirrors;
  const rights = [0, 1].map(
    (page) => mirror!.pageTable.lookup(addr / PAGE_SIZE + page) & DPT_WRITE,
  );
  expect(rights).toEqual([0, DPT_WRITE]);
  await uffd.close();
});
