/**
 * The fault service: takes batches of faults off the ring, asks a policy, and says step by step
 * what has to be done. Who drives it does the steps: a model, which has nothing to do but replay,
 * or a real driver, which migrates, evicts and maps. Both run this code, so that a recorded trace
 * gives the same faults, batches and bytes as the run that it was recorded in.
 *
 * A pass is a generator. It yields a step, whose pages the driver moves; those that it could not
 * move it marks in `failed`. All bookkeeping, and all virtual time, is the service's.
 *
 * Rules (docs/device-faults.md): at least one replay per pass; nothing that the batch in service
 * faulted on is evicted; what can't be moved is mapped in RAM; a write that is not allowed is
 * cancelled and readers of the page are served; a prefetch access that is not allowed is dropped.
 *
 * Source: uvm_gpu_replayable_faults.c for the pass and its replay policies.
 * Leaves out: the driver's spinning on a record that is not visible yet; it is left for later.
 */
import { ANSWER_NONE, AnswerSheet } from './answers.ts';
import type { AccessCounters } from './access-counters.ts';
import { BatchLog } from './batch-log.ts';
import type { CostModel } from './cost-model.ts';
import { COST_MODEL } from './cost-model.ts';
import { FaultBatch } from './fault-batch.ts';
import { makeCounts, makeTimes } from './fault-counts.ts';
import type { FaultLives } from './fault-lives.ts';
import type { FaultRing } from './fault-ring.ts';
import { Placement } from './placement.ts';
import type { PlacementStep } from './placement-rows.ts';
import { asPolicyError, refusePromise } from './policy-error.ts';
import { ACCESS_COUNTER, ACCESS_PREFETCH, ACCESS_READ, ACCESS_WRITE, IN_RAM } from './policy.ts';
import { PolicyError, UVM_SERVICE, WHOLE_BLOCK_MIN } from './policy.ts';
import type { FaultPolicy, ServiceTraits } from './policy.ts';
import type { Residency } from './residency.ts';

/** Ends the faults of a page: those of at least the access `from`. */
export interface CancelStep {
  readonly kind: 'cancel';
  readonly page: number;
  readonly from: number;
  readonly why: 'no such address' | 'read-only';
}

/**
 * Lets stopped work go on. The driver pushes what faults then before it continues the pass. With
 * `isAck` work whose fault has not been serviced yet goes on waiting, and raises nothing again.
 */
export interface ReplayStep {
  readonly kind: 'replay';
  readonly isAck: boolean;
}

/** What a driver has to do. */
export type ServiceStep = PlacementStep | CancelStep | ReplayStep;

/** What a service can be given besides its policy. */
export interface ServiceOptions {
  readonly cost?: CostModel;
  /** Traits that the run asks for, over those of the policy. */
  readonly traits?: Partial<ServiceTraits>;
  readonly lives?: FaultLives;
  readonly accessCounters?: AccessCounters;
  /**
   * Whether a page can be in both memories for reading (true). Where it can't, what a policy wants
   * duplicated moves, and is counted.
   */
  readonly duplicates?: boolean;
}

/** Invalid prefetches × 3 > batch limit × 2 switch hardware prefetching off for so long, µs. */
const PREFETCH_OFF_US = 1_000_000;
/** Duplicates, in per cent of a batch, above which a flush drops all that is in the ring. */
const DUPLICATE_RATIO = 50;

const REPLAY: ReplayStep = { kind: 'replay', isAck: false };
const ACK: ReplayStep = { kind: 'replay', isAck: true };

/** One device's fault service. */
export class FaultService {
  readonly space: Residency;
  readonly ring: FaultRing;
  readonly policy: FaultPolicy;
  readonly traits: ServiceTraits;
  readonly cost: CostModel;
  readonly counts = makeCounts();
  readonly times = makeTimes();
  readonly lives: FaultLives | undefined;
  /** Counts accesses over the link, where the run asks for it. */
  readonly accessCounters: AccessCounters | undefined;
  /** Whether a page can be in both memories. */
  readonly duplicates: boolean;
  /** Address spaces that are gone: their faults are flushed. */
  readonly deadContexts = new Set<number>();
  /** Whether the device may raise faults for prefetch accesses. */
  hwPrefetch = true;
  readonly batches = new BatchLog();
  private readonly batch: FaultBatch;
  private readonly sheet: AnswerSheet;
  private readonly placement: Placement;
  private hwPrefetchOffUs = 0;
  private invalidPrefetches = 0;
  private batchDuplicates = 0;
  private batchThrottled = false;

