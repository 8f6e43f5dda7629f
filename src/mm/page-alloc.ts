/**
 * The page allocator of RAM (mm/page_alloc.c) and the last put of any folio
 * (mm/swap.c:__folio_put).
 *
 * Free memory is a buddy system of naturally aligned blocks of 2^order pages, up to a PMD folio. In
 * front of it stands one list of single pages (the per-CPU lists of Linux), a LIFO threaded through
 * `zoneDeviceData`, which is filled by small blocks in ascending order and is merged back only when
 * somebody wants a PMD folio: so single pages cost a few loads and stores. Pfn 0 is never handed
 * out, so that 0 can end a list and mean "no page".
 *
 * A folio comes with one reference and no flag but PG_HEAD; its contents are what the last owner
 * left: callers clear or overwrite every byte before anybody can see it (`clearHighpage`).
 *
 * Leaves out: zones, watermarks, reclaim; when nothing fits it is ENOMEM at once.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../base/units.ts';
import { freeZoneDevicePage } from './memremap.ts';
import type { System } from './mm-types.ts';
import { PG_BUDDY, PG_HEAD, PG_HUGETLB, PG_LOCKED, PG_RESERVED } from './page.ts';
import type { MemMap } from './page.ts';
import { vmEventIndex } from './vmstat.ts';

const PGALLOC = vmEventIndex('pgalloc');
const PGFREE = vmEventIndex('pgfree');

/** Ends a free list. */
const NO_PAGE = 0;
/** Order by which the list of single pages is filled. */
const BATCH_ORDER = 5;
/** `orders` of a page that is not the first one of a block of the buddy system. */
const NO_BLOCK = 0xff;

export class PageAllocator {
  /**
   * Fault injection for tests: the failAt-th allocation from now fails, once (1 = the next one); 0
   * injects nothing.
   */
  failAt = 0;
  private readonly mem: MemMap;
  private readonly firstPfn: number;
  private readonly endPfn: number;
  /** First single page. */
  private head = NO_PAGE;
  /** Free pages, of both kinds. */
  private count = 0;
  /** First block of each order; blocks are doubly linked by `next` (zoneDeviceData) and `prev`. */
  private readonly blocks = new Uint32Array(HPAGE_PMD_ORDER + 1);
  private readonly prev: Uint32Array;
  private readonly orders: Uint8Array;

  /** Takes the RAM pages firstPfn to endPfn - 1 as free. */
  constructor(mem: MemMap, firstPfn: number, endPfn: number) {
    assert(firstPfn > NO_PAGE, 'pfn 0 is never free');
    this.mem = mem;
    this.firstPfn = firstPfn;
    this.endPfn = endPfn;
    this.prev = new Uint32Array(endPfn);
    this.orders = new Uint8Array(endPfn).fill(NO_BLOCK);
    this.carve();
    this.refill();
  }

  /** Pages that can be allocated. */
  get freePages(): number {
    return this.count;
  }

  /** The page that the next allocation takes, 0 when there is none. */
  get firstFree(): number {
    if (this.head === NO_PAGE) this.refill();
    return this.head;
  }

  /**
   * Calls `visit` with each free block, single pages included, for checkers. A list with a loop
   * ends when more pages were visited than the machine has.
   */
  forEachFree(visit: (pfn: number, order: number) => void): void {
    const next = this.mem.zoneDeviceData;
    let budget = this.endPfn;
    for (let pfn = this.head; pfn !== NO_PAGE && budget-- > 0; pfn = next[pfn]!) visit(pfn, 0);
    this.blocks.forEach((first, order) => {
      for (let pfn = first; pfn !== NO_PAGE && budget-- > 0; pfn = next[pfn]!) visit(pfn, order);
    });
  }

  /** Takes a page off the list: the pfn, or ENOMEM. */
  pop(): number {
    if (this.failAt > 0 && --this.failAt === 0) return errno.ENOMEM;
    if (this.head === NO_PAGE) this.refill();
    const pfn = this.head;
    if (pfn === NO_PAGE) return errno.ENOMEM;
    this.head = this.mem.zoneDeviceData[pfn]!;
    this.mem.zoneDeviceData[pfn] = NO_PAGE;
    this.mem.flags[pfn] = 0;
    this.count--;
    return pfn;
  }

