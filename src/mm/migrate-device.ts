/**
 * Migration to and from device memory (mm/migrate_device.c): setup, then the driver allocates and
 * copies, then pages, then the driver updates its own page table, then finalize. No callbacks: the
 * driver calls each step and may wait in between.
 *
 * `migrateVma*` works on a range of one VMA; the caller holds the mmap lock (read is enough) from
 * setup to finalize. `migrateDevice*` works on pages by pfn, takes no lock, and so really races
 * with the address spaces that map them; it knows no holes.
 *
 * From setup to finalize each page that migrates is locked and unmapped everywhere; CPU faults wait
 * for its lock. Destinations are handed over locked with one reference. Nothing here waits.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import { commitPages } from './migrate-device-commit.ts';
import { finalizePages } from './migrate-device-finalize.ts';
import { migrateDeviceUnmap } from './migrate-device-unmap.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  NO_FAULT_PAGE,
  migratePfn,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { migrateVmaCollect } from './migrate-vma-collect.ts';
import { migrateVmaInsertPages } from './migrate-vma-insert.ts';
import { VM_HUGETLB, VM_SPECIAL } from './mm-types.ts';
import type { MmStruct, System, Vma } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { TRACE_MIGRATE_BEGIN } from './trace.ts';
import { SKIP_FREE_PAGE, SKIP_LOCKED, SKIP_NONE } from './skip-reason.ts';

/**
 * Collects and unmaps what may migrate of [start, end) (migrate_vma_setup). The driver then fills
 * dst[] for entries of src[] that have MIGRATE, in any number, and goes on with migrateVmaPages; or
 * it leaves dst[] empty and calls migrateVmaFinalize, which takes everything back.
 *
 * @returns 0, also when nothing may migrate (`cpages` says how many); EINVAL, with nothing changed,
 * for a VMA that is hugetlb or special, a range that is empty or not inside the VMA, arrays shorter
 * than the range, or a fault page that is not a locked device-private one. Context: mmap lock held
 * until finalize; never waits.
 */
export function migrateVmaSetup(args: MigrateVma): number {
  if (!isValidRequest(args)) return errno.EINVAL;
  const { vma, reasons } = args;
  assert(vma.mm.mmapLock.isLocked, 'I26: the mmap lock is held');
  const npages = (args.end - args.start) / PAGE_SIZE;
  const since = vma.mm.sys.trace?.nowMs() ?? -1;
  args.cpages = 0;
  args.npages = 0;
  if (reasons !== null) reasons.fill(SKIP_NONE, 0, npages);
  migrateVmaCollect(args);
  if (args.cpages > 0) {
    args.cpages = migrateDeviceUnmap(vma.mm.sys, args.src, args.npages, args.faultPage, reasons);
  }
  if (since >= 0) traceBegin(vma.mm.sys, vma.mm, args.start, args.end, since, args.cpages);
  return 0;
}

function traceBegin(
  sys: System,
  mm: MmStruct | null,
  start: number,
  end: number,
  since: number,
  pages: number,
): void {
  sys.trace?.emit(TRACE_MIGRATE_BEGIN, mm, start, end, since, pages, 0, 0);
}

/** The checks of migrate_vma_setup, in its order. Rounds start and end down to a page. */
function isValidRequest(args: MigrateVma): boolean {
  const { start, end, faultPage } = args;
  if (!isAddress(start) || !isAddress(end)) return false;
  const isShorterThanAPage = end - start < PAGE_SIZE;
  args.start = pageAlignDown(start);
  args.end = pageAlignDown(end);
  // Callers without types: a VMA that was not found.
  const vma = args.vma as Vma | null | undefined;
  if (vma === null || vma === undefined) return false;
  if ((vma.vmFlags & (VM_HUGETLB | VM_SPECIAL)) !== 0) return false;
  if (isShorterThanAPage) return false;
  if (args.start < vma.vmStart || args.start >= vma.vmEnd) return false;
  if (args.end <= vma.vmStart || args.end > vma.vmEnd) return false;
  const npages = (args.end - args.start) / PAGE_SIZE;
  if (args.src.length < npages || args.dst.length < npages) return false;
  if (args.reasons !== null && args.reasons.length < npages) return false;
  if (faultPage === NO_FAULT_PAGE) return true;
  const { mem } = vma.mm.sys;
  return mem.isDevicePrivate(faultPage) && mem.isLocked(mem.folioOf(faultPage));
}

