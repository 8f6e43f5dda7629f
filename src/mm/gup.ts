/**
 * Getting at user pages by their frames (mm/gup.c): pages of a range are faulted in as a load or
 * store would, and come back with a reference (`getUserPages*`) or a pin (`pinUserPages*`) each.
 *
 * Device-private memory can't be had like that: the fault brings it home first. The same fault
 * revokes a device's exclusive access. A pin for reading of an anonymous page that is shared
 * copy-on-write unshares it first (FAULT_FLAG_UNSHARE), or the pin would lose touch with the
 * process at its next write.
 *
 * Who wants to write through the page outside of page faults has to pin it: a page that is merely
 * referenced may be lent to a device meanwhile.
 *
 * Locking: mmap lock held for read by the caller and kept across the waits of faults; the
 * `Unlocked` variants take it, the `Fast` ones only where a page is not simply there.
 *
 * Leaves out: FOLL_FORCE, hugetlb, interruption by signals.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import { checkAndMigrateMovablePages } from './gup-longterm.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_SPLIT_PMD,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
  tryGrabPage,
} from './gup-refs.ts';
import { isVmHugetlb } from './hugetlb.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  handleMmFault,
} from './memory.ts';
import { VM_IO, VM_PFNMAP, VM_READ, VM_WRITE } from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY, PG_REFERENCED } from './page.ts';
import {
  PTE_HUGE,
  PTE_PROTNONE,
  PTE_SPECIAL,
  PTE_WRITE,
  leafPfn,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { splitHugePmdAddress } from './split-huge-pmd.ts';
import { isCowMapping } from './vma.ts';
import { vmaLookup } from './vma-lookup.ts';

export {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_REMOTE,
  FOLL_SPLIT_PMD,
  FOLL_WRITE,
  putUserPages,
  unpinUserPage,
  unpinUserPages,
  unpinUserPagesDirtyLock,
} from './gup-refs.ts';

/** What followPage says when there is no page to be had yet: fault, or unshare, and look again. */
const NEEDS_FAULT = -4096;
const NEEDS_UNSHARE = -4097;

/** Faults on one page that may follow each other before it counts as a livelock. */
const MAX_FAULTS_PER_PAGE = 100_000;

/** Flags that callers may give. */
const CALLER_FLAGS =
  FOLL_WRITE | FOLL_NOFAULT | FOLL_LONGTERM | FOLL_SPLIT_PMD | FOLL_REMOTE | FOLL_FAST_ONLY;

/**
 * Takes references on the pages of a range (get_user_pages, and get_user_pages_remote with
 * FOLL_REMOTE).
 *
 * @param start Address in the first page. @param count Pages. @param gupFlags FOLL_WRITE,
 * FOLL_NOFAULT, FOLL_REMOTE. @param pfns At least `count` long; filled in from the first entry on.
 * @returns pages taken, which may be fewer than asked for; when there is none, EFAULT (nothing
 * mapped, not with that permission, contents lost), ENOMEM; EINVAL for flags that don't go
 * together. Context: mmap lock held for read and kept; waits for faults.
 */
export function getUserPages(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  // LONGTERM is for pins only.
  if ((gupFlags & FOLL_LONGTERM) !== 0) return errno.EINVAL;
  return gupLocked(mm, start, count, gupFlags, FOLL_GET, pfns);
}

/**
 * Pins the pages of a range (pin_user_pages, and pin_user_pages_remote with FOLL_REMOTE): for
 * callers that work on their contents. Arguments and results as getUserPages, and FOLL_LONGTERM.
 *
 * Context: as getUserPages. Given back with unpinUserPages.
 */
export function pinUserPages(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  return gupLocked(mm, start, count, gupFlags, FOLL_PIN, pfns);
}

/**
 * getUserPages for callers without the mmap lock (get_user_pages_unlocked). A fault that a
 * userfaultfd takes over is waited for, while getUserPages answers EFAULT.
 */
