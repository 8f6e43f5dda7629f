/**
 * Page faults (mm/memory.c): `handleMmFault` and the handlers behind it, one per kind of entry.
 * Each returns 0 when the access may be tried again, else VM_FAULT_* error bits. A fault handles
 * one page and never more than one step: a write to a shared device-private page takes one fault to
 * come home and another one to be copied.
 *
 * Locking: mmap lock held for read and kept, also across waits. What may wait: a migration entry,
 * the page lock of a shared page, a locked device page, `migrateToRam`. After a wait everything is
 * looked up again, or the access is simply retried. Only a fault that a userfaultfd takes over
 * drops the lock, and says so by VM_FAULT_RETRY: the caller must allow it (FAULT_FLAG_ALLOW_RETRY).
 *
 * PMD entries are the business of huge-memory.ts.
 *
 * Leaves out: NUMA hints, per-VMA locks, fault-around.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, bytesToPages, pageAlignDown } from '../base/units.ts';
import { clearHighpage, copyHighpage } from './highmem.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_HWPOISON,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
} from './fault-types.ts';
import type { VmFault } from './fault-types.ts';
import {
  handleUserfault,
  isUffdWpMarker,
  userfaultfdMissing,
  userfaultfdPteWp,
  userfaultfdWp,
  userfaultfdWpAsync,
} from './fs-userfaultfd.ts';
import { whileHeldBack } from './held-back.ts';
import { FAULT_FALLBACK, handleHugePmd, tryHugeFault } from './huge-memory.ts';
import { hugetlbFault, isVmHugetlb } from './hugetlb.ts';
import {
  VM_SHARED,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  linearPageIndex,
  vmaIsAnonymous,
  vmaMayWrite,
  vmaPageProt,
} from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { allocPage, putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_HWPOISON, PG_LRU, PG_SWAPCACHE, PG_UPTODATE } from './page.ts';
import {
  anonVmaPrepare,
  folioAddFileRmap,
  folioAddNewAnonRmap,
  folioMoveAnonRmap,
  folioRemoveRmap,
} from './rmap.ts';
import { removeDeviceExclusiveEntry } from './restore-exclusive.ts';
import { shmemFault } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';
import { SWAP_IN_OOM, swapIn } from './swap-fault.ts';
import { folioFreeSwap, freeSwapCache } from './swap-state.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isMigrationEntry,
  leafKind,
  mkPte,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { noteFirstTouch } from './readahead.ts';
import { flushTlbRange } from './tlb.ts';
import { isCowMapping } from './vma.ts';
import { TRACE_FAULT } from './trace.ts';
import type { TraceSink } from './trace.ts';
import { vmEventIndex } from './vmstat.ts';
import { uncountRss } from './zap.ts';

export * from './fault-types.ts';

const PGFAULT = vmEventIndex('pgfault');
const ZERO_PAGE_FAULT = vmEventIndex('zero_page_fault');
const USERFAULT = vmEventIndex('userfault');
const WP_FAULT = vmEventIndex('wp_fault');
const COW_COPY = vmEventIndex('cow_copy');
const MIGRATION_ENTRY_WAIT = vmEventIndex('migration_entry_wait');
const DEVICE_PRIVATE_FAULT = vmEventIndex('device_private_fault');

/** What a write fault adds to an entry (pte_mkwrite, pte_mkdirty, which implies soft-dirty). */
const WRITTEN = PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG;

const clearRange = new MmuNotifierRange();

/** After a wait: nothing was decided, the access is tried again. */
const retryAccess = (): number => 0;

/**
 * Handles a fault at `address` (handle_mm_fault).
 *
 * @param flags FAULT_FLAG_*; the caller has checked that the VMA allows a read.
 * @returns 0: try the access again; VM_FAULT_RETRY, only with FAULT_FLAG_ALLOW_RETRY: the same,
 * but the mmap lock was dropped; or VM_FAULT_* bits of VM_FAULT_ERROR. A write to a VMA without
 * VM_WRITE is VM_FAULT_SIGSEGV.
 * Context: mmap lock held for read, kept unless VM_FAULT_RETRY; waits as described in the file
 * header.
 */
export function handleMmFault(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const { trace } = vma.mm.sys;
  return trace === null ? handleFault(vma, address, flags) : traceFault(trace, vma, address, flags);
}

