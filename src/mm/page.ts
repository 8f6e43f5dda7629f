/**
 * struct page as columns of typed arrays in shared memory (include/linux/mm_types.h, page-flags.h,
 * mm/filemap.c for the page lock). One row per pfn of the whole machine, RAM and device memory
 * alike, reserved at boot. The kernel worker is the only writer; other threads may read for
 * display.
 *
 * Page lock: PG_locked plus a waiter queue that exists only while somebody waits. `unlockPage`
 * hands the lock to the first waiter that wants it, and wakes those who only wait for the event
 * (CPU faults on a migration entry), which then look again.
 */
import { assert } from '../base/assert.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../base/units.ts';
import { MAX_PAGEMAPS, MEMORY_DEVICE_COHERENT, MEMORY_DEVICE_PRIVATE } from './memory-type.ts';

/** Page flag bits (our own positions; the names are the kernel's). */
export const PG_LOCKED = 1 << 0;
/** Somebody is queued on the page lock. */
export const PG_WAITERS = 1 << 1;
export const PG_REFERENCED = 1 << 2;
export const PG_UPTODATE = 1 << 3;
export const PG_DIRTY = 1 << 4;
/** On the LRU (system pages only). */
export const PG_LRU = 1 << 5;
export const PG_ACTIVE = 1 << 6;
export const PG_SWAPBACKED = 1 << 7;
/** Owned by one process alone: a writable anonymous entry implies it (PageAnonExclusive). */
export const PG_ANON_EXCLUSIVE = 1 << 8;
/** Never handed out or freed: the zero page, kernel reserved pages. */
export const PG_RESERVED = 1 << 9;
/** In the page allocator's free list. */
export const PG_BUDDY = 1 << 10;
/** Isolated from the LRU by migration. */
export const PG_ISOLATED = 1 << 11;
/** First page of a large folio: PMD size, the only one besides a single page. */
export const PG_HEAD = 1 << 12;
/** Any other page of a large folio: lock, references and mapping are its head's. */
export const PG_TAIL = 1 << 13;
/** Its contents are lost; it is never used again. */
export const PG_HWPOISON = 1 << 15;

/** In the swap cache: the page has a slot of swap space, and the cache a reference. */
export const PG_SWAPCACHE = 1 << 14;
/** Head of a folio of the hugetlb pool (PGTY_hugetlb). */
export const PG_HUGETLB = 1 << 16;
/** Came before anybody asked for it, and was not touched since: see readahead.ts. */
export const PG_READAHEAD = 1 << 17;
/** Head of a folio of which a tail may have a flag of its own. */
export const PG_TAILS_DIFFER = 1 << 18;

const PMD_OFFSET_MASK = HPAGE_PMD_NR - 1;

/** Low bit of a mapping word: the rest is an anon_vma number, else a shmem inode number. */
export const MAPPING_ANON = 1;

/**
 * References that one pin of a single page adds (include/linux/mm.h), so that a pinned page can be
 * told from one that merely has several users.
 */
export const GUP_PIN_COUNTING_BIAS = 1024;

interface PageWaiter {
  readonly wantsLock: boolean;
  readonly wake: () => void;
}

export class MemMap {
  /**
   * Flags of the pages of a folio, and of as many free pages, to be copied: that is one memory move
   * between shared arrays of the same alignment, where filling one stores word by word.
   */
  private readonly folioFlags = new Uint32Array(new SharedArrayBuffer(HPAGE_PMD_NR * 4)).fill(
    PG_TAIL,
  );
  private readonly noFlags = new Uint32Array(new SharedArrayBuffer(HPAGE_PMD_NR * 4));
  readonly pageCount: number;
  readonly flags: Uint32Array<SharedArrayBuffer>;
  /** References; 0 = free. */
  readonly refcount: Int32Array<SharedArrayBuffer>;
  /** Number of page table entries that map the page (present, device-private, device-exclusive). */
  readonly mapcount: Int32Array<SharedArrayBuffer>;
  /** PMD entries that map the large folio whose head this is (_entire_mapcount). */
  readonly entireMapcount: Int32Array<SharedArrayBuffer>;
  /** All entries, of either kind, that map part of the large folio (_large_mapcount). */
  readonly largeMapcount: Int32Array<SharedArrayBuffer>;
  /**
   * Pins of the large folio whose head this is (_pincount): its references, of which each page has
   * its own, say nothing about them.
   */
  readonly pincount: Int32Array<SharedArrayBuffer>;
  /** 0, or anon_vma number << 1 | MAPPING_ANON, or inode number << 1. */
  readonly mapping: Uint32Array<SharedArrayBuffer>;
  /** Linear page index within the mapping; needs 35 bits, so a double. */
  readonly index: Float64Array<SharedArrayBuffer>;
  /**
   * zone_device_data of a ZONE_DEVICE page; next free pfn of a free page; slot of a page in the
   * swap cache.
   */
  readonly zoneDeviceData: Uint32Array<SharedArrayBuffer>;
  /** Number of the owning dev_pagemap, 0 for RAM. */
  readonly pgmap: Uint8Array<SharedArrayBuffer>;
  /** MEMORY_DEVICE_* of the dev_pagemap with that number, 0 where there is none. */
  readonly pgmapType: Uint8Array<SharedArrayBuffer>;
  private readonly waiters = new Map<number, PageWaiter[]>();