export function getUserPagesUnlocked(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  if ((gupFlags & FOLL_LONGTERM) !== 0) return errno.EINVAL;
  return gupUnlocked(mm, start, count, gupFlags, FOLL_GET, pfns);
}

/** pinUserPages for callers without the mmap lock (pin_user_pages_unlocked). */
export function pinUserPagesUnlocked(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  return gupUnlocked(mm, start, count, gupFlags, FOLL_PIN, pfns);
}

/**
 * getUserPages that first takes what is simply mapped, without the mmap lock (get_user_pages_fast).
 * FOLL_FAST_ONLY ends there (get_user_pages_fast_only): it never waits, and may take 0 pages.
 *
 * @returns as getUserPages; EFAULT also for a range that no page table can hold.
 * Context: mmap lock not held; waits for it, and for faults, when a page is not there.
 */
export function getUserPagesFast(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  if ((gupFlags & FOLL_LONGTERM) !== 0) return errno.EINVAL;
  return gupFastFallback(mm, start, count, gupFlags, FOLL_GET, pfns);
}

/** pinUserPages the fast way (pin_user_pages_fast); see getUserPagesFast. */
export function pinUserPagesFast(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  return gupFastFallback(mm, start, count, gupFlags, FOLL_PIN, pfns);
}

/**
 * Pins the one page at `addr` for writing: the pfn, EFAULT or ENOMEM. Our own short form of
 * pinUserPagesFast. Context: mmap lock not held; waits for faults.
 */
export function pinUserPage(mm: MmStruct, addr: number): MaybePromise<number> {
  const pfns = new Uint32Array(1);
  return andThen(pinUserPagesFast(mm, addr, 1, FOLL_WRITE, pfns), (taken) =>
    taken === 1 ? pfns[0]! : taken,
  );
}

function underReadLock(mm: MmStruct, work: () => MaybePromise<number>): MaybePromise<number> {
  return andThen(mm.mmapLock.readLock(), () =>
    andThen(work(), (result) => {
      mm.mmapLock.readUnlock();
      return result;
    }),
  );
}

/** The end of the range, or an errno for arguments that make no sense (is_valid_gup_args). */
function checkArguments(start: number, count: number, gupFlags: number, pfns: Uint32Array): number {
  if ((gupFlags & ~CALLER_FLAGS) !== 0) return errno.EINVAL;
  if (!Number.isSafeInteger(count) || count < 0 || count > pfns.length) return errno.EINVAL;
  if (!isAddress(start) || start >= TASK_SIZE) return errno.EFAULT;
  const end = pageAlignDown(start) + count * PAGE_SIZE;
  return end > TASK_SIZE ? errno.EFAULT : end;
}

function gupLocked(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  kind: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  assert(mm.mmapLock.isLocked, 'I26: the mmap lock is held');
  const end = checkArguments(start, count, gupFlags, pfns);
  if (isErr(end)) return end;
  return gupLongtermLocked(mm, pageAlignDown(start), count, gupFlags | kind, pfns);
}

function gupUnlocked(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  kind: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  const end = checkArguments(start, count, gupFlags, pfns);
  if (isErr(end)) return end;
  const flags = gupFlags | kind | FOLL_UNLOCKABLE;
  return underReadLock(mm, () => gupLongtermLocked(mm, pageAlignDown(start), count, flags, pfns));
}

/** __gup_longterm_locked: pins for long only what may stay where it is. */
function gupLongtermLocked(
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  return andThen(new GupWalk(mm, start, count, flags, pfns).run(), (taken) => {
    if ((flags & FOLL_LONGTERM) === 0 || taken <= 0) return taken;
    return andThen(checkAndMigrateMovablePages(mm.sys, pfns.subarray(0, taken)), (status) => {
      if (status === 0) return taken;
      return status === errno.EAGAIN ? gupLongtermLocked(mm, start, count, flags, pfns) : status;
    });
  });
}