/** The same, for who watches: where the page was, and how long it took. */
function traceFault(
  trace: TraceSink,
  vma: Vma,
  address: number,
  flags: number,
): MaybePromise<number> {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const before = pageTables.words[pageTables.leafOffset(mm.pgd, address)]!;
  const since = trace.nowMs();
  const tell = (bits: number): number => {
    trace.emit(TRACE_FAULT, mm, address, address + 1, since, before, flags, bits);
    return bits;
  };
  const result = handleFault(vma, address, flags);
  return isPending(result) ? result.then(tell) : tell(result);
}

function handleFault(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const mm = vma.mm;
  const sys = mm.sys;
  assert(mm.mmapLock.isLocked, 'I16: a fault is handled under the mmap lock');
  assert(address >= vma.vmStart && address < vma.vmEnd, 'a fault lies inside its VMA');
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  if (write && !vmaMayWrite(vma)) return VM_FAULT_SIGSEGV;
  sys.vmstat.add(PGFAULT, 1);
  if (isVmHugetlb(vma)) return hugetlbFault(vma, address, flags);
  const addr = pageAlignDown(address);
  if (tryHugeFault(vma, addr, write) === 0) return 0;
  const at = sys.pageTables.pteAlloc(mm.pgd, addr);
  if (at === errno.EEXIST) return handleHugeFault(vma, address, flags);
  if (isErr(at)) return VM_FAULT_OOM;
  return handlePteFault(vma, address, at, flags);
}

/** A fault where a PMD entry is a leaf; after it was split, one of its PTEs. */
function handleHugeFault(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const { mm } = vma;
  const { pageTables } = mm.sys;
  const outcome = handleHugePmd(vma, address, pageTables.pmdOffset(mm.pgd, address), flags);
  if (outcome !== FAULT_FALLBACK) return outcome;
  return handlePteFault(vma, address, pageTables.pteOffset(mm.pgd, address), flags);
}

/** A fault where there is a page table; `at` is the word index of the entry (handle_pte_fault). */
function handlePteFault(
  vma: Vma,
  address: number,
  at: number,
  flags: number,
): MaybePromise<number> {
  const { sys } = vma.mm;
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  const pte = sys.pageTables.words[at]!;
  if (pte === 0) return doPteMissing(vma, address, at, flags);
  if (!ptePresent(pte)) return doSwapPage(vma, address, pte, flags);
  const unshare = (flags & FAULT_FLAG_UNSHARE) !== 0 && isCowMapping(vma);
  assert(!(write && unshare), 'a fault is for a write or for unsharing');
  if ((write || unshare) && (pte & PTE_WRITE) === 0) return doWpPage(vma, address, at, pte, flags);
  if ((pte & PTE_YOUNG) === 0) noteFirstTouch(sys, ptePfn(pte));
  // Somebody else made the entry good in the meantime; hardware would have set these bits.
  sys.pageTables.words[at] = (pte | PTE_YOUNG | (write ? PTE_DIRTY : 0)) >>> 0;
  return 0;
}

/** Nothing there, or the marker of a protected page that is not there (do_pte_missing). */
function doPteMissing(vma: Vma, address: number, at: number, flags: number): MaybePromise<number> {
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  const addr = pageAlignDown(address);
  if (vmaIsAnonymous(vma)) {
    // What the OOM reaper took was no hole: zeroes instead of it would be corruption.
    if (vma.mm.isUnstable) return VM_FAULT_SIGBUS;
    if (userfaultfdMissing(vma)) return userfault(vma, address, flags, VM_UFFD_MISSING);
    return doAnonymousPage(vma, addr, at, write);
  }
  const index = linearPageIndex(vma, addr);
  if (userfaultfdMissing(vma) && isHole(vma.inode, index)) {
    return userfault(vma, address, flags, VM_UFFD_MISSING);
  }
  return doFault(vma, addr, write);
}

/** True for a page that the object could have and has not: beyond its end there is none to make. */
function isHole(inode: ShmemInode | null, index: number): boolean {
  return inode !== null && index < bytesToPages(inode.size) && inode.cache.get(index) === 0;
}

