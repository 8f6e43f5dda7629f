/* GUP and device-exclusive access where a PMD entry maps a large folio. */
import { beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { makeDeviceExclusive } from '../../../src/mm/device-exclusive.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  FOLL_LONGTERM,
  FOLL_WRITE,
  getUserPagesUnlocked,
  pinUserPagesFast,
  pinUserPagesUnlocked,
  putUserPages,
  unpinUserPages,
} from '../../../src/mm/gup.ts';
import { THP_ALWAYS } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  isPmdLeaf,
  leafKind,
  ptePfn,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { checkInvariants } from '../../../src/sim/check-invariants.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';

let sys: System;
let mm: MmStruct;
let base: number;

beforeEach(() => {
  sys = makeSystem(6 * HPAGE_PMD_NR, HPAGE_PMD_NR, 64);
  sys.thpMode = THP_ALWAYS;
  mm = makeMm(sys);
  const hole = mapAnon(mm, 2 * HPAGE_PMD_NR);
  base = Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
});

function at(page: number): number {
  return base + page * PAGE_SIZE;
}

function isHuge(space = mm): boolean {
  const { pageTables } = sys;
  return isPmdLeaf(pageTables.words[pageTables.pmdOffset(space.pgd, base)]!);
}

/** The head of the folio that the PMD entry maps. */
function head(): number {
  const { pageTables } = sys;
  return ptePfn(pageTables.words[pageTables.pmdOffset(mm.pgd, base)]!);
}

function fork(): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

describe('pins of a large folio', () => {
  test('are of its head, whichever way and whichever page; nothing is split', () => {
    store(mm, at(0), 1);
    expect(isHuge()).toBe(true);
    for (const pin of [pinUserPagesFast, pinUserPagesUnlocked]) {
      const pfns = new Uint32Array(3);
      expect(expectSync(pin(mm, at(509), 3, FOLL_WRITE, pfns))).toBe(3);
      expect([...pfns]).toEqual([509, 510, 511].map((page) => head() + page));
      expect([sys.mem.refcount[head()], sys.mem.pincount[head()]]).toEqual([1 + 3, 3]);
      expect(isHuge()).toBe(true);
      unpinUserPages(sys, pfns);
    }
    checkInvariants(sys);
  });

  test('are not to be had by many references', () => {
    store(mm, at(7), 9);
    const pfns = new Uint32Array(GUP_PIN_COUNTING_BIAS);
    for (let i = 0; i < 2; i++) {
      const part = pfns.subarray(i * HPAGE_PMD_NR, (i + 1) * HPAGE_PMD_NR);
      expect(expectSync(getUserPagesUnlocked(mm, base, part.length, 0, part))).toBe(part.length);
    }
    expect(sys.mem.refcount[head()]).toBeGreaterThan(GUP_PIN_COUNTING_BIAS);
    expect(sys.mem.maybeDmaPinned(head() + 7)).toBe(false);
    // So a child shares it, where it would get a copy of what is pinned.
    const shared = head();
    expect([isHuge(fork()), isHuge(), head()]).toEqual([true, true, shared]);
    putUserPages(sys, pfns);
    checkInvariants(sys);
  });

  test('for reading unshare one page of it after fork', () => {
    store(mm, at(7), 9);
    const child = fork();
    const shared = head();
    const pfns = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(child, at(7), 1, 0, pfns))).toBe(1);
    expect(sys.mem.folioOf(pfns[0]!)).not.toBe(shared);
    expect([isHuge(), isHuge(child)]).toEqual([true, false]);
    expect(sys.ram[pfns[0]! * PAGE_SIZE]).toBe(9);
    unpinUserPages(sys, pfns);
    checkInvariants(sys);
  });

  test('of the huge zero page are of that page; long ones get a page of their own', () => {
    expect(load(mm, at(3))).toBe(0);
    expect(head()).toBe(sys.hugeZeroPfn);
    const pfns = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, at(3), 1, 0, pfns))).toBe(1);
    expect(pfns[0]).toBe(sys.hugeZeroPfn + 3);
    unpinUserPages(sys, pfns);
    expect(expectSync(pinUserPagesFast(mm, at(3), 1, FOLL_LONGTERM, pfns))).toBe(1);
    expect(pfns[0]).toBe(ptePfn(pteAt(mm, at(3))));
    expect(sys.mem.isAnon(pfns[0]!)).toBe(true);
    unpinUserPages(sys, pfns);
    checkInvariants(sys);
  });
});

describe('exclusive access to a page of a large folio', () => {
  /** Gives a device page 5 for itself; its pfn. */
  function claim(): number {
    store(mm, at(5), 55);
    store(mm, at(6), 66);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    const pfn = expectSync(makeDeviceExclusive(mm, at(5), null));
    mm.mmapLock.readUnlock();
    sys.mem.unlockPage(sys.mem.folioOf(pfn));
    putPage(sys, sys.mem.folioOf(pfn));
    return pfn;
  }

  test('splits the PMD entry, not the folio; the other pages stay the CPU has still [F96]', () => {
    const pfn = claim();
    const folio = sys.mem.folioOf(pfn);
    expect([isHuge(), sys.mem.isLarge(folio), pfn - folio]).toEqual([false, true, 5]);
    expect(leafKind(pteAt(mm, at(5)))).toBe(LEAF_DEVICE_EXCLUSIVE);
    expect([ptePresent(pteAt(mm, at(4))), ptePresent(pteAt(mm, at(6)))]).toEqual([true, true]);
    expect(load(mm, at(6))).toBe(66);
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(0);
    checkInvariants(sys);
    expect(load(mm, at(5))).toBe(55);
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(1);
    store(mm, at(5), 56);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
    checkInvariants(sys);
  });

  test('ends with fork, which shares every page [F100]', () => {
    claim();
    const child = fork();
    expect([load(child, at(5)), load(child, at(6)), load(mm, at(5))]).toEqual([55, 66, 55]);
    store(child, at(5), 1);
    expect(load(mm, at(5))).toBe(55);
    checkInvariants(sys);
    expectSync(mmput(child));
    checkInvariants(sys);
  });

  test('ends with munmap of that page or of all', () => {
    claim();
    expect(expectSync(doMunmap(mm, at(5), PAGE_SIZE))).toBe(0);
    checkInvariants(sys);
    expect(load(mm, at(6))).toBe(66);
    expectSync(mmput(mm));
    checkInvariants(sys);
  });
});
