/**
 * The OOM reaper (mm/oom_kill.c): takes the private memory of a process away before the process has
 * come to its end. From then on its address space is unstable: what is missing can't be had again,
 * by a fault or by a migration, since it would look like fresh zeroes.
 *
 * Locking: the mmap lock for read, tried. Notifiers must not wait: a VMA whose subscriber would
 * have to is skipped.
 *
 * Leaves out: choosing a victim and killing it; a program sees that memory ran out.
 */
import { errno, isErr } from '../base/errno.ts';
import { VM_HUGETLB, VM_PFNMAP, VM_SHARED } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_UNMAP,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStartNonblock,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { unmapPageRange } from './zap.ts';

const reapRange = new MmuNotifierRange();

/**
 * Unmaps all private memory (oom_reap_task_mm).
 *
 * @returns 0; EAGAIN when the mmap lock is taken for write, with nothing done, or when a notifier
 * would have to wait, with the other VMAs done: try again later. Context: never waits.
 */
export function oomReapTaskMm(mm: MmStruct): number {
  if (!mm.mmapLock.readTrylock()) return errno.EAGAIN;
  mm.isUnstable = true;
  let status = 0;
  for (const vma of mm.vmas) {
    if ((vma.vmFlags & (VM_HUGETLB | VM_PFNMAP | VM_SHARED)) !== 0) continue;
    if (isErr(reapVma(vma))) status = errno.EAGAIN;
  }
  mm.mmapLock.readUnlock();
  return status;
}

/** 0, or EAGAIN with nothing done. */
function reapVma(vma: Vma): number {
  const { vmStart, vmEnd } = vma;
  mmuNotifierRangeInit(reapRange, MMU_NOTIFY_UNMAP, vma.mm, vmStart, vmEnd);
  const status = mmuNotifierInvalidateRangeStartNonblock(reapRange);
  if (isErr(status)) return status;
  unmapPageRange(vma, vmStart, vmEnd, true, true);
  mmuNotifierInvalidateRangeEnd(reapRange);
  return 0;
}
