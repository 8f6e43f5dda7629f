/* Soft-dirty: cleared, set again by writes, and carried along (hmm-semantics 12, 15). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import {
  CLEAR_REFS_ALL,
  CLEAR_REFS_ANON,
  CLEAR_REFS_MAPPED,
  CLEAR_REFS_SOFT_DIRTY,
  clearRefs,
} from '../../../src/mm/clear-refs.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MADV_HUGEPAGE, doMadvise } from '../../../src/mm/madvise.ts';
import { MAP_PRIVATE, PROT_READ, VM_SOFTDIRTY } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_SOFT_DIRTY } from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, doMremap } from '../../../src/mm/mremap.ts';
import { removeMigrationPtes } from '../../../src/mm/migrate.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { PG_DIRTY, PG_REFERENCED } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_SOFT_DIRTY,
  PTE_WRITE,
  PTE_YOUNG,
  isPmdLeaf,
  leafKind,
} from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
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

function clear(type = CLEAR_REFS_SOFT_DIRTY): void {
  expect(expectSync(clearRefs(bench.mm, type))).toBe(0);
}

/** For each page: S for soft-dirty, w for writable. */
function bits(addr: number, pages: number): string[] {
  const entries = Array.from({ length: pages }, (_, i) => pteAt(bench.mm, addr + i * PAGE_SIZE));
  return entries.map((pte) => {
    const soft = (pte & PTE_SOFT_DIRTY) === 0 ? '' : 'S';
    return (pte & PTE_WRITE) === 0 ? soft : `${soft}w`;
  });
}

describe('the call', () => {
  test.each([0, 5, 1.5, -1, Number.NaN])('type %s is EINVAL', (type) => {
    expect(expectSync(clearRefs(bench.mm, type))).toBe(errno.EINVAL);
  });

  test('sends one SOFT_DIRTY event over all addresses, and flushes once [F92]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 3);
    const seen = watch(mm, 0);
    const [flushes, flushed] = [mm.tlbFlushes, mm.tlbFlushedPages];
    clear();
    expect(seen.map(({ event, from }) => [event, from])).toEqual([[MMU_NOTIFY_SOFT_DIRTY, 0]]);
    expect(seen[0]!.pages).toBeGreaterThan(2 ** 35);
    expect([mm.tlbFlushes - flushes, mm.tlbFlushedPages - flushed]).toEqual([1, 3]);
    expect(load(mm, addr)).toBe(1);
  });

  test('clearing accessed bits leaves soft-dirty alone, and sends nothing', () => {
    const { mm, sys } = bench;
    const [anon, shared] = [mapFilled(mm, 1), mapShared(mm, 1)];
    store(mm, shared, 1);
    sys.mem.setFlag(pfnAt(mm, anon), PG_REFERENCED);
    const seen = watch(mm, 0);
    clear(CLEAR_REFS_MAPPED);
    expect([anon, shared].map((addr) => pteAt(mm, addr) & PTE_YOUNG)).toEqual([PTE_YOUNG, 0]);
    store(mm, shared, 1);
    clear(CLEAR_REFS_ANON);
    expect([anon, shared].map((addr) => pteAt(mm, addr) & PTE_YOUNG)).toEqual([0, PTE_YOUNG]);
    expect(sys.mem.testFlag(pfnAt(mm, anon), PG_REFERENCED)).toBe(false);
    clear(CLEAR_REFS_ALL);
    expect(pteAt(mm, shared) & PTE_YOUNG).toBe(0);
    expect([bits(anon, 1), bits(shared, 1)]).toEqual([['Sw'], ['Sw']]);
    expect(seen).toEqual([]);
  });
});

