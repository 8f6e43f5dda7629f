/**
 * Runs an access trace under a policy, on the virtual clock alone: the same trace, policy and
 * options give the same result, to the last bit.
 */
import type { AccessTrace } from './access-trace.ts';
import { AccessCounters } from './access-counters.ts';
import type { KeptBatches } from './batch-log.ts';
import { COST_MODEL } from './cost-model.ts';
import type { CostModel } from './cost-model.ts';
import type { FaultCounts, TimeSplit } from './fault-counts.ts';
import type { FaultLives } from './fault-lives.ts';
import { FaultRing, RING_RECORDS } from './fault-ring.ts';
import { FaultService } from './fault-service.ts';
import type { ServiceStep } from './fault-service.ts';
import { IN_RAM, ON_DEVICE } from './policy.ts';
import type { FaultPolicy, PolicyFactory, ServiceTraits } from './policy.ts';
import { Residency } from './residency.ts';
import { DEVICE_OPTIONS, TraceDevice } from './trace-device.ts';
import type { DeviceOptions } from './trace-device.ts';

/** Options of a model run. */
export interface ModelOptions extends Partial<DeviceOptions> {
  /** Pages of device memory; by default there is room for everything. */
  readonly devicePages?: number;
  readonly ringRecords?: number;
  readonly cost?: CostModel;
  readonly traits?: Partial<ServiceTraits>;
  readonly lives?: FaultLives;
  readonly seed?: number;
  /** Whether a page can be in both memories (true); on a machine it can't. */
  readonly duplicates?: boolean;
  /** Whether the CPU has written all pages before, so that they have to be copied (true). */
  readonly startsInRam?: boolean;
}

/** A point of the curve of device memory in use. */
export interface ResidencyPoint {
  readonly us: number;
  readonly pages: number;
}

/** What a run gives. */
export interface ModelResult extends KeptBatches {
  readonly trace: string;
  readonly policy: string;
  readonly source: string;
  readonly constants: Readonly<Record<string, number | string | boolean>>;
  readonly traits: ServiceTraits;
  readonly cost: CostModel;
  readonly devicePages: number;
  readonly pages: number;
  readonly window: number;
  readonly dedup: boolean;
  readonly seed: number;
  /** Virtual time of the whole run, µs. */
  readonly us: number;
  readonly accesses: number;
  readonly cancelledLanes: number;
  readonly counts: FaultCounts;
  readonly times: TimeSplit;
  readonly residency: readonly ResidencyPoint[];
  /** A sum over where each page is in the end: equal runs have equal ones. */
  readonly digest: number;
}

/** A run that gets nowhere: each replay raises the same faults again. */
export class StuckError extends Error {
  override readonly name = 'StuckError';
}

/** Replays without any access done, and virtual time without one, after which a run is stuck. */
const STUCK_REPLAYS = 2000;
const STUCK_US = 2_000_000;
const MAX_POINTS = 4096;

/** A run, step by step; runModel() does all of it at once. */
export class ModelRun {
  readonly service: FaultService;
  readonly device: TraceDevice;
  readonly space: Residency;
  private readonly trace: AccessTrace;
  private readonly options: ModelOptions;
  private readonly policy: FaultPolicy;
  private readonly points: ResidencyPoint[] = [];
  private idleReplays = 0;
  private idleSinceUs = 0;

  constructor(trace: AccessTrace, makePolicy: PolicyFactory, options: ModelOptions = {}) {
    this.trace = trace;
    this.options = options;
    const most = trace.regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
    this.space = new Residency(trace.regions, options.devicePages ?? Math.max(1, most));
    if (options.startsInRam !== false) {
      for (const { first, outer } of trace.regions) this.space.where.fill(IN_RAM, first, outer);
    }
    const { pageCount, devicePages } = this.space;
    this.policy = makePolicy({ pageCount, devicePages, seed: options.seed ?? 1 });
    const { traits, lives } = options;
    this.service = new FaultService(
      this.space,
      new FaultRing(options.ringRecords ?? RING_RECORDS),
      this.policy,
      {
        cost: options.cost ?? COST_MODEL,
        accessCounters: new AccessCounters(pageCount),
        duplicates: options.duplicates ?? true,
        ...(traits === undefined ? {} : { traits }),
        ...(lives === undefined ? {} : { lives }),
      },
    );
    this.device = new TraceDevice(trace, this.service, options);
  }

