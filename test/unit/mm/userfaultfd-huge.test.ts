/*
 * userfaultfd write-protection of large folios: as one entry while nobody writes.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { THP_ALWAYS } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { PTE_UFFD_WP, PTE_WRITE, isPmdLeaf } from '../../../src/mm/swapops.ts';
import { userfaultfdRelease } from '../../../src/mm/userfaultfd-register.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { load, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';
import { UffdRig, WP, settle } from './uffd-rig.ts';

let sys: System;
let mm: MmStruct;
let base: number;
let rig: UffdRig;

beforeEach(() => {
  sys = makeSystem(4 * HPAGE_PMD_NR, 8, 64);
  sys.thpMode = THP_ALWAYS;
  mm = makeMm(sys);
  base = Math.ceil(mapAnon(mm, 3 * HPAGE_PMD_NR) / PMD_SIZE) * PMD_SIZE;
  store(mm, base, 7);
  rig = new UffdRig(mm);
  rig.register(base, HPAGE_PMD_NR, WP);
});

function pmd(): number {
  return sys.pageTables.words[sys.pageTables.pmdOffset(mm.pgd, base)]!;
}

const BITS = PTE_UFFD_WP | PTE_WRITE;

describe('a write-protected large folio', () => {
  test('keeps its PMD entry, protected and back', () => {
    rig.protect(base, HPAGE_PMD_NR);
    expect([isPmdLeaf(pmd()), pmd() & BITS]).toEqual([true, PTE_UFFD_WP]);
    expect(load(mm, base)).toBe(7);
    expect(isPmdLeaf(pmd())).toBe(true);
    rig.protect(base, HPAGE_PMD_NR, 0);
    expect([isPmdLeaf(pmd()), pmd() & BITS]).toEqual([true, PTE_WRITE]);
    checkInvariants(sys);
  });

  test('a store splits the mapping and waits for the monitor; others stay protected', async () => {
    rig.protect(base, HPAGE_PMD_NR);
    const access = rig.store(base + PAGE_SIZE, 9);
    await settle();
    expect([access.outcome, isPmdLeaf(pmd())]).toEqual([null, false]);
    rig.protect(base + PAGE_SIZE, 1, 0);
    await access.done;
    expect([access.outcome, load(mm, base + PAGE_SIZE)]).toEqual([0, 9]);
    expect([0, 1, 2].map((page) => pteAt(mm, base + page * PAGE_SIZE) & BITS)).toEqual([
      PTE_UFFD_WP,
      PTE_WRITE,
      PTE_UFFD_WP,
    ]);
    checkInvariants(sys);
  });

  test('protecting a part of it splits the mapping', () => {
    rig.protect(base + PAGE_SIZE, 1);
    expect([0, 1].map((page) => pteAt(mm, base + page * PAGE_SIZE) & BITS)).toEqual([
      PTE_WRITE,
      PTE_UFFD_WP,
    ]);
    expect(sys.vmstat.read('thp_split_pmd')).toBe(1);
    checkInvariants(sys);
  });

  test('when the monitor closes the folio can be written as a whole again', async () => {
    rig.protect(base, HPAGE_PMD_NR);
    await userfaultfdRelease(rig.ctx);
    store(mm, base + 5 * PAGE_SIZE, 9);
    expect([isPmdLeaf(pmd()), pmd() & BITS]).toEqual([true, PTE_WRITE]);
    expect(load(mm, base)).toBe(7);
    checkInvariants(sys);
  });
});
