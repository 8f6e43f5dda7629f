/**
 * Tracepoints (include/trace/events), for whoever wants to watch a machine at work. Without a
 * listener `sys.trace` is null, and a tracepoint costs the look at it.
 *
 * A sink must not call mm, and has a clock, which mm itself has not.
 */
import type { MmStruct } from './mm-types.ts';

/** A page fault was handled. a: the entry before, b: FAULT_FLAG_*, c: the answer. */
export const TRACE_FAULT = 0;
/** Pages were collected and unmapped for a migration. a: how many may migrate. */
export const TRACE_MIGRATE_BEGIN = 1;
/** A migration ended. Pages a: now on a device, b: now in RAM, c: left where they were. */
export const TRACE_MIGRATE_END = 2;
/** Cores dropped translations. a: entries that were reduced, b: 0 when a core did not answer. */
export const TRACE_TLB_SHOOTDOWN = 3;
/** Devices were told that a range changes. a: MMU_NOTIFY_*. */
export const TRACE_INVALIDATE = 4;
/**
 * A pass of a kernel over virtual memory ended. start: its number, end: workgroups that have
 * finished; a: faults, b: workgroups that ran again, c: number of the device,
 * d: pages of its memory in use.
 */
export const TRACE_DEVICE_PASS = 5;
/**
 * A kernel faulted. start: the address, end: the workgroup; a: ACCESS_* of the device, b: number of
 * the pass, c: number of the device.
 */
export const TRACE_DEVICE_FAULT = 6;

/** Takes events as they happen. */
export interface TraceSink {
  /** Milliseconds, of any beginning. */
  nowMs(): number;
  /**
   * Takes an event of TRACE_*.
   *
   * @param mm Null where pages were chosen by pfn. @param start Address of the first byte, or pfn.
   * @param end One past the last. @param sinceMs When it began; nowMs() for a moment.
   * @param a, b, c, d As the kind says.
   */
  emit(
    kind: number,
    mm: MmStruct | null,
    start: number,
    end: number,
    sinceMs: number,
    a: number,
    b: number,
    c: number,
    d?: number,
  ): void;
}