/** Leaves the fault to the VMA's userfaultfd, if that is possible (handle_userfault). */
function userfault(vma: Vma, address: number, flags: number, reason: number): MaybePromise<number> {
  const isWrite = (flags & FAULT_FLAG_WRITE) !== 0;
  const mayRetry = (flags & FAULT_FLAG_ALLOW_RETRY) !== 0;
  const woken = handleUserfault(vma, address, isWrite, mayRetry, reason);
  if (woken === null) return VM_FAULT_SIGBUS;
  // An incomplete fault is counted when it is complete.
  vma.mm.sys.vmstat.add(PGFAULT, -1);
  vma.mm.sys.vmstat.add(USERFAULT, 1);
  return woken.then(() => VM_FAULT_RETRY);
}

/** First touch of private memory: the zero page for a read, a page of its own for a write. */
function doAnonymousPage(vma: Vma, addr: number, at: number, write: boolean): number {
  const sys = vma.mm.sys;
  if (!write) {
    sys.vmstat.add(ZERO_PAGE_FAULT, 1);
    const bits = vmaPageProt(vma) | PTE_SPECIAL | PTE_YOUNG | markedWp(sys, at);
    sys.pageTables.setPte(at, mkPte(sys.zeroPfn, bits));
    return 0;
  }
  const pfn = allocPage(sys);
  if (isErr(pfn)) return VM_FAULT_OOM;
  clearHighpage(sys, pfn);
  mapNewAnonPage(vma, addr, at, pfn, WRITTEN);
  return 0;
}

/** PTE_UFFD_WP when a marker holds the place of a protected page (vmf_orig_pte_uffd_wp). */
function markedWp(sys: System, at: number): number {
  return isUffdWpMarker(sys.pageTables.words[at]!) ? PTE_UFFD_WP : 0;
}

/**
 * Maps an exclusive page that this fault filled. Takes over its reference.
 *
 * @param bits PTE_* bits besides those of the VMA: WRITTEN, unless it is for a reader. A page that
 * userfaultfd protects does not get PTE_WRITE.
 */
function mapNewAnonPage(vma: Vma, addr: number, at: number, pfn: number, bits: number): void {
  const sys = vma.mm.sys;
  anonVmaPrepare(vma);
  folioAddNewAnonRmap(sys, pfn, vma, addr);
  sys.mem.setFlag(pfn, PG_UPTODATE | PG_LRU);
  vma.mm.anonRss++;
  const wp = markedWp(sys, at);
  const granted = wp === 0 ? bits : (bits & ~PTE_WRITE) | wp;
  sys.pageTables.setPte(at, mkPte(pfn, vmaPageProt(vma) | granted));
}

/** A fault on an entry that is neither empty nor present (do_swap_page). */
function doSwapPage(vma: Vma, address: number, pte: number, flags: number): MaybePromise<number> {
  const sys = vma.mm.sys;
  const pfn = ptePfn(pte);
  if (isMigrationEntry(pte)) {
    const folio = sys.mem.folioOf(pfn);
    assert(sys.mem.isLocked(folio), 'I14: the page behind a migration entry is locked');
    sys.vmstat.add(MIGRATION_ENTRY_WAIT, 1);
    return waitAndRetry(sys, folio);
  }
  if (isDevicePrivateEntry(pte)) return faultOnDevicePage(vma, address, pfn, flags);
  if (isUffdWpMarker(pte)) return faultOnWpMarker(vma, address, flags);
  const kind = leafKind(pte);
  if (kind === LEAF_SWAP) return faultOnSwapEntry(vma, address, flags);
  if (kind === LEAF_DEVICE_EXCLUSIVE) return removeDeviceExclusiveEntry(vma, address, pte);
  if (kind === LEAF_HWPOISON || kind === LEAF_MARKER_POISON) return VM_FAULT_HWPOISON;
  return kind === LEAF_MARKER_GUARD ? VM_FAULT_SIGSEGV : VM_FAULT_SIGBUS;
}

function faultOnSwapEntry(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const at = vma.mm.sys.pageTables.pteOffset(vma.mm.pgd, address);
  const outcome = swapIn(vma, address, at, (flags & FAULT_FLAG_WRITE) !== 0);
  return outcome === SWAP_IN_OOM ? VM_FAULT_OOM : outcome;
}

/** The page is missing; one that is left over from a registration goes away (handle_pte_marker). */
function faultOnWpMarker(vma: Vma, address: number, flags: number): MaybePromise<number> {
  const { sys, pgd } = vma.mm;
  const at = sys.pageTables.pteOffset(pgd, address);
  if (userfaultfdWp(vma)) return doPteMissing(vma, address, at, flags);
  sys.pageTables.setPte(at, 0);
  return 0;
}

