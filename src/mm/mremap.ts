/**
 * mremap (mm/mremap.c): grows, shrinks and moves mappings. A move takes page table entries from one
 * place to the other as they are, whatever their kind: pages stay where they are, also those on a
 * device, and a page under migration is found by the reverse map at its new place, because the
 * moved VMA keeps the linear page index of its first page. What a userfaultfd monitors it does not
 * monitor at the new place.
 *
 * A PMD leaf moves as it is where both places are aligned for it, else it is split.
 *
 * Locking: takes the mmap lock for write. Sends MMU_NOTIFY_UNMAP over the old range before its
 * entries go, and flushes once a page table.
 *
 * Leaves out: moving whole page tables, locked memory, overcommit accounting.
 */
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import {
  HPAGE_PMD_NR,
  PAGE_SIZE,
  PMD_SIZE,
  TASK_SIZE,
  isAddress,
  isPageAligned,
  pageAlignUp,
} from '../base/units.ts';
import { isUffdWpMarker } from './fs-userfaultfd.ts';
import { isVmHugetlb } from './hugetlb.ts';
import {
  MAP_FIXED,
  VM_DONTEXPAND,
  VM_PFNMAP,
  VM_SHARED,
  VM_UFFD_FLAGS,
  linearPageIndex,
  vmaIsAnonymous,
} from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { freePgtables, getUnmappedArea, underWriteLock, unmapLocked } from './mmap.ts';
import {
  MMU_NOTIFY_UNMAP,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { anonVmaClone, unlinkAnonVmas } from './rmap.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import { PTE_SOFT_DIRTY, PTE_UFFD_WP, isPmdLeaf, ptePresent } from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { MAX_MAP_COUNT, growVma, linkVma, makeVma, mergeVma } from './vma.ts';
import { findVma, vmaLookup } from './vma-lookup.ts';

/** The mapping may go elsewhere. */
export const MREMAP_MAYMOVE = 1;
/** It goes to `newAddr`, and what was there is unmapped. */
export const MREMAP_FIXED = 2;
/** Its pages go, the old range stays mapped, empty. */
export const MREMAP_DONTUNMAP = 4;

/** VMAs that a move may need more than it has: two cuts at each end and the new one. */
const SPARE_VMAS = 3;

const moveRange = new MmuNotifierRange();

/** Arguments of mremap, checked. Lengths are whole pages. */
interface Remap {
  readonly mm: MmStruct;
  readonly addr: number;
  readonly oldLen: number;
  readonly newLen: number;
  readonly flags: number;
  readonly newAddr: number;
}

/**
 * Changes the size or the place of a mapping (mremap).
 *
 * @param addr Page aligned. @param oldLen Bytes, rounded up to whole pages; 0 makes a second
 * mapping of shared memory. @param newLen Bytes, rounded up. @param flags MREMAP_* bits.
 * @param newAddr With MREMAP_FIXED the place, with MREMAP_DONTUNMAP alone a wish. Page aligned.
 * @returns the address; EINVAL for numbers that are no addresses, unknown or contradictory flags,
 * an unaligned address, no new length, ranges that overlap or end above user space, a second
 * mapping of private memory, and what can't be left in place; EFAULT where nothing or not all of
 * one VMA is mapped, and for what can't grow; ENOMEM where it may not move, when it does not fit,
 * for too many VMAs or no page table: nothing has moved then; EPERM below MMAP_MIN_ADDR; ESRCH when
 * the address space is gone. Context: takes the mmap lock for write, may wait for it.
 */
export function doMremap(
  mm: MmStruct,
  addr: number,
  oldLen: number,
  newLen: number,
  flags: number,
  newAddr = 0,
): MaybePromise<number> {
  for (const value of [addr, oldLen, newLen, newAddr]) if (!isAddress(value)) return errno.EINVAL;
  const known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (!isAddress(flags) || flags > known || !isPageAligned(addr)) return errno.EINVAL;
  if (newLen === 0 || newLen > TASK_SIZE || oldLen > TASK_SIZE) return errno.EINVAL;
  const remap: Remap = {
    mm,
    addr,
    oldLen: pageAlignUp(oldLen),
    newLen: pageAlignUp(newLen),
    flags,
    newAddr,
  };
  const invalid = namesNewAddress(flags) ? checkNewAddress(remap) : 0;
  if (isErr(invalid)) return invalid;
  return underWriteLock(mm, () => remapLocked(remap));
}

/** True when the old place is not good enough (vrm_implies_new_addr). */
function namesNewAddress(flags: number): boolean {
  return (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) !== 0;
}

/** The checks of check_mremap_params that only such calls get. */
function checkNewAddress(remap: Remap): number {
  const { addr, oldLen, newLen, flags, newAddr } = remap;
  if (newAddr > TASK_SIZE - newLen || !isPageAligned(newAddr)) return errno.EINVAL;
  if ((flags & MREMAP_MAYMOVE) === 0) return errno.EINVAL;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && oldLen !== newLen) return errno.EINVAL;
  if (addr < newAddr + newLen && newAddr < addr + oldLen) return errno.EINVAL;
  return remap.mm.vmas.length + 2 >= MAX_MAP_COUNT - SPARE_VMAS ? errno.ENOMEM : 0;
}

