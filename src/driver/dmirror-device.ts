/**
 * One test device (struct dmirror_device, lib/test_hmm.c): its memory, the mirrors that are open on
 * it, fault-back to RAM, eviction. The device half of migration lives here, since it does not
 * depend on which process asked; dmirror.ts is the half that belongs to an open file.
 *
 * Locking: migrateToRam runs under the faulting process's mmap lock (read) with the fault page
 * locked; eviction takes no mmap lock and so really races with address spaces. Destination pages
 * are locked from allocation to finalize. Device page tables are changed without waiting, in
 * between `migrateVmaPages` and `migrateVmaFinalize`.
 */
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { Mutex } from '../base/mutex.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { CommandList } from '../engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import { VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../mm/memory.ts';
import type { VmFault } from '../mm/memory.ts';
import { MEMORY_DEVICE_COHERENT } from '../mm/memremap.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDeviceRange,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../mm/migrate-device.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_VMA_SELECT_COMPOUND,
  MIGRATE_VMA_SELECT_DEVICE_COHERENT,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  migrateEntryPages,
  migratePfnToPage,
} from '../mm/migrate-types.ts';
import type { MigrateVma } from '../mm/migrate-types.ts';
import type { MmStruct, System, Vma } from '../mm/mm-types.ts';
import { allocHugeFolio, allocPage, allocPages, putPage } from '../mm/page-alloc.ts';
import { markReadahead } from '../mm/readahead.ts';
import { splitFolio } from '../mm/split-folio.ts';
import { vmEventIndex } from '../mm/vmstat.ts';
import { DeviceMemory } from './device-memory.ts';
import type { DeviceChunk } from './device-memory.ts';
import type { DevicePageTable } from './device-page-table.ts';
import { DeviceSleep } from './device-sleep.ts';
import type { FaultAround } from './fault-around.ts';
import { KeptPages } from './kept-pages.ts';
import { MigrateWindowPool } from './migrate-window.ts';
import type { MigrateWindow } from './migrate-window.ts';

const PREFETCH_FAULT_AROUND = vmEventIndex('prefetch_fault_around');

/** What a driver needs from the machine it runs on. */
export interface DriverContext {
  readonly sys: System;
  readonly engine: CopyEngine;
  /** The strategy of copies; may change between operations. */
  strategy: StrategyName;
  /** Milliseconds of a monotonic clock, for time budgets. */
  readonly nowMs: () => number;
}

/** The context's strategy, or `auto` where that one only carries pages towards the device. */
export function readableStrategy(context: DriverContext): StrategyName {
  return context.strategy === 'writeBuffer' ? 'auto' : context.strategy;
}

/** What the device knows of a mirror that is open on it. */
export interface OpenMirror {
  readonly mm: MmStruct;
  readonly pageTable: DevicePageTable;
}

/** Frames in VRAM through which the device reaches pages that stay in RAM. */
export const APERTURE_PAGES = 64;

export class DmirrorDevice {
  readonly context: DriverContext;
  readonly minor: number;
  readonly memory: DeviceMemory;
  readonly mirrors = new Set<OpenMirror>();
  readonly windows = new MigrateWindowPool();
  /** First VRAM frame of the aperture, APERTURE_PAGES long; `apertureLock` serialises its users. */
  readonly apertureFrame: number;
  readonly apertureLock = new Mutex();
  /** Bytes that went into the aperture and out of it since boot. */
  apertureBytes = 0;
  /** What a CPU fault brings home besides its page; null is nothing. */
  faultAround: FaultAround | null = null;
  /**
   * Held by who serves a kernel's faults, until the pass that they are for has been submitted: what
   * one kernel was granted no other kernel's faults take away before it was used.
   */
  readonly faultLock = new Mutex();
  /** Pages that the policies of launches keep here for a while. */
  readonly kept = new KeptPages();
  /** Whether it is suspended. */
  readonly sleep = new DeviceSleep();
  /** The list of the pass that holds `apertureLock`. */
  readonly passList = new CommandList(APERTURE_PAGES);

