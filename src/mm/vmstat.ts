/**
 * Event counters (mm/vmstat.c) in shared memory, so that a page can show them live without asking.
 * Names that Linux has are Linux's; the others count what tests and the lab want to see.
 */

/** Counter names; the position in this list is the index in shared memory. */
export const VM_EVENTS = [
  'pgalloc',
  'pgfree',
  'pgfault',
  'pgmajfault',
  'pswpin',
  'pswpout',
  'pgmigrate_success',
  'pgmigrate_fail',
  'pgmigrate_to_device',
  'pgmigrate_to_ram',
  'device_private_fault',
  'device_private_held',
  'device_private_kept',
  'migration_entry_wait',
  'userfault',
  'memory_failure',
  'zero_page_fault',
  'wp_fault',
  'cow_copy',
  'mmu_invalidate',
  'tlb_flush',
  'tlb_flush_refused',
  'hmm_fault',
  'hmm_restart',
  'nr_foll_pin_acquired',
  'nr_foll_pin_released',
  'device_exclusive_make',
  'device_exclusive_revoke',
  'thp_fault_alloc',
  'thp_fault_fallback',
  'thp_zero_page_alloc',
  'thp_split_page',
  'thp_split_page_failed',
  'thp_split_pmd',
  'thp_migration_success',
  'thp_migration_fail',
  'thp_collapse_alloc',
  'thp_collapse_alloc_failed',
  'htlb_buddy_alloc_success',
  'htlb_buddy_alloc_fail',
  'prefetch_fault_around',
  'prefetch_hinted',
  'prefetch_used',
  'prefetch_wasted',
  'prefetch_hints',
  'prefetch_hints_merged',
  'prefetch_hints_dropped',
  'device_kernel_launch',
  'device_kernel_pass',
  'device_kernel_fault',
  'device_kernel_replay',
  'device_kernel_kill',
] as const;

/** A counter name. */
export type VmEvent = (typeof VM_EVENTS)[number];

const indexByName = new Map<VmEvent, number>(VM_EVENTS.map((name, at) => [name, at]));

/** Index of a counter, for hot paths that look it up once at module load. */
export function vmEventIndex(name: VmEvent): number {
  return indexByName.get(name) ?? 0;
}

export class Vmstat {
  /** Doubles, so that they don't wrap; written by the kernel worker alone. */
  readonly counters = new Float64Array(new SharedArrayBuffer(VM_EVENTS.length * 8));

  /** Adds `n` to the counter with that index. */
  add(index: number, n: number): void {
    this.counters[index]! += n;
  }

  /** Adds one to a counter by name. */
  count(name: VmEvent): void {
    this.counters[vmEventIndex(name)]! += 1;
  }

  /** Current value by name. */
  read(name: VmEvent): number {
    return this.counters[vmEventIndex(name)]!;
  }

  /** All counters as a plain object. */
  snapshot(): Record<VmEvent, number> {
    const out = {} as Record<VmEvent, number>;
    VM_EVENTS.forEach((name, at) => {
      out[name] = this.counters[at]!;
    });
    return out;
  }
}
