/**
 * Copying page tables at fork (mm/memory.c:copy_page_range). Private memory becomes copy-on-write:
 * both sides lose write permission and share the page. A device-private entry is shared too, as
 * READ in both, without going near the device. Migration entries become READ in both. A page that
 * may be pinned is copied for the child at once. A device loses its exclusive access first, then
 * the page is shared like any other.
 *
 * Locking: mmap locks of both address spaces held for write, parent inside
 * MMU_NOTIFY_PROTECTION_PAGE. The caller flushes the parent's TLB once, for all its VMAs.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { userfaultfdWp } from './fs-userfaultfd.ts';
import { copyHighpage } from './highmem.ts';
import { copyHugePmd } from './huge-pmd-ops.ts';
import { copyPinnedHugetlb, isVmHugetlb } from './hugetlb.ts';
import { vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { allocPage } from './page-alloc.ts';
import { PG_LRU, PG_UPTODATE } from './page.ts';
import { tryRestoreExclusivePte } from './restore-exclusive.ts';
import { folioAddFileRmap, folioAddNewAnonRmap, folioTryDupAnonRmap } from './rmap.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import { swapDuplicate } from './swapfile.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_MARKER_UFFD_WP,
  LEAF_MIGRATION_READ,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_SWP_EXCLUSIVE,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isMigrationEntry,
  isPmdLeaf,
  isWritableLeaf,
  leafKind,
  mkLeaf,
  mkPte,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { isCowMapping } from './vma.ts';
import { countRss } from './zap.ts';

/** What a fork has done to the parent so far. */
export interface ForkProgress {
  /** Present entries of the parent that lost write permission: to be flushed once. */
  writeProtected: number;
}

/** No page for the child's copy. */
const NO_MEMORY = -1;
/** Bits that a migration entry carries. */
const CARRIED = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;

/**
 * Copies the entries of a private VMA, or of a driver's, into the child's (copy_page_range).
 *
 * @returns 0, or ENOMEM with part of the range copied. Context: see the file header; never waits.
 */
export function copyPageRange(child: Vma, parent: Vma, progress: ForkProgress): number {
  const { pageTables } = parent.mm.sys;
  const end = parent.vmEnd;
  let addr = pageTables.nextPopulated(parent.mm.pgd, parent.vmStart, end);
  while (addr < end) {
    const chunkEnd = Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const copied = copyLeaf(child, parent, addr, progress);
    if (isErr(copied)) return copied;
    if (copied > 0) {
      addr = pageTables.nextPopulated(parent.mm.pgd, chunkEnd, end);
      continue;
    }
    const source = pageTables.pteOffset(parent.mm.pgd, addr);
    const target = pageTables.pteAlloc(child.mm.pgd, addr);
    if (isErr(target)) return target;
    const count = (chunkEnd - addr) / PAGE_SIZE;
    for (let i = 0; i < count; i++) {
      if (!takeBackExclusive(parent, source + i)) return errno.ENOMEM;
      const pte = pageTables.words[source + i]!;
      if (pte === 0) continue;
      const copy = ptePresent(pte)
        ? copyPresentPte(child, addr + i * PAGE_SIZE, parent.mm, source + i, progress)
        : copyNonpresentPte(child, source + i);
      if (copy === NO_MEMORY) return errno.ENOMEM;
      if (copy !== 0) pageTables.setPte(target + i, copy);
    }
    addr = pageTables.nextPopulated(parent.mm.pgd, chunkEnd, end);
  }
  return 0;
}

/**
 * False for an exclusive page that somebody has locked: its driver may be about to use it. In Linux
 * that EBUSY becomes ENOMEM further up, too.
 */
function takeBackExclusive(parent: Vma, at: number): boolean {
  const pte = parent.mm.sys.pageTables.words[at]!;
  return leafKind(pte) !== LEAF_DEVICE_EXCLUSIVE || tryRestoreExclusivePte(parent, at);
}

/**
 * Copies a PMD leaf, if there is one.
 *
 * @returns 1 when it did; 0 when there are PTEs to copy, also those of a leaf that had to be split
 * because its folio may be pinned; ENOMEM.
 */
