/* migrate_vma_setup: which pages it collects, and how (hmm-semantics 4). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { migrateVmaFinalize, migrateVmaSetup } from '../../../src/mm/migrate-device.ts';
import { MIGRATE_VMA_SELECT_DEVICE_COHERENT } from '../../../src/mm/migrate-types.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_MIGRATE } from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_YOUNG,
  leafKind,
  mkLeaf,
  mkPte,
} from '../../../src/mm/swapops.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { expectSync, load, mapAnon, mapShared, pteAt, store, watch } from './fixture.ts';
import {
  Migration,
  TO_DEVICE,
  TO_RAM,
  checkAtRest,
  forgePte,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
  withOtherDevice,
} from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

describe('collect', () => {
  /** Collects pages, gives everything back, and says what src[] and the reasons were. */
  function collect(
    addr: number,
    pages: number,
    flags = TO_DEVICE,
  ): { src: string[]; reasons: string[]; cpages: number } {
    const migration = new Migration(bench, addr, pages, flags).setup();
    const { src, reasons } = migration;
    expect(Array.from(migration.args.dst.subarray(0, pages))).toEqual(Array(pages).fill(0));
    expect(migration.args.npages).toBe(pages);
    expect(migration.args.end).toBe(addr + pages * PAGE_SIZE);
    migration.finalize();
    return { src, reasons, cpages: migration.args.cpages };
  }

  const nothing = (reason: string) => ({ src: ['-'], reasons: [reason], cpages: 0 });

  test('a hole in anonymous memory may migrate, with and without a page table [F28]', () => {
    const addr = mapAnon(bench.mm, 2);
    const holes = { src: ['hole M', 'hole M'], reasons: ['none', 'none'], cpages: 2 };
    expect(collect(addr, 2)).toEqual(holes);
    store(bench.mm, addr, 1);
    expect(collect(addr, 2)).toEqual({
      src: ['page MW', 'hole M'],
      reasons: ['none', 'none'],
      cpages: 2,
    });
  });

  test('a hole is offered whatever is selected [F28]', () => {
    const addr = mapAnon(bench.mm, 1);
    const hole = { src: ['hole M'], reasons: ['none'], cpages: 1 };
    for (const flags of [TO_RAM, MIGRATE_VMA_SELECT_DEVICE_COHERENT, 0]) {
      expect(collect(addr, 1, flags)).toEqual(hole);
    }
  });

  test('a hole in shared memory may not, with and without a page table [F30]', () => {
    const addr = mapShared(bench.mm, 2);
    const refused = 'hole in a non-anonymous VMA';
    expect(collect(addr, 2)).toEqual({ src: ['-', '-'], reasons: [refused, refused], cpages: 0 });
    store(bench.mm, addr, 1);
    expect(collect(addr, 2)).toEqual({
      src: ['page MW', '-'],
      reasons: ['none', refused],
      cpages: 1,
    });
  });

  test('the zero page may migrate as a hole, and is left in place [F29]', () => {
    const addr = mapAnon(bench.mm, 1);
    load(bench.mm, addr);
    const before = pteAt(bench.mm, addr);
    const migration = new Migration(bench, addr, 1).setup();
    expect(migration.src).toEqual(['hole M']);
    expect(pteAt(bench.mm, addr)).toBe(before);
    migration.finalize();
    expect(bench.mm.tlbFlushes).toBe(0);
  });

  test('the zero page is not selected without SYSTEM [F29]', () => {
    const addr = mapAnon(bench.mm, 1);
    load(bench.mm, addr);
    expect(collect(addr, 1, TO_RAM)).toEqual(nothing('not selected'));
  });

  test('a present page with SYSTEM, and without [F25]', () => {
    const addr = mapFilled(bench.mm, 1);
    expect(collect(addr, 1)).toEqual({ src: ['page MW'], reasons: ['none'], cpages: 1 });
    expect(collect(addr, 1, TO_RAM)).toEqual(nothing('not selected'));
    const coherent = MIGRATE_VMA_SELECT_DEVICE_COHERENT;
    expect(collect(addr, 1, coherent)).toEqual(nothing('not selected'));
  });

  test('WRITE says whether the mapping was writable [F26]', () => {
    const addr = mapFilled(bench.mm, 2);
    expectSync(doMprotect(bench.mm, addr, PAGE_SIZE, PROT_READ));
    expect(collect(addr, 1).src).toEqual(['page M']);
    expect(collect(addr + PAGE_SIZE, 1).src).toEqual(['page MW']);
  });

  test('a device page with DEVICE_PRIVATE, and without [F25]', () => {
    const addr = mapOnDevice(bench, 1);
    expect(collect(addr, 1, TO_RAM)).toEqual({ src: ['page MW'], reasons: ['none'], cpages: 1 });
    expect(collect(addr, 1)).toEqual(nothing('not selected'));
    expect(collect(addr, 1, TO_RAM | TO_DEVICE).src).toEqual(['page MW']);
  });

  test('a device page of somebody else [F19]', () => {
    const addr = mapOnDevice(bench, 1);
    const migration = new Migration(withOtherDevice(bench), addr, 1, TO_RAM).setup();
    expect([migration.src, migration.reasons]).toEqual([['-'], ['foreign owner']]);
    expect(migration.args.cpages).toBe(0);
    migration.finalize();
  });

  test('I17: a device-private entry of a page that no pagemap has is a bug', () => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkLeaf(LEAF_DEVICE_PRIVATE_READ, 9, 0));
    expectSync(bench.mm.mmapLock.readLock());
    const { args } = new Migration(bench, addr, 1, TO_RAM);
    expect(() => migrateVmaSetup(args)).toThrow('I17');
    bench.mm.mmapLock.readUnlock();
    forgePte(bench.mm, addr, 0);
  });

  test('I12: a mapping that was never counted is not taken away', () => {
    const { mapcount } = bench.sys.mem;
    const addr = mapFilled(bench.mm, 1);
    const pfn = pfnAt(bench.mm, addr);
    mapcount[pfn] = 0;
    expectSync(bench.mm.mmapLock.readLock());
    expect(() => migrateVmaSetup(new Migration(bench, addr, 1).args)).toThrow('I12');
    bench.mm.mmapLock.readUnlock();
    mapcount[pfn] = 1;
    bench.sys.mem.unlockPage(pfn);
    bench.sys.mem.setFlag(pfn, PG_ANON_EXCLUSIVE);
  });

  test.each([
    ['swap', LEAF_SWAP],
    ['device-exclusive', LEAF_DEVICE_EXCLUSIVE],
    ['hwpoison', LEAF_HWPOISON],
    ['poison marker', LEAF_MARKER_POISON],
    ['guard marker', LEAF_MARKER_GUARD],
    ['uffd-wp marker', LEAF_MARKER_UFFD_WP],
  ])('a %s entry is skipped [F39]', (_what, kind) => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkLeaf(kind, 9, 0));
    for (const flags of [TO_DEVICE, TO_RAM]) {
      expect(collect(addr, 1, flags)).toEqual(nothing('not a page'));
    }
    expect(leafKind(pteAt(bench.mm, addr))).toBe(kind);
    forgePte(bench.mm, addr, 0);
  });

  test('a page that is under migration already [F39]', () => {
    const addr = mapFilled(bench.mm, 2);
    const first = new Migration(bench, addr, 1).setup();
    const second = new Migration(bench, addr, 2).setup();
    expect(second.src).toEqual(['-', 'page MW']);
    expect(second.reasons).toEqual(['migration in progress', 'none']);
    expect(second.args.cpages).toBe(1);
    second.finalize();
    first.finalize();
  });

  test('a special page that is not the zero page', () => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkPte(9, PTE_SPECIAL));
    expect(collect(addr, 1)).toEqual(nothing('special'));
    expect(collect(addr, 1, TO_RAM)).toEqual(nothing('not selected'));
    forgePte(bench.mm, addr, 0);
  });

  test.each([
    ['in RAM', TO_DEVICE],
    ['on the device', TO_RAM],
  ])('a page %s that belongs to nothing any more', (where, flags) => {
    const addr = where === 'in RAM' ? mapFilled(bench.mm, 1) : mapOnDevice(bench, 1);
    const { mapping } = bench.sys.mem;
    const pfn = pfnAt(bench.mm, addr);
    const word = mapping[pfn]!;
    mapping[pfn] = 0;
    expect(collect(addr, 1, flags)).toEqual(nothing('no mapping'));
    mapping[pfn] = word;
  });

  test.each([
    ['in RAM', TO_DEVICE],
    ['on the device', TO_RAM],
  ])('a locked page %s is skipped, its neighbour is not [F31]', (where, flags) => {
    const addr = where === 'in RAM' ? mapFilled(bench.mm, 2) : mapOnDevice(bench, 2);
    const pfn = pfnAt(bench.mm, addr);
    const before = pteAt(bench.mm, addr);
    expect(bench.sys.mem.trylockPage(pfn)).toBe(true);
    expect(collect(addr, 2, flags)).toEqual({
      src: ['-', 'page MW'],
      reasons: ['locked', 'none'],
      cpages: 1,
    });
    expect(pteAt(bench.mm, addr)).toBe(before);
    expect(bench.sys.mem.isLocked(pfn)).toBe(true);
    bench.sys.mem.unlockPage(pfn);
  });

  test('an exclusive page that is pinned keeps its mapping [F3] [F34]', () => {
    const addr = mapFilled(bench.mm, 1);
    const pfn = expectSync(pinUserPage(bench.mm, addr));
    const before = pteAt(bench.mm, addr);
    expect(collect(addr, 1)).toEqual(nothing('pinned at collect'));
    expect(pteAt(bench.mm, addr)).toBe(before);
    expect(bench.sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    expect(bench.mm.tlbFlushes).toBe(0);
    unpinUserPage(bench.sys, pfn);
    expect(collect(addr, 1).src).toEqual(['page MW']);
  });

  test('nothing that can migrate is a success with cpages 0 [F24]', () => {
    const addr = mapShared(bench.mm, 3);
    expect(collect(addr, 3).cpages).toBe(0);
  });

  test('dst is zeroed and src filled for every slot, no further [F36]', () => {
    const addr = mapFilled(bench.mm, 2);
    const { args } = new Migration(bench, addr, 4 - 2);
    const src = new Uint32Array(4).fill(7);
    const dst = new Uint32Array(4).fill(7);
    const reasons = new Uint8Array(4).fill(7);
    const longer = { ...args, src, dst, reasons };
    expectSync(bench.mm.mmapLock.readLock());
    expect(migrateVmaSetup(longer)).toBe(0);
    expect([Array.from(dst), Array.from(reasons)]).toEqual([
      [0, 0, 7, 7],
      [0, 0, 7, 7],
    ]);
    expect(Array.from(src.subarray(2))).toEqual([7, 7]);
    migrateVmaFinalize(longer);
    bench.mm.mmapLock.readUnlock();
  });

  test('without reasons everything is the same', () => {
    const addr = mapFilled(bench.mm, 2);
    bench.sys.mem.trylockPage(pfnAt(bench.mm, addr));
    const migration = new Migration(bench, addr, 2);
    const args = { ...migration.args, reasons: null };
    expectSync(bench.mm.mmapLock.readLock());
    expect(migrateVmaSetup(args)).toBe(0);
    expect([args.src[0], args.cpages]).toEqual([0, 1]);
    migrateVmaFinalize(args);
    bench.mm.mmapLock.readUnlock();
    bench.sys.mem.unlockPage(pfnAt(bench.mm, addr));
  });
});

