/**
 * Guard regions (mm/madvise.c: madvise_guard_install, madvise_guard_remove): page table entries
 * that make an access SIGSEGV, in the midst of a VMA and without cutting it. They outlive
 * MADV_DONTNEED, move with mremap, and are there in a child.
 *
 * Locking: mmap lock held for read. What was mapped is dropped with MMU_NOTIFY_CLEAR. Never waits.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { VM_HUGETLB, VM_MAYBE_GUARD, VM_SPECIAL } from './mm-types.ts';
import type { Vma } from './mm-types.ts';
import { LEAF_MARKER_GUARD, isGuardMarker, mkLeaf } from './swapops.ts';
import { zapPageRange } from './zap.ts';

/** Where the page table of `addr` ends, at most `end`. */
function tableEnd(addr: number, end: number): number {
  return Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
}

/** False for memory that is no ordinary pages (is_valid_guard_vma). */
function canBeGuarded(vma: Vma): boolean {
  return (vma.vmFlags & (VM_SPECIAL | VM_HUGETLB)) === 0;
}

/**
 * Puts guard markers on [start, end) of a VMA; pages that are there are dropped.
 *
 * @returns 0; EINVAL for a VMA that can't have any; ENOMEM without page tables: some are there.
 * Context: see the file header; the range is inside the VMA.
 */
export function guardInstall(vma: Vma, start: number, end: number): number {
  if (!canBeGuarded(vma)) return errno.EINVAL;
  const { mm } = vma;
  const { pageTables } = mm.sys;
  vma.vmFlags |= VM_MAYBE_GUARD;
  if (pageTables.nextPopulated(mm.pgd, start, end) < end) zapPageRange(vma, start, end);
  const marker = mkLeaf(LEAF_MARKER_GUARD, 0, 0);
  for (let addr = start; addr < end; addr = tableEnd(addr, end)) {
    const first = pageTables.pteAlloc(mm.pgd, addr);
    if (isErr(first)) return errno.ENOMEM;
    const last = first + (tableEnd(addr, end) - addr) / PAGE_SIZE;
    for (let at = first; at < last; at++) pageTables.setPte(at, marker);
  }
  return 0;
}

/**
 * Takes the guard markers of [start, end) away, and leaves everything else.
 *
 * @returns 0; EINVAL for a VMA that can't have any. Context: see the file header.
 */
export function guardRemove(vma: Vma, start: number, end: number): number {
  if (!canBeGuarded(vma)) return errno.EINVAL;
  const { mm } = vma;
  const { pageTables } = mm.sys;
  let addr = pageTables.nextPopulated(mm.pgd, start, end);
  while (addr < end) {
    const stop = tableEnd(addr, end);
    const first = pageTables.pteOffset(mm.pgd, addr);
    const last = first === 0 ? 0 : first + (stop - addr) / PAGE_SIZE;
    for (let at = first; at < last; at++) {
      if (isGuardMarker(pageTables.words[at]!)) pageTables.setPte(at, 0);
    }
    addr = pageTables.nextPopulated(mm.pgd, stop, end);
  }
  return 0;
}

/**
 * Copies the guard markers of a VMA whose other entries a child finds by itself.
 *
 * @returns 0 or ENOMEM. Context: fork; mmap locks of both held for write.
 */
export function copyGuardMarkers(child: Vma, parent: Vma): number {
  const { pageTables } = parent.mm.sys;
  const end = parent.vmEnd;
  let addr = pageTables.nextPopulated(parent.mm.pgd, parent.vmStart, end);
  while (addr < end) {
    const stop = tableEnd(addr, end);
    const source = pageTables.pteOffset(parent.mm.pgd, addr);
    // A PMD leaf is no guard.
    const target = source === 0 ? 0 : pageTables.pteAlloc(child.mm.pgd, addr);
    if (isErr(target)) return target;
    const count = source === 0 ? 0 : (stop - addr) / PAGE_SIZE;
    for (let i = 0; i < count; i++) {
      const entry = pageTables.words[source + i]!;
      if (isGuardMarker(entry)) pageTables.setPte(target + i, entry);
    }
    addr = pageTables.nextPopulated(parent.mm.pgd, stop, end);
  }
  return 0;
}
