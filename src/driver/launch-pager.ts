/*
 * What a launch needs of whoever serves its faults. The pagers behind it differ in what they move
 * when: machine-pager.ts moves the pages that were asked for, policy-pager.ts what a policy wants.
 *
 * Locking. As each pager says. Source: our own.
 */
import type { MaybePromise } from '../base/maybe.ts';
import {
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_LANE,
  FAULT_WORDS,
  FAULT_WORKGROUP,
} from '../engine/vm/abi.ts';
import type { FaultBatch, PassHooks } from '../engine/vm/launch.ts';

/** What became of the faults so far. */
export interface PagerStats {
  /** Pages mapped for the context. */
  mapped: number;
  /** Entries that the notifier, a migration or an eviction took away. */
  erased: number;
  evicted: number;
  /** Pages whose accesses of some kind end their invocation. */
  cancelled: number;
  /** Pages of a batch that stay in RAM and are lent. */
  remote: number;
}

/** An access that the process may not make, or whose page can't be had. */
export interface Refusal {
  /** Virtual address. */
  readonly address: number;
  /** `ACCESS_*` of abi.ts. */
  readonly access: number;
  /** EFAULT: nothing there, or not allowed. EBUSY: it can't come to the device. ENOMEM. */
  readonly errno: number;
  readonly workgroup: number;
  /** Invocation within the workgroup. */
  readonly lane: number;
  /** Number of the pass, from 0. */
  readonly pass: number;
}

/** Serves one launch's faults. */
export interface LaunchPager {
  readonly stats: PagerStats;
  /** The first of those that were refused. */
  readonly refusals: readonly Refusal[];
  /** Why `serve` gave up: ENODEV, EIO, EINTR; 0 for other reasons. */
  readonly failure: number;
  /** Has to hear of passes without faults, too; passes without progress that it may need. */
  readonly everyPass: boolean;
  readonly patience: number;
  /** Before the first pass. Context: waits. */
  begin(): MaybePromise<void>;
  /** Serves a batch; see launch.ts for the answers. Context: waits. */
  serve(batch: FaultBatch): Promise<boolean | 'hold'>;
  /** What it does around each pass of the launch, if anything. */
  readonly around: PassHooks | undefined;
  /** No pass comes for a while. Context: between two passes; nothing is granted. */
  pause(): void;
  /** The pass that uses what was granted is queued. */
  passSubmitted(): void;
  /** The launch is over: nothing is mapped any more. Context: waits. */
  close(): MaybePromise<void>;
}

/** Refusals that are kept. */
const MAX_REFUSALS = 64;

/**
 * Adds a refusal to a list that is not full.
 *
 * @param record number of the record in the batch
 * @param origin virtual address that is address 0 of the context
 */
export function noteRefusal(
  refusals: Refusal[],
  { records, pass }: FaultBatch,
  record: number,
  origin: number,
  errno: number,
): void {
  if (refusals.length === MAX_REFUSALS) return;
  const at = record * FAULT_WORDS;
  refusals.push({
    address: origin + records[at + FAULT_ADDRESS]!,
    access: records[at + FAULT_ACCESS]!,
    errno,
    workgroup: records[at + FAULT_WORKGROUP]!,
    lane: records[at + FAULT_LANE]!,
    pass,
  });
}