  private constructor(context: DriverContext, minor: number, memory: DeviceMemory, frame: number) {
    this.context = context;
    this.minor = minor;
    this.memory = memory;
    this.apertureFrame = frame;
    memory.holdsBack = (vmf) => this.kept.holdsBack(vmf);
  }

  /**
   * Creates a device.
   *
   * @param capacityPages Pages of its memory. @param chunkPages Pages of a chunk.
   * @param apertureFrame First of APERTURE_PAGES VRAM frames that no pagemap covers.
   * @param coherentPfn For a coherent device, the first frame of its memory; null is a private one.
   * @returns the device, or an errno of DeviceMemory.create.
   */
  static create(
    context: DriverContext,
    minor: number,
    capacityPages: number,
    chunkPages: number,
    apertureFrame: number,
    coherentPfn: number | null = null,
  ): DmirrorDevice | number {
    const owner = { name: `dmirror${minor}` };
    // The ops need the device and the device needs the memory: the closure reads it when it runs.
    const toRam = (vmf: VmFault): Promise<number> => device.migrateToRam(vmf);
    const memory = DeviceMemory.create(
      context.sys,
      capacityPages,
      chunkPages,
      owner,
      toRam,
      coherentPfn,
    );
    if (typeof memory === 'number') return memory;
    const device = new DmirrorDevice(context, minor, memory, apertureFrame);
    return device;
  }

  /** The MIGRATE_VMA_SELECT_* flag of this device's own pages. */
  get selectOwn(): number {
    return this.memory.type === MEMORY_DEVICE_COHERENT
      ? MIGRATE_VMA_SELECT_DEVICE_COHERENT
      : MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
  }

  /** Arguments of a migration of [start, end) by this device, on the arrays of `window`. */
  migrateArgs(
    window: MigrateWindow,
    vma: Vma,
    start: number,
    end: number,
    flags: number,
    faultPage: number,
  ): MigrateVma {
    const { args } = window;
    args.vma = vma;
    args.start = start;
    args.end = end;
    args.cpages = 0;
    args.npages = 0;
    args.pgmapOwner = this.memory.owner;
    args.flags = flags;
    args.faultPage = faultPage;
    return args;
  }

  /**
   * Brings the page of a CPU fault home (dev_pagemap_ops.migrate_to_ram, dmirror_devmem_fault).
   *
   * @returns 0 (also when somebody else moved the page first), VM_FAULT_OOM, VM_FAULT_SIGBUS when
   * the contents are lost. Context: mmap lock held for read, fault page locked and referenced;
   * waits.
   */
  async migrateToRam(vmf: VmFault): Promise<number> {
    const page = vmf.address - (vmf.address % PAGE_SIZE);
    // A PMD that faulted comes home whole; of a large folio that PTEs map, the one page.
    if (!vmf.ptePresent) {
      const start = page - (page % PMD_SIZE);
      return this.migrateFaulted(vmf, start, start + PMD_SIZE);
    }
    const { mem } = this.context.sys;
    if (this.faultAround !== null && !mem.isLarge(mem.folioOf(vmf.page))) {
      const around = this.faultAround.next(vmf.vma, page);
      const { start, end } = this.kept.narrow(vmf.vma.mm, around, page);
      const outcome = await this.migrateFaulted(vmf, start, end);
      // Where RAM is short, the page alone may find room.
      if (outcome !== VM_FAULT_OOM) return outcome;
    }
    return this.migrateFaulted(vmf, page, page + PAGE_SIZE);
  }

