/**
 * The swap cache (mm/swap_state.c): pages that are in RAM and have a slot of swap space, on the way
 * out or back in. The cache holds a reference on its page, and the page remembers its slot, in the
 * column that device pages use for their driver. All who share a slot find the same page here.
 *
 * Locking: the page lock for adding and removing. Never waits.
 */
import { assert } from '../base/assert.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { PG_DIRTY, PG_SWAPCACHE } from './page.ts';
import { swapFree, swapInfo } from './swapfile.ts';

/** The slot of a page of the swap cache (folio->swap). Context: PG_SWAPCACHE is set. */
export function folioSwapSlot(sys: System, pfn: number): number {
  const slot = sys.mem.zoneDeviceData[pfn]!;
  assert(swapInfo(sys).cache[slot] === pfn, 'I38: a page of the swap cache knows its slot');
  return slot;
}

/** Adds a page, which gets a reference (swap_cache_add_folio). Context: page locked. */
export function addToSwapCache(sys: System, pfn: number, slot: number): void {
  const { mem } = sys;
  const swap = swapInfo(sys);
  assert(mem.isLocked(pfn) && swap.cache[slot] === 0, 'I38: a slot has one page in the swap cache');
  mem.getPage(pfn);
  swap.cache[slot] = pfn;
  mem.zoneDeviceData[pfn] = slot;
  mem.setFlag(pfn, PG_SWAPCACHE);
}

/**
 * Removes a page and drops the cache's reference (swap_cache_del_folio); a slot that nothing else
 * uses is freed.
 *
 * Context: page locked, the caller has a reference of its own.
 */
export function deleteFromSwapCache(sys: System, pfn: number): void {
  const { mem } = sys;
  const swap = swapInfo(sys);
  const slot = folioSwapSlot(sys, pfn);
  swap.cache[slot] = 0;
  mem.zoneDeviceData[pfn] = 0;
  mem.clearFlag(pfn, PG_SWAPCACHE);
  swap.putIfUnused(slot);
  putPage(sys, pfn);
}

/** Lets another page take a page's place (__swap_cache_replace_folio). Context: both locked. */
export function replaceInSwapCache(sys: System, target: number, source: number): void {
  const { mem } = sys;
  const slot = folioSwapSlot(sys, source);
  swapInfo(sys).cache[slot] = target;
  mem.zoneDeviceData[source] = 0;
  mem.clearFlag(source, PG_SWAPCACHE);
  mem.getPage(target);
  mem.zoneDeviceData[target] = slot;
  mem.setFlag(target, PG_SWAPCACHE);
  putPage(sys, source);
}

/**
 * Takes a page out of the swap cache if nobody else needs its slot (folio_free_swap). It is dirty
 * then: RAM has the only copy.
 *
 * @returns false when an entry still names the slot. Context: page locked, referenced by the
 * caller.
 */
export function folioFreeSwap(sys: System, pfn: number): boolean {
  if (!sys.mem.testFlag(pfn, PG_SWAPCACHE)) return false;
  if (swapInfo(sys).map[folioSwapSlot(sys, pfn)] !== 0) return false;
  sys.mem.setFlag(pfn, PG_DIRTY);
  deleteFromSwapCache(sys, pfn);
  return true;
}

/**
 * folioFreeSwap for a page that has lost a mapping, if nothing maps it and nobody has it locked
 * (free_swap_cache). Context: referenced by the caller.
 */
export function freeSwapCache(sys: System, pfn: number): void {
  const { mem } = sys;
  if (!mem.testFlag(pfn, PG_SWAPCACHE) || mem.mapcount[pfn] !== 0) return;
  if (!mem.trylockPage(pfn)) return;
  folioFreeSwap(sys, pfn);
  mem.unlockPage(pfn);
}

/** An entry that named the slot is gone (free_swap_and_cache). Context: any. */
export function freeSwapAndCache(sys: System, slot: number): void {
  const pfn = swapInfo(sys).cache[slot]!;
  swapFree(sys, slot);
  if (pfn === 0 || swapInfo(sys).map[slot] !== 0) return;
  sys.mem.getPage(pfn);
  freeSwapCache(sys, pfn);
  putPage(sys, pfn);
}

/**
 * A slot for a page on its way out (folio_alloc_swap). When all are taken, slots go whose page is
 * in RAM and which no entry names.
 *
 * @returns the slot, 0 when there is none. Context: any.
 */
export function folioAllocSwap(sys: System): number {
  const { swap } = sys;
  if (swap === null) return 0;
  const slot = swap.take();
  if (slot !== 0) return slot;
  for (let at = 1; at <= swap.pages; at++) {
    const pfn = swap.cache[at]!;
    if (pfn === 0 || swap.map[at] !== 0 || !sys.mem.trylockPage(pfn)) continue;
    sys.mem.getPage(pfn);
    folioFreeSwap(sys, pfn);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
  }
  return swap.take();
}
