/**
 * Removing mappings (mm/memory.c:zap_pte_range, mm/mmu_gather.c). Entries are cleared, the reverse
 * map is dropped, the pages are gathered; after one TLB flush per batch their references go.
 * Device-private pages are let go like any other: the last reference gives the page to its driver,
 * its data vanish.
 *
 * Locking: mmap lock held (write for munmap and exit; read is enough for zapPageRange). Never
 * waits.
 */
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { NO_FOLIO, zapHugePmd } from './huge-pmd-ops.ts';
import { isUffdWpMarker, userfaultfdWp } from './fs-userfaultfd.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import { PG_DIRTY, PG_REFERENCED } from './page.ts';
import { folioRemoveRmap } from './rmap.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import { freeSwapAndCache, freeSwapCache } from './swap-state.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isMigrationEntry,
  isPmdLeaf,
  leafKind,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';

/** Pages that are freed after the same TLB flush. */
const GATHER_PAGES = 4096;

/** Pages whose entries are gone but which may still be in a TLB (struct mmu_gather). */
class MmuGather {
  private readonly pfns = new Uint32Array(GATHER_PAGES);
  private count = 0;
  private start = 0;
  private end = 0;
  private presentPages = 0;

  /** Begins with entries of [start, end). */
  begin(start: number, end: number): void {
    this.start = start;
    this.end = end;
    // Nothing is left, unless the last one ended in an exception.
    this.presentPages = 0;
    this.count = 0;
  }

  /** Notes a cleared entry, for that many pages, that a core could have cached. */
  present(pages = 1): void {
    this.presentPages += pages;
  }

  /** Takes over the mapping's reference on a page. */
  page(mm: MmStruct, pfn: number): void {
    if (this.count === GATHER_PAGES) this.finish(mm);
    this.pfns[this.count++] = pfn;
  }

  /** Flushes, then drops the references. */
  finish(mm: MmStruct): void {
    flushTlbRange(mm, this.start, this.end, this.presentPages);
    this.presentPages = 0;
    const count = this.count;
    this.count = 0;
    for (let i = 0; i < count; i++) {
      freeSwapCache(mm.sys, this.pfns[i]!);
      putPage(mm.sys, this.pfns[i]!);
    }
  }
}

const gather = new MmuGather();
const clearRange = new MmuNotifierRange();

/**
 * Drops the pages of [start, end) of a VMA (zap_page_range_single, what MADV_DONTNEED does): the
 * next access finds zeroes, or the object's page. Sends MMU_NOTIFY_CLEAR.
 *
 * @param evenCows Private copies of an object's pages go as well. Context: mmap lock held, or the
 * VMA is on its inode's list; start and end page aligned and inside the VMA.
 */
export function zapPageRange(vma: Vma, start: number, end: number, evenCows = true): void {
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, vma.mm, start, end);
  mmuNotifierInvalidateRangeStart(clearRange);
  unmapPageRange(vma, start, end, evenCows, true);
  mmuNotifierInvalidateRangeEnd(clearRange);
}

/**
 * Like zapPageRange, without telling the notifiers: the caller did (unmap_page_range).
 *
 * @param keepMarkers Whether what markers say outlives the pages: the VMA stays (else
 * ZAP_FLAG_DROP_MARKER). Context: mmap lock held; inside an invalidation of the range.
 */
export function unmapPageRange(
  vma: Vma,
  start: number,
  end: number,
  evenCows = true,
  keepMarkers = false,
): void {
  const mm = vma.mm;
  const { pageTables } = mm.sys;
  gather.begin(start, end);
  let addr = pageTables.nextPopulated(mm.pgd, start, end);
  while (addr < end) {
    const chunkEnd = Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    if (zapLeaf(vma, addr, chunkEnd)) {
      addr = pageTables.nextPopulated(mm.pgd, chunkEnd, end);
      continue;
    }
    const first = pageTables.pteOffset(mm.pgd, addr);
    const last = first + (chunkEnd - addr) / PAGE_SIZE;
    for (let at = first; at < last; at++) {
      const pte = pageTables.words[at]!;
      if (pte === 0 || (!evenCows && isCow(mm, pte))) continue;
      const left = keepMarkers ? remainingMarker(vma, pte) : 0;
      if (left === pte) continue;
      pageTables.setPte(at, left);
      zapPte(mm, pte);
    }
    addr = pageTables.nextPopulated(mm.pgd, chunkEnd, end);
  }
  gather.finish(mm);
}

