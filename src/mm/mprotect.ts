/**
 * mprotect (mm/mprotect.c). VMAs are split, get their new permissions and are merged again;
 * existing entries follow. Rights are taken away at once; they come back only where no fault is
 * needed: a shared writable entry, and a private one whose page is AnonExclusive. A writable
 * device-private entry becomes READ on any change that visits it and is never made writable here; a
 * writable migration entry becomes READ_EXCLUSIVE (anonymous) or READ.
 *
 * Locking: takes the mmap lock for write. Sends MMU_NOTIFY_PROTECTION_VMA over the populated part
 * of each changed piece before its entries change; flushes once per piece.
 */
import { errno } from '../base/errno.ts';
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
import { userfaultfdPteWp } from './fs-userfaultfd.ts';
import { VM_ACCESS_FLAGS, needsSoftDirtyWp, vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { underWriteLock } from './mmap.ts';
import {
  MMU_NOTIFY_PROTECTION_VMA,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { PG_ANON_EXCLUSIVE } from './page.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_PROTNONE,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isPmdLeaf,
  leafKind,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { isCowMapping, isolateRange, mergeVma } from './vma.ts';
import { vmaLookup } from './vma-lookup.ts';

const protectRange = new MmuNotifierRange();

/**
 * Changes the permissions of [addr, addr + length) (mprotect).
 *
 * @param addr Page aligned. @param length Bytes, rounded up to whole pages; 0 does nothing.
 * @param prot PROT_* bits. @returns 0; EINVAL for an unaligned address, also one inside a huge page
 * of a mapping of such, unknown bits or numbers that are no addresses; ENOMEM when part of the
 * range is not mapped (what lies below the gap has changed) or there would be too many VMAs; ESRCH
 * when the address space is gone. Context: takes the mmap lock for write, may wait for it.
 */
export function doMprotect(
  mm: MmStruct,
  addr: number,
  length: number,
  prot: number,
): MaybePromise<number> {
  if (!isAddress(addr) || !isAddress(length) || !isPageAligned(addr)) return errno.EINVAL;
  if (length === 0) return 0;
  const end = addr + pageAlignUp(length);
  if (end > TASK_SIZE) return errno.ENOMEM;
  // Also what is no number at all: bit operations would take it for 0.
  if (!isAddress(prot) || prot > VM_ACCESS_FLAGS) return errno.EINVAL;
  return underWriteLock(mm, () => protectLocked(mm, addr, end, prot));
}

function protectLocked(mm: MmStruct, start: number, end: number, prot: number): number {
  let cursor = start;
  while (cursor < end) {
    const vma = vmaLookup(mm, cursor);
    if (vma === null) return errno.ENOMEM;
    const pieceEnd = Math.min(vma.vmEnd, end);
    const status = protectPiece(vma, cursor, pieceEnd, prot);
    if (status !== 0) return status;
    cursor = pieceEnd;
  }
  return 0;
}

/** Changes [start, end) of one VMA (mprotect_fixup): 0, EINVAL or ENOMEM. */
function protectPiece(vma: Vma, start: number, end: number, prot: number): number {
  const vmFlags = (vma.vmFlags & ~VM_ACCESS_FLAGS) | prot;
  if (vmFlags === vma.vmFlags) return 0;
  const piece = isolateRange(vma, start, end);
  if (typeof piece === 'number') return piece;
  piece.vmFlags = vmFlags;
  changeProtection(piece, start, end, 0);
  mergeVma(piece);
  return 0;
}

/** changeProtection on behalf of userfaultfd: protect what is there; take that back. */
export const MM_CP_UFFD_WP = 1 << 2;
export const MM_CP_UFFD_WP_RESOLVE = 1 << 3;

/**
 * Brings the entries of [start, end) in line with the VMA's flags (change_protection).
 *
 * @param cpFlags 0 or one of MM_CP_*. Context: mmap lock held; never waits.
 */
export function changeProtection(vma: Vma, start: number, end: number, cpFlags: number): void {
  const mm = vma.mm;
  const { pageTables } = mm.sys;
  let addr = pageTables.nextPopulated(mm.pgd, start, end);
  if (addr >= end) return;
  mmuNotifierRangeInit(protectRange, MMU_NOTIFY_PROTECTION_VMA, mm, addr, end);
  mmuNotifierInvalidateRangeStart(protectRange);
  let reduced = 0;
  while (addr < end) {
    const chunkEnd = Math.min(end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const huge = changeLeaf(vma, addr, chunkEnd, cpFlags);
    if (huge >= 0) {
      reduced += huge;
      addr = pageTables.nextPopulated(mm.pgd, chunkEnd, end);
      continue;
    }
    const first = pageTables.pteOffset(mm.pgd, addr);
    const last = first + (chunkEnd - addr) / PAGE_SIZE;
    for (let at = first; at < last; at++) {
      const old = pageTables.words[at]!;
      if (old === 0) continue;
      const next = changedPte(mm.sys, vma, old, cpFlags);
      if (next === old) continue;
      pageTables.setPte(at, next);
      if (takesAwayRights(old, next)) reduced++;
    }
    addr = pageTables.nextPopulated(mm.pgd, chunkEnd, end);
  }
  flushTlbRange(mm, start, end, reduced);
  mmuNotifierInvalidateRangeEnd(protectRange);
}

/**
 * Changes a PMD leaf that [start, end) covers (change_huge_pmd); one that it covers in part is
 * split. @returns pages that lost rights, or -1 when there are PTEs to change.
 */
function changeLeaf(vma: Vma, start: number, end: number, cpFlags: number): number {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const at = pageTables.pmdOffset(mm.pgd, start);
  const old = pageTables.words[at]!;
  if (!isPmdLeaf(old)) return -1;
  if (end - start !== PMD_SIZE) {
    splitHugePmd(vma, at, start - (start % PMD_SIZE));
    return -1;
  }
  const next = changedPte(mm.sys, vma, old, cpFlags);
  pageTables.setPte(at, next);
  return takesAwayRights(old, next) ? HPAGE_PMD_NR : 0;
}

/** True when a core may have cached more than the new entry allows. */
function takesAwayRights(old: number, next: number): boolean {
  if (!ptePresent(old)) return false;
  return (old & ~next & PTE_WRITE) !== 0 || (next & ~old & PTE_PROTNONE) !== 0;
}

function changedPte(sys: System, vma: Vma, old: number, cpFlags: number): number {
  if (!ptePresent(old)) return withUffdWp(changedLeaf(sys, old), cpFlags);
  const kept = withUffdWp(old & ~(PTE_WRITE | PTE_PROTNONE), cpFlags);
  const prot = vmaPageProt(vma) & ((old & PTE_SPECIAL) !== 0 ? ~PTE_WRITE : ~0);
  const next = (kept | prot) >>> 0;
  return canBeWritable(sys, vma, next) ? (next | PTE_WRITE) >>> 0 : next;
}

/** The entry as userfaultfd wants it: protected, no longer protected, or as it is. */
function withUffdWp(entry: number, cpFlags: number): number {
  const kind = leafKind(entry);
  const resolve = (cpFlags & MM_CP_UFFD_WP_RESOLVE) !== 0;
  // Without protection that marker says nothing.
  if (kind === LEAF_MARKER_UFFD_WP) return resolve ? 0 : entry >>> 0;
  if (kind === LEAF_MARKER_POISON || kind === LEAF_MARKER_GUARD) return entry >>> 0;
  if (resolve) return (entry & ~PTE_UFFD_WP) >>> 0;
  return (cpFlags & MM_CP_UFFD_WP) === 0 ? entry >>> 0 : (entry | PTE_UFFD_WP) >>> 0;
}

/**
 * A private page that is ours alone needs no fault for that, and a dirty shared one that is mapped
 * read-only only for userfaultfd's sake (can_change_pte_writable).
 */
function canBeWritable(sys: System, vma: Vma, pte: number): boolean {
  if (!vmaMayWrite(vma) || (pte & PTE_SPECIAL) !== 0 || userfaultfdPteWp(vma, pte)) return false;
  if (!isCowMapping(vma)) return (pte & PTE_DIRTY) !== 0 && !needsSoftDirtyWp(vma, pte);
  const pfn = ptePfn(pte);
  const isOwn = sys.mem.isAnon(pfn) && sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE);
  return isOwn && !needsSoftDirtyWp(vma, pte);
}

function changedLeaf(sys: System, old: number): number {
  const pfn = ptePfn(old);
  const kind = leafKind(old);
  if (kind === LEAF_MIGRATION_WRITE) {
    const isAnon = sys.mem.isAnon(pfn);
    const next = isAnon ? LEAF_MIGRATION_READ_EXCLUSIVE : LEAF_MIGRATION_READ;
    return mkLeaf(next, pfn, old & (PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP));
  }
  if (kind === LEAF_DEVICE_PRIVATE_WRITE) {
    return mkLeaf(LEAF_DEVICE_PRIVATE_READ, pfn, old & PTE_UFFD_WP);
  }
  return old;
}
