/*
 * Each step of a migration takes nearly all pages in one loop, and finalize frees their sources
 * together. One page in the middle of such a run that is different has to come to what it would
 * come to alone.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { migrateVmaFinalize } from '../../../src/mm/migrate-device.ts';
import { migratePfnToPage } from '../../../src/mm/migrate-types.ts';
import { allocPage, allocPages, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_BUDDY, PG_DIRTY, PG_RESERVED } from '../../../src/mm/page.ts';
import { isDevicePrivateEntry, ptePresent } from '../../../src/mm/swapops.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import { expectSync, load, makeSystem, mapAnon, pteAt, store } from './fixture.ts';
import {
  Migration,
  TO_DEVICE,
  TO_RAM,
  checkAtRest,
  makeBench,
  makeCoherentBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
  withOtherDevice,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { waits } from './tiny-device.ts';

const PAGES = 5;

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

/** The first bytes of the pages, for mapFilled: 1, 2, 3... */
function contents(addr: number): number[] {
  return Array.from({ length: PAGES }, (_, i) => load(bench.mm, addr + i * PAGE_SIZE));
}

const oneToFive = [1, 2, 3, 4, 5];

describe('a run of pages that migrate', () => {
  afterEach(() => checkAtRest(bench));

  test('to the device: every source is free again, in the order of their places [F53]', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const sources = oneToFive.map((_, i) => pfnAt(mm, addr + i * PAGE_SIZE));
    const before = sys.vmstat.read('pgfree');
    new Migration(bench, addr, PAGES).run();
    expect(sources.map((pfn) => sys.mem.flags[pfn])).toEqual(oneToFive.map(() => PG_BUDDY));
    expect(sys.vmstat.read('pgfree') - before).toBe(PAGES);
    expect(sys.vmstat.read('pgmigrate_to_device')).toBe(PAGES);
    const taken = new Uint32Array(PAGES);
    expect(allocPages(sys, taken, PAGES)).toBe(PAGES);
    expect([...taken]).toEqual(sources.toReversed());
    for (const pfn of taken) putPage(sys, pfn);
  });

  test('to RAM: the driver gets every page back, in the order of their places [F53]', () => {
    const { sys, mm, device } = bench;
    const addr = mapOnDevice(bench, PAGES);
    const sources = oneToFive.map((_, i) => pfnAt(mm, addr + i * PAGE_SIZE));
    new Migration(bench, addr, PAGES, TO_RAM).run();
    expect(device.free.slice(-PAGES)).toEqual(sources);
    expect([device.used, device.pgmap.ref]).toEqual([0, 1]);
    expect(sys.vmstat.read('pgmigrate_to_ram')).toBe(PAGES);
    expect(contents(addr)).toEqual(oneToFive);
  });

  test('a source that got a reference after commit is not freed, and all have moved', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const migration = new Migration(bench, addr, PAGES).setup().supply().pages();
    const pinned = migration.page(2);
    sys.mem.getPage(pinned);
    migration.finalize();
    expect([sys.mem.refcount[pinned], sys.mem.testFlag(pinned, PG_BUDDY)]).toEqual([1, false]);
    expect(sys.mem.isLocked(pinned)).toBe(false);
    expect(sys.vmstat.read('pgmigrate_to_device')).toBe(PAGES);
    putPage(sys, pinned);
    expect(sys.mem.testFlag(pinned, PG_BUDDY)).toBe(true);
  });

  test('a destination that got a reference keeps it beside that of its mapping', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const migration = new Migration(bench, addr, PAGES).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[2]!);
    sys.mem.getPage(target);
    migration.finalize();
    expect([sys.mem.refcount[target], sys.mem.mapcount[target]]).toEqual([2, 1]);
    putPage(sys, target);
    expect(isDevicePrivateEntry(pteAt(mm, addr + 2 * PAGE_SIZE))).toBe(true);
  });

  test('a CPU access that waits for a page in the middle is woken [F69]', async () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const migration = new Migration(bench, addr, PAGES).setup().supply().pages();
    const bytes = new Uint8Array(1);
    const reading = copyFromUser(mm, addr + 2 * PAGE_SIZE, bytes);
    expect(waits(reading)).toBe(true);
    migration.finalize();
    expect(sys.mem.waitingPages).toBe(0);
    expect(await reading).toBe(0);
    expect(bytes[0]).toBe(3);
  });

  test('one that waits for the lock of a destination is woken, too', async () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const migration = new Migration(bench, addr, PAGES).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[3]!);
    const waiting = sys.mem.lockPage(target);
    expect(waits(waiting)).toBe(true);
    migration.finalize();
    expect(sys.mem.waitingPages).toBe(0);
    await waiting;
    sys.mem.unlockPage(target);
  });

  test('one without a destination is restored, the others move', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    new Migration(bench, addr, PAGES).setup().supply([0, 1, 3, 4]).pages().finalize();
    const present = oneToFive.map((_, i) => ptePresent(pteAt(mm, addr + i * PAGE_SIZE)));
    expect(present).toEqual([false, false, true, false, false]);
    expect(sys.vmstat.read('pgmigrate_fail')).toBe(1);
    expect(contents(addr)).toEqual(oneToFive);
  });

  test('the flags of a page that moved do not stay with its source', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const source = pfnAt(mm, addr);
    expect(sys.mem.testFlag(source, PG_DIRTY)).toBe(false);
    const migration = new Migration(bench, addr, PAGES).setup().supply().pages();
    expect(sys.mem.testFlag(source, PG_DIRTY)).toBe(true);
    migration.finalize();
    const { flags, mapping, index } = sys.mem;
    expect([flags[source], mapping[source], index[source]]).toEqual([PG_BUDDY, 0, 0]);
  });
});

