/*
 * One migration, step by step, on the tiny device: for tests that look at what is in between. The
 * mmap lock is held from `setup` to `finalize`. Destinations are filled with real contents.
 */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { MEMORY_DEVICE_COHERENT, zoneDevicePageInit } from '../../../src/mm/memremap.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_VMA_SELECT_DEVICE_COHERENT,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../../src/mm/migrate-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { allocPage } from '../../../src/mm/page-alloc.ts';
import { skipReasonName } from '../../../src/mm/skip-reason.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import type { Known } from '../../model/check-invariants.ts';
import { expectSync, makeMm, makeSystem, mapAnon, pteAt, store } from './fixture.ts';
import { TinyDevice } from './tiny-device.ts';

export const TO_DEVICE = MIGRATE_VMA_SELECT_SYSTEM;
export const TO_RAM = MIGRATE_VMA_SELECT_DEVICE_PRIVATE;

export const COHERENT_TO_RAM = MIGRATE_VMA_SELECT_DEVICE_COHERENT;

/** A machine with one process and one device. */
export interface Bench {
  readonly sys: System;
  readonly mm: MmStruct;
  readonly device: TinyDevice;
  /** All devices, that one too. */
  readonly devices: TinyDevice[];
}

export function makeBench(ramPages = 256): Bench {
  const sys = makeSystem(ramPages);
  const device = new TinyDevice(sys);
  return { sys, mm: makeMm(sys), device, devices: [device] };
}

/** A machine with one process and one coherent device, whose frames are behind RAM. */
export function makeCoherentBench(ramPages = 256, coherentPages = 32): Bench {
  const sys = makeSystem(ramPages, 64, 256, coherentPages + 4);
  const device = new TinyDevice(sys, coherentPages, MEMORY_DEVICE_COHERENT);
  return { sys, mm: makeMm(sys), device, devices: [device] };
}

/** The same process seen from another device. */
export function withOtherDevice(bench: Bench): Bench {
  const { type } = bench.device.pgmap;
  const device = new TinyDevice(bench.sys, 4, type);
  bench.devices.push(device);
  return { ...bench, device };
}

/** Maps private pages and stores 1, 2, 3... in their first bytes. */
export function mapFilled(mm: MmStruct, pages: number): number {
  const addr = mapAnon(mm, pages);
  for (let i = 0; i < pages; i++) store(mm, addr + i * PAGE_SIZE, i + 1);
  return addr;
}

/** Maps filled pages and moves them to the device. */
export function mapOnDevice(bench: Bench, pages: number): number {
  const addr = mapFilled(bench.mm, pages);
  expect(expectSync(bench.device.migrateIn(bench.mm, addr, pages))).toBe(pages);
  return addr;
}

/** The page behind an entry of any kind. */
export function pfnAt(mm: MmStruct, addr: number): number {
  return pteAt(mm, addr) >>> 9;
}

/** Writes a page table entry behind mm's back, where its real maker does not exist yet. */
export function forgePte(mm: MmStruct, addr: number, pte: number): void {
  mm.sys.pageTables.setPte(mm.sys.pageTables.pteAlloc(mm.pgd, addr), pte);
}

/** Every invariant of the machine at rest, device free lists included. */
export function checkAtRest(bench: Bench, known: Known = {}): void {
  const deviceFree = new Set(bench.devices.flatMap((device) => device.free));
  checkInvariants(bench.sys, { deviceFree, ...known });
}

export class Migration {
  readonly args: MigrateVma;
  readonly device: TinyDevice;
  readonly mm: MmStruct;

  constructor(
    bench: { readonly mm: MmStruct; readonly device: TinyDevice },
    addr: number,
    pages: number,
    flags: number = TO_DEVICE,
    faultPage: number = NO_FAULT_PAGE,
  ) {
    this.mm = bench.mm;
    this.device = bench.device;
    const vma = vmaLookup(this.mm, addr);
    if (vma === null) throw new Error('no VMA there');
    this.args = {
      vma,
      src: new Uint32Array(pages).fill(0xdeadbeef),
      dst: new Uint32Array(pages).fill(0xdeadbeef),
      start: addr,
      end: addr + pages * PAGE_SIZE,
      cpages: -1,
      npages: -1,
      pgmapOwner: this.device,
      flags,
      faultPage,
      reasons: new Uint8Array(pages).fill(0xee),
    };
  }

  /** Takes the mmap lock and collects. */
  setup(): this {
    expect(this.mm.mmapLock.readTrylock()).toBe(true);
    expect(migrateVmaSetup(this.args)).toBe(0);
    return this;
  }

  /** Gives every page that may migrate (or only these slots) a destination with its contents. */
  supply(slots?: readonly number[]): this {
    const { args } = this;
    for (let i = 0; i < args.npages; i++) {
      if (slots !== undefined && !slots.includes(i)) continue;
      if ((args.src[i]! & MIGRATE_PFN_MIGRATE) === 0) continue;
      const source = migratePfnToPage(args.src[i]!);
      const toRam = (args.flags & (TO_RAM | COHERENT_TO_RAM)) !== 0;
      if (toRam && source < 0) continue;
      args.dst[i] = migratePfn(toRam ? this.toRam(source) : this.toDevice(source));
    }
    return this;
  }

  pages(): this {
    migrateVmaPages(this.args);
    return this;
  }

  /** Ends the migration and drops the mmap lock. */
  finalize(): this {
    migrateVmaFinalize(this.args);
    this.mm.mmapLock.readUnlock();
    return this;
  }

  /** All of it. */
  run(): this {
    return this.setup().supply().pages().finalize();
  }

  /** Why each page did not migrate, in words; 'none' for those that did. */
  get reasons(): string[] {
    return Array.from(this.args.reasons ?? [], skipReasonName);
  }

  /** src[] as text: pfn, or "hole", with M (MIGRATE) and W (WRITE); "-" for an empty entry. */
  get src(): string[] {
    return Array.from(this.args.src, describeSrc);
  }

  /** The source page of a slot. */
  page(slot: number): number {
    return migratePfnToPage(this.args.src[slot]!);
  }

  private toDevice(source: number): number {
    const { device } = this;
    const pfn = device.free.pop();
    if (pfn === undefined) throw new Error('the tiny device is full');
    zoneDevicePageInit(device.sys, pfn);
    const bytes = new Uint8Array(PAGE_SIZE);
    const start = source * PAGE_SIZE;
    if (source >= 0) bytes.set(device.sys.ram.subarray(start, start + PAGE_SIZE));
    device.writePage(pfn, bytes);
    return pfn;
  }

  private toRam(source: number): number {
    const { sys } = this.device;
    const pfn = allocPage(sys);
    expect(pfn).toBeGreaterThan(0);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    sys.ram.set(this.device.readPage(source), pfn * PAGE_SIZE);
    return pfn;
  }
}

function describeSrc(entry: number): string {
  if (entry === 0) return '-';
  const flags = ((entry & 2) !== 0 ? 'M' : '') + ((entry & 8) !== 0 ? 'W' : '');
  return (entry & 1) === 0 ? `hole ${flags}` : `page ${flags}`;
}
