/**
 * Bringing a range of an address space home from a device before the CPU faults on it: what a
 * prefetch hint asks for. Pages that are elsewhere, or busy, or that a policy keeps, are left
 * alone.
 *
 * Locking: the mmap lock is held for read over one window at a time, so that faults and calls get
 * their turn in between.
 */
import { isErr } from '../base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { migrateVmaSetup } from '../mm/migrate-device.ts';
import { MIGRATE_VMA_SELECT_COMPOUND, NO_FAULT_PAGE } from '../mm/migrate-types.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { findVma } from '../mm/vma-lookup.ts';
import { vmEventIndex } from '../mm/vmstat.ts';
import type { DmirrorDevice } from './dmirror-device.ts';

const PREFETCH_HINTED = vmEventIndex('prefetch_hinted');

/**
 * Brings device pages of [start, end) home, as long as there is RAM and the device answers.
 *
 * @param start Page aligned, as `end`. Context: nothing held; waits.
 */
export async function bringRangeHome(
  device: DmirrorDevice,
  mm: MmStruct,
  start: number,
  end: number,
): Promise<void> {
  for (let addr = start; addr < end;) {
    await mm.mmapLock.readLock();
    try {
      const vma = findVma(mm, addr);
      if (vma === null || vma.vmStart >= end) return;
      const begin = Math.max(addr, vma.vmStart);
      const stop = Math.min(end, vma.vmEnd, begin - (begin % PMD_SIZE) + PMD_SIZE);
      const { start: from, end: to } = device.kept.freeRun(mm, begin, stop);
      addr = to;
      if (from === to) continue;
      const window = device.windows.take((to - from) / PAGE_SIZE);
      const select = device.selectOwn | MIGRATE_VMA_SELECT_COMPOUND;
      const args = device.migrateArgs(window, vma, from, to, select, NO_FAULT_PAGE);
      try {
        // What can't migrate at all (hugetlb, I/O) is not on a device either.
        if (!isErr(migrateVmaSetup(args)) && args.cpages > 0) {
          if (isErr(device.allocateHome(window))) return;
          const copied = device.finishHome(window, await device.copyOut(window));
          device.markUnasked(window, -1, PREFETCH_HINTED);
          if (isErr(copied)) return;
        }
      } finally {
        device.windows.give(window);
      }
    } finally {
      mm.mmapLock.readUnlock();
    }
  }
}
