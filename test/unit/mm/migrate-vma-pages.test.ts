/* Commit and finalize: migrate_vma_pages, migrate_vma_finalize (hmm-semantics 6, 7, 8). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { zoneDevicePageInit } from '../../../src/mm/memremap.ts';
import { migrateVmaFinalize } from '../../../src/mm/migrate-device.ts';
import { migratePfn, migratePfnToPage } from '../../../src/mm/migrate-types.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_UPTODATE,
} from '../../../src/mm/page.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { expectSync, load, mapAnon, mapShared, pteAt, store, storeOutcome } from './fixture.ts';
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

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

/** A locked RAM page as destination for a slot. */
function ramPage(): number {
  const pfn = allocPage(bench.sys);
  expect(bench.sys.mem.trylockPage(pfn)).toBe(true);
  return pfn;
}

describe('a page that is committed [F51]', () => {
  test('moves its place, index and flags; the old page is freed at the end [F2] [F9] [F21] [F44]', () => {
    const { sys, mm } = bench;
    const { mem } = sys;
    const addr = mapFilled(mm, 1);
    const free = sys.pageAllocator.freePages;
    const source = pfnAt(mm, addr);
    mem.setFlag(source, PG_REFERENCED | PG_ACTIVE | PG_DIRTY);
    const [word, index] = [mem.mapping[source], mem.index[source]];
    const migration = new Migration(bench, addr, 1).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[0]!);
    expect([mem.mapping[target], mem.index[target]]).toEqual([word, index]);
    expect(migration.src).toEqual(['page MW']);
    expect([mem.isLocked(source), mem.isLocked(target)]).toEqual([true, true]);
    migration.finalize();
    const moved = PG_REFERENCED | PG_ACTIVE | PG_DIRTY | PG_UPTODATE | PG_SWAPBACKED;
    expect(mem.flags[target]).toBe(moved | PG_ANON_EXCLUSIVE);
    expect([mem.refcount[target], mem.mapcount[target]]).toEqual([1, 1]);
    expect([mem.refcount[source], sys.pageAllocator.freePages]).toEqual([0, free + 1]);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
    expect([pfnAt(mm, addr), mm.anonRss]).toEqual([target, 1]);
  });

  test('comes home the same way: present, on the LRU, young only if it was [F7]', () => {
    const { sys, mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const source = pfnAt(mm, addr);
    new Migration(bench, addr, 1, TO_RAM).run();
    const pte = pteAt(mm, addr);
    expect(pte & (PTE_PRESENT | PTE_WRITE | PTE_YOUNG)).toBe(PTE_PRESENT | PTE_WRITE);
    expect(sys.mem.testFlag(pfnAt(mm, addr), PG_LRU)).toBe(true);
    expect(sys.mem.refcount[source]).toBe(0);
    expect(load(mm, addr)).toBe(1);
  });

  test('counts: to the device, to RAM, and pages that stayed', () => {
    const { vmstat } = bench.sys;
    const counts = () =>
      (['success', 'fail', 'to_device', 'to_ram'] as const).map((name) =>
        vmstat.read(`pgmigrate_${name}`),
      );
    const addr = mapFilled(bench.mm, 4);
    new Migration(bench, addr, 4).setup().supply([0, 1, 3]).pages().finalize();
    expect(counts()).toEqual([3, 1, 3, 0]);
    new Migration(bench, addr, 4, TO_RAM).run();
    expect(counts()).toEqual([6, 1, 3, 3]);
    const holes = mapAnon(bench.mm, 2);
    new Migration(bench, holes, 2).run();
    expect(counts()).toEqual([8, 1, 5, 3]);
  });

  test('dirty in the new entry needs both: the old entry and the page', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 3);
    const at = [0, 1, 2].map((i) => addr + i * PAGE_SIZE);
    const migration = new Migration(bench, addr, 3).setup();
    sys.mem.clearFlag(migration.page(1), PG_DIRTY);
    migration.finalize();
    expect(at.map((one) => (pteAt(mm, one) & PTE_DIRTY) !== 0)).toEqual([true, false, true]);
  });
});

describe('a page without destination [F42] [F43]', () => {
  test('is restored, the others migrate', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 3);
    const before = pteAt(mm, addr + PAGE_SIZE);
    const migration = new Migration(bench, addr, 3).setup().supply([0, 2]).pages();
    expect(migration.src).toEqual(['page MW', 'page W', 'page MW']);
    expect(migration.reasons).toEqual(['none', 'no destination', 'none']);
    migration.finalize();
    expect(pteAt(mm, addr + PAGE_SIZE)).toBe(before);
    expect([0, 1, 2].map((i) => ptePresent(pteAt(mm, addr + i * PAGE_SIZE)))).toEqual([
      false,
      true,
      false,
    ]);
  });

  test('a hole stays a hole', () => {
    const addr = mapAnon(bench.mm, 2);
    const migration = new Migration(bench, addr, 2).setup().supply([1]).pages();
    expect(migration.src).toEqual(['-', 'hole M']);
    expect(migration.reasons).toEqual(['no destination', 'none']);
    migration.finalize();
    expect([pteAt(bench.mm, addr), bench.mm.anonRss]).toEqual([0, 1]);
  });

  test('pages that were refused before keep their first reason', () => {
    const addr = mapFilled(bench.mm, 1);
    const pfn = pfnAt(bench.mm, addr);
    bench.sys.mem.trylockPage(pfn);
    const migration = new Migration(bench, addr, 1).setup().supply().pages().finalize();
    expect(migration.reasons).toEqual(['locked']);
    bench.sys.mem.unlockPage(pfn);
  });
});

