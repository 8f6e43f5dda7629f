/* Filling holes: migrate_vma_insert_page (hmm-semantics 7.1). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import {
  MIGRATE_PFN_MIGRATE,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_MIGRATE } from '../../../src/mm/mmu-notifier.ts';
import { allocPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU, PG_UPTODATE } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_SOFT_DIRTY,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
} from '../../../src/mm/swapops.ts';
import { load, mapAnon, mapShared, pteAt, RW, store, watch } from './fixture.ts';
import { Migration, checkAtRest, makeBench, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { MISSING, UffdRig, WP } from './uffd-rig.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

/** A locked RAM page as destination for a slot. */
function ramPage(): number {
  const pfn = allocPage(bench.sys);
  expect(bench.sys.mem.trylockPage(pfn)).toBe(true);
  return pfn;
}

describe('filling a hole [F46]', () => {
  test.each([
    ['in a writable VMA: WRITE', RW, LEAF_DEVICE_PRIVATE_WRITE],
    ['in a read-only VMA: READ', PROT_READ, LEAF_DEVICE_PRIVATE_READ],
  ])('%s, exclusive, resident [F9]', (_what, prot, kind) => {
    const { sys, mm } = bench;
    const addr = mapAnon(mm, 1, prot);
    const migration = new Migration(bench, addr, 1).setup().supply().pages();
    const target = migratePfnToPage(migration.args.dst[0]!);
    expect(migration.src).toEqual(['hole M']);
    expect(sys.mem.refcount[target]).toBe(2);
    migration.finalize();
    expect([leafKind(pteAt(mm, addr)), pfnAt(mm, addr)]).toEqual([kind, target]);
    expect(sys.mem.testFlag(target, PG_ANON_EXCLUSIVE | PG_UPTODATE)).toBe(true);
    expect([sys.mem.refcount[target], sys.mem.mapcount[target], mm.anonRss]).toEqual([1, 1, 1]);
    expect(load(mm, addr)).toBe(0);
  });

  test.each([
    ['writable', RW, PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY],
    ['read-only', PROT_READ, 0],
  ])('with a RAM page in a %s VMA', (_what, prot, flags) => {
    const { sys, mm } = bench;
    const addr = mapAnon(mm, 1, prot);
    const migration = new Migration(bench, addr, 1).setup();
    const target = ramPage();
    sys.ram.fill(0, target * PAGE_SIZE, (target + 1) * PAGE_SIZE);
    migration.args.dst[0] = migratePfn(target);
    migration.pages().finalize();
    expect(pteAt(mm, addr) & 0x1ff).toBe(PTE_PRESENT | PTE_YOUNG | flags);
    expect([pfnAt(mm, addr), sys.mem.testFlag(target, PG_LRU)]).toEqual([target, true]);
  });

  test('replaces the zero page, with one flush for all of them [F29]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 3);
    for (const i of [0, 2]) load(mm, addr + i * PAGE_SIZE);
    const before = [mm.tlbFlushes, mm.tlbFlushedPages] as const;
    const migration = new Migration(bench, addr, 3).run();
    expect(migration.reasons).toEqual(['none', 'none', 'none']);
    expect([mm.tlbFlushes - before[0], mm.tlbFlushedPages - before[1]]).toEqual([1, 2]);
    expect([mm.anonRss, bench.device.used]).toEqual([3, 3]);
    expect(load(mm, addr)).toBe(0);
  });

  test('plain holes need no flush', () => {
    const { mm } = bench;
    new Migration(bench, mapAnon(mm, 3), 3).run();
    expect(mm.tlbFlushes).toBe(0);
  });

  test('opens MIGRATE from the first filled hole to the end of the range, once', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 5);
    store(mm, addr, 1);
    const migration = new Migration(bench, addr, 5).setup().supply([0, 2, 4]);
    const seen = watch(mm, addr);
    migration.pages();
    expect(seen).toEqual([{ event: MMU_NOTIFY_MIGRATE, from: 2, pages: 3, pteBefore: 0 }]);
    expect(mm.notifierSubscriptions?.isInvalidating).toBe(false);
    migration.finalize();
    expect(seen.length).toBe(1);
  });

  test('no hole is filled: no event', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 2);
    store(mm, addr, 1);
    const migration = new Migration(bench, addr, 2).setup().supply([0]);
    const seen = watch(mm, addr);
    migration.pages().finalize();
    expect(seen).toEqual([]);
  });

  test('in several page tables, the first of which is missing', () => {
    const { mm } = bench;
    const big = mapAnon(mm, (2 * PMD_SIZE) / PAGE_SIZE);
    const border = big - (big % PMD_SIZE) + PMD_SIZE;
    store(mm, border + 3 * PAGE_SIZE, 9);
    const addr = border - 3 * PAGE_SIZE;
    const migration = new Migration(bench, addr, 7).run();
    expect(migration.reasons).toEqual(Array(7).fill('none'));
    expect(load(mm, border + 3 * PAGE_SIZE)).toBe(9);
    expect(bench.device.used).toBe(6);
  });

  test('a hole in shared memory that a driver offers by itself is refused', () => {
    const { mm } = bench;
    const addr = mapShared(mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    migration.args.src[0] = MIGRATE_PFN_MIGRATE;
    migration.supply().pages();
    expect(migration.reasons).toEqual(['hole in a non-anonymous VMA']);
    migration.finalize();
    expect([pteAt(mm, addr), bench.device.used]).toEqual([0, 0]);
  });

  test('the CPU wrote there first: its page stays, the destination is freed [F47]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 2);
    const migration = new Migration(bench, addr, 2).setup().supply();
    store(mm, addr, 42);
    migration.pages();
    expect(migration.src).toEqual(['-', 'hole M']);
    expect(migration.reasons).toEqual(['hole raced', 'none']);
    migration.finalize();
    expect([load(mm, addr), bench.device.used, mm.anonRss]).toEqual([42, 1, 2]);
  });

  test('the CPU read there first: the zero page is replaced all the same [F47]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    load(mm, addr);
    migration.pages().finalize();
    expect([migration.reasons, bench.device.used]).toEqual([['none'], 1]);
  });

  test('a zero page that was written meanwhile is kept [F47]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 1);
    load(mm, addr);
    const migration = new Migration(bench, addr, 1).setup().supply();
    store(mm, addr, 7);
    migration.pages().finalize();
    expect([migration.reasons, load(mm, addr)]).toEqual([['hole raced'], 7]);
    expect(bench.device.used).toBe(0);
  });

  test('another migration filled it first [F47]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 1);
    const [first, second] = [new Migration(bench, addr, 1), new Migration(bench, addr, 1)];
    first.setup().supply();
    second.setup().supply().pages().finalize();
    first.pages().finalize();
    expect([first.reasons, second.reasons]).toEqual([['hole raced'], ['none']]);
    expect(bench.device.used).toBe(1);
  });

  test('no page table for it: the hole stays', () => {
    const { sys, mm } = bench;
    const addr = mapAnon(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    sys.pageTables.failAllocations = 1;
    migration.pages();
    expect([migration.src, migration.reasons]).toEqual([['-'], ['no memory']]);
    migration.finalize();
    expect([pteAt(mm, addr), bench.device.used, mm.anonRss]).toEqual([0, 0, 0]);
  });

  test('a userfaultfd serves missing pages there: the hole is its business [F48]', () => {
    const { mm } = bench;
    const rig = new UffdRig(mm);
    const addr = mapAnon(mm, 2);
    load(mm, addr + PAGE_SIZE);
    rig.register(addr, 2, MISSING);
    const migration = new Migration(bench, addr, 2).run();
    expect(migration.reasons).toEqual(['userfaultfd', 'userfaultfd']);
    expect([pteAt(mm, addr), bench.device.used, mm.anonRss]).toEqual([0, 0, 0]);
    expect(load(mm, addr + PAGE_SIZE)).toBe(0);
    expect(rig.ctx.isReadable).toBe(false);
  });

  test('one that serves writes only has nothing against it; nor for pages that exist [F48]', () => {
    const { mm } = bench;
    const rig = new UffdRig(mm);
    const addr = mapAnon(mm, 2);
    store(mm, addr, 1);
    rig.register(addr, 1, MISSING);
    rig.register(addr + PAGE_SIZE, 1, WP);
    for (const page of [0, 1]) {
      const migration = new Migration(bench, addr + page * PAGE_SIZE, 1).run();
      expect(migration.reasons).toEqual(['none']);
    }
    expect(bench.device.used).toBe(2);
  });

  test('the OOM reaper was there: what is missing may have been a page [F48]', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 1);
    mm.isUnstable = true;
    expect(new Migration(bench, addr, 1).run().reasons).toEqual(['address space was reaped']);
    mm.isUnstable = false;
    expect(new Migration(bench, addr, 1).run().reasons).toEqual(['none']);
  });
});
