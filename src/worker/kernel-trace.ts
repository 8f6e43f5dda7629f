/**
 * Who watches the machine, as the kernel has it: each subscription has a bounded buffer of events
 * and a port that they are sent through, a batch at a time. The next batch goes when the listener
 * has acknowledged the last, so that a slow listener loses events, which are counted, and nothing
 * grows. While nobody listens, the tracepoints find no sink.
 */
import { errno } from '../base/errno.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import { TRACE_FAULT } from '../mm/trace.ts';
import type { TraceSink } from '../mm/trace.ts';
import { pageCode } from './page-map.ts';
import type { TraceBatch, TraceRequest } from './protocol-trace.ts';
import { MAX_TRACE_EVENTS, TRACE_COLUMNS } from './protocol-trace.ts';

/** Events wait at most so long for others to go with. */
const BATCH_MS = 5;

interface Subscription {
  readonly port: MessagePort;
  /** Bit TRACE_* for each kind that is wanted. */
  readonly kinds: number;
  /** Ring of rows. */
  readonly rows: Float64Array;
  readonly capacity: number;
  /** Rows that wait, and the number of the first. */
  count: number;
  first: number;
  dropped: number;
  /** A batch has been sent and not been acknowledged. */
  isSent: boolean;
  timer: ReturnType<typeof setTimeout> | null;
}

export class KernelTrace implements TraceSink {
  private readonly sys: System;
  private readonly devices: readonly DmirrorDevice[];
  private readonly pids = new WeakMap<MmStruct, number>();
  private readonly subscriptions = new Map<number, Subscription>();
  private nextId = 1;
  private sequence = 0;

  constructor(sys: System, devices: readonly DmirrorDevice[]) {
    this.sys = sys;
    this.devices = devices;
  }

  /** From now on events of that address space carry that pid. */
  name(mm: MmStruct, pid: number): void {
    this.pids.set(mm, pid);
  }

  /** See TraceApi. */
  start(port: MessagePort, request: TraceRequest): number {
    const { kinds, capacity } = request ?? {};
    const isPort = typeof (port as Partial<MessagePort> | null)?.postMessage === 'function';
    const isSize = Number.isInteger(capacity) && capacity >= 1 && capacity <= MAX_TRACE_EVENTS;
    if (!isPort || !isSize || !Number.isInteger(kinds) || kinds <= 0) return errno.EINVAL;
    const subscription: Subscription = {
      port,
      kinds,
      rows: new Float64Array(capacity * TRACE_COLUMNS),
      capacity,
      count: 0,
      first: 0,
      dropped: 0,
      isSent: false,
      timer: null,
    };
    port.onmessage = () => {
      subscription.isSent = false;
      if (subscription.count > 0 || subscription.dropped > 0) this.send(subscription, false);
    };
    const id = this.nextId++;
    this.subscriptions.set(id, subscription);
    this.sys.trace = this;
    return id;
  }

  /** See TraceApi. */
  stop(id: number): number {
    const subscription = this.subscriptions.get(id);
    if (subscription === undefined) return errno.EINVAL;
    this.subscriptions.delete(id);
    if (this.subscriptions.size === 0) this.sys.trace = null;
    this.send(subscription, true);
    return 0;
  }

  /** Ends all subscriptions. */
  close(): void {
    for (const id of this.subscriptions.keys()) this.stop(id);
  }

  /** See TraceSink. */
  nowMs(): number {
    return performance.timeOrigin + performance.now();
  }

  /** See TraceSink. */
  emit(
    kind: number,
    mm: MmStruct | null,
    start: number,
    end: number,
    sinceMs: number,
    a: number,
    b: number,
    c: number,
    d = 0,
  ): void {
    const sequence = this.sequence++;
    const duration = this.nowMs() - sinceMs;
    const pid = mm === null ? 0 : (this.pids.get(mm) ?? 0);
    const first = kind === TRACE_FAULT && mm !== null ? pageCode(mm, this.devices, a) : a;
    for (const one of this.subscriptions.values()) {
      if ((one.kinds & (1 << kind)) === 0) continue;
      if (one.count === one.capacity) {
        one.dropped++;
        continue;
      }
      const { rows } = one;
      let at = ((one.first + one.count) % one.capacity) * TRACE_COLUMNS;
      one.count++;
      rows[at++] = kind;
      rows[at++] = sequence;
      rows[at++] = sinceMs;
      rows[at++] = duration;
      rows[at++] = pid;
      rows[at++] = start;
      rows[at++] = end;
      rows[at++] = first;
      rows[at++] = b;
      rows[at++] = c;
      rows[at] = d;
      if (one.timer === null && !one.isSent) {
        one.timer = setTimeout(() => this.send(one, false), BATCH_MS);
      }
    }
  }

  private send(one: Subscription, isLast: boolean): void {
    if (one.timer !== null) clearTimeout(one.timer);
    one.timer = null;
    const rows = new Float64Array(one.count * TRACE_COLUMNS);
    const before = Math.min(one.count, one.capacity - one.first);
    const start = one.first * TRACE_COLUMNS;
    rows.set(one.rows.subarray(start, start + before * TRACE_COLUMNS));
    rows.set(one.rows.subarray(0, (one.count - before) * TRACE_COLUMNS), before * TRACE_COLUMNS);
    const batch: TraceBatch = { rows, dropped: one.dropped, isLast };
    one.first = 0;
    one.count = 0;
    one.dropped = 0;
    one.isSent = true;
    one.port.postMessage(batch, [rows.buffer]);
    // What was posted is delivered all the same.
    if (isLast) one.port.close();
  }
}
