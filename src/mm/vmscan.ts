/**
 * Paging out on request (mm/vmscan.c: reclaim_pages, mm/rmap.c: try_to_unmap): an anonymous page
 * gets a slot of swap space, its mappings become swap entries in every address space, its contents
 * go to the slot, and the page is freed. There is no reclaim by itself.
 *
 * Locking: the page lock, tried. Other address spaces need no lock: code between two waits plays
 * the page-table lock. Never waits.
 *
 * Leaves out: pages of objects, large folios, aging.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putbackLru } from './migrate-device-unmap.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY, PG_ISOLATED, PG_LRU, PG_SWAPCACHE } from './page.ts';
import { RmapHits, folioRemoveRmap, rmapWalk } from './rmap.ts';
import {
  addToSwapCache,
  deleteFromSwapCache,
  folioAllocSwap,
  folioSwapSlot,
} from './swap-state.ts';
import { swapDuplicate, swapWriteout } from './swapfile.ts';
import {
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_SWP_EXCLUSIVE,
  PTE_UFFD_WP,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';

const hits = new RmapHits();
const clearRange = new MmuNotifierRange();

/**
 * Pages out what [start, end) of a VMA maps alone (madvise_cold_or_pageout_pte_range with
 * MADV_PAGEOUT). Pages that several address spaces map, pinned and locked ones stay, and all do
 * when there is no swap space left.
 *
 * @returns the number of pages that were freed. Context: mmap lock held; never waits.
 */
export function pageoutRange(vma: Vma, start: number, end: number): number {
  const { sys, pgd } = vma.mm;
  let reclaimed = 0;
  for (let addr = start; addr < end; addr += PAGE_SIZE) {
    addr = sys.pageTables.nextPopulated(pgd, addr, end);
    if (addr >= end) break;
    const pte = sys.pageTables.words[sys.pageTables.pteOffset(pgd, addr)]!;
    if (!ptePresent(pte) || (pte & PTE_SPECIAL) !== 0) continue;
    const pfn = ptePfn(pte);
    if (sys.mem.mapcount[pfn] === 1 && reclaimPage(sys, pfn)) reclaimed++;
  }
  return reclaimed;
}

/**
 * Pages out one page, wherever it is mapped (reclaim_pages for a list of one).
 *
 * @returns false when it stays: no single anonymous page of RAM on the LRU, locked, pinned, or no
 * slot. A page that stays may have swap entries already; they fault it back in. Context: any;
 * never waits.
 */
export function reclaimPage(sys: System, pfn: number): boolean {
  const { mem } = sys;
  const isCandidate = pfn < sys.ramPages && mem.isAnon(pfn) && mem.testFlag(pfn, PG_LRU);
  if (!isCandidate || mem.isLarge(pfn) || mem.maybeDmaPinned(pfn)) return false;
  if (!mem.trylockPage(pfn)) return false;
  mem.getPage(pfn);
  mem.flags[pfn] = (mem.flags[pfn]! & ~PG_LRU) | PG_ISOLATED;
  const isFreed = shrinkFolio(sys, pfn);
  putbackLru(mem, pfn);
  mem.unlockPage(pfn);
  putPage(sys, pfn);
  return isFreed;
}

/** shrink_folio_list for one page. @returns whether only the caller's reference is left. */
function shrinkFolio(sys: System, pfn: number): boolean {
  const { mem } = sys;
  if (!mem.testFlag(pfn, PG_SWAPCACHE)) {
    const slot = folioAllocSwap(sys);
    if (slot === 0) return false;
    addToSwapCache(sys, pfn, slot);
    mem.setFlag(pfn, PG_DIRTY);
  }
  const slot = folioSwapSlot(sys, pfn);
  tryToUnmap(sys, pfn, slot);
  if (mem.mapcount[pfn] !== 0) return false;
  if (mem.testFlag(pfn, PG_DIRTY)) {
    swapWriteout(sys, pfn, slot);
    mem.clearFlag(pfn, PG_DIRTY);
  }
  // Ours and the cache's; whoever has another one still reads or writes the page.
  if (mem.refcount[pfn] !== 2) return false;
  deleteFromSwapCache(sys, pfn);
  return true;
}

/** Turns every mapping of a page of the swap cache into a swap entry (try_to_unmap). */
function tryToUnmap(sys: System, pfn: number, slot: number): void {
  rmapWalk(sys, pfn, hits);
  for (let i = 0; i < hits.length; i++) {
    if (hits.isPmd[i]) continue;
    const pte = sys.pageTables.words[hits.ptes[i]!]!;
    if (!ptePresent(pte) || ptePfn(pte) !== pfn || (pte & PTE_SPECIAL) !== 0) continue;
    if (!unmapOne(sys, pfn, slot, hits.vmas[i]!, hits.addrs[i]!, hits.ptes[i]!)) return;
  }
}

/** @returns false when it stays mapped: a core did not answer. */
function unmapOne(
  sys: System,
  pfn: number,
  slot: number,
  vma: Vma,
  addr: number,
  at: number,
): boolean {
  const { mem, pageTables } = sys;
  const { mm } = vma;
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  const pte = pageTables.words[at]!;
  const exclusive = mem.testFlag(pfn, PG_ANON_EXCLUSIVE) ? PTE_SWP_EXCLUSIVE : 0;
  const carried = pte & (PTE_SOFT_DIRTY | PTE_UFFD_WP);
  pageTables.setPte(at, mkLeaf(LEAF_SWAP, slot, carried | exclusive));
  if (!tryFlushTlbRange(mm, addr, addr + PAGE_SIZE, 1)) {
    pageTables.setPte(at, pte);
    mmuNotifierInvalidateRangeEnd(clearRange);
    return false;
  }
  if ((pte & PTE_DIRTY) !== 0) mem.setFlag(pfn, PG_DIRTY);
  swapDuplicate(sys, slot);
  mem.clearFlag(pfn, PG_ANON_EXCLUSIVE);
  mm.anonRss--;
  mm.swapEnts++;
  folioRemoveRmap(sys, pfn);
  putPage(sys, pfn);
  mmuNotifierInvalidateRangeEnd(clearRange);
  return true;
}
