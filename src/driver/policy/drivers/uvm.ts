/**
 * NVIDIA's UVM (open-gpu-kernel-modules 595.45): density-tree prefetch, thrashing detector, the
 * choice of residency from hints, eviction of the 2 MiB block that was allocated from longest ago.
 *
 * Leaves out: several devices, ATS, access-counter migration (off there by default).
 */
import { BLOCK_PAGES, BLOCK_SHIFT, blockStart } from '../block.ts';
import { densityTree, UVM_PREFETCH_MIN_FAULTS, UVM_PREFETCH_THRESHOLD } from '../density-tree.ts';
import { makeEviction } from '../eviction.ts';
import type { EvictionName, EvictionOrder } from '../eviction.ts';
import { ACCESS_COUNTER, ACCESS_READ, IN_RAM, ON_DEVICE } from '../policy.ts';
import type {
  Cause,
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicySetup,
  PolicyView,
  Region,
  VictimRequest,
  Victims,
} from '../policy.ts';
import {
  HINT_NONE,
  HINT_PIN,
  HINT_THROTTLE,
  ThrashingDetector,
  UVM_THRASHING,
} from '../thrashing.ts';
import type { ThrashingParams } from '../thrashing.ts';

/** Parameters, as the driver's module parameters name them. */
export interface UvmOptions {
  readonly prefetch: boolean;
  /** Per cent, 0 to 100. */
  readonly threshold: number;
  /** Faults that a block must have had, 1 to 20. */
  readonly minFaults: number;
  /** Undefined switches the detector off. */
  readonly thrashing: ThrashingParams | undefined;
  readonly evict: EvictionName;
}

export const UVM_OPTIONS: UvmOptions = {
  prefetch: true,
  threshold: UVM_PREFETCH_THRESHOLD,
  minFaults: UVM_PREFETCH_MIN_FAULTS,
  thrashing: UVM_THRASHING,
  evict: 'lra2m',
};

const CPU = 0;
const DEVICE = 1;

/** The detector's parameters; it has a threshold of its own, so its name is before theirs. */
function detectorConstants(params: ThrashingParams | undefined): Record<string, number | string> {
  if (params === undefined) return {};
  const entries = Object.entries(params) as [string, number | string][];
  return Object.fromEntries(entries.map(([name, value]) => [`thrashing.${name}`, value]));
}

/** UVM's policy for one device and one CPU. */
export class UvmPolicy implements FaultPolicy {
  readonly name = 'uvm';
  readonly source =
    'NVIDIA open-gpu-kernel-modules 595.45: uvm_perf_prefetch.c, uvm_perf_thrashing.c';
  readonly constants: Readonly<Record<string, number | string | boolean>>;
  readonly service = { wholeBlocks: true };
  readonly detector: ThrashingDetector | undefined;
  readonly touched: FaultPolicy['touched'];
  private readonly options: UvmOptions;
  private readonly eviction: EvictionOrder;
  /** Faults of each block that moved pages to where the last ones moved. */
  private readonly migrations: Uint32Array;
  private readonly lastTo: Uint8Array;
  private readonly resident = new Uint8Array(BLOCK_PAGES);
  private readonly faulted = new Uint8Array(BLOCK_PAGES);
  private readonly thrashing = new Uint8Array(BLOCK_PAGES);
  private readonly out = new Uint8Array(BLOCK_PAGES);

