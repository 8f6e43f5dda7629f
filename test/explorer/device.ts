/*
 * A device of a few pages whose driver copies word by word, so that others run between two words.
 * Only the words that cores use are copied.
 */
import { VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../../src/mm/memory.ts';
import type { VmFault } from '../../src/mm/memory.ts';
import { MEMORY_DEVICE_PRIVATE, memremapPages, zoneDevicePageInit } from '../../src/mm/memremap.ts';
import type { DevPagemap } from '../../src/mm/memremap.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
  migratePfnToPage,
} from '../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../src/mm/migrate-types.ts';
import type { System, Vma } from '../../src/mm/mm-types.ts';
import { allocPage } from '../../src/mm/page-alloc.ts';
import { requestFreeMemRegion } from '../../src/mm/system.ts';
import { PAGE_SIZE, pageAlignDown } from '../../src/base/units.ts';

const DEVICE_PAGES = 4;

/** How the contents of frames are reached. */
export interface FrameWords {
  readonly count: number;
  load(frame: number, word: number): number;
  store(frame: number, word: number, value: number): void;
}

export class ExplorerDevice {
  private readonly sys: System;
  private readonly frames: FrameWords;
  private readonly free: number[] = [];
  private readonly vram = new Map<number, number[]>();

  constructor(sys: System, frames: FrameWords) {
    this.sys = sys;
    this.frames = frames;
    const startPfn = requestFreeMemRegion(sys, DEVICE_PAGES);
    const pgmap: DevPagemap = {
      type: MEMORY_DEVICE_PRIVATE,
      startPfn,
      nrPages: DEVICE_PAGES,
      owner: this,
      ops: {
        folioFree: (pfn) => void this.free.push(pfn),
        migrateToRam: (vmf) => this.migrateToRam(vmf),
      },
      ref: 0,
      id: 0,
    };
    if (memremapPages(sys, pgmap) !== 0) throw new Error('no room for the device');
    for (let i = DEVICE_PAGES - 1; i >= 0; i--) this.free.push(startPfn + i);
  }

  /** The first half of a migration of one page to the device, up to the end of the copy. */
  begin(vma: Vma, start: number): MigrateVma {
    const args = this.args(vma, start, MIGRATE_VMA_SELECT_SYSTEM, NO_FAULT_PAGE);
    if (migrateVmaSetup(args) !== 0) throw new Error('setup refused its arguments');
    const entry = args.src[0]!;
    const pfn = (entry & MIGRATE_PFN_MIGRATE) === 0 ? undefined : this.free.pop();
    if (pfn === undefined) return args;
    zoneDevicePageInit(this.sys, pfn);
    const source = migratePfnToPage(entry);
    const words: number[] = [];
    for (let i = 0; i < this.frames.count; i++) {
      words.push(source < 0 ? 0 : this.frames.load(source, i));
    }
    this.vram.set(pfn, words);
    args.dst[0] = migratePfn(pfn);
    return args;
  }

  /** The second half. */
  end(args: MigrateVma): void {
    migrateVmaPages(args);
    migrateVmaFinalize(args);
  }

  private migrateToRam(vmf: VmFault): number {
    const flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;
    const args = this.args(vmf.vma, pageAlignDown(vmf.address), flags, vmf.page);
    if (migrateVmaSetup(args) !== 0) return VM_FAULT_SIGBUS;
    if (args.cpages === 0) return 0;
    const target = allocPage(this.sys);
    if (target >= 0) {
      this.sys.mem.trylockPage(target);
      for (const [i, value] of this.vram.get(vmf.page)!.entries()) {
        this.frames.store(target, i, value);
      }
      args.dst[0] = migratePfn(target);
      migrateVmaPages(args);
    }
    migrateVmaFinalize(args);
    return target >= 0 ? 0 : VM_FAULT_OOM;
  }

  private args(vma: Vma, start: number, flags: number, faultPage: number): MigrateVma {
    const arrays = { src: new Uint32Array(1), dst: new Uint32Array(1) };
    const counts = { cpages: 0, npages: 0, reasons: null };
    const end = start + PAGE_SIZE;
    return { vma, start, end, flags, faultPage, pgmapOwner: this, ...arrays, ...counts };
  }
}
