import { expect, test } from 'vitest';
import { PFN_LIMIT } from '../../../src/base/units.ts';
import * as ops from '../../../src/mm/swapops.ts';

const EDGE_PFNS = [0, 1, 2 ** 22 - 1, 2 ** 22, PFN_LIMIT - 1];
const CARRIED = ops.PTE_YOUNG | ops.PTE_DIRTY | ops.PTE_SOFT_DIRTY | ops.PTE_UFFD_WP;

/** Name, value, and whether it is a migration entry, device-private, writable. */
const KINDS = [
  ['MIGRATION_READ', ops.LEAF_MIGRATION_READ, true, false, false],
  ['MIGRATION_READ_EXCLUSIVE', ops.LEAF_MIGRATION_READ_EXCLUSIVE, true, false, false],
  ['MIGRATION_WRITE', ops.LEAF_MIGRATION_WRITE, true, false, true],
  ['DEVICE_PRIVATE_READ', ops.LEAF_DEVICE_PRIVATE_READ, false, true, false],
  ['DEVICE_PRIVATE_WRITE', ops.LEAF_DEVICE_PRIVATE_WRITE, false, true, true],
  ['DEVICE_EXCLUSIVE', ops.LEAF_DEVICE_EXCLUSIVE, false, false, false],
  ['SWAP', ops.LEAF_SWAP, false, false, false],
  ['HWPOISON', ops.LEAF_HWPOISON, false, false, false],
  ['MARKER_POISON', ops.LEAF_MARKER_POISON, false, false, false],
  ['MARKER_GUARD', ops.LEAF_MARKER_GUARD, false, false, false],
  ['MARKER_UFFD_WP', ops.LEAF_MARKER_UFFD_WP, false, false, false],
] as const;

test.each(EDGE_PFNS)(
  'a present entry of pfn %i keeps pfn and flags, and is not negative [F1]',
  (pfn) => {
    for (const flags of [0, ops.PTE_WRITE, ops.PTE_SPECIAL, ops.PTE_PROTNONE, CARRIED]) {
      const pte = ops.mkPte(pfn, flags);
      expect(pte).toBeGreaterThan(0);
      expect(pte).toBeLessThan(2 ** 32);
      expect(ops.ptePfn(pte)).toBe(pfn);
      expect(pte & 0x1ff).toBe(flags | ops.PTE_PRESENT);
      expect([ops.ptePresent(pte), ops.pteNone(pte), ops.leafKind(pte)]).toEqual([true, false, 0]);
      expect(ops.pteWrite(pte)).toBe(flags === ops.PTE_WRITE);
    }
  },
);

test.each(KINDS)('LEAF_%s is told from all others [F1]', (_n, kind, migration, device, write) => {
  for (const pfn of EDGE_PFNS) {
    for (const flags of [0, CARRIED, ops.PTE_YOUNG, ops.PTE_UFFD_WP]) {
      const pte = ops.mkLeaf(kind, pfn, flags);
      expect(pte).toBeGreaterThan(0);
      expect(pte).toBeLessThan(2 ** 32);
      expect([ops.ptePresent(pte), ops.pteNone(pte), ops.pteWrite(pte)]).toEqual([
        false,
        false,
        false,
      ]);
      expect([ops.leafKind(pte), ops.ptePfn(pte), pte & CARRIED]).toEqual([kind, pfn, flags]);
      expect(ops.isMigrationEntry(pte)).toBe(migration);
      expect(ops.isDevicePrivateEntry(pte)).toBe(device);
      expect(ops.isWritableLeaf(pte)).toBe(write);
    }
  }
});

test('kinds are distinct and fit their field [F1]', () => {
  const numbers = KINDS.map(([, kind]) => kind);
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(Math.min(...numbers)).toBe(1);
  expect(Math.max(...numbers)).toBeLessThan(16);
});

test('the zero word is pte_none and no kind at all', () => {
  expect([ops.pteNone(0), ops.ptePresent(0), ops.leafKind(0)]).toEqual([true, false, 0]);
  expect([ops.isMigrationEntry(0), ops.isDevicePrivateEntry(0), ops.isWritableLeaf(0)]).toEqual([
    false,
    false,
    false,
  ]);
});

test('the write bit of a present entry is not taken for a leaf kind', () => {
  const pte = ops.mkPte(7, ops.PTE_WRITE | ops.PTE_SPECIAL | ops.PTE_PROTNONE);
  expect([ops.isMigrationEntry(pte), ops.isDevicePrivateEntry(pte)]).toEqual([false, false]);
  expect(ops.isWritableLeaf(pte)).toBe(false);
});

test('young, dirty, soft-dirty and uffd-wp sit at the same place in both forms', () => {
  expect(ops.mkPte(3, CARRIED) & CARRIED).toBe(ops.mkLeaf(ops.LEAF_SWAP, 3, CARRIED) & CARRIED);
});