describe('a run of pages that are collected', () => {
  afterEach(() => checkAtRest(bench));

  /** Collects the range and gives everything back. @returns why each page was left out. */
  function reasonsOf(one: Bench, addr: number, flags?: number): string[] {
    const migration = new Migration(one, addr, PAGES, flags).setup();
    const { reasons } = migration;
    const taken = migration.src.filter((entry) => entry !== '-').length;
    expect(taken).toBe(migration.args.cpages);
    migration.finalize();
    return reasons;
  }

  /** That reason for the third of five pages, none for the others. */
  const thirdIs = (reason: string): string[] => ['none', 'none', reason, 'none', 'none'];

  test('one page is pinned', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const third = addr + 2 * PAGE_SIZE;
    const pinned = expectSync(pinUserPage(mm, third));
    expect(pinned).toBe(pfnAt(mm, third));
    expect(reasonsOf(bench, addr)).toEqual(thirdIs('pinned at collect'));
    unpinUserPage(sys, pinned);
    expect(reasonsOf(bench, addr)).toEqual(thirdIs('none'));
  });

  test('one page is locked', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    sys.mem.trylockPage(pfnAt(mm, addr + 2 * PAGE_SIZE));
    expect(reasonsOf(bench, addr)).toEqual(thirdIs('locked'));
    sys.mem.unlockPage(pfnAt(mm, addr + 2 * PAGE_SIZE));
  });

  test('one page has a reference that nothing explains', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, PAGES);
    const third = pfnAt(mm, addr + 2 * PAGE_SIZE);
    sys.mem.getPage(third);
    expect(reasonsOf(bench, addr)).toEqual(thirdIs('pinned at unmap'));
    putPage(sys, third);
  });

  test('one page is on a device, the others in RAM, and the other way round [F25]', () => {
    const { mm, device } = bench;
    const addr = mapFilled(mm, PAGES);
    expect(expectSync(device.migrateIn(mm, addr + 2 * PAGE_SIZE, 1))).toBe(1);
    expect(reasonsOf(bench, addr)).toEqual(thirdIs('not selected'));
    const other = oneToFive.map((_, i) => (i === 2 ? 'none' : 'not selected'));
    expect(reasonsOf(bench, addr, TO_RAM)).toEqual(other);
    expect(reasonsOf(bench, addr, TO_RAM | TO_DEVICE)).toEqual(thirdIs('none'));
  });

  test('one page is on a device of another owner [F19]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, PAGES);
    const other = withOtherDevice(bench);
    load(mm, addr + 2 * PAGE_SIZE);
    expect(expectSync(other.device.migrateIn(mm, addr + 2 * PAGE_SIZE, 1))).toBe(1);
    expect(reasonsOf(bench, addr, TO_RAM)).toEqual(thirdIs('foreign owner'));
  });

  test('one page is a hole: it may migrate, too [F28]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, PAGES);
    for (const i of [0, 1, 3, 4]) store(mm, addr + i * PAGE_SIZE, i + 1);
    const migration = new Migration(bench, addr, PAGES).setup();
    expect(migration.src).toEqual(['page MW', 'page MW', 'hole M', 'page MW', 'page MW']);
    expect(migration.args.cpages).toBe(PAGES);
    migration.supply().pages().finalize();
    expect(bench.sys.vmstat.read('pgmigrate_to_device')).toBe(PAGES);
    expect(contents(addr)).toEqual([1, 2, 0, 4, 5]);
  });
});