  /** Takes up to `count` pages off the list into `pfns`. @returns how many. */
  popPages(pfns: Uint32Array, count: number): number {
    let taken = 0;
    while (taken < count) {
      const from = taken;
      if (this.failAt > 0) {
        const pfn = this.pop();
        if (pfn > 0) pfns[taken++] = pfn;
      } else {
        if (this.head === NO_PAGE) this.refill();
        taken = this.popRun(pfns, taken, count);
      }
      if (taken === from) break;
    }
    return taken;
  }

  /** Takes pages until slot `to` of `pfns` or the list ends. @returns the slot. */
  private popRun(pfns: Uint32Array, from: number, to: number): number {
    const { flags, zoneDeviceData } = this.mem;
    let { head } = this;
    let at = from;
    for (; at < to && head !== NO_PAGE; at++) {
      pfns[at] = head;
      const next = zoneDeviceData[head]!;
      zoneDeviceData[head] = NO_PAGE;
      flags[head] = 0;
      head = next;
    }
    this.head = head;
    this.count -= at - from;
    return at;
  }

  /** Puts a page that nobody refers to on the list. */
  push(pfn: number): void {
    this.mem.zoneDeviceData[pfn] = this.head;
    this.mem.flags[pfn] = PG_BUDDY;
    this.head = pfn;
    this.count++;
  }

  /** The same for the first `count` of `pfns`, in turn. */
  pushPages(pfns: Uint32Array, count: number): void {
    const { flags, zoneDeviceData } = this.mem;
    let { head } = this;
    for (let i = 0; i < count; i++) {
      const pfn = pfns[i]!;
      zoneDeviceData[pfn] = head;
      flags[pfn] = PG_BUDDY;
      head = pfn;
    }
    this.head = head;
    this.count += count;
  }

  /** Takes HPAGE_PMD_NR naturally aligned pages: the first pfn, or ENOMEM. */
  popHuge(): number {
    if (this.failAt > 0 && --this.failAt === 0) return errno.ENOMEM;
    if (this.count < HPAGE_PMD_NR) return errno.ENOMEM;
    if (this.blocks[HPAGE_PMD_ORDER] === NO_PAGE) this.drain();
    const pfn = this.blocks[HPAGE_PMD_ORDER]!;
    if (pfn === NO_PAGE) return errno.ENOMEM;
    this.unlink(pfn, HPAGE_PMD_ORDER);
    this.mem.clearFlag(pfn, PG_BUDDY);
    this.count -= HPAGE_PMD_NR;
    return pfn;
  }

  /** Gives back what popHuge handed out. It stays a folio until single pages are wanted. */
  pushHuge(pfn: number): void {
    this.mem.retireCompound(pfn);
    this.link(pfn, HPAGE_PMD_ORDER);
    this.mem.setFlag(pfn, PG_HEAD);
    this.count += HPAGE_PMD_NR;
  }

  /** The initial blocks: as large as alignment and the ends allow, the lowest first in its list. */
  private carve(): void {
    let end = this.endPfn;
    while (end > this.firstPfn) {
      let order = 0;
      while (order < HPAGE_PMD_ORDER && this.fitsBelow(end, order + 1)) order++;
      end -= 1 << order;
      this.link(end, order);
      this.count += 1 << order;
    }
  }

  private fitsBelow(end: number, order: number): boolean {
    const size = 1 << order;
    return (end & (size - 1)) === 0 && end - size >= this.firstPfn;
  }

  /** Moves a small block to the list of single pages, so that they come out in ascending order. */
  private refill(): void {
    let order = 0;
    while (order < HPAGE_PMD_ORDER && this.blocks[order] === NO_PAGE) order++;
    const pfn = this.blocks[order]!;
    if (pfn === NO_PAGE) return;
    this.unlink(pfn, order);
    this.mem.clearCompound(pfn);
    while (order > BATCH_ORDER) {
      order--;
      this.link(pfn + (1 << order), order);
    }
    this.count -= 1 << order;
    for (let page = pfn + (1 << order) - 1; page >= pfn; page--) this.push(page);
  }

  /** Merges all single pages into blocks (drain_all_pages). */
  private drain(): void {
    const next = this.mem.zoneDeviceData;
    let pfn = this.head;
    this.head = NO_PAGE;
    while (pfn !== NO_PAGE) {
      const following = next[pfn]!;
      this.merge(pfn);
      pfn = following;
    }
  }

  /** Frees a block of one page, together with its buddies as far as they are free. */
  private merge(page: number): void {
    let pfn = page;
    let order = 0;
    this.mem.flags[pfn] = 0;
    while (order < HPAGE_PMD_ORDER) {
      const buddy = (pfn ^ (1 << order)) >>> 0;
      if (buddy < this.firstPfn || buddy >= this.endPfn || this.orders[buddy] !== order) break;
      this.unlink(buddy, order);
      this.mem.flags[buddy] = 0;
      pfn = Math.min(pfn, buddy);
      order++;
    }
    this.link(pfn, order);
  }