  /** Brings the device pages of a range home, the page that faulted among them. */
  private async migrateFaulted(vmf: VmFault, start: number, end: number): Promise<number> {
    const window = this.windows.take((end - start) / PAGE_SIZE);
    const select = this.selectOwn | MIGRATE_VMA_SELECT_COMPOUND;
    const args = this.migrateArgs(window, vmf.vma, start, end, select, vmf.page);
    const slot = Math.floor((vmf.address - start) / PAGE_SIZE);
    try {
      if (isErr(migrateVmaSetup(args))) return VM_FAULT_SIGBUS;
      if (args.cpages === 0) return 0;
      const allocated = this.allocateHome(window);
      if (isErr(allocated)) return VM_FAULT_OOM;
      const copied = this.finishHome(window, await this.copyOut(window));
      if (vmf.ptePresent) this.markUnasked(window, slot, PREFETCH_FAULT_AROUND);
      // What was lost beside the page that faulted is found out when it is asked for.
      return isErr(copied) && !hasMoved(window, slot) ? VM_FAULT_SIGBUS : 0;
    } finally {
      this.windows.give(window);
    }
  }

  /**
   * Marks the pages of a window that came home without having been asked for.
   *
   * @param asked Slot of the page that was, -1 for none. @param event Counter of the way it came.
   */
  markUnasked(window: MigrateWindow, asked: number, event: number): void {
    const { sys } = this.context;
    for (let i = 0; i < window.args.npages; i++) {
      if (i === asked || !hasMoved(window, i)) continue;
      markReadahead(sys, migratePfnToPage(window.dst[i]!), event);
    }
  }

  /**
   * First step of bringing the collected device pages of a window home: allocates RAM. Then come
   * `copyOut` and `finishHome`.
   *
   * @returns 0; ENOMEM when RAM is full: no page moves and it is all over. Context: after
   * migrateVmaSetup, mmap lock held.
   */
  allocateHome(window: MigrateWindow): number {
    const { args } = window;
    const allocated = this.allocateRam(window, args.npages, true);
    if (isErr(allocated)) migrateVmaFinalize(args);
    else this.tellOfLeaving(args);
    return allocated;
  }

  /**
   * Tells those who map pages for kernels that they are about to be copied home: what a kernel
   * stored there behind the copy would be lost. The mirrors' own entries go when the copy is done:
   * who uses them locks the page.
   */
  private tellOfLeaving({ vma, src, start, npages }: MigrateVma): void {
    for (const { mm, pageTable } of this.mirrors) {
      if (mm !== vma.mm || !pageTable.isHeard) continue;
      for (let i = 0; i < npages; i += migrateEntryPages(src[i]!)) {
        if ((src[i]! & MIGRATE_PFN_MIGRATE) === 0) continue;
        const page = start / PAGE_SIZE + i;
        pageTable.tell(page, page + migrateEntryPages(src[i]!));
      }
    }
  }

  /**
   * Sends one page of the device home, or the large folio that it belongs to, whoever has it.
   *
   * @param pfn One of the device's. @returns 0, also when it stayed, being locked or pinned; ENOMEM
   * when RAM is full; ENODEV or EIO. Context: no lock; waits.
   */
  evictPage(pfn: number): Promise<number> {
    const { mem } = this.context.sys;
    return this.evictRange(mem.folioOf(pfn), mem.folioNrPages(pfn));
  }

  /**
   * Last step of bringing pages home. Afterwards MIGRATE in src[] says which pages made it.
   *
   * @param status What `copyOut` answered. @returns the same: ENODEV or EIO when pages whose copy
   * did not complete stay.
   */
  finishHome(window: MigrateWindow, status: number): number {
    const { args } = window;
    window.settle(this.context.sys, status);
    migrateVmaPages(args);
    this.unmapFromMirrors(args.vma.mm, window, args.start, args.npages);
    migrateVmaFinalize(args);
    return status;
  }

  /**
   * Gives each migrating device page of the window a locked RAM page and records the copy. Holes
   * and pages without a struct page are left alone: they are not on the device.
   *
   * @param maySplit Whether single pages may take over a large folio.
   * @returns 0; ENOMEM after giving back what was allocated: no page of the window migrates then.
   */
  private allocateRam(window: MigrateWindow, npages: number, maySplit: boolean): number {
    const { sys } = this.context;
    for (let i = 0; i < npages; i += migrateEntryPages(window.src[i]!)) {
      const entry = window.src[i]!;
      const source = migratePfnToPage(entry);
      if ((entry & MIGRATE_PFN_MIGRATE) === 0 || source < 0) continue;
      if (isErr(this.allocateRamFor(window, i, maySplit))) {
        for (let j = 0; j < npages; j++) window.dropDestination(sys, j);
        window.list.reset();
        return errno.ENOMEM;
      }
    }
    return 0;
  }

