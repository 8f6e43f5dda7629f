/**
 * The density-tree prefetcher of NVIDIA's UVM driver (uvm_perf_prefetch.c, 595.45).
 *
 * A binary tree stands over the pages of a region inside one 2 MiB block. A fault brings its whole
 * 64 KiB group; then each faulted page brings the largest node above it of which more than
 * `threshold` per cent is on the device or on its way. So a block that is touched from one end to
 * the other takes six faults: 64K, 64K, 128K, 256K, 512K, 1M.
 */
import { BLOCK_PAGES, GROUP_PAGES } from './block.ts';

/** Default per cent of a node that must be there before all of it is fetched; strictly more. */
export const UVM_PREFETCH_THRESHOLD = 51;
/** Faults that a destination must have had in a block before anything is prefetched to it. */
export const UVM_PREFETCH_MIN_FAULTS = 1;

/** One decision. Masks have a byte per page of the block, 0 or 1. */
export interface TreeRequest {
  /** Pages that are on the destination already. */
  readonly resident: Uint8Array;
  readonly faulted: Uint8Array;
  /** Pages that move to and fro; neither they nor their 64 KiB groups are prefetched. */
  readonly thrashing: Uint8Array;
  /** First page of the region that may be prefetched: the block, or its part in the VMA. */
  readonly first: number;
  /** One past the last page of that region. */
  readonly outer: number;
  /** Per cent, 0 to 100. */
  readonly threshold: number;
}

/** Sums over the leaves, so that a node is counted by one subtraction. One decision at a time. */
const sums = new Uint16Array(2 * BLOCK_PAGES + 1);
const leaves = new Uint8Array(2 * BLOCK_PAGES);

/**
 * Chooses the pages to fetch besides those that faulted.
 *
 * @param out a byte per page of the block; set to 1 for each page to prefetch, else 0
 * @returns the number of pages to prefetch
 *
 * Context: pure. Source: uvm_perf_prefetch.c, the steps after its gate.
 */
export function densityTree(request: TreeRequest, out: Uint8Array): number {
  const { faulted, thrashing, first, outer } = request;
  out.fill(0);
  const shift = plantLeaves(request);
  const leafCount = outer - first + shift;
  sums[0] = 0;
  for (let leaf = 0; leaf < leafCount; leaf++) sums[leaf + 1] = sums[leaf]! + leaves[leaf]!;
  for (let page = first; page < outer; page++) {
    if (faulted[page] === 0 || thrashing[page] === 1) continue;
    const end = growFrom(page - first + shift, leafCount, request.threshold, first - shift, out);
    // What ends at the region's end has been fetched by the largest node that can reach it.
    if (end === outer) break;
  }
  let count = 0;
  for (let page = 0; page < BLOCK_PAGES; page++) {
    const wanted = page >= first && page < outer && faulted[page] === 0 && thrashing[page] === 0;
    if (!wanted) out[page] = 0;
    count += out[page]!;
  }
  return count;
}

/**
 * Fills the leaves with what is there and what is coming, whole 64 KiB groups where none of their
 * pages thrashes.
 *
 * @returns leaves before the region's first page, which keep the groups aligned in the tree
 */
function plantLeaves(request: TreeRequest): number {
  const { resident, faulted, first, outer } = request;
  const firstGroup = Math.ceil(first / GROUP_PAGES) * GROUP_PAGES;
  const endGroup = outer - (outer % GROUP_PAGES);
  const hasGroup = firstGroup < endGroup;
  const shift = hasGroup ? (GROUP_PAGES - (firstGroup - first)) % GROUP_PAGES : 0;
  leaves.fill(0);
  for (let page = first; page < outer; page++) {
    leaves[page - first + shift] = resident[page]! | faulted[page]!;
  }
  if (!hasGroup) {
    growGroup(request, first, outer, shift);
    return shift;
  }
  if (first < firstGroup) growGroup(request, first, firstGroup, shift);
  for (let at = firstGroup; at < endGroup; at += GROUP_PAGES) {
    growGroup(request, at, at + GROUP_PAGES, shift);
  }
  if (endGroup < outer) growGroup(request, endGroup, outer, shift);
  return shift;
}

function growGroup(request: TreeRequest, from: number, to: number, shift: number): void {
  const { faulted, thrashing, first } = request;
  let hasFault = 0;
  let hasThrashing = 0;
  for (let page = from; page < to; page++) {
    hasFault |= faulted[page]!;
    hasThrashing |= thrashing[page]!;
  }
  if (hasFault === 1 && hasThrashing === 0)
    leaves.fill(1, from - first + shift, to - first + shift);
}

/**
 * Marks the largest node above a leaf that is full enough. A node at the ragged end counts the
 * pages that exist.
 *
 * @returns one past the last page marked, or -1
 */
function growFrom(
  leaf: number,
  leafCount: number,
  threshold: number,
  base: number,
  out: Uint8Array,
): number {
  let from = 0;
  let to = 0;
  for (let size = 1; ; size *= 2) {
    const start = leaf - (leaf % size);
    const end = Math.min(start + size, leafCount);
    if ((sums[end]! - sums[start]!) * 100 > (end - start) * threshold) {
      from = start;
      to = end;
    }
    if (size >= leafCount) break;
  }
  if (to === 0) return -1;
  out.fill(1, Math.max(0, base + from), base + to);
  return base + to;
}
