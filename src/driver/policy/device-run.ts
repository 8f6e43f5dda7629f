/**
 * The faults of one run of a device, as a fault service wants them: collected over the passes that
 * the run took, put in the order in which a device that goes through its workgroups one after the
 * other would raise them, and raised.
 *
 * Invocations of a GPU run at once, and the order of its records is nobody's promise. The service
 * looks at order (batches, merging), so records are sorted by workgroup, invocation and operation:
 * the same kernel under the same policy then gives the same batches each time.
 *
 * Where each stopped invocation has a record (`isComplete`; the engine reports no page only once),
 * a replay that acknowledges single faults raises nothing anew for invocations that still wait, and
 * dedup is done here. Else a page that waits in the ring stands for all its invocations.
 *
 * Locking: none; pure. Source: our own.
 */
import {
  ACCESS_ATOMIC as VM_ATOMIC,
  ACCESS_READ as VM_READ,
  ACCESS_WRITE as VM_WRITE,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_LANE,
  FAULT_OPERATION,
  FAULT_WORDS,
  FAULT_WORKGROUP,
  VM_PAGE_SHIFT,
} from '../../engine/vm/abi.ts';
import type { FaultService } from './fault-service.ts';
import { ACCESS_ATOMIC, ACCESS_PREFETCH, ACCESS_READ, ACCESS_WRITE } from './policy.ts';

/** Room for the lanes of a workgroup in a key. */
const LANES = 256;

/** One record. */
export interface RaisedFault {
  readonly page: number;
  /** ACCESS_* of policies. */
  readonly access: number;
  /** As the engine names it. */
  readonly vmAccess: number;
  readonly workgroup: number;
  readonly lane: number;
  readonly operation: number;
}

/** See the file header. */
export class DeviceRun {
  /** Invocations that are stopped, as far as they were reported, in order. */
  stops: RaisedFault[] = [];
  private readonly service: FaultService;
  private readonly context: number;
  private readonly isComplete: boolean;
  private readonly dedup: boolean;
  private hints: RaisedFault[] = [];
  /** Page and access at which each invocation stopped in the run before, by its key. */
  private waiting = new Map<number, number>();
  /** The operation at which each invocation stopped last: hints before it are not new. */
  private resumed = new Map<number, number>();

  constructor(service: FaultService, context: number, isComplete: boolean, dedup: boolean) {
    this.service = service;
    this.context = context;
    this.isComplete = isComplete;
    this.dedup = dedup;
  }

  /** Takes the records of a pass: its stops in place of those of the pass before. */
  take(records: Uint32Array): void {
    this.stops = [];
    for (let at = 0; at < records.length; at += FAULT_WORDS) {
      const vmAccess = records[at + FAULT_ACCESS]!;
      const fault = {
        page: records[at + FAULT_ADDRESS]! >>> VM_PAGE_SHIFT,
        access: policyAccess(vmAccess),
        vmAccess,
        workgroup: records[at + FAULT_WORKGROUP]!,
        lane: records[at + FAULT_LANE]!,
        operation: records[at + FAULT_OPERATION]!,
      };
      if (fault.access !== ACCESS_PREFETCH) this.stops.push(fault);
      else if (this.isNewHint(fault)) this.hints.push(fault);
    }
    this.stops.sort(byPlace);
    if (!this.isComplete) return;
    for (const stop of this.stops) this.resumed.set(keyOf(stop), stop.operation);
  }

  /**
   * Raises what is new of a run that is over, and makes room for the next one.
   *
   * @param isAck whether invocations that still wait raise nothing again
   */
  raise(isAck: boolean): void {
    const { service } = this;
    const { ring, space } = service;
    const pending = isAck && !this.isComplete ? this.pendingPages() : undefined;
    const reported = new Map<number, number>();
    const waiting = new Map<number, number>();
    const all = this.hints.length === 0 ? this.stops : [...this.hints, ...this.stops].sort(byPlace);
    for (const fault of all) {
      const { page, access, workgroup } = fault;
      if (access !== ACCESS_PREFETCH) {
        const key = keyOf(fault);
        const place = page * 8 + access;
        if (this.isComplete) waiting.set(key, place);
        if (isAck && this.waiting.get(key) === place) continue;
        if (pending !== undefined && (pending.get(page) ?? -1) >= access) continue;
      } else if (!service.hwPrefetch || (space.mapped[page] ?? 0) > 0) continue;
      if (this.dedup && (reported.get(page) ?? -1) >= access) continue;
      reported.set(page, access);
      ring.push(page, access, this.context, workgroup, space.nowUs);
    }
    this.waiting = waiting;
    this.hints = [];
  }

  /** Forgets all invocations: a launch is over. */
  clear(): void {
    this.stops = [];
    this.hints = [];
    this.waiting.clear();
    this.resumed.clear();
  }

  /** A hint comes again with each replay until the operation behind it is done. */
  private isNewHint(hint: RaisedFault): boolean {
    const resumed = this.resumed.get(keyOf(hint));
    return resumed === undefined || hint.operation > resumed;
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

function keyOf({ workgroup, lane }: RaisedFault): number {
  return workgroup * LANES + lane;
}

function byPlace(a: RaisedFault, b: RaisedFault): number {
  return a.workgroup - b.workgroup || a.lane - b.lane || a.operation - b.operation;
}

/** An engine's access as policies name it; both kinds of hint are one there. */
export function policyAccess(vmAccess: number): number {
  if (vmAccess === VM_READ) return ACCESS_READ;
  if (vmAccess === VM_WRITE) return ACCESS_WRITE;
  return vmAccess === VM_ATOMIC ? ACCESS_ATOMIC : ACCESS_PREFETCH;
}
