/**
 * The device's side of a fault service: what happens when a page is used, and faults that are
 * raised. A device that follows a trace and one that has really run a kernel have this in common,
 * so that the same accesses in the same order leave the same books behind.
 *
 * Locking: none; pure. Source: our own.
 */
import { GROUP_SHIFT } from './block.ts';
import type { FaultService } from './fault-service.ts';
import { asPolicyError } from './policy-error.ts';
import { ACCESS_COUNTER, ACCESS_PREFETCH, PolicyError } from './policy.ts';

/** See the file header. */
export class DevicePort {
  private readonly service: FaultService;
  private readonly dedup: boolean;
  private turn = 0;
  private readonly reportedRun: Uint32Array;
  private readonly reportedAccess: Uint8Array;
  /** The run in which each group was used over the link last, and its uses before that run. */
  private readonly usedRun: Uint32Array;
  private readonly usesBefore: Uint32Array;

  /** @param dedup whether a page is raised once per run, whoever faults on it */
  constructor(service: FaultService, dedup: boolean) {
    this.service = service;
    this.dedup = dedup;
    this.reportedRun = new Uint32Array(service.space.capacity);
    this.reportedAccess = new Uint8Array(service.space.capacity);
    this.usedRun = new Uint32Array(service.space.remoteUses.length);
    this.usesBefore = new Uint32Array(service.space.remoteUses.length);
  }

  /** The device begins to run. */
  beginRun(): void {
    this.turn++;
  }

  /** The device has run. @param accesses done */
  endRun(accesses: number): void {
    this.service.spend('access', accesses * this.service.cost.accessUs);
  }

  /** Makes one access. @returns false where it faults: it has been raised then */
  use(page: number, access: number, workgroup: number, context: number): boolean {
    const { service } = this;
    const { space, policy } = service;
    if (access === ACCESS_PREFETCH) {
      // A prefetch that misses is reported and forgotten: it stops nobody.
      const isMissing = (space.mapped[page] ?? 0) === 0;
      if (isMissing && service.hwPrefetch) this.raise(page, access, workgroup, context);
      return true;
    }
    if ((space.mapped[page] ?? 0) < access) {
      this.raise(page, access, workgroup, context);
      return false;
    }
    if (space.remote[page] === 1) return this.useRemote(page, workgroup, context);
    space.prefetched[page] = 0;
    if (policy.touched !== undefined) {
      try {
        policy.touched(page, access, space);
      } catch (error) {
        throw asPolicyError(error, policy, 'touched');
      }
    }
    return true;
  }

  /** An access over the link; used too often, the page faults as a counter notification. */
  private useRemote(page: number, workgroup: number, context: number): boolean {
    const { space, counts, cost, accessCounters } = this.service;
    if (this.isUsedUp(page)) {
      this.raise(page, ACCESS_COUNTER, workgroup, context);
      return false;
    }
    space.remoteUses[page >>> GROUP_SHIFT]!++;
    counts.remoteUses++;
    accessCounters?.touch(page);
    this.service.spend('remote', cost.remoteUs);
    return true;
  }

  /**
   * Whether a page was used over the link too often. A run goes by the counts that it began with:
   * counters are read between runs.
   */
  isUsedUp(page: number): boolean {
    const { space, policy } = this.service;
    const group = page >>> GROUP_SHIFT;
    if (this.usedRun[group] !== this.turn) {
      this.usedRun[group] = this.turn;
      this.usesBefore[group] = space.remoteUses[group]!;
    }
    if (policy.remoteLimit === undefined) return false;
    // What is in no region any more faults as a bad address.
    if (space.regionOf(page)?.isMigratable !== true) return false;
    let limit: unknown;
    try {
      limit = policy.remoteLimit(page, space);
    } catch (error) {
      throw asPolicyError(error, policy, 'remoteLimit');
    }
    if (typeof limit === 'number' && !Number.isNaN(limit)) return this.usesBefore[group]! >= limit;
    const what = typeof limit === 'number' ? 'NaN' : typeof limit;
    throw new PolicyError(policy.name, 'remoteLimit', `answers ${what}, no number of uses`);
  }

  /** Puts a fault into the ring, unless this run has raised as much for the page. */
  raise(page: number, access: number, workgroup: number, context: number): void {
    const { ring, space } = this.service;
    if (this.dedup && page < space.pageCount) {
      const isReported = this.reportedRun[page] === this.turn;
      if (isReported && this.reportedAccess[page]! >= access) return;
      this.reportedRun[page] = this.turn;
      this.reportedAccess[page] = access;
    }
    ring.push(page, access, context, workgroup, space.nowUs);
  }
}
