/** The facade's trace: what a machine does, as a stream of typed events. */
import * as Comlink from 'comlink';
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import {
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGSEGV,
} from '../mm/fault-types.ts';
import {
  TRACE_DEVICE_FAULT,
  TRACE_DEVICE_PASS,
  TRACE_FAULT,
  TRACE_INVALIDATE,
  TRACE_MIGRATE_BEGIN,
  TRACE_MIGRATE_END,
  TRACE_TLB_SHOOTDOWN,
} from '../mm/trace.ts';
import { ErrnoError, checked, disposed } from './errors.ts';
import type { Machine } from './machine.ts';
import { TRACE_COLUMNS } from './protocol-trace.ts';
import type { TraceBatch } from './protocol-trace.ts';

/** What all events have. */
interface MachineEventBase {
  /** Number of the event in the life of the machine: virtual time, without gaps but lost events. */
  readonly sequence: number;
  /** When it began, in milliseconds since 1970 by the kernel's clock. */
  readonly timeMs: number;
  /** How long it took; 0 for a moment, as far as the clock tells. */
  readonly durationMs: number;
  /** The process; 0 where pages of many were chosen by frame. */
  readonly pid: number;
}

/** The kernel handled a page fault, of a core, of `read` or `write`, or on behalf of a device. */
export interface FaultEvent extends MachineEventBase {
  readonly type: 'fault';
  readonly address: number;
  readonly access: 'read' | 'write' | 'unshare';
  /** On behalf of somebody else: a device, a debugger. */
  readonly isRemote: boolean;
  /** Where the page was, PAGE_*. PAGE_DEVICE + n: device n, from which it had to come home. */
  readonly found: number;
  /** `retry`: it waited without the mmap lock, and the access faults again if it has to. */
  readonly outcome: 'ok' | 'retry' | 'SIGSEGV' | 'SIGBUS' | 'ENOMEM';
}

/** Pages were collected and unmapped: accesses to them wait from here on. */
export interface MigrateBeginEvent extends MachineEventBase {
  readonly type: 'migrate_begin';
  /** Addresses [start, end); numbers of frames where `pid` is 0. */
  readonly start: number;
  readonly end: number;
  /** Pages that may migrate. */
  readonly pages: number;
}

/** A migration is over: its pages are mapped again. The duration is that of this last phase. */
export interface MigrateEndEvent extends MachineEventBase {
  readonly type: 'migrate_end';
  /** As in migrate_begin; where `pid` is 0, from 0 to the number of pages. */
  readonly start: number;
  readonly end: number;
  readonly toDevice: number;
  readonly toRam: number;
  /** Pages that are where they were. */
  readonly failed: number;
}

/** Page table entries lost a permission, and the cores were waited for. */
export interface TlbShootdownEvent extends MachineEventBase {
  readonly type: 'tlb_shootdown';
  readonly start: number;
  readonly end: number;
  /** Entries and page tables that it was for. */
  readonly entries: number;
  /** False when a core did not answer in time, and the entries were put back. */
  readonly isComplete: boolean;
}

/** Devices that mirror the range dropped what they had of it. */
export interface InvalidateEvent extends MachineEventBase {
  readonly type: 'invalidate';
  readonly start: number;
  readonly end: number;
  /** Why, as the kernel has it: "MIGRATE". */
  readonly event: string;
}

/** A pass of a kernel over virtual memory is over. */
export interface DevicePassEvent extends MachineEventBase {
  readonly type: 'device_pass';
  /** Number of the device. */
  readonly device: number;
  /** Number of the pass in its launch, from 0. */
  readonly pass: number;
  /** Workgroups that have finished in all its passes. */
  readonly finished: number;
  /** Faults of the pass, and workgroups that ran again in it. */
  readonly faults: number;
  readonly replayed: number;
  /** Pages of the device's memory in use, by whomever, when the pass was over. */
  readonly pagesInUse: number;
}

