/* Coherent pages move to RAM before a long-term pin (hmm-semantics 9: coherent folio). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_WRITE,
  getUserPagesFast,
  pinUserPagesFast,
  pinUserPagesUnlocked,
  putUserPages,
  unpinUserPages,
} from '../../../src/mm/gup.ts';
import { migrateDeviceCoherentFolio } from '../../../src/mm/migrate-device-coherent.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { isMigrationEntry, pteWrite } from '../../../src/mm/swapops.ts';
import { expectSync, load, pteAt, store } from './fixture.ts';
import { checkAtRest, makeCoherentBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { waits } from './tiny-device.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeCoherentBench();
});

afterEach(() => checkAtRest(bench));

function onDevice(mm: MmStruct, addr: number): boolean {
  return mm.sys.mem.isDeviceCoherent(pfnAt(mm, addr));
}

/** Moves the page at `addr`, with a reference of the caller's. */
function move(addr: number): number {
  const { mm, sys } = bench;
  const pfn = pfnAt(mm, addr);
  sys.mem.getPage(pfn);
  return expectSync(migrateDeviceCoherentFolio(sys, pfn));
}

describe('one coherent page to RAM [F60]', () => {
  test('moves with its contents, which the CPU copies', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    store(mm, addr, 77);
    expect(move(addr)).toBe(0);
    expect([onDevice(mm, addr), load(mm, addr), device.used]).toEqual([false, 77, 0]);
    expect(pteWrite(pteAt(mm, addr))).toBe(true);
  });

  test('in every process that maps it', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error('fork');
    expect(move(addr)).toBe(0);
    expect([pfnAt(child, addr), device.used]).toEqual([pfnAt(mm, addr), 0]);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 1]);
  });

  test('EBUSY with a reference of somebody else: it stays, unlocked, mapped', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const before = pteAt(mm, addr);
    const release = device.hold(pfnAt(mm, addr));
    expect(move(addr)).toBe(errno.EBUSY);
    expect([pteAt(mm, addr), sys.mem.refcount[pfnAt(mm, addr)]]).toEqual([before, 2]);
    release();
    expect(move(addr)).toBe(0);
  });

  test('EBUSY with a second one, which the check after unmapping finds already', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const holds = [device.hold(pfnAt(mm, addr)), device.hold(pfnAt(mm, addr))];
    expect(move(addr)).toBe(errno.EBUSY);
    for (const release of holds) release();
    expect([load(mm, addr), onDevice(mm, addr)]).toEqual([1, true]);
  });

  test('EBUSY without RAM: it stays', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    sys.pageAllocator.failAt = 1;
    expect(move(addr)).toBe(errno.EBUSY);
    expect([load(mm, addr), onDevice(mm, addr)]).toEqual([1, true]);
  });

  test('waits for the page lock', async () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.trylockPage(pfn);
    sys.mem.getPage(pfn);
    const moving = migrateDeviceCoherentFolio(sys, pfn);
    expect([waits(moving), isMigrationEntry(pteAt(mm, addr))]).toEqual([true, false]);
    sys.mem.unlockPage(pfn);
    expect([await moving, onDevice(mm, addr)]).toEqual([0, false]);
  });

  test('unmapped while it waited for the lock, it is freed', async () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.trylockPage(pfn);
    sys.mem.getPage(pfn);
    const moving = migrateDeviceCoherentFolio(sys, pfn);
    expect(expectSync(doMunmap(mm, addr, PAGE_SIZE))).toBe(0);
    sys.mem.unlockPage(pfn);
    await moving;
    expect(device.used).toBe(0);
  });
});

describe('pins of coherent pages', () => {
  test.each([
    ['get_user_pages_fast', false, FOLL_WRITE],
    ['pin_user_pages_fast', true, FOLL_WRITE],
    ['pin_user_pages_fast for reading', true, 0],
  ])('%s takes the page where it is [F13]', (_what, isPin, flags) => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfns = new Uint32Array(1);
    const take = isPin ? pinUserPagesFast : getUserPagesFast;
    expect(expectSync(take(mm, addr, 1, flags, pfns))).toBe(1);
    expect([pfns[0], onDevice(mm, addr)]).toEqual([pfnAt(mm, addr), true]);
    (isPin ? unpinUserPages : putUserPages)(sys, pfns);
  });

  test.each([
    ['pin_user_pages', pinUserPagesUnlocked],
    ['pin_user_pages_fast', pinUserPagesFast],
  ])('%s with FOLL_LONGTERM moves it to RAM first [F60] [F68]', (_what, pin) => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 2);
    const ram = pfnAt(mm, mapFilled(mm, 1));
    const pfns = new Uint32Array(2);
    const flags = FOLL_WRITE | FOLL_LONGTERM;
    expect(expectSync(pin(mm, addr, 2, flags, pfns))).toBe(2);
    expect([device.used, pfns[0] === ram]).toEqual([0, false]);
    expect([pfnAt(mm, addr), pfnAt(mm, addr + PAGE_SIZE)]).toEqual([...pfns]);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([1, 2]);
    unpinUserPages(sys, pfns);
  });

  test('pages of RAM between them are pinned where they are', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 3);
    expect(expectSync(bench.device.migrateIn(mm, addr + PAGE_SIZE))).toBe(1);
    const before = [pfnAt(mm, addr), pfnAt(mm, addr + 2 * PAGE_SIZE)];
    const pfns = new Uint32Array(3);
    expect(expectSync(pinUserPagesUnlocked(mm, addr, 3, FOLL_WRITE | FOLL_LONGTERM, pfns))).toBe(3);
    expect([pfns[0], pfns[2], onDevice(mm, addr + PAGE_SIZE)]).toEqual([...before, false]);
    unpinUserPages(sys, pfns);
  });

  test('the walk without the lock does not take one for long', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const flags = FOLL_WRITE | FOLL_LONGTERM | FOLL_FAST_ONLY;
    expect(expectSync(pinUserPagesFast(mm, addr, 1, flags, new Uint32Array(1)))).toBe(0);
    expect(onDevice(mm, addr)).toBe(true);
  });

  test('EBUSY for long when somebody else has it pinned: no pin is left behind', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 3);
    expect(expectSync(bench.device.migrateIn(mm, addr + PAGE_SIZE))).toBe(1);
    const first = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, addr + PAGE_SIZE, 1, FOLL_WRITE, first))).toBe(1);
    const counts = (): (number | undefined)[] =>
      [0, 1, 2].map((i) => sys.mem.refcount[pfnAt(mm, addr + i * PAGE_SIZE)]);
    const before = counts();
    const flags = FOLL_WRITE | FOLL_LONGTERM;
    const pinned = pinUserPagesUnlocked(mm, addr, 3, flags, new Uint32Array(3));
    expect([expectSync(pinned), counts()]).toEqual([errno.EBUSY, before]);
    expect(onDevice(mm, addr + PAGE_SIZE)).toBe(true);
    unpinUserPages(sys, first);
  });

  test('waits for a page that is locked, then moves it', async () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 2);
    const pfn = pfnAt(mm, addr);
    sys.mem.trylockPage(pfn);
    const pfns = new Uint32Array(2);
    const pinned = pinUserPagesUnlocked(mm, addr, 2, FOLL_WRITE | FOLL_LONGTERM, pfns);
    expect(waits(pinned)).toBe(true);
    sys.mem.unlockPage(pfn);
    expect([await pinned, onDevice(mm, addr), onDevice(mm, addr + PAGE_SIZE)]).toEqual([
      2,
      false,
      false,
    ]);
    unpinUserPages(sys, pfns);
  });
});
