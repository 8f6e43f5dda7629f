/*
 * The smallest device that mm can migrate to: a free list, a map of page contents for VRAM, and
 * migrateToRam. Copies are immediate, or wait for a gate that the test opens. A coherent one has
 * its contents where the CPU reaches them.
 */
import { expect } from 'vitest';
import { isPending } from '../../../src/base/maybe.ts';
import type { MaybePromise } from '../../../src/base/maybe.ts';
import { PAGE_SIZE, pageAlignDown } from '../../../src/base/units.ts';
import { VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../../../src/mm/memory.ts';
import type { VmFault } from '../../../src/mm/memory.ts';
import {
  MEMORY_DEVICE_COHERENT,
  MEMORY_DEVICE_PRIVATE,
  memremapPages,
  zoneDevicePageInit,
} from '../../../src/mm/memremap.ts';
import type { DevPagemap } from '../../../src/mm/memremap.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../../src/mm/migrate-types.ts';
import type { MmStruct, System, Vma } from '../../../src/mm/mm-types.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { requestFreeMemRegion, requestMemRegion } from '../../../src/mm/system.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';

export class TinyDevice {
  readonly sys: System;
  readonly pgmap: DevPagemap;
  readonly isCoherent: boolean;
  readonly free: number[] = [];
  /** VRAM: contents by pfn. */
  readonly vram = new Map<number, Uint8Array>();
  /** Faults that migrateToRam has answered. */
  faults = 0;
  /** While set, copies wait for it. */
  gate: Promise<void> | null = null;
  /** When set, what migrateToRam answers without doing anything. */
  broken: number | null = null;

  constructor(sys: System, pages = 32, type = MEMORY_DEVICE_PRIVATE) {
    this.sys = sys;
    this.isCoherent = type === MEMORY_DEVICE_COHERENT;
    const startPfn = this.isCoherent ? takeCoherent(sys, pages) : requestFreeMemRegion(sys, pages);
    this.pgmap = {
      type,
      startPfn,
      nrPages: pages,
      owner: this,
      ops: {
        folioFree: (pfn) => {
          this.vram.delete(pfn);
          this.free.push(pfn);
        },
        migrateToRam: (vmf) => this.migrateToRam(vmf),
      },
      ref: 0,
      id: 0,
    };
    expect(memremapPages(sys, this.pgmap)).toBe(0);
    for (let pfn = startPfn + pages - 1; pfn >= startPfn; pfn--) this.free.push(pfn);
  }

  /** Device pages in use. */
  get used(): number {
    return this.pgmap.nrPages - this.free.length;
  }

  /** Migrates pages of one VMA to the device; how many got there. The mmap lock must be free. */
  migrateIn(mm: MmStruct, addr: number, pages = 1): MaybePromise<number> {
    expect(mm.mmapLock.readTrylock()).toBe(true);
    const vma = vmaLookup(mm, addr);
    if (vma === null) throw new Error('no VMA there');
    const args = this.args(vma, addr, pages, MIGRATE_VMA_SELECT_SYSTEM, NO_FAULT_PAGE);
    expect(migrateVmaSetup(args)).toBe(0);
    const finish = (): number => {
      for (let i = 0; i < args.npages; i++) this.copyIn(args, i);
      migrateVmaPages(args);
      let moved = 0;
      for (const entry of args.src) if ((entry & MIGRATE_PFN_MIGRATE) !== 0) moved++;
      migrateVmaFinalize(args);
      mm.mmapLock.readUnlock();
      return moved;
    };
    return this.gate === null ? finish() : this.gate.then(finish);
  }

  /** Fills a device page, as the copy engine would. */
  writePage(pfn: number, bytes: Uint8Array): void {
    if (this.isCoherent) this.sys.ram.set(bytes, pfn * PAGE_SIZE);
    else this.vram.set(pfn, bytes);
  }

  /** The contents of a device page in use. */
  readPage(pfn: number): Uint8Array {
    const start = pfn * PAGE_SIZE;
    return this.isCoherent ? this.sys.ram.subarray(start, start + PAGE_SIZE) : this.vram.get(pfn)!;
  }

  private args(
    vma: Vma,
    start: number,
    pages: number,
    flags: number,
    faultPage: number,
  ): MigrateVma {
    const end = start + pages * PAGE_SIZE;
    const arrays = { src: new Uint32Array(pages), dst: new Uint32Array(pages) };
    const counts = { cpages: 0, npages: 0, reasons: null };
    return { vma, start, end, flags, faultPage, pgmapOwner: this, ...arrays, ...counts };
  }

  private copyIn(args: MigrateVma, i: number): void {
    const entry = args.src[i]!;
    const pfn = (entry & MIGRATE_PFN_MIGRATE) === 0 ? undefined : this.free.pop();
    if (pfn === undefined) return;
    zoneDevicePageInit(this.sys, pfn);
    const source = migratePfnToPage(entry);
    const bytes = new Uint8Array(PAGE_SIZE);
    const start = source * PAGE_SIZE;
    if (source >= 0) bytes.set(this.sys.ram.subarray(start, start + PAGE_SIZE));
    this.writePage(pfn, bytes);
    args.dst[i] = migratePfn(pfn);
  }

  private migrateToRam(vmf: VmFault): MaybePromise<number> {
    this.faults++;
    if (this.broken !== null) return this.broken;
    const start = pageAlignDown(vmf.address);
    const flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
    const args = this.args(vmf.vma, start, 1, flags, vmf.page);
    if (migrateVmaSetup(args) !== 0) return VM_FAULT_SIGBUS;
    if (args.cpages === 0) return 0;
    const finish = (): number => {
      const target = allocPage(this.sys);
      if (target >= 0) {
        this.sys.mem.trylockPage(target);
        this.sys.ram.set(this.vram.get(vmf.page)!, target * PAGE_SIZE);
        args.dst[0] = migratePfn(target);
        migrateVmaPages(args);
      }
      migrateVmaFinalize(args);
      return target >= 0 ? 0 : VM_FAULT_OOM;
    };
    return this.gate === null ? finish() : this.gate.then(finish);
  }

  /** Takes one more reference on a device page, as a driver that works on it has. */
  hold(pfn: number): () => void {
    this.sys.mem.getPage(pfn);
    return () => putPage(this.sys, pfn);
  }
}

/** Reserves the lowest coherent frames that are left. */
function takeCoherent(sys: System, pages: number): number {
  const taken = sys.deviceRegions.filter((region) => region.startPfn < sys.hostPages);
  const startPfn = taken.reduce(
    (start, region) => Math.max(start, region.startPfn + region.nrPages),
    sys.ramPages,
  );
  expect(requestMemRegion(sys, startPfn, pages)).toBe(0);
  return startPfn;
}

/** A gate that stays shut until `open` is called. */
export function makeGate(): { gate: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { gate, open };
}

/** True when the value has to be waited for, for readable expectations. */
export function waits(value: MaybePromise<unknown>): boolean {
  return isPending(value);
}
