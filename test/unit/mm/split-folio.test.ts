/*
 * Splitting large folios: what the pages have afterwards, and what the driver of a device folio
 * hears.
 */
import { describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import {
  MEMORY_DEVICE_PRIVATE,
  memremapPages,
  zoneDevicePageInit,
} from '../../../src/mm/memremap.ts';
import type { DevPagemap } from '../../../src/mm/memremap.ts';
import type { MmStruct, System, Vma } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { PG_ANON_EXCLUSIVE } from '../../../src/mm/page.ts';
import { anonVmaPrepare, folioAddNewAnonRmapPmd } from '../../../src/mm/rmap.ts';
import { splitFolio } from '../../../src/mm/split-folio.ts';
import { LEAF_DEVICE_PRIVATE_WRITE, mkLeaf } from '../../../src/mm/swapops.ts';
import { requestFreeMemRegion } from '../../../src/mm/system.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants } from '../../../src/sim/check-invariants.ts';
import { expectSync, makeMm, makeSystem, mapAnon, pteAt } from './fixture.ts';

interface Heard {
  readonly splits: [number, number | null][];
  readonly freed: [number, number][];
}

/** A large device folio that one PMD entry maps, as migration leaves it. */
function makeDeviceFolio(): {
  sys: System;
  mm: MmStruct;
  base: number;
  heard: Heard;
  folio: number;
} {
  const sys = makeSystem(2 * HPAGE_PMD_NR, 2 * HPAGE_PMD_NR, 64);
  const heard: Heard = { splits: [], freed: [] };
  const folio = requestFreeMemRegion(sys, HPAGE_PMD_NR);
  const pgmap: DevPagemap = {
    type: MEMORY_DEVICE_PRIVATE,
    startPfn: folio,
    nrPages: HPAGE_PMD_NR,
    owner: heard,
    ops: {
      migrateToRam: () => 0,
      folioFree: (pfn, order) => void heard.freed.push([pfn, order]),
      folioSplit: (head, tail) => void heard.splits.push([head, tail]),
    },
    ref: 0,
    id: 0,
  };
  expect(memremapPages(sys, pgmap)).toBe(0);
  const mm = makeMm(sys);
  const base = Math.ceil(mapAnon(mm, 3 * HPAGE_PMD_NR) / PMD_SIZE) * PMD_SIZE;
  zoneDevicePageInit(sys, folio, HPAGE_PMD_ORDER);
  mapByPmd(vmaLookup(mm, base)!, base, folio);
  return { sys, mm, base, heard, folio };
}

/** The mapping takes over the reference of the allocation. */
function mapByPmd(vma: Vma, base: number, folio: number): void {
  const { pageTables } = vma.mm.sys;
  anonVmaPrepare(vma);
  folioAddNewAnonRmapPmd(vma.mm.sys, folio, vma, base);
  vma.mm.anonRss += HPAGE_PMD_NR;
  const at = pageTables.pmdAlloc(vma.mm.pgd, base);
  pageTables.depositTable(at, pageTables.allocTable());
  pageTables.setPte(at, mkLeaf(LEAF_DEVICE_PRIVATE_WRITE, folio, 0));
}

describe('a device folio that is split', () => {
  test('its driver hears of each tail in turn, then that the head is done [F18]', () => {
    const { sys, heard, folio } = makeDeviceFolio();
    sys.mem.getPage(folio);
    expect(splitFolio(sys, folio)).toBe(0);
    const tails = Array.from({ length: HPAGE_PMD_NR - 1 }, (_, i) => [folio, folio + i + 1]);
    expect(heard.splits).toEqual([...tails, [folio, null]]);
  });

  test('each page has a mapping, an index and a reference of its own', () => {
    const { sys, mm, base, folio } = makeDeviceFolio();
    const { mem } = sys;
    mem.getPage(folio);
    splitFolio(sys, folio);
    mem.unlockPage(folio);
    mem.refcount[folio]! -= 1;
    for (const i of [0, 1, 255, 511]) {
      expect([mem.refcount[folio + i], mem.mapcount[folio + i]]).toEqual([1, 1]);
      expect(mem.index[folio + i]).toBe(mem.index[folio]! + i);
      expect(mem.testFlag(folio + i, PG_ANON_EXCLUSIVE)).toBe(true);
      const entry = mkLeaf(LEAF_DEVICE_PRIVATE_WRITE, folio + i, 0);
      expect(pteAt(mm, base + i * PAGE_SIZE)).toBe(entry);
    }
    checkInvariants(sys);
  });

  test('its pages go back to the driver one by one, an unsplit folio as a whole', () => {
    const { sys, mm, base, heard, folio } = makeDeviceFolio();
    sys.mem.unlockPage(folio);
    const other = makeDeviceFolio();
    other.sys.mem.getPage(other.folio);
    splitFolio(other.sys, other.folio);
    other.sys.mem.unlockPage(other.folio);
    other.sys.mem.refcount[other.folio]! -= 1;
    expectSync(doMunmap(mm, base, PMD_SIZE));
    expectSync(doMunmap(other.mm, other.base, PMD_SIZE));
    expect(heard.freed).toEqual([[folio, HPAGE_PMD_ORDER]]);
    expect(other.heard.freed).toHaveLength(HPAGE_PMD_NR);
    expect(new Set(other.heard.freed.map(([, order]) => order))).toEqual(new Set([0]));
  });

  test('somebody else refers to it: EAGAIN, nobody is told, it stays large', () => {
    const { sys, heard, folio } = makeDeviceFolio();
    sys.mem.getPage(folio);
    sys.mem.getPage(folio);
    expect(splitFolio(sys, folio)).toBeLessThan(0);
    expect([heard.splits.length, sys.mem.isLarge(folio)]).toEqual([0, true]);
  });
});