  constructor(
    space: Residency,
    ring: FaultRing,
    policy: FaultPolicy,
    options: ServiceOptions = {},
  ) {
    this.space = space;
    this.ring = ring;
    this.policy = policy;
    this.traits = { ...UVM_SERVICE, ...policy.service, ...options.traits };
    this.cost = options.cost ?? COST_MODEL;
    this.lives = options.lives;
    this.accessCounters = options.accessCounters;
    this.duplicates = options.duplicates ?? true;
    space.wholeBlocks = this.traits.wholeBlocks && space.devicePages >= WHOLE_BLOCK_MIN;
    this.batch = new FaultBatch(this.traits.batchLimit);
    this.sheet = new AnswerSheet(space, policy.name);
    this.placement = new Placement(this, this.batch, this.sheet);
  }

  /** Charges virtual time. */
  spend(what: keyof FaultService['times'], us: number): void {
    this.times[what] += us;
    this.space.nowUs += us;
  }

  /**
   * One service pass: batches until the ring is empty, or the pass has had enough of them.
   *
   * @returns a generator of steps; run it to its end
   *
   * Context: not to be nested; between two steps only the ring may change.
   */
  *pass(): Generator<ServiceStep, void, void> {
    const { traits, ring, counts } = this;
    let replays = 0;
    let batches = 0;
    let throttled = 0;
    let known = ring.get;
    counts.passes++;
    while (batches < traits.batchesPerPass && throttled < traits.throttledPerPass) {
      // Reading the device's PUT is slow: only once all that was known of is fetched.
      if (ring.get >= known) known = ring.put;
      if (!this.fetch(known)) break;
      if (this.hasDead()) {
        counts.flushed += ring.flush(ring.put);
        yield* this.replay();
        replays++;
        continue;
      }
      replays += yield* this.serviceBatch();
      batches++;
      if (this.batchThrottled) throttled++;
      this.toggleHwPrefetch();
      if (traits.replay === 'batch-flush') {
        const isMostlyTwice = this.batchDuplicates * 100 > this.batch.raw * DUPLICATE_RATIO;
        counts.flushed += ring.flush(isMostlyTwice ? ring.put : known);
      }
      if (traits.replay !== 'block' && traits.replay !== 'once') {
        yield* this.replay();
        replays++;
      }
      if (traits.replay !== 'once') this.space.nextRound();
    }
    if (traits.replay === 'once' || replays === 0) {
      yield* this.replay();
      this.space.nextRound();
    }
  }

  /** Fetches a batch and sorts it. @returns false where nothing is visible */
  private fetch(upTo: number): boolean {
    const { batch, counts } = this;
    if (batch.fetch(this.ring, upTo, this.traits.coalesce) === 0) return false;
    counts.faults += batch.raw;
    this.beginLives();
    if (this.traits.costs === 'batch') this.spend('records', this.cost.recordUs * batch.raw);
    batch.sort();
    return true;
  }

  /** Services all groups of the batch. @returns replays sent meanwhile */
  private *serviceBatch(): Generator<ServiceStep, number, void> {
    const { batch, counts } = this;
    const startUs = this.space.nowUs;
    const evictions = counts.evictions;
    let replays = 0;
    this.batchDuplicates = 0;
    this.batchThrottled = false;
    this.invalidPrefetches = 0;
    this.placement.beginBatch();
    counts.batches++;
    for (let from = 0; from < batch.count;) {
      const end = batch.groupEnd(from);
      yield* this.serviceGroup(from, end);
      if (this.traits.replay === 'block') {
        yield* this.replay();
        replays++;
      }
      from = end;
    }
    counts.duplicates += this.batchDuplicates;
    this.batches.note(startUs, this.space.nowUs - startUs, counts.evictions - evictions);
    return replays;
  }

