/**
 * Pages that came before anybody asked for them: by fault-around, or by a hint. Each has
 * PG_READAHEAD until it is touched for the first time; one that loses the flag in another way left
 * without ever being touched (unmapped, migrated again), and came in vain.
 *
 * Our own, after mm/readahead.c, which marks one page of a window to know when it is reached.
 */
import type { System } from './mm-types.ts';
import { PG_READAHEAD } from './page.ts';
import { vmEventIndex } from './vmstat.ts';

const PREFETCH_USED = vmEventIndex('prefetch_used');
const PREFETCH_WASTED = vmEventIndex('prefetch_wasted');

/** Marks a page that came unasked. @param event Index of the counter of the way it came. */
export function markReadahead(sys: System, pfn: number, event: number): void {
  sys.mem.setFlag(pfn, PG_READAHEAD);
  sys.vmstat.add(event, 1);
}

/** Notes that a page is touched which was old until now. Context: any. */
export function noteFirstTouch(sys: System, pfn: number): void {
  if (!sys.mem.testFlag(pfn, PG_READAHEAD)) return;
  sys.mem.clearFlag(pfn, PG_READAHEAD);
  sys.vmstat.add(PREFETCH_USED, 1);
}

/**
 * Brings the counter of pages that came in vain up to date: neither touched nor still there. Looks
 * at every page of RAM, unless none ever came unasked. Context: kernel thread.
 */
export function updateWasted(sys: System): void {
  const { vmstat, mem } = sys;
  const brought = vmstat.read('prefetch_fault_around') + vmstat.read('prefetch_hinted');
  if (brought === 0) return;
  let waiting = 0;
  for (let pfn = 0; pfn < sys.ramPages; pfn++) {
    if ((mem.flags[pfn]! & PG_READAHEAD) !== 0) waiting++;
  }
  vmstat.counters[PREFETCH_WASTED] = brought - vmstat.read('prefetch_used') - waiting;
}
