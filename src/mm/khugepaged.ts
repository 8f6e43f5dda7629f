/**
 * Collapsing single pages into a large folio (mm/khugepaged.c), when a program asks for it
 * (MADV_COLLAPSE). The pages of a PMD range are copied into a fresh folio, holes become zeroes, and
 * a PMD leaf takes the place of the page table, which goes into deposit. Pages that are elsewhere,
 * on a device above all, are faulted in first.
 *
 * Locking: mmap lock for read while pages are faulted in, which may wait; then for write, under
 * which everything is looked at again, and nothing waits.
 *
 * Leaves out: the thread that does this by itself, shared memory and files, limits other than
 * MADV_COLLAPSE's (there are none on holes and shared pages).
 */
import { errno, isErr } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { clearHighpage, copyHighpage } from './highmem.ts';
import { pmdFits } from './huge-memory.ts';
import { VM_FAULT_ERROR, handleMmFault } from './memory.ts';
import {
  VM_HUGETLB,
  VM_NOHUGEPAGE,
  VM_SHARED,
  VM_SPECIAL,
  VM_UFFD_FLAGS,
  vmaIsAnonymous,
  vmaMayWrite,
  vmaPageProt,
} from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { underReadLock } from './mmap.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { allocHugeFolio, putPage } from './page-alloc.ts';
import { PG_LRU, PG_SWAPCACHE, PG_UPTODATE } from './page.ts';
import { folioAddNewAnonRmapPmd, folioRemoveRmap } from './rmap.ts';
import { freeSwapCache } from './swap-state.ts';
import {
  PTE_DIRTY,
  PTE_PFN_SHIFT,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isPmdLeaf,
  mkPmd,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange, syncTableWalks } from './tlb.ts';
import { findVma, vmaLookup } from './vma-lookup.ts';
import { vmEventIndex } from './vmstat.ts';

/** What became of one PMD range (enum scan_result). */
const SCAN_SUCCEED = 0;
/** A PMD leaf maps it already. */
const SCAN_PMD_MAPPED = 1;
/** No page table, or a PMD entry that is not present. */
const SCAN_NO_PTE_TABLE = 2;
const SCAN_PTE_NON_PRESENT = 3;
const SCAN_PTE_UFFD_WP = 4;
/** A page that no folio can take the place of: a device's, a driver's. */
const SCAN_PAGE_NULL = 5;
/** Somebody has a reference that no mapping accounts for. */
const SCAN_PAGE_COUNT = 6;
const SCAN_PAGE_LOCK = 7;
/** The last that does not end the call. */
const LAST_HARMLESS = SCAN_PAGE_LOCK;
/** A hole that a userfaultfd wants to fill. */
const SCAN_EXCEED_NONE_PTE = 8;
const SCAN_ALLOC_HUGE_PAGE_FAIL = 9;
const SCAN_FAIL = 10;

/** Times that a page may be gone again after it was faulted in. */
const MAX_FAULTS_PER_PAGE = 1000;

const THP_COLLAPSE_ALLOC = vmEventIndex('thp_collapse_alloc');
const THP_COLLAPSE_ALLOC_FAILED = vmEventIndex('thp_collapse_alloc_failed');

const clearRange = new MmuNotifierRange();

/**
 * Makes large folios of the whole PMD ranges in what is mapped of [start, end) (madvise_collapse).
 * Ranges that are large already count as done; what comes before a failure stays.
 *
 * @param start, end Page aligned. @returns 0; ENOMEM where nothing is mapped, and without a large
 * folio; EINVAL for a VMA that must not have large folios or has no anonymous page yet, and for
 * ranges with nothing mapped, pages of devices that stay there, protection by userfaultfd, guards
 * or poison; EAGAIN while somebody has a page locked or referenced; EBUSY for a hole that a
 * userfaultfd wants to fill. Context: mmap lock not held; takes it, may wait for it and for faults.
 */
export function madviseCollapse(mm: MmStruct, start: number, end: number): MaybePromise<number> {
  let from = start;
  const found = underReadLock(mm, () => {
    const vma = findVma(mm, start);
    if (vma === null || vma.vmStart >= end) return errno.ENOMEM;
    from = Math.max(start, vma.vmStart);
    return canCollapse(vma) ? Math.min(end, vma.vmEnd) : errno.EINVAL;
  });
  return andThen(found, (to) => (isErr(to) ? to : collapsePiece(mm, start, from, to, end)));
}

/** Collapses [from, to) of one VMA, then what follows up to `end`. */
function collapsePiece(
  mm: MmStruct,
  start: number,
  from: number,
  to: number,
  end: number,
): MaybePromise<number> {
  return andThen(new Collapse(mm, from, to).run(), (status) => {
    const gap = from > start ? errno.ENOMEM : 0;
    if (isErr(status) || to === end) return isErr(status) ? status : gap;
    return andThen(madviseCollapse(mm, to, end), (rest) => (isErr(rest) ? rest : gap));
  });
}

