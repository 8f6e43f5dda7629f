/**
 * Intel's xe on drm_gpusvm (Linux 6.19): a fault takes the largest range of 2 MiB, 64 KiB or 4 KiB
 * that fits, and all of it moves or nothing does. A range that was moved for an atomic stays on the
 * device for a timeslice of 5 ms, unless it is evicted; a CPU fault takes the whole range home.
 *
 * Leaves out: the retries of a bind that races with a notifier, which need real page tables.
 */
import { BLOCK_PAGES, GROUP_PAGES } from '../block.ts';
import { OrderList } from '../order-list.ts';
import { ACCESS_ATOMIC, ACCESS_COUNTER, ON_DEVICE } from '../policy.ts';
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

/** Sizes of ranges in pages, the largest first. */
export const XE_RANGE_PAGES = [BLOCK_PAGES, GROUP_PAGES, 1] as const;
/** How long a page moved for an atomic stays, µs; twice as long with each further try. */
export const XE_TIMESLICE_US = 5000;

/** The policy of xe for one device. */
export class XePolicy implements FaultPolicy {
  readonly name = 'xe';
  readonly source = 'Linux 6.19: drm_gpusvm.c, xe_svm.c';
  readonly constants = { rangePages: XE_RANGE_PAGES.join(','), timesliceUs: XE_TIMESLICE_US };
  // Each fault is acknowledged alone.
  readonly service: Partial<ServiceTraits> = {
    batchLimit: 1,
    replay: 'ack',
    coalesce: false,
    allOrNothing: true,
    costs: 'fault',
  };
  /** Pages of the range that begins at a page; 0 where none does. */
  private readonly sizeAt: Uint16Array;
  /** First page of the range that each page is in, plus 1; 0 for none. */
  private readonly rangeOf: Int32Array;
  private readonly keptUntil: Float64Array;
  private readonly tries: Uint8Array;
  private readonly order: OrderList;

  constructor(setup: PolicySetup) {
    this.sizeAt = new Uint16Array(setup.pageCount);
    this.rangeOf = new Int32Array(setup.pageCount);
    this.keptUntil = new Float64Array(setup.pageCount);
    this.tries = new Uint8Array(setup.pageCount);
    this.order = new OrderList(setup.pageCount);
  }

  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
    for (let i = 0; i < faults.count; i++) {
      const page = faults.pages[i]!;
      const access = faults.access[i]!;
      const start = this.findOrInsert(page, view);
      const isAtomic = access >= ACCESS_ATOMIC && access < ACCESS_COUNTER;
      if (view.regionOf(page)!.hints.preferred === 'ram' && !isAtomic) {
        for (let at = start; at < start + this.sizeAt[start]!; at++) answer.remote(at);
        continue;
      }
      for (let at = start; at < start + this.sizeAt[start]!; at++) answer.migrate(at);
      if (isAtomic) {
        this.keptUntil[start] = view.nowUs + XE_TIMESLICE_US * 2 ** this.tries[start]!;
        this.tries[start] = Math.min(6, this.tries[start]! + 1);
      }
    }
  }

  /** The range of a page, which is made where there is none. @returns its first page */
  private findOrInsert(page: number, view: PolicyView): number {
    const known = this.rangeOf[page]!;
    if (known > 0) {
      const region = view.regionOf(page)!;
      const isInside =
        known - 1 >= region.first && known - 1 + this.sizeAt[known - 1]! <= region.outer;
      if (isInside) return known - 1;
      // Something of it was unmapped since: ranges do not outlive that.
      this.destroy(known - 1, view);
    }
    const size = XE_RANGE_PAGES.find((one) => this.fits(page, one, view))!;
    const start = page - (page % size);
    this.sizeAt[start] = size;
    this.rangeOf.fill(start + 1, start, start + size);
    return start;
  }

  /** Forgets a range. What of it is on the device still can be evicted, page by page. */
  private destroy(start: number, view: PolicyView): void {
    const end = start + this.sizeAt[start]!;
    this.order.remove(start);
    this.sizeAt[start] = this.tries[start] = this.keptUntil[start] = 0;
    this.rangeOf.fill(0, start, end);
    for (let at = start; at < end; at++) {
      if ((view.where[at]! & ON_DEVICE) !== 0) this.order.toEnd(at);
    }
  }

  private fits(page: number, size: number, view: PolicyView): boolean {
    const start = page - (page % size);
    const region = view.regionOf(page)!;
    if (start < region.first || start + size > region.outer) return false;
    if (size === 1) return true;
    for (let at = start; at < start + size; at++) {
      if (this.rangeOf[at]! > 0) return false;
      // A range of 64 KiB has to be populated by the CPU; one of 2 MiB need not.
      if (size <= GROUP_PAGES && view.where[at] === 0) return false;
    }
    return true;
  }

  onCpuFault(page: number, _access: number, view: PolicyView, answer: Decisions): void {
    const start = Math.max(0, this.rangeOf[page]! - 1);
    if (this.rangeOf[page] === 0) {
      answer.migrate(page);
    } else if (this.keeps(page, view)) {
      answer.throttle(page);
    } else {
      answer.migrate(page);
      for (let at = start; at < start + this.sizeAt[start]!; at++) answer.migrate(at);
    }
  }

  keeps(page: number, view: PolicyView): boolean {
    const start = this.rangeOf[page]! - 1;
    return start >= 0 && view.nowUs < this.keptUntil[start]!;
  }

  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
    const { order } = this;
    for (let at = order.head; at >= 0 && victims.count < request.pages; at = order.after(at)) {
      const end = at + Math.max(1, this.sizeAt[at]!);
      // Whatever its timeslice: TTM evicts by frames, and asks nobody.
      let isFree = true;
      for (let page = at; page < end; page++) if (view.isProtected(page)) isFree = false;
      if (!isFree) continue;
      for (let page = at; page < end; page++) {
        if ((view.where[page]! & ON_DEVICE) !== 0) victims.evict(page);
      }
    }
  }

  arrived(page: number): void {
    this.order.toEnd(this.rangeStart(page));
  }

  left(page: number, _cause: Cause, view: PolicyView): void {
    const start = this.rangeStart(page);
    // It may have been in the order by itself, before its range was made.
    if (start !== page) this.order.remove(page);
    const end = start + Math.max(1, this.sizeAt[start]!);
    for (let at = start; at < end; at++) if ((view.where[at]! & ON_DEVICE) !== 0) return;
    this.order.remove(start);
    this.tries[start] = 0;
  }

  private rangeStart(page: number): number {
    return this.rangeOf[page] === 0 ? page : this.rangeOf[page]! - 1;
  }
}