function remapLocked(remap: Remap): number {
  const { mm, flags, oldLen, newLen } = remap;
  if ((flags & MREMAP_FIXED) !== 0 && oldLen === newLen) return moveAll(remap);
  const vma = vmaLookup(mm, remap.addr);
  if (vma === null) return errno.EFAULT;
  const status = checkVma(remap, vma);
  if (isErr(status)) return status;
  return namesNewAddress(flags) ? remapTo(remap) : remapAt(remap, vma);
}

/** Whether the VMA can do what is asked (check_prep_vma): 0 or an errno. */
function checkVma(remap: Remap, vma: Vma): number {
  const { addr, oldLen, newLen, flags } = remap;
  if (isVmHugetlb(vma)) return errno.EINVAL;
  const isFixedSize = (vma.vmFlags & (VM_DONTEXPAND | VM_PFNMAP)) !== 0;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && isFixedSize) return errno.EINVAL;
  if (oldLen === 0 && (vma.vmFlags & VM_SHARED) === 0) return errno.EINVAL;
  if (oldLen > vma.vmEnd - addr) return errno.EFAULT;
  return newLen > oldLen && isFixedSize ? errno.EFAULT : 0;
}

/** Shrinks or grows; moves only what can't grow where it is (mremap_at). */
function remapAt(remap: Remap, vma: Vma): number {
  const { mm, addr, oldLen, newLen, flags } = remap;
  if (newLen <= oldLen) {
    const cut = newLen < oldLen ? unmapLocked(mm, addr + newLen, addr + oldLen) : 0;
    return isErr(cut) ? cut : addr;
  }
  if (canGrow(vma, addr, oldLen, newLen)) {
    growVma(vma, addr + newLen);
    mergeVma(vma);
    return addr;
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return errno.ENOMEM;
  const target = getUnmappedArea(mm, 0, newLen, 0);
  return isErr(target) ? target : moveVma(remap, vma, target);
}

/** True when the range is the end of its VMA and there is room behind (vrm_can_expand_in_place). */
function canGrow(vma: Vma, addr: number, oldLen: number, newLen: number): boolean {
  if (vma.vmEnd - addr !== oldLen || addr + newLen > TASK_SIZE) return false;
  const next = findVma(vma.mm, vma.vmEnd);
  return next === null || next.vmStart >= addr + newLen;
}

/** Moves to where the caller says (mremap_to). */
function remapTo(remap: Remap): number {
  const { mm, addr, oldLen, newLen, flags, newAddr } = remap;
  const isFixed = (flags & MREMAP_FIXED) !== 0;
  if (isFixed) {
    const cleared = unmapLocked(mm, newAddr, newAddr + newLen);
    if (isErr(cleared)) return cleared;
  }
  if (oldLen > newLen) {
    const cut = unmapLocked(mm, addr + newLen, addr + oldLen);
    if (isErr(cut)) return cut;
  }
  const target = getUnmappedArea(mm, newAddr, newLen, isFixed ? MAP_FIXED : 0);
  if (isErr(target)) return target;
  // Looked up again: what was unmapped may have been part of the same VMA.
  const vma = vmaLookup(mm, addr);
  return vma === null ? errno.EFAULT : moveVma(remap, vma, target);
}

/**
 * A move without a change of size may cover several VMAs: they keep their distances (remap_move).
 * What comes before a failure has moved.
 */
function moveAll(remap: Remap): number {
  const { mm, addr: start, oldLen, newAddr } = remap;
  let cursor = start;
  const end = start + oldLen;
  while (cursor < end) {
    // By address each time: what moved may have merged with what is still to move.
    const next = findVma(mm, cursor);
    if (next === null || next.vmStart >= end) break;
    if (cursor === start && next.vmStart > start) return errno.EFAULT;
    const addr = Math.max(next.vmStart, cursor);
    const length = Math.min(next.vmEnd, end) - addr;
    const target = newAddr + (addr - start);
    const piece: Remap = { ...remap, addr, oldLen: length, newLen: length, newAddr: target };
    const status = checkVma(piece, next);
    const moved = isErr(status) ? status : remapTo(piece);
    if (isErr(moved)) return moved;
    cursor = addr + length;
  }
  return cursor === start ? errno.EFAULT : newAddr;
}

/** Makes the new VMA and moves the entries (move_vma): its address, or ENOMEM. */
function moveVma(remap: Remap, vma: Vma, target: number): number {
  const { mm, addr, newLen, flags } = remap;
  const oldLen = Math.min(remap.oldLen, newLen);
  if (mm.vmas.length >= MAX_MAP_COUNT - SPARE_VMAS) return errno.ENOMEM;
  const tables = allocTables(mm, addr, target, oldLen);
  if (isErr(tables)) {
    freePgtables(mm, target, target + oldLen);
    return tables;
  }
  // Memory that was never touched may as well look as if it had been mapped there.
  const isFresh = vmaIsAnonymous(vma) && vma.anonVma === null;
  const pgoff = isFresh ? target / PAGE_SIZE : linearPageIndex(vma, addr);
  // Nobody has asked for the faults of the new place (userfaultfd_reset_ctx).
  const vmFlags = vma.vmFlags & ~VM_UFFD_FLAGS;
  const moved = makeVma(mm, target, target + newLen, vmFlags, pgoff, vma.inode);
  anonVmaClone(moved, vma);
  linkVma(moved);
  movePageTables(vma, addr, target, oldLen);
  if ((flags & MREMAP_DONTUNMAP) === 0) {
    const gone = oldLen === 0 ? 0 : unmapLocked(mm, addr, addr + oldLen);
    if (isErr(gone)) return gone;
  } else {
    // Nothing hangs on it any more; with its old anon_vma walks would visit it for nothing.
    if (vma.vmStart === addr && vma.vmEnd === addr + oldLen) unlinkAnonVmas(vma);
    freePgtables(mm, addr, addr + oldLen);
  }
  mergeVma(moved);
  return target;
}

/**
 * Makes every page table that the move will need. Linux makes them on the way and moves back what
 * it moved when there is none left. @returns 0 or ENOMEM.
 */
function allocTables(mm: MmStruct, from: number, to: number, length: number): number {
  const { pageTables } = mm.sys;
  const end = from + length;
  for (let addr = pageTables.nextPopulated(mm.pgd, from, end); addr < end;) {
    const stop = nextBoundary(addr, addr - from + to, end);
    const target = addr - from + to;
    const leaf = isPmdLeaf(pageTables.words[pageTables.pmdOffset(mm.pgd, addr)]!);
    const movesWhole = leaf && stop - addr === PMD_SIZE;
    // An empty table would be in the way of the leaf.
    if (movesWhole) freePgtables(mm, target, target + PMD_SIZE);
    const at = movesWhole
      ? pageTables.pmdAlloc(mm.pgd, target)
      : pageTables.pteAlloc(mm.pgd, target);
    if (isErr(at)) return at;
    addr = pageTables.nextPopulated(mm.pgd, stop, end);
  }
  return 0;
}

/** Where the page table of either place ends, at most `end` (get_extent). */
function nextBoundary(from: number, to: number, end: number): number {
  const room = PMD_SIZE - Math.max(from % PMD_SIZE, to % PMD_SIZE);
  return Math.min(end, from + room);
}

/** Moves all entries of a range (move_page_tables). */
function movePageTables(vma: Vma, from: number, to: number, length: number): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const end = from + length;
  let addr = pageTables.nextPopulated(mm.pgd, from, end);
  if (addr >= end) return;
  mmuNotifierRangeInit(moveRange, MMU_NOTIFY_UNMAP, mm, from, end);
  mmuNotifierInvalidateRangeStart(moveRange);
  while (addr < end) {
    const stop = nextBoundary(addr, addr - from + to, end);
    moveTable(vma, addr, addr - from + to, stop - addr);
    addr = pageTables.nextPopulated(mm.pgd, stop, end);
  }
  mmuNotifierInvalidateRangeEnd(moveRange);
}

