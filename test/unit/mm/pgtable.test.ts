import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { PageTables } from '../../../src/mm/pgtable.ts';

const GIB = 2 ** 30;

function makeTables(capacity = 64): { tables: PageTables; pgd: number } {
  const tables = new PageTables(capacity);
  return { tables, pgd: tables.allocTable() };
}

describe('pteAlloc and pteOffset', () => {
  test.each([
    ['the first page', 0],
    ['the last page of a PTE table', PMD_SIZE - PAGE_SIZE],
    ['the first page of the next', PMD_SIZE],
    ['the last page of a PMD table', GIB - PAGE_SIZE],
    ['the last page of a PUD table', 512 * GIB - PAGE_SIZE],
    ['an address above 2^46', 2 ** 46 + 5 * GIB + 3 * PMD_SIZE + 7 * PAGE_SIZE],
    ['the last page of user space', TASK_SIZE - PAGE_SIZE],
  ])('agree on %s', (_name, addr) => {
    const { tables, pgd } = makeTables();
    expect(tables.pteOffset(pgd, addr)).toBe(0);
    const at = tables.pteAlloc(pgd, addr);
    expect(at).toBeGreaterThan(0);
    expect(tables.pteOffset(pgd, addr)).toBe(at);
    expect(tables.pteOffset(pgd, addr + PAGE_SIZE - 1)).toBe(at);
    expect(tables.tablesInUse).toBe(4);
  });

  test('neighbours share a table up to its end, and no further', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pteAlloc(pgd, 4 * PMD_SIZE);
    expect(tables.pteOffset(pgd, 4 * PMD_SIZE + 511 * PAGE_SIZE)).toBe(at + 511);
    expect(tables.pteOffset(pgd, 5 * PMD_SIZE)).toBe(0);
    expect(tables.pteOffset(pgd, 4 * PMD_SIZE - PAGE_SIZE)).toBe(0);
  });

  test.each([1, 2, 3])('ENOMEM when the pool is short of %i tables', (short) => {
    const { tables, pgd } = makeTables(2 + 3 - short);
    expect(tables.pteAlloc(pgd, PMD_SIZE)).toBe(errno.ENOMEM);
    expect(tables.pteOffset(pgd, PMD_SIZE)).toBe(0);
    // What was made on the way is freed with the range.
    tables.freeEmptyTables(pgd, 0, TASK_SIZE);
    expect(tables.tablesInUse).toBe(1);
  });

  test('I3: the table number 0 is no page table', () => {
    const { tables } = makeTables();
    expect(() => tables.pteAlloc(0, PMD_SIZE)).toThrow('I3');
  });
});

describe('freeing', () => {
  test('a table goes when its last entry goes, and takes its empty parents along', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pteAlloc(pgd, PMD_SIZE);
    tables.setPte(at, 0x201);
    tables.setPte(at + 1, 0x401);
    tables.setPte(at, 0);
    tables.freeEmptyTables(pgd, PMD_SIZE, 2 * PMD_SIZE);
    expect(tables.tablesInUse).toBe(4);
    tables.setPte(at + 1, 0);
    tables.freeEmptyTables(pgd, PMD_SIZE, 2 * PMD_SIZE);
    expect(tables.tablesInUse).toBe(1);
  });

  test('tables outside the range stay, also when they are empty', () => {
    const { tables, pgd } = makeTables();
    tables.pteAlloc(pgd, 0);
    tables.pteAlloc(pgd, PMD_SIZE);
    tables.pteAlloc(pgd, 2 * PMD_SIZE);
    expect(tables.tablesInUse).toBe(6);
    tables.freeEmptyTables(pgd, PMD_SIZE, 2 * PMD_SIZE);
    expect(tables.tablesInUse).toBe(5);
    expect(tables.pteOffset(pgd, 0)).not.toBe(0);
    expect(tables.pteOffset(pgd, PMD_SIZE)).toBe(0);
    expect(tables.pteOffset(pgd, 2 * PMD_SIZE)).not.toBe(0);
  });

  test('a freed table comes back empty', () => {
    const { tables, pgd } = makeTables(5);
    tables.setPte(tables.pteAlloc(pgd, 0), 0x201);
    tables.setPte(tables.pteOffset(pgd, 0), 0);
    tables.freeEmptyTables(pgd, 0, PMD_SIZE);
    const at = tables.pteAlloc(pgd, 700 * GIB);
    expect(tables.words.subarray(at & ~511, (at & ~511) + 512).every((word) => word === 0)).toBe(
      true,
    );
  });

  test('I3: freeing a table with an entry is a bug', () => {
    const { tables, pgd } = makeTables();
    const at = tables.pteAlloc(pgd, 0);
    tables.setPte(at, 0x201);
    expect(() => tables.freeTable(at >>> 9)).toThrow('I3');
  });
});

describe('nextPopulated', () => {
  const populated = [3 * PMD_SIZE, 2 * GIB + 5 * PMD_SIZE, 600 * GIB, 2 ** 46];

  test('finds each populated range in turn, skipping the rest', () => {
    const { tables, pgd } = makeTables();
    for (const addr of populated) tables.pteAlloc(pgd, addr);
    const found: number[] = [];
    let addr = tables.nextPopulated(pgd, 0, TASK_SIZE);
    while (addr < TASK_SIZE) {
      found.push(addr);
      addr = tables.nextPopulated(pgd, addr + PMD_SIZE, TASK_SIZE);
    }
    expect(found).toEqual(populated);
  });

  test('answers the address itself where it is populated, and the end when nothing is', () => {
    const { tables, pgd } = makeTables();
    tables.pteAlloc(pgd, PMD_SIZE);
    const inside = PMD_SIZE + 17 * PAGE_SIZE;
    expect(tables.nextPopulated(pgd, inside, TASK_SIZE)).toBe(inside);
    expect(tables.nextPopulated(pgd, 0, PMD_SIZE)).toBe(PMD_SIZE);
    expect(tables.nextPopulated(pgd, 2 * PMD_SIZE, 3 * GIB + PAGE_SIZE)).toBe(3 * GIB + PAGE_SIZE);
    expect(tables.nextPopulated(0, 0, TASK_SIZE)).toBe(TASK_SIZE);
  });
});
