import { describe, expect, test } from 'vitest';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { ptePfn, ptePresent } from '../../../src/mm/swapops.ts';
import { addTlbListener, flushTlbRange, removeTlbListener } from '../../../src/mm/tlb.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';

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
