import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PMD_SIZE } from '../../../src/base/units.ts';
import { allocHugeFolio, allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_HEAD, PG_TAIL } from '../../../src/mm/page.ts';
import { PageTables } from '../../../src/mm/pgtable.ts';
import { isPmdLeaf, leafPfn, mkLeaf, mkPmd, LEAF_MIGRATION_READ } from '../../../src/mm/swapops.ts';
import { checkInvariants, findProblems } from '../../model/check-invariants.ts';
import { makeSystem } from './fixture.ts';

const RAM = 4 * HPAGE_PMD_NR;

describe('allocHugeFolio', () => {
  test('hands out an aligned folio with one reference on its head', () => {
    const sys = makeSystem(RAM, 8);
    const free = sys.pageAllocator.freePages;
    const head = allocHugeFolio(sys);
    expect(head % HPAGE_PMD_NR).toBe(0);
    expect([sys.mem.refcount[head], sys.mem.refcount[head + 1]]).toEqual([1, 0]);
    expect([sys.mem.flags[head], sys.mem.flags[head + 511]]).toEqual([PG_HEAD, PG_TAIL]);
    expect(sys.mem.folioOf(head + 511)).toBe(head);
    expect(sys.mem.folioOf(head)).toBe(head);
    expect(sys.pageAllocator.freePages).toBe(free - HPAGE_PMD_NR);
    putPage(sys, head);
    expect(sys.pageAllocator.freePages).toBe(free);
    checkInvariants(sys);
  });

  test('three fit beside the reserved pages of four, then it is ENOMEM', () => {
    const sys = makeSystem(RAM, 8);
    const heads = [1, 2, 3].map(() => allocHugeFolio(sys));
    expect(new Set(heads).size).toBe(3);
    expect(allocHugeFolio(sys)).toBe(errno.ENOMEM);
    expect(allocPage(sys)).toBeGreaterThan(0);
  });

  test('single pages that were freed merge into a folio again', () => {
    const sys = makeSystem(RAM, 8);
    const pages: number[] = [];
    for (let pfn = allocPage(sys); pfn > 0; pfn = allocPage(sys)) pages.push(pfn);
    expect(pages.length).toBe(RAM - 2);
    expect(allocHugeFolio(sys)).toBe(errno.ENOMEM);
    for (const pfn of pages) putPage(sys, pfn);
    checkInvariants(sys);
    expect(allocHugeFolio(sys)).toBeGreaterThan(0);
    checkInvariants(sys, { references: new Map([[HPAGE_PMD_NR, 1]]) });
  });

  test('one page in use keeps its block apart', () => {
    const sys = makeSystem(2 * HPAGE_PMD_NR, 8);
    const pages: number[] = [];
    for (let pfn = allocPage(sys); pfn > 0; pfn = allocPage(sys)) pages.push(pfn);
    const kept = HPAGE_PMD_NR + 77;
    for (const pfn of pages) if (pfn !== kept) putPage(sys, pfn);
    expect(allocHugeFolio(sys)).toBe(errno.ENOMEM);
    putPage(sys, kept);
    expect(allocHugeFolio(sys)).toBe(HPAGE_PMD_NR);
  });

  test('failAt counts large folios too', () => {
    const sys = makeSystem(RAM, 8);
    sys.pageAllocator.failAt = 1;
    expect(allocHugeFolio(sys)).toBe(errno.ENOMEM);
    expect(allocHugeFolio(sys)).toBeGreaterThan(0);
  });

  test('I33: a large folio that is not aligned is a bug', () => {
    const sys = makeSystem(RAM, 8);
    expect(() => sys.mem.prepCompound(HPAGE_PMD_NR + 1)).toThrow('I33');
  });

  test('I33 the checker finds a tail without its head', () => {
    const sys = makeSystem(RAM, 8);
    const head = allocHugeFolio(sys);
    sys.mem.clearFlag(head, PG_HEAD);
    expect(findProblems(sys).join()).toContain(`I33: tail ${head + 1} has no head`);
  });
});

describe('PMD entries', () => {
  function makeTables(): { tables: PageTables; pgd: number } {
    const tables = new PageTables(64);
    return { tables, pgd: tables.allocTable() };
  }

  test('a leaf, a table and an empty entry are told apart', () => {
    expect([mkPmd(512, 0), mkLeaf(LEAF_MIGRATION_READ, 512, 0)].every(isPmdLeaf)).toBe(true);
    const { tables, pgd } = makeTables();
    tables.pteAlloc(pgd, 0);
    expect(isPmdLeaf(tables.words[tables.pmdOffset(pgd, 0)]!)).toBe(false);
    expect(isPmdLeaf(0)).toBe(false);
  });

  test('no PTE is found or made under a leaf', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pmdAlloc(pgd, 3 * PMD_SIZE);
    expect(tables.pmdOffset(pgd, 3 * PMD_SIZE)).toBe(at);
    expect(tables.pmdOffset(pgd, 700 * 2 ** 30)).toBe(0);
    tables.setPte(at, mkPmd(512, 0));
    expect(tables.pteOffset(pgd, 3 * PMD_SIZE)).toBe(0);
    expect(tables.pteAlloc(pgd, 3 * PMD_SIZE)).toBe(errno.EEXIST);
    expect(tables.leafOffset(pgd, 3 * PMD_SIZE + 4096)).toBe(at);
    expect(leafPfn(mkPmd(512, 0), 3 * PMD_SIZE + 5 * 4096)).toBe(517);
    expect(tables.nextPopulated(pgd, 0, 8 * PMD_SIZE)).toBe(3 * PMD_SIZE);
  });

  test('empty tables go, a leaf and its deposit stay', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pmdAlloc(pgd, 0);
    const table = tables.allocTable();
    tables.setPte(at, mkPmd(512, 0));
    tables.depositTable(at, table);
    tables.freeEmptyTables(pgd, 0, 8 * PMD_SIZE);
    expect(tables.words[at]).toBe(mkPmd(512, 0));
    expect([tables.tablesInUse, tables.depositedTables]).toEqual([4, 1]);
    expect(tables.withdrawTable(at)).toBe(table);
    tables.populatePmd(at, table);
    expect(tables.pteOffset(pgd, 4096)).toBe(table * 512 + 1);
  });

  test('I34: taking back a deposit that nobody made is a bug', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pmdAlloc(pgd, 0);
    expect(() => tables.withdrawTable(at)).toThrow('I34');
    const table = tables.allocTable();
    tables.setPte(table * 512, 1);
    expect(() => tables.depositTable(at, table)).toThrow('I34');
  });
});
