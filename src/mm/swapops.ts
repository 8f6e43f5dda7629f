/**
 * The Uint32 page table entry (include/linux/swapops.h, leafops.h, pgtable.h). Bits 9-31 hold the
 * pfn, bits 0-8 flags:
 *
 *   bit   8       7           6      5      4..1                          0
 *         uffd-wp soft-dirty  dirty  young  present: huge,protnone,special,write 1
 *                                           else: leaf kind               0
 *
 * Young, dirty, soft-dirty and uffd-wp sit at the same place in both forms, so a migration entry
 * carries them by masking. The whole word 0 is pte_none.
 *
 * A PMD entry is one of three: 0, a table (table number and PTE_PRESENT, nothing else), or a leaf
 * that stands for HPAGE_PMD_NR pages from its pfn on: present with PTE_HUGE, or not present with a
 * kind like a PTE's.
 */
import { HPAGE_PMD_NR, PAGE_SIZE, PFN_BITS } from '../base/units.ts';

/** Bit position of the pfn in an entry. */
export const PTE_PFN_SHIFT = 32 - PFN_BITS;

export const PTE_PRESENT = 1 << 0;
export const PTE_WRITE = 1 << 1;
/** Present without a struct page behind it as far as mm is concerned: the zero page. */
export const PTE_SPECIAL = 1 << 2;
/** Present but out of the CPU's reach: the VMA has no permission at all (_PAGE_PROTNONE). */
export const PTE_PROTNONE = 1 << 3;
/** A present PMD entry that maps a large folio (_PAGE_PSE). */
export const PTE_HUGE = 1 << 4;
export const PTE_YOUNG = 1 << 5;
/** In a swap entry: no other entry shares its contents (pte_swp_exclusive). */
export const PTE_SWP_EXCLUSIVE = PTE_YOUNG;
export const PTE_DIRTY = 1 << 6;
export const PTE_SOFT_DIRTY = 1 << 7;
export const PTE_UFFD_WP = 1 << 8;

const KIND_SHIFT = 1;
const KIND_MASK = 0xf << KIND_SHIFT;

/** Kinds of non-present entries (enum softleaf_type). */
export const LEAF_MIGRATION_READ = 1;
export const LEAF_MIGRATION_READ_EXCLUSIVE = 2;
export const LEAF_MIGRATION_WRITE = 3;
export const LEAF_DEVICE_PRIVATE_READ = 4;
export const LEAF_DEVICE_PRIVATE_WRITE = 5;
export const LEAF_DEVICE_EXCLUSIVE = 6;
export const LEAF_SWAP = 7;
export const LEAF_HWPOISON = 8;
export const LEAF_MARKER_POISON = 9;
export const LEAF_MARKER_GUARD = 10;
export const LEAF_MARKER_UFFD_WP = 11;

/** A present entry. `flags` are PTE_* bits besides PTE_PRESENT. */
export function mkPte(pfn: number, flags: number): number {
  return ((pfn << PTE_PFN_SHIFT) | flags | PTE_PRESENT) >>> 0;
}

/** A non-present entry of the given LEAF_* kind. `flags` are PTE_YOUNG to PTE_UFFD_WP. */
export function mkLeaf(kind: number, pfn: number, flags: number): number {
  return ((pfn << PTE_PFN_SHIFT) | flags | (kind << KIND_SHIFT)) >>> 0;
}

/** A present PMD leaf. `flags` are PTE_* bits besides PTE_PRESENT and PTE_HUGE. */
export function mkPmd(pfn: number, flags: number): number {
  return mkPte(pfn, flags | PTE_HUGE);
}

/** True for a PMD entry that maps or stands for memory itself, not a page table (pmd_is_leaf). */
export function isPmdLeaf(pmd: number): boolean {
  return pmd !== 0 && (pmd & (PTE_PRESENT | PTE_HUGE)) !== PTE_PRESENT;
}

export function pteNone(pte: number): boolean {
  return pte === 0;
}

export function ptePresent(pte: number): boolean {
  return (pte & PTE_PRESENT) !== 0;
}

export function pteWrite(pte: number): boolean {
  return (pte & (PTE_PRESENT | PTE_WRITE)) === (PTE_PRESENT | PTE_WRITE);
}

/** The pfn of a present entry or of a leaf that holds one. */
export function ptePfn(pte: number): number {
  return pte >>> PTE_PFN_SHIFT;
}

/** The frame of `addr` under a present leaf: for a PMD leaf, one inside its folio. */
export function leafPfn(entry: number, addr: number): number {
  const pfn = entry >>> PTE_PFN_SHIFT;
  if ((entry & (PTE_PRESENT | PTE_HUGE)) !== (PTE_PRESENT | PTE_HUGE)) return pfn;
  return pfn + (Math.floor(addr / PAGE_SIZE) % HPAGE_PMD_NR);
}

/** The LEAF_* kind of a non-present entry, 0 for none or present. */
export function leafKind(pte: number): number {
  return (pte & PTE_PRESENT) !== 0 ? 0 : (pte & KIND_MASK) >>> KIND_SHIFT;
}

export function isMigrationEntry(pte: number): boolean {
  const kind = leafKind(pte);
  return kind >= LEAF_MIGRATION_READ && kind <= LEAF_MIGRATION_WRITE;
}

export function isDevicePrivateEntry(pte: number): boolean {
  const kind = leafKind(pte);
  return kind === LEAF_DEVICE_PRIVATE_READ || kind === LEAF_DEVICE_PRIVATE_WRITE;
}

/** True for the entry that makes any access to the page a SIGSEGV (is_guard_pte_marker). */
export function isGuardMarker(pte: number): boolean {
  return leafKind(pte) === LEAF_MARKER_GUARD;
}

/** True for the write forms of migration and device-private entries. */
export function isWritableLeaf(pte: number): boolean {
  const kind = leafKind(pte);
  return kind === LEAF_MIGRATION_WRITE || kind === LEAF_DEVICE_PRIVATE_WRITE;
}