  constructor(pageCount: number) {
    this.pageCount = pageCount;
    const words = () => new SharedArrayBuffer(pageCount * 4);
    this.flags = new Uint32Array(words());
    this.refcount = new Int32Array(words());
    this.mapcount = new Int32Array(words());
    this.entireMapcount = new Int32Array(words());
    this.largeMapcount = new Int32Array(words());
    this.pincount = new Int32Array(words());
    this.mapping = new Uint32Array(words());
    this.index = new Float64Array(new SharedArrayBuffer(pageCount * 8));
    this.zoneDeviceData = new Uint32Array(words());
    this.pgmap = new Uint8Array(new SharedArrayBuffer(pageCount));
    this.pgmapType = new Uint8Array(new SharedArrayBuffer(MAX_PAGEMAPS + 1));
  }

  /** True for a page of a dev_pagemap (is_zone_device_page). */
  isZoneDevice(pfn: number): boolean {
    return this.pgmap[pfn] !== 0;
  }

  /** True for a device page that the CPU can't reach (is_device_private_page). */
  isDevicePrivate(pfn: number): boolean {
    return this.pgmapType[this.pgmap[pfn]!] === MEMORY_DEVICE_PRIVATE;
  }

  /** True for a device page that the CPU maps like RAM (is_device_coherent_page). */
  isDeviceCoherent(pfn: number): boolean {
    const id = this.pgmap[pfn]!;
    return id !== 0 && this.pgmapType[id] === MEMORY_DEVICE_COHERENT;
  }

  /** True when the page belongs to anonymous memory (PageAnon). */
  isAnon(pfn: number): boolean {
    return (this.mapping[this.folioOf(pfn)]! & MAPPING_ANON) !== 0;
  }

  /**
   * The first page of the folio that `pfn` belongs to (compound_head). Large folios are naturally
   * aligned, so a tail needs no pointer.
   */
  folioOf(pfn: number): number {
    return (this.flags[pfn]! & PG_TAIL) === 0 ? pfn : (pfn & ~PMD_OFFSET_MASK) >>> 0;
  }

  /** True for the head of a large folio (folio_test_large). */
  isLarge(head: number): boolean {
    return (this.flags[head]! & PG_HEAD) !== 0;
  }

  /** Pages of the folio whose head this is (folio_nr_pages). */
  folioNrPages(head: number): number {
    return this.isLarge(head) ? HPAGE_PMD_NR : 1;
  }

  /** Order of the folio whose head this is (folio_order). */
  folioOrder(head: number): number {
    return this.isLarge(head) ? HPAGE_PMD_ORDER : 0;
  }

  /** Entries that map any part of the folio (folio_mapcount): a PMD entry counts once. */
  folioMapcount(head: number): number {
    return this.isLarge(head) ? this.largeMapcount[head]! : this.mapcount[head]!;
  }

  /**
   * Makes one large folio of HPAGE_PMD_NR free pages (prep_compound_page), with no flag but
   * PG_HEAD. One that was retired is one already.
   */
  prepCompound(head: number): void {
    assert((head & PMD_OFFSET_MASK) === 0, 'I33: a large folio is naturally aligned');
    if (!this.isLarge(head)) this.flags.set(this.folioFlags, head);
    this.flags[head] = PG_HEAD;
  }

  /**
   * Takes all flags from a large folio that nobody uses any more. It stays one, so that making it
   * live again costs no look at its tails; whoever wants its pages calls clearCompound first.
   */
  retireCompound(head: number): void {
    if (this.testFlag(head, PG_TAILS_DIFFER)) this.flags.set(this.folioFlags, head);
    this.flags[head] = PG_HEAD;
  }