describe('references at commit [F3] [F45]', () => {
  test('one that was taken while the copy ran keeps the page, and frees the destination', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 2);
    const before = pteAt(mm, addr);
    const migration = new Migration(bench, addr, 2).setup().supply();
    const pfn = migration.page(0);
    sys.mem.getPage(pfn);
    migration.pages();
    expect(migration.src).toEqual(['page W', 'page MW']);
    expect(migration.reasons).toEqual(['pinned at commit', 'none']);
    migration.finalize();
    expect([pteAt(mm, addr), bench.device.used]).toEqual([before, 1]);
    putPage(sys, pfn);
  });

  test('the stray one on a device page that unmapping let through fails here', () => {
    const { sys, mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    const release = bench.device.hold(pfn);
    const migration = new Migration(bench, addr, 1, TO_RAM).run();
    expect(migration.reasons).toEqual(['pinned at commit']);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
    expect(sys.mem.refcount[pfn]).toBe(2);
    release();
  });

  test('the one of the fault page is expected [F38]', () => {
    const { sys, mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    const migration = new Migration(bench, addr, 1, TO_RAM, pfn).run();
    expect(migration.reasons).toEqual(['none']);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
  });

  test('and a second one beside it is not [F38]', () => {
    const { sys, mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    const migration = new Migration(bench, addr, 1, TO_RAM, pfn).run();
    expect(migration.reasons).toEqual(['pinned at commit']);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    putPage(sys, pfn);
  });
});

describe('a page-cache page [F40] [F50]', () => {
  test('does not enter the device, and is restored', () => {
    const addr = mapShared(bench.mm, 1);
    store(bench.mm, addr, 4);
    const before = pteAt(bench.mm, addr);
    const migration = new Migration(bench, addr, 1).setup().supply().pages();
    expect(migration.src).toEqual(['page W']);
    expect(migration.reasons).toEqual(['page-cache page to a device']);
    migration.finalize();
    expect([pteAt(bench.mm, addr), bench.device.used]).toEqual([before, 0]);
  });

  test('may move within RAM: the cache follows, mappings stay writable', () => {
    const { sys, mm } = bench;
    const inode = shmemCreate(sys, PAGE_SIZE);
    if (typeof inode === 'number') throw new Error('shmemCreate');
    const addr = mapShared(mm, 1);
    store(mm, addr, 4);
    const object = mm.vmas.find((vma) => vma.vmStart === addr)?.inode;
    const migration = new Migration(bench, addr, 1).setup();
    const source = migration.page(0);
    const target = ramPage();
    sys.ram.copyWithin(target * PAGE_SIZE, source * PAGE_SIZE, (source + 1) * PAGE_SIZE);
    migration.args.dst[0] = migratePfn(target);
    migration.pages().finalize();
    expect(migration.reasons).toEqual(['none']);
    expect([object?.cache.get(0), pfnAt(mm, addr)]).toEqual([target, target]);
    expect([sys.mem.refcount[target], sys.mem.refcount[source]]).toEqual([2, 0]);
    store(mm, addr, 5);
    expect(sys.ram[target * PAGE_SIZE]).toBe(5);
    shmemPut(inode);
  });
});

describe('what is restored [F52]', () => {
  test('without any destination everything is as it was, byte for byte', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 4);
    expectSync(doMprotect(mm, addr, PAGE_SIZE, PROT_READ));
    const child = fork(mm);
    store(mm, addr + 3 * PAGE_SIZE, 9);
    const entries = () =>
      [mm, child].flatMap((one) => [0, 1, 2, 3].map((i) => pteAt(one, addr + i * PAGE_SIZE)));
    const before = entries();
    const { flags, refcount, mapcount } = sys.mem;
    const state = () => [flags, refcount, mapcount].map((column) => column.slice());
    const stateBefore = state();
    for (const [from, pages] of [
      [0, 1],
      [1, 3],
    ] as const) {
      new Migration(bench, addr + from * PAGE_SIZE, pages).setup().finalize();
    }
    // Young and dirty are kept as the entries had them; PG_DIRTY is picked up from them.
    expect(entries()).toEqual(before);
    const after = state();
    stateBefore[0] = stateBefore[0]!.map((bits, pfn) => bits | (after[0]![pfn]! & PG_DIRTY));
    expect(after).toEqual(stateBefore);
  });

  test('pages may be left out after setup when dst is empty [F54]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    migration.finalize();
    expect(load(mm, addr)).toBe(1);
  });

  test('I31: finalize with a destination, without pages, is a bug [F54]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    expect(() => migrateVmaFinalize(migration.args)).toThrow('I31');
    migration.pages().finalize();
    expect(load(mm, addr)).toBe(1);
  });

  test('I31: also where the reverse map is walked [F54]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    fork(mm);
    const migration = new Migration(bench, addr, 1).setup().supply();
    expect(() => migrateVmaFinalize(migration.args)).toThrow('I31');
    migration.pages().finalize();
    expect(load(mm, addr)).toBe(1);
  });

  test('I1, I11 and I12: what is mapped again is alive, in its place and nowhere else', () => {
    const { sys, mm } = bench;
    const { mapcount, index, refcount } = sys.mem;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[0]!);
    const attempt = () => migrateVmaFinalize(migration.args);
    mapcount[target] = 1;
    expect(attempt).toThrow('I12');
    mapcount[target] = 0;
    index[target]! += 1;
    expect(attempt).toThrow('I11');
    index[target]! -= 1;
    refcount[target] = 0;
    expect(attempt).toThrow('I1:');
    refcount[target] = 1;
    migration.finalize();
    expect(load(mm, addr)).toBe(1);
  });

  test('I30: a destination that is not locked is a bug [F27]', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    const target = bench.device.free.pop()!;
    zoneDevicePageInit(sys, target);
    sys.mem.unlockPage(target);
    migration.args.dst[0] = migratePfn(target);
    expect(() => migration.pages()).toThrow('I30');
    migration.args.dst[0] = 0;
    putPage(sys, target);
    migration.finalize();
  });

  test('finalize after a failed copy: those with dst cleared stay, the rest has moved', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 3);
    const migration = new Migration(bench, addr, 3).setup().supply();
    const lost = migratePfnToPage(migration.args.dst[1]!);
    migration.args.dst[1] = 0;
    sys.mem.unlockPage(lost);
    putPage(sys, lost);
    migration.pages().finalize();
    expect(migration.reasons).toEqual(['none', 'no destination', 'none']);
    expect([0, 1, 2].map((i) => load(mm, addr + i * PAGE_SIZE))).toEqual([1, 2, 3]);
  });
});

