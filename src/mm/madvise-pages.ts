/**
 * Advice that works on present pages (mm/madvise.c: madvise_free_single_vma,
 * madvise_cold_or_pageout): MADV_FREE and MADV_COLD. Device pages are left as they are: their
 * entries are not present, and a device page is on no list of pages to reclaim.
 *
 * Locking: mmap lock held for read. Never waits.
 *
 * A large folio is freed or aged as a whole where the range covers the PMD entry that maps it; else
 * it is split first. One that PTEs map is left alone, since it can't be freed in parts.
 *
 * Leaves out: aging of page-cache pages by others.
 */
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import { PG_ACTIVE, PG_DIRTY, PG_REFERENCED, PG_SWAPBACKED, PG_SWAPCACHE } from './page.ts';
import { splitFolio } from './split-folio.ts';
import { folioFreeSwap, freeSwapAndCache } from './swap-state.ts';
import {
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_HUGE,
  PTE_SPECIAL,
  PTE_YOUNG,
  isPmdLeaf,
  leafKind,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';

const freeRange = new MmuNotifierRange();

/**
 * Lets the machine drop the contents of anonymous pages when it needs memory (MADV_FREE), unless
 * they are written again. Pages that somebody else maps, too, are left alone.
 *
 * Context: see the file header; the VMA is anonymous.
 */
export function madviseFree(vma: Vma, start: number, end: number): void {
  const { sys } = vma.mm;
  mmuNotifierRangeInit(freeRange, MMU_NOTIFY_CLEAR, vma.mm, start, end);
  mmuNotifierInvalidateRangeStart(freeRange);
  changePresent(vma, start, end, (pte) => {
    const pfn = ptePfn(pte);
    if (!isMappedOnce(sys, pte) || !leaveSwapCache(sys, pfn)) return pte;
    sys.mem.clearFlag(pfn, PG_DIRTY | PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED);
    return (pte & ~(PTE_YOUNG | PTE_DIRTY)) >>> 0;
  });
  freeSwapEntries(vma, start, end);
  mmuNotifierInvalidateRangeEnd(freeRange);
}

/** A clean page must not have a slot with older contents. @returns false when it has to keep it. */
function leaveSwapCache(sys: System, pfn: number): boolean {
  if (!sys.mem.testFlag(pfn, PG_SWAPCACHE)) return true;
  if (!sys.mem.trylockPage(pfn)) return false;
  const isFree = folioFreeSwap(sys, pfn);
  sys.mem.unlockPage(pfn);
  return isFree;
}

/** What is in swap space need not come back. */
function freeSwapEntries(vma: Vma, start: number, end: number): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  if (mm.swapEnts === 0) return;
  for (let addr = start; addr < end; addr += PAGE_SIZE) {
    addr = pageTables.nextPopulated(mm.pgd, addr, end);
    if (addr >= end) return;
    const at = pageTables.pteOffset(mm.pgd, addr);
    const pte = pageTables.words[at]!;
    if (at === 0 || leafKind(pte) !== LEAF_SWAP) continue;
    pageTables.setPte(at, 0);
    mm.swapEnts--;
    freeSwapAndCache(mm.sys, ptePfn(pte));
  }
}

/** Notes that pages are not going to be used soon (MADV_COLD). Context: see the file header. */
export function madviseCold(vma: Vma, start: number, end: number): void {
  const { sys } = vma.mm;
  changePresent(vma, start, end, (pte) => {
    const pfn = ptePfn(pte);
    if (!isMappedOnce(sys, pte)) return pte;
    sys.mem.clearFlag(pfn, PG_ACTIVE | PG_REFERENCED);
    return (pte & ~PTE_YOUNG) >>> 0;
  });
}

/** True when nothing but this entry maps the folio. */
function isMappedOnce(sys: System, pte: number): boolean {
  const { mem } = sys;
  const pfn = ptePfn(pte);
  const isPmd = (pte & PTE_HUGE) !== 0;
  const folio = mem.folioOf(pfn);
  return mem.isLarge(folio) === isPmd && mem.folioMapcount(folio) === 1;
}

/** True for an entry of a RAM page that the machine may treat as it likes. */
function isOrdinary(sys: System, pte: number): boolean {
  if (!ptePresent(pte) || (pte & PTE_SPECIAL) !== 0) return false;
  return !sys.mem.isZoneDevice(ptePfn(pte));
}

/** Replaces the present entries of a range; flushes once a page table. */
function changePresent(
  vma: Vma,
  start: number,
  end: number,
  change: (pte: number) => number,
): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  let addr = pageTables.nextPopulated(mm.pgd, start, end);
  while (addr < end) {
    const stop = Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const pmdAt = pageTables.pmdOffset(mm.pgd, addr);
    const isLeaf = isPmdLeaf(pageTables.words[pmdAt]!);
    const isWhole = isLeaf && stop - addr === PMD_SIZE;
    if (isLeaf && !isWhole) splitLeaf(mm.sys, pmdAt);
    const first = isWhole ? pmdAt : pageTables.pteOffset(mm.pgd, addr);
    const entries = isWhole ? 1 : (stop - addr) / PAGE_SIZE;
    const last = first === 0 ? 0 : first + entries;
    let changed = 0;
    for (let at = first; at < last; at++) {
      const old = pageTables.words[at]!;
      if (!isOrdinary(mm.sys, old)) continue;
      const next = change(old);
      if (next === old) continue;
      pageTables.words[at] = next;
      changed += isWhole ? HPAGE_PMD_NR : 1;
    }
    flushTlbRange(mm, addr, stop, changed);
    addr = pageTables.nextPopulated(mm.pgd, stop, end);
  }
}

/** Splits the folio behind a PMD leaf of RAM that nothing else maps, if that can be done now. */
function splitLeaf(sys: System, at: number): void {
  const { mem } = sys;
  const pmd = sys.pageTables.words[at]!;
  if (!isOrdinary(sys, pmd) || !isMappedOnce(sys, pmd)) return;
  const folio = ptePfn(pmd);
  if (!mem.trylockPage(folio)) return;
  mem.getPage(folio);
  splitFolio(sys, folio);
  mem.unlockPage(folio);
  putPage(sys, folio);
}
