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
import { Mutex } from '../base/mutex.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import { CommandList } from '../engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import { VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../mm/memory.ts';
import type { VmFault } from '../mm/memory.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDeviceRange,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  migratePfn,
  migratePfnToPage,
} from '../mm/migrate-types.ts';
import type { MigrateVma } from '../mm/migrate-types.ts';
import type { MmStruct, System, Vma } from '../mm/mm-types.ts';
import { allocPage } from '../mm/page-alloc.ts';
import { DeviceMemory } from './device-memory.ts';
import type { DeviceChunk } from './device-memory.ts';
import type { DevicePageTable } from './device-page-table.ts';
import { MigrateWindowPool } from './migrate-window.ts';
import type { MigrateWindow } from './migrate-window.ts';

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
  /** The list of the pass that holds `apertureLock`. */
  readonly passList = new CommandList(APERTURE_PAGES);

  private constructor(context: DriverContext, minor: number, memory: DeviceMemory, frame: number) {
    this.context = context;
    this.minor = minor;
    this.memory = memory;
    this.apertureFrame = frame;
  }

  /**
   * Creates a device.
   *
   * @param capacityPages Pages of private memory. @param chunkPages Pages of a chunk.
   * @param apertureFrame First of APERTURE_PAGES VRAM frames that no pagemap covers.
   * @returns the device, or ENOMEM.
   */
  static create(
    context: DriverContext,
    minor: number,
    capacityPages: number,
    chunkPages: number,
    apertureFrame: number,
  ): DmirrorDevice | number {
    const owner = { name: `dmirror${minor}` };
    // The ops need the device and the device needs the memory: the closure reads it when it runs.
    const toRam = (vmf: VmFault): Promise<number> => device.migrateToRam(vmf);
    const memory = DeviceMemory.create(context.sys, capacityPages, chunkPages, owner, toRam);
    if (typeof memory === 'number') return memory;
    const device = new DmirrorDevice(context, minor, memory, apertureFrame);
    return device;
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
    return {
      vma,
      src: window.src,
      dst: window.dst,
      start,
      end,
      cpages: 0,
      npages: 0,
      pgmapOwner: this.memory.owner,
      flags,
      faultPage,
      reasons: window.reasons,
    };
  }

  /**
   * Brings the page of a CPU fault home (dev_pagemap_ops.migrate_to_ram, dmirror_devmem_fault).
   *
   * @returns 0 (also when somebody else moved the page first), VM_FAULT_OOM, VM_FAULT_SIGBUS when
   * the contents are lost. Context: mmap lock held for read, fault page locked and referenced;
   * waits.
   */
  async migrateToRam(vmf: VmFault): Promise<number> {
    const window = this.windows.take(1);
    const start = vmf.address - (vmf.address % PAGE_SIZE);
    const select = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
    const args = this.migrateArgs(window, vmf.vma, start, start + PAGE_SIZE, select, vmf.page);
    try {
      if (isErr(migrateVmaSetup(args))) return VM_FAULT_SIGBUS;
      if (args.cpages === 0) return 0;
      const status = await this.bringHome(args, window);
      if (status === errno.ENOMEM) return VM_FAULT_OOM;
      return isErr(status) ? VM_FAULT_SIGBUS : 0;
    } finally {
      this.windows.give(window);
    }
  }

  /**
   * Moves the collected device pages of `args` to RAM, from allocation to finalize. Afterwards
   * MIGRATE in src[] says which pages made it.
   *
   * @returns 0; ENOMEM when RAM is full: no page moved; ENODEV or EIO: pages whose copy did not
   * complete stay. Context: after migrateVmaSetup, mmap lock held; waits.
   */
  async bringHome(args: MigrateVma, window: MigrateWindow): Promise<number> {
    const allocated = this.allocateRam(window, args.npages);
    if (isErr(allocated)) {
      migrateVmaFinalize(args);
      return allocated;
    }
    const copied = await this.copyOut(window);
    migrateVmaPages(args);
    this.unmapFromMirrors(args.vma.mm, window, args.start, args.npages);
    migrateVmaFinalize(args);
    return copied;
  }

  /**
   * Gives each migrating device page of the window a locked RAM page and records the copy. Holes
   * and pages without a struct page are left alone: they are not on the device.
   *
   * @returns 0; ENOMEM after giving back what was allocated: no page of the window migrates then.
   */
  private allocateRam(window: MigrateWindow, npages: number): number {
    const { sys } = this.context;
    for (let i = 0; i < npages; i++) {
      const entry = window.src[i]!;
      const source = migratePfnToPage(entry);
      if ((entry & MIGRATE_PFN_MIGRATE) === 0 || source < 0) continue;
      const pfn = this.takeAllocFailure() ? errno.ENOMEM : allocPage(sys);
      if (isErr(pfn)) {
        for (let j = 0; j < i; j++) window.dropDestination(sys, j);
        window.list.reset();
        return errno.ENOMEM;
      }
      sys.mem.trylockPage(pfn);
      window.nextRowFills(i);
      window.list.copy(source, pfn);
      window.dst[i] = migratePfn(pfn) | (entry & MIGRATE_PFN_WRITE);
    }
    return 0;
  }

  /** Runs the window's copies from the device. */
  private copyOut(window: MigrateWindow): Promise<number> {
    const { sys, engine } = this.context;
    return window.copy(sys, engine, readableStrategy(this.context));
  }

  /**
   * Drops the device mappings of the pages that really moved, to the device or from it. Our own
   * MIGRATE events erase nothing, so every mirror of this device on that address space is our duty.
   */
  unmapFromMirrors(mm: MmStruct, window: MigrateWindow, start: number, npages: number): void {
    for (const mirror of this.mirrors) {
      if (mirror.mm !== mm) continue;
      for (let i = 0; i < npages; i++) {
        const migrated = (window.src[i]! & MIGRATE_PFN_MIGRATE) !== 0;
        if (migrated && window.dst[i] !== 0) mirror.pageTable.erase(start / PAGE_SIZE + i);
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
   * @returns 0; ENOMEM when RAM is full, ENODEV or EIO when contents could not be read: such pages
   *   stay.
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
    for (let pfn = chunk.startPfn; pfn < end; pfn += HPAGE_PMD_NR) {
      const status = await this.evictRange(pfn, Math.min(HPAGE_PMD_NR, end - pfn));
      if (isErr(status)) return status;
    }
    // A second look at what a concurrent fault or migration had locked during the first.
    for (let pfn = chunk.startPfn; pfn < end; pfn++) {
      while (mem.refcount[pfn]! > 0 && mem.isLocked(pfn)) await mem.waitOnPageLocked(pfn);
      if (mem.refcount[pfn]! === 0) continue;
      const status = await this.evictRange(pfn, 1);
      if (isErr(status)) return status;
    }
    return 0;
  }

  /** dmirror_device_evict_chunk, for one window of pfns. */
  private async evictRange(startPfn: number, npages: number): Promise<number> {
    const { sys } = this.context;
    const window = this.windows.take(npages);
    try {
      migrateDeviceRange(sys, window.src, startPfn, npages);
      const allocated = this.allocateRam(window, npages);
      const copied = isErr(allocated) ? allocated : await this.copyOut(window);
      if (!isErr(allocated)) migrateDevicePages(sys, window.src, window.dst, npages);
      migrateDeviceFinalize(sys, window.src, window.dst, npages);
      return copied;
    } finally {
      this.windows.give(window);
    }
  }
}
