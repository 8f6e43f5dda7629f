/**
 * One run of a real device, as a fault service wants it: the faults, and if the engine reports
 * them the accesses, of the passes that the run took, put in the order of a device that goes
 * through its workgroups one after the other.
 *
 * Invocations of a GPU run at once, and the order of its records is nobody's promise. The service
 * looks at order (batches, merging), so records are sorted by workgroup and invocation: the same
 * kernel under the same policy then gives the same batches each time, and the same as its access
 * trace under the model.
 *
 * Where each stopped invocation has a record (`isComplete`; the engine leaves out no page that it
 * reported before), a replay that acknowledges single faults raises nothing anew for invocations
 * that still wait, and dedup is done here. Else a page that waits in the ring stands for all its
 * invocations. Without reported accesses time does not go by while the device works, and orders of
 * eviction see pages come, but not used.
 *
 * Locking: none; pure. Source: our own.
 */
import {
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_LANE,
  FAULT_OPERATION,
  FAULT_WORDS,
  FAULT_WORKGROUP,
  VM_PAGE_SHIFT,
} from '../../engine/vm/abi.ts';
import { AccessLog, laneKey, policyAccess, workgroupOf } from './access-log.ts';
import { DevicePort } from './device-port.ts';
import type { FaultService } from './fault-service.ts';
import { ACCESS_COUNTER, ACCESS_PREFETCH } from './policy.ts';

/** One record. */
export interface RaisedFault {
  /** Of the invocation: see access-log.ts. */
  readonly key: number;
  readonly page: number;
  /** ACCESS_* of policies. */
  readonly access: number;
  /** As the engine names it. */
  readonly vmAccess: number;
  readonly operation: number;
}

/** A fault whose place is used again. */
type Writable = { -readonly [Key in keyof RaisedFault]: RaisedFault[Key] };

/** See the file header. */
export class DeviceRun {
  /** Invocations that are stopped, as far as reported, in order; until the next `take`. */
  readonly stops: RaisedFault[] = [];
  /** What `stops` is filled from: hundreds come with each pass. */
  private readonly pool: Writable[] = [];
  /** Accesses done, where they are reported. */
  accesses = 0;
  private readonly service: FaultService;
  private readonly context: number;
  private readonly isComplete: boolean;
  private readonly port: DevicePort;
  private readonly log = new AccessLog();
  private hints: RaisedFault[] = [];
  /** Those of `hints` by invocation and operation: passes in which pages are lent repeat them. */
  private hinted = new Set<string>();
  /** Page and access at which each invocation stopped in the run before, by its key. */
  private waiting = new Map<number, number>();
  /**
   * The operation at which each invocation stopped last: hints before it are not new. Of workgroups
   * in flight; in those an invocation may go on behind a barrier at which it was not stopped.
   */
  private readonly resumed = new Map<number, number>();

  constructor(service: FaultService, context: number, isComplete: boolean, dedup: boolean) {
    this.service = service;
    this.context = context;
    this.isComplete = isComplete;
    this.port = new DevicePort(service, isComplete && dedup);
  }

  /** A run begins: page tables are as the service wants them. */
  begin(): void {
    this.port.beginRun();
  }

  /**
   * Takes what a pass left: its stops in place of those of the pass before.
   *
   * @param report what was accessed, where the engine reports it
   * @param inFlight workgroups that have not ended; others do not come again
   */
  take(
    records: Uint32Array,
    report: Uint32Array | undefined,
    inFlight: () => Iterable<number>,
  ): void {
    const { stops, pool } = this;
    stops.length = 0;
    // Without each stop nobody could say where in a report an invocation is.
    const accesses = this.isComplete ? report : undefined;
    for (let at = 0; at < records.length; at += FAULT_WORDS) {
      const vmAccess = records[at + FAULT_ACCESS]!;
      const fault = (pool[stops.length] ??= { key: 0, page: 0, access: 0, vmAccess, operation: 0 });
      fault.key = laneKey(records[at + FAULT_WORKGROUP]!, records[at + FAULT_LANE]!);
      fault.page = records[at + FAULT_ADDRESS]! >>> VM_PAGE_SHIFT;
      fault.access = policyAccess(vmAccess);
      fault.vmAccess = vmAccess;
      fault.operation = records[at + FAULT_OPERATION]!;
      if (fault.access !== ACCESS_PREFETCH) stops.push(fault);
      // Reports have the hints, too, each in its place.
      else if (accesses === undefined && this.isNewHint(fault)) this.hints.push({ ...fault });
    }
    sortByPlace(stops);
    if (accesses !== undefined) this.log.take(accesses);
    else if (this.isComplete) {
      for (const stop of this.stops) this.resumed.set(stop.key, stop.operation);
    }
    if (this.resumed.size + this.log.size > 0) this.forgetEnded(new Set(inFlight()));
  }

