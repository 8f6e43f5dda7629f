/*
 * MADV_FREE and MADV_COLD on large folios: as a whole, or split.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { MADV_COLD, MADV_FREE, doMadvise } from '../../../src/mm/madvise.ts';
import { THP_ALWAYS } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { PG_DIRTY, PG_SWAPBACKED } from '../../../src/mm/page.ts';
import { PTE_DIRTY, PTE_WRITE, PTE_YOUNG, isPmdLeaf, ptePfn } from '../../../src/mm/swapops.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';

let sys: System;
let mm: MmStruct;
let base: number;

beforeEach(() => {
  sys = makeSystem(4 * HPAGE_PMD_NR, 8, 64);
  sys.thpMode = THP_ALWAYS;
  mm = makeMm(sys);
  base = Math.ceil(mapAnon(mm, 3 * HPAGE_PMD_NR) / PMD_SIZE) * PMD_SIZE;
  store(mm, base, 7);
});

function pmd(): number {
  return sys.pageTables.words[sys.pageTables.pmdOffset(mm.pgd, base)]!;
}

const advise = (advice: number, pages: number): number =>
  expectSync(doMadvise(mm, base, pages * PAGE_SIZE, advice));

describe('advice about a large folio', () => {
  test('MADV_FREE of all of it: one clean entry, whose bytes may go', () => {
    const folio = ptePfn(pmd());
    sys.mem.setFlag(folio, PG_DIRTY);
    expect(advise(MADV_FREE, HPAGE_PMD_NR)).toBe(0);
    expect(isPmdLeaf(pmd())).toBe(true);
    expect(pmd() & (PTE_DIRTY | PTE_YOUNG | PTE_WRITE)).toBe(PTE_WRITE);
    expect(sys.mem.flags[folio]! & (PG_DIRTY | PG_SWAPBACKED)).toBe(0);
    expect([load(mm, base), mm.tlbFlushedPages]).toEqual([7, HPAGE_PMD_NR]);
    checkInvariants(sys);
  });

  test('MADV_FREE of a part: the folio is split, and only that part is clean', () => {
    expect(advise(MADV_FREE, 3)).toBe(0);
    const first = ptePfn(pteAt(mm, base));
    expect([sys.mem.isLarge(first), sys.vmstat.read('thp_split_page')]).toEqual([false, 1]);
    const dirty = [0, 2, 3].map((page) => pteAt(mm, base + page * PAGE_SIZE) & PTE_DIRTY);
    expect(dirty).toEqual([0, 0, PTE_DIRTY]);
    expect(load(mm, base)).toBe(7);
    checkInvariants(sys);
  });

  test('MADV_COLD makes it old, not clean', () => {
    expect(advise(MADV_COLD, HPAGE_PMD_NR)).toBe(0);
    expect(pmd() & (PTE_DIRTY | PTE_YOUNG)).toBe(PTE_DIRTY);
  });

  test.each([
    ['a child shares it', HPAGE_PMD_NR],
    ['a child shares it, and it is about a part', 3],
  ])('nothing happens when %s', (_name, pages) => {
    const child = expectSync(dupMmap(mm));
    expect(typeof child).toBe('object');
    const before = pmd();
    expect(advise(MADV_FREE, pages)).toBe(0);
    expect(pmd()).toBe(before);
    checkInvariants(sys);
  });

  test('nothing happens to one that somebody has locked', () => {
    const before = pmd();
    sys.mem.trylockPage(ptePfn(before));
    expect(advise(MADV_FREE, 3)).toBe(0);
    sys.mem.unlockPage(ptePfn(before));
    expect(pmd()).toBe(before);
    checkInvariants(sys);
  });
});