/** Moves what one page table, or one PMD leaf, maps of a range. */
function moveTable(vma: Vma, from: number, to: number, length: number): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const at = pageTables.pmdOffset(mm.pgd, from);
  if (isPmdLeaf(pageTables.words[at]!)) {
    if (length === PMD_SIZE) {
      moveHugePmd(vma, at, from, to);
      return;
    }
    splitHugePmd(vma, at, from - (from % PMD_SIZE));
  }
  movePtes(vma, from, to, length / PAGE_SIZE);
}

/** What an entry of the VMA keeps when it moves: a userfaultfd does not go along. */
function keptBits(vma: Vma): number {
  return vma.uffdCtx === null ? ~0 : ~PTE_UFFD_WP;
}

/** Moves a PMD leaf with its table in deposit (move_huge_pmd). */
function moveHugePmd(vma: Vma, at: number, from: number, to: number): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const target = pageTables.pmdOffset(mm.pgd, to);
  const pmd = pageTables.words[at]!;
  pageTables.setPte(at, 0);
  pageTables.depositTable(target, pageTables.withdrawTable(at));
  pageTables.setPte(target, ((pmd & keptBits(vma)) | PTE_SOFT_DIRTY) >>> 0);
  flushTlbRange(mm, from, from + PMD_SIZE, ptePresent(pmd) ? HPAGE_PMD_NR : 0);
}

/** Moves entries from one page table to one other (move_ptes). */
function movePtes(vma: Vma, from: number, to: number, count: number): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const source = pageTables.pteOffset(mm.pgd, from);
  const target = pageTables.pteOffset(mm.pgd, to);
  const kept = keptBits(vma);
  let present = 0;
  for (let i = 0; i < count; i++) {
    const pte = pageTables.words[source + i]!;
    if (pte === 0) continue;
    pageTables.setPte(source + i, 0);
    if (isUffdWpMarker(pte)) continue;
    // The contents at the new address have changed, for whoever watches that.
    pageTables.setPte(target + i, ((pte & kept) | PTE_SOFT_DIRTY) >>> 0);
    if (ptePresent(pte)) present++;
  }
  flushTlbRange(mm, from, from + count * PAGE_SIZE, present);
}
