/**
 * What the invocations of a real run accessed, from the reports of an engine's passes: one list for
 * each invocation, in its order, without what a replay only did again. Lists are merged in the
 * order of a device that goes through its workgroups and their invocations one after the other.
 *
 * The same lists make an access trace, where everything was resident, and keep a fault service's
 * books, where it was not.
 *
 * Locking: none; pure. Source: our own.
 */
import { ACCESS_PREFETCH as VM_PREFETCH } from '../../engine/vm/abi.ts';
import { REPORT_BARRIER, REPORT_WORDS } from '../../engine/vm/vm-engine.ts';
import { ACCESS_ATOMIC, ACCESS_PREFETCH, ACCESS_READ, ACCESS_WRITE } from './policy.ts';

/** Room for the lanes of a workgroup in a key. */
const LANES = 256;
const NONE = -1;

/** Policies' names of an engine's accesses: READ, WRITE, ATOMIC, and two kinds of hint. */
const POLICY_ACCESS = [
  ACCESS_READ,
  ACCESS_WRITE,
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_PREFETCH,
] as const;

/** An engine's access as policies name it; both kinds of hint are one there. */
export function policyAccess(vmAccess: number): number {
  return POLICY_ACCESS[vmAccess] ?? ACCESS_PREFETCH;
}

/** The key of an invocation; keys are in the order of workgroups, then invocations. */
export function laneKey(workgroup: number, lane: number): number {
  return workgroup * LANES + lane;
}

/** The workgroup of a key. */
export function workgroupOf(key: number): number {
  return Math.floor(key / LANES);
}

/** One invocation. */
interface Lane {
  /** Page times 8 plus the engine's access, or REPORT_BARRIER. */
  events: number[];
  /** The access before the next one; NONE behind a barrier. */
  page: number;
  access: number;
  /** Barriers passed, and hints since the last access: a replay reports them again. */
  barriers: number;
  hints: number;
  /** In the pass at hand. */
  pass: number;
  barriersNow: number;
  hintsAgain: number;
}

/** Is told of what happened, in order. */
export interface LogVisitor {
  /** Called before the first event of an invocation. */
  lane?(key: number): void;
  access(page: number, access: number, workgroup: number): void;
  /** The invocation went through a barrier. */
  barrier?(key: number): void;
  /** The invocation has no more events. */
  end?(key: number): void;
}

/** See the file header. */
export class AccessLog {
  private readonly lanes = new Map<number, Lane>();
  private readonly ended = new Set<number>();
  private pass = 0;

  /** Takes the report of a pass. */
  take(report: Uint32Array): void {
    this.pass++;
    for (let at = 0; at < report.length; at += REPORT_WORDS) {
      const lane = this.laneOf(laneKey(report[at]!, report[at + 1]!));
      const what = report[at + 2]!;
      if (what === REPORT_BARRIER) passBarrier(lane);
      else if (what % 8 >= VM_PREFETCH) hint(lane, what);
      else touch(lane, what);
    }
  }

  /**
   * Tells of all events, and forgets them: per invocation, from the first workgroup on.
   *
   * @param keys invocations that are visited in any case, ascending
   */
  drainLanes(visitor: LogVisitor, keys: readonly number[] = []): void {
    for (const key of this.keysWith(keys)) {
      const lane = this.lanes.get(key);
      visitor.lane?.(key);
      for (const what of lane?.events ?? []) visit(visitor, key, what);
      this.drained(key);
      visitor.end?.(key);
    }
  }

  /**
   * The same in the order in which a device would do it: the invocations of a workgroup one after
   * the other, each as far as its next barrier.
   */
  drain(visitor: LogVisitor, keys: readonly number[] = []): void {
    const all = this.keysWith(keys);
    for (let from = 0; from < all.length;) {
      let to = from + 1;
      while (to < all.length && workgroupOf(all[to]!) === workgroupOf(all[from]!)) to++;
      this.drainWorkgroup(all.slice(from, to), visitor);
      from = to;
    }
  }

  private drainWorkgroup(keys: readonly number[], visitor: LogVisitor): void {
    const next = new Map(keys.map((key) => [key, 0]));
    while (next.size > 0) {
      for (const [key, from] of next) {
        const events = this.lanes.get(key)?.events ?? [];
        let at = from;
        while (at < events.length && events[at] !== REPORT_BARRIER)
          visit(visitor, key, events[at++]!);
        if (at < events.length) {
          next.set(key, at + 1);
          continue;
        }
        next.delete(key);
        visitor.end?.(key);
        this.drained(key);
      }
    }
  }

  /** Invocations that it remembers. */
  get size(): number {
    return this.lanes.size;
  }

  /** Workgroups have ended: their invocations are forgotten with the next drain. */
  end(hasEnded: (workgroup: number) => boolean): void {
    for (const [key, { events }] of this.lanes) {
      if (!hasEnded(workgroupOf(key))) continue;
      if (events.length === 0) this.lanes.delete(key);
      else this.ended.add(key);
    }
  }

  /** Forgets what an invocation did; all of it, when its workgroup has ended. */
  private drained(key: number): void {
    const lane = this.lanes.get(key);
    if (this.ended.delete(key)) this.lanes.delete(key);
    else if (lane !== undefined) lane.events = [];
  }

  /** Forgets all invocations. */
  clear(): void {
    this.lanes.clear();
    this.ended.clear();
  }

  private keysWith(keys: readonly number[]): number[] {
    const all = new Set(keys);
    for (const [key, { events }] of this.lanes) if (events.length > 0) all.add(key);
    return [...all].toSorted((a, b) => a - b);
  }

  private laneOf(key: number): Lane {
    let lane = this.lanes.get(key);
    if (lane === undefined) {
      const counts = { barriers: 0, hints: 0, pass: 0, barriersNow: 0, hintsAgain: 0 };
      lane = { events: [], page: NONE, access: NONE, ...counts };
      this.lanes.set(key, lane);
    }
    if (lane.pass !== this.pass) {
      lane.pass = this.pass;
      lane.barriersNow = 0;
      lane.hintsAgain = lane.hints;
    }
    return lane;
  }
}

/** A replay goes through the barriers of earlier passes again. */
function passBarrier(lane: Lane): void {
  if (++lane.barriersNow <= lane.barriers) return;
  lane.barriers = lane.barriersNow;
  lane.page = NONE;
  lane.events.push(REPORT_BARRIER);
}

/** A replay gives the hints again that stand before the operation at which it stopped. */
function hint(lane: Lane, what: number): void {
  if (lane.hintsAgain > 0) {
    lane.hintsAgain--;
    return;
  }
  lane.hints++;
  lane.page = NONE;
  lane.events.push(what);
}

/** An access like the one before, or one that needs no more of the same page, is left out. */
function touch(lane: Lane, what: number): void {
  const page = Math.floor(what / 8);
  const access = what % 8;
  lane.hints = 0;
  lane.hintsAgain = 0;
  if (page === lane.page && access <= lane.access) return;
  lane.page = page;
  lane.access = access;
  lane.events.push(what);
}

function visit(visitor: LogVisitor, key: number, what: number): void {
  if (what === REPORT_BARRIER) visitor.barrier?.(key);
  else visitor.access(Math.floor(what / 8), policyAccess(what % 8), workgroupOf(key));
}
