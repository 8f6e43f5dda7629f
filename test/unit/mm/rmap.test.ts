import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY } from '../../../src/mm/page.ts';
import {
  AnonVma,
  RmapHits,
  folioAddAnonRmap,
  folioAddFileRmap,
  folioAddNewAnonRmap,
  folioMoveAnonRmap,
  folioRemoveRmap,
  rmapWalk,
} from '../../../src/mm/rmap.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  mkLeaf,
  mkPte,
  ptePfn,
} from '../../../src/mm/swapops.ts';
import { migrationEntryFor } from '../../../src/mm/try-to-migrate.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants, findProblems } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  makeMm,
  makeSystem,
  mapAnon,
  mapShared,
  pteAt,
  store,
  watch,
} from './fixture.ts';
import { TinyDevice } from './tiny-device.ts';

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

/** Where the page is found mapped, as [mm id, address]. */
function places(sys: System, pfn: number): number[][] {
  const hits = new RmapHits();
  rmapWalk(sys, pfn, hits);
  const found: number[][] = [];
  for (let i = 0; i < hits.length; i++) {
    if (ptePfn(sys.pageTables.words[hits.ptes[i]!]!) !== pfn) continue;
    found.push([hits.vmas[i]!.mm.id, hits.addrs[i]!]);
  }
  return found.toSorted((a, b) => a[0]! - b[0]! || a[1]! - b[1]!);
}

describe('the reverse map [F5]', () => {
  test('finds a private page in its only place', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 4);
    store(mm, base + 2 * PAGE_SIZE, 1);
    const pfn = ptePfn(pteAt(mm, base + 2 * PAGE_SIZE));
    expect(places(sys, pfn)).toEqual([[mm.id, base + 2 * PAGE_SIZE]]);
  });

  test('still finds pages after their VMA was split and merged again', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 8);
    for (let i = 0; i < 8; i++) store(mm, base + i * PAGE_SIZE, i);
    expectSync(doMprotect(mm, base + 3 * PAGE_SIZE, PAGE_SIZE, 1));
    expect(mm.vmas.length).toBe(3);
    checkInvariants(sys);
    expectSync(doMprotect(mm, base + 3 * PAGE_SIZE, PAGE_SIZE, RW));
    expect(mm.vmas.length).toBe(1);
    checkInvariants(sys);
  });

  test('finds a page in every process that shares it after fork, and only there', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    const shared = ptePfn(pteAt(mm, base));
    const child = fork(mm);
    const grandchild = fork(child);
    expect(places(sys, shared)).toEqual([mm, child, grandchild].map((one) => [one.id, base]));
    // A page that the child made later is the child's and the grandchild's business alone.
    store(child, base + PAGE_SIZE, 2);
    const own = ptePfn(pteAt(child, base + PAGE_SIZE));
    expect(places(sys, own)).toEqual([[child.id, base + PAGE_SIZE]]);
    checkInvariants(sys);
  });

  test('does not look into VMAs of the parent for pages of the child', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const child = fork(mm);
    store(child, base, 2);
    const hits = new RmapHits();
    rmapWalk(sys, ptePfn(pteAt(child, base)), hits);
    expect(hits.length).toBe(1);
  });

  test('finds a shared page at two addresses of one process and in its child', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapShared(mm, 1);
    store(mm, base, 5);
    const child = fork(mm);
    expect(load(child, base)).toBe(5);
    expect(places(sys, ptePfn(pteAt(mm, base)))).toEqual([
      [mm.id, base],
      [child.id, base],
    ]);
  });

  test('does not find a page beyond the end of a VMA that could reach its index', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapShared(mm, 4);
    expectSync(doMprotect(mm, base, 2 * PAGE_SIZE, PROT_READ));
    expect(mm.vmas.length).toBe(2);
    store(mm, base + 2 * PAGE_SIZE, 1);
    const hits = new RmapHits();
    rmapWalk(sys, ptePfn(pteAt(mm, base + 2 * PAGE_SIZE)), hits);
    expect(hits.length).toBe(1);
  });

  test('a walk in a VMA that was cut up starts near the page', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 64);
    store(mm, base, 1);
    for (let i = 1; i < 64; i += 2) {
      expectSync(doMprotect(mm, base + i * PAGE_SIZE, PAGE_SIZE, PROT_READ));
    }
    const { intervals } = mm.vmas[0]!.anonVma!;
    expect(intervals.vmas.length).toBe(64);
    expect(intervals.firstCandidate(base / PAGE_SIZE + 60)).toBe(60);
  });

  test.each([
    ['below', 0, 1],
    ['above', 1, 0],
  ])(
    'a VMA without pages that merges with the one %s takes over its anon_vma',
    (_n, bare, full) => {
      const sys = makeSystem();
      const mm = makeMm(sys);
      const base = mapAnon(mm, 2);
      expectSync(doMprotect(mm, base + bare * PAGE_SIZE, PAGE_SIZE, PROT_READ));
      store(mm, base + full * PAGE_SIZE, 1);
      expect(mm.vmas.map((vma) => vma.anonVma !== null)).toEqual([full === 0, full === 1]);
      expectSync(doMprotect(mm, base + bare * PAGE_SIZE, PAGE_SIZE, RW));
      expect(mm.vmas.length).toBe(1);
      checkInvariants(sys);
    },
  );

  test('VMAs that have inherited different pages do not merge', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 2);
    expectSync(doMprotect(mm, base, PAGE_SIZE, PROT_READ));
    const child = fork(mm);
    expectSync(mmput(mm));
    // A page that hangs on the anon_vma of the child's second VMA alone.
    store(child, base + PAGE_SIZE, 3);
    const grandchild = fork(child);
    const owners = grandchild.vmas.map((vma) => vma.anonVma?.id);
    expect(owners[0]).not.toBe(owners[1]);
    expectSync(doMprotect(grandchild, base, PAGE_SIZE, RW));
    expect(grandchild.vmas.length).toBe(2);
    checkInvariants(sys);
  });

  test('I22: VMAs that share an anon_vma have one chain', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    expectSync(doMprotect(mm, base, PAGE_SIZE, PROT_READ));
    mm.vmas[1]!.anonVmaChain.push(new AnonVma(99));
    mm.vmas[1]!.anonVmaChain[1]!.intervals.insert(mm.vmas[1]!);
    expect(() => doMprotect(mm, base, PAGE_SIZE, RW)).toThrow('I22');
  });

  test('chains stay short over many generations', () => {
    const sys = makeSystem();
    let mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    for (let generation = 0; generation < 20; generation++) {
      const child = fork(mm);
      expectSync(mmput(mm));
      store(child, base, generation);
      mm = child;
      expect(mm.vmas[0]!.anonVmaChain.length).toBeLessThanOrEqual(2);
    }
    expect(sys.anonVmas.length).toBeLessThanOrEqual(4);
    checkInvariants(sys);
  });

  test('anon_vma numbers are reused', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    for (let round = 0; round < 5; round++) {
      const base = mapAnon(mm, 1);
      store(mm, base, 1);
      expectSync(doMunmap(mm, base, PAGE_SIZE));
    }
    expect(sys.anonVmas.map((one) => one === null)).toEqual([true, true]);
  });

  test('a page written by its last user moves to the anon_vma of that user', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const child = fork(mm);
    const pfn = ptePfn(pteAt(mm, base));
    const before = sys.mem.mapping[pfn];
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    store(child, base, 2);
    expect(ptePfn(pteAt(child, base))).toBe(pfn);
    expect(sys.mem.mapping[pfn]).not.toBe(before);
    checkInvariants(sys);
  });
});