/** A kernel over virtual memory asked for what is not there, or not allowed. */
export interface DeviceFaultEvent extends MachineEventBase {
  readonly type: 'device_fault';
  readonly device: number;
  readonly address: number;
  readonly access: 'read' | 'write' | 'atomic' | 'prefetch' | 'prefetch_write';
  readonly workgroup: number;
  /** Number of the pass in its launch, from 0. */
  readonly pass: number;
}

/** What a machine has done. */
export type MachineEvent =
  | FaultEvent
  | MigrateBeginEvent
  | MigrateEndEvent
  | TlbShootdownEvent
  | InvalidateEvent
  | DevicePassEvent
  | DeviceFaultEvent;

/** Kinds of events. */
export type MachineEventType = MachineEvent['type'];

/** What to trace. */
export interface TraceOptions {
  /** Kinds of events; all by default. */
  readonly events?: readonly MachineEventType[];
  /** Events that may wait for a slow listener before some are lost. Default 16384. */
  readonly capacity?: number;
}

/** Gets events in their order, some at a time; `dropped` were lost just before them. */
export type TraceListener = (events: readonly MachineEvent[], dropped: number) => void;

const KINDS: Readonly<Record<MachineEventType, number>> = {
  fault: TRACE_FAULT,
  migrate_begin: TRACE_MIGRATE_BEGIN,
  migrate_end: TRACE_MIGRATE_END,
  tlb_shootdown: TRACE_TLB_SHOOTDOWN,
  invalidate: TRACE_INVALIDATE,
  device_pass: TRACE_DEVICE_PASS,
  device_fault: TRACE_DEVICE_FAULT,
};
const ALL = Object.keys(KINDS) as MachineEventType[];

/** Names of MMU_NOTIFY_*. */
const NOTIFY_NAMES = [
  'UNMAP',
  'CLEAR',
  'PROTECTION_VMA',
  'PROTECTION_PAGE',
  'SOFT_DIRTY',
  'RELEASE',
  'MIGRATE',
  'EXCLUSIVE',
] as const;

/** Names of ACCESS_* of device faults. */
const DEVICE_ACCESSES = ['read', 'write', 'atomic', 'prefetch', 'prefetch_write'] as const;

const DEFAULT_CAPACITY = 16_384;

/** A running trace. It ends by `close`, by `await using`, or with the machine. */
export class TraceSubscription implements AsyncDisposable {
  private readonly machine: Machine;
  private readonly port: MessagePort;
  private readonly listener: TraceListener;
  private id = 0;
  private lost = 0;
  private closing: Promise<void> | null = null;
  private markDone: () => void = () => undefined;
  private readonly done = new Promise<void>((resolve) => (this.markDone = resolve));

  private constructor(machine: Machine, port: MessagePort, listener: TraceListener) {
    this.machine = machine;
    this.port = port;
    this.listener = listener;
    port.onmessage = ({ data }: MessageEvent<TraceBatch>) => this.take(data);
  }

  /** @internal See Machine.trace. */
  static async start(
    machine: Machine,
    listener: TraceListener,
    options: TraceOptions,
  ): Promise<TraceSubscription> {
    if (!isRecord(options)) throw new ErrnoError(errno.EFAULT, 'trace', 'options are no object');
    const { events = ALL, capacity = DEFAULT_CAPACITY } = options;
    const isList: boolean = Array.isArray(events);
    if (typeof listener !== 'function' || !isList) {
      throw new ErrnoError(errno.EINVAL, 'trace', 'a listener, and a list of events');
    }
    // A kind that there is not makes the mask NaN, which the kernel refuses.
    const kinds = [...new Set(events)].reduce(
      (mask, type) => mask + 2 ** (KINDS[type] ?? Number.NaN),
      0,
    );
    const { port1, port2 } = new MessageChannel();
    const subscription = new TraceSubscription(machine, port2, listener);
    try {
      const port = Comlink.transfer(port1, [port1]);
      const id = await machine.call<number>(machine.api.traceStart(port, { kinds, capacity }));
      subscription.id = checked(id, 'trace');
      return subscription;
    } catch (error) {
      port2.close();
      throw error;
    }
  }

