/**
 * Device memory in chunks (dmirror_allocate_chunk, dmirror_devmem_alloc_page and
 * dmirror_devmem_free of lib/test_hmm.c). Each device owns a region of pfns above RAM; a chunk is a
 * part of it that is registered as a `dev_pagemap` on demand. Free pages form a LIFO list threaded
 * through zone_device_data; a fresh chunk is handed out in ascending order, so that batches land in
 * contiguous frames while the list is young.
 *
 * A page pfn is also the engine's frame: nothing here reads or writes page contents.
 *
 * Large folios come from chunks of their own, carved into naturally aligned PMD folios (what is
 * left over at the ends becomes single pages), and have a free list of their own: the two pools
 * never convert. A folio that was split meanwhile comes back as single pages, and stays so until
 * all of its chunk is free.
 *
 * Coherent memory is the same with another region: frames of the shared memory behind RAM, at a
 * fixed place, in one chunk of single pages.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../base/units.ts';
import {
  MAX_PAGEMAPS,
  MEMORY_DEVICE_COHERENT,
  MEMORY_DEVICE_PRIVATE,
  memremapPages,
  memunmapPages,
  zoneDevicePageInit,
  zoneDevicePagesInit,
} from '../mm/memremap.ts';
import type { DevPagemap, DevPagemapOps } from '../mm/memremap.ts';
import type { System } from '../mm/mm-types.ts';
import { requestFreeMemRegion, requestMemRegion } from '../mm/system.ts';

/** How a CPU fault brings a page home. */
type MigrateToRam = NonNullable<DevPagemapOps['migrateToRam']>;

/** A registered part of the device's region. */
export interface DeviceChunk {
  readonly pgmap: DevPagemap;
  readonly startPfn: number;
  readonly nrPages: number;
  /** Carved into large folios. */
  isLarge: boolean;
  /** Being released: its pages are discarded when freed instead of being recycled. */
  removing: boolean;
}

/** End of the free list; pfn 0 is RAM and can't be in it. */
const NO_PAGE = 0;

/**
 * The smallest chunk, in pages, with which `devices` devices of `devicePages` each can be used to
 * the last page: every chunk takes one of the machine's MAX_PAGEMAPS.
 *
 * @param coherentDevices Devices besides, which have one chunk each.
 */
export function smallestChunk(devices: number, devicePages: number, coherentDevices = 0): number {
  return Math.ceil(devicePages / Math.floor((MAX_PAGEMAPS - coherentDevices) / devices));
}

/** True when no page of the chunk is live: only its registration holds a reference. */
function isIdle(chunk: DeviceChunk): boolean {
  return chunk.pgmap.ref === 1;
}

export class DeviceMemory {
  readonly sys: System;
  /** Identity compared with pgmap_owner. */
  readonly owner: object;
  /** Pages that the device has in all. */
  readonly capacityPages: number;
  readonly chunkPages: number;
  readonly startPfn: number;
  /** MEMORY_DEVICE_PRIVATE or MEMORY_DEVICE_COHERENT. */
  readonly type: number;
  readonly chunks: (DeviceChunk | null)[];
  /** Pages handed out and returned since boot (calloc and cfree of the test device). */
  calloc = 0;
  cfree = 0;
  /** Nothing is handed out: the device is suspended. */
  isClosed = false;
  /** Nothing is handed out: an injected failure. */
  isShort = false;
  private freeHead = NO_PAGE;
  /** Free large folios, by their heads. */
  /** Set by the device: whether a CPU that faults on a page has to wait (DevPagemapOps). */
  holdsBack: DevPagemapOps['holdsBack'] | null = null;
  private freeFolios = NO_PAGE;
  private readonly ops: DevPagemapOps;

  private constructor(
    sys: System,
    startPfn: number,
    capacityPages: number,
    chunkPages: number,
    owner: object,
    migrateToRam: MigrateToRam,
    type: number,
  ) {
    this.sys = sys;
    this.startPfn = startPfn;
    this.type = type;
    this.capacityPages = capacityPages;
    this.chunkPages = chunkPages;
    this.owner = owner;
    this.chunks = Array.from({ length: Math.ceil(capacityPages / chunkPages) }, () => null);
    this.ops = {
      holdsBack: (vmf) => this.holdsBack?.(vmf) ?? null,
      folioFree: (pfn, order) => this.folioFree(pfn, order),
      pagesFree: (pfns, count) => this.pagesFree(pfns, count),
      migrateToRam,
    };
  }

