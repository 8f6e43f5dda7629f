/**
 * Mappings of huge pages that the program asked for (mm/hugetlb.c): anonymous memory of
 * MAP_HUGETLB, private or shared, of 2 MiB pages. Such a VMA begins and ends at PMD boundaries and
 * is mapped by PMD leaves alone, which are never split; its folios never migrate.
 *
 * The pool is empty at boot and grows by folios of the page allocator up to `sys.hugetlbLimit`
 * (nr_overcommit_hugepages), which go back when they are freed. Nothing is reserved by mmap, as if
 * by MAP_NORESERVE: a fault that finds no folio is SIGBUS.
 *
 * Locking: as handleMmFault. What may wait: a migration entry (of a folio that is lent to a
 * device), the lock of a shared folio.
 *
 * Leaves out: hugetlbfs, other sizes, reservations, surplus and NUMA policy, userfaultfd, poison.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PMD_SIZE } from '../base/units.ts';
import {
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
} from './fault-types.ts';
import { clearHugeFolio, copyHugeFolio } from './highmem.ts';
import { VM_HUGETLB, VM_SHARED, linearPageIndex, vmaPageProt } from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { allocHugeFolio, putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_HUGETLB, PG_SWAPBACKED, PG_UPTODATE } from './page.ts';
import {
  anonVmaPrepare,
  folioAddFileRmap,
  folioAddNewAnonRmapPmd,
  folioMoveAnonRmap,
  folioRemoveRmapPmd,
} from './rmap.ts';
import { filemapLockFolio } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';
import {
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_WRITE,
  PTE_YOUNG,
  isMigrationEntry,
  mkPmd,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { vmEventIndex } from './vmstat.ts';

/** The page size is in these bits of mmap's flags, as its logarithm; 0 is the default size. */
const MAP_HUGE_SHIFT = 26;
const MAP_HUGE_MASK = 0x3f;
const PMD_SHIFT = 21;

const HTLB_BUDDY_PGALLOC = vmEventIndex('htlb_buddy_alloc_success');
const HTLB_BUDDY_PGALLOC_FAIL = vmEventIndex('htlb_buddy_alloc_fail');
const WP_FAULT = vmEventIndex('wp_fault');
const COW_COPY = vmEventIndex('cow_copy');
const MIGRATION_ENTRY_WAIT = vmEventIndex('migration_entry_wait');

/** What a write fault adds to an entry. */
const WRITTEN = PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG;

const clearRange = new MmuNotifierRange();

/** True for a mapping of huge pages (is_vm_hugetlb_page). */
export function isVmHugetlb(vma: Vma): boolean {
  return (vma.vmFlags & VM_HUGETLB) !== 0;
}

/**
 * Whether the flags of an mmap with MAP_HUGETLB name a page size that there is (hstate_sizelog).
 *
 * @param flags MAP_* bits. Context: any.
 */