  /** Events that were lost so far because the listener was slow. */
  get dropped(): number {
    return this.lost;
  }

  /** Ends the trace. Resolves when the listener has had all events up to now. */
  close(): Promise<void> {
    return (this.closing ??= this.stop());
  }

  /** As close. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.close());
  }

  /** @internal The machine is gone: nothing comes any more. */
  abandon(): void {
    this.port.close();
    this.markDone();
  }

  private async stop(): Promise<void> {
    const { machine, id } = this;
    try {
      checked(await machine.call<number>(machine.api.traceStop(id)), 'trace');
      await this.done;
    } finally {
      machine.forget(this);
      this.port.close();
    }
  }

  private take({ rows, dropped, isLast }: TraceBatch): void {
    this.lost += dropped;
    try {
      const count = rows.length / TRACE_COLUMNS;
      const events = Array.from({ length: count }, (_, i) => decode(rows, i * TRACE_COLUMNS));
      if (count > 0 || dropped > 0) this.listener(events, dropped);
    } finally {
      if (isLast) this.markDone();
      else this.port.postMessage(null);
    }
  }
}

function decode(rows: Float64Array, at: number): MachineEvent {
  const base = {
    sequence: rows[at + 1]!,
    timeMs: rows[at + 2]!,
    durationMs: rows[at + 3]!,
    pid: rows[at + 4]!,
  };
  const start = rows[at + 5]!;
  const end = rows[at + 6]!;
  const a = rows[at + 7]!;
  const b = rows[at + 8]!;
  const c = rows[at + 9]!;
  const kind = rows[at]!;
  switch (kind) {
    case TRACE_FAULT:
      return {
        type: 'fault',
        ...base,
        address: start,
        found: a,
        ...flagsOf(b),
        outcome: outcomeOf(c),
      };
    case TRACE_MIGRATE_BEGIN:
      return { type: 'migrate_begin', ...base, start, end, pages: a };
    case TRACE_MIGRATE_END:
      return { type: 'migrate_end', ...base, start, end, toDevice: a, toRam: b, failed: c };
    case TRACE_TLB_SHOOTDOWN:
      return { type: 'tlb_shootdown', ...base, start, end, entries: a, isComplete: b !== 0 };
    case TRACE_DEVICE_PASS: {
      const pagesInUse = rows[at + 10]!;
      const numbers = { pass: start, finished: end, faults: a, replayed: b, device: c, pagesInUse };
      return { type: 'device_pass', ...base, ...numbers };
    }
    case TRACE_DEVICE_FAULT: {
      const access = DEVICE_ACCESSES[a] ?? 'read';
      const numbers = { address: start, workgroup: end, pass: b, device: c };
      return { type: 'device_fault', ...base, ...numbers, access };
    }
    default:
      return { type: 'invalidate', ...base, start, end, event: NOTIFY_NAMES[a] ?? String(a) };
  }
}

function flagsOf(flags: number): Pick<FaultEvent, 'access' | 'isRemote'> {
  const isRemote = (flags & FAULT_FLAG_REMOTE) !== 0;
  if ((flags & FAULT_FLAG_WRITE) !== 0) return { access: 'write', isRemote };
  return { access: (flags & FAULT_FLAG_UNSHARE) === 0 ? 'read' : 'unshare', isRemote };
}

function outcomeOf(bits: number): FaultEvent['outcome'] {
  if ((bits & VM_FAULT_RETRY) !== 0) return 'retry';
  if ((bits & VM_FAULT_ERROR) === 0) return 'ok';
  if ((bits & VM_FAULT_OOM) !== 0) return 'ENOMEM';
  return (bits & VM_FAULT_SIGSEGV) !== 0 ? 'SIGSEGV' : 'SIGBUS';
}