  private forgetEnded(inFlight: ReadonlySet<number>): void {
    for (const key of this.resumed.keys()) {
      if (!inFlight.has(workgroupOf(key))) this.resumed.delete(key);
    }
    this.log.end((workgroup) => !inFlight.has(workgroup));
  }

  /** Invocations and hints that it remembers something of. */
  get remembered(): number {
    return this.resumed.size + this.log.size + this.waiting.size + this.hints.length;
  }

  /**
   * The run is over: puts its accesses into the books, and its faults into the ring.
   *
   * @param isAck whether invocations that still wait raise nothing again
   */
  end(isAck: boolean): void {
    const pending = isAck && !this.isComplete ? this.pendingPages() : undefined;
    let done = 0;
    const raise = (stop: RaisedFault): void => {
      if (isAck && this.waiting.get(stop.key) === placeOf(stop)) return;
      if (pending !== undefined && (pending.get(stop.page) ?? -1) >= stop.access) return;
      this.raise(stop);
    };
    this.raiseHints();
    if (this.log.size > 0) {
      const stops = new Map(this.stops.map((stop) => [stop.key, stop]));
      const { space } = this.service;
      this.log.drain(
        {
          access: (page, access, workgroup) => {
            done++;
            // What somebody has taken away since is used no more.
            const isThere = access === ACCESS_PREFETCH || (space.mapped[page] ?? 0) >= access;
            if (isThere) this.port.use(page, access, workgroup, this.context);
          },
          end: (key) => {
            const stop = stops.get(key);
            if (stop !== undefined) raise(stop);
          },
        },
        [...stops.keys()],
      );
    } else for (const stop of this.stops) raise(stop);
    this.waiting = this.placesOfStops();
    this.accesses += done;
    this.port.endRun(done);
  }

  /** Where invocations wait, for a replay that acknowledges single faults. */
  private placesOfStops(): Map<number, number> {
    const places = new Map<number, number>();
    if (!this.isComplete || this.service.traits.replay !== 'ack') return places;
    for (const stop of this.stops) places.set(stop.key, placeOf(stop));
    return places;
  }

  /** Whether a stop is one at a page that was used over the link too often. */
  isUsedUp({ page }: RaisedFault): boolean {
    return this.port.isUsedUp(page);
  }

  /** Forgets all invocations: a launch is over. */
  clear(): void {
    this.stops.length = 0;
    this.hints = [];
    this.hinted.clear();
    this.log.clear();
    this.waiting.clear();
    this.resumed.clear();
  }

  private raise({ key, page, access }: RaisedFault): void {
    const { space } = this.service;
    // A page that is mapped in RAM does not fault: it is the counter that stopped it.
    const isCounted = space.remote[page] === 1 && space.mapped[page]! >= access;
    this.port.raise(page, isCounted ? ACCESS_COUNTER : access, workgroupOf(key), this.context);
  }

  private raiseHints(): void {
    for (const { page, access, key } of this.hints.sort(byPlace)) {
      this.port.use(page, access, workgroupOf(key), this.context);
    }
    this.hints = [];
    this.hinted.clear();
  }

  /** A hint comes again with each replay until the operation behind it is done. */
  private isNewHint(hint: RaisedFault): boolean {
    const resumed = this.resumed.get(hint.key);
    if (resumed !== undefined && hint.operation <= resumed) return false;
    const name = `${hint.key} ${hint.operation} ${hint.page}`;
    if (this.hinted.has(name)) return false;
    this.hinted.add(name);
    return true;
  }

  /** Pages in the ring with the highest access of each. */
  private pendingPages(): Map<number, number> {
    const { ring } = this.service;
    const pages = new Map<number, number>();
    for (let number = ring.get; number < ring.put; number++) {
      const at = number % ring.capacity;
      const page = ring.page[at]!;
      pages.set(page, Math.max(pages.get(page) ?? -1, ring.access[at]!));
    }
    return pages;
  }
}

function placeOf({ page, access }: RaisedFault): number {
  return page * 8 + access;
}

/** Workgroups that ran one after the other have left their records in order. */
function sortByPlace(stops: RaisedFault[]): void {
  for (let i = 1; i < stops.length; i++) {
    if (byPlace(stops[i - 1]!, stops[i]!) > 0) {
      stops.sort(byPlace);
      return;
    }
  }
}

function byPlace(a: RaisedFault, b: RaisedFault): number {
  return a.key - b.key || a.operation - b.operation;
}
