/**
 * AMD's kfd (kfd_svm.c, kfd_migrate.c): a fault, on either side, moves an aligned window of
 * 2^granularity pages of the range; 2 MiB by default. What fails stays in RAM.
 *
 * Leaves out: the filters of 5 ms and 2 ms, which here are the check for a page that is mapped by
 * now; XNACK off, where queues are stopped instead of faulting.
 */
import { ACCESS_COUNTER } from '../policy.ts';
import { makeEviction } from '../eviction.ts';
import type { EvictionOrder } from '../eviction.ts';
import type {
  Cause,
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicySetup,
  PolicyView,
  ServiceTraits,
  VictimRequest,
  Victims,
} from '../policy.ts';

/** log2 of the pages of a window, unless the range says otherwise: 2 MiB. */
export const KFD_GRANULARITY = 9;

/** The policy of kfd for one device, XNACK on. */
export class KfdPolicy implements FaultPolicy {
  readonly name = 'kfd';
  readonly source = 'Linux: kfd_svm.c, kfd_migrate.c';
  readonly constants: Readonly<Record<string, number | string | boolean>>;
  // One interrupt, one fault.
  readonly service: Partial<ServiceTraits> = {
    batchLimit: 1,
    replay: 'ack',
    coalesce: false,
    costs: 'fault',
  };
  private readonly granularity: number | undefined;
  private readonly eviction: EvictionOrder;

  /** @param granularity for all ranges; by default each range has its own */
  constructor(setup: PolicySetup, granularity?: number) {
    this.granularity = granularity;
    this.constants = { granularity: granularity ?? KFD_GRANULARITY, evict: 'lra2m' };
    this.eviction = makeEviction('lra2m', setup);
  }

  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
    for (let i = 0; i < faults.count; i++) {
      const page = faults.pages[i]!;
      const { hints } = view.regionOf(page)!;
      const stays = hints.accessedBy && view.where[page] !== 0;
      const isCounter = faults.access[i] === ACCESS_COUNTER;
      if (hints.preferred === 'ram' || (stays && hints.preferred === 'none' && !isCounter)) {
        answer.remote(page);
      } else {
        this.moveWindow(page, view, answer);
      }
    }
  }

  private moveWindow(page: number, view: PolicyView, answer: Decisions): void {
    const region = view.regionOf(page)!;
    const size = 2 ** (this.granularity ?? region.hints.granularity);
    // A range that a fault makes is a VMA's part in a window of 2 MiB.
    const start = page - (page % size);
    const first = Math.max(start, region.first);
    const outer = Math.min(start + size, region.outer);
    answer.migrate(page);
    for (let at = first; at < outer; at++) answer.migrate(at);
  }

  onCpuFault(page: number, _access: number, view: PolicyView, answer: Decisions): void {
    this.moveWindow(page, view, answer);
  }

  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
    this.eviction.choose(request, view, victims);
  }

  arrived(page: number, _cause: Cause, view: PolicyView): void {
    this.eviction.arrived(page, view);
  }

  left(page: number, _cause: Cause, view: PolicyView): void {
    this.eviction.left(page, view);
  }
}
