/**
 * Device-private memory in chunks (dmirror_allocate_chunk, dmirror_devmem_alloc_page and
 * dmirror_devmem_free of lib/test_hmm.c). Each device owns a region of pfns above RAM; a chunk is a
 * part of it that is registered as a `dev_pagemap` on demand. Free pages form a LIFO list threaded
 * through zone_device_data; a fresh chunk is handed out in ascending order, so that batches land in
 * contiguous frames while the list is young.
 *
 * A page pfn is also the engine's VRAM frame: nothing here reads or writes page contents.
 * Leaves out: PMD folios (they get a list of their own when they come).
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import {
  MAX_PAGEMAPS,
  MEMORY_DEVICE_PRIVATE,
  memremapPages,
  memunmapPages,
  zoneDevicePageInit,
} from '../mm/memremap.ts';
import type { DevPagemap, DevPagemapOps } from '../mm/memremap.ts';
import type { System } from '../mm/mm-types.ts';
import { requestFreeMemRegion } from '../mm/system.ts';

/** How a CPU fault brings a page home. */
type MigrateToRam = NonNullable<DevPagemapOps['migrateToRam']>;

/** A registered part of the device's region. */
export interface DeviceChunk {
  readonly pgmap: DevPagemap;
  readonly startPfn: number;
  readonly nrPages: number;
  /** Being released: its pages are discarded when freed instead of being recycled. */
  removing: boolean;
}

/** End of the free list; pfn 0 is RAM and can't be in it. */
const NO_PAGE = 0;

/**
 * The smallest chunk, in pages, with which `devices` devices of `devicePages` each can be used to
 * the last page: every chunk takes one of the machine's MAX_PAGEMAPS.
 */
export function smallestChunk(devices: number, devicePages: number): number {
  return Math.ceil(devicePages / Math.floor(MAX_PAGEMAPS / devices));
}

export class DeviceMemory {
  readonly sys: System;
  /** Identity compared with pgmap_owner. */
  readonly owner: object;
  /** Pages that the device has in all. */
  readonly capacityPages: number;
  readonly chunkPages: number;
  readonly startPfn: number;
  readonly chunks: (DeviceChunk | null)[];
  /** Pages handed out and returned since boot (calloc and cfree of the test device). */
  calloc = 0;
  cfree = 0;
  private freeHead = NO_PAGE;
  private readonly ops: DevPagemapOps;

  private constructor(
    sys: System,
    startPfn: number,
    capacityPages: number,
    chunkPages: number,
    owner: object,
    migrateToRam: MigrateToRam,
  ) {
    this.sys = sys;
    this.startPfn = startPfn;
    this.capacityPages = capacityPages;
    this.chunkPages = chunkPages;
    this.owner = owner;
    this.chunks = Array.from({ length: Math.ceil(capacityPages / chunkPages) }, () => null);
    this.ops = { folioFree: (pfn) => this.folioFree(pfn), migrateToRam };
  }

  /**
   * Reserves the device's region of pfns; chunks are registered on demand.
   *
   * @param capacityPages Pages of the device. @param chunkPages Pages of one chunk.
   * @returns the memory, or ENOMEM when the machine has no such region left.
   */
  static create(
    sys: System,
    capacityPages: number,
    chunkPages: number,
    owner: object,
    migrateToRam: MigrateToRam,
  ): DeviceMemory | number {
    const startPfn = requestFreeMemRegion(sys, capacityPages);
    if (isErr(startPfn)) return startPfn;
    return new DeviceMemory(sys, startPfn, capacityPages, chunkPages, owner, migrateToRam);
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
    if (this.freeHead === NO_PAGE) {
      const status = this.allocateChunk();
      if (isErr(status)) return status;
    }
    const pfn = this.freeHead;
    this.freeHead = this.sys.mem.zoneDeviceData[pfn]!;
    this.sys.mem.zoneDeviceData[pfn] = 0;
    zoneDevicePageInit(this.sys, pfn);
    this.calloc++;
    return pfn;
  }

  /** Takes the chunk's free pages out of the list; pages in use are dropped when they come back. */
  beginRemove(chunk: DeviceChunk): void {
    chunk.removing = true;
    const link = this.sys.mem.zoneDeviceData;
    const end = chunk.startPfn + chunk.nrPages;
    let head = NO_PAGE;
    let tail = NO_PAGE;
    for (let pfn = this.freeHead; pfn !== NO_PAGE;) {
      const next = link[pfn]!;
      link[pfn] = NO_PAGE;
      if (pfn < chunk.startPfn || pfn >= end) {
        if (tail === NO_PAGE) head = pfn;
        else link[tail] = pfn;
        tail = pfn;
      }
      pfn = next;
    }
    this.freeHead = head;
  }

  /** Takes back `beginRemove`: the chunk's free pages return to the list. */
  cancelRemove(chunk: DeviceChunk): void {
    chunk.removing = false;
    const { refcount, zoneDeviceData } = this.sys.mem;
    for (let pfn = chunk.startPfn + chunk.nrPages - 1; pfn >= chunk.startPfn; pfn--) {
      if (refcount[pfn] !== 0) continue;
      zoneDeviceData[pfn] = this.freeHead;
      this.freeHead = pfn;
    }
  }

  /** Unregisters an emptied chunk. May wait until its last page is free. */
  async finishRemove(chunk: DeviceChunk): Promise<void> {
    const at = this.chunks.indexOf(chunk);
    assert(at >= 0, 'a chunk is removed once');
    const pending: MaybePromise<void> = memunmapPages(this.sys, chunk.pgmap);
    await pending;
    this.chunks[at] = null;
  }

  private allocateChunk(): number {
    const at = this.chunks.indexOf(null);
    if (at < 0) return errno.ENOMEM;
    const startPfn = this.startPfn + at * this.chunkPages;
    const nrPages = Math.min(this.chunkPages, this.startPfn + this.capacityPages - startPfn);
    const pgmap: DevPagemap = {
      type: MEMORY_DEVICE_PRIVATE,
      startPfn,
      nrPages,
      owner: this.owner,
      ops: this.ops,
      ref: 0,
      id: 0,
    };
    const status = memremapPages(this.sys, pgmap);
    if (isErr(status)) return status;
    this.chunks[at] = { pgmap, startPfn, nrPages, removing: false };
    const link = this.sys.mem.zoneDeviceData;
    for (let pfn = startPfn; pfn < startPfn + nrPages - 1; pfn++) link[pfn] = pfn + 1;
    link[startPfn + nrPages - 1] = this.freeHead;
    this.freeHead = startPfn;
    return 0;
  }

  /** Last reference gone (dev_pagemap_ops.folio_free, dmirror_devmem_free). */
  private folioFree(pfn: number): void {
    this.cfree++;
    const at = Math.floor((pfn - this.startPfn) / this.chunkPages);
    const chunk = this.chunks[at];
    assert(chunk !== null && chunk !== undefined, 'a freed device page belongs to a chunk');
    if (chunk.removing) return;
    this.sys.mem.zoneDeviceData[pfn] = this.freeHead;
    this.freeHead = pfn;
  }
}