function waitAndRetry(sys: System, pfn: number): MaybePromise<number> {
  const unlocked = sys.mem.waitOnPageLocked(pfn);
  return isPending(unlocked) ? unlocked.then(retryAccess) : 0;
}

/**
 * The CPU reached for memory that only the device can reach: its driver brings the page home. The
 * page is locked and referenced meanwhile, so that it is migrated once however many cores fault on
 * it.
 */
function faultOnDevicePage(
  vma: Vma,
  address: number,
  pfn: number,
  flags: number,
): MaybePromise<number> {
  const sys = vma.mm.sys;
  const { mem } = sys;
  const folio = mem.folioOf(pfn);
  const vmf: VmFault = { vma, address, flags, page: pfn, ptePresent: true };
  const held = whileHeldBack(vmf);
  if (held !== null) return held;
  if (!mem.trylockPage(folio)) return waitAndRetry(sys, folio);
  mem.getPage(folio);
  sys.vmstat.add(DEVICE_PRIVATE_FAULT, 1);
  const pgmap = sys.pagemaps[mem.pgmap[pfn]!];
  assert(pgmap !== null && pgmap !== undefined, 'I17: a mapped device page has its pagemap');
  assert(pgmap.ops.migrateToRam !== undefined, 'private memory has a way home');
  const result = pgmap.ops.migrateToRam(vmf);
  if (isPending(result)) {
    return result.then((outcome) => releaseFaultPage(sys, pfn, outcome));
  }
  return releaseFaultPage(sys, pfn, result);
}

function releaseFaultPage(sys: System, pfn: number, outcome: number): number {
  // Looked up now: a large folio may have been split, and its lock went to the page that faulted.
  const folio = sys.mem.folioOf(pfn);
  sys.mem.unlockPage(folio);
  putPage(sys, folio);
  return outcome;
}

/**
 * A write to a present entry without write permission in a VMA that has it, or a request to unshare
 * the page of one (do_wp_page).
 */
function doWpPage(
  vma: Vma,
  address: number,
  at: number,
  old: number,
  flags: number,
): MaybePromise<number> {
  const sys = vma.mm.sys;
  const addr = pageAlignDown(address);
  const unshare = (flags & FAULT_FLAG_WRITE) === 0;
  let pte = old;
  if (!unshare && userfaultfdPteWp(vma, pte)) {
    if (!userfaultfdWpAsync(vma)) return userfault(vma, address, flags, VM_UFFD_WP);
    pte = (pte & ~PTE_UFFD_WP) >>> 0;
    sys.pageTables.words[at] = pte;
  }
  sys.vmstat.add(WP_FAULT, 1);
  if ((vma.vmFlags & VM_SHARED) !== 0) return reusePte(sys, at, pte);
  if ((pte & PTE_SPECIAL) !== 0) return copyOnWrite(vma, addr, at, pte, unshare);
  const pfn = ptePfn(pte);
  if (!sys.mem.isAnon(pfn)) return copyOnWrite(vma, addr, at, pte, unshare);
  if (!sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE) && !claimSoleUse(sys, vma, pfn)) {
    return copyOnWrite(vma, addr, at, pte, unshare);
  }
  return unshare ? 0 : reusePte(sys, at, pte);
}

/** Makes a page exclusive that nobody else uses any more (wp_can_reuse_anon_folio). */
function claimSoleUse(sys: System, vma: Vma, pfn: number): boolean {
  const { mem } = sys;
  // A large folio that is mapped by PTEs is copied page by page instead.
  if (mem.isLarge(pfn)) return false;
  const caches = mem.testFlag(pfn, PG_SWAPCACHE) ? 1 : 0;
  if (mem.refcount[pfn] !== 1 + caches || !mem.trylockPage(pfn)) return false;
  // Whoever could still swap it in is a user, too.
  const isSole = caches === 0 || folioFreeSwap(sys, pfn);
  if (isSole) folioMoveAnonRmap(sys, pfn, vma);
  mem.unlockPage(pfn);
  return isSole;
}

function reusePte(sys: System, at: number, pte: number): number {
  sys.pageTables.words[at] = (pte | WRITTEN) >>> 0;
  return 0;
}