/** One VMA's part of a call in progress. */
class Collapse {
  private readonly mm: MmStruct;
  private readonly first: number;
  private readonly end: number;
  private addr: number;
  private done = 0;
  private lastFail = SCAN_FAIL;

  constructor(mm: MmStruct, start: number, end: number) {
    this.mm = mm;
    this.first = Math.ceil(start / PMD_SIZE) * PMD_SIZE;
    this.end = Math.floor(end / PMD_SIZE) * PMD_SIZE;
    this.addr = this.first;
  }

  run(): MaybePromise<number> {
    while (this.addr < this.end) {
      const result = this.one();
      if (isPending(result))
        return result.then((code) => (this.note(code) ? this.run() : this.result()));
      if (!this.note(result)) break;
    }
    return this.result();
  }

  /** @returns whether the call goes on with the next range. */
  private note(code: number): boolean {
    this.addr += PMD_SIZE;
    if (code <= SCAN_PMD_MAPPED) this.done++;
    else this.lastFail = code;
    return code <= LAST_HARMLESS;
  }

  private result(): number {
    return this.done === (this.end - this.first) / PMD_SIZE ? 0 : errnoOf(this.lastFail);
  }

  /** One PMD range: SCAN_*. */
  private one(): MaybePromise<number> {
    const { addr } = this;
    const ready = underReadLock(this.mm, () => {
      const vma = this.revalidate();
      return vma === null ? SCAN_FAIL : faultPagesIn(vma, addr, 0, 0);
    });
    return andThen(ready, (code) => {
      if (code !== SCAN_SUCCEED) return code;
      return andThen(this.mm.mmapLock.writeLock(), () => {
        const vma = this.mm.users > 0 ? this.revalidate() : null;
        const outcome = vma === null ? SCAN_FAIL : collapseHugePage(vma, addr);
        this.mm.mmapLock.writeUnlock();
        return outcome;
      });
    });
  }

  /** The VMA of the range, if it can still be collapsed (hugepage_vma_revalidate). */
  private revalidate(): Vma | null {
    const vma = vmaLookup(this.mm, this.addr);
    return vma !== null && canCollapse(vma) && pmdFits(vma, this.addr) ? vma : null;
  }
}

/** Whatever the machine's policy is, if the VMA does not forbid it (thp_vma_allowable_order). */
function canCollapse(vma: Vma): boolean {
  const refused = VM_NOHUGEPAGE | VM_SHARED | VM_HUGETLB | VM_SPECIAL;
  return vmaIsAnonymous(vma) && (vma.vmFlags & refused) === 0 && vma.anonVma !== null;
}

function errnoOf(code: number): number {
  if (code === SCAN_ALLOC_HUGE_PAGE_FAIL) return errno.ENOMEM;
  if (code === SCAN_EXCEED_NONE_PTE) return errno.EBUSY;
  return code === SCAN_PAGE_COUNT || code === SCAN_PAGE_LOCK ? errno.EAGAIN : errno.EINVAL;
}

/**
 * Looks at the range (hpage_collapse_scan_pmd), and faults in what is not present, from entry
 * `first` on (__collapse_huge_page_swapin).
 *
 * @param faults Times that this entry was faulted in already. Context: mmap lock held for read.
 */
function faultPagesIn(vma: Vma, addr: number, first: number, faults: number): MaybePromise<number> {
  const { sys } = vma.mm;
  let times = faults;
  for (let i = first; i < HPAGE_PMD_NR; i++) {
    // Looked up each time: a fault may wait, and make a large folio.
    const table = pteTable(vma.mm, addr);
    if (table <= 0) return -table;
    for (;;) {
      const code = judgePte(vma, sys.pageTables.words[table + i]!);
      if (code !== SCAN_PTE_NON_PRESENT) {
        if (code !== SCAN_SUCCEED) return code;
        break;
      }
      if (++times > MAX_FAULTS_PER_PAGE) return SCAN_PAGE_LOCK;
      const bits = handleMmFault(vma, addr + i * PAGE_SIZE, 0);
      if (isPending(bits)) {
        const at = i;
        const tries = times;
        return bits.then((settled) => afterFault(vma, addr, at, tries, settled));
      }
      if ((bits & VM_FAULT_ERROR) !== 0) return SCAN_FAIL;
    }
    times = 0;
  }
  return SCAN_SUCCEED;
}

function afterFault(
  vma: Vma,
  addr: number,
  at: number,
  times: number,
  bits: number,
): MaybePromise<number> {
  return (bits & VM_FAULT_ERROR) === 0 ? faultPagesIn(vma, addr, at, times) : SCAN_FAIL;
}