describe('a collected page [F32]', () => {
  test('is locked, unmapped, has the collect reference alone, and still counts as resident [F2] [F9]', () => {
    const { mem } = bench.sys;
    const addr = mapFilled(bench.mm, 1);
    const pfn = pfnAt(bench.mm, addr);
    const migration = new Migration(bench, addr, 1).setup();
    expect(migration.page(0)).toBe(pfn);
    expect(mem.isLocked(pfn)).toBe(true);
    expect([mem.mapcount[pfn], mem.refcount[pfn], bench.mm.anonRss]).toEqual([0, 1, 1]);
    expect(mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
    migration.finalize();
  });

  test.each([
    ['writable', undefined, LEAF_MIGRATION_WRITE],
    ['read-only and exclusive', PROT_READ, LEAF_MIGRATION_READ_EXCLUSIVE],
  ])('%s becomes the migration entry of its kind [F4]', (_what, prot, kind) => {
    const addr = mapFilled(bench.mm, 1);
    if (prot !== undefined) expectSync(doMprotect(bench.mm, addr, PAGE_SIZE, prot));
    const migration = new Migration(bench, addr, 1).setup();
    expect(leafKind(pteAt(bench.mm, addr))).toBe(kind);
    expect(pfnAt(bench.mm, addr)).toBe(migration.page(0));
    migration.finalize();
  });

  test('read-only and not exclusive becomes MIGRATION_READ [F4]', () => {
    const addr = mapFilled(bench.mm, 1);
    bench.sys.mem.clearFlag(pfnAt(bench.mm, addr), PG_ANON_EXCLUSIVE);
    expectSync(doMprotect(bench.mm, addr, PAGE_SIZE, PROT_READ));
    const migration = new Migration(bench, addr, 1).setup();
    expect(leafKind(pteAt(bench.mm, addr))).toBe(LEAF_MIGRATION_READ);
    migration.finalize();
    expect(bench.sys.mem.testFlag(pfnAt(bench.mm, addr), PG_ANON_EXCLUSIVE)).toBe(false);
  });

  test('young, dirty, soft-dirty and uffd-wp of a present entry are carried [F8]', () => {
    const addr = mapFilled(bench.mm, 2);
    const all = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
    const pfns = [pfnAt(bench.mm, addr), pfnAt(bench.mm, addr + PAGE_SIZE)];
    forgePte(bench.mm, addr, mkPte(pfns[0]!, all));
    forgePte(bench.mm, addr + PAGE_SIZE, mkPte(pfns[1]!, 0));
    bench.sys.mem.clearFlag(pfns[1]!, PG_DIRTY);
    const migration = new Migration(bench, addr, 2).setup();
    expect(pteAt(bench.mm, addr) & all).toBe(all);
    expect(pteAt(bench.mm, addr + PAGE_SIZE) & all).toBe(0);
    expect(bench.sys.mem.testFlag(pfns[0]!, PG_DIRTY)).toBe(true);
    expect(bench.sys.mem.testFlag(pfns[1]!, PG_DIRTY)).toBe(false);
    migration.finalize();
    expect(pteAt(bench.mm, addr) & all).toBe(all);
    expect(pteAt(bench.mm, addr + PAGE_SIZE) & all).toBe(0);
  });

  test('of a device-private entry only soft-dirty and uffd-wp are [F8]', () => {
    const addr = mapOnDevice(bench, 1);
    const all = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
    forgePte(bench.mm, addr, (pteAt(bench.mm, addr) | all) >>> 0);
    const migration = new Migration(bench, addr, 1, TO_RAM).setup();
    expect(pteAt(bench.mm, addr) & all).toBe(PTE_SOFT_DIRTY | PTE_UFFD_WP);
    migration.finalize();
  });

  test('one TLB flush per page table, for its present entries [F10]', () => {
    const pages = PMD_SIZE / PAGE_SIZE;
    const { mm } = bench;
    const addr = mapAnon(mm, 2 * pages);
    const border = addr - (addr % PMD_SIZE) + PMD_SIZE;
    for (let i = -3; i < 2; i++) store(mm, border + i * PAGE_SIZE, 1);
    const before = [mm.tlbFlushes, mm.tlbFlushedPages] as const;
    const migration = new Migration(bench, border - 4 * PAGE_SIZE, 8).setup();
    expect(migration.args.cpages).toBe(8);
    expect([mm.tlbFlushes - before[0], mm.tlbFlushedPages - before[1]]).toEqual([2, 5]);
    migration.finalize();
  });

  test('none when nothing present was unmapped [F10]', () => {
    const addr = mapOnDevice(bench, 2);
    const before = bench.mm.tlbFlushes;
    new Migration(bench, addr, 2, TO_RAM).setup().finalize();
    expect(bench.mm.tlbFlushes).toBe(before);
  });
});

describe('the notifier [F37]', () => {
  test('gets one MIGRATE over the range, before any entry changes', () => {
    const addr = mapFilled(bench.mm, 3);
    const before = pteAt(bench.mm, addr);
    const seen = watch(bench.mm, addr);
    new Migration(bench, addr, 3).setup().finalize();
    expect(seen).toEqual([{ event: MMU_NOTIFY_MIGRATE, from: 0, pages: 3, pteBefore: before }]);
  });

  test('gets it when nothing can migrate, too, and none for bad arguments', () => {
    const addr = mapShared(bench.mm, 1);
    const seen = watch(bench.mm, addr);
    new Migration(bench, addr, 1).setup().finalize();
    expect(seen.length).toBe(1);
    const { args } = new Migration(bench, addr, 1);
    args.end = args.start;
    expect(migrateVmaSetup(args)).toBe(errno.EINVAL);
    expect(seen.length).toBe(1);
  });
});
