/**
 * What a userfaultfd monitor does to the address space that it serves (mm/userfaultfd.c): filling
 * missing pages with contents, zeroes or poison, and write-protecting ranges.
 *
 * Filling goes page by page. A page is allocated and filled with no lock held, since reading the
 * monitor's buffer may fault; it is installed under the mmap lock, after everything was checked
 * again.
 *
 * Locking: all calls take the mmap lock for read and may wait for it. Write-protection sends
 * MMU_NOTIFY_PROTECTION_VMA; filling sends nothing, since nothing was there.
 *
 * Leaves out: UFFDIO_CONTINUE, UFFDIO_MOVE, hugetlb.
 */
import { errno, isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, PMD_SIZE, bytesToPages } from '../base/units.ts';
import { isUffdWpMarker, userfaultfdWp, userfaultfdWpUseMarkers } from './fs-userfaultfd.ts';
import { clearHighpage } from './highmem.ts';
import { VM_SHARED, linearPageIndex, vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE, changeProtection } from './mprotect.ts';
import { allocPage, putPage } from './page-alloc.ts';
import { PG_LRU, PG_UPTODATE } from './page.ts';
import { anonVmaPrepare, folioAddFileRmap, folioAddNewAnonRmap } from './rmap.ts';
import { shmemInsertPage } from './shmem.ts';
import {
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  mkLeaf,
  mkPte,
} from './swapops.ts';
import { copyFromUser } from './uaccess.ts';
import { findVma, vmaLookup } from './vma-lookup.ts';

/** What a missing page is filled with. */
export const MFILL_COPY = 0;
export const MFILL_ZEROPAGE = 1;
export const MFILL_POISON = 2;

/** One fill (UFFDIO_COPY, UFFDIO_ZEROPAGE, UFFDIO_POISON); addresses and length page aligned. */
export interface Mfill {
  readonly mm: MmStruct;
  /** MFILL_*. */
  readonly kind: number;
  readonly dst: number;
  /** First byte to copy, for MFILL_COPY. */
  readonly src: number;
  /** Bytes. */
  readonly length: number;
  /** The pages start out write-protected (UFFDIO_COPY_MODE_WP). */
  readonly isWp: boolean;
}

/**
 * Fills missing pages of one registered VMA (mfill_atomic). May wait.
 *
 * @returns bytes filled, which may be less than asked for; or, when nothing was: ESRCH for an
 * address space that is gone, ENOENT when the range is not inside one registered VMA, EINVAL to
 * protect where that is not registered, EEXIST when something is there, EFAULT when the source
 * can't be read or the object ends before, ENOMEM.
 */
export async function mfillAtomic(fill: Mfill): Promise<number> {
  let done = 0;
  let status = 0;
  while (done < fill.length) {
    const needsPage = fill.kind === MFILL_COPY || (await fillsObject(fill, done));
    status = needsPage ? await fillPage(fill, done) : await underLock(fill, done, installMarker);
    if (isErr(status)) break;
    done += PAGE_SIZE;
  }
  return done > 0 ? done : status;
}

/** What installs one page; under the mmap lock. 0 or an errno. */
type Install = (vma: Vma, addr: number, fill: Mfill, pfn: number) => number;

/** Runs `install` for the page at dst + done once the VMA has been found good. */
async function underLock(fill: Mfill, done: number, install: Install, pfn = 0): Promise<number> {
  const { mm } = fill;
  const locked = mm.mmapLock.readLock();
  if (isPending(locked)) await locked;
  try {
    const vma = destinationVma(fill, done);
    return typeof vma === 'number' ? vma : install(vma, fill.dst + done, fill, pfn);
  } finally {
    mm.mmapLock.readUnlock();
  }
}

/** The VMA that has all that is left to fill (uffd_mfill_lock, validate_dst_vma), or an errno. */
function destinationVma(fill: Mfill, done: number): Vma | number {
  const { mm, dst, length } = fill;
  if (mm.users === 0) return errno.ESRCH;
  const vma = vmaLookup(mm, dst + done);
  if (vma === null || vma.uffdCtx === null || vma.vmEnd < dst + length) return errno.ENOENT;
  return fill.isWp && !userfaultfdWp(vma) ? errno.EINVAL : vma;
}

/** True when a zero page of a shared object is wanted: that takes a real page. */
async function fillsObject(fill: Mfill, done: number): Promise<boolean> {
  if (fill.kind !== MFILL_ZEROPAGE) return false;
  return (await underLock(fill, done, (vma) => (isSharedObject(vma) ? 1 : 0))) === 1;
}

function isSharedObject(vma: Vma): boolean {
  return (vma.vmFlags & VM_SHARED) !== 0 && vma.inode !== null;
}

/** Allocates, fills and installs a page. 0 or an errno. */
async function fillPage(fill: Mfill, done: number): Promise<number> {
  const { sys } = fill.mm;
  const checked = await underLock(fill, done, () => 0);
  if (isErr(checked)) return checked;
  const pfn = allocPage(sys);
  if (isErr(pfn)) return pfn;
  let status = 0;
  if (fill.kind === MFILL_ZEROPAGE) {
    clearHighpage(sys, pfn);
  } else {
    const page = sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
    const left = await copyFromUser(fill.mm, fill.src + done, page);
    if (left !== 0) status = errno.EFAULT;
  }
  if (status === 0) status = await underLock(fill, done, installPage, pfn);
  // A page that is mapped keeps the reference of the allocation; an object has one of its own.
  if (isErr(status)) putPage(sys, pfn);
  return status;
}

