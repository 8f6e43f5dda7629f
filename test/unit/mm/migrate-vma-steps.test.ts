/*
 * What holds between the three steps of a migration, and in which order the last one ends it: who
 * copies bytes, what a driver may do between commit and finalize, when locks and references go.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { migratePfnToPage } from '../../../src/mm/migrate-types.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { PG_LRU } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_PRIVATE_WRITE,
  isMigrationEntry,
  leafKind,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import { load, mapAnon, pteAt } from './fixture.ts';
import {
  Migration,
  TO_RAM,
  checkAtRest,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { waits } from './tiny-device.ts';

/** Where old kernels had MIGRATE_PFN_LOCKED; nothing uses the bit any more. */
const OLD_LOCKED = 1 << 2;

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => {
  vi.restoreAllMocks();
  checkAtRest(bench);
});

describe('bytes are copied by nobody but the driver [F44]', () => {
  test('to the device: it keeps what the driver put there, and RAM is left as it was', () => {
    const { mm, sys, device } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    const [source, target] = [migration.page(0), migratePfnToPage(migration.args.dst[0]!)];
    device.vram.get(target)![0] = 77;
    migration.pages();
    expect([sys.ram[source * PAGE_SIZE], device.vram.get(target)![0]]).toEqual([1, 77]);
    migration.finalize();
    expect(load(mm, addr)).toBe(77);
  });

  test('to RAM: the process finds what the driver put there', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const migration = new Migration(bench, addr, 1, TO_RAM).setup().supply();
    const target = migratePfnToPage(migration.args.dst[0]!);
    sys.ram[target * PAGE_SIZE] = 78;
    migration.pages().finalize();
    expect(load(mm, addr)).toBe(78);
    expect(pfnAt(mm, addr)).toBe(target);
  });
});

describe('flags of old kernels [F27]', () => {
  test('no entry of src has LOCKED, though its page is locked', () => {
    const migration = new Migration(bench, mapFilled(bench.mm, 2), 2).setup();
    expect(Array.from(migration.args.src, (entry) => entry & OLD_LOCKED)).toEqual([0, 0]);
    expect(bench.sys.mem.isLocked(migration.page(0))).toBe(true);
    migration.finalize();
  });

  test('LOCKED in dst changes nothing: the lock itself counts', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    const migration = new Migration(bench, addr, 2).setup().supply();
    migration.args.dst[0]! |= OLD_LOCKED;
    migration.pages().finalize();
    expect(migration.reasons).toEqual(['none', 'none']);
    const kinds = [0, 1].map((i) => leafKind(pteAt(mm, addr + i * PAGE_SIZE)));
    expect(kinds).toEqual([LEAF_DEVICE_PRIVATE_WRITE, LEAF_DEVICE_PRIVATE_WRITE]);
  });
});

describe('between pages and finalize [F55]', () => {
  test('src says what has moved, both pages are locked, and the CPU still waits', async () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 2);
    const migration = new Migration(bench, addr, 2).setup().supply([0]).pages();
    const [source, target] = [migration.page(0), migratePfnToPage(migration.args.dst[0]!)];
    // This is what a driver needs for its own page table: which slots, and that nobody interferes.
    expect(migration.src).toEqual(['page MW', 'page W']);
    expect([sys.mem.isLocked(source), sys.mem.isLocked(target)]).toEqual([true, true]);
    expect([0, 1].map((i) => isMigrationEntry(pteAt(mm, addr + i * PAGE_SIZE)))).toEqual([
      true,
      true,
    ]);
    const byte = new Uint8Array(1);
    const reading = copyFromUser(mm, addr, byte);
    expect(waits(reading)).toBe(true);
    migration.finalize();
    expect(await reading).toBe(0);
    expect([byte[0], bench.device.faults]).toEqual([1, 1]);
  });

  test('a hole is mapped already, its page locked: a CPU fault waits for finalize', async () => {
    const { mm, sys } = bench;
    const addr = mapAnon(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[0]!);
    expect([leafKind(pteAt(mm, addr)), sys.mem.isLocked(target)]).toEqual([
      LEAF_DEVICE_PRIVATE_WRITE,
      true,
    ]);
    const reading = copyFromUser(mm, addr, new Uint8Array(1));
    expect(waits(reading)).toBe(true);
    migration.finalize();
    expect(await reading).toBe(0);
  });
});

describe('the order of finalize [F53]', () => {
  /** What each page shows at the moment its lock goes. */
  function watchUnlocks(addr: number, pages: readonly number[]) {
    const { mem } = bench.sys;
    // Only a lock that somebody waits for is given back by the function that is watched here.
    for (const pfn of pages) void mem.waitOnPageLocked(pfn);
    const seen: { pfn: number; mapped: boolean; lru: boolean; refcount: number }[] = [];
    const unlock = mem.unlockPage.bind(mem);
    vi.spyOn(mem, 'unlockPage').mockImplementation((pfn) => {
      const mapped = !isMigrationEntry(pteAt(bench.mm, addr));
      seen.push({ pfn, mapped, lru: mem.testFlag(pfn, PG_LRU), refcount: mem.refcount[pfn]! });
      unlock(pfn);
    });
    return seen;
  }

  test('to RAM: mapped and on the LRU, then unlocked, then its reference drops', () => {
    const { sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const migration = new Migration(bench, addr, 1, TO_RAM).setup().supply().pages();
    const [source, target] = [migration.page(0), migratePfnToPage(migration.args.dst[0]!)];
    const seen = watchUnlocks(addr, [source, target]);
    migration.finalize();
    // The mapping's reference and the driver's; the source has the one of the collection left.
    const byPage = new Map(seen.map((one) => [one.pfn, one]));
    expect(byPage.get(target)).toMatchObject({ mapped: true, lru: true, refcount: 2 });
    expect(byPage.get(source)).toMatchObject({ mapped: true, lru: false, refcount: 1 });
    expect(seen).toHaveLength(2);
    expect([sys.mem.refcount[target], sys.mem.refcount[source]]).toEqual([1, 0]);
  });

  test('restored: back in its place and on the LRU before the lock goes', () => {
    const addr = mapFilled(bench.mm, 1);
    const migration = new Migration(bench, addr, 1).setup().pages();
    const source = migration.page(0);
    const seen = watchUnlocks(addr, [source]);
    migration.finalize();
    expect(seen).toEqual([{ pfn: source, mapped: true, lru: true, refcount: 2 }]);
    expect([bench.sys.mem.refcount[source], ptePresent(pteAt(bench.mm, addr))]).toEqual([1, true]);
  });

  test('a destination that was not used is unlocked, then freed', () => {
    const { sys, mm, device } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    const source = migration.page(0);
    sys.mem.getPage(source);
    migration.pages();
    const target = migratePfnToPage(migration.args.dst[0]!);
    const seen = watchUnlocks(addr, [source, target]);
    migration.finalize();
    expect(seen.map(({ pfn }) => pfn)).toEqual([target, source]);
    expect(seen[0]).toMatchObject({ refcount: 1 });
    expect([device.used, device.free.includes(target)]).toEqual([0, true]);
    putPage(sys, source);
  });
});

test('end is computed anew from the pages that were collected [F36]', () => {
  const addr = mapFilled(bench.mm, 3);
  const migration = new Migration(bench, addr, 3);
  migration.args.end -= 1;
  migration.setup();
  expect([migration.args.npages, migration.args.end]).toEqual([2, addr + 2 * PAGE_SIZE]);
  expect(migration.args.cpages).toBe(2);
  migration.finalize();
});
