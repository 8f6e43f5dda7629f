/*
 * Swap space as the checker of a machine at rest sees it: each slot is free, or in use by exactly
 * the entries that it counts and by the page of the swap cache that knows it.
 */
import type { System } from '../mm/mm-types.ts';
import { PG_SWAPCACHE } from '../mm/page.ts';
import { PTE_SWP_EXCLUSIVE, ptePfn } from '../mm/swapops.ts';

/** @param entries All swap entries of all page tables. @param expect Notes what does not hold. */
export function checkSwap(
  sys: System,
  entries: readonly number[],
  expect: (condition: boolean, message: string) => void,
): void {
  const { swap, mem } = sys;
  if (swap === null) {
    expect(entries.length === 0, 'I37: swap entries without swap space');
    return;
  }
  const named = new Uint32Array(swap.pages + 1);
  for (const entry of entries) named[ptePfn(entry)]! += 1;
  for (const entry of entries) {
    const isAlone = named[ptePfn(entry)] === 1;
    expect(isAlone || (entry & PTE_SWP_EXCLUSIVE) === 0, `I13: ${ptePfn(entry)} swapped, shared`);
  }
  let used = 0;
  for (let slot = 1; slot <= swap.pages; slot++) {
    const pfn = swap.cache[slot]!;
    if (named[slot] !== 0 || pfn !== 0) used++;
    expect(swap.map[slot] === named[slot], `I37: slot ${slot} counts ${swap.map[slot]} entries`);
    const isKnown = pfn === 0 || mem.zoneDeviceData[pfn] === slot;
    expect(isKnown && (pfn === 0 || mem.testFlag(pfn, PG_SWAPCACHE)), `I38: slot ${slot}`);
  }
  expect(swap.freeSlots + used === swap.pages, `I37: ${used} slots used, ${swap.freeSlots} free`);
}