  /** True when the trace has been played to its end. */
  get isDone(): boolean {
    return this.device.isDone && this.service.ring.pending === 0;
  }

  /**
   * Launches the device where nothing waits for service; else one pass of the fault service.
   *
   * @throws PolicyError, or StuckError where no access gets done any more
   */
  step(): void {
    const steps = this.steps();
    while (steps.next().done !== true);
  }

  /**
   * The same in steps of the fault service, for who wants to look at a run, or to disturb it.
   *
   * @returns a generator; what it yields is about to be done, so that pages may still be marked as
   * `failed`. Run it to its end before the next one is begun.
   */
  *steps(): Generator<ServiceStep, void, void> {
    if (this.service.ring.pending === 0) {
      this.runDevice(false);
    } else {
      for (const step of this.service.pass()) {
        yield step;
        if (step.kind === 'replay') this.runDevice(step.isAck);
        else if (step.kind === 'cancel') this.device.cancel(step.page, step.from);
      }
    }
    this.service.tick();
    const { nowUs, residentPages } = this.space;
    if (this.points.length < MAX_POINTS) this.points.push({ us: nowUs, pages: residentPages });
  }

  private runDevice(isAck: boolean): void {
    const done = this.device.run(isAck);
    const { nowUs } = this.space;
    if (done > 0 || this.device.isDone) {
      this.idleReplays = 0;
      this.idleSinceUs = nowUs;
      return;
    }
    this.idleReplays++;
    if (this.idleReplays > STUCK_REPLAYS && nowUs - this.idleSinceUs > STUCK_US) {
      throw new StuckError(
        `policy ${this.policy.name}: no access was done in ${this.idleReplays} replays; page ` +
          `${this.device.stuckPage} keeps faulting`,
      );
    }
  }

  /** What came out. */
  result(): ModelResult {
    const { service, space, device, policy, trace, options } = this;
    let digest = 0;
    const counts = { ...service.counts, overflows: service.ring.overflows };
    for (let page = 0; page < space.pageCount; page++) {
      const isHere = (space.where[page]! & ON_DEVICE) !== 0;
      if (isHere && space.prefetched[page] === 1) counts.prefetchedUnused++;
      digest = (Math.imul(digest, 31) + space.where[page]! * 8 + space.mapped[page]!) >>> 0;
    }
    return {
      trace: trace.name,
      policy: policy.name,
      source: policy.source ?? '',
      constants: policy.constants ?? {},
      traits: service.traits,
      cost: service.cost,
      devicePages: space.devicePages,
      pages: trace.regions.reduce((sum, { first, outer }) => sum + outer - first, 0),
      window: options.window ?? DEVICE_OPTIONS.window,
      dedup: options.dedup ?? DEVICE_OPTIONS.dedup,
      seed: options.seed ?? 1,
      us: space.nowUs,
      accesses: device.accesses,
      cancelledLanes: device.cancelledLanes,
      counts,
      times: service.times,
      ...service.batches.last(),
      residency: this.points,
      digest,
    };
  }
}

/**
 * Runs a trace to its end.
 *
 * @param makePolicy makes the run's own policy
 * @throws PolicyError where the policy throws or answers nonsense, StuckError where nothing moves
 *
 * Context: pure and synchronous.
 */
export function runModel(
  trace: AccessTrace,
  makePolicy: PolicyFactory,
  options: ModelOptions = {},
): ModelResult {
  const run = new ModelRun(trace, makePolicy, options);
  while (!run.isDone) run.step();
  return run.result();
}