describe('while a page is under migration [F6]', () => {
  test('a CPU access waits for it, then finds it on the device and brings it home', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    const byte = new Uint8Array(1);
    const reading = copyFromUser(mm, addr, byte);
    expect(waits(reading)).toBe(true);
    migration.supply().pages().finalize();
    expect(await reading).toBe(0);
    expect([byte[0], bench.device.faults]).toEqual([1, 1]);
    expect(bench.sys.vmstat.read('migration_entry_wait')).toBe(1);
  });

  test('a CPU access waits for it, then finds it restored', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    const byte = new Uint8Array(1);
    const reading = copyFromUser(mm, addr, byte);
    migration.finalize();
    expect(await reading).toBe(0);
    expect([byte[0], bench.device.faults]).toEqual([1, 0]);
  });

  test('dropping the range leaves nothing to restore: both pages are freed', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 2);
    const free = sys.pageAllocator.freePages;
    const migration = new Migration(bench, addr, 2).setup().supply();
    zapPageRange(migration.args.vma, addr, addr + PAGE_SIZE);
    migration.pages().finalize();
    expect([pteAt(mm, addr), mm.anonRss, bench.device.used]).toEqual([0, 1, 1]);
    expect(sys.pageAllocator.freePages).toBe(free + 2);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([0, 2]);
  });

  test('dropping the range after commit frees the new page', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    const migration = new Migration(bench, addr, 2).setup().supply().pages();
    zapPageRange(migration.args.vma, addr, addr + 2 * PAGE_SIZE);
    migration.finalize();
    expect([pteAt(mm, addr), mm.anonRss, bench.device.used]).toEqual([0, 0, 0]);
  });

  test('its other processes may fork and change permissions: entries end as they say', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    const migration = new Migration(bench, addr, 1).setup().supply();
    const grandchild = fork(child);
    expectSync(doMprotect(child, addr, PAGE_SIZE, PROT_READ));
    migration.pages().finalize();
    for (const one of [mm, child, grandchild]) {
      expect(leafKind(pteAt(one, addr))).toBe(LEAF_DEVICE_PRIVATE_READ);
    }
    expect(bench.sys.mem.mapcount[pfnAt(mm, addr)]).toBe(3);
    expect([load(grandchild, addr), storeOutcome(child, addr)]).toEqual([1, 1]);
  });
});