export function hasHugePageSize(flags: number): boolean {
  const sizeLog = (flags >>> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
  return sizeLog === 0 || sizeLog === PMD_SHIFT;
}

/**
 * Takes a folio for a huge page (alloc_hugetlb_folio): one reference, contents undefined.
 *
 * @returns its head, or ENOMEM: the pool is at its limit, or RAM has no folio. Context: any.
 */
function allocHugetlbFolio(sys: System): number {
  const folio = sys.hugetlbInUse < sys.hugetlbLimit ? allocHugeFolio(sys) : errno.ENOMEM;
  if (isErr(folio)) {
    sys.vmstat.add(HTLB_BUDDY_PGALLOC_FAIL, 1);
    return folio;
  }
  sys.mem.setFlag(folio, PG_HUGETLB);
  sys.hugetlbInUse++;
  sys.vmstat.add(HTLB_BUDDY_PGALLOC, 1);
  return folio;
}

/**
 * A fault in a VMA of huge pages (hugetlb_fault).
 *
 * @returns 0: try the access again; VM_FAULT_SIGBUS without a folio or beyond the object,
 * VM_FAULT_OOM without a page table. Context: see the file header.
 */
export function hugetlbFault(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const { mm } = vma;
  const { sys } = mm;
  const start = address - (address % PMD_SIZE);
  const at = sys.pageTables.pmdAlloc(mm.pgd, start);
  if (isErr(at)) return VM_FAULT_OOM;
  const pmd = sys.pageTables.words[at]!;
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  if (pmd === 0) {
    return vma.inode === null
      ? mapFreshFolio(vma, start, at, write)
      : mapSharedFolio(vma, vma.inode, start, write);
  }
  if (!ptePresent(pmd)) return waitForMigration(sys, pmd);
  const unshare = (flags & FAULT_FLAG_UNSHARE) !== 0 && (vma.vmFlags & VM_SHARED) === 0;
  if ((write || unshare) && (pmd & PTE_WRITE) === 0) return hugetlbWp(vma, start, at, pmd, unshare);
  sys.pageTables.words[at] = (pmd | PTE_YOUNG | (write ? PTE_DIRTY : 0)) >>> 0;
  return 0;
}

function waitForMigration(sys: System, pmd: number): MaybePromise<number> {
  assert(isMigrationEntry(pmd), 'I36: a PMD entry is of a known kind');
  sys.vmstat.add(MIGRATION_ENTRY_WAIT, 1);
  const unlocked = sys.mem.waitOnPageLocked(ptePfn(pmd));
  return isPending(unlocked) ? unlocked.then(() => 0) : 0;
}

/** First touch of private memory: also a load gets a folio, there is no zero page (no_page). */
function mapFreshFolio(vma: Vma, start: number, at: number, write: boolean): number {
  const { sys } = vma.mm;
  const folio = allocHugetlbFolio(sys);
  if (isErr(folio)) return VM_FAULT_SIGBUS;
  const status = depositTable(sys, at);
  if (isErr(status)) {
    putPage(sys, folio);
    return VM_FAULT_OOM;
  }
  clearHugeFolio(sys, folio);
  sys.pageTables.setPte(at, mapAnonFolio(vma, start, folio, write ? WRITTEN : PTE_YOUNG));
  return 0;
}

/** Keeps a table for the leaf at `at`, as behind every leaf. Linux needs none for these. */
function depositTable(sys: System, at: number): number {
  const table = sys.pageTables.allocTable();
  if (isErr(table)) return table;
  sys.pageTables.depositTable(at, table);
  return 0;
}

/** The entry that maps a folio which this address space alone has. Takes over its reference. */
function mapAnonFolio(vma: Vma, start: number, folio: number, bits: number): number {
  const { sys } = vma.mm;
  anonVmaPrepare(vma);
  folioAddNewAnonRmapPmd(sys, folio, vma, start);
  sys.mem.setFlag(folio, PG_UPTODATE);
  vma.mm.hugetlbUsage += HPAGE_PMD_NR;
  return mkPmd(folio, vmaPageProt(vma) | bits);
}

/** First touch of shared memory: the object's folio. */
function mapSharedFolio(
  vma: Vma,
  inode: ShmemInode,
  start: number,
  write: boolean,
): MaybePromise<number> {
  const { mm } = vma;
  const { sys } = mm;
  return andThen(lockSharedFolio(inode, linearPageIndex(vma, start)), (folio) => {
    if (isErr(folio)) return VM_FAULT_SIGBUS;
    // Somebody else may have mapped it while its lock was waited for.
    const at = sys.pageTables.pmdAlloc(mm.pgd, start);
    let outcome = isErr(at) ? VM_FAULT_OOM : 0;
    if (outcome === 0 && sys.pageTables.words[at] === 0) {
      if (isErr(depositTable(sys, at))) outcome = VM_FAULT_OOM;
      else {
        sys.mem.getPage(folio);
        folioAddFileRmap(sys, folio);
        mm.hugetlbUsage += HPAGE_PMD_NR;
        const bits = PTE_YOUNG | (write ? WRITTEN : 0);
        sys.pageTables.setPte(at, mkPmd(folio, vmaPageProt(vma) | bits));
      }
    }
    sys.mem.unlockPage(folio);
    putPage(sys, folio);
    return outcome;
  });
}

/** The folio of a shared object at a page index, made if need be: locked, with a reference. */
function lockSharedFolio(inode: ShmemInode, index: number): MaybePromise<number> {
  const { sys, cache } = inode;
  if (cache.get(index) !== 0) return filemapLockFolio(inode, index);
  const folio = allocHugetlbFolio(sys);
  if (isErr(folio)) return folio;
  clearHugeFolio(sys, folio);
  const { mem } = sys;
  mem.mapping[folio] = (inode.id << 1) >>> 0;
  mem.index[folio] = index;
  mem.setFlag(folio, PG_UPTODATE | PG_SWAPBACKED);
  assert(mem.trylockPage(folio), 'nobody else can have locked a fresh page');
  mem.getPage(folio);
  cache.set(index, folio);
  inode.nrPages++;
  return folio;
}

/** A write to an entry without write permission, or a request to unshare it (hugetlb_wp). */
function hugetlbWp(vma: Vma, start: number, at: number, pmd: number, unshare: boolean): number {
  const { sys } = vma.mm;
  const { words } = sys.pageTables;
  const folio = ptePfn(pmd);
  sys.vmstat.add(WP_FAULT, 1);
  const isShared = (vma.vmFlags & VM_SHARED) !== 0;
  if (isShared || isOurs(sys, vma, folio)) {
    if (!unshare) words[at] = (pmd | WRITTEN) >>> 0;
    return 0;
  }
  const copy = allocHugetlbFolio(sys);
  if (isErr(copy)) return VM_FAULT_SIGBUS;
  copyHugeFolio(sys, copy, folio);
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, vma.mm, start, start + PMD_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  sys.pageTables.setPte(at, 0);
  flushTlbRange(vma.mm, start, start + PMD_SIZE, HPAGE_PMD_NR);
  const bits = unshare ? PTE_YOUNG | (pmd & PTE_SOFT_DIRTY) : WRITTEN;
  sys.pageTables.setPte(at, mapAnonFolio(vma, start, copy, bits));
  vma.mm.hugetlbUsage -= HPAGE_PMD_NR;
  folioRemoveRmapPmd(sys, folio);
  putPage(sys, folio);
  mmuNotifierInvalidateRangeEnd(clearRange);
  sys.vmstat.add(COW_COPY, 1);
  return 0;
}

/** Unlike for other memory, mappings alone decide: references do not make it shared. */
function isOurs(sys: System, vma: Vma, folio: number): boolean {
  if (sys.mem.testFlag(folio, PG_ANON_EXCLUSIVE)) return true;
  if (sys.mem.folioMapcount(folio) !== 1) return false;
  folioMoveAnonRmap(sys, folio, vma);
  return true;
}

/**
 * Gives the child of a fork a copy of a folio that may be pinned: its parent keeps it.
 *
 * @param at Word index of the child's empty PMD entry, with a table in deposit. @returns 0 or
 * ENOMEM. Context: mmap locks of both held for write.
 */
export function copyPinnedHugetlb(child: Vma, start: number, at: number, pmd: number): number {
  const { sys } = child.mm;
  const copy = allocHugetlbFolio(sys);
  if (isErr(copy)) return copy;
  copyHugeFolio(sys, copy, ptePfn(pmd));
  const bits = pmd & (PTE_DIRTY | PTE_SOFT_DIRTY | PTE_WRITE);
  sys.pageTables.setPte(at, mapAnonFolio(child, start, copy, bits));
  return 0;
}

/** The resident pages of an address space change by those of a large folio. Context: any. */
export function countHugeRss(mm: MmStruct, folio: number, by: number): void {
  const { mem } = mm.sys;
  if (mem.testFlag(folio, PG_HUGETLB)) mm.hugetlbUsage += by;
  else mm.anonRss += by;
}

/**
 * Whether the VMA can be cut at an address (vm_operations.may_split).
 *
 * @param addr Page aligned, inside the VMA. Context: any.
 */
export function maySplitVma(vma: Vma, addr: number): boolean {
  return !isVmHugetlb(vma) || addr % PMD_SIZE === 0;
}
