/*
 * A launch's pager under a policy: service-pager.ts with what a launch needs besides, the table of
 * refusals and a report of what the service did, in its own virtual time.
 *
 * Locking. As service-pager.ts. Source: our own.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { ACCESS_PREFETCH, ACCESS_READ, FAULT_ACCESS, FAULT_ADDRESS } from '../engine/vm/abi.ts';
import { FAULT_WORDS } from '../engine/vm/abi.ts';
import type { DeviceSpace } from '../engine/vm/device-space.ts';
import type { FaultBatch, PassHooks } from '../engine/vm/launch.ts';
import type { Dmirror } from './dmirror.ts';
import type { LaunchPager, PagerStats, Refusal } from './launch-pager.ts';
import { noteRefusal } from './launch-pager.ts';
import type { KeptBatches } from './policy/batch-log.ts';
import { chromeTrace } from './policy/chrome-trace.ts';
import type { ChromeTrace } from './policy/chrome-trace.ts';
import type { CostModel } from './policy/cost-model.ts';
import type { FaultCounts, TimeSplit } from './policy/fault-counts.ts';
import type { FaultLife } from './policy/fault-lives.ts';
import type { FaultPolicy, ServiceTraits } from './policy/policy.ts';
import { ServicePager } from './service-pager.ts';
import type { ServicePagerOptions } from './service-options.ts';

/** What a fault service did for a launch. Plain data. */
export interface ServiceReport extends KeptBatches {
  /** The policy's own name. */
  readonly policy: string;
  readonly counts: FaultCounts;
  /** Where virtual time went, and how much of it there was, µs. */
  readonly times: TimeSplit;
  readonly virtualUs: number;
  /** Lives of the last faults, as many as were asked for; pages count from the origin. */
  readonly lives: readonly FaultLife[];
  /** Faults whose life was noted, also those that are not among the last ones. */
  readonly livesBegun: number;
  /** What the result depends on: of the policy, of the service, and what things cost. */
  readonly constants: Readonly<Record<string, number | string | boolean>>;
  readonly traits: ServiceTraits;
  readonly cost: CostModel;
  readonly devicePages: number;
  /** Pages that came, that the service sent home, and that others took away. */
  readonly moved: Readonly<Record<'in' | 'out' | 'lost', number>>;
}

/** See the file header. */
export class PolicyPager implements LaunchPager {
  readonly everyPass = true;
  /** Policies may throttle for a while. */
  readonly patience = 2000;
  readonly refusals: Refusal[] = [];
  private readonly mirror: Dmirror;
  private readonly origin: number;
  private readonly options: ServicePagerOptions;
  private readonly inner: ServicePager;
  private batch: FaultBatch | null = null;
  private hasBegun = false;

  /**
   * @param mirror the process's open device, which has memory of its own
   * @param origin virtual address that is address 0 of the context, page aligned
   * @param firstFrame pfn of the first VRAM frame of the engine's arena
   * @throws PolicyError of a user's policy that can't be made
   */
  constructor(
    mirror: Dmirror,
    space: DeviceSpace,
    origin: number,
    firstFrame: number,
    options: ServicePagerOptions,
  ) {
    this.mirror = mirror;
    this.origin = origin;
    this.options = options;
    const onRefuse = (page: number, write: boolean, why: number): void =>
      this.note(page, write, why);
    this.inner = new ServicePager(mirror, space, origin, firstFrame, { ...options, onRefuse });
  }

  get stats(): PagerStats {
    const { map, stats, aperture } = this.inner;
    const { out: evicted, cancelled } = stats;
    const { pages: remote } = aperture.stats;
    return { mapped: stats.in, erased: map.erased, evicted, cancelled, remote };
  }

  /** What stays in RAM is lent to the pass. */
  get around(): PassHooks {
    return this.inner.aperture;
  }

  /** The service gives up when its engine or its file is gone. */
  get failure(): number {
    return this.mirror.device.context.engine.isLost ? errno.ENODEV : errno.EIO;
  }

