/**
 * TLB flushes (arch/x86/mm/tlb.c, seen from mm). Each reduction of a permission in a page table
 * goes through here, once per batch, before the frames behind it are freed or their contents move.
 *
 * Today no core caches translations, so a flush is counted and nothing more; the counters let tests
 * see that batches are flushed once, and that nothing is flushed when nothing present was taken
 * away.
 */
import type { MmStruct } from './mm-types.ts';
import { vmEventIndex } from './vmstat.ts';

const TLB_FLUSH = vmEventIndex('tlb_flush');

/**
 * Flushes translations of an address space (flush_tlb_range).
 *
 * @param pages Number of present entries whose permission was reduced; 0 does nothing.
 * Context: after the entries were changed.
 */
export function flushTlbRange(mm: MmStruct, pages: number): void {
  if (pages === 0) return;
  mm.tlbFlushes++;
  mm.tlbFlushedPages += pages;
  mm.sys.vmstat.add(TLB_FLUSH, 1);
}
