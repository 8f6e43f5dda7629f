/**
 * Transparent huge pages: faults on PMD entries (mm/huge_memory.c). Private anonymous memory that
 * asked for it (MADV_HUGEPAGE, or the machine's policy) is filled by PMD folios, the huge zero page
 * for reads; whatever does not work out falls back to single pages.
 *
 * Locking: as handleMmFault, which calls this: mmap lock held for read and kept. What may wait: a
 * PMD migration entry, `migrateToRam`.
 *
 * Leaves out: page-cache folios, PUD entries, the shrinker of the huge zero page, other orders.
 */
import { assert } from '../base/assert.ts';
import { isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PMD_SIZE } from '../base/units.ts';
import { clearHugeFolio } from './highmem.ts';
import { FAULT_FLAG_UNSHARE, FAULT_FLAG_WRITE } from './fault-types.ts';
import type { VmFault } from './fault-types.ts';
import { whileHeldBack } from './held-back.ts';
import { pagePgmap } from './memremap.ts';
import {
  THP_ALWAYS,
  THP_NEVER,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_NOHUGEPAGE,
  VM_SHARED,
  VM_SPECIAL,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  vmaPageProt,
  vmaIsAnonymous,
} from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { allocHugeFolio, putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU, PG_RESERVED, PG_UPTODATE } from './page.ts';
import { anonVmaPrepare, folioAddNewAnonRmapPmd, folioMoveAnonRmap } from './rmap.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import {
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isMigrationEntry,
  mkPmd,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { vmEventIndex } from './vmstat.ts';

const THP_FAULT_ALLOC = vmEventIndex('thp_fault_alloc');
const THP_FAULT_FALLBACK = vmEventIndex('thp_fault_fallback');
const THP_ZERO_PAGE_ALLOC = vmEventIndex('thp_zero_page_alloc');
const ZERO_PAGE_FAULT = vmEventIndex('zero_page_fault');
const WP_FAULT = vmEventIndex('wp_fault');
const MIGRATION_ENTRY_WAIT = vmEventIndex('migration_entry_wait');
const DEVICE_PRIVATE_FAULT = vmEventIndex('device_private_fault');

/** What a write fault adds to an entry. */
const WRITTEN = PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG;

/** The fault has to be handled by single pages (VM_FAULT_FALLBACK). */
export const FAULT_FALLBACK = -1;

const clearRange = new MmuNotifierRange();

/**
 * Whether the VMA wants large folios where they fit (thp_vma_allowable_order).
 *
 * Context: any.
 */
export function thpAllowed(vma: Vma): boolean {
  const { thpMode } = vma.mm.sys;
  const flags = vma.vmFlags;
  // A userfaultfd and the OOM reaper look at single pages.
  if (vma.mm.isUnstable || (flags & (VM_UFFD_MISSING | VM_UFFD_WP)) !== 0) return false;
  if (thpMode === THP_NEVER || !vmaIsAnonymous(vma)) return false;
  if ((flags & (VM_NOHUGEPAGE | VM_SHARED | VM_HUGETLB | VM_SPECIAL)) !== 0) return false;
  return thpMode === THP_ALWAYS || (flags & VM_HUGEPAGE) !== 0;
}

/** True when the PMD range from `start` on lies inside the VMA. */
export function pmdFits(vma: Vma, start: number): boolean {
  return start >= vma.vmStart && start + PMD_SIZE <= vma.vmEnd;
}

/**
 * Fills an empty PMD range by a large folio if the VMA wants that and it fits (create_huge_pmd).
 *
 * @returns 0, or FAULT_FALLBACK: the fault goes on with a single page, or the range is not empty.
 */
export function tryHugeFault(vma: Vma, address: number, write: boolean): number {
  const start = address - (address % PMD_SIZE);
  if (!thpAllowed(vma) || !pmdFits(vma, start)) return FAULT_FALLBACK;
  const { pageTables } = vma.mm.sys;
  const at = pageTables.pmdAlloc(vma.mm.pgd, address);
  if (isErr(at) || pageTables.words[at] !== 0) return FAULT_FALLBACK;
  return doHugePmdAnonymousPage(vma, start, at, write);
}