  /** Makes single pages without flags of the large folio, free, that `pfn` belongs to, if any. */
  clearCompound(pfn: number): void {
    const head = this.folioOf(pfn);
    if (this.isLarge(head)) this.flags.set(this.noFlags, head);
  }

  isLocked(pfn: number): boolean {
    return (this.flags[pfn]! & PG_LOCKED) !== 0;
  }

  setFlag(pfn: number, flag: number): void {
    this.flags[pfn]! |= flag;
  }

  clearFlag(pfn: number, flag: number): void {
    this.flags[pfn]! &= ~flag;
  }

  testFlag(pfn: number, flag: number): boolean {
    return (this.flags[pfn]! & flag) !== 0;
  }

  /** Takes a reference on a page that already has one (get_page). */
  getPage(pfn: number): void {
    const count = this.refcount[pfn]!;
    assert(count > 0, 'I1: a reference is taken only on a live page');
    this.refcount[pfn] = count + 1;
  }

  /** Takes a reference unless the page is free (get_page_unless_zero). */
  getPageUnlessZero(pfn: number): boolean {
    const count = this.refcount[pfn]!;
    if (count === 0) return false;
    this.refcount[pfn] = count + 1;
    return true;
  }

  /**
   * True when somebody may have pinned the page (folio_maybe_dma_pinned); false is certain. Of a
   * large folio the answer is exact, for all its pages.
   */
  maybeDmaPinned(pfn: number): boolean {
    const folio = this.folioOf(pfn);
    if (this.isLarge(folio)) return this.pincount[folio]! > 0;
    return this.refcount[folio]! >= GUP_PIN_COUNTING_BIAS;
  }

  /** Locks the page if nobody holds it (folio_trylock). */
  trylockPage(pfn: number): boolean {
    const flags = this.flags[pfn]!;
    assert((flags & PG_TAIL) === 0, 'I33: a tail is locked by its head');
    if ((flags & PG_LOCKED) !== 0) return false;
    this.flags[pfn] = flags | PG_LOCKED;
    return true;
  }

  /** Locks the page, waiting its turn (folio_lock). The caller holds a reference. */
  lockPage(pfn: number): MaybePromise<void> {
    if (this.trylockPage(pfn)) return;
    return this.enqueue(pfn, true);
  }

  /** Waits until the page is unlocked once, without taking it (folio_wait_locked). */
  waitOnPageLocked(pfn: number): MaybePromise<void> {
    if (!this.isLocked(pfn)) return;
    return this.enqueue(pfn, false);
  }

  /** Unlocks a locked page, hands it on or wakes the waiters (folio_unlock). */
  unlockPage(pfn: number): void {
    const flags = this.flags[pfn]!;
    assert((flags & PG_LOCKED) !== 0, 'I2: only a locked page is unlocked');
    if ((flags & PG_WAITERS) === 0) {
      this.flags[pfn] = flags & ~PG_LOCKED;
      return;
    }
    this.wakeWaiters(pfn, flags);
  }

  /** Pages with queued waiters; 0 when the machine is quiet. */
  get waitingPages(): number {
    return this.waiters.size;
  }

  private enqueue(pfn: number, wantsLock: boolean): Promise<void> {
    return new Promise((resolve) => {
      const queue = this.waiters.get(pfn);
      const waiter = { wantsLock, wake: resolve };
      if (queue === undefined) this.waiters.set(pfn, [waiter]);
      else queue.push(waiter);
      this.flags[pfn]! |= PG_WAITERS;
    });
  }

  private wakeWaiters(pfn: number, flags: number): void {
    const queue = this.waiters.get(pfn) ?? [];
    const heir = queue.findIndex((waiter) => waiter.wantsLock);
    const rest = queue.filter((waiter, at) => waiter.wantsLock && at !== heir);
    const awake = queue.filter((waiter, at) => !waiter.wantsLock || at === heir);
    let next = flags & ~PG_WAITERS;
    if (rest.length > 0) {
      next |= PG_WAITERS;
      this.waiters.set(pfn, rest);
    } else {
      this.waiters.delete(pfn);
    }
    // With an heir the lock bit stays set: ownership passes, and nobody gets in between.
    this.flags[pfn] = heir >= 0 ? next : next & ~PG_LOCKED;
    for (const waiter of awake) waiter.wake();
  }
}
