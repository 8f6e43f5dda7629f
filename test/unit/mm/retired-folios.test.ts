/*
 * Large folios that nobody uses: each stays one, so that it costs nothing to hand out again, until
 * somebody wants its pages; of its last life nothing is left.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER, PMD_SIZE } from '../../../src/base/units.ts';
import { DeviceMemory } from '../../../src/driver/device-memory.ts';
import { zoneDevicePageInit } from '../../../src/mm/memremap.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { allocHugeFolio, allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import {
  PG_ANON_EXCLUSIVE,
  PG_BUDDY,
  PG_DIRTY,
  PG_HEAD,
  PG_LOCKED,
  PG_TAIL,
} from '../../../src/mm/page.ts';
import { anonVmaPrepare, folioAddNewAnonRmapPmd } from '../../../src/mm/rmap.ts';
import { splitHugePmd } from '../../../src/mm/split-huge-pmd.ts';
import { PTE_WRITE, mkPmd } from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants, findProblems } from '../../model/check-invariants.ts';
import { expectSync, makeMm, makeSystem, mapAnon } from './fixture.ts';

/** The flags of all pages of a folio: what the head has, and what there is in the tails. */
function flagsOf(sys: System, head: number): [number, number[]] {
  const tails = sys.mem.flags.subarray(head + 1, head + HPAGE_PMD_NR);
  return [sys.mem.flags[head]!, [...new Set(tails)]];
}

describe('a folio of RAM', () => {
  let sys: System;
  let head: number;

  beforeEach(() => {
    // Beside the reserved pages there is room for one.
    sys = makeSystem(2 * HPAGE_PMD_NR, 8, 16);
    head = allocHugeFolio(sys);
  });

  test('that is freed stays one, without flags, and is handed out again', () => {
    sys.mem.setFlag(head, PG_DIRTY);
    putPage(sys, head);
    expect(flagsOf(sys, head)).toEqual([PG_BUDDY | PG_HEAD, [PG_TAIL]]);
    checkInvariants(sys);
    expect(allocHugeFolio(sys)).toBe(head);
    expect(flagsOf(sys, head)).toEqual([PG_HEAD, [PG_TAIL]]);
  });

  test('falls apart when single pages are wanted, and not before', () => {
    putPage(sys, head);
    let pfn = allocPage(sys);
    while (pfn < head) {
      expect(sys.mem.isLarge(head)).toBe(true);
      pfn = allocPage(sys);
    }
    expect(flagsOf(sys, head)[1].toSorted((a, b) => a - b)).toEqual([0, PG_BUDDY]);
    while (allocPage(sys) > 0);
    expect(flagsOf(sys, head)).toEqual([0, [0]]);
  });

  test('a flag of a tail goes with it', () => {
    const { mm, base } = mapByPmd(sys, head);
    const at = sys.pageTables.pmdOffset(mm.pgd, base);
    splitHugePmd(vmaLookup(mm, base)!, at, base);
    expect(flagsOf(sys, head)[1]).toEqual([PG_TAIL | PG_ANON_EXCLUSIVE]);
    expect(expectSync(doMunmap(mm, base, PMD_SIZE))).toBe(0);
    expect(flagsOf(sys, head)).toEqual([PG_BUDDY | PG_HEAD, [PG_TAIL]]);
    checkInvariants(sys);
  });

  test('the checker finds a flag of a tail that outlived it', () => {
    putPage(sys, head);
    sys.mem.setFlag(head + 7, PG_ANON_EXCLUSIVE);
    expect(findProblems(sys).join()).toContain(`I33: tail ${head + 7} has flags`);
  });
});

/** The mapping takes over the reference of the allocation. */
function mapByPmd(sys: System, folio: number): { mm: MmStruct; base: number } {
  const mm = makeMm(sys);
  const base = Math.ceil(mapAnon(mm, 3 * HPAGE_PMD_NR) / PMD_SIZE) * PMD_SIZE;
  const { pageTables } = sys;
  const vma = vmaLookup(mm, base)!;
  anonVmaPrepare(vma);
  folioAddNewAnonRmapPmd(sys, folio, vma, base);
  mm.anonRss += HPAGE_PMD_NR;
  const at = pageTables.pmdAlloc(mm.pgd, base);
  pageTables.depositTable(at, pageTables.allocTable());
  pageTables.setPte(at, mkPmd(folio, PTE_WRITE));
  return { mm, base };
}

describe('a folio of a device', () => {
  let sys: System;
  let memory: DeviceMemory;
  let head: number;

  beforeEach(() => {
    // One chunk, as long as a folio.
    sys = makeSystem(HPAGE_PMD_NR, HPAGE_PMD_NR, 8);
    const made = DeviceMemory.create(sys, HPAGE_PMD_NR, HPAGE_PMD_NR, {}, () => 0);
    if (typeof made === 'number') throw new Error(`DeviceMemory.create: ${made}`);
    memory = made;
    head = memory.allocFolio();
  });

  function giveBack(): void {
    sys.mem.unlockPage(head);
    putPage(sys, head);
  }

  test('that is freed stays one, without flags, and is handed out again', () => {
    sys.mem.setFlag(head, PG_DIRTY);
    giveBack();
    expect(flagsOf(sys, head)).toEqual([PG_HEAD, [PG_TAIL]]);
    expect(memory.allocFolio()).toBe(head);
    expect(flagsOf(sys, head)).toEqual([PG_HEAD | PG_LOCKED, [PG_TAIL]]);
  });

  test('falls apart when its chunk serves for single pages, a few at once', () => {
    giveBack();
    expect(memory.allocPages(new Uint32Array(3), 3)).toBe(3);
    const flags = [...sys.mem.flags.subarray(head, head + HPAGE_PMD_NR)];
    expect(flags.filter((bits) => bits === PG_LOCKED).length).toBe(3);
    expect(flags.filter((bits) => bits === 0).length).toBe(HPAGE_PMD_NR - 3);
  });

  test('falls apart when its driver makes a page of it live', () => {
    giveBack();
    zoneDevicePageInit(sys, head + 5);
    expect(sys.mem.flags[head + 5]).toBe(PG_LOCKED);
    expect(sys.mem.flags[head]).toBe(0);
    expect(sys.mem.flags[head + 6]).toBe(0);
  });

  test('made live as a whole it is one with its lock only', () => {
    giveBack();
    zoneDevicePageInit(sys, head, HPAGE_PMD_ORDER);
    expect(flagsOf(sys, head)).toEqual([PG_HEAD | PG_LOCKED, [PG_TAIL]]);
  });

  test('leaves no flag behind when its chunk goes', async () => {
    giveBack();
    const chunk = memory.chunks.find((one) => one !== null)!;
    memory.beginRemove(chunk);
    await memory.finishRemove(chunk);
    expect(flagsOf(sys, head)).toEqual([0, [0]]);
  });
});