/**
 * First touch of an empty PMD range (do_huge_pmd_anonymous_page).
 *
 * @param start Where the range starts. @param at Word index of its empty PMD entry.
 * @returns 0, or FAULT_FALLBACK when there is no folio or no table to deposit.
 */
function doHugePmdAnonymousPage(vma: Vma, start: number, at: number, write: boolean): number {
  const { sys } = vma.mm;
  const folio = write ? allocHugeFolio(sys) : getHugeZeroFolio(sys);
  const table = isErr(folio) ? folio : sys.pageTables.allocTable();
  if (isErr(table)) {
    if (write && !isErr(folio)) putPage(sys, folio);
    sys.vmstat.add(THP_FAULT_FALLBACK, 1);
    return FAULT_FALLBACK;
  }
  sys.pageTables.depositTable(at, table);
  if (write) {
    clearHugeFolio(sys, folio);
    mapNewHugePage(vma, start, at, folio);
    sys.vmstat.add(THP_FAULT_ALLOC, 1);
  } else {
    sys.vmstat.add(ZERO_PAGE_FAULT, 1);
    sys.pageTables.setPte(at, mkPmd(folio, vmaPageProt(vma) | PTE_SPECIAL | PTE_YOUNG));
  }
  return 0;
}

/** Maps a folio that this fault filled. Takes over its reference. */
function mapNewHugePage(vma: Vma, start: number, at: number, folio: number): void {
  const { sys } = vma.mm;
  anonVmaPrepare(vma);
  folioAddNewAnonRmapPmd(sys, folio, vma, start);
  sys.mem.setFlag(folio, PG_UPTODATE | PG_LRU);
  vma.mm.anonRss += HPAGE_PMD_NR;
  sys.pageTables.setPte(at, mkPmd(folio, vmaPageProt(vma) | WRITTEN));
}

/**
 * The shared large folio of zeroes (mm_get_huge_zero_folio): made when first wanted, kept for the
 * machine's life.
 *
 * @returns its head, or ENOMEM.
 */
export function getHugeZeroFolio(sys: System): number {
  if (sys.hugeZeroPfn !== 0) return sys.hugeZeroPfn;
  const folio = allocHugeFolio(sys);
  if (isErr(folio)) return folio;
  clearHugeFolio(sys, folio);
  sys.mem.setFlag(folio, PG_UPTODATE | PG_RESERVED);
  sys.hugeZeroPfn = folio;
  sys.vmstat.add(THP_ZERO_PAGE_ALLOC, 1);
  return folio;
}

/**
 * A fault where the PMD entry is a leaf (the huge half of __handle_mm_fault).
 *
 * @returns 0: try the access again; VM_FAULT_* bits; FAULT_FALLBACK after the leaf was split: the
 * fault goes on with its PTEs.
 */
export function handleHugePmd(
  vma: Vma,
  address: number,
  at: number,
  flags: number,
): MaybePromise<number> {
  const { sys } = vma.mm;
  const { words } = sys.pageTables;
  const pmd = words[at]!;
  if (!ptePresent(pmd)) return handleNonpresent(vma, address, pmd, flags);
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  const unshare = (flags & FAULT_FLAG_UNSHARE) !== 0;
  if ((!write && !unshare) || (pmd & PTE_WRITE) !== 0) {
    words[at] = (pmd | PTE_YOUNG | (write ? PTE_DIRTY : 0)) >>> 0;
    return 0;
  }
  sys.vmstat.add(WP_FAULT, 1);
  const start = address - (address % PMD_SIZE);
  if ((pmd & PTE_UFFD_WP) !== 0) {
    splitHugePmd(vma, at, start);
    return FAULT_FALLBACK;
  }
  const isZero = (pmd & PTE_SPECIAL) !== 0;
  if (isZero && write) return replaceHugeZero(vma, start, at, pmd);
  const folio = ptePfn(pmd);
  const isExclusive = sys.mem.testFlag(folio, PG_ANON_EXCLUSIVE);
  if (!isZero && (isExclusive || claimSoleUse(sys, vma, folio))) {
    if (write) words[at] = (pmd | WRITTEN) >>> 0;
    return 0;
  }
  // Shared: only the page that is written needs a copy.
  splitHugePmd(vma, at, start);
  return FAULT_FALLBACK;
}

