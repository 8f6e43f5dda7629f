/**
 * Reading CPU page tables on behalf of a device (mm/hmm.c): `hmmRangeFault` reports for each page
 * of a range which frame the CPU sees and with which permission, after faulting in what the caller
 * asked for.
 *
 * An HMM pfn is a Uint32, with the kernel's flags moved down from 64 bits:
 *
 *   bit  31     30     29     28          27      26           25  24..23  22..0
 *        VALID  WRITE  ERROR  DMA_MAPPED  P2PDMA  P2PDMA_BUS   -   order   pfn
 *
 * As input, bits 31 and 30 are REQ_FAULT and REQ_WRITE. The order code is 0 for a base
 * page, 1 for one that a PMD entry maps.
 * The result is true only until the next invalidation: check the notifier's sequence before using
 * it. A page that the asking device owns is reported as it is and never faulted, even where
 * REQ_WRITE is not met: the caller has to look at WRITE.
 *
 * Locking: mmap lock held throughout, also across the waits of faults. After every fault the walk
 * begins again at the first page whose output was not written. hmm-unlocked.ts has the form for
 * callers that don't hold it.
 *
 * Leaves out: PUD mappings.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import {
  HPAGE_PMD_ORDER,
  PAGE_SIZE,
  PFN_BITS,
  PFN_LIMIT,
  PMD_SIZE,
  isAddress,
  isPageAligned,
} from '../base/units.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  handleMmFault,
} from './memory.ts';
import { pagePgmap } from './memremap.ts';
import { isVmHugetlb } from './hugetlb.ts';
import { VM_IO, VM_PFNMAP, VM_READ, VM_WRITE } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { mmuIntervalCheckRetry } from './mmu-notifier.ts';
import type { MmuIntervalNotifier } from './mmu-notifier.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  PTE_PROTNONE,
  PTE_SPECIAL,
  isDevicePrivateEntry,
  isMigrationEntry,
  isPmdLeaf,
  isWritableLeaf,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { findVma } from './vma-lookup.ts';
import { vmEventIndex } from './vmstat.ts';

/** Output: the pfn can be used, at least for reading. */
export const HMM_PFN_VALID = 0x80000000;
/** Output: it can be written too. */
export const HMM_PFN_WRITE = 0x40000000;
/** Output: no fault will ever make this address accessible. Never together with VALID. */
export const HMM_PFN_ERROR = 0x20000000;
/** The caller's own state; these three survive from input to output. */
export const HMM_PFN_DMA_MAPPED = 0x10000000;
export const HMM_PFN_P2PDMA = 0x08000000;
export const HMM_PFN_P2PDMA_BUS = 0x04000000;
/** Input: the page must become readable. */
export const HMM_PFN_REQ_FAULT = HMM_PFN_VALID;
/** Input: it must become writable; together with REQ_FAULT. */
export const HMM_PFN_REQ_WRITE = HMM_PFN_WRITE;

/** Order code of a page that a PMD entry maps (hmm_pfn_flags_order); no code is a single page. */
const HMM_PFN_ORDER_PMD = 1 << PFN_BITS;

const HMM_PFN_INOUT_FLAGS = HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS;
const PFN_MASK = PFN_LIMIT - 1;

/** What a page still needs. */
const NEED_FAULT = 1;
const NEED_WRITE_FAULT = 2;

/** Outcomes of a walk besides 0 and errnos: fault [from, to) in, or wait for a migration entry. */
const WALK_FAULT = 1;
const WALK_WAIT = 2;

/** Restarts at one address that may follow each other before it counts as a livelock. */
const MAX_RESTARTS_PER_PAGE = 100_000;

const HMM_FAULT = vmEventIndex('hmm_fault');
const HMM_RESTART = vmEventIndex('hmm_restart');

/** One look at a range (struct hmm_range). */
export interface HmmRange {
  /** A subscription that covers the range. */
  readonly notifier: MmuIntervalNotifier;
  /** What mmuIntervalReadBegin returned. */
  notifierSeq: number;
  /** Page aligned bytes. */
  readonly start: number;
  readonly end: number;
  /** One HMM pfn a page: requests in, results out. */
  readonly hmmPfns: Uint32Array;
  /** Requests for every page. */
  readonly defaultFlags: number;
  /** Which request bits of the single entries count. */
  readonly pfnFlagsMask: number;
  /** Owner whose device-private pages are reported without a fault. */
  readonly devPrivateOwner: unknown;
}

/** The frame of a valid HMM pfn (hmm_pfn_to_page). */
export function hmmPfnToPage(entry: number): number {
  return entry & PFN_MASK;
}