/**
 * Commits the pages that the driver has copied (migrate_vma_pages): their place in the anon_vma or
 * page cache goes to the destination, holes are filled. Afterwards MIGRATE in src[] says which
 * pages made it. They stay locked, so the driver can safely update its page table before finalize.
 *
 * Context: mmap lock held since setup; copies complete; never waits.
 */
export function migrateVmaPages(args: MigrateVma): void {
  const { mm } = args.vma;
  assert(mm.mmapLock.isLocked, 'I26: the mmap lock is held');
  migrateVmaInsertPages(args);
  commitPages(mm.sys, args, true);
}

/**
 * Ends a migration (migrate_vma_finalize): migration entries become mappings of the new page, or of
 * the old one where the page did not make it; everything is unlocked and given back.
 *
 * Context: mmap lock held since setup; a valid dst entry means that migrateVmaPages ran. Never
 * waits.
 */
export function migrateVmaFinalize(args: MigrateVma): void {
  assert(args.vma.mm.mmapLock.isLocked, 'I26: the mmap lock is held');
  finalizePages(args.vma.mm.sys, args.src, args.dst, args.npages, args);
}

/**
 * Locks and unmaps the pages of a range of pfns (migrate_device_range), for evicting device
 * memory. Free and locked pages get an empty entry.
 *
 * @param src Output. @param reasons Gets a SKIP_* code for each page that is left out; null =
 * nobody asks.
 * @returns 0. Context: no lock; never waits.
 */
export function migrateDeviceRange(
  sys: System,
  src: Uint32Array,
  start: number,
  npages: number,
  reasons: Uint8Array | null = null,
): number {
  for (let i = 0; i < npages; i++) src[i] = start + i;
  return migrateDevicePfns(sys, src, npages, reasons);
}

/**
 * Like migrateDeviceRange for any pfns (migrate_device_pfns).
 *
 * @param src In: plain pfns. Out: entries. @returns 0. Context: no lock; never waits.
 */
export function migrateDevicePfns(
  sys: System,
  src: Uint32Array,
  npages: number,
  reasons: Uint8Array | null = null,
): number {
  if (reasons !== null) reasons.fill(SKIP_NONE, 0, npages);
  const since = sys.trace?.nowMs() ?? -1;
  const first = npages > 0 ? src[0]! : 0;
  // All of them before the first is touched.
  for (let i = 0; i < npages; i++) {
    assert(src[i]! < sys.mem.pageCount, 'I29: a page that is to migrate exists');
  }
  for (let i = 0; i < npages;) {
    const pfn = src[i]!;
    const reason = lockPfn(sys, pfn);
    // A large folio is one entry; its other pages have to be in the array, and become empty ones.
    const pages = reason === SKIP_NONE ? Math.min(sys.mem.folioNrPages(pfn), npages - i) : 1;
    src.fill(0, i, i + pages);
    if (reason === SKIP_NONE) {
      const compound = sys.mem.isLarge(pfn) ? MIGRATE_PFN_COMPOUND : 0;
      src[i] = (migratePfn(pfn) | MIGRATE_PFN_MIGRATE | compound) >>> 0;
    } else if (reasons !== null) reasons[i] = reason;
    i += pages;
  }
  const pages = migrateDeviceUnmap(sys, src, npages, NO_FAULT_PAGE, reasons);
  if (since >= 0) traceBegin(sys, null, first, first + npages, since, pages);
  return 0;
}

/** Takes a reference and the lock (migrate_device_pfn_lock). @returns a SKIP_* code. */
function lockPfn(sys: System, pfn: number): number {
  const { mem } = sys;
  // Tails have no reference of their own: they go with their head, or not at all.
  if (!mem.getPageUnlessZero(pfn)) return SKIP_FREE_PAGE;
  if (mem.trylockPage(pfn)) return SKIP_NONE;
  putPage(sys, pfn);
  return SKIP_LOCKED;
}

/** migrateVmaPages for pages selected by pfn (migrate_device_pages). Context: no lock. */
export function migrateDevicePages(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
  reasons: Uint8Array | null = null,
): void {
  const faultPage = NO_FAULT_PAGE;
  commitPages(sys, { src, dst, npages, faultPage, reasons }, false);
}

/** migrateVmaFinalize for pages selected by pfn (migrate_device_finalize). Context: no lock. */
export function migrateDeviceFinalize(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
): void {
  finalizePages(sys, src, dst, npages, null);
}