describe('the migration entry for a mapping [F4] [F8]', () => {
  const all = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
  test.each([
    ['present writable', mkPte(9, PTE_WRITE | all), true, LEAF_MIGRATION_WRITE, all],
    ['present read-only, exclusive', mkPte(9, all), true, LEAF_MIGRATION_READ_EXCLUSIVE, all],
    ['present read-only, shared', mkPte(9, all), false, LEAF_MIGRATION_READ, all],
    ['present clean and old', mkPte(9, PTE_WRITE), true, LEAF_MIGRATION_WRITE, 0],
    [
      'device-private write',
      mkLeaf(LEAF_DEVICE_PRIVATE_WRITE, 9, PTE_SOFT_DIRTY | PTE_UFFD_WP),
      true,
      LEAF_MIGRATION_WRITE,
      PTE_SOFT_DIRTY | PTE_UFFD_WP,
    ],
    [
      'device-private read, exclusive',
      mkLeaf(LEAF_DEVICE_PRIVATE_READ, 9, 0),
      true,
      LEAF_MIGRATION_READ_EXCLUSIVE,
      0,
    ],
    [
      'device-private read, shared',
      mkLeaf(LEAF_DEVICE_PRIVATE_READ, 9, 0),
      false,
      LEAF_MIGRATION_READ,
      0,
    ],
  ])('%s', (_name, pte, exclusive, kind, carried) => {
    expect(migrationEntryFor(pte, exclusive)).toBe(mkLeaf(kind, 9, carried));
  });
});

