/*
 * What the fault model's figures are, in words.
 */
import type { FaultCounts, Stage, TimeSplit } from '../../src/index.ts';

/** What virtual time goes to. */
export const TIME_WORDS: Readonly<Record<keyof TimeSplit, string>> = {
  records: 'fetching and sorting records',
  service: 'fault service',
  firstTouch: 'pages that come for the first time',
  evict: 'evictions',
  copy: 'transfers',
  replay: 'replays',
  access: "the device's own work",
  remote: 'accesses over the link',
  cpu: 'CPU faults',
};

/** What a fault waits for before it reaches a stage of its life. */
export const STAGE_WORDS: Readonly<Record<Exclude<Stage, 'raised'>, string>> = {
  fetched: 'in the ring',
  preprocessed: 'sorted',
  allocated: 'memory',
  evicted: 'eviction',
  copied: 'copy',
  mapped: 'mapping',
  replayed: 'replay',
};

/** Counters, in the order in which they are shown. */
export const COUNT_WORDS: Readonly<Record<keyof FaultCounts, string>> = {
  faults: 'fault records fetched',
  duplicates: 'of them twice in a batch',
  stale: 'of them mapped by then',
  serviced: 'faults answered by the policy',
  batches: 'batches',
  groups: '2 MiB blocks in batches',
  passes: 'service passes',
  replays: 'replays',
  flushed: 'records flushed',
  overflows: 'records that found the ring full',
  movedPages: 'pages moved to the device',
  prefetchedPages: 'of them prefetched',
  prefetchedUnused: 'of those never used',
  bytesIn: 'bytes to the device',
  bytesOut: 'bytes to RAM',
  evictedPages: 'pages evicted',
  evictions: 'evictions of blocks',
  remoteMapped: 'pages mapped in RAM',
  remoteUses: 'accesses over the link',
  fallbacks: 'pages that found no memory',
  duplicated: 'pages duplicated for reading',
  duplicatesDropped: 'duplicates dropped',
  duplicatesMoved: 'wanted twice, moved',
  throttled: 'faults throttled',
  cancelled: 'faults cancelled',
  invalidPrefetches: 'prefetch accesses dropped',
  cpuFaults: 'CPU faults',
};
