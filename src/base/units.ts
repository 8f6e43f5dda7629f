/**
 * Sizes of the emulated machine and the unit conversions that go with them. Addresses and byte
 * counts are `number` below 2^53; pfns are unsigned 23-bit integers. Virtual page numbers need up
 * to 36 bits, so they are divided and multiplied, never shifted.
 */

/** log2 of the base page size. */
export const PAGE_SHIFT = 12;
/** Bytes of a base page. */
export const PAGE_SIZE = 4096;
/** 32-bit words of a base page. */
export const WORDS_PER_PAGE = PAGE_SIZE / 4;
/** Entries of a page table at each of the four levels. */
export const PTRS_PER_TABLE = 512;
/** Bytes that one PMD entry covers, and the size of a PMD folio. */
export const PMD_SIZE = PAGE_SIZE * PTRS_PER_TABLE;
/** Pages of a PMD folio. */
export const HPAGE_PMD_NR = PTRS_PER_TABLE;
/** Page order of a PMD folio. */
export const HPAGE_PMD_ORDER = 9;
/** Bits of a pfn: 32 GiB of RAM and device memory together. */
export const PFN_BITS = 23;
/** One past the highest pfn that any structure can hold. */
export const PFN_LIMIT = 2 ** PFN_BITS;
/** One past the highest user address (47 bits, as on x86-64). */
export const TASK_SIZE = 2 ** 47;
/** Lowest address that mmap hands out or accepts, as vm.mmap_min_addr. */
export const MMAP_MIN_ADDR = 65536;

/** Bytes to whole pages, rounded up. */
export function bytesToPages(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE);
}

/** Address rounded down to its page. */
export function pageAlignDown(addr: number): number {
  // Not by %, which costs three times as much on doubles.
  return Math.floor(addr / PAGE_SIZE) * PAGE_SIZE;
}

/** Address rounded down to what one PMD entry covers. */
export function pmdAlignDown(addr: number): number {
  return Math.floor(addr / PMD_SIZE) * PMD_SIZE;
}

/** Address rounded up to a page. */
export function pageAlignUp(addr: number): number {
  return Math.ceil(addr / PAGE_SIZE) * PAGE_SIZE;
}

/** True when `addr` is a multiple of the page size; callers without types may pass anything. */
export function isPageAligned(addr: number): boolean {
  return Number.isSafeInteger(addr) && addr % PAGE_SIZE === 0;
}

/** True for a number that can be an address or byte count: a safe integer, zero or more. */
export function isAddress(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
