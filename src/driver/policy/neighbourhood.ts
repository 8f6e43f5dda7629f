/**
 * The prefetchers and the tree eviction of UVMSmart (gpgpu-sim_UVMSmart; ISCA'19).
 *
 * TBN, the tree-based neighbourhood: a block of 2 MiB is a binary tree whose 32 leaves are groups
 * of 64 KiB. A fault fills its group; then, upwards, each node of which strictly more than half is
 * valid is filled. Eviction is the mirror image: a node of which strictly less than half is left is
 * emptied. SL takes the 64 KiB group, random one page drawn from the block.
 */
import type { Prng } from '../../base/prng.ts';
import { BLOCK_PAGES, GROUP_PAGES } from './block.ts';

/**
 * Fills the tree for one fault, which must be on a page that is not valid.
 *
 * @param valid a byte per page of the block: pages on the device or on their way; updated
 * @param page page of the fault within the block
 * @param first first page of the block that exists
 * @param outer one past the last page that exists
 * @param out a byte per page; set to 1 for each page to fetch, the faulted one included
 *
 * Context: pure.
 */
export function fillNeighbourhood(
  valid: Uint8Array,
  page: number,
  first: number,
  outer: number,
  out: Uint8Array,
): void {
  for (let size = GROUP_PAGES; size <= BLOCK_PAGES; size *= 2) {
    const from = Math.max(first, page - (page % size));
    const to = Math.min(outer, page - (page % size) + size);
    // The group of the fault is filled in any case.
    if (size > GROUP_PAGES && 2 * count(valid, from, to) <= to - from) continue;
    for (let at = from; at < to; at++) {
      if (valid[at] === 0) {
        valid[at] = 1;
        out[at] = 1;
      }
    }
  }
}

/**
 * Empties the tree around a group of 64 KiB that is evicted.
 *
 * @param valid a byte per page of the block: pages on the device; updated
 * @param page any page of the group within the block
 * @param first first page of the block that exists
 * @param outer one past the last page that exists
 * @param out a byte per page; set to 1 for each page to evict
 *
 * Context: pure.
 */
export function emptyNeighbourhood(
  valid: Uint8Array,
  page: number,
  first: number,
  outer: number,
  out: Uint8Array,
): void {
  for (let size = GROUP_PAGES; size <= BLOCK_PAGES; size *= 2) {
    const from = Math.max(first, page - (page % size));
    const to = Math.min(outer, page - (page % size) + size);
    if (size > GROUP_PAGES && 2 * count(valid, from, to) >= to - from) continue;
    for (let at = from; at < to; at++) {
      if (valid[at] === 1) {
        valid[at] = 0;
        out[at] = 1;
      }
    }
  }
}

/**
 * The random prefetcher: one page drawn from the whole block, and nothing where it is valid
 * already. A sweep over a block then takes ln 2 of the faults, as the published logs show.
 *
 * @returns a page of the block, or -1
 */
export function randomNeighbour(
  valid: Uint8Array,
  first: number,
  outer: number,
  prng: Prng,
): number {
  const page = first + prng.below(outer - first);
  return valid[page] === 0 ? page : -1;
}

function count(valid: Uint8Array, from: number, to: number): number {
  let sum = 0;
  for (let page = from; page < to; page++) sum += valid[page]!;
  return sum;
}