/** gup_fast_fallback. */
function gupFastFallback(
  mm: MmStruct,
  start: number,
  count: number,
  gupFlags: number,
  kind: number,
  pfns: Uint32Array,
): MaybePromise<number> {
  const end = checkArguments(start, count, gupFlags, pfns);
  if (isErr(end)) return end;
  const flags = gupFlags | kind;
  const first = pageAlignDown(start);
  const fast = gupFast(mm, first, count, flags, pfns);
  if (fast === count || (flags & FOLL_FAST_ONLY) !== 0) return fast;
  const slow = underReadLock(mm, () => {
    const rest = pfns.subarray(fast);
    const slowFlags = flags | FOLL_UNLOCKABLE;
    return gupLongtermLocked(mm, first + fast * PAGE_SIZE, count - fast, slowFlags, rest);
  });
  return andThen(slow, (taken) => {
    if (isErr(taken)) return fast > 0 ? fast : taken;
    return fast + taken;
  });
}

/** Takes pages as long as each is there with the rights that are needed. @returns how many. */
function gupFast(
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  pfns: Uint32Array,
): number {
  const { sys } = mm;
  const { pageTables } = sys;
  for (let taken = 0; taken < count; taken++) {
    const addr = start + taken * PAGE_SIZE;
    const pte = pageTables.words[pageTables.leafOffset(mm.pgd, addr)]!;
    const pfn = leafPfn(pte, addr);
    if (!ptePresent(pte) || (pte & (PTE_PROTNONE | PTE_SPECIAL)) !== 0) return taken;
    if ((flags & FOLL_WRITE) !== 0 && !pteWrite(pte)) return taken;
    // What moves before a long-term pin is decided with the lock held.
    if ((flags & FOLL_LONGTERM) !== 0 && sys.mem.isZoneDevice(pfn)) return taken;
    if (gupMustUnshare(sys, null, pte, flags)) return taken;
    if (isErr(takePage(sys, pfn, flags))) return taken;
    pfns[taken] = pfn;
  }
  return count;
}

/** Whether it is the shared page of zeroes, or part of the shared large folio of zeroes. */
function isZeroPage(sys: System, pfn: number): boolean {
  return pfn === sys.zeroPfn || sys.mem.folioOf(pfn) === sys.hugeZeroPfn;
}

/** Takes a page and notes the use (follow_page_pte, end). 0 or ENOMEM. */
function takePage(sys: System, pfn: number, flags: number): number {
  const status = tryGrabPage(sys, pfn, flags);
  if (isErr(status) || isZeroPage(sys, pfn)) return status;
  const folio = sys.mem.folioOf(pfn);
  sys.mem.setFlag(folio, (flags & FOLL_WRITE) === 0 ? PG_REFERENCED : PG_REFERENCED | PG_DIRTY);
  return 0;
}

/**
 * True when a pin for reading would be of a page that the process stops seeing at its next write
 * (gup_must_unshare).
 *
 * @param vma Null when it is not known: then the answer errs towards true.
 */
function gupMustUnshare(sys: System, vma: Vma | null, pte: number, flags: number): boolean {
  if (pteWrite(pte) || (flags & (FOLL_WRITE | FOLL_PIN)) !== FOLL_PIN) return false;
  const pfn = ptePfn(pte);
  if ((pte & PTE_SPECIAL) === 0 && sys.mem.isAnon(sys.mem.folioOf(pfn))) {
    return !sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE);
  }
  // A short look at a page-cache page or the zero page need not see later private writes.
  if ((flags & FOLL_LONGTERM) === 0) return false;
  return vma === null || isCowMapping(vma);
}

/** One call in progress (__get_user_pages). */
class GupWalk {
  private readonly mm: MmStruct;
  private readonly start: number;
  private readonly count: number;
  private readonly flags: number;
  private readonly pfns: Uint32Array;
  private done = 0;
  private faultsOnPage = 0;

  constructor(mm: MmStruct, start: number, count: number, flags: number, pfns: Uint32Array) {
    this.mm = mm;
    this.start = start;
    this.count = count;
    this.flags = flags;
    this.pfns = pfns;
  }