  /** Services the faults of one block. */
  private *serviceGroup(from: number, end: number): Generator<ServiceStep, void, void> {
    const { batch, placement } = this;
    const refused: CancelStep[] = [];
    placement.beginGroup();
    for (let at = from; at < end;) {
      let next = at + 1;
      const page = batch.page[batch.order[at]!]!;
      while (next < end && batch.page[batch.order[next]!] === page) next++;
      const cancel = this.scanPage(page, at, next);
      if (cancel !== undefined) refused.push(cancel);
      at = next;
    }
    if (placement.group.count > 0) {
      this.counts.groups++;
      this.askPolicy();
      if (yield* placement.carryOut()) this.batchThrottled = true;
    }
    for (const step of refused) {
      this.counts.cancelled++;
      yield step;
    }
  }

  /** Looks at all records of one page. @returns what has to be cancelled once others are served */
  private scanPage(page: number, at: number, next: number): CancelStep | undefined {
    const { batch, space, counts } = this;
    let mask = 0;
    let records = 0;
    for (let i = at; i < next; i++) {
      mask |= batch.accessMask[batch.order[i]!]!;
      records += batch.instances[batch.order[i]!]!;
    }
    this.batchDuplicates += records - 1;
    // The first of a page has its highest access.
    const first = batch.order[at]!;
    let access = batch.access[first]!;
    let cancel: CancelStep | undefined;
    if (access === ACCESS_PREFETCH && space.regionOf(page) === undefined) {
      counts.invalidPrefetches += records;
      this.invalidPrefetches += records;
      return undefined;
    }
    if (space.regionOf(page) === undefined) {
      this.endLives(at, next, 'cancelled');
      return { kind: 'cancel', page, from: ACCESS_PREFETCH + 1, why: 'no such address' };
    }
    const isWrite = access >= ACCESS_WRITE && access !== ACCESS_COUNTER;
    if (isWrite && space.permissionOf(page) < ACCESS_WRITE) {
      cancel = { kind: 'cancel', page, from: ACCESS_WRITE, why: 'read-only' };
      // Readers of the same page must not suffer.
      if ((mask & (1 << ACCESS_READ)) === 0) {
        this.endLives(at, next, 'cancelled');
        return cancel;
      }
      access = ACCESS_READ;
    }
    const isMapped = space.mapped[page]! >= Math.max(access, ACCESS_READ);
    const isCounted = access === ACCESS_COUNTER && space.remote[page] === 1;
    if ((isMapped || access === ACCESS_COUNTER) && !isCounted) {
      counts.stale += records;
      this.endLives(at, next, 'stale');
      return cancel;
    }
    const { group } = this.placement;
    group.add(page, access, batch.workgroup[first]!, batch.context[first]!, first);
    return cancel;
  }

  private askPolicy(): void {
    const { policy, sheet, space } = this;
    const { group } = this.placement;
    sheet.begin('onFaults');
    let answered: unknown;
    try {
      answered = policy.onFaults(group, space, sheet);
    } catch (error) {
      throw asPolicyError(error, policy, 'onFaults');
    }
    refusePromise(answered, policy, 'onFaults');
    for (let i = 0; i < group.count; i++) {
      if (sheet.of(group.pages[i]!) === ANSWER_NONE) {
        const what = `leaves the fault on page ${group.pages[i]} without an answer`;
        throw new PolicyError(policy.name, 'onFaults', what);
      }
    }
    this.counts.serviced += group.count;
  }

  private *replay(): Generator<ServiceStep, void, void> {
    this.counts.replays++;
    // In a far fault's fixed cost its answer is included.
    if (this.traits.costs === 'batch') this.spend('replay', this.cost.replayUs);
    this.placement.markReplayed();
    yield this.traits.replay === 'ack' ? ACK : REPLAY;
  }

