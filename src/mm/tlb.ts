/**
 * TLB flushes (arch/x86/mm/tlb.c, seen from mm). Each reduction of a permission in a page table
 * goes through here, once per batch, before the frames behind it are freed or their contents move.
 *
 * The kernel worker's own accesses walk the page table each time, so for them a flush is counted
 * and nothing more. Whoever caches translations (the cores of the simulator) registers as a
 * listener and drops what a flush names; what it missed it would go on using.
 */
import type { MmStruct } from './mm-types.ts';
import { vmEventIndex } from './vmstat.ts';

const TLB_FLUSH = vmEventIndex('tlb_flush');

/** A cache of translations of an address space: the TLB of one core. */
export interface TlbListener {
  /** Drops every translation of [start, end). Must not wait, nor call mm. */
  readonly flush: (mm: MmStruct, start: number, end: number) => void;
}

/**
 * Flushes translations of an address space (flush_tlb_range).
 *
 * @param start First byte. @param end One past the last byte.
 * @param pages Number of present entries whose permission was reduced; 0 does nothing.
 * Context: after the entries were changed, before their pages are freed or moved.
 */
export function flushTlbRange(mm: MmStruct, start: number, end: number, pages: number): void {
  if (pages === 0) return;
  mm.tlbFlushes++;
  mm.tlbFlushedPages += pages;
  mm.sys.vmstat.add(TLB_FLUSH, 1);
  const { tlbs } = mm;
  for (let i = 0; i < tlbs.length; i++) tlbs[i]!.flush(mm, start, end);
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