test('a run of RAM with a coherent page in it leaves that one where it is [F25]', () => {
  const coherent = makeCoherentBench();
  const { mm, device } = coherent;
  const addr = mapFilled(mm, PAGES);
  expect(expectSync(device.migrateIn(mm, addr + 2 * PAGE_SIZE, 1))).toBe(1);
  const migration = new Migration(coherent, addr, PAGES).setup();
  const why = ['none', 'none', 'not selected', 'none', 'none'];
  expect(migration.reasons).toEqual(why);
  migration.finalize();
  checkAtRest(coherent);
});

describe('pages that are freed together', () => {
  /** A page that is committed, and what ends its migration. */
  function committed(): { page: number; finish: () => void } {
    const migration = new Migration(bench, mapFilled(bench.mm, 1), 1).setup().supply().pages();
    return { page: migration.page(0), finish: () => migrateVmaFinalize(migration.args) };
  }

  test('I7: none of them is mapped', () => {
    const { page, finish } = committed();
    bench.sys.mem.mapcount[page] = 1;
    expect(finish).toThrow('I7');
  });

  test('I9: none of them is reserved', () => {
    const { page, finish } = committed();
    bench.sys.mem.setFlag(page, PG_RESERVED);
    expect(finish).toThrow('I9');
  });

  test('a driver that takes them together hears once of a run', () => {
    const { device } = bench;
    const heard: number[][] = [];
    const pagesFree = (pfns: Uint32Array, count: number): void => {
      const freed = [...pfns.subarray(0, count)];
      heard.push(freed);
      device.free.push(...freed);
    };
    Object.assign(device.pgmap.ops, { pagesFree });
    const addr = mapOnDevice(bench, PAGES);
    const migration = new Migration(bench, addr, PAGES, TO_RAM).setup().supply().pages();
    const sources = oneToFive.map((_, i) => migration.page(i));
    const letGo = device.hold(sources[2]!);
    migration.finalize();
    expect(heard).toEqual([sources.slice(0, 2), sources.slice(3)]);
    letGo();
    expect([device.used, device.free.at(-1)]).toEqual([0, sources[2]]);
    checkAtRest(bench);
  });
});

describe('allocPages', () => {
  test('is like that many calls of allocPage', () => {
    const [one, other] = [makeSystem(), makeSystem()];
    const single = Array.from({ length: 40 }, () => allocPage(one));
    const pfns = new Uint32Array(41);
    expect(allocPages(other, pfns, 40)).toBe(40);
    expect([...pfns]).toEqual([...single, 0]);
    expect(other.vmstat.read('pgalloc')).toBe(40);
    expect(other.pageAllocator.freePages).toBe(one.pageAllocator.freePages);
    expect(single.map((pfn) => other.mem.refcount[pfn])).toEqual(single.map(() => 1));
    expect(single.every((pfn) => other.mem.flags[pfn] === 0)).toBe(true);
  });

  test('gives what there is, and says how much', () => {
    const sys = makeSystem(16, 8);
    const pfns = new Uint32Array(20);
    expect(allocPages(sys, pfns, 20)).toBe(14);
    expect([sys.pageAllocator.freePages, allocPages(sys, pfns, 1)]).toEqual([0, 0]);
    expect(allocPages(makeSystem(16, 8), pfns, 14)).toBe(14);
  });

  test('failAt ends it at the nth page, once [F119]', () => {
    const sys = makeSystem();
    const free = sys.pageAllocator.freePages;
    const pfns = new Uint32Array(8);
    sys.pageAllocator.failAt = 3;
    expect(allocPages(sys, pfns, 8)).toBe(2);
    expect(sys.pageAllocator.freePages).toBe(free - 2);
    expect(allocPages(sys, pfns, 8)).toBe(8);
    sys.pageAllocator.failAt = 9;
    expect(allocPages(sys, pfns, 8)).toBe(8);
    expect([sys.pageAllocator.failAt, allocPage(sys) < 0]).toEqual([1, true]);
  });

  test('I6: a free page that somebody refers to is a bug', () => {
    const sys = makeSystem();
    sys.mem.refcount[sys.pageAllocator.firstFree] = 1;
    expect(() => allocPages(sys, new Uint32Array(2), 2)).toThrow('I6');
  });
});