/** Order of the mapping behind a valid HMM pfn (hmm_pfn_to_map_order). */
export function hmmPfnToMapOrder(entry: number): number {
  return (entry & HMM_PFN_ORDER_PMD) === 0 ? 0 : HPAGE_PMD_ORDER;
}

/**
 * Reports, and where asked for faults in, every page of a range (hmm_range_fault).
 *
 * @returns 0; EBUSY when `notifierSeq` is out of date: call mmuIntervalReadBegin again; EFAULT when
 * a page that was asked for can't be had; EPERM when it can't be written; ENOMEM when its fault
 * found no memory; EINVAL for an empty or unaligned range or too short an array. On an error the
 * entries before the page in question are outputs, the others still inputs. Context: mmap lock held
 * and kept; waits for faults and migrations.
 */
export function hmmRangeFault(range: HmmRange): MaybePromise<number> {
  return new HmmWalk(range).run();
}

/** The mmap lock of a call that may give it up. */
export interface DroppableLock {
  /** False once a fault dropped it; the caller must not unlock then. */
  isHeld: boolean;
}

/**
 * hmmRangeFault with faults that may drop the mmap lock (hmm_range_fault_unlockable).
 *
 * @param lock Says afterwards whether the lock is still held. @returns as hmmRangeFault; EBUSY
 * whenever the lock was dropped. Context: as hmmRangeFault, and waits for userfaultfd monitors.
 */
export function hmmRangeFaultUnlockable(
  range: HmmRange,
  lock: DroppableLock,
): MaybePromise<number> {
  return new HmmWalk(range, lock).run();
}

/** One call in progress (struct hmm_vma_walk). */
class HmmWalk {
  private readonly range: HmmRange;
  private readonly mm: MmStruct;
  /** Null when the mmap lock must be kept. */
  private readonly lock: DroppableLock | null;
  /** Everything below has its output. */
  private last: number;
  private restarts = 0;
  /** What the walk stopped for. */
  private faultVma: Vma | null = null;
  private faultEnd = 0;
  private faultFlags = 0;
  private waitPfn = 0;

  constructor(range: HmmRange, lock: DroppableLock | null = null) {
    const { mm } = range.notifier;
    assert(mm !== null, 'I23: a subscription that is read was inserted');
    this.range = range;
    this.mm = mm;
    this.lock = lock;
    this.last = range.start;
  }

  run(): MaybePromise<number> {
    for (;;) {
      assert(this.mm.mmapLock.isLocked, 'I26: the mmap lock is held');
      if (mmuIntervalCheckRetry(this.range.notifier, this.range.notifierSeq)) return errno.EBUSY;
      if (!this.isValidRange()) return errno.EINVAL;
      const stop = this.walk();
      if (stop <= 0) return stop;
      this.countRestart();
      const ready = stop === WALK_FAULT ? this.faultIn(this.last) : this.waitForMigration();
      if (isPending(ready)) return ready.then((settled) => this.resume(settled));
      if (ready !== 0) return ready;
    }
  }

  private resume(status: number): MaybePromise<number> {
    return status === 0 ? this.run() : status;
  }

  private isValidRange(): boolean {
    const { start, end, hmmPfns } = this.range;
    if (!isAddress(start) || !isAddress(end) || start >= end) return false;
    if (!isPageAligned(start) || !isPageAligned(end)) return false;
    return hmmPfns.length >= (end - start) / PAGE_SIZE;
  }

  private countRestart(): void {
    this.restarts++;
    assert(this.restarts <= MAX_RESTARTS_PER_PAGE, 'I20: faults on a page make progress');
    this.mm.sys.vmstat.add(HMM_RESTART, 1);
  }

  /** From `last` to the end, VMA by VMA (walk_page_range). 0, an errno or WALK_*. */
  private walk(): number {
    const { end } = this.range;
    while (this.last < end) {
      const vma = findVma(this.mm, this.last);
      const inVma = vma !== null && vma.vmStart <= this.last;
      const gapEnd = vma === null ? end : Math.min(end, vma.vmStart);
      const stop = inVma
        ? this.walkVma(vma, Math.min(end, vma.vmEnd))
        : this.fillUnreachable(gapEnd);
      if (stop !== 0) return stop;
    }
    return 0;
  }

  /** [last, end) can't be had, now or later: ERROR, or EFAULT when a page of it was asked for. */
  private fillUnreachable(end: number): number {
    if (this.neededInRange(end) !== 0) return errno.EFAULT;
    this.fill(end, HMM_PFN_ERROR);
    return 0;
  }