describe('after soft-dirty was cleared', () => {
  test('the first write to a page faults, and notes it; reads do not', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 3);
    clear();
    expect(bits(addr, 3)).toEqual(['', '', '']);
    const faults = sys.vmstat.read('wp_fault');
    store(mm, addr + PAGE_SIZE, 9);
    store(mm, addr + PAGE_SIZE, 8);
    load(mm, addr);
    expect(bits(addr, 3)).toEqual(['', 'Sw', '']);
    expect(sys.vmstat.read('wp_fault') - faults).toBe(1);
  });

  test('shared memory is noted too, also pages that are read first', () => {
    const { mm } = bench;
    const addr = mapShared(mm, 3);
    store(mm, addr, 1);
    clear();
    expect(bits(addr, 1)).toEqual(['']);
    load(mm, addr + PAGE_SIZE);
    expect(bits(addr, 2)).toEqual(['', '']);
    for (let i = 0; i < 3; i++) store(mm, addr + i * PAGE_SIZE, 7);
    expect(bits(addr, 3)).toEqual(['Sw', 'Sw', 'Sw']);
  });

  test('mprotect does not give write permission to a clean page, but to a noted one', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    clear();
    store(mm, addr, 9);
    expectSync(doMprotect(mm, addr, 2 * PAGE_SIZE, PROT_READ));
    expectSync(doMprotect(mm, addr, 2 * PAGE_SIZE, RW));
    expect(bits(addr, 2)).toEqual(['Sw', '']);
  });

  test('a pinned page stays writable and soft-dirty', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const pfn = expectSync(pinUserPage(mm, addr));
    clear();
    expect(bits(addr, 1)).toEqual(['Sw']);
    unpinUserPage(sys, pfn);
    clear();
    expect(bits(addr, 1)).toEqual(['']);
  });

  test('new mappings count as written, and one that merges with them does', () => {
    const { mm } = bench;
    const low = mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 40);
    clear();
    expect(vmaLookup(mm, low)!.vmFlags & VM_SOFTDIRTY).toBe(0);
    mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 40 + PAGE_SIZE);
    expect(mm.vmas).toHaveLength(1);
    expect(vmaLookup(mm, low)!.vmFlags & VM_SOFTDIRTY).toBe(VM_SOFTDIRTY);
  });

  test('a moved page counts as written', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    clear();
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    expectSync(doMremap(mm, addr, PAGE_SIZE, PAGE_SIZE, flags, 2 ** 40));
    expect(bits(2 ** 40, 1)).toEqual(['S']);
  });

  test('a large folio is noted as a whole', () => {
    bench = makeBench(4 * HPAGE_PMD_NR);
    const { mm, sys } = bench;
    mapAnon(mm, HPAGE_PMD_NR, RW, MAP_PRIVATE, 2 ** 40);
    expectSync(doMadvise(mm, 2 ** 40, PMD_SIZE, MADV_HUGEPAGE));
    store(mm, 2 ** 40, 1);
    const at = sys.pageTables.pmdOffset(mm.pgd, 2 ** 40);
    const flushed = mm.tlbFlushedPages;
    clear();
    expect(mm.tlbFlushedPages - flushed).toBe(HPAGE_PMD_NR);
    expect(isPmdLeaf(sys.pageTables.words[at]!)).toBe(true);
    expect(sys.pageTables.words[at]! & (PTE_SOFT_DIRTY | PTE_WRITE)).toBe(0);
    store(mm, 2 ** 40 + PAGE_SIZE, 2);
    expect(sys.pageTables.words[at]! & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    expect([load(mm, 2 ** 40), load(mm, 2 ** 40 + PAGE_SIZE)]).toEqual([1, 2]);
  });
});

describe('soft-dirty and migration', () => {
  test('goes to the device and comes home with the page, set or not [F8]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    clear();
    store(mm, addr, 9);
    new Migration(bench, addr, 2).run();
    const there = [0, 1].map((i) => pteAt(mm, addr + i * PAGE_SIZE));
    expect(there.map((pte) => pte & PTE_SOFT_DIRTY)).toEqual([PTE_SOFT_DIRTY, 0]);
    new Migration(bench, addr, 2, TO_RAM).run();
    expect(bits(addr, 2)).toEqual(['Sw', '']);
    // Both pages are dirty all the same.
    for (let i = 0; i < 2; i++) {
      expect(bench.sys.mem.testFlag(pfnAt(mm, addr + i * PAGE_SIZE), PG_DIRTY)).toBe(true);
    }
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([9, 2]);
  });

  test('is cleared in device entries, which stay writable [F8]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    expect(pteAt(mm, addr) & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    const flushes = mm.tlbFlushes;
    clear();
    expect(pteAt(mm, addr) & PTE_SOFT_DIRTY).toBe(0);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
    expect(mm.tlbFlushes).toBe(flushes);
  });

  test('is cleared in migration entries, and stays so [F8]', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    expect(sys.mem.trylockPage(pfn) && tryToMigrate(sys, pfn)).toBe(true);
    expect(pteAt(mm, addr) & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    clear();
    expect(pteAt(mm, addr) & PTE_SOFT_DIRTY).toBe(0);
    removeMigrationPtes(sys, pfn, pfn);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    expect(pteAt(mm, addr) & PTE_SOFT_DIRTY).toBe(0);
    expect(load(mm, addr)).toBe(1);
  });
});
