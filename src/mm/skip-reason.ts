/**
 * Why a page was not migrated. Linux only leaves a zero or a cleared MIGRATE bit behind; here each
 * such place also says which of the many reasons it was, when the caller asked
 * (`MigrateVma.reasons`). Our own.
 */

/** Nothing stopped the page (so far). */
export const SKIP_NONE = 0;
/** A kind of page that the flags do not select. */
export const SKIP_NOT_SELECTED = 1;
/** Device memory of somebody else. */
export const SKIP_FOREIGN_OWNER = 2;
/** A present entry without a struct page behind it. */
export const SKIP_SPECIAL = 3;
/** Nothing there, and the VMA is not anonymous: only its object could make the page. */
export const SKIP_HOLE_NOT_ANONYMOUS = 4;
/** Swap, device-exclusive, poison or marker entry. */
export const SKIP_NOT_A_PAGE = 5;
/** Under migration already. */
export const SKIP_MIGRATION_IN_PROGRESS = 6;
/** The page belongs to no anon_vma and no object (any more). */
export const SKIP_NO_MAPPING = 7;
/** Somebody else holds the page lock. */
export const SKIP_LOCKED = 8;
/** Exclusive and possibly pinned: its mapping can't even be taken away. */
export const SKIP_PINNED_AT_COLLECT = 9;
/** Not on the LRU: somebody else isolated it. */
export const SKIP_NOT_ON_LRU = 10;
/** A mapping elsewhere could not be taken away. */
export const SKIP_STILL_MAPPED = 11;
/** More references than the mappings account for, after unmapping. */
export const SKIP_PINNED_AT_UNMAP = 12;
/** The driver left the destination empty. */
export const SKIP_NO_DESTINATION = 13;
/** Only anonymous memory may enter the device; this is a page-cache page. */
export const SKIP_PAGE_CACHE = 14;
/** More references than expected at commit: somebody took one while the copy ran. */
export const SKIP_PINNED_AT_COMMIT = 15;
/** A hole that was filled by somebody else while the copy ran. */
export const SKIP_HOLE_RACED = 16;
/** No memory for a page table. */
export const SKIP_NO_MEMORY = 17;
/** Selected by pfn, but the page is free. */
export const SKIP_FREE_PAGE = 18;
/** A hole whose faults belong to a userfaultfd. */
export const SKIP_USERFAULTFD = 19;
/** The OOM reaper took pages of the address space: a hole may have been a page. */
export const SKIP_MM_UNSTABLE = 20;
/** A large folio that had to be split and could not be: somebody else refers to it. */
export const SKIP_SPLIT_FAILED = 21;
/** A large folio on one side, single pages on the other, and no way to split. */
export const SKIP_SIZES_DIFFER = 22;
/** In the swap cache, and others may still swap it in. */
export const SKIP_SWAP_CACHE = 23;
/** A CPU core did not acknowledge the TLB flush in time and may still use the page. */
export const SKIP_CORE_SILENT = 24;
/** The driver's copy failed, so that it took the destination back. */
export const SKIP_COPY_FAILED = 25;

const NAMES: readonly string[] = [
  'none',
  'not selected',
  'foreign owner',
  'special',
  'hole in a non-anonymous VMA',
  'not a page',
  'migration in progress',
  'no mapping',
  'locked',
  'pinned at collect',
  'not on the LRU',
  'still mapped',
  'pinned at unmap',
  'no destination',
  'page-cache page to a device',
  'pinned at commit',
  'hole raced',
  'no memory',
  'free page',
  'userfaultfd',
  'address space was reaped',
  'large folio not split',
  'sizes differ',
  'swap cache in use',
  'core did not answer',
  'copy failed',
];

/** Number of SKIP_* codes; they are 0 to SKIP_REASONS - 1. */
export const SKIP_REASONS = NAMES.length;

/** A SKIP_* code in words, for people: "pinned at commit". */
export function skipReasonName(code: number): string {
  return NAMES[code] ?? `unknown reason ${code}`;
}

/**
 * Notes why the pages of slots `from` to `to` stay. A driver that takes a destination back may have
 * said why already.
 */
export function noteReason(
  reasons: Uint8Array | null,
  reason: number,
  from: number,
  to: number,
): void {
  if (reasons === null) return;
  if (reason !== SKIP_NO_DESTINATION || reasons[from] === SKIP_NONE) reasons.fill(reason, from, to);
}