  private walkVma(vma: Vma, end: number): number {
    // No VM_READ is taken for no access at all, as on every architecture that HMM knows.
    if ((vma.vmFlags & (VM_IO | VM_PFNMAP)) !== 0 || (vma.vmFlags & VM_READ) === 0) {
      return this.fillUnreachable(end);
    }
    while (this.last < end) {
      const chunkEnd = Math.min(end, this.last - (this.last % PMD_SIZE) + PMD_SIZE);
      const stop = this.walkChunk(vma, chunkEnd);
      if (stop !== 0) return stop;
    }
    return 0;
  }

  /** [last, end) lies in one PMD range. */
  private walkChunk(vma: Vma, end: number): number {
    const { pageTables } = this.mm.sys;
    const pmdAt = pageTables.pmdOffset(this.mm.pgd, this.last);
    const pmd = pageTables.words[pmdAt]!;
    if (isPmdLeaf(pmd) || (pmdAt !== 0 && isVmHugetlb(vma))) return this.walkLeaf(vma, pmd, end);
    const first = pageTables.pteOffset(this.mm.pgd, this.last);
    return first === 0 ? this.walkHole(vma, end) : this.walkTable(vma, first, end);
  }

  /**
   * [last, end) is mapped by one PMD entry (hmm_vma_handle_pmd, hmm_vma_handle_absent_pmd,
   * hmm_vma_walk_hugetlb_entry). In a mapping of huge pages it may be empty, and what the first
   * page needs counts for all.
   */
  private walkLeaf(vma: Vma, pmd: number, end: number): number {
    let flags = 0;
    const isOwn = isDevicePrivateEntry(pmd) && this.ownsPage(ptePfn(pmd));
    if (isOwn) flags = isWritableLeaf(pmd) ? HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID;
    else if (ptePresent(pmd)) flags = this.presentFlags(pmd);
    // A page that the asking device owns is never faulted.
    const asked = isVmHugetlb(vma)
      ? this.needed(this.slot(), flags)
      : this.neededInRange(end, flags);
    const needed = isOwn ? 0 : asked;
    if (needed !== 0 && isMigrationEntry(pmd)) {
      this.waitPfn = ptePfn(pmd);
      return WALK_WAIT;
    }
    if (needed !== 0) return this.stopForFault(vma, end, needed);
    if (flags === 0) this.fill(end, isDevicePrivateEntry(pmd) ? HMM_PFN_ERROR : 0);
    const head = ptePfn(pmd);
    while (this.last < end) {
      const offset = (this.last % PMD_SIZE) / PAGE_SIZE;
      this.output((head + offset) | flags | HMM_PFN_ORDER_PMD);
    }
    return 0;
  }

  /** What the CPU may do through a present entry. */
  private presentFlags(entry: number): number {
    if ((entry & PTE_PROTNONE) !== 0) return 0;
    return pteWrite(entry) ? HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID;
  }

  /** [last, end) has no page table (hmm_vma_walk_hole). */
  private walkHole(vma: Vma, end: number): number {
    const needed = this.neededInRange(end);
    if (needed !== 0) return this.stopForFault(vma, end, needed);
    this.fill(end, 0);
    return 0;
  }

  /** The entries of [last, end), in one page table (hmm_vma_walk_pmd). */
  private walkTable(vma: Vma, first: number, end: number): number {
    const { words } = this.mm.sys.pageTables;
    const count = (end - this.last) / PAGE_SIZE;
    for (let i = 0; i < count; i++) {
      const stop = this.handlePte(vma, words[first + i]!, end);
      if (stop !== 0) return stop;
    }
    return 0;
  }

  /** hmm_vma_handle_pte for the entry at `last`. */
  private handlePte(vma: Vma, pte: number, end: number): number {
    if (!ptePresent(pte)) return this.handleNonpresent(vma, pte, end);
    const flags = this.presentFlags(pte);
    const needed = this.needed(this.slot(), flags);
    if (needed !== 0) return this.stopForFault(vma, end, needed);
    const pfn = ptePfn(pte);
    if ((pte & PTE_SPECIAL) !== 0 && pfn !== this.mm.sys.zeroPfn) {
      return this.fillUnreachable(this.last + PAGE_SIZE);
    }
    this.output(flags === 0 ? 0 : pfn | flags);
    return 0;
  }

  private handleNonpresent(vma: Vma, pte: number, end: number): number {
    const kind = leafKind(pte);
    const pfn = ptePfn(pte);
    if (isDevicePrivateEntry(pte) && this.ownsPage(pfn)) {
      this.output(pfn | HMM_PFN_VALID | (isWritableLeaf(pte) ? HMM_PFN_WRITE : 0));
      return 0;
    }
    const needed = this.needed(this.slot(), 0);
    if (needed === 0) {
      this.output(0);
      return 0;
    }
    if (isMigrationEntry(pte)) {
      // The lock of a large folio is that of its head.
      this.waitPfn = this.mm.sys.mem.folioOf(pfn);
      return WALK_WAIT;
    }
    const canFault =
      pte === 0 ||
      isDevicePrivateEntry(pte) ||
      kind === LEAF_SWAP ||
      kind === LEAF_DEVICE_EXCLUSIVE ||
      kind === LEAF_MARKER_UFFD_WP;
    return canFault ? this.stopForFault(vma, end, needed) : errno.EFAULT;
  }

