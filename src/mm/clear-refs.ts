/**
 * Clearing what entries say of past accesses (fs/proc/task_mmu.c: clear_refs_write). Afterwards a
 * store makes its page soft-dirty again: present entries lose write permission, so that it faults.
 * Entries of pages on a device lose their bit and nothing else: what the device writes is not
 * noted, as in Linux.
 *
 * Locking: takes the mmap lock for write. Clearing soft-dirty sends MMU_NOTIFY_SOFT_DIRTY over the
 * whole address space, and flushes it.
 *
 * Leaves out: the high-water mark of resident memory.
 */
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../base/units.ts';
import { VM_PFNMAP, VM_SOFTDIRTY } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { underWriteLock } from './mmap.ts';
import {
  END_OF_ADDRESSES,
  MMU_NOTIFY_SOFT_DIRTY,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { PG_REFERENCED } from './page.ts';
import {
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_WRITE,
  PTE_YOUNG,
  isPmdLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { isCowMapping } from './vma.ts';

/** Which entries are cleared, and of what; values of enum clear_refs_types. */
export const CLEAR_REFS_ALL = 1;
/** Accessed bits of anonymous memory. */
export const CLEAR_REFS_ANON = 2;
/** Accessed bits of mapped files. */
export const CLEAR_REFS_MAPPED = 3;
/** What counts as written: PM_SOFT_DIRTY starts anew. */
export const CLEAR_REFS_SOFT_DIRTY = 4;

/** What becomes of an entry: 0 for none. */
type Change = (vma: Vma, entry: number) => number;

const softDirtyRange = new MmuNotifierRange();

/**
 * Clears accessed or soft-dirty bits of an address space (a write to /proc/pid/clear_refs).
 *
 * @param type CLEAR_REFS_*. @returns 0; EINVAL for another type; ESRCH when the address space is
 * gone. Context: takes the mmap lock for write, may wait for it.
 */
export function clearRefs(mm: MmStruct, type: number): MaybePromise<number> {
  if (type === CLEAR_REFS_SOFT_DIRTY) return clearSoftDirty(mm);
  if (type !== CLEAR_REFS_ALL && type !== CLEAR_REFS_ANON && type !== CLEAR_REFS_MAPPED) {
    return errno.EINVAL;
  }
  return underWriteLock(mm, () => clearReferenced(mm, type));
}

function clearReferenced(mm: MmStruct, type: number): number {
  for (const vma of mm.vmas) {
    const isMapped = vma.inode !== null;
    if (type !== CLEAR_REFS_ALL && isMapped !== (type === CLEAR_REFS_MAPPED)) continue;
    walkEntries(vma, clearYoung);
  }
  return 0;
}

/**
 * clearRefs of CLEAR_REFS_SOFT_DIRTY: whole VMAs no longer count as written, nor does any page. A
 * page that may be pinned keeps bit and permission, since its user writes without a fault.
 */
export function clearSoftDirty(mm: MmStruct): MaybePromise<number> {
  return underWriteLock(mm, () => clearSoftDirtyLocked(mm));
}

function clearSoftDirtyLocked(mm: MmStruct): number {
  for (const vma of mm.vmas) vma.vmFlags &= ~VM_SOFTDIRTY;
  mmuNotifierRangeInit(softDirtyRange, MMU_NOTIFY_SOFT_DIRTY, mm, 0, END_OF_ADDRESSES);
  mmuNotifierInvalidateRangeStart(softDirtyRange);
  let reduced = 0;
  for (const vma of mm.vmas) reduced += walkEntries(vma, wrprotectClean);
  flushTlbRange(mm, 0, TASK_SIZE, reduced);
  mmuNotifierInvalidateRangeEnd(softDirtyRange);
  return 0;
}

function clearYoung(vma: Vma, entry: number): number {
  if (!ptePresent(entry) || (entry & PTE_SPECIAL) !== 0) return entry;
  const { mem } = vma.mm.sys;
  mem.clearFlag(mem.folioOf(ptePfn(entry)), PG_REFERENCED);
  return (entry & ~PTE_YOUNG) >>> 0;
}

/** Takes write permission and soft-dirty of an entry (clear_soft_dirty). */
function wrprotectClean(vma: Vma, entry: number): number {
  if (!ptePresent(entry)) return (entry & ~PTE_SOFT_DIRTY) >>> 0;
  // Whoever pinned it writes without faults: it stays dirty, and must not be copied on a fault.
  if (isPinned(vma, entry)) return entry;
  return (entry & ~(PTE_SOFT_DIRTY | PTE_WRITE)) >>> 0;
}

/** True for a page that its process may have pinned for writing (pte_is_pinned). */
function isPinned(vma: Vma, entry: number): boolean {
  if (!pteWrite(entry) || !isCowMapping(vma)) return false;
  const { mem } = vma.mm.sys;
  return mem.maybeDmaPinned(mem.folioOf(ptePfn(entry)));
}

/**
 * Changes the entries of a VMA, PMD leaves included. @returns base pages of entries that lost write
 * permission.
 */
function walkEntries(vma: Vma, change: Change): number {
  if ((vma.vmFlags & VM_PFNMAP) !== 0) return 0;
  const { mm, vmEnd } = vma;
  const { pageTables } = mm.sys;
  let reduced = 0;
  let addr = pageTables.nextPopulated(mm.pgd, vma.vmStart, vmEnd);
  while (addr < vmEnd) {
    const stop = Math.min(vmEnd, addr - (addr % PMD_SIZE) + PMD_SIZE);
    reduced += changeTable(vma, addr, stop, change);
    addr = pageTables.nextPopulated(mm.pgd, stop, vmEnd);
  }
  return reduced;
}

/**
 * The PTEs of [start, end), which one page table holds, or the PMD leaf that maps it: none lies
 * across two VMAs.
 */
function changeTable(vma: Vma, start: number, end: number, change: Change): number {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const first = pageTables.leafOffset(mm.pgd, start);
  const isLeaf = isPmdLeaf(pageTables.words[pageTables.pmdOffset(mm.pgd, start)]!);
  const count = isLeaf ? 1 : (end - start) / PAGE_SIZE;
  let reduced = 0;
  for (let at = first; at < first + count; at++) {
    const entry = pageTables.words[at]!;
    const next = entry === 0 ? 0 : change(vma, entry);
    if (next === entry) continue;
    pageTables.words[at] = next;
    if (pteWrite(entry) && !pteWrite(next)) reduced += isLeaf ? HPAGE_PMD_NR : 1;
  }
  return reduced;
}
