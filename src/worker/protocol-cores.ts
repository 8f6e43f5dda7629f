/** The part of the control plane that runs programs on CPU cores. */
import type { CoreImage } from '../cpu/core.ts';

/** What the kernel tells the thread that starts and ends cores. */
export interface HostRequest {
  /** End the core with that serial number, whatever it does. */
  readonly end: number;
  readonly why: string;
}

/** Calls of the kernel about cores. Numbers below zero are errnos. */
export interface CoreApi {
  /** Names the port that HostRequests are sent to, before the first core. EINVAL. */
  attachHost(port: MessagePort): number;
  /**
   * Gives a process one more core, parked. `bell` is the port its doorbell comes in by, where that
   * is a port. EAGAIN when there are MAX_CORES, ESRCH.
   */
  startCore(pid: number, bell: MessagePort | null): CoreImage | number;
  /** Tells a core to end by a signal when it next touches memory, or blocks. EINVAL. */
  signalCore(slot: number, signal: number): number;
  /** Memory of the FaultLatency that cores write: shared, and live. */
  liveFaultLatency(): SharedArrayBuffer;
  /** The core's thread is gone, its block says so: frees the slot. EINVAL, EBUSY. */
  endCore(slot: number): number;
}