  /**
   * Reserves the device's region of pfns, and registers a chunk of single pages as Linux does; more
   * follow on demand.
   *
   * @param capacityPages Pages of the device. @param chunkPages Pages of one chunk.
   * @param coherentPfn For coherent memory, its first frame; null is private memory.
   * @returns the memory; ENOMEM when the machine has no such region left or no pagemap, EBUSY and
   * EINVAL for coherent frames that somebody has or that are none.
   */
  static create(
    sys: System,
    capacityPages: number,
    chunkPages: number,
    owner: object,
    migrateToRam: MigrateToRam,
    coherentPfn: number | null = null,
  ): DeviceMemory | number {
    const args = [capacityPages, chunkPages, owner, migrateToRam] as const;
    if (coherentPfn !== null) {
      const status = requestMemRegion(sys, coherentPfn, capacityPages);
      if (isErr(status)) return status;
      return new DeviceMemory(sys, coherentPfn, ...args, MEMORY_DEVICE_COHERENT);
    }
    const startPfn = requestFreeMemRegion(sys, capacityPages);
    if (isErr(startPfn)) return startPfn;
    const memory = new DeviceMemory(sys, startPfn, ...args, MEMORY_DEVICE_PRIVATE);
    const status = memory.fillFreeList();
    return isErr(status) ? status : memory;
  }

  /** Pages handed out and not yet returned. */
  get pagesInUse(): number {
    return this.calloc - this.cfree;
  }

  /** True when the pfn lies in this device's region. */
  has(pfn: number): boolean {
    return pfn >= this.startPfn && pfn < this.startPfn + this.capacityPages;
  }

  /**
   * A device page in the state that migrate_vma wants in dst[]: one reference, locked
   * (dmirror_devmem_alloc_page). Its contents are whatever was there: the caller copies or clears.
   *
   * @returns the pfn, or ENOMEM when the device is full.
   */
  allocPage(): number {
    const status = this.fillFreeList();
    if (isErr(status)) return status;
    const pfn = this.freeHead;
    this.freeHead = this.sys.mem.zoneDeviceData[pfn]!;
    this.sys.mem.zoneDeviceData[pfn] = 0;
    zoneDevicePageInit(this.sys, pfn);
    this.calloc++;
    return pfn;
  }

  /**
   * The same for several pages.
   *
   * @param pfns Output; its first `count`.
   * @returns how many there are, 0 to `count`: fewer when the device is full.
   */
  allocPages(pfns: Uint32Array, count: number): number {
    let taken = 0;
    // What is taken is live before a chunk is looked for: one that looks idle is carved anew.
    while (taken < count && this.fillFreeList() === 0) {
      taken = this.takeFree(pfns, taken, count);
    }
    this.calloc += taken;
    return taken;
  }

  /** Makes free pages live until slot `to` of `pfns` or the list ends. @returns the slot. */
  private takeFree(pfns: Uint32Array, from: number, to: number): number {
    const link = this.sys.mem.zoneDeviceData;
    let head = this.freeHead;
    let at = from;
    for (; at < to && head !== NO_PAGE; at++) {
      pfns[at] = head;
      const next = link[head]!;
      link[head] = NO_PAGE;
      head = next;
    }
    this.freeHead = head;
    zoneDevicePagesInit(this.sys, pfns, from, at);
    return at;
  }

  /** Sees to it that the list has a page. @returns 0, or ENOMEM when the device is full. */
  private fillFreeList(): number {
    if (this.isClosed || this.isShort) return errno.ENOMEM;
    if (this.freeHead !== NO_PAGE) return 0;
    const status = this.allocateChunk(false);
    if (isErr(status)) return status;
    return this.freeHead === NO_PAGE ? errno.ENOMEM : 0;
  }

  /**
   * A large device folio in the state that migrate_vma wants: one reference, locked.
   *
   * @returns the pfn of its head; ENOMEM when the device has none and no room for a chunk of them,
   * and for coherent memory: its one chunk is of single pages, as in Linux.
   */
  allocFolio(): number {
    if (this.type === MEMORY_DEVICE_COHERENT || this.isClosed || this.isShort) return errno.ENOMEM;
    if (this.freeFolios === NO_PAGE) {
      const status = this.allocateChunk(true);
      if (isErr(status)) return status;
      if (this.freeFolios === NO_PAGE) return errno.ENOMEM;
    }
    const pfn = this.freeFolios;
    this.freeFolios = this.sys.mem.zoneDeviceData[pfn]!;
    this.sys.mem.zoneDeviceData[pfn] = 0;
    zoneDevicePageInit(this.sys, pfn, HPAGE_PMD_ORDER);
    this.calloc += HPAGE_PMD_NR;
    return pfn;
  }

  /** Takes the chunk's free pages out of the list; pages in use are dropped when they come back. */
  beginRemove(chunk: DeviceChunk): void {
    chunk.removing = true;
    this.freeHead = this.without(chunk, this.freeHead);
    this.freeFolios = this.without(chunk, this.freeFolios);
  }

