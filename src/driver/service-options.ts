/**
 * What a service pager is made with, and what it counts.
 */
import type { CostModel } from './policy/cost-model.ts';
import type { FaultLives } from './policy/fault-lives.ts';
import type { PolicyFactory, ServiceTraits } from './policy/policy.ts';
import type { RangeHints } from './range-hints.ts';

/** What a pager is made with. */
export interface ServicePagerOptions {
  readonly policy: PolicyFactory;
  readonly cost?: CostModel;
  readonly traits?: Partial<ServiceTraits>;
  readonly lives?: FaultLives;
  readonly seed?: number;
  readonly ringRecords?: number;
  /** Pages of device memory that the context may use; all by default. */
  readonly devicePages?: number;
  /** What the user has said about ranges; of those that overlap the last count. */
  readonly hints?: readonly RangeHints[];
  /** The program reports each stopped invocation, and no page only once (`dedup: false`). */
  readonly isComplete?: boolean;
  /** Whether a page is raised once per run, where `isComplete`; the default is false. */
  readonly dedup?: boolean;
  /** Told of each refusal: the page, whether it was to be written, and the errno. */
  readonly onRefuse?: (page: number, write: boolean, why: number) => void;
  /** Compares all of the service's bookkeeping with the page tables at each replay. */
  readonly checks?: boolean;
}

/** What was really done, counted where pages moved. Pages of 4 KiB. */
export interface ServicePagerStats {
  /** Pages that came to the device, and pages that the service sent home. */
  in: number;
  out: number;
  /** Pages that left by themselves: CPU faults, munmap and the like. */
  lost: number;
  /** Refusals. */
  cancelled: number;
}
