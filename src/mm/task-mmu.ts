/**
 * What an address space looks like from outside (fs/proc/task_mmu.c): the entries of
 * /proc/pid/pagemap, and the totals of /proc/pid/smaps. Pages on a device are not present, but
 * resident: pagemap shows them as swapped, smaps counts them like RAM.
 *
 * Locking: take the mmap lock for read.
 *
 * Leaves out: locked memory, hugetlb, KSM, page-cache folios.
 */
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { VM_SOFTDIRTY } from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { underReadLock } from './mmap.ts';
import { PG_DIRTY, PG_REFERENCED, PG_SWAPBACKED } from './page.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isGuardMarker,
  isMigrationEntry,
  isPmdLeaf,
  leafKind,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { vmaIndexAfter, vmaLookup } from './vma-lookup.ts';

/** Bits of the upper 32 of a pagemap entry: bit n here is bit n + 32 of fs/proc/task_mmu.c. */
export const PM_SOFT_DIRTY = 1 << 23;
/** Mapped only here. */
export const PM_MMAP_EXCLUSIVE = 1 << 24;
/** Write-protected by a userfaultfd. */
export const PM_UFFD_WP = 1 << 25;
/** A guard of MADV_GUARD_INSTALL. */
export const PM_GUARD_REGION = 1 << 26;
/** A file's or shared page. */
export const PM_FILE = 1 << 29;
/** Not there: in swap space, on a device, or on its way. */
export const PM_SWAP = 1 << 30;
/** In memory that the CPU reaches. */
export const PM_PRESENT = 2 ** 31;

/** Bytes of one mapping by kind, as a section of /proc/pid/smaps has them. */
export interface SmapsTotals {
  /** First byte, and one past the last. */
  start: number;
  end: number;
  /** VM_* bits. */
  vmFlags: number;
  rss: number;
  /** Each page divided by the number of its mappings, rounded down. */
  pss: number;
  sharedClean: number;
  sharedDirty: number;
  privateClean: number;
  privateDirty: number;
  referenced: number;
  anonymous: number;
  /** Anonymous, and to be dropped when memory is short. */
  lazyFree: number;
  anonHugePages: number;
  swap: number;
}

/**
 * Fills in the pagemap entries of the pages from `addr` on (a read of /proc/pid/pagemap).
 *
 * @param entries Two words a page, as the 64-bit entry lies in memory: the pfn (of a swapped page
 * its slot), then PM_* bits. @returns 0; ESRCH when the address space is gone.
 * Context: takes the mmap lock for read, may wait for it.
 */
export function readPagemap(
  mm: MmStruct,
  addr: number,
  entries: Uint32Array,
): MaybePromise<number> {
  return underReadLock(mm, () => {
    for (let i = 0; i < entries.length; i += 2) {
      const at = addr + (i / 2) * PAGE_SIZE;
      const vma = vmaLookup(mm, at);
      if (vma === null) entries.fill(0, i, i + 2);
      else fillEntry(vma, at, entries, i);
    }
    return 0;
  });
}

/** One page (pte_to_pagemap_entry, pagemap_pmd_range). */
function fillEntry(vma: Vma, addr: number, entries: Uint32Array, i: number): void {
  const { sys, pgd } = vma.mm;
  const { words } = sys.pageTables;
  const entry = words[sys.pageTables.leafOffset(pgd, addr)]!;
  const isLeaf = isPmdLeaf(words[sys.pageTables.pmdOffset(pgd, addr)]!);
  let bits = (vma.vmFlags & VM_SOFTDIRTY) !== 0 ? PM_SOFT_DIRTY : 0;
  if ((entry & PTE_SOFT_DIRTY) !== 0) bits |= PM_SOFT_DIRTY;
  if ((entry & PTE_UFFD_WP) !== 0) bits |= PM_UFFD_WP;
  if (isGuardMarker(entry)) bits |= PM_GUARD_REGION;
  const pfn = ptePfn(entry) + (isLeaf ? (addr % PMD_SIZE) / PAGE_SIZE : 0);
  if (entry !== 0 && hasPage(entry)) bits |= pageBits(sys, pfn, ptePresent(entry));
  if (entry !== 0 && !ptePresent(entry)) bits |= PM_SWAP;
  entries[i] = entry === 0 ? 0 : pfn;
  entries[i + 1] = ptePresent(entry) ? bits + PM_PRESENT : bits;
}

function pageBits(sys: System, pfn: number, isPresent: boolean): number {
  const { mem } = sys;
  const file = mem.isAnon(mem.folioOf(pfn)) ? 0 : PM_FILE;
  const isExclusive = isPresent && mapCount(sys, pfn) === 1;
  return isExclusive ? file | PM_MMAP_EXCLUSIVE : file;
}