/** True for what stays when only the pages of the object itself go (should_zap_cows). */
function isCow(mm: MmStruct, pte: number): boolean {
  if (ptePresent(pte) && (pte & PTE_SPECIAL) !== 0) return false;
  const hasPage = ptePresent(pte) || isMigrationEntry(pte) || isDevicePrivateEntry(pte);
  return !hasPage || mm.sys.mem.isAnon(ptePfn(pte));
}

/**
 * What stays of an entry in a VMA that stays: guards, and that a page of an object is
 * write-protected by userfaultfd, since the object still has it (zap_install_uffd_wp_if_needed).
 */
function remainingMarker(vma: Vma, pte: number): number {
  if (leafKind(pte) === LEAF_MARKER_GUARD) return pte;
  if (vma.inode === null || !userfaultfdWp(vma)) return 0;
  const isProtected = (pte & PTE_UFFD_WP) !== 0 || isUffdWpMarker(pte);
  return isProtected ? mkLeaf(LEAF_MARKER_UFFD_WP, 0, 0) : 0;
}

/** Zaps a PMD leaf that [start, end) covers; one that it covers in part is split, for its PTEs. */
function zapLeaf(vma: Vma, start: number, end: number): boolean {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const at = pageTables.pmdOffset(mm.pgd, start);
  const pmd = pageTables.words[at]!;
  if (!isPmdLeaf(pmd)) return false;
  if (end - start !== PMD_SIZE) {
    splitHugePmd(vma, at, start - (start % PMD_SIZE));
    return false;
  }
  if (ptePresent(pmd)) gather.present(HPAGE_PMD_NR);
  const folio = zapHugePmd(mm, at);
  if (folio !== NO_FOLIO) gather.page(mm, folio);
  return true;
}

function zapPte(mm: MmStruct, pte: number): void {
  const pfn = ptePfn(pte);
  if (ptePresent(pte)) {
    gather.present();
    if ((pte & PTE_SPECIAL) !== 0) return;
    const mem = mm.sys.mem;
    if ((pte & PTE_DIRTY) !== 0) mem.setFlag(mem.folioOf(pfn), PG_DIRTY);
    if ((pte & PTE_YOUNG) !== 0) mem.setFlag(mem.folioOf(pfn), PG_REFERENCED);
  } else if (isMigrationEntry(pte)) {
    // The migration dropped rmap and reference when it installed the entry; only rss is left.
    uncountRss(mm, pfn);
    return;
  } else if (leafKind(pte) === LEAF_SWAP) {
    mm.swapEnts--;
    freeSwapAndCache(mm.sys, pfn);
    return;
  } else if (!isDevicePrivateEntry(pte) && leafKind(pte) !== LEAF_DEVICE_EXCLUSIVE) {
    return;
  }
  uncountRss(mm, pfn);
  folioRemoveRmap(mm.sys, pfn);
  gather.page(mm, mm.sys.mem.folioOf(pfn));
}

/** One page less is resident (dec_mm_counter). */
export function uncountRss(mm: MmStruct, pfn: number): void {
  if (mm.sys.mem.isAnon(pfn)) mm.anonRss--;
  else mm.shmemRss--;
}

/** One page more is resident (inc_mm_counter). */
export function countRss(mm: MmStruct, pfn: number): void {
  if (mm.sys.mem.isAnon(pfn)) mm.anonRss++;
  else mm.shmemRss++;
}
