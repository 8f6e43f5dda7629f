/**
 * Sizes that placement policies share. A policy decides inside a block of 2 MiB, in groups of
 * 64 KiB, on pages of 4 KiB.
 */

/** Bytes of a page. */
export { PAGE_SIZE } from '../../base/units.ts';
/** Pages of a 64 KiB group. */
export const GROUP_PAGES = 16;
/** log2 of GROUP_PAGES. */
export const GROUP_SHIFT = 4;
/** Pages of a 2 MiB block. */
export const BLOCK_PAGES = 512;
/** log2 of BLOCK_PAGES. */
export const BLOCK_SHIFT = 9;

/** The first page of the block that `page` is in. */
export function blockStart(page: number): number {
  return page - (page % BLOCK_PAGES);
}

/** The first page of the 64 KiB group that `page` is in. */
export function groupStart(page: number): number {
  return page - (page % GROUP_PAGES);
}
