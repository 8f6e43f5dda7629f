/**
 * TLB flushes (arch/x86/mm/tlb.c, seen from mm). Each reduction of a permission in a page table
 * goes through here, once per batch, before the frames behind it are freed or their contents move.
 *
 * The kernel worker's own accesses walk the page table each time, so for them a flush is counted
 * and nothing more. Whoever caches translations (CPU cores, those of the simulator) registers as a
 * listener and drops what a flush names; what it missed it would go on using.
 *
 * A core is a thread of its own that answers when it next looks. `flushTlbRange` returns when all
 * have answered, or those that did not are dead. `tryFlushTlbRange` gives up earlier, for callers
 * that can put back what they took: to them a silent core is like a pin.
 */
import type { MmStruct } from './mm-types.ts';
import { TRACE_TLB_SHOOTDOWN } from './trace.ts';
import { vmEventIndex } from './vmstat.ts';

const TLB_FLUSH = vmEventIndex('tlb_flush');
const TLB_FLUSH_REFUSED = vmEventIndex('tlb_flush_refused');

/** A cache of translations of an address space: the TLBs of its cores. */
export interface TlbListener {
  /**
   * Drops every translation of [start, end). Must not call mm.
   *
   * @param mayFail Whether to give up on a core that does not answer soon. @returns false when it
   * did give up, which leaves translations in use.
   */
  readonly flush: (mm: MmStruct, start: number, end: number, mayFail: boolean) => boolean;
  /** Returns when no walk through page tables that began before is still going on. */
  readonly sync?: (mm: MmStruct) => void;
}

/**
 * Flushes translations of an address space (flush_tlb_range).
 *
 * @param start First byte. @param end One past the last byte.
 * @param pages Number of present entries whose permission was reduced, and of page tables that were
 * unlinked; 0 does nothing.
 * Context: after the entries were changed, before their pages or tables are freed or moved. Blocks
 * the thread until all cores have answered.
 */
export function flushTlbRange(mm: MmStruct, start: number, end: number, pages: number): void {
  if (pages === 0) return;
  countFlush(mm, pages);
  const { tlbs } = mm;
  const since = mm.sys.trace?.nowMs() ?? -1;
  for (let i = 0; i < tlbs.length; i++) tlbs[i]!.flush(mm, start, end, false);
  if (since >= 0) traceFlush(mm, start, end, since, pages, 1);
}

/**
 * Like flushTlbRange, for callers that can undo what they did.
 *
 * @returns true when no core uses the old entries any more; false when one did not answer in time:
 * then the caller puts the entries back as they were.
 * Context: as flushTlbRange; blocks the thread for some milliseconds at most. Our own.
 */
export function tryFlushTlbRange(mm: MmStruct, start: number, end: number, pages: number): boolean {
  if (pages === 0) return true;
  countFlush(mm, pages);
  const { tlbs } = mm;
  const since = mm.sys.trace?.nowMs() ?? -1;
  let isDone = true;
  for (let i = 0; isDone && i < tlbs.length; i++) isDone = tlbs[i]!.flush(mm, start, end, true);
  if (!isDone) mm.sys.vmstat.add(TLB_FLUSH_REFUSED, 1);
  if (since >= 0) traceFlush(mm, start, end, since, pages, isDone ? 1 : 0);
  return isDone;
}

function traceFlush(
  mm: MmStruct,
  start: number,
  end: number,
  since: number,
  pages: number,
  answered: number,
): void {
  mm.sys.trace?.emit(TRACE_TLB_SHOOTDOWN, mm, start, end, since, pages, answered, 0);
}

/**
 * Waits until no core can be in the middle of a walk through page tables that were unlinked, so
 * that they may serve elsewhere (tlb_remove_table_sync_one). @param tables How many there were.
 *
 * Context: after they were unlinked, before anything else can run. Blocks the thread.
 */
export function syncTableWalks(mm: MmStruct, tables: number): void {
  if (tables === 0) return;
  const { tlbs } = mm;
  for (let i = 0; i < tlbs.length; i++) tlbs[i]!.sync?.(mm);
}

function countFlush(mm: MmStruct, pages: number): void {
  mm.tlbFlushes++;
  mm.tlbFlushedPages += pages;
  mm.sys.vmstat.add(TLB_FLUSH, 1);
}

/**
 * Lets a cache of translations hear of the flushes of an address space (switch_mm towards it).
 *
 * Context: any; the cache holds nothing of it yet. Our own.
 */
export function addTlbListener(mm: MmStruct, listener: TlbListener): void {
  mm.tlbs.push(listener);
}

/**
 * Ends addTlbListener: the cache holds nothing of the address space any more. Context: any.
 */
export function removeTlbListener(mm: MmStruct, listener: TlbListener): void {
  const at = mm.tlbs.indexOf(listener);
  if (at >= 0) mm.tlbs.splice(at, 1);
}
