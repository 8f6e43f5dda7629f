/**
 * What the walks of zap, fork and mprotect do with a PMD leaf that lies wholly in their range
 * (mm/huge_memory.c: zap_huge_pmd, copy_huge_pmd, change_huge_pmd). A leaf that lies partly in the
 * range is split first (split-huge-pmd.ts), and its PTEs are walked.
 *
 * Locking: as the walk that calls; the caller notifies and flushes. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR } from '../base/units.ts';
import { countHugeRss } from './hugetlb.ts';
import type { MmStruct } from './mm-types.ts';
import { PG_DIRTY, PG_REFERENCED } from './page.ts';
import { folioRemoveRmapPmd, folioTryDupAnonRmapPmd } from './rmap.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_MIGRATION_READ,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isMigrationEntry,
  isWritableLeaf,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';

/** No folio: nothing refers to pfn 0. */
export const NO_FOLIO = 0;

/**
 * Clears a PMD leaf and gives its deposited table back (zap_huge_pmd).
 *
 * @returns the folio whose reference the caller now has, or NO_FOLIO.
 */
export function zapHugePmd(mm: MmStruct, at: number): number {
  const { sys } = mm;
  const pmd = sys.pageTables.words[at]!;
  sys.pageTables.setPte(at, 0);
  sys.pageTables.freeTable(sys.pageTables.withdrawTable(at));
  const folio = ptePfn(pmd);
  if (ptePresent(pmd)) {
    if ((pmd & PTE_SPECIAL) !== 0) return NO_FOLIO;
    if ((pmd & PTE_DIRTY) !== 0) sys.mem.setFlag(folio, PG_DIRTY);
    if ((pmd & PTE_YOUNG) !== 0) sys.mem.setFlag(folio, PG_REFERENCED);
  }
  countHugeRss(mm, folio, -HPAGE_PMD_NR);
  // The migration dropped mapping and reference when it installed its entry.
  if (isMigrationEntry(pmd)) return NO_FOLIO;
  folioRemoveRmapPmd(sys, folio);
  return folio;
}

/**
 * Makes the child's PMD leaf at fork (copy_huge_pmd), with a table in deposit: both sides lose
 * write permission, device-private folios are shared as READ, migration entries become READ.
 *
 * @param target Word index of the child's empty PMD entry.
 * @returns 1 when a present entry of the parent lost write permission, 0 when none did, -1 when the
 * folio may be pinned: split the parent's entry and copy page by page. The caller has made sure of
 * a table.
 */
export function copyHugePmd(
  child: MmStruct,
  target: number,
  parent: MmStruct,
  at: number,
  table: number,
): number {
  const { sys } = parent;
  const { words } = sys.pageTables;
  const pmd = words[at]!;
  const folio = ptePfn(pmd);
  const isPresent = ptePresent(pmd);
  const isZero = isPresent && (pmd & PTE_SPECIAL) !== 0;
  if (!isZero && !isMigrationEntry(pmd)) {
    if (!folioTryDupAnonRmapPmd(sys, folio)) return -1;
    sys.mem.getPage(folio);
  }
  if (!isZero) countHugeRss(child, folio, HPAGE_PMD_NR);
  const shared = isPresent ? (pmd & ~PTE_WRITE) >>> 0 : sharedLeaf(pmd, folio);
  words[at] = shared;
  const cleared = isPresent ? PTE_YOUNG | PTE_UFFD_WP : PTE_UFFD_WP;
  sys.pageTables.depositTable(target, table);
  sys.pageTables.setPte(target, (shared & ~cleared) >>> 0);
  return isPresent && (pmd & PTE_WRITE) !== 0 ? 1 : 0;
}

function sharedLeaf(pmd: number, folio: number): number {
  const carried = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
  if (isMigrationEntry(pmd)) return mkLeaf(LEAF_MIGRATION_READ, folio, pmd & carried);
  assert(isDevicePrivateEntry(pmd), 'I36: a PMD entry is of a known kind');
  if (!isWritableLeaf(pmd)) return pmd;
  return mkLeaf(LEAF_DEVICE_PRIVATE_READ, folio, pmd & (PTE_SOFT_DIRTY | PTE_UFFD_WP));
}