  /** The list that begins at `first` less what lies in the chunk. @returns its new beginning. */
  private without(chunk: DeviceChunk, first: number): number {
    const link = this.sys.mem.zoneDeviceData;
    const end = chunk.startPfn + chunk.nrPages;
    let head = NO_PAGE;
    let tail = NO_PAGE;
    for (let pfn = first; pfn !== NO_PAGE;) {
      const next = link[pfn]!;
      link[pfn] = NO_PAGE;
      if (pfn < chunk.startPfn || pfn >= end) {
        if (tail === NO_PAGE) head = pfn;
        else link[tail] = pfn;
        tail = pfn;
      }
      pfn = next;
    }
    return head;
  }

  /** Takes back `beginRemove`: the chunk's free pages return to the list. */
  cancelRemove(chunk: DeviceChunk): void {
    chunk.removing = false;
    this.recycle(chunk);
  }

  /** Puts every free page of a chunk on its list: whole folios, where it is carved into them. */
  private recycle(chunk: DeviceChunk): void {
    const { mem } = this.sys;
    const isFree = (pfn: number): boolean => mem.refcount[mem.folioOf(pfn)] === 0;
    for (let end = chunk.startPfn + chunk.nrPages; end > chunk.startPfn;) {
      const head = Math.max(chunk.startPfn, end - 1 - ((end - 1) % HPAGE_PMD_NR));
      let used = 0;
      for (let pfn = head; pfn < end; pfn++) if (!isFree(pfn)) used++;
      if (chunk.isLarge && used === 0 && end - head === HPAGE_PMD_NR) this.pushFolio(head);
      else for (let pfn = end - 1; pfn >= head; pfn--) if (isFree(pfn)) this.pushPage(pfn);
      end = head;
    }
  }

  private pushPage(pfn: number): void {
    this.sys.mem.zoneDeviceData[pfn] = this.freeHead;
    this.freeHead = pfn;
  }

  private pushFolio(head: number): void {
    this.sys.mem.zoneDeviceData[head] = this.freeFolios;
    this.freeFolios = head;
  }

  /** Unregisters an emptied chunk. May wait until its last page is free. */
  async finishRemove(chunk: DeviceChunk): Promise<void> {
    const at = this.chunks.indexOf(chunk);
    assert(at >= 0, 'a chunk is removed once');
    const pending: MaybePromise<void> = memunmapPages(this.sys, chunk.pgmap);
    await pending;
    this.chunks[at] = null;
  }

  /** @param isLarge Whether it is carved into large folios. */
  private allocateChunk(isLarge: boolean): number {
    const at = this.chunks.indexOf(null);
    if (at < 0) return this.convertIdleChunk(isLarge);
    const startPfn = this.startPfn + at * this.chunkPages;
    const nrPages = Math.min(this.chunkPages, this.startPfn + this.capacityPages - startPfn);
    const pgmap: DevPagemap = {
      type: this.type,
      startPfn,
      nrPages,
      owner: this.owner,
      ops: this.ops,
      ref: 0,
      id: 0,
    };
    const status = memremapPages(this.sys, pgmap);
    if (isErr(status)) return status;
    const chunk = { pgmap, startPfn, nrPages, isLarge, removing: false };
    this.chunks[at] = chunk;
    this.recycle(chunk);
    return 0;
  }

  /**
   * Carves a chunk anew in which nothing is in use, so that a device of fixed size does not run out
   * of one kind of memory while all of the other kind is free. One that is carved into folios
   * counts for folios, too: they may have been split since. Our own.
   */
  private convertIdleChunk(isLarge: boolean): number {
    const idle = this.chunks.find(
      (chunk) => chunk !== null && !chunk.removing && (isLarge || chunk.isLarge) && isIdle(chunk),
    );
    if (idle === undefined || idle === null) return errno.ENOMEM;
    this.freeHead = this.without(idle, this.freeHead);
    this.freeFolios = this.without(idle, this.freeFolios);
    idle.isLarge = isLarge;
    this.recycle(idle);
    return 0;
  }

  /** Last reference gone (dev_pagemap_ops.folio_free, dmirror_devmem_free). */
  private folioFree(pfn: number, order: number): void {
    this.cfree += 1 << order;
    if (this.chunkOf(pfn).removing) return;
    if (order !== 0) this.pushFolio(pfn);
    else this.pushPage(pfn);
  }

  /** The same for single pages of one chunk. */
  private pagesFree(pfns: Uint32Array, count: number): void {
    this.cfree += count;
    if (this.chunkOf(pfns[0]!).removing) return;
    const link = this.sys.mem.zoneDeviceData;
    let head = this.freeHead;
    for (let i = 0; i < count; i++) {
      link[pfns[i]!] = head;
      head = pfns[i]!;
    }
    this.freeHead = head;
  }

  private chunkOf(pfn: number): DeviceChunk {
    const chunk = this.chunks[Math.floor((pfn - this.startPfn) / this.chunkPages)];
    assert(chunk !== null && chunk !== undefined, 'a freed device page belongs to a chunk');
    return chunk;
  }
}
