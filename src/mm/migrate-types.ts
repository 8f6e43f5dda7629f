/**
 * What callers of device migration see (include/linux/migrate.h): the entries of src[] and dst[],
 * the selection flags and `MigrateVma`, the arguments that travel through setup, pages and
 * finalize.
 *
 * An entry is a Uint32: pfn << MIGRATE_PFN_SHIFT | flags. In src[], MIGRATE alone (without VALID)
 * stands for a hole or the zero page: there is no source page, the destination is to be filled with
 * zeroes.
 */
import { HPAGE_PMD_NR } from '../base/units.ts';
import type { Vma } from './mm-types.ts';

/** src: there is a page. dst: the driver filled the slot; without it the page stays. */
export const MIGRATE_PFN_VALID = 1 << 0;
/** src: a candidate; after migrateVmaPages: it made it. */
export const MIGRATE_PFN_MIGRATE = 1 << 1;
/**
 * src: the source mapping was writable. Without effect in dst; drivers keep their own note there.
 */
export const MIGRATE_PFN_WRITE = 1 << 3;
/**
 * The entry stands for a whole PMD folio, or a hole of that size; the HPAGE_PMD_NR - 1 entries
 * behind it are 0. In dst: the destination is a large folio.
 */
export const MIGRATE_PFN_COMPOUND = 1 << 4;
/** Position of the pfn. */
export const MIGRATE_PFN_SHIFT = 6;

/** Present pages, the zero page. */
export const MIGRATE_VMA_SELECT_SYSTEM = 1 << 0;
/** Device-private pages whose pagemap has the owner `pgmapOwner`. */
export const MIGRATE_VMA_SELECT_DEVICE_PRIVATE = 1 << 1;
/** Coherent device pages whose pagemap has that owner. */
export const MIGRATE_VMA_SELECT_DEVICE_COHERENT = 1 << 2;

/** Large folios may be migrated whole; without it they are split first. */
export const MIGRATE_VMA_SELECT_COMPOUND = 1 << 3;

/** No fault page: nobody holds a page of the range locked on the caller's behalf. */
export const NO_FAULT_PAGE = -1;

/** One migration of part of a VMA (struct migrate_vma). */
export interface MigrateVma {
  readonly vma: Vma;
  /** One entry a page; written by setup, the caller must not change it. */
  readonly src: Uint32Array;
  /** One entry a page; zeroed by setup, filled in by the driver before pages. */
  readonly dst: Uint32Array;
  /** The range, inside the VMA; setup rounds both down to a page. */
  start: number;
  end: number;
  /** Outputs of setup: entries that may migrate (holes count), and entries in all. */
  cpages: number;
  npages: number;
  /** Owner of the device pages that DEVICE_* selects, and of the MIGRATE notifier events. */
  readonly pgmapOwner: unknown;
  /** MIGRATE_VMA_SELECT_*. */
  readonly flags: number;
  /** The page that a CPU fault in progress holds locked and referenced, or NO_FAULT_PAGE. */
  readonly faultPage: number;
  /** Gets a SKIP_* code for each page that does not migrate; null = nobody asks. Our own. */
  readonly reasons: Uint8Array | null;
}

/** The entry of a page (migrate_pfn). */
export function migratePfn(pfn: number): number {
  return ((pfn << MIGRATE_PFN_SHIFT) | MIGRATE_PFN_VALID) >>> 0;
}

/** Entries that one stands for: HPAGE_PMD_NR for a compound one. */
export function migrateEntryPages(entry: number): number {
  return (entry & MIGRATE_PFN_COMPOUND) === 0 ? 1 : HPAGE_PMD_NR;
}

/** The pfn of an entry, -1 when it has no page (migrate_pfn_to_page). */
export function migratePfnToPage(entry: number): number {
  return (entry & MIGRATE_PFN_VALID) === 0 ? -1 : entry >>> MIGRATE_PFN_SHIFT;
}
