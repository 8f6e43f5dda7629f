/** The part of the control plane that lets a program watch the machine. */

/** What a subscription wants. */
export interface TraceRequest {
  /** Bit TRACE_* for each kind. */
  readonly kinds: number;
  /** Events that may wait in the kernel; MAX_TRACE_EVENTS at most. */
  readonly capacity: number;
}

/** Most events that a subscription may keep waiting. */
export const MAX_TRACE_EVENTS = 2 ** 20;

/** Numbers of an event: kind, sequence, time, duration, pid, start, end, and four by kind. */
export const TRACE_COLUMNS = 11;

/** What comes through the port; each batch but the last is to be acknowledged by any message. */
export interface TraceBatch {
  readonly rows: Float64Array<ArrayBuffer>;
  /** Events that were lost before these, because the buffer was full. */
  readonly dropped: number;
  readonly isLast: boolean;
}

/** Calls of the kernel about traces. Numbers below zero are errnos. */
export interface TraceApi {
  /** Sends events through the port from now on; number of the subscription. EINVAL. */
  traceStart(port: MessagePort, request: TraceRequest): number;
  /** Sends what waits, and no more. EINVAL. */
  traceStop(id: number): number;
}
