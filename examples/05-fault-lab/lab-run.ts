/*
 * A model run that can be watched and disturbed: advanced by a batch, a pass or a stretch of
 * virtual time, with failures put in its way, and looked at in between. Pure, so that it runs in a
 * worker and in tests.
 */
import { chromeTrace, FaultLives, IN_RAM, ModelRun, ON_DEVICE } from '../../src/index.ts';
import type {
  AccessTrace,
  CostModel,
  FaultCounts,
  FaultLife,
  FaultPolicy,
  ModelResult,
  PolicyFactory,
  ResidencyPoint,
  ServiceStep,
  ServiceTraits,
  TimeSplit,
} from '../../src/index.ts';
import { pagesOf } from '../_shell/fault-work.ts';

/** What a page of the map is: in no region, and where it is else. */
export const MAP_OUTSIDE = 0;
export const MAP_RAM = 1;
export const MAP_DEVICE = 2;
/** On the device, prefetched, and not used yet. */
export const MAP_AHEAD = 3;
/** In RAM, mapped by the device. */
export const MAP_REMOTE = 4;
/** In RAM and on the device, for reading. */
export const MAP_BOTH = 5;
/** A page of the batch that was serviced last. */
export const MAP_BATCH = 6;

/** How far a run goes on. */
export type Goal =
  | { readonly kind: 'batch' | 'pass' | 'end' }
  | { readonly kind: 'until'; readonly us: number };

/** What can be put in a run's way, once. */
export const INJECTIONS = ['memory', 'copy', 'throw'] as const;
/** One of them: no memory for the next move; the next copy fails; the policy throws. */
export type Injection = (typeof INJECTIONS)[number];

/** How the device and its service are set up. */
export interface LabOptions {
  /** The working set in per cent of device memory. */
  readonly oversub: number;
  readonly window: number;
  readonly dedup: boolean;
  readonly seed: number;
  readonly cost: CostModel;
  readonly traits: Partial<ServiceTraits>;
}

/** Something that happened, for people. */
export interface LabEvent {
  readonly us: number;
  readonly text: string;
}

/** What a run looks like now. */
export interface LabState {
  readonly policy: string;
  readonly us: number;
  readonly isDone: boolean;
  readonly accesses: number;
  /** Accesses of the whole trace. */
  readonly allAccesses: number;
  readonly pages: number;
  readonly devicePages: number;
  readonly residentPages: number;
  readonly counts: Readonly<FaultCounts>;
  readonly times: Readonly<TimeSplit>;
  /** A MAP_ code per page. */
  readonly map: Uint8Array;
  /** The latest faults, oldest first. */
  readonly lives: readonly FaultLife[];
  /** Device memory in use over time, thinned out. */
  readonly residency: readonly ResidencyPoint[];
  /** What has happened since the last look. */
  readonly events: readonly LabEvent[];
}

/** Faults that a state shows. */
const SHOWN_LIVES = 96;
const MAX_POINTS = 512;
/** Service steps between two looks at the clock. */
const STEPS_BETWEEN = 16;

/** One side of the lab. */
export class LabRun {
  private readonly run: ModelRun;
  private readonly lives = new FaultLives();
  private readonly trace: AccessTrace;
  private policy: FaultPolicy | undefined;
  /** The pass that is under way. */
  private steps: Generator<ServiceStep, void, void> | undefined;
  private readonly armed = new Set<Injection>();
  private events: LabEvent[] = [];
  private points: ResidencyPoint[] = [];
  private stride = 1;
  private skipped = 0;

  /** @throws PolicyError where the policy can't be made */
  constructor(trace: AccessTrace, makePolicy: PolicyFactory, options: LabOptions) {
    const { oversub, window, dedup, seed, cost, traits } = options;
    this.trace = trace;
    const make: PolicyFactory = (setup) => (this.policy = makePolicy(setup));
    const devicePages = Math.max(1, Math.floor((pagesOf(trace) * 100) / oversub));
    const { lives } = this;
    this.run = new ModelRun(trace, make, { devicePages, window, dedup, seed, cost, traits, lives });
  }

  /**
   * Goes on until the goal is reached or the run is over.
   *
   * @param isLate asked now and then; true ends the call before the goal is reached
   * @returns whether the goal was reached
   * @throws PolicyError or StuckError, which end the run
   */
  advance(goal: Goal, isLate: () => boolean = () => false): boolean {
    const batches = this.run.service.batches.noted;
    for (let step = 1; !this.isDone; step++) {
      const isPassOver = this.stepOnce();
      const hasBatch = this.run.service.batches.noted > batches;
      if (goal.kind === 'batch' && hasBatch) return true;
      if (goal.kind === 'pass' && isPassOver && hasBatch) return true;
      if (goal.kind === 'until' && this.run.space.nowUs >= goal.us) return true;
      if (step % STEPS_BETWEEN === 0 && isLate()) return false;
    }
    return true;
  }