  private link(pfn: number, order: number): void {
    const next = this.blocks[order]!;
    this.mem.zoneDeviceData[pfn] = next;
    if (next !== NO_PAGE) this.prev[next] = pfn;
    this.prev[pfn] = NO_PAGE;
    this.blocks[order] = pfn;
    this.orders[pfn] = order;
    this.mem.flags[pfn] = PG_BUDDY;
  }

  private unlink(pfn: number, order: number): void {
    const next = this.mem.zoneDeviceData[pfn]!;
    const prev = this.prev[pfn]!;
    if (prev === NO_PAGE) this.blocks[order] = next;
    else this.mem.zoneDeviceData[prev] = next;
    if (next !== NO_PAGE) this.prev[next] = prev;
    this.mem.zoneDeviceData[pfn] = NO_PAGE;
    this.orders[pfn] = NO_BLOCK;
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
 * Allocates single pages of RAM (alloc_pages_bulk), each like allocPage.
 *
 * @param pfns Output; its first `count`. @returns how many there are, 0 to `count`: without so
 * much memory, fewer. Context: any; never waits.
 */
export function allocPages(sys: System, pfns: Uint32Array, count: number): number {
  const { refcount } = sys.mem;
  const taken = sys.pageAllocator.popPages(pfns, count);
  for (let i = 0; i < taken; i++) {
    const pfn = pfns[i]!;
    assert(refcount[pfn] === 0, 'I6: a free page has no reference');
    refcount[pfn] = 1;
  }
  sys.vmstat.add(PGALLOC, taken);
  return taken;
}

/**
 * Allocates a PMD folio of RAM (folio_alloc of HPAGE_PMD_ORDER): one reference, large, contents
 * undefined.
 *
 * @returns the pfn of its head, or ENOMEM when no aligned block is free. Context: any; never waits.
 */
export function allocHugeFolio(sys: System): number {
  const pfn = sys.pageAllocator.popHuge();
  if (pfn < 0) return pfn;
  assert(sys.mem.refcount[pfn] === 0, 'I6: a free page has no reference');
  sys.mem.prepCompound(pfn);
  sys.mem.refcount[pfn] = 1;
  sys.vmstat.add(PGALLOC, HPAGE_PMD_NR);
  return pfn;
}

/**
 * Drops a reference (folio_put). The last one frees a RAM folio to the allocator, a device folio to
 * its driver (`folioFree`).
 *
 * @param pfn A single page or the head of a large folio. Context: any; never waits.
 */
export function putPage(sys: System, pfn: number): void {
  const mem = sys.mem;
  const count = mem.refcount[pfn]! - 1;
  assert(count >= 0, 'I6: a free page has no reference');
  mem.refcount[pfn] = count;
  if (count !== 0) return;
  if (mem.isZoneDevice(pfn)) freeZoneDevicePage(sys, pfn);
  else freeFolio(sys, pfn);
}

function freeFolio(sys: System, pfn: number): void {
  const mem = sys.mem;
  assert(mem.folioMapcount(pfn) === 0, 'I7: a page is unmapped before it is freed');
  assert((mem.flags[pfn]! & PG_LOCKED) === 0, 'I8: a freed page is not locked');
  assert((mem.flags[pfn]! & PG_RESERVED) === 0, 'I9: a reserved page is never freed');
  mem.mapping[pfn] = 0;
  mem.index[pfn] = 0;
  if (mem.isLarge(pfn)) {
    if (mem.testFlag(pfn, PG_HUGETLB)) sys.hugetlbInUse--;
    sys.pageAllocator.pushHuge(pfn);
    sys.vmstat.add(PGFREE, HPAGE_PMD_NR);
  } else {
    sys.pageAllocator.push(pfn);
    sys.vmstat.add(PGFREE, 1);
  }
}

/**
 * Gives single pages of RAM back whose last references went together (free_unref_folios).
 *
 * @param pfns Its first `count` pages: their struct page says already that they are free, without
 * reference, flag, mapping or index. Context: any; never waits.
 */
export function freeUnrefPages(sys: System, pfns: Uint32Array, count: number): void {
  sys.pageAllocator.pushPages(pfns, count);
  sys.vmstat.add(PGFREE, count);
}