  /** One slot of allocateRam: a large folio for a large one if there is any, else its pages. */
  private allocateRamFor(window: MigrateWindow, slot: number, maySplit: boolean): number {
    const { sys } = this.context;
    const isLarge = (window.src[slot]! & MIGRATE_PFN_COMPOUND) !== 0;
    const fails = this.takeAllocFailure();
    const allocated = isLarge ? allocHugeFolio : allocPage;
    const pfn = fails ? errno.ENOMEM : allocated(sys);
    if (!isErr(pfn)) {
      sys.mem.trylockPage(pfn);
      window.fillSlot(slot, pfn, isLarge ? HPAGE_PMD_NR : 1);
      return 0;
    }
    return isLarge && maySplit ? this.allocateRamPages(window, slot) : pfn;
  }

  /**
   * Single pages for a large folio. Not part of its caller, where what this function holds on to
   * would be made anew for each page.
   */
  private allocateRamPages(window: MigrateWindow, slot: number): number {
    const { sys } = this.context;
    return window.fillWithPages(sys, slot, (pfns, count) => allocLocked(sys, pfns, count));
  }

  /** Runs the window's copies from the device; answers as the engine does. May wait. */
  copyOut(window: MigrateWindow): MaybePromise<number> {
    return window.copy(this.context.engine, readableStrategy(this.context));
  }

  /**
   * Drops the device mappings of the pages that really moved, to the device or from it. Our own
   * MIGRATE events erase nothing, so every mirror of this device on that address space is our duty.
   */
  unmapFromMirrors(mm: MmStruct, window: MigrateWindow, start: number, npages: number): void {
    for (const mirror of this.mirrors) {
      if (mirror.mm !== mm) continue;
      for (let i = 0; i < npages;) {
        const end = endOfMoved(window, i, npages);
        if (end > i) mirror.pageTable.eraseRange(start + i * PAGE_SIZE, start + end * PAGE_SIZE);
        i = end + (end < npages ? migrateEntryPages(window.src[end]!) : 0);
      }
    }
  }

  private readonly releaseLock = new Mutex();

  /** Makes the next page allocation of a migration fail, once (HMM_DMIRROR_FLAG_FAIL_ALLOC). */
  failNextAllocation = false;

  /** Consumes the injected failure. */
  takeAllocFailure(): boolean {
    const fail = this.failNextAllocation;
    this.failNextAllocation = false;
    return fail;
  }

  /**
   * Moves everything on the device to RAM and gives the chunks back (HMM_DMIRROR_RELEASE). Pages
   * that are locked by a fault or migration in progress are waited for.
   *
   * @returns 0; ENOMEM when RAM is full, EBUSY for a coherent page that is pinned, ENODEV or EIO
   * when contents could not be read: such pages stay.
   */
  async releaseChunks(): Promise<number> {
    // One after the other, so that no caller hears of success before the device is empty.
    await this.releaseLock.lock();
    try {
      return await this.releaseChunksLocked();
    } finally {
      this.releaseLock.unlock();
    }
  }

  private async releaseChunksLocked(): Promise<number> {
    for (const chunk of this.memory.chunks) {
      if (chunk === null) continue;
      this.memory.beginRemove(chunk);
      const status = await this.evictChunk(chunk);
      if (isErr(status)) {
        this.memory.cancelRemove(chunk);
        return status;
      }
      await this.memory.finishRemove(chunk);
    }
    return 0;
  }

