/** The kernel's event counters as the facade hands them out: shared memory, read without asking. */
import { VM_EVENTS, vmEventIndex } from '../mm/vmstat.ts';
import type { VmEvent } from '../mm/vmstat.ts';

/**
 * The counters of /proc/vmstat, live: `machine.vmstat.read('pgfault')`. They go up while the kernel
 * works; each is right by itself, several are not of one moment.
 */
export class LiveCounters {
  /** Names in the order of `values`. */
  readonly names: readonly VmEvent[] = VM_EVENTS;
  /** The shared memory itself, for other threads and for loops. Not to be written to. */
  readonly values: Float64Array<SharedArrayBuffer>;

  /** @internal */
  constructor(values: Float64Array<SharedArrayBuffer>) {
    this.values = values;
  }

  /** The counter with that name, now. */
  read(name: VmEvent): number {
    return this.values[vmEventIndex(name)]!;
  }

  /** All counters, now. */
  snapshot(): Record<VmEvent, number> {
    const pairs = VM_EVENTS.map((name, at) => [name, this.values[at]!] as const);
    return Object.fromEntries(pairs) as Record<VmEvent, number>;
  }
}