  run(): MaybePromise<number> {
    while (this.done < this.count) {
      // Looked up again after each wait.
      const addr = this.start + this.done * PAGE_SIZE;
      const vma = vmaLookup(this.mm, addr);
      if (vma === null || !this.isAllowed(vma)) return this.stop(errno.EFAULT);
      const pfn = this.followPage(vma, addr);
      if (pfn >= 0) {
        this.pfns[this.done++] = pfn;
        this.faultsOnPage = 0;
        continue;
      }
      if (pfn > NEEDS_FAULT) return this.stop(pfn);
      const status = this.faultIn(vma, addr, pfn === NEEDS_UNSHARE);
      if (isPending(status)) return status.then((bits) => this.resume(bits));
      if ((status & VM_FAULT_ERROR) !== 0) return this.stop(faultErrno(status));
    }
    return this.done;
  }

  private resume(bits: number): MaybePromise<number> {
    // The fault has dropped the mmap lock: anything may have changed.
    if ((bits & VM_FAULT_RETRY) !== 0) {
      return andThen(this.mm.mmapLock.readLock(), () => this.run());
    }
    return (bits & VM_FAULT_ERROR) === 0 ? this.run() : this.stop(faultErrno(bits));
  }

  private stop(code: number): number {
    return this.done > 0 ? this.done : code;
  }

  /** check_vma_flags. */
  private isAllowed(vma: Vma): boolean {
    if ((vma.vmFlags & (VM_IO | VM_PFNMAP)) !== 0) return false;
    const needed = (this.flags & FOLL_WRITE) !== 0 ? VM_WRITE : VM_READ;
    return (vma.vmFlags & needed) !== 0;
  }

  /** Takes the page at `addr`: its pfn, NEEDS_*, EFAULT or ENOMEM (follow_page_pte). */
  private followPage(vma: Vma, addr: number): number {
    const { sys } = this.mm;
    const pte = sys.pageTables.words[sys.pageTables.leafOffset(this.mm.pgd, addr)]!;
    if (!ptePresent(pte)) return NEEDS_FAULT;
    if ((this.flags & FOLL_WRITE) !== 0 && (pte & PTE_WRITE) === 0) return NEEDS_FAULT;
    const pfn = leafPfn(pte, addr);
    const wantsSplit = (this.flags & FOLL_SPLIT_PMD) !== 0 && !isVmHugetlb(vma);
    if (wantsSplit && (pte & PTE_HUGE) !== 0) {
      splitHugePmdAddress(vma, addr);
      return this.followPage(vma, addr);
    }
    if ((pte & PTE_SPECIAL) !== 0 && !isZeroPage(sys, pfn)) return errno.EFAULT;
    if (gupMustUnshare(sys, vma, pte, this.flags)) return NEEDS_UNSHARE;
    const status = takePage(sys, pfn, this.flags);
    return isErr(status) ? status : pfn;
  }

  /** faultin_page: VM_FAULT_* bits. */
  private faultIn(vma: Vma, addr: number, unshare: boolean): MaybePromise<number> {
    const { flags } = this;
    if ((flags & FOLL_NOFAULT) !== 0) return VM_FAULT_SIGBUS;
    this.faultsOnPage++;
    assert(this.faultsOnPage <= MAX_FAULTS_PER_PAGE, 'I20: faults on a page make progress');
    let fault = (flags & FOLL_WRITE) !== 0 ? FAULT_FLAG_WRITE : 0;
    if ((flags & FOLL_REMOTE) !== 0) fault |= FAULT_FLAG_REMOTE;
    if ((flags & FOLL_UNLOCKABLE) !== 0) fault |= FAULT_FLAG_ALLOW_RETRY;
    if (unshare) fault |= FAULT_FLAG_UNSHARE;
    return handleMmFault(vma, addr, fault);
  }
}

/** vm_fault_to_errno. */
function faultErrno(bits: number): number {
  return (bits & VM_FAULT_OOM) !== 0 ? errno.ENOMEM : errno.EFAULT;
}
