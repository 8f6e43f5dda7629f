/**
 * What a run counts, and what its virtual time went to.
 */

/** Counters of a run. Pages are of 4 KiB. */
export interface FaultCounts {
  /** Raw fault records fetched. */
  faults: number;
  /** Records of a page that the same batch had already. */
  duplicates: number;
  /** Records of a page that was mapped well enough when their turn came. */
  stale: number;
  /** Records dropped by a flush, and records that found the ring full. */
  flushed: number;
  overflows: number;
  /** Distinct faults that a policy answered. */
  serviced: number;
  throttled: number;
  passes: number;
  batches: number;
  replays: number;
  /** Block groups serviced, each under its block's lock. */
  groups: number;
  movedPages: number;
  bytesIn: number;
  bytesOut: number;
  prefetchedPages: number;
  /** Prefetched pages that were evicted, or were there at the end, without having been used. */
  prefetchedUnused: number;
  evictedPages: number;
  /** Blocks that lost pages in an eviction, each time counted. */
  evictions: number;
  remoteMapped: number;
  remoteUses: number;
  /** Faults served from RAM because no memory could be freed or the move failed. */
  fallbacks: number;
  duplicated: number;
  duplicatesDropped: number;
  /** Pages that the policy wanted in both memories, and that moved: a machine has a page once. */
  duplicatesMoved: number;
  /** Pages whose faults can't be serviced: records cancelled. */
  cancelled: number;
  /** Prefetch accesses that were not allowed, dropped without harm. */
  invalidPrefetches: number;
  cpuFaults: number;
}

/** @returns counters, all 0 */
export function makeCounts(): FaultCounts {
  return {
    faults: 0,
    duplicates: 0,
    stale: 0,
    flushed: 0,
    overflows: 0,
    serviced: 0,
    throttled: 0,
    passes: 0,
    batches: 0,
    replays: 0,
    groups: 0,
    movedPages: 0,
    bytesIn: 0,
    bytesOut: 0,
    prefetchedPages: 0,
    prefetchedUnused: 0,
    evictedPages: 0,
    evictions: 0,
    remoteMapped: 0,
    remoteUses: 0,
    fallbacks: 0,
    duplicated: 0,
    duplicatesDropped: 0,
    duplicatesMoved: 0,
    cancelled: 0,
    invalidPrefetches: 0,
    cpuFaults: 0,
  };
}

/** Where virtual time went, µs. */
export interface TimeSplit {
  /** Fetching, merging and sorting records. */
  records: number;
  /** The fixed part of each batch or far fault. */
  service: number;
  firstTouch: number;
  evict: number;
  copy: number;
  replay: number;
  /** The device's own work, and what it waits for the link. */
  access: number;
  remote: number;
  cpu: number;
}

/** @returns times, all 0 */
export function makeTimes(): TimeSplit {
  return {
    records: 0,
    service: 0,
    firstTouch: 0,
    evict: 0,
    copy: 0,
    replay: 0,
    access: 0,
    remote: 0,
    cpu: 0,
  };
}