/**
 * Gives the process a copy of its own of a shared page or of the zero page (wp_page_copy): writable
 * and dirty for a write; where it is only unshared, with no more rights than before.
 */
function copyOnWrite(vma: Vma, addr: number, at: number, pte: number, unshare: boolean): number {
  const mm = vma.mm;
  const sys = mm.sys;
  const copy = allocPage(sys);
  if (isErr(copy)) return VM_FAULT_OOM;
  const old = ptePfn(pte);
  // The zero page, or a bare frame that a driver has mapped.
  const isSpecial = (pte & PTE_SPECIAL) !== 0;
  if (old === sys.zeroPfn) clearHighpage(sys, copy);
  else copyHighpage(sys, copy, old);
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, mm, addr, addr + PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(clearRange);
  sys.pageTables.setPte(at, 0);
  flushTlbRange(mm, addr, addr + PAGE_SIZE, 1);
  const bits = unshare ? PTE_YOUNG | (pte & (PTE_SOFT_DIRTY | PTE_UFFD_WP)) : WRITTEN;
  mapNewAnonPage(vma, addr, at, copy, bits);
  if (!isSpecial) {
    uncountRss(mm, old);
    folioRemoveRmap(sys, old);
    freeSwapCache(sys, old);
    putPage(sys, sys.mem.folioOf(old));
  }
  mmuNotifierInvalidateRangeEnd(clearRange);
  sys.vmstat.add(COW_COPY, 1);
  return 0;
}

/** First touch of a page of an object (do_fault); a driver's mapping has nothing to offer. */
function doFault(vma: Vma, addr: number, write: boolean): MaybePromise<number> {
  if (vma.inode === null) return VM_FAULT_SIGBUS;
  const page = shmemFault(vma.inode, linearPageIndex(vma, addr));
  if (isPending(page)) return page.then((pfn) => finishFault(vma, addr, write, pfn));
  return finishFault(vma, addr, write, page);
}

/** Maps the locked, referenced page that shmemFault found, or a private copy (finish_fault). */
function finishFault(vma: Vma, addr: number, write: boolean, pfn: number): number {
  if (isErr(pfn)) return pfn === errno.ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
  const mm = vma.mm;
  const sys = mm.sys;
  const at = sys.pageTables.pteAlloc(mm.pgd, addr);
  let outcome = 0;
  let keepsReference = false;
  if (isErr(at)) {
    outcome = VM_FAULT_OOM;
  } else if (sys.mem.testFlag(pfn, PG_HWPOISON)) {
    outcome = VM_FAULT_HWPOISON;
  } else if (mm.isUnstable && (vma.vmFlags & VM_SHARED) === 0) {
    // A private mapping may have had a copy, which the OOM reaper took.
    outcome = VM_FAULT_SIGBUS;
  } else if (sys.pageTables.words[at] === 0 || isUffdWpMarker(sys.pageTables.words[at]!)) {
    if (write && (vma.vmFlags & VM_SHARED) === 0) {
      outcome = mapPrivateCopy(vma, addr, at, pfn);
    } else {
      mapPageCachePage(vma, at, pfn, write);
      keepsReference = true;
    }
  }
  sys.mem.unlockPage(pfn);
  if (!keepsReference) putPage(sys, pfn);
  return outcome;
}

function mapPageCachePage(vma: Vma, at: number, pfn: number, write: boolean): void {
  const sys = vma.mm.sys;
  const wp = markedWp(sys, at);
  const written = wp === 0 ? WRITTEN : WRITTEN & ~PTE_WRITE;
  folioAddFileRmap(sys, pfn);
  vma.mm.shmemRss++;
  const access = (write ? written : PTE_YOUNG) | wp;
  sys.pageTables.setPte(at, mkPte(pfn, vmaPageProt(vma) | access));
}

/** A write to a private mapping of an object starts with a copy of its page (do_cow_fault). */
function mapPrivateCopy(vma: Vma, addr: number, at: number, source: number): number {
  const sys = vma.mm.sys;
  const copy = allocPage(sys);
  if (isErr(copy)) return VM_FAULT_OOM;
  copyHighpage(sys, copy, source);
  sys.vmstat.add(COW_COPY, 1);
  mapNewAnonPage(vma, addr, at, copy, WRITTEN);
  return 0;
}
