/**
 * Starting to watch what a process writes (fs/proc/task_mmu.c: clear_refs_write of
 * /proc/PID/clear_refs): the soft-dirty bit goes from every entry, and with it the permission to
 * write, so that the next write of a page sets it again.
 *
 * Locking: takes the mmap lock for write. Sends MMU_NOTIFY_SOFT_DIRTY over all addresses: a device
 * that writes without a fault would go unnoticed. One flush per VMA.
 *
 * Leaves out: the other values that the file takes, VM_SOFTDIRTY of whole VMAs.
 */
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { underWriteLock } from './mmap.ts';
import {
  MMU_NOTIFY_SOFT_DIRTY,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import {
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_WRITE,
  isPmdLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { isCowMapping } from './vma.ts';

const softDirtyRange = new MmuNotifierRange();

/**
 * Clears the soft-dirty bit of everything that is mapped (CLEAR_REFS_SOFT_DIRTY).
 *
 * A page that may be pinned keeps bit and permission: its user writes without a fault.
 *
 * @returns 0; ESRCH when the address space is gone. Context: takes the mmap lock for write, may
 * wait for it.
 */
export function clearSoftDirty(mm: MmStruct): MaybePromise<number> {
  return underWriteLock(mm, () => {
    const end = Number.MAX_SAFE_INTEGER;
    mmuNotifierRangeInit(softDirtyRange, MMU_NOTIFY_SOFT_DIRTY, mm, 0, end);
    mmuNotifierInvalidateRangeStart(softDirtyRange);
    for (const vma of mm.vmas) clearVma(vma);
    mmuNotifierInvalidateRangeEnd(softDirtyRange);
    return 0;
  });
}

function clearVma(vma: Vma): void {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  let reduced = 0;
  let addr = pageTables.nextPopulated(mm.pgd, vma.vmStart, vma.vmEnd);
  while (addr < vma.vmEnd) {
    const chunkEnd = Math.min(vma.vmEnd, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const pmdAt = pageTables.pmdOffset(mm.pgd, addr);
    if (isPmdLeaf(pageTables.words[pmdAt]!)) {
      reduced += clearEntry(vma, pmdAt) * HPAGE_PMD_NR;
    } else {
      const first = pageTables.pteOffset(mm.pgd, addr);
      const last = first + (chunkEnd - addr) / PAGE_SIZE;
      for (let at = first; at < last; at++) reduced += clearEntry(vma, at);
    }
    addr = pageTables.nextPopulated(mm.pgd, chunkEnd, vma.vmEnd);
  }
  flushTlbRange(mm, vma.vmStart, vma.vmEnd, reduced);
}

/** clear_soft_dirty, and its huge form. @returns 1 when a core may have cached more rights. */
function clearEntry(vma: Vma, at: number): number {
  const { sys } = vma.mm;
  const { words } = sys.pageTables;
  const entry = words[at]!;
  if (entry === 0) return 0;
  if (!ptePresent(entry)) {
    words[at] = (entry & ~PTE_SOFT_DIRTY) >>> 0;
    return 0;
  }
  if (mayBePinned(sys, vma, entry)) return 0;
  words[at] = (entry & ~(PTE_SOFT_DIRTY | PTE_WRITE)) >>> 0;
  return (entry & PTE_WRITE) === 0 ? 0 : 1;
}

/** pte_is_pinned. */
function mayBePinned(sys: System, vma: Vma, entry: number): boolean {
  if (!isCowMapping(vma) || (entry & PTE_SPECIAL) !== 0) return false;
  return sys.mem.maybeDmaPinned(sys.mem.folioOf(ptePfn(entry)));
}
