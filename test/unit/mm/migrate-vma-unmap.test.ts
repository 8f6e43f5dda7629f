/* The unmap phase of setup: other mappings, the LRU, pins (hmm-semantics 5). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MAP_PRIVATE, MAP_SHARED } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_MIGRATE,
  mmuIntervalNotifierInsert,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_ISOLATED, PG_LRU } from '../../../src/mm/page.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import {
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_WRITE,
  isMigrationEntry,
  leafKind,
} from '../../../src/mm/swapops.ts';
import { RW, expectSync, load, mapAnon, mapShared, pteAt, store, watch } from './fixture.ts';
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

describe('a page that two address spaces share by fork [F33]', () => {
  test('is unmapped in both, with MIGRATE here and CLEAR without owner there', () => {
    const { sys, mm } = bench;
    const addr = mapFilled(mm, 2);
    const child = fork(mm);
    const [here, there] = [watch(mm, addr), watch(child, addr)];
    const before = pteAt(child, addr);
    const migration = new Migration(bench, addr, 2).setup();
    const pfn = migration.page(0);
    expect(migration.src).toEqual(['page M', 'page M']);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_MIGRATION_READ);
    expect(leafKind(pteAt(child, addr))).toBe(LEAF_MIGRATION_READ);
    expect([sys.mem.mapcount[pfn], sys.mem.refcount[pfn]]).toEqual([0, 1]);
    expect(here.map((seen) => seen.event)).toEqual([MMU_NOTIFY_MIGRATE]);
    expect(there).toEqual([
      { event: MMU_NOTIFY_CLEAR, from: 0, pages: 1, pteBefore: before },
      { event: MMU_NOTIFY_CLEAR, from: 1, pages: 1, pteBefore: expect.any(Number) as number },
    ]);
    expect([child.anonRss, mm.anonRss]).toEqual([2, 2]);
    migration.finalize();
    expect(pteAt(child, addr)).toBe(before);
  });

  test('is left alone where the other side has written a copy of its own', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    store(child, addr, 77);
    const childPte = pteAt(child, addr);
    const migration = new Migration(bench, addr, 1).setup();
    expect(migration.args.cpages).toBe(1);
    expect(pteAt(child, addr)).toBe(childPte);
    migration.finalize();
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 77]);
  });

  test('a page on the device is unmapped in both, too', () => {
    const { sys, mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    const migration = new Migration(bench, addr, 1, TO_RAM).setup();
    expect(isMigrationEntry(pteAt(child, addr))).toBe(true);
    expect([sys.mem.mapcount[migration.page(0)], migration.args.cpages]).toEqual([0, 1]);
    migration.finalize();
    expect(expectSync(mmput(child))).toBeUndefined();
  });
});

describe('shared memory mapped at two addresses [F33]', () => {
  test('loses both mappings, and the cache reference counts as explained', () => {
    const { sys, mm } = bench;
    const inode = shmemCreate(sys, PAGE_SIZE);
    if (typeof inode === 'number') throw new Error('shmemCreate');
    const request = { length: PAGE_SIZE, prot: RW, flags: MAP_SHARED, inode };
    const first = expectSync(doMmap(mm, request));
    const second = expectSync(doMmap(mm, request));
    shmemPut(inode);
    store(mm, first, 5);
    expect(load(mm, second)).toBe(5);
    const migration = new Migration(bench, first, 1).setup();
    expect(migration.src).toEqual(['page MW']);
    expect(leafKind(pteAt(mm, first))).toBe(LEAF_MIGRATION_WRITE);
    expect(leafKind(pteAt(mm, second))).toBe(LEAF_MIGRATION_WRITE);
    expect(sys.mem.refcount[migration.page(0)]).toBe(2);
    migration.finalize();
    store(mm, second, 6);
    expect(load(mm, first)).toBe(6);
  });
});

describe('the LRU [F35]', () => {
  test('a page is isolated while it migrates, and back on the LRU when it is restored [F7]', () => {
    const { mem } = bench.sys;
    const addr = mapFilled(bench.mm, 1);
    const pfn = pfnAt(bench.mm, addr);
    const migration = new Migration(bench, addr, 1).setup();
    expect([mem.testFlag(pfn, PG_LRU), mem.testFlag(pfn, PG_ISOLATED)]).toEqual([false, true]);
    migration.finalize();
    expect([mem.testFlag(pfn, PG_LRU), mem.testFlag(pfn, PG_ISOLATED)]).toEqual([true, false]);
  });

  test('a page that is not on it is restored', () => {
    const { mem } = bench.sys;
    const addr = mapFilled(bench.mm, 2);
    const pfn = pfnAt(bench.mm, addr);
    const before = pteAt(bench.mm, addr);
    mem.clearFlag(pfn, PG_LRU);
    const migration = new Migration(bench, addr, 2).setup();
    expect(migration.src).toEqual(['-', 'page MW']);
    expect(migration.reasons).toEqual(['not on the LRU', 'none']);
    expect(migration.args.cpages).toBe(1);
    expect(pteAt(bench.mm, addr)).toBe(before);
    expect([mem.isLocked(pfn), mem.testFlag(pfn, PG_LRU)]).toEqual([false, false]);
    migration.finalize();
    mem.setFlag(pfn, PG_LRU);
  });

  test('device pages never go near it [F7]', () => {
    const { mem } = bench.sys;
    const addr = mapOnDevice(bench, 1);
    const migration = new Migration(bench, addr, 1, TO_RAM).setup();
    expect(mem.testFlag(migration.page(0), PG_LRU | PG_ISOLATED)).toBe(false);
    migration.finalize();
    expect(mem.testFlag(pfnAt(bench.mm, addr), PG_LRU | PG_ISOLATED)).toBe(false);
  });
});

describe('a page that somebody refers to [F3] [F34]', () => {
  test('is restored with all it had; the others go on', () => {
    const { mem } = bench.sys;
    const addr = mapFilled(bench.mm, 3);
    const pfn = pfnAt(bench.mm, addr + PAGE_SIZE);
    const before = pteAt(bench.mm, addr + PAGE_SIZE);
    mem.getPage(pfn);
    const migration = new Migration(bench, addr, 3).setup();
    expect(migration.src).toEqual(['page MW', '-', 'page MW']);
    expect(migration.reasons).toEqual(['none', 'pinned at unmap', 'none']);
    expect(migration.args.cpages).toBe(2);
    expect(pteAt(bench.mm, addr + PAGE_SIZE)).toBe(before);
    expect(mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    expect([mem.isLocked(pfn), mem.mapcount[pfn], mem.refcount[pfn]]).toEqual([false, 1, 2]);
    migration.supply().pages().finalize();
    expect(migration.reasons).toEqual(['none', 'pinned at unmap', 'none']);
    store(bench.mm, addr + PAGE_SIZE, 99);
    expect(bench.sys.ram[pfn * PAGE_SIZE]).toBe(99);
    putPage(bench.sys, pfn);
  });

  test('is restored in every address space', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    const before = [pteAt(mm, addr), pteAt(child, addr)];
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    const migration = new Migration(bench, addr, 1).setup();
    expect(migration.reasons).toEqual(['pinned at unmap']);
    expect([pteAt(mm, addr), pteAt(child, addr)]).toEqual(before);
    expect([sys.mem.mapcount[pfn], sys.mem.refcount[pfn]]).toEqual([2, 3]);
    migration.finalize();
    putPage(sys, pfn);
  });

  test('a pinned page of a shared object is restored', () => {
    const addr = mapShared(bench.mm, 1);
    store(bench.mm, addr, 3);
    const pfn = expectSync(pinUserPage(bench.mm, addr));
    const migration = new Migration(bench, addr, 1).setup();
    expect(migration.reasons).toEqual(['pinned at unmap']);
    migration.finalize();
    unpinUserPage(bench.sys, pfn);
    const again = new Migration(bench, addr, 1).setup();
    expect(again.reasons).toEqual(['none']);
    again.finalize();
  });

  test('on the device: one stray reference is let through here, two are not', () => {
    const { mem } = bench.sys;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(bench.mm, addr);
    mem.getPage(pfn);
    const lenient = new Migration(bench, addr, 1, TO_RAM).setup();
    expect(lenient.reasons).toEqual(['none']);
    lenient.finalize();
    mem.getPage(pfn);
    const strict = new Migration(bench, addr, 1, TO_RAM).setup();
    expect([strict.reasons, strict.args.cpages]).toEqual([['pinned at unmap'], 0]);
    strict.finalize();
    putPage(bench.sys, pfn);
    putPage(bench.sys, pfn);
  });
});

describe('the fault page [F38]', () => {
  test('may be locked and have one more reference; it is not unlocked', () => {
    const { mem } = bench.sys;
    const addr = mapOnDevice(bench, 2);
    const pfn = pfnAt(bench.mm, addr);
    mem.getPage(pfn);
    expect(mem.trylockPage(pfn)).toBe(true);
    const migration = new Migration(bench, addr, 2, TO_RAM, pfn).setup();
    expect(migration.src).toEqual(['page MW', 'page MW']);
    migration.supply().pages().finalize();
    expect(migration.reasons).toEqual(['none', 'none']);
    expect([mem.isLocked(pfn), mem.refcount[pfn]]).toEqual([true, 1]);
    expect([load(bench.mm, addr), load(bench.mm, addr + PAGE_SIZE)]).toEqual([1, 2]);
    mem.unlockPage(pfn);
    putPage(bench.sys, pfn);
    expect(bench.device.used).toBe(0);
  });

  test('exempts that page alone: another locked page is skipped', () => {
    const { mem } = bench.sys;
    const addr = mapOnDevice(bench, 2);
    const [pfn, other] = [pfnAt(bench.mm, addr), pfnAt(bench.mm, addr + PAGE_SIZE)];
    mem.getPage(pfn);
    mem.trylockPage(pfn);
    mem.trylockPage(other);
    const migration = new Migration(bench, addr, 2, TO_RAM, pfn).setup();
    expect(migration.reasons).toEqual(['none', 'locked']);
    migration.finalize();
    mem.unlockPage(other);
    mem.unlockPage(pfn);
    putPage(bench.sys, pfn);
  });

  test('with too many references it is restored and stays locked', () => {
    const { mem } = bench.sys;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(bench.mm, addr);
    const before = pteAt(bench.mm, addr);
    for (let i = 0; i < 3; i++) mem.getPage(pfn);
    mem.trylockPage(pfn);
    const migration = new Migration(bench, addr, 1, TO_RAM, pfn).setup();
    expect([migration.reasons, migration.args.cpages]).toEqual([['pinned at unmap'], 0]);
    expect([pteAt(bench.mm, addr), mem.isLocked(pfn)]).toEqual([before, true]);
    migration.finalize();
    mem.unlockPage(pfn);
    for (let i = 0; i < 3; i++) putPage(bench.sys, pfn);
  });
});

test('MIGRATE events name the owner, CLEAR events do not [F37]', () => {
  const { mm } = bench;
  const addr = mapAnon(mm, 2);
  store(mm, addr, 1);
  const child = fork(mm);
  const owners: unknown[][] = [];
  for (const one of [mm, child]) {
    const status = mmuIntervalNotifierInsert(newMmuIntervalNotifier(null), one, 0, TASK_SIZE, {
      invalidate: (_sub, range) => {
        owners.push([range.mm, range.event, range.owner]);
        return true;
      },
    });
    expect(status).toBe(0);
  }
  const migration = new Migration(bench, addr, 2).setup();
  const collected = [mm, MMU_NOTIFY_MIGRATE, bench.device];
  expect(owners.splice(0)).toEqual([collected, [child, MMU_NOTIFY_CLEAR, null]]);
  migration.supply().pages().finalize();
  expect(owners).toEqual([collected]);
});

test('cpages counts what may migrate after unmapping, holes included [F36]', () => {
  const { mm, sys } = bench;
  const addr = mapAnon(mm, 6);
  for (const i of [0, 1, 2]) store(mm, addr + i * PAGE_SIZE, 1);
  const pinned = pfnAt(mm, addr + PAGE_SIZE);
  const locked = pfnAt(mm, addr + 2 * PAGE_SIZE);
  sys.mem.getPage(pinned);
  sys.mem.trylockPage(locked);
  const migration = new Migration(bench, addr, 6).setup();
  expect(migration.args.cpages).toBe(4);
  expect(migration.src).toEqual(['page MW', '-', '-', 'hole M', 'hole M', 'hole M']);
  migration.finalize();
  putPage(sys, pinned);
  sys.mem.unlockPage(locked);
});

test('a private copy of an object page migrates, the object page itself stays in its cache [F40] [F41]', () => {
  const { sys, mm } = bench;
  const inode = shmemCreate(sys, 2 * PAGE_SIZE);
  if (typeof inode === 'number') throw new Error('shmemCreate');
  const request = { length: 2 * PAGE_SIZE, prot: RW, flags: MAP_PRIVATE, inode };
  const addr = expectSync(doMmap(mm, request));
  shmemPut(inode);
  store(mm, addr, 8);
  load(mm, addr + PAGE_SIZE);
  const migration = new Migration(bench, addr, 2).setup();
  expect(migration.src).toEqual(['page MW', 'page M']);
  migration.supply().pages().finalize();
  expect(migration.reasons).toEqual(['none', 'page-cache page to a device']);
  expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([8, 0]);
});

test('pages freed by their last user while the device works are freed at the end', () => {
  const { sys, mm } = bench;
  const addr = mapFilled(mm, 1);
  const free = sys.pageAllocator.freePages;
  const child = fork(mm);
  const migration = new Migration(bench, addr, 1).setup().supply();
  expect(expectSync(mmput(child))).toBeUndefined();
  migration.pages().finalize();
  expect([migration.reasons, load(mm, addr)]).toEqual([['none'], 1]);
  expect(bench.device.used).toBe(0);
  expect(sys.pageAllocator.freePages).toBe(free);
});
