/**
 * The life of an address space: making one, fork, exit (kernel/fork.c, mm/mmap.c:exit_mmap).
 *
 * Locking: fork holds the parent's mmap lock for write throughout and so waits for faults and
 * migrations in progress; nobody knows the child yet. Exit releases the interval notifiers first,
 * then takes the mmap lock for write, so that faults in progress finish on a live address space.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { TASK_SIZE } from '../base/units.ts';
import { copyPageRange } from './copy-page-range.ts';
import type { ForkProgress } from './copy-page-range.ts';
import { copyGuardMarkers } from './guard.ts';
import { MmapLock } from './mmap-lock.ts';
import {
  VM_DONTCOPY,
  VM_MAYBE_GUARD,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_UFFD_FLAGS,
  VM_WIPEONFORK,
} from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { unmapLocked } from './mmap.ts';
import {
  MMU_NOTIFY_PROTECTION_PAGE,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
  mmuNotifierRelease,
} from './mmu-notifier.ts';
import { anonVmaFork } from './rmap.ts';
import { flushTlbRange } from './tlb.ts';
import { isCowMapping, linkVma, makeVma } from './vma.ts';

const forkRange = new MmuNotifierRange();

/**
 * An empty address space with one user (mm_alloc).
 *
 * @returns the address space, or ENOMEM when there is no page table left. Context: never waits.
 */
export function mmAlloc(sys: System): MmStruct | number {
  const pgd = sys.pageTables.allocTable();
  if (isErr(pgd)) return pgd;
  const mm: MmStruct = {
    sys,
    id: sys.nextMmId++,
    vmas: [],
    pgd,
    mmapLock: new MmapLock(),
    notifierSubscriptions: null,
    isUnstable: false,
    users: 1,
    anonRss: 0,
    shmemRss: 0,
    swapEnts: 0,
    hugetlbUsage: 0,
    tlbFlushes: 0,
    tlbFlushedPages: 0,
    tlbs: [],
  };
  sys.mms.add(mm);
  return mm;
}

/** Becomes a user of an address space unless it is dying (mmget_not_zero). Context: any. */
export function mmgetNotZero(mm: MmStruct): boolean {
  if (mm.users === 0) return false;
  mm.users++;
  return true;
}

/**
 * Drops a user (mmput). The last one sends MMU_NOTIFY_RELEASE, unmaps everything and frees the page
 * tables; device pages go with it, nothing is migrated back.
 *
 * Context: mmap lock not held; waits for it when it is the last user.
 */
export function mmput(mm: MmStruct): MaybePromise<void> {
  assert(mm.users > 0, 'I18: an address space in use has users');
  mm.users--;
  if (mm.users > 0) return;
  mmuNotifierRelease(mm);
  return andThen(mm.mmapLock.writeLock(), () => exitMmap(mm));
}

function exitMmap(mm: MmStruct): void {
  const { pageTables } = mm.sys;
  unmapLocked(mm, 0, TASK_SIZE);
  const resident = mm.anonRss + mm.shmemRss + mm.swapEnts + mm.hugetlbUsage;
  assert(resident === 0, 'I19: nothing is resident after exit');
  pageTables.freeTable(mm.pgd);
  mm.pgd = 0;
  mm.sys.mms.delete(mm);
  mm.mmapLock.writeUnlock();
}

/**
 * Copies an address space (fork: dup_mmap). Private memory is shared copy-on-write, device-private
 * pages included; shared memory is shared. The child has no notifiers: a device mirrors the parent
 * only.
 *
 * @returns the child with one user; ENOMEM with nothing left of the child (the parent stays
 * write-protected where the copy got to, which its next write repairs); ESRCH when the parent is
 * gone.
 * Context: takes the parent's mmap lock for write, may wait for it.
 */
export function dupMmap(parent: MmStruct): MaybePromise<MmStruct | number> {
  return andThen(parent.mmapLock.writeLock(), () => {
    try {
      return parent.users > 0 ? dupLocked(parent) : errno.ESRCH;
    } finally {
      parent.mmapLock.writeUnlock();
    }
  });
}

function dupLocked(parent: MmStruct): MmStruct | number {
  const child = mmAlloc(parent.sys);
  if (typeof child === 'number') return child;
  const progress: ForkProgress = { writeProtected: 0 };
  let status = 0;
  for (const vma of parent.vmas) {
    if ((vma.vmFlags & VM_DONTCOPY) !== 0) continue;
    status = dupVma(child, vma, progress);
    if (isErr(status)) break;
  }
  flushTlbRange(parent, 0, TASK_SIZE, progress.writeProtected);
  if (!isErr(status)) return child;
  const gone = mmput(child);
  assert(gone === undefined, 'nobody else can hold the lock of an unborn child');
  return status;
}

/** Copies one VMA with its entries: 0 or ENOMEM. */
function dupVma(child: MmStruct, vma: Vma, progress: ForkProgress): number {
  // The child is not monitored: nobody has asked for its faults (dup_userfaultfd).
  const vmFlags = vma.vmFlags & ~VM_UFFD_FLAGS;
  const copy = makeVma(child, vma.vmStart, vma.vmEnd, vmFlags, vma.vmPgoff, vma.inode);
  const isWiped = (vma.vmFlags & VM_WIPEONFORK) !== 0;
  if (!isWiped) anonVmaFork(copy, vma);
  linkVma(copy);
  if (isWiped) return 0;
  // Without anonymous pages there is nothing that a fault in the child would not find by itself,
  // except in a driver's mapping (vma_needs_copy).
  const isDriverMapping = (vma.vmFlags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0;
  if (vma.anonVma === null && !isDriverMapping) {
    return (vma.vmFlags & VM_MAYBE_GUARD) === 0 ? 0 : copyGuardMarkers(copy, vma);
  }
  if (!isCowMapping(vma)) return copyPageRange(copy, vma, progress);
  mmuNotifierRangeInit(forkRange, MMU_NOTIFY_PROTECTION_PAGE, vma.mm, vma.vmStart, vma.vmEnd);
  mmuNotifierInvalidateRangeStart(forkRange);
  const status = copyPageRange(copy, vma, progress);
  mmuNotifierInvalidateRangeEnd(forkRange);
  return status;
}