  /**
   * The CPU reaches for a page that is on the device.
   *
   * @returns a generator of steps; its result is 'done', or 'wait' where the policy makes the CPU
   * wait
   */
  *cpuFault(page: number, access: number): Generator<PlacementStep, 'done' | 'wait', void> {
    const pages = this.cpuReaches(page, access);
    if (pages === null) return 'wait';
    yield* this.placement.goHome(pages);
    return 'done';
  }

  /**
   * The first half of `cpuFault`, at any time: also between two steps of a pass.
   *
   * @returns pages for `cpuTook`; null where the policy makes the CPU wait: then it asks again
   */
  cpuReaches(page: number, access: number): Int32Array | null {
    this.counts.cpuFaults++;
    this.spend('cpu', this.cost.cpuFaultUs);
    return this.placement.askCpu(page, access);
  }

  /**
   * Whether a page stays on the device for now, by the policy.
   *
   * @throws PolicyError where the policy throws or does not say. Context: at any time
   */
  keeps(page: number): boolean {
    const { policy, space } = this;
    if (policy.keeps === undefined || page < 0 || page >= space.pageCount) return false;
    let answered: unknown;
    try {
      answered = policy.keeps(page, space);
    } catch (error) {
      throw asPolicyError(error, policy, 'keeps');
    }
    if (typeof answered === 'boolean') return answered;
    refusePromise(answered, policy, 'keeps');
    throw new PolicyError(policy.name, 'keeps', 'answers neither true nor false');
  }

  /** The second half, once the CPU has its page. @returns a generator of steps */
  cpuTook(pages: Int32Array): Generator<PlacementStep, void, void> {
    return this.placement.goHome(pages);
  }

  /** The user asks for pages to be on the device before they are used. */
  *prefetch(first: number, outer: number): Generator<PlacementStep, void, void> {
    this.placement.beginBatch();
    yield* this.placement.prefetch(first, outer);
    this.space.nextRound();
  }

  /** A page left the device by itself, and is nowhere now, as by munmap: notes it. */
  forget(page: number): void {
    this.placement.leave(page, 0, 'user');
  }

  /** A page was brought to RAM by somebody else than this service: notes it. */
  cameHome(page: number): void {
    this.placement.leave(page, IN_RAM, 'cpu');
  }

  /** A page is on the device without having been asked for, as by a migration command: notes it. */
  adopt(page: number): void {
    this.placement.adopt(page);
  }

  /** Whether a fault of the batch is of an address space that is gone. */
  private hasDead(): boolean {
    const { batch, deadContexts } = this;
    if (deadContexts.size === 0) return false;
    for (let i = 0; i < batch.count; i++) if (deadContexts.has(batch.context[i]!)) return true;
    return false;
  }

  private toggleHwPrefetch(): void {
    if (this.hwPrefetch && this.invalidPrefetches * 3 > this.traits.batchLimit * 2) {
      this.hwPrefetch = false;
      this.hwPrefetchOffUs = this.space.nowUs;
    } else {
      this.tick();
    }
  }

  /** Lets what is due by the virtual clock happen. */
  tick(): void {
    if (!this.hwPrefetch && this.space.nowUs - this.hwPrefetchOffUs >= PREFETCH_OFF_US) {
      this.hwPrefetch = true;
    }
  }

  private beginLives(): void {
    const { lives, batch } = this;
    if (lives === undefined) return;
    for (let i = 0; i < batch.count; i++) {
      const { page, access, context, workgroup } = batch;
      const number = this.counts.batches;
      batch.life[i] = lives.begin(
        page[i]!,
        access[i]!,
        context[i]!,
        workgroup[i]!,
        number,
        batch.raisedUs[i]!,
      );
      lives.mark(batch.life[i]!, 'fetched', this.space.nowUs);
    }
  }

  private endLives(at: number, next: number, outcome: 'stale' | 'cancelled'): void {
    const { lives, batch } = this;
    if (lives === undefined) return;
    for (let i = at; i < next; i++) {
      lives.mark(batch.life[batch.order[i]!]!, 'preprocessed', this.space.nowUs);
      lives.end(batch.life[batch.order[i]!]!, outcome);
    }
  }
}