  /** Whether the trace has been played to its end. */
  get isDone(): boolean {
    return this.steps === undefined && this.run.isDone;
  }

  /** Puts a failure in the run's way: it comes with the next step that it fits. */
  inject(what: Injection): void {
    if (what === 'throw') this.armThrow();
    else this.armed.add(what);
  }

  /** One step of the service, or one run of the device. @returns whether a pass is over */
  private stepOnce(): boolean {
    this.steps ??= this.run.steps();
    const { value, done } = this.steps.next();
    if (done === true) this.steps = undefined;
    else this.disturb(value);
    this.notePoint();
    return done === true;
  }

  /** Marks pages of a move as failed, where that was asked for. */
  private disturb(step: ServiceStep): void {
    if (this.armed.size === 0) return;
    if (step.kind !== 'migrate' && step.kind !== 'duplicate') return;
    if (step.count === 0) return;
    const count = this.armed.has('memory') ? step.count : 1;
    const { pages, failed } = step;
    failed.fill(1, 0, count);
    const first = pages[0]!;
    this.note(
      this.armed.has('memory')
        ? `no memory for ${count} pages from page ${first} on: they stay in RAM`
        : `the copy of page ${first} failed: it stays in RAM`,
    );
    this.armed.clear();
  }

  private armThrow(): void {
    const { policy } = this;
    if (policy === undefined) return;
    Object.defineProperty(policy, 'onFaults', {
      configurable: true,
      value: () => {
        throw new Error('this failure was injected');
      },
    });
  }

  private note(text: string): void {
    this.events.push({ us: this.run.space.nowUs, text });
  }

  private notePoint(): void {
    const { nowUs: us, residentPages: pages } = this.run.space;
    const last = this.points.at(-1);
    if (last !== undefined && last.us === us) {
      this.points[this.points.length - 1] = { us, pages };
      return;
    }
    this.skipped++;
    if (this.skipped < this.stride) return;
    this.skipped = 0;
    this.points.push({ us, pages });
    if (this.points.length < MAX_POINTS) return;
    this.points = this.points.filter((_, i) => i % 2 === 0);
    this.stride *= 2;
  }

  /** What there is to see. Takes the events. */
  state(): LabState {
    const { service, space, device } = this.run;
    const { events } = this;
    this.events = [];
    const { begun } = this.lives;
    const now = { us: space.nowUs, pages: space.residentPages };
    return {
      policy: service.policy.name,
      us: space.nowUs,
      isDone: this.isDone,
      accesses: device.accesses,
      allAccesses: this.trace.pages.length,
      pages: pagesOf(this.trace),
      devicePages: space.devicePages,
      residentPages: space.residentPages,
      counts: { ...service.counts, overflows: service.ring.overflows },
      times: { ...service.times },
      map: this.map(),
      lives: [...this.lives.since(begun - SHOWN_LIVES)],
      residency: [...this.points, now],
      events,
    };
  }

  private map(): Uint8Array {
    const { space, service } = this.run;
    const map = new Uint8Array(space.pageCount);
    for (const { first, outer } of this.trace.regions) {
      for (let page = first; page < outer; page++) {
        const where = space.where[page]!;
        if (where === (IN_RAM | ON_DEVICE)) map[page] = MAP_BOTH;
        else if ((where & ON_DEVICE) === 0) {
          map[page] = space.remote[page] === 1 ? MAP_REMOTE : MAP_RAM;
        } else map[page] = space.prefetched[page] === 1 ? MAP_AHEAD : MAP_DEVICE;
      }
    }
    if (this.isDone) return map;
    // Lives count batches from 0.
    const last = service.counts.batches - 1;
    const from = this.lives.begun - service.traits.batchLimit;
    for (const { page, batch } of this.lives.since(Math.max(0, from))) {
      // A fault may be outside of all regions.
      if (batch === last && map[page]! !== MAP_OUTSIDE) map[page] = MAP_BATCH;
    }
    return map;
  }

  /** The run as a result, and as a Chrome trace. */
  files(): { readonly result: ModelResult; readonly chrome: string } {
    const result = this.run.result();
    return { result, chrome: JSON.stringify(chromeTrace(result, this.lives)) };
  }
}