  /** Looks at the address space as it is. */
  begin(): Promise<void> {
    this.hasBegun = true;
    return this.inner.begin();
  }

  /**
   * Has the service decide, and does what it says.
   *
   * @param isLosing its ring is full for once: an injected failure. Context: as ServicePager.serve.
   */
  async serve(batch: FaultBatch, isLosing = false): Promise<boolean | 'hold'> {
    this.batch = batch;
    const { ring } = this.inner.service;
    ring.isLosing = isLosing;
    return this.inner.serve(batch).finally(() => (ring.isLosing = false));
  }

  /** The policy throws from now on: an injected failure. */
  breakPolicy(): void {
    const thrower = (): never => {
      throw new Error('this failure was injected');
    };
    const { policy } = this.inner.service;
    Object.defineProperty(policy, 'onFaults', { configurable: true, value: thrower });
  }

  /** CPUs that the policy has wait go on. */
  pause(): void {
    this.inner.pause();
  }

  /** The pass that uses what was granted is queued. */
  passSubmitted(): void {
    this.inner.passSubmitted();
  }

  /** Services what is left in the ring, then maps nothing any more. */
  async close(): Promise<void> {
    try {
      if (this.hasBegun) await this.inner.end();
    } finally {
      this.inner.close();
    }
  }

  /** What the service did so far. */
  report(): ServiceReport {
    const { service, stats } = this.inner;
    const { counts, times, space, batches } = service;
    const { policy, traits, cost } = service;
    const { lives } = this.options;
    return {
      policy: policy.name,
      constants: plainConstants(policy),
      traits,
      cost,
      devicePages: space.devicePages,
      counts: { ...counts, overflows: service.ring.overflows },
      times: { ...times },
      virtualUs: space.nowUs,
      ...batches.last(),
      lives: lives === undefined ? [] : [...lives.all()],
      livesBegun: lives?.begun ?? 0,
      moved: { in: stats.in, out: stats.out, lost: stats.lost },
    };
  }

  /** Finds the record that a refusal is for, in the batch at hand. */
  private note(page: number, write: boolean, why: number): void {
    const { batch } = this;
    if (batch === null) return;
    const { records } = batch;
    for (let at = 0; at < records.length; at += FAULT_WORDS) {
      const access = records[at + FAULT_ACCESS]!;
      const isWrite = access !== ACCESS_READ && access < ACCESS_PREFETCH;
      const isPage = Math.floor(records[at + FAULT_ADDRESS]! / PAGE_SIZE) === page;
      if (!isPage || access >= ACCESS_PREFETCH || (write && !isWrite)) continue;
      noteRefusal(this.refusals, batch, at / FAULT_WORDS, this.origin, why);
      return;
    }
  }
}

/** What a policy calls its constants, as far as that can be told in a message to another thread. */
function plainConstants(policy: FaultPolicy): ServiceReport['constants'] {
  try {
    const given: readonly [string, unknown][] = Object.entries(policy.constants ?? {});
    const plain = given.filter((one): one is [string, number | string | boolean] =>
      ['number', 'string', 'boolean'].includes(typeof one[1]),
    );
    return Object.fromEntries(plain);
  } catch {
    // A user's policy may throw wherever it is asked; the launch is over, its result is not lost.
    return {};
  }
}

/**
 * A launch under a policy as a Chrome trace, for Perfetto: its faults' lives, if they were asked
 * for, and its batches, in virtual time.
 *
 * @param name what to call the launch. @param window workgroups in flight
 * @returns plain data, to be written with JSON.stringify
 */
export function launchTrace(report: ServiceReport, name: string, window: number): ChromeTrace {
  const run = { ...report, trace: name, window, us: report.virtualUs, residency: [] };
  const { lives, livesBegun } = report;
  return chromeTrace(run, { begun: livesBegun, capacity: lives.length, all: () => lives });
}
