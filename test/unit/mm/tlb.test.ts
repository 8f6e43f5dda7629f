import { describe, expect, test, vi } from 'vitest';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { ptePfn, ptePresent } from '../../../src/mm/swapops.ts';
import { addTlbListener, flushTlbRange, removeTlbListener } from '../../../src/mm/tlb.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';
import {
  Migration,
  TO_RAM,
  makeBench,
  makeCoherentBench,
  mapFilled,
  mapOnDevice,
} from './migration.ts';

interface Flush {
  readonly first: number;
  readonly pages: number;
  /** What the page table and the page say while the flush runs. */
  readonly present: boolean;
  readonly references: number;
}

/** Notes every flush of an address space, relative to the page at `base`, and the page there. */
function listen(mm: MmStruct, base: number): Flush[] {
  const flushes: Flush[] = [];
  const pfn = ptePfn(pteAt(mm, base));
  addTlbListener(mm, {
    flush: (_mm, start, end) => {
      const references = mm.sys.mem.refcount[pfn]!;
      const first = (start - base) / PAGE_SIZE;
      const pages = (end - start) / PAGE_SIZE;
      flushes.push({ first, pages, present: ptePresent(pteAt(mm, base)), references });
      return true;
    },
  });
  return flushes;
}

/** The entries that other threads see with all that was written before. */
function published({ pageTables }: System, change: () => void): number[] {
  pageTables.isShared = true;
  const store = vi.spyOn(Atomics, 'store');
  change();
  const calls = store.mock.calls.filter(([words]) => Object.is(words, pageTables.words));
  store.mockRestore();
  return calls.map(([, , entry]) => Number(entry) >>> 0);
}

function onePage(): { mm: MmStruct; base: number } {
  const mm = makeMm(makeSystem());
  const base = mapAnon(mm, 3);
  store(mm, base, 9);
  return { mm, base };
}

describe('caches of translations hear of every flush, with its range', () => {
  test('munmap: after the entry is gone, before its page is freed', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    expectSync(doMunmap(mm, base, 2 * PAGE_SIZE));
    expect(flushes).toEqual([{ first: 0, pages: 2, present: false, references: 1 }]);
  });

  test('mprotect: once for the range', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    expectSync(doMprotect(mm, base, 3 * PAGE_SIZE, PROT_READ));
    expect(flushes).toEqual([{ first: 0, pages: 3, present: true, references: 1 }]);
  });

  test('copy-on-write: the page that the writer leaves', () => {
    const { mm, base } = onePage();
    expectSync(dupMmap(mm));
    const flushes = listen(mm, base);
    store(mm, base, 1);
    expect(flushes).toEqual([{ first: 0, pages: 1, present: false, references: 2 }]);
  });

  test('fork: the whole address space of the parent, and nobody of the child', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    expectSync(dupMmap(mm));
    expect(flushes).toHaveLength(1);
    expect(flushes[0]!.pages).toBe(TASK_SIZE / PAGE_SIZE);
  });

  test('migration: the page that is taken away', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    const pfn = ptePfn(pteAt(mm, base));
    mm.sys.mem.getPage(pfn);
    expect(mm.sys.mem.trylockPage(pfn)).toBe(true);
    expect(tryToMigrate(mm.sys, pfn)).toBe(true);
    expect(flushes).toEqual([{ first: 0, pages: 1, present: false, references: 2 }]);
  });

  test('a coherent page over the zero page: while nothing is mapped there', () => {
    const bench = makeCoherentBench();
    const { mm } = bench;
    const base = mapAnon(mm, 2);
    load(mm, base);
    const flushes = listen(mm, base);
    expect(new Migration(bench, base, 2).run().reasons).toEqual(['none', 'none']);
    expect(flushes.map(({ present }) => present)).toEqual([false]);
    expect(ptePresent(pteAt(mm, base))).toBe(true);
  });
});

describe('what cores on other threads see with an entry was written before it', () => {
  test.each([1, 3])('%i pages that come home are published', (pages) => {
    const bench = makeBench();
    const base = mapOnDevice(bench, pages);
    const migration = new Migration(bench, base, pages, TO_RAM).setup().supply().pages();
    const entries = published(bench.sys, () => migration.finalize());
    expect(migration.reasons[0]).toBe('none');
    expect(entries).toEqual(
      Array.from({ length: pages }, (_, i) => pteAt(bench.mm, base + i * PAGE_SIZE) >>> 0),
    );
  });

  test('a page that stays where it is, too', () => {
    const bench = makeBench();
    const base = mapFilled(bench.mm, 1);
    const migration = new Migration(bench, base, 1).setup().pages();
    const entries = published(bench.sys, () => migration.finalize());
    expect(migration.reasons).toEqual(['no destination']);
    expect(entries).toEqual([pteAt(bench.mm, base) >>> 0]);
  });
});

describe('nobody hears of', () => {
  test('a flush of nothing', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    flushTlbRange(mm, base, base + PAGE_SIZE, 0);
    expect(flushes).toEqual([]);
    expect(mm.tlbFlushes).toBe(0);
  });

  test('more rights for a page: a core that has less faults and looks again', () => {
    const { mm, base } = onePage();
    const flushes = listen(mm, base);
    expect(load(mm, base + PAGE_SIZE)).toBe(0);
    expect(flushes).toEqual([]);
  });

  test('anything, once it does not listen any more', () => {
    const { mm, base } = onePage();
    const heard: number[] = [];
    const listener = { flush: (): boolean => heard.push(1) > 0 };
    addTlbListener(mm, listener);
    removeTlbListener(mm, listener);
    removeTlbListener(mm, listener);
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    expect(mm.tlbFlushes).toBe(1);
    expect(heard).toEqual([]);
  });
});
