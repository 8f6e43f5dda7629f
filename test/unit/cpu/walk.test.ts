/* The walk of a core finds what the kernel's own finds. */
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { atomicsOf } from '../../../src/cpu/atomics-port.ts';
import { walkPageTable } from '../../../src/cpu/walk.ts';
import { PageTables } from '../../../src/mm/pgtable.ts';
import {
  LEAF_MIGRATION_READ,
  PTE_WRITE,
  leafPfn,
  mkLeaf,
  mkPmd,
  mkPte,
} from '../../../src/mm/swapops.ts';

const PUD_SIZE = PMD_SIZE * 512;
const port = atomicsOf(() => 0);

function makeTables(): { tables: PageTables; pgd: number; walk: (addr: number) => number } {
  const tables = new PageTables(64);
  const pgd = tables.allocTable();
  const words = new Int32Array(tables.words.buffer);
  return { tables, pgd, walk: (addr) => walkPageTable(port, words, pgd, addr) >>> 0 };
}

describe('a walk', () => {
  test.each([
    0,
    PAGE_SIZE,
    PMD_SIZE - PAGE_SIZE,
    PMD_SIZE,
    PUD_SIZE - PAGE_SIZE,
    PUD_SIZE,
    512 * PUD_SIZE - PAGE_SIZE,
    512 * PUD_SIZE,
    TASK_SIZE - PAGE_SIZE,
  ])('finds the entry of 0x%i, and none beside it', (addr) => {
    const { tables, pgd, walk } = makeTables();
    const pte = mkPte(2 ** 23 - 1, PTE_WRITE);
    tables.setPte(tables.pteAlloc(pgd, addr), pte);
    expect([walk(addr), walk(addr + PAGE_SIZE - 1)]).toEqual([pte, pte]);
    if (addr > 0) expect(walk(addr - 1)).toBe(0);
    if (addr + PAGE_SIZE < TASK_SIZE) expect(walk(addr + PAGE_SIZE)).toBe(0);
  });

  test('finds nothing in an empty table, at any level', () => {
    const { tables, pgd, walk } = makeTables();
    expect(walk(0)).toBe(0);
    tables.pteAlloc(pgd, 0);
    expect([walk(0), walk(PMD_SIZE), walk(PUD_SIZE), walk(512 * PUD_SIZE)]).toEqual([0, 0, 0, 0]);
  });

  test('finds a PMD leaf for all its pages', () => {
    const { tables, pgd, walk } = makeTables();
    tables.setPte(tables.pmdAlloc(pgd, PMD_SIZE), mkPmd(512, PTE_WRITE));
    expect(leafPfn(walk(PMD_SIZE), PMD_SIZE)).toBe(512);
    expect(leafPfn(walk(2 * PMD_SIZE - 1), 2 * PMD_SIZE - 1)).toBe(1023);
    expect(walk(2 * PMD_SIZE)).toBe(0);
  });

  test('finds leaves that are not present, PTE and PMD, and does not go through them', () => {
    const { tables, pgd, walk } = makeTables();
    const leaf = mkLeaf(LEAF_MIGRATION_READ, 77, 0);
    tables.setPte(tables.pteAlloc(pgd, 0), leaf);
    tables.setPte(tables.pmdAlloc(pgd, PMD_SIZE), leaf);
    expect([walk(0), walk(PMD_SIZE), walk(PMD_SIZE + PAGE_SIZE)]).toEqual([leaf, leaf, leaf]);
  });
});
