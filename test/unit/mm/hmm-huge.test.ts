/*
 * hmm_range_fault on PMD entries, and the assertions of splitting.
 */
import { describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import {
  HMM_PFN_ERROR,
  HMM_PFN_REQ_FAULT,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToMapOrder,
  hmmPfnToPage,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import type { HmmRange } from '../../../src/mm/hmm.ts';
import { THP_ALWAYS } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { removeMigrationPtes } from '../../../src/mm/migrate.ts';
import { allocHugeFolio, putPage } from '../../../src/mm/page-alloc.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { splitFolio } from '../../../src/mm/split-folio.ts';
import { splitHugePmdAddress } from '../../../src/mm/split-huge-pmd.ts';
import {
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MIGRATION_READ,
  LEAF_SWAP,
  mkLeaf,
  mkPmd,
  ptePfn,
} from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, store } from './fixture.ts';
import { TinyDevice } from './tiny-device.ts';

const PAGES = 8;

interface Huge {
  readonly mm: MmStruct;
  readonly base: number;
  readonly pmdAt: number;
  readonly range: HmmRange;
}

/** A touched huge range, and a request for 8 pages from its third on. */
function makeHuge(owner: unknown = null): Huge {
  const sys = makeSystem(4 * HPAGE_PMD_NR, 2 * HPAGE_PMD_NR, 64);
  sys.thpMode = THP_ALWAYS;
  const mm = makeMm(sys);
  const hole = mapAnon(mm, 3 * HPAGE_PMD_NR);
  const base = Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
  store(mm, base, 1);
  const sub = newMmuIntervalNotifier(null);
  mmuIntervalNotifierInsert(sub, mm, 0, 2 ** 46, { invalidate: () => true });
  const start = base + 3 * PAGE_SIZE;
  const range: HmmRange = {
    notifier: sub,
    notifierSeq: expectSync(mmuIntervalReadBegin(sub)),
    start,
    end: start + PAGES * PAGE_SIZE,
    hmmPfns: new Uint32Array(PAGES),
    defaultFlags: 0,
    pfnFlagsMask: 0,
    devPrivateOwner: owner,
  };
  mm.mmapLock.readTrylock();
  return { mm, base, pmdAt: sys.pageTables.pmdOffset(mm.pgd, base), range };
}

describe('a snapshot of a PMD entry', () => {
  test('reports each page with its own pfn and the order of the mapping [F82]', () => {
    const { mm, pmdAt, range } = makeHuge();
    expect(hmmRangeFault(range)).toBe(0);
    const head = ptePfn(mm.sys.pageTables.words[pmdAt]!);
    for (let i = 0; i < PAGES; i++) {
      const entry = range.hmmPfns[i]!;
      expect(hmmPfnToPage(entry)).toBe(head + 3 + i);
      expect(hmmPfnToMapOrder(entry)).toBe(HPAGE_PMD_ORDER);
      expect(entry & (HMM_PFN_VALID | HMM_PFN_WRITE)).toBe(HMM_PFN_VALID | HMM_PFN_WRITE | 0);
    }
  });

  test('after the mapping was split the order is that of a page [F82]', () => {
    const { mm, base, range } = makeHuge();
    splitHugePmdAddress(vmaLookup(mm, base)!, base);
    expect(hmmRangeFault(range)).toBe(0);
    expect([...range.hmmPfns].map(hmmPfnToMapOrder)).toEqual(Array(PAGES).fill(0));
    expect(load(mm, base)).toBe(1);
  });

  test.each([
    ['a device that asks for its own', true, HMM_PFN_VALID | HMM_PFN_WRITE],
    ['somebody else: ERROR, where a PTE would give 0', false, HMM_PFN_ERROR],
  ])('device-private, for %s [F76] [F78]', (_name, isOwn, wanted) => {
    const owner = {};
    const { mm, pmdAt, range } = makeHuge(isOwn ? owner : null);
    const device = new TinyDevice(mm.sys, HPAGE_PMD_NR);
    (device.pgmap as { owner: unknown }).owner = owner;
    const leaf = mkLeaf(LEAF_DEVICE_PRIVATE_WRITE, device.pgmap.startPfn, 0);
    mm.sys.pageTables.words[pmdAt] = leaf;
    expect(hmmRangeFault(range)).toBe(0);
    const flags = [...range.hmmPfns].map((entry) => entry & ((7 << 29) >>> 0));
    expect(flags).toEqual(Array(PAGES).fill(wanted | 0));
  });

  test('a large folio that PTEs map, under migration: its lock is waited for [F79]', async () => {
    const { mm, base, pmdAt, range } = makeHuge();
    const head = ptePfn(mm.sys.pageTables.words[pmdAt]!);
    splitHugePmdAddress(vmaLookup(mm, base)!, base);
    const { mem } = mm.sys;
    mem.getPage(head);
    expect(mem.trylockPage(head)).toBe(true);
    expect(tryToMigrate(mm.sys, head)).toBe(true);
    const pending = hmmRangeFault({ ...range, defaultFlags: HMM_PFN_REQ_FAULT });
    expect(pending).toBeInstanceOf(Promise);
    removeMigrationPtes(mm.sys, head, head);
    mem.unlockPage(head);
    putPage(mm.sys, head);
    expect(await pending).toBe(0);
    expect(hmmPfnToPage(range.hmmPfns[0]!)).toBe(head + 3);
  });

  test('a migration entry is 0, and waited for when the page is asked for [F79]', async () => {
    const { mm, pmdAt, range } = makeHuge();
    const { words } = mm.sys.pageTables;
    const before = words[pmdAt]!;
    const head = ptePfn(before);
    words[pmdAt] = mkLeaf(LEAF_MIGRATION_READ, head, 0);
    mm.sys.mem.trylockPage(head);
    expect(hmmRangeFault(range)).toBe(0);
    expect([...range.hmmPfns]).toEqual(Array(PAGES).fill(0));
    const waiting = hmmRangeFault({ ...range, defaultFlags: HMM_PFN_REQ_FAULT });
    words[pmdAt] = before;
    mm.sys.mem.unlockPage(head);
    expect(await waiting).toBe(0);
    expect(hmmPfnToPage(range.hmmPfns[0]!)).toBe(head + 3);
  });
});

describe('splitting', () => {
  test('I37: a folio that nobody locked is not split, nor one that is mapped', () => {
    const sys = makeSystem(2 * HPAGE_PMD_NR, 8);
    const folio = allocHugeFolio(sys);
    expect(() => splitFolio(sys, folio)).toThrow('I37');
  });

  test('I36: a PMD entry of a kind that nobody makes is a bug', () => {
    const { mm, base, pmdAt } = makeHuge();
    mm.mmapLock.readUnlock();
    mm.sys.pageTables.words[pmdAt] = mkLeaf(LEAF_SWAP, 5, 0);
    expect(() => load(mm, base)).toThrow('I36');
    mm.sys.pageTables.words[pmdAt] = mkPmd(5, 0);
  });

  test('a folio that somebody else refers to is not split, and stays as it was mapped', () => {
    const { mm, base, pmdAt } = makeHuge();
    const { sys } = mm;
    const folio = ptePfn(sys.pageTables.words[pmdAt]!);
    sys.mem.getPage(folio);
    sys.mem.getPage(folio);
    sys.mem.trylockPage(folio);
    expect(splitFolio(sys, folio)).toBeLessThan(0);
    expect(sys.mem.isLarge(folio)).toBe(true);
    expect(sys.vmstat.read('thp_split_page_failed')).toBe(1);
    sys.mem.unlockPage(folio);
    mm.mmapLock.readUnlock();
    expect(load(mm, base)).toBe(1);
  });
});
