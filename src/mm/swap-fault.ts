/**
 * A fault on a swap entry (mm/memory.c: do_swap_page, the part about swap): the page comes from the
 * swap cache or is read into it, and is mapped. Its slot stays with it while others name it, and
 * after a read fault as long as there is plenty, so that the page need not be written again.
 *
 * Locking: mmap lock held for read. Waits only for a page of the swap cache that somebody has
 * locked; then the access is tried again.
 */
import { isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { pageAlignDown } from '../base/units.ts';
import { needsSoftDirtyWp, vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import { allocPage } from './page-alloc.ts';
import { PG_LRU, PG_UPTODATE } from './page.ts';
import { anonVmaPrepare, folioAddAnonRmap, folioAddNewAnonRmap } from './rmap.ts';
import { addToSwapCache, folioFreeSwap } from './swap-state.ts';
import { swapFree, swapInfo, swapReadFolio } from './swapfile.ts';
import {
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SWP_EXCLUSIVE,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  mkPte,
  ptePfn,
} from './swapops.ts';
import { vmEventIndex } from './vmstat.ts';

const PGMAJFAULT = vmEventIndex('pgmajfault');

/** Outcome of a swap-in without memory for the page; else 0. */
export const SWAP_IN_OOM = 1;

/**
 * Brings the page of a swap entry in and maps it; a write to a page that others share takes one
 * more fault, which copies it.
 *
 * @param at Word index of the entry. @param isWrite Whether the fault is for a write.
 * @returns 0: try the access again; SWAP_IN_OOM. Context: see the file header.
 */
export function swapIn(
  vma: Vma,
  address: number,
  at: number,
  isWrite: boolean,
): MaybePromise<number> {
  const { sys } = vma.mm;
  const { mem } = sys;
  const slot = ptePfn(sys.pageTables.words[at]!);
  let pfn = swapInfo(sys).cache[slot]!;
  if (pfn === 0) {
    pfn = readIntoCache(sys, slot);
    if (isErr(pfn)) return SWAP_IN_OOM;
  } else if (mem.trylockPage(pfn)) {
    mem.getPage(pfn);
  } else {
    const unlocked = mem.waitOnPageLocked(pfn);
    return isPending(unlocked) ? unlocked.then(() => 0) : 0;
  }
  mapSwapPage(vma, pageAlignDown(address), at, pfn, isWrite);
  mem.unlockPage(pfn);
  return 0;
}

/** A page of the swap cache for the slot, locked and with a reference for the caller, or ENOMEM. */
function readIntoCache(sys: System, slot: number): number {
  const pfn = allocPage(sys);
  if (isErr(pfn)) return pfn;
  sys.mem.trylockPage(pfn);
  addToSwapCache(sys, pfn, slot);
  swapReadFolio(sys, pfn, slot);
  sys.mem.setFlag(pfn, PG_UPTODATE | PG_LRU);
  sys.vmstat.add(PGMAJFAULT, 1);
  return pfn;
}

/** Maps the page; the caller's reference becomes the mapping's. */
function mapSwapPage(vma: Vma, addr: number, at: number, pfn: number, isWrite: boolean): void {
  const { mm } = vma;
  const { sys } = mm;
  const { mem } = sys;
  const swap = swapInfo(sys);
  const entry = sys.pageTables.words[at]!;
  swapFree(sys, ptePfn(entry));
  // For a write only if nobody else could use the slot again: ours and the cache's reference.
  if ((isWrite && mem.refcount[pfn] === 2) || swap.isHalfFull) folioFreeSwap(sys, pfn);
  const exclusive = (entry & PTE_SWP_EXCLUSIVE) !== 0 || mem.refcount[pfn] === 1;
  const carried = entry & (PTE_SOFT_DIRTY | PTE_UFFD_WP);
  // After a load the first store is to be noted, which takes a fault of its own.
  const isTracked = (entry & PTE_UFFD_WP) !== 0 || (!isWrite && needsSoftDirtyWp(vma, entry));
  const mayWrite = exclusive && vmaMayWrite(vma) && !isTracked;
  const written = mayWrite && isWrite ? PTE_DIRTY | PTE_SOFT_DIRTY : 0;
  addRmap(sys, pfn, vma, addr, exclusive);
  mm.swapEnts--;
  mm.anonRss++;
  const rights = (mayWrite ? PTE_WRITE : 0) | written;
  sys.pageTables.setPte(at, mkPte(pfn, vmaPageProt(vma) | PTE_YOUNG | carried | rights));
}

function addRmap(sys: System, pfn: number, vma: Vma, addr: number, exclusive: boolean): void {
  if (sys.mem.isAnon(pfn)) {
    folioAddAnonRmap(sys, pfn, vma, addr, exclusive);
    return;
  }
  anonVmaPrepare(vma);
  folioAddNewAnonRmap(sys, pfn, vma, addr, exclusive);
}
