/**
 * The books of the page allocator, at rest: what is in its lists, what struct page says of it, and
 * how many there are.
 */
import { HPAGE_PMD_ORDER } from '../base/units.ts';
import type { System } from '../mm/mm-types.ts';
import { PG_BUDDY, PG_HEAD } from '../mm/page.ts';

/**
 * Looks at every list, and for pages that say they are in one and are not.
 *
 * @returns the free pages of RAM.
 */
export function checkFreeList(
  sys: System,
  expect: (holds: boolean, message: string) => void,
): Set<number> {
  const { mem, pageAllocator } = sys;
  const seen = new Set<number>();
  const blocks = new Set<number>();
  let hasLoop = false;
  pageAllocator.forEachFree((pfn, order) => {
    hasLoop ||= seen.has(pfn);
    blocks.add(pfn);
    for (let i = 0; i < 2 ** order; i++) seen.add(pfn + i);
    const flags = mem.flags[pfn]!;
    // A large folio that was freed stays one until single pages are wanted.
    const isRetired = order === HPAGE_PMD_ORDER && flags === (PG_BUDDY | PG_HEAD);
    expect(flags === PG_BUDDY || isRetired, `C11: free page ${pfn} has flags ${flags}`);
  });
  expect(!hasLoop, 'C11: the free list has a loop');
  if (hasLoop) return seen;
  const { freePages } = pageAllocator;
  expect(freePages === seen.size, `C11: ${freePages} free pages, ${seen.size} in the list`);
  for (let pfn = 0; pfn < mem.pageCount; pfn++) {
    if (mem.testFlag(pfn, PG_BUDDY) && !blocks.has(pfn)) {
      expect(false, `C11: page ${pfn} says free and is in no list`);
    }
  }
  return seen;
}