/** Word index of the first PTE of the range, or minus a SCAN_* code. */
function pteTable(mm: MmStruct, addr: number): number {
  const { pageTables } = mm.sys;
  const pmd = pageTables.words[pageTables.pmdOffset(mm.pgd, addr)]!;
  if (isPmdLeaf(pmd)) return ptePresent(pmd) ? -SCAN_PMD_MAPPED : -SCAN_NO_PTE_TABLE;
  return pmd === 0 ? -SCAN_NO_PTE_TABLE : pageTables.pteOffset(mm.pgd, addr);
}

/** Whether a copy can take the place of what an entry maps. */
function judgePte(vma: Vma, pte: number): number {
  const { sys } = vma.mm;
  const { mem } = sys;
  const isZero = ptePresent(pte) && ptePfn(pte) === sys.zeroPfn;
  if ((pte & PTE_UFFD_WP) !== 0) return SCAN_PTE_UFFD_WP;
  if (pte === 0 || isZero) {
    return (vma.vmFlags & VM_UFFD_FLAGS) === 0 ? SCAN_SUCCEED : SCAN_EXCEED_NONE_PTE;
  }
  if (!ptePresent(pte)) return SCAN_PTE_NON_PRESENT;
  const folio = mem.folioOf(ptePfn(pte));
  if ((pte & PTE_SPECIAL) !== 0 || mem.isZoneDevice(folio) || !mem.isAnon(folio)) {
    return SCAN_PAGE_NULL;
  }
  if (mem.isLocked(folio)) return SCAN_PAGE_LOCK;
  const caches = mem.testFlag(folio, PG_SWAPCACHE) ? 1 : 0;
  const expected = mem.folioMapcount(folio) + caches;
  return mem.refcount[folio] === expected ? SCAN_SUCCEED : SCAN_PAGE_COUNT;
}

/** Puts a large folio in the place of the range's pages (collapse_huge_page). SCAN_*. */
function collapseHugePage(vma: Vma, addr: number): number {
  const { mm } = vma;
  const { sys } = mm;
  const table = pteTable(mm, addr);
  if (table <= 0) return -table;
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const code = judgePte(vma, sys.pageTables.words[table + i]!);
    if (code !== SCAN_SUCCEED) return code;
  }
  const folio = allocHugeFolio(sys);
  if (isErr(folio)) {
    sys.vmstat.add(THP_COLLAPSE_ALLOC_FAILED, 1);
    return SCAN_ALLOC_HUGE_PAGE_FAIL;
  }
  sys.vmstat.add(THP_COLLAPSE_ALLOC, 1);
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, addr, addr + PMD_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  replacePages(vma, addr, table, folio);
  mmuNotifierInvalidateRangeEnd(clearRange);
  return SCAN_SUCCEED;
}

const replaced = new Uint32Array(HPAGE_PMD_NR);

function replacePages(vma: Vma, addr: number, first: number, folio: number): void {
  const { mm } = vma;
  const { sys } = mm;
  const { pageTables } = sys;
  const at = pageTables.pmdOffset(mm.pgd, addr);
  const table = pageTables.words[at]! >>> PTE_PFN_SHIFT;
  let present = 0;
  // First the table goes (pmdp_collapse_flush): after the flush no core is in the middle of it.
  pageTables.setPte(at, 0);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const pte = pageTables.words[first + i]!;
    pageTables.setPte(first + i, 0);
    if (pte !== 0) present++;
    replaced[i] = pte === 0 || ptePfn(pte) === sys.zeroPfn ? 0 : ptePfn(pte);
  }
  flushTlbRange(mm, addr, addr + PMD_SIZE, present);
  // Nor of one without entries, which would do for another range of this pmd table next.
  if (present === 0) syncTableWalks(mm, 1);
  for (let i = 0; i < HPAGE_PMD_NR; i++) takeOver(sys, mm, folio + i, replaced[i]!);
  folioAddNewAnonRmapPmd(sys, folio, vma, addr);
  sys.mem.setFlag(folio, PG_UPTODATE | PG_LRU);
  mm.anonRss += HPAGE_PMD_NR;
  const write = vmaMayWrite(vma) ? PTE_WRITE : 0;
  const bits = vmaPageProt(vma) | PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | write;
  pageTables.depositTable(at, table);
  pageTables.setPte(at, mkPmd(folio, bits));
}

/** Fills one page of the folio; the old one loses this mapping (__collapse_huge_page_copy). */
function takeOver(sys: System, mm: MmStruct, target: number, old: number): void {
  if (old === 0) {
    clearHighpage(sys, target);
    return;
  }
  copyHighpage(sys, target, old);
  mm.anonRss--;
  folioRemoveRmap(sys, old);
  freeSwapCache(sys, old);
  putPage(sys, sys.mem.folioOf(old));
}