  private ownsPage(pfn: number): boolean {
    return pagePgmap(this.mm.sys, pfn).owner === this.range.devPrivateOwner;
  }

  /** Every page up to `end` will be faulted, with what the page at `last` needs (hmm_vma_fault). */
  private stopForFault(vma: Vma, end: number, needed: number): number {
    const isWrite = (needed & NEED_WRITE_FAULT) !== 0;
    if (isWrite && (vma.vmFlags & VM_WRITE) === 0) return errno.EPERM;
    this.faultVma = vma;
    this.faultEnd = end;
    this.faultFlags = FAULT_FLAG_REMOTE | (isWrite ? FAULT_FLAG_WRITE : 0);
    if (this.lock !== null) this.faultFlags |= FAULT_FLAG_ALLOW_RETRY;
    return WALK_FAULT;
  }

  /** Faults [from, faultEnd) in. 0 or an errno. */
  private faultIn(from: number): MaybePromise<number> {
    const vma = this.faultVma;
    assert(vma !== null, 'a walk that stopped for a fault says in which VMA');
    for (let addr = from; addr < this.faultEnd; addr += PAGE_SIZE) {
      this.mm.sys.vmstat.add(HMM_FAULT, 1);
      const result = handleMmFault(vma, addr, this.faultFlags);
      if (isPending(result)) {
        return result.then((bits) => {
          const status = this.settleFault(bits);
          return status === 0 ? this.faultIn(addr + PAGE_SIZE) : status;
        });
      }
      const status = this.settleFault(result);
      if (status !== 0) return status;
    }
    return 0;
  }

  /** What the outcome of a fault means for the walk: 0 or an errno. */
  private settleFault(bits: number): number {
    if ((bits & VM_FAULT_RETRY) !== 0) {
      assert(this.lock !== null, 'a fault drops the mmap lock only where it may');
      this.lock.isHeld = false;
      return errno.EBUSY;
    }
    if ((bits & VM_FAULT_ERROR) === 0) return 0;
    return (bits & VM_FAULT_OOM) !== 0 ? errno.ENOMEM : errno.EFAULT;
  }

  private waitForMigration(): MaybePromise<number> {
    const { mem } = this.mm.sys;
    assert(mem.isLocked(this.waitPfn), 'I14: the page behind a migration entry is locked');
    const unlocked = mem.waitOnPageLocked(this.waitPfn);
    return isPending(unlocked) ? unlocked.then(() => 0) : 0;
  }

  /**
   * What the pages of [last, end) need together beyond what the CPU has, nothing by default
   * (hmm_range_need_fault).
   */
  private neededInRange(end: number, cpuFlags = 0): number {
    const { defaultFlags, pfnFlagsMask } = this.range;
    if (((defaultFlags | pfnFlagsMask) & HMM_PFN_REQ_FAULT) === 0) return 0;
    const to = (end - this.range.start) / PAGE_SIZE;
    let needed = 0;
    for (let slot = this.slot(); slot < to; slot++) needed |= this.needed(slot, cpuFlags);
    return needed;
  }

  /** What one page needs beyond what the CPU has (hmm_pte_need_fault). */
  private needed(slot: number, cpuFlags: number): number {
    const { hmmPfns, pfnFlagsMask, defaultFlags } = this.range;
    const request = (hmmPfns[slot]! & pfnFlagsMask) | defaultFlags;
    if ((request & HMM_PFN_REQ_FAULT) === 0) return 0;
    if ((request & HMM_PFN_REQ_WRITE) !== 0 && (cpuFlags & HMM_PFN_WRITE) === 0) {
      return NEED_FAULT | NEED_WRITE_FAULT;
    }
    return (cpuFlags & HMM_PFN_VALID) === 0 ? NEED_FAULT : 0;
  }

  /** Entry of the page at `last`. */
  private slot(): number {
    return (this.last - this.range.start) / PAGE_SIZE;
  }

  private output(entry: number): void {
    const { hmmPfns } = this.range;
    const slot = this.slot();
    hmmPfns[slot] = (hmmPfns[slot]! & HMM_PFN_INOUT_FLAGS) | entry;
    this.last += PAGE_SIZE;
    this.restarts = 0;
  }

  private fill(end: number, entry: number): void {
    while (this.last < end) this.output(entry);
  }
}