/** Maps a filled page (mfill_atomic_install_pte). Takes over its reference unless it fails. */
function installPage(vma: Vma, addr: number, fill: Mfill, pfn: number): number {
  const { mm } = vma;
  const { sys } = mm;
  const at = sys.pageTables.pteAlloc(mm.pgd, addr);
  if (isErr(at)) return at;
  const index = linearPageIndex(vma, addr);
  const { inode } = vma;
  const isShared = isSharedObject(vma) && inode !== null;
  if (inode !== null && index >= bytesToPages(inode.size)) return errno.EFAULT;
  // Markers may be overwritten: they are what a page that is not there left behind.
  const old = sys.pageTables.words[at]!;
  const isFree = old === 0 || isUffdWpMarker(old) || leafKind(old) === LEAF_MARKER_POISON;
  if (!isFree) return errno.EEXIST;
  if (isShared) {
    const added = shmemInsertPage(inode, index, pfn);
    if (isErr(added)) return added;
    folioAddFileRmap(sys, pfn);
    mm.shmemRss++;
  } else {
    anonVmaPrepare(vma);
    folioAddNewAnonRmap(sys, pfn, vma, addr);
    sys.mem.setFlag(pfn, PG_UPTODATE | PG_LRU);
    mm.anonRss++;
  }
  const rights = vmaMayWrite(vma) && !fill.isWp ? PTE_WRITE : 0;
  const wp = fill.isWp ? PTE_UFFD_WP : 0;
  const bits = PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG | rights | wp;
  const prot = vmaPageProt(vma) & (fill.isWp ? ~PTE_WRITE : ~0);
  sys.pageTables.setPte(at, mkPte(pfn, prot | bits));
  return 0;
}

/** Installs the zero page or a poison marker where nothing at all is (mfill_atomic_pte_*). */
function installMarker(vma: Vma, addr: number, fill: Mfill): number {
  const { mm } = vma;
  const { sys } = mm;
  const at = sys.pageTables.pteAlloc(mm.pgd, addr);
  if (isErr(at)) return at;
  if (vma.inode !== null && linearPageIndex(vma, addr) >= bytesToPages(vma.inode.size)) {
    return errno.EFAULT;
  }
  if (sys.pageTables.words[at] !== 0) return errno.EEXIST;
  const zero = mkPte(sys.zeroPfn, (vmaPageProt(vma) & ~PTE_WRITE) | PTE_SPECIAL | PTE_YOUNG);
  sys.pageTables.setPte(at, fill.kind === MFILL_POISON ? mkLeaf(LEAF_MARKER_POISON, 0, 0) : zero);
  return 0;
}

/**
 * Write-protects [start, start + length) for userfaultfd, or takes that back
 * (mwriteprotect_range).
 *
 * @returns 0; ENOENT when nothing is mapped there or a VMA is not registered for it (what lies
 * before has changed); ENOMEM; ESRCH for an address space that is gone. Context: takes the mmap
 * lock for read, may wait for it.
 */
export function mwriteprotectRange(
  mm: MmStruct,
  start: number,
  length: number,
  isProtect: boolean,
): MaybePromise<number> {
  const run = (): number => {
    const status = mm.users === 0 ? errno.ESRCH : protectLocked(mm, start, length, isProtect);
    mm.mmapLock.readUnlock();
    return status;
  };
  const locked = mm.mmapLock.readLock();
  return isPending(locked) ? locked.then(run) : run();
}

function protectLocked(mm: MmStruct, start: number, length: number, isProtect: boolean): number {
  const end = start + length;
  let status: number = errno.ENOENT;
  let vma = findVma(mm, start);
  while (vma !== null && vma.vmStart < end) {
    if (!userfaultfdWp(vma)) return errno.ENOENT;
    const from = Math.max(start, vma.vmStart);
    status = uffdWpRange(vma, from, Math.min(end, vma.vmEnd), isProtect);
    if (isErr(status)) return status;
    vma = findVma(mm, vma.vmEnd);
  }
  return status;
}

/**
 * Write-protects a piece of one VMA for userfaultfd, or takes that back (uffd_wp_range).
 *
 * @returns 0, or ENOMEM when there was no page table for a marker. Context: mmap lock held.
 */
export function uffdWpRange(vma: Vma, start: number, end: number, isProtect: boolean): number {
  changeProtection(vma, start, end, isProtect ? MM_CP_UFFD_WP : MM_CP_UFFD_WP_RESOLVE);
  if (!isProtect || !userfaultfdWpUseMarkers(vma)) return 0;
  const { mm } = vma;
  const { pageTables } = mm.sys;
  for (let addr = start; addr < end; addr += PAGE_SIZE) {
    const at = pageTables.pteAlloc(mm.pgd, addr);
    // A large folio is all there, and was protected as one.
    if (at === errno.EEXIST) {
      addr += PMD_SIZE - PAGE_SIZE - (addr % PMD_SIZE);
      continue;
    }
    if (isErr(at)) return at;
    if (pageTables.words[at] === 0) pageTables.setPte(at, mkLeaf(LEAF_MARKER_UFFD_WP, 0, 0));
  }
  return 0;
}