/** Mappings of one page, as a PTE and as part of a PMD leaf. */
function mapCount(sys: System, pfn: number): number {
  const { mem } = sys;
  const folio = mem.folioOf(pfn);
  return mem.mapcount[pfn]! + (mem.isLarge(folio) ? mem.entireMapcount[folio]! : 0);
}

/** True for an entry that stands for a page that the machine accounts for. */
function hasPage(entry: number): boolean {
  if (ptePresent(entry)) return (entry & PTE_SPECIAL) === 0;
  if (isDevicePrivateEntry(entry) || isMigrationEntry(entry)) return true;
  return leafKind(entry) === LEAF_DEVICE_EXCLUSIVE;
}

/**
 * The totals of every mapping, in address order (a read of /proc/pid/smaps).
 *
 * @param totals Filled in, one for each. @returns 0; ESRCH when the address space is gone.
 * Context: takes the mmap lock for read, may wait for it.
 */
export function readSmaps(mm: MmStruct, totals: SmapsTotals[]): MaybePromise<number> {
  return underReadLock(mm, () => {
    for (let i = vmaIndexAfter(mm, 0); i < mm.vmas.length; i++) {
      totals.push(smapsOf(mm.vmas[i]!));
    }
    return 0;
  });
}

function smapsOf(vma: Vma): SmapsTotals {
  const totals = emptyTotals(vma);
  const { start, end } = totals;
  const { sys, pgd } = vma.mm;
  const { pageTables } = sys;
  let addr = pageTables.nextPopulated(pgd, start, end);
  while (addr < end) {
    const stop = Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const pmd = pageTables.words[pageTables.pmdOffset(pgd, addr)]!;
    if (isPmdLeaf(pmd)) addLeaf(totals, sys, pmd);
    else {
      const first = pageTables.pteOffset(pgd, addr);
      const last = first + (stop - addr) / PAGE_SIZE;
      for (let at = first; at < last; at++) addPte(totals, sys, pageTables.words[at]!);
    }
    addr = pageTables.nextPopulated(pgd, stop, end);
  }
  return totals;
}

function emptyTotals(vma: Vma): SmapsTotals {
  return {
    start: vma.vmStart,
    end: vma.vmEnd,
    vmFlags: vma.vmFlags,
    rss: 0,
    pss: 0,
    sharedClean: 0,
    sharedDirty: 0,
    privateClean: 0,
    privateDirty: 0,
    referenced: 0,
    anonymous: 0,
    lazyFree: 0,
    anonHugePages: 0,
    swap: 0,
  };
}

/** smaps_pmd_entry. */
function addLeaf(totals: SmapsTotals, sys: System, pmd: number): void {
  if (!hasPage(pmd)) return;
  if (sys.mem.isAnon(ptePfn(pmd))) totals.anonHugePages += PMD_SIZE;
  for (let i = 0; i < HPAGE_PMD_NR; i++) addPage(totals, sys, pmd, ptePfn(pmd) + i);
}

/** smaps_pte_entry. */
function addPte(totals: SmapsTotals, sys: System, pte: number): void {
  if (pte === 0) return;
  if (leafKind(pte) === LEAF_SWAP) totals.swap += PAGE_SIZE;
  else if (hasPage(pte)) addPage(totals, sys, pte, ptePfn(pte));
}

/** smaps_account, for one base page. */
function addPage(totals: SmapsTotals, sys: System, entry: number, pfn: number): void {
  const { mem } = sys;
  const folio = mem.folioOf(pfn);
  const isPresent = ptePresent(entry);
  const isDirty = (isPresent && (entry & PTE_DIRTY) !== 0) || mem.testFlag(folio, PG_DIRTY);
  const isYoung = (isPresent && (entry & PTE_YOUNG) !== 0) || mem.testFlag(folio, PG_REFERENCED);
  totals.rss += PAGE_SIZE;
  if (isYoung) totals.referenced += PAGE_SIZE;
  if (mem.isAnon(folio)) {
    totals.anonymous += PAGE_SIZE;
    if (!mem.testFlag(folio, PG_SWAPBACKED) && !isDirty) totals.lazyFree += PAGE_SIZE;
  }
  // The map count of a page on the move says nothing.
  const isMapped = isPresent || isDevicePrivateEntry(entry);
  const mappings = isMapped ? mapCount(sys, pfn) : 1;
  totals.pss += Math.floor(PAGE_SIZE / Math.max(1, mappings));
  if (mappings > 1) {
    if (isDirty) totals.sharedDirty += PAGE_SIZE;
    else totals.sharedClean += PAGE_SIZE;
  } else if (isDirty) totals.privateDirty += PAGE_SIZE;
  else totals.privateClean += PAGE_SIZE;
}
