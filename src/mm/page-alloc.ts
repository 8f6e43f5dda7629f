/**
 * The page allocator of RAM (mm/page_alloc.c) and the last put of any page (mm/swap.c:__folio_put).
 * Order 0 only: free pages form a LIFO list threaded through `zoneDeviceData`, ascending at boot.
 * Pfn 0 is never handed out, so that 0 can end the list and mean "no page".
 *
 * A page comes with one reference and no flag set; its contents are what the last owner left:
 * callers clear or overwrite every byte before anybody can see it (`clearHighpage`).
 *
 * Leaves out: orders above 0, zones, watermarks, reclaim; an empty list is ENOMEM at once.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { freeZoneDevicePage } from './memremap.ts';
import type { System } from './mm-types.ts';
import { PG_BUDDY, PG_LOCKED, PG_RESERVED } from './page.ts';
import type { MemMap } from './page.ts';
import { vmEventIndex } from './vmstat.ts';

const PGALLOC = vmEventIndex('pgalloc');
const PGFREE = vmEventIndex('pgfree');

/** Ends the free list. */
const NO_PAGE = 0;

export class PageAllocator {
  /**
   * Fault injection for tests: the failAt-th allocation from now fails, once (1 = the next one); 0
   * injects nothing.
   */
  failAt = 0;
  private readonly mem: MemMap;
  private head = NO_PAGE;
  private count = 0;

  /** Takes the RAM pages firstPfn to endPfn - 1 as free. */
  constructor(mem: MemMap, firstPfn: number, endPfn: number) {
    assert(firstPfn > NO_PAGE, 'pfn 0 is never free');
    this.mem = mem;
    for (let pfn = endPfn - 1; pfn >= firstPfn; pfn--) this.push(pfn);
  }

  /** Pages that can be allocated. */
  get freePages(): number {
    return this.count;
  }

  /** The first free page, 0 when there is none; for checkers that walk the list. */
  get firstFree(): number {
    return this.head;
  }

  /** Takes a page off the list: the pfn, or ENOMEM. */
  pop(): number {
    if (this.failAt > 0 && --this.failAt === 0) return errno.ENOMEM;
    const pfn = this.head;
    if (pfn === NO_PAGE) return errno.ENOMEM;
    this.head = this.mem.zoneDeviceData[pfn]!;
    this.mem.zoneDeviceData[pfn] = NO_PAGE;
    this.mem.flags[pfn] = 0;
    this.count--;
    return pfn;
  }

  /** Puts a page that nobody refers to on the list. */
  push(pfn: number): void {
    this.mem.zoneDeviceData[pfn] = this.head;
    this.mem.flags[pfn] = PG_BUDDY;
    this.head = pfn;
    this.count++;
  }
}

/**
 * Allocates one page of RAM (alloc_page): one reference, no flags, contents undefined.
 *
 * @returns the pfn, or ENOMEM. Context: any; never waits.
 */
export function allocPage(sys: System): number {
  const pfn = sys.pageAllocator.pop();
  if (pfn < 0) return pfn;
  assert(sys.mem.refcount[pfn] === 0, 'I6: a free page has no reference');
  sys.mem.refcount[pfn] = 1;
  sys.vmstat.add(PGALLOC, 1);
  return pfn;
}

/**
 * Drops a reference (put_page). The last one frees a RAM page to the allocator, a device page to
 * its driver (`folioFree`).
 *
 * Context: any; never waits.
 */
export function putPage(sys: System, pfn: number): void {
  const mem = sys.mem;
  const count = mem.refcount[pfn]! - 1;
  assert(count >= 0, 'I6: a free page has no reference');
  mem.refcount[pfn] = count;
  if (count !== 0) return;
  if (mem.isZoneDevice(pfn)) freeZoneDevicePage(sys, pfn);
  else freePage(sys, pfn);
}

function freePage(sys: System, pfn: number): void {
  const mem = sys.mem;
  assert(mem.mapcount[pfn] === 0, 'I7: a page is unmapped before it is freed');
  assert((mem.flags[pfn]! & PG_LOCKED) === 0, 'I8: a freed page is not locked');
  assert((mem.flags[pfn]! & PG_RESERVED) === 0, 'I9: a reserved page is never freed');
  mem.mapping[pfn] = 0;
  mem.index[pfn] = 0;
  sys.pageAllocator.push(pfn);
  sys.vmstat.add(PGFREE, 1);
}