/** Makes a folio exclusive that nobody else uses any more. */
function claimSoleUse(sys: System, vma: Vma, folio: number): boolean {
  const { mem } = sys;
  if (mem.refcount[folio] !== 1 || !mem.trylockPage(folio)) return false;
  folioMoveAnonRmap(sys, folio, vma);
  mem.unlockPage(folio);
  return true;
}

/** A write to the huge zero page (do_huge_zero_wp_pmd): a folio of its own, or single pages. */
function replaceHugeZero(vma: Vma, start: number, at: number, pmd: number): number {
  const { mm } = vma;
  const { sys } = mm;
  const folio = allocHugeFolio(sys);
  if (isErr(folio)) {
    sys.vmstat.add(THP_FAULT_FALLBACK, 1);
    splitHugePmd(vma, at, start);
    return FAULT_FALLBACK;
  }
  assert(ptePfn(pmd) === sys.hugeZeroPfn, 'I36: a special PMD entry is of the huge zero page');
  clearHugeFolio(sys, folio);
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, start, start + PMD_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  sys.pageTables.setPte(at, 0);
  flushTlbRange(mm, start, start + PMD_SIZE, HPAGE_PMD_NR);
  mapNewHugePage(vma, start, at, folio);
  mmuNotifierInvalidateRangeEnd(clearRange);
  sys.vmstat.add(THP_FAULT_ALLOC, 1);
  return 0;
}

function handleNonpresent(
  vma: Vma,
  address: number,
  pmd: number,
  flags: number,
): MaybePromise<number> {
  const { sys } = vma.mm;
  const folio = ptePfn(pmd);
  if (isMigrationEntry(pmd)) {
    assert(sys.mem.isLocked(folio), 'I14: the page behind a migration entry is locked');
    sys.vmstat.add(MIGRATION_ENTRY_WAIT, 1);
    return waitForFolio(sys, folio);
  }
  assert(isDevicePrivateEntry(pmd), 'I36: a PMD entry is of a known kind');
  return doHugePmdDevicePrivate(vma, address, folio, flags);
}

function waitForFolio(sys: System, folio: number): MaybePromise<number> {
  const unlocked = sys.mem.waitOnPageLocked(folio);
  return isPending(unlocked) ? unlocked.then(() => 0) : 0;
}

/** The CPU reached for a large device folio: its driver brings all of it home. */
function doHugePmdDevicePrivate(
  vma: Vma,
  address: number,
  folio: number,
  flags: number,
): MaybePromise<number> {
  const { sys } = vma.mm;
  const { mem } = sys;
  const vmf: VmFault = { vma, address, flags, page: folio, ptePresent: false };
  const held = whileHeldBack(vmf);
  if (held !== null) return held;
  // Linux lets the CPU fault again at once here; waiting comes to the same without a spin.
  if (!mem.trylockPage(folio)) return waitForFolio(sys, folio);
  mem.getPage(folio);
  sys.vmstat.add(DEVICE_PRIVATE_FAULT, 1);
  const { migrateToRam } = pagePgmap(sys, folio).ops;
  assert(migrateToRam !== undefined, 'I17: a mapped device page has its pagemap');
  const result = migrateToRam(vmf);
  const release = (outcome: number): number => {
    mem.unlockPage(folio);
    putPage(sys, folio);
    return outcome;
  };
  return isPending(result) ? result.then(release) : release(result);
}