describe('tryToMigrate [F33]', () => {
  test('replaces every mapping in every process and drops their references', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const child = fork(mm);
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    expect(tryToMigrate(sys, pfn)).toBe(true);
    expect([sys.mem.mapcount[pfn], sys.mem.refcount[pfn]]).toEqual([0, 1]);
    expect([mm, child].map((one) => leafKind(pteAt(one, base)))).toEqual([
      LEAF_MIGRATION_READ,
      LEAF_MIGRATION_READ,
    ]);
    // Resident still, as in Linux; and each process was flushed once.
    expect([mm.anonRss, child.anonRss]).toEqual([1, 1]);
    expect([mm.tlbFlushedPages, child.tlbFlushedPages]).toEqual([2, 1]);
    expect(sys.mem.testFlag(pfn, PG_DIRTY)).toBe(true);
  });

  test('tells every process that maps the page CLEAR, before its entry changes, no other', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const child = fork(mm);
    const stranger = fork(mm);
    store(stranger, base, 2);
    const pfn = ptePfn(pteAt(mm, base));
    const before = [mm, child].map((one) => pteAt(one, base));
    const seen = [mm, child, stranger].map((one) => watch(one, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    tryToMigrate(sys, pfn);
    const clear = { event: MMU_NOTIFY_CLEAR, from: 0, pages: 1 };
    expect(seen).toEqual([
      [{ ...clear, pteBefore: before[0] }],
      [{ ...clear, pteBefore: before[1] }],
      [],
    ]);
  });

  test('a device-private mapping is replaced without a TLB flush [F10]', () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(device.migrateIn(mm, base)).toBe(1);
    const pfn = ptePfn(pteAt(mm, base));
    const flushes = mm.tlbFlushes;
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    expect(tryToMigrate(sys, pfn)).toBe(true);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_MIGRATION_WRITE);
    expect(mm.tlbFlushes).toBe(flushes);
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
  });

  test('leaves a pinned exclusive page mapped', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.refcount[pfn]! += 1024;
    sys.mem.trylockPage(pfn);
    const pte = pteAt(mm, base);
    expect(tryToMigrate(sys, pfn)).toBe(false);
    expect(pteAt(mm, base)).toBe(pte);
    sys.mem.unlockPage(pfn);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
  });

  test('I14: the page must be locked', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(() => tryToMigrate(sys, ptePfn(pteAt(mm, base)))).toThrow('I14');
  });
});

describe('what the reverse map insists on', () => {
  function mapped() {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    const vma = vmaLookup(mm, base);
    if (vma === null) throw new Error('no VMA');
    return { sys, mm, base, vma, pfn: ptePfn(pteAt(mm, base)) };
  }

  test('I11: a page is added where its index says', () => {
    const { sys, base, vma, pfn } = mapped();
    expect(() => folioAddAnonRmap(sys, pfn, vma, base + PAGE_SIZE, false)).toThrow('I11');
  });

  test('I11: a VMA without anon_vma gets no anonymous page', () => {
    const { sys, mm } = mapped();
    const other = mapAnon(mm, 1, 1);
    const vma = vmaLookup(mm, other)!;
    const fresh = allocPage(sys);
    expect(() => folioAddNewAnonRmap(sys, fresh, vma, other)).toThrow('I11');
    expect(() => folioMoveAnonRmap(sys, fresh, vma)).toThrow('I11');
    expect(() => folioAddAnonRmap(sys, fresh, vma, other, true)).toThrow('I11');
  });

  test('I11: an anonymous page is no page-cache page', () => {
    const { sys, pfn } = mapped();
    expect(() => folioAddFileRmap(sys, pfn)).toThrow('I11');
  });

  test('I12: a fresh page has no mapping, a removed mapping was counted', () => {
    const { sys, base, vma, pfn } = mapped();
    expect(() => folioAddNewAnonRmap(sys, pfn, vma, base)).toThrow('I12');
    folioRemoveRmap(sys, pfn);
    expect(() => folioRemoveRmap(sys, pfn)).toThrow('I12');
  });

  test('I13: an exclusive page is mapped once', () => {
    const { sys, base, vma, pfn } = mapped();
    expect(() => folioAddAnonRmap(sys, pfn, vma, base, false)).toThrow('I13');
    sys.mem.clearFlag(pfn, PG_ANON_EXCLUSIVE);
    expect(() => folioMoveAnonRmap(sys, pfn, vma)).toThrow('I13');
  });

  test('C13: the checker misses a place that the walk does not find', () => {
    const { sys, vma } = mapped();
    vma.anonVma!.intervals.remove(vma);
    expect(findProblems(sys).join()).toContain('C13');
  });

  test('C1 and I12: the checker sees an entry that was never counted', () => {
    const { sys, mm, base, pfn } = mapped();
    sys.pageTables.setPte(sys.pageTables.pteOffset(mm.pgd, base + PAGE_SIZE), mkPte(pfn, 0));
    const problems = findProblems(sys).join();
    expect(problems).toContain('I12');
    expect(problems).toContain('C1');
    expect(problems).toContain('I11');
  });

  test('putting the last reference of a mapped page is caught', () => {
    const { sys, pfn } = mapped();
    expect(() => putPage(sys, pfn)).toThrow('I7');
  });
});