  constructor(setup: PolicySetup, options: Partial<UvmOptions> = {}) {
    this.options = { ...UVM_OPTIONS, ...options };
    const { thrashing, evict, prefetch, threshold, minFaults } = this.options;
    this.constants = { prefetch, threshold, minFaults, evict, ...detectorConstants(thrashing) };
    this.detector =
      thrashing === undefined ? undefined : new ThrashingDetector(setup.pageCount, thrashing);
    this.eviction = makeEviction(evict, setup);
    this.touched = this.eviction.seesAccesses
      ? (page: number): void => this.eviction.touched(page)
      : undefined;
    this.migrations = new Uint32Array(setup.pageCount >>> BLOCK_SHIFT);
    this.lastTo = new Uint8Array(setup.pageCount >>> BLOCK_SHIFT);
  }

  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
    for (let from = 0; from < faults.count;) {
      const region = view.regionOf(faults.pages[from]!)!;
      let end = from + 1;
      while (end < faults.count && faults.pages[end]! < region.outer) end++;
      this.answerRegion(faults, from, end, region, view, answer);
      from = end;
    }
  }

  /** Answers the faults of one region of the block, and prefetches inside it. */
  private answerRegion(
    faults: FaultGroup,
    from: number,
    end: number,
    region: Region,
    view: PolicyView,
    answer: Decisions,
  ): void {
    const start = blockStart(faults.pages[from]!);
    let moving = 0;
    this.faulted.fill(0);
    for (let i = from; i < end; i++) {
      const page = faults.pages[i]!;
      const goes = this.answerFault(page, faults.access[i]!, region, view, answer);
      if (goes) this.faulted[page - start] = 1;
      if (goes) moving++;
    }
    if (moving === 0 || !this.mayPrefetch(start >>> BLOCK_SHIFT, DEVICE, moving)) return;
    if (region.hints.preferred === 'ram') return;
    const first = Math.max(region.first, start) - start;
    const outer = Math.min(region.outer, start + BLOCK_PAGES) - start;
    const isFirstTouch = this.lookAtBlock(start, first, outer, ON_DEVICE, view);
    if (region.hints.preferred === 'device' && isFirstTouch) this.out.fill(1, first, outer);
    else this.runTree(first, outer);
    for (let page = first; page < outer; page++) {
      if (this.out[page] === 0 || this.faulted[page] === 1) continue;
      if (region.hints.readMostly) answer.duplicate(start + page);
      else answer.migrate(start + page);
    }
  }

  private runTree(first: number, outer: number): void {
    const { resident, faulted, thrashing } = this;
    const { threshold } = this.options;
    densityTree({ resident, faulted, thrashing, first, outer, threshold }, this.out);
  }

  /** Fills the masks of a block. @returns whether nothing of it was anywhere before */
  private lookAtBlock(
    start: number,
    first: number,
    outer: number,
    place: number,
    view: PolicyView,
  ): boolean {
    let anywhere = 0;
    this.resident.fill(0);
    this.thrashing.fill(0);
    this.out.fill(0);
    for (let page = first; page < outer; page++) {
      const where = view.where[start + page]!;
      anywhere |= where;
      this.resident[page] = (where & place) === 0 ? 0 : 1;
      if (this.detector?.isThrashing(start + page) === true) this.thrashing[page] = 1;
    }
    return anywhere === 0;
  }

  /** Counts a batch's faults on a block towards a destination. */
  private mayPrefetch(block: number, to: number, faults: number): boolean {
    if (this.lastTo[block] !== to) this.migrations[block] = 0;
    this.lastTo[block] = to;
    this.migrations[block]! += faults;
    return this.options.prefetch && this.migrations[block]! >= this.options.minFaults;
  }

  /**
   * The first of the driver's rules that fits a fault of the device.
   *
   * @returns whether the page goes to the device
   */
  private answerFault(
    page: number,
    access: number,
    region: Region,
    view: PolicyView,
    answer: Decisions,
  ): boolean {
    const { hints } = region;
    const where = view.where[page]!;
    const preferred = hints.preferred === 'none' ? -1 : hints.preferred === 'ram' ? CPU : DEVICE;
    const nearest = (where & ON_DEVICE) !== 0 ? DEVICE : CPU;
    const canDuplicate = hints.readMostly && access <= ACCESS_READ;
    const hint = hints.readMostly
      ? HINT_NONE
      : (this.detector?.hint(page, DEVICE, view.nowUs, preferred, nearest) ?? HINT_NONE);
    if (hint === HINT_THROTTLE) {
      answer.throttle(page);
      return false;
    }
    if (canDuplicate) answer.duplicate(page);
    else if (hints.readMostly || preferred === DEVICE) answer.migrate(page);
    else if (hint === HINT_PIN && this.detector!.pinAt !== DEVICE) {
      answer.pin(page);
      return false;
    } else if (hint !== HINT_PIN && staysRemote(where, access, hints.accessedBy, preferred)) {
      answer.remote(page);
      return false;
    } else answer.migrate(page);
    return true;
  }

  onCpuFault(page: number, _access: number, view: PolicyView, answer: Decisions): void {
    const hint = this.detector?.hint(page, CPU, view.nowUs, -1, DEVICE) ?? HINT_NONE;
    if (hint === HINT_THROTTLE) {
      answer.throttle(page);
      return;
    }
    answer.migrate(page);
    const start = blockStart(page);
    if (!this.mayPrefetch(start >>> BLOCK_SHIFT, CPU, 1)) return;
    const region = view.regionOf(page)!;
    // Pages are prefetched to where they are preferred only.
    if (region.hints.preferred === 'device') return;
    const first = Math.max(region.first, start) - start;
    const outer = Math.min(region.outer, start + BLOCK_PAGES) - start;
    this.faulted.fill(0);
    this.faulted[page - start] = 1;
    this.lookAtBlock(start, first, outer, IN_RAM, view);
    this.runTree(first, outer);
    for (let at = first; at < outer; at++) {
      if (this.out[at] === 1 && view.where[start + at] === ON_DEVICE) answer.migrate(start + at);
    }
  }

  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
    this.eviction.choose(request, view, victims);
  }

  arrived(page: number, cause: Cause, view: PolicyView): void {
    this.eviction.arrived(page, view);
    if (cause !== 'user') this.detector?.record(page, DEVICE, view.nowUs);
  }

  left(page: number, cause: Cause, view: PolicyView): void {
    this.eviction.left(page, view);
    // Only faults tell that two processors compete.
    if (cause === 'cpu') this.detector?.record(page, CPU, view.nowUs);
    else this.detector?.reset(page);
  }
}

function staysRemote(
  where: number,
  access: number,
  accessedBy: boolean,
  preferred: number,
): boolean {
  if (where === 0) return preferred === CPU;
  if (accessedBy && access !== ACCESS_COUNTER) return true;
  return preferred === CPU;
}