  private async evictChunk(chunk: DeviceChunk): Promise<number> {
    const { mem } = this.context.sys;
    const end = chunk.startPfn + chunk.nrPages;
    for (let pfn = chunk.startPfn; pfn < end;) {
      // By aligned windows, so that each large folio lies in one of them.
      const next = Math.min(end, pfn - (pfn % HPAGE_PMD_NR) + HPAGE_PMD_NR);
      const status = await this.evictRange(pfn, next - pfn);
      if (isErr(status)) return status;
      pfn = next;
    }
    // A second look at what a concurrent fault or migration had locked during the first.
    for (let pfn = chunk.startPfn; pfn < end; pfn++) {
      if (mem.refcount[pfn] === 0) continue;
      const status = await this.evictLeftOver(pfn);
      if (isErr(status)) return status;
    }
    return 0;
  }

  private async evictLeftOver(pfn: number): Promise<number> {
    const { mem } = this.context.sys;
    for (;;) {
      while (mem.refcount[pfn]! > 0 && mem.isLocked(pfn)) await mem.waitOnPageLocked(pfn);
      if (mem.refcount[pfn]! === 0) return 0;
      const status = await this.evictRange(pfn, mem.folioNrPages(pfn));
      if (isErr(status)) return status;
      // Pinned: nobody says when that ends, so there is nothing to wait for.
      if (mem.refcount[pfn]! > 0 && !mem.isLocked(pfn)) return errno.EBUSY;
    }
  }

  /** dmirror_device_evict_chunk, for one window of pfns. */
  private async evictRange(startPfn: number, npages: number): Promise<number> {
    const status = await this.evictWindow(startPfn, npages);
    // Without a VMA mm can't split a folio on the way: where RAM has no large one left, do it
    // first.
    if (status !== errno.ENOMEM || !this.splitFolios(startPfn, npages)) return status;
    return this.evictWindow(startPfn, npages);
  }

  /** Splits the large folios of a range of pfns. @returns whether there was any. */
  private splitFolios(startPfn: number, npages: number): boolean {
    const { sys } = this.context;
    const { mem } = sys;
    let found = false;
    for (let pfn = startPfn; pfn < startPfn + npages; pfn++) {
      if (!mem.isLarge(pfn) || mem.refcount[pfn] === 0 || !mem.trylockPage(pfn)) continue;
      mem.getPage(pfn);
      found = splitFolio(sys, pfn) === 0 || found;
      mem.unlockPage(pfn);
      putPage(sys, pfn);
    }
    return found;
  }

  private async evictWindow(startPfn: number, npages: number): Promise<number> {
    const { sys } = this.context;
    const window = this.windows.take(npages);
    try {
      migrateDeviceRange(sys, window.src, startPfn, npages);
      const allocated = this.allocateRam(window, npages, false);
      if (isErr(allocated)) {
        migrateDeviceFinalize(sys, window.src, window.dst, npages);
        return allocated;
      }
      const copied = window.settle(sys, await this.copyOut(window));
      migrateDevicePages(sys, window.src, window.dst, npages);
      migrateDeviceFinalize(sys, window.src, window.dst, npages);
      return copied;
    } finally {
      this.windows.give(window);
    }
  }
}

/** True when the page of a slot went to its destination, and is a single one. */
function hasMoved(window: MigrateWindow, slot: number): boolean {
  if ((window.src[slot]! & MIGRATE_PFN_MIGRATE) === 0) return false;
  const entry = window.dst[slot]!;
  return migratePfnToPage(entry) >= 0 && (entry & MIGRATE_PFN_COMPOUND) === 0;
}

/** Where the pages end that really moved, from slot `i` on. */
function endOfMoved({ src, dst }: MigrateWindow, i: number, npages: number): number {
  let end = i;
  while (end < npages && (src[end]! & MIGRATE_PFN_MIGRATE) !== 0 && dst[end] !== 0) {
    end += migrateEntryPages(src[end]!);
  }
  return end;
}

/** Allocates locked pages of RAM. @returns how many there are, 0 to `count`. */
function allocLocked(sys: System, pfns: Uint32Array, count: number): number {
  const taken = allocPages(sys, pfns, count);
  for (let i = 0; i < taken; i++) sys.mem.trylockPage(pfns[i]!);
  return taken;
}