function copyLeaf(child: Vma, parent: Vma, addr: number, progress: ForkProgress): number {
  const { pageTables } = parent.mm.sys;
  const at = pageTables.pmdOffset(parent.mm.pgd, addr);
  if (!isPmdLeaf(pageTables.words[at]!)) return 0;
  const target = pageTables.pmdAlloc(child.mm.pgd, addr);
  if (isErr(target)) return target;
  const table = pageTables.allocTable();
  if (isErr(table)) return table;
  const outcome = copyHugePmd(child.mm, target, parent.mm, at, table);
  if (outcome >= 0) {
    progress.writeProtected += outcome * HPAGE_PMD_NR;
    return 1;
  }
  if (isVmHugetlb(parent)) {
    pageTables.depositTable(target, table);
    if (copyPinnedHugetlb(child, addr, target, pageTables.words[at]!) === 0) return 1;
    pageTables.freeTable(pageTables.withdrawTable(target));
    return errno.ENOMEM;
  }
  pageTables.freeTable(table);
  splitHugePmd(parent, at, addr);
  return 0;
}

/** The child's entry for a present entry of the parent; NO_MEMORY when there is none for a copy. */
function copyPresentPte(
  child: Vma,
  addr: number,
  parent: MmStruct,
  at: number,
  progress: ForkProgress,
): number {
  const sys = parent.sys;
  const pte = sys.pageTables.words[at]!;
  // Only a driver's mapping is copied at all when it is shared: both keep writing.
  const isCow = isCowMapping(child);
  const lost = isCow ? PTE_WRITE : PTE_DIRTY;
  const shared = (pte & ~(lost | PTE_YOUNG | lostUffdWp(child))) >>> 0;
  if ((pte & PTE_SPECIAL) !== 0) return shared;
  const pfn = ptePfn(pte);
  if (!sys.mem.isAnon(pfn)) folioAddFileRmap(sys, pfn);
  else if (!folioTryDupAnonRmap(sys, pfn)) return copyPinnedPage(child, addr, pte);
  sys.mem.getPage(sys.mem.folioOf(pfn));
  countRss(child.mm, pfn);
  if (isCow && (pte & PTE_WRITE) !== 0) {
    sys.pageTables.words[at] = (pte & ~PTE_WRITE) >>> 0;
    progress.writeProtected++;
  }
  return shared;
}

/** The parent keeps its pinned page, the child gets a copy (copy_present_page), or NO_MEMORY. */
function copyPinnedPage(child: Vma, addr: number, pte: number): number {
  const sys = child.mm.sys;
  const copy = allocPage(sys);
  if (isErr(copy)) return NO_MEMORY;
  copyHighpage(sys, copy, ptePfn(pte));
  folioAddNewAnonRmap(sys, copy, child, addr);
  sys.mem.setFlag(copy, PG_UPTODATE | PG_LRU);
  child.mm.anonRss++;
  const writable = vmaMayWrite(child) ? PTE_WRITE : 0;
  const bits = vmaPageProt(child) | writable | PTE_DIRTY | PTE_SOFT_DIRTY;
  const wp = pte & PTE_UFFD_WP & ~lostUffdWp(child);
  return mkPte(copy, wp === 0 ? bits : (bits & ~PTE_WRITE) | wp);
}

/** The child's entry for an entry of the parent that is not present (copy_nonpresent_pte). */
function copyNonpresentPte(childVma: Vma, at: number): number {
  const child = childVma.mm;
  const sys = child.sys;
  const { pageTables, mem } = sys;
  const pte = pageTables.words[at]!;
  const pfn = ptePfn(pte);
  let shared = pte;
  if (isMigrationEntry(pte)) {
    countRss(child, pfn);
    shared = mkLeaf(LEAF_MIGRATION_READ, pfn, pte & CARRIED);
  } else if (isDevicePrivateEntry(pte)) {
    mem.getPage(mem.folioOf(pfn));
    assert(folioTryDupAnonRmap(sys, pfn), 'a device page can always be shared');
    countRss(child, pfn);
    if (isWritableLeaf(pte)) shared = mkLeaf(LEAF_DEVICE_PRIVATE_READ, pfn, pte & PTE_UFFD_WP);
  } else {
    const kind = leafKind(pte);
    if (kind === LEAF_MARKER_UFFD_WP && !userfaultfdWp(childVma)) return 0;
    if (kind === LEAF_SWAP) {
      swapDuplicate(sys, pfn);
      child.swapEnts++;
      shared = (pte & ~PTE_SWP_EXCLUSIVE) >>> 0;
    }
  }
  pageTables.setPte(at, shared);
  return (shared & ~lostUffdWp(childVma)) >>> 0;
}

/** The bit that the child's entries lose: a child that nobody monitors is not protected. */
function lostUffdWp(child: Vma): number {
  return userfaultfdWp(child) ? 0 : PTE_UFFD_WP;
}
