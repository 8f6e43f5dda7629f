/* mremap and madvise of large folios in RAM: whole leaves, and parts of them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { MADV_DONTFORK, MADV_HUGEPAGE, doMadvise } from '../../../src/mm/madvise.ts';
import { MAP_PRIVATE } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  doMremap,
} from '../../../src/mm/mremap.ts';
import { PTE_SOFT_DIRTY, isPmdLeaf, ptePfn } from '../../../src/mm/swapops.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { RW, expectSync, load, makeMm, makeSystem, mapAnon, store } from './fixture.ts';

const BASE = 2 ** 40;
const ELSEWHERE = 2 ** 41;
const MOVE_TO = MREMAP_MAYMOVE | MREMAP_FIXED;

let sys: System;
let mm: MmStruct;

beforeEach(() => {
  sys = makeSystem(6 * HPAGE_PMD_NR, 8);
  mm = makeMm(sys);
});

afterEach(() => checkInvariants(sys));

/** Maps PMD ranges that want large folios; their first pages hold 1, 2... */
function mapHuge(pmds: number): void {
  mapAnon(mm, pmds * HPAGE_PMD_NR, RW, MAP_PRIVATE, BASE);
  expect(expectSync(doMadvise(mm, BASE, pmds * PMD_SIZE, MADV_HUGEPAGE))).toBe(0);
  for (let i = 0; i < pmds; i++) {
    store(mm, BASE + i * PMD_SIZE, i + 1);
    store(mm, BASE + (i + 1) * PMD_SIZE - PAGE_SIZE, 100 + i);
  }
  expect(leaves(BASE, pmds)).toBe('L'.repeat(pmds));
}

/** For each PMD range: L for a leaf, t for a table, - for nothing. */
function leaves(addr: number, pmds: number): string {
  const { pageTables } = sys;
  const entries = Array.from({ length: pmds }, (_, i) => pmdAt(addr + i * PMD_SIZE));
  const kind = (pmd: number): string => (isPmdLeaf(pmd) ? 'L' : 't');
  expect(pageTables.depositedTables).toBeGreaterThanOrEqual(0);
  return entries.map((pmd) => (pmd === 0 ? '-' : kind(pmd))).join('');
}

function pmdAt(addr: number): number {
  return sys.pageTables.words[sys.pageTables.pmdOffset(mm.pgd, addr)]!;
}

function remap(addr: number, length: number, flags: number, target: number): number {
  return expectSync(doMremap(mm, addr, length, length, flags, target));
}

describe('a move of large folios', () => {
  test('whole, between aligned places, keeps the leaf [F106]', () => {
    mapHuge(2);
    const folio = ptePfn(pmdAt(BASE));
    const [splits, flushed] = [sys.vmstat.read('thp_split_pmd'), mm.tlbFlushedPages];
    expect(remap(BASE, 2 * PMD_SIZE, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect([leaves(ELSEWHERE, 2), leaves(BASE, 2)]).toEqual(['LL', '--']);
    expect(ptePfn(pmdAt(ELSEWHERE))).toBe(folio);
    expect(pmdAt(ELSEWHERE) & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    expect(sys.vmstat.read('thp_split_pmd')).toBe(splits);
    expect(mm.tlbFlushedPages - flushed).toBe(2 * HPAGE_PMD_NR);
    expect([load(mm, ELSEWHERE), load(mm, ELSEWHERE + 2 * PMD_SIZE - PAGE_SIZE)]).toEqual([1, 101]);
  });

  test('to a place that is not aligned splits the leaf, not the folio [F106]', () => {
    mapHuge(1);
    const folio = ptePfn(pmdAt(BASE));
    const target = ELSEWHERE + PMD_SIZE / 4;
    expect(remap(BASE, PMD_SIZE, MOVE_TO, target)).toBe(target);
    expect([leaves(ELSEWHERE, 2), leaves(BASE, 1)]).toEqual(['tt', '-']);
    expect(sys.vmstat.read('thp_split_pmd')).toBe(1);
    expect(sys.mem.isLarge(folio)).toBe(true);
    expect([load(mm, target), load(mm, target + PMD_SIZE - PAGE_SIZE)]).toEqual([1, 100]);
  });

  test('of a part splits the leaf that it cuts, and moves the others whole', () => {
    mapHuge(3);
    const half = PMD_SIZE / 2;
    expect(remap(BASE + half, 2 * PMD_SIZE, MOVE_TO, ELSEWHERE + half)).toBe(ELSEWHERE + half);
    expect([leaves(BASE, 3), leaves(ELSEWHERE, 3)]).toEqual(['t-t', 'tLt']);
    expect([load(mm, BASE), load(mm, ELSEWHERE + PMD_SIZE)]).toEqual([1, 2]);
    expect(load(mm, BASE + 3 * PMD_SIZE - PAGE_SIZE)).toBe(102);
  });

  test('with DONTUNMAP leaves an empty range that gets a folio of its own', () => {
    mapHuge(1);
    expect(remap(BASE, PMD_SIZE, MOVE_TO | MREMAP_DONTUNMAP, ELSEWHERE)).toBe(ELSEWHERE);
    expect(leaves(BASE, 1)).toBe('-');
    store(mm, BASE, 9);
    expect([leaves(BASE, 1), leaves(ELSEWHERE, 1)]).toEqual(['L', 'L']);
    expect([load(mm, BASE), load(mm, ELSEWHERE)]).toEqual([9, 1]);
  });

  test('takes the huge zero page along', () => {
    mapAnon(mm, HPAGE_PMD_NR, RW, MAP_PRIVATE, BASE);
    expectSync(doMadvise(mm, BASE, PMD_SIZE, MADV_HUGEPAGE));
    expect(load(mm, BASE)).toBe(0);
    expect(leaves(BASE, 1)).toBe('L');
    remap(BASE, PMD_SIZE, MOVE_TO, ELSEWHERE);
    expect([leaves(ELSEWHERE, 1), load(mm, ELSEWHERE + PAGE_SIZE)]).toEqual(['L', 0]);
  });
});

test('cutting a VMA inside of a leaf splits the leaf; at its end it stays', () => {
  mapHuge(2);
  expectSync(doMadvise(mm, BASE, PMD_SIZE, MADV_DONTFORK));
  expect(leaves(BASE, 2)).toBe('LL');
  expectSync(doMadvise(mm, BASE, PMD_SIZE + PAGE_SIZE, MADV_DONTFORK));
  expect(leaves(BASE, 2)).toBe('Lt');
});
