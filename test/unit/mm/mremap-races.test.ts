/* mremap against migrations: those that hold the mmap lock, and those that hold none. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDevicePfns,
} from '../../../src/mm/migrate-device.ts';
import { migratePfn } from '../../../src/mm/migrate-types.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  doMremap,
} from '../../../src/mm/mremap.ts';
import { allocPage } from '../../../src/mm/page-alloc.ts';
import { LEAF_MIGRATION_WRITE, isMigrationEntry, leafKind } from '../../../src/mm/swapops.ts';
import { FAULT_SIGSEGV, copyFromUser } from '../../../src/mm/uaccess.ts';
import type { CopyFault } from '../../../src/mm/uaccess.ts';
import { expectSync, load, pteAt, store } from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { makeGate, waits } from './tiny-device.ts';

const ELSEWHERE = 2 ** 40;

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

function move(mm: MmStruct, addr: number, pages: number, extra = 0): void {
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED | extra;
  const length = pages * PAGE_SIZE;
  expect(expectSync(doMremap(mm, addr, length, length, flags, ELSEWHERE))).toBe(ELSEWHERE);
}

/** An eviction by pfns, which takes no mmap lock, stopped while its pages are copied. */
class Eviction {
  private readonly src: Uint32Array;
  private readonly dst: Uint32Array;
  private readonly pages: number;
  private readonly sources: readonly number[];

  constructor(mm: MmStruct, addr: number, pages: number) {
    this.sources = Array.from({ length: pages }, (_, i) => pfnAt(mm, addr + i * PAGE_SIZE));
    this.src = Uint32Array.from(this.sources);
    this.dst = new Uint32Array(pages);
    this.pages = pages;
    expect(migrateDevicePfns(bench.sys, this.src, pages)).toBe(0);
  }

  /** The copies are done. */
  finish(): void {
    const { sys, device } = bench;
    this.sources.forEach((source, i) => {
      const target = allocPage(sys);
      expect(sys.mem.trylockPage(target)).toBe(true);
      sys.ram.set(device.vram.get(source)!, target * PAGE_SIZE);
      this.dst[i] = migratePfn(target);
    });
    this.end();
  }

  /** Without destinations everything is put back. */
  end(): void {
    migrateDevicePages(bench.sys, this.src, this.dst, this.pages);
    migrateDeviceFinalize(bench.sys, this.src, this.dst, this.pages);
  }
}

describe('a move during an eviction', () => {
  test('takes the migration entries along; the pages arrive at the new place [F106] [F57]', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 3);
    const eviction = new Eviction(mm, addr, 3);
    move(mm, addr, 3);
    expect(leafKind(pteAt(mm, ELSEWHERE))).toBe(LEAF_MIGRATION_WRITE);
    eviction.finish();
    expect([device.used, device.faults, mm.anonRss]).toEqual([0, 0, 3]);
    for (let i = 0; i < 3; i++) expect(load(mm, ELSEWHERE + i * PAGE_SIZE)).toBe(i + 1);
    expect(device.faults).toBe(0);
  });

  test('that is taken back: the device entries are restored at the new place [F52]', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 2);
    const eviction = new Eviction(mm, addr, 2);
    move(mm, addr, 2);
    eviction.end();
    expect(device.used).toBe(2);
    expect([0, 1].map((i) => load(mm, ELSEWHERE + i * PAGE_SIZE))).toEqual([1, 2]);
    expect(device.faults).toBe(2);
  });

  test('of pages that fork shares: each process has them where it mapped them [F5]', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 2);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    const eviction = new Eviction(mm, addr, 2);
    move(mm, addr, 2);
    eviction.finish();
    expect(pfnAt(child, addr)).toBe(pfnAt(mm, ELSEWHERE));
    store(child, addr, 9);
    expect([load(mm, ELSEWHERE), load(child, addr), device.faults]).toEqual([1, 9, 0]);
  });

  test('with DONTUNMAP the old range is in use again before the copy is done', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const eviction = new Eviction(mm, addr, 1);
    move(mm, addr, 1, MREMAP_DONTUNMAP);
    store(mm, addr, 9);
    eviction.finish();
    expect([load(mm, addr), load(mm, ELSEWHERE)]).toEqual([9, 1]);
  });

  test('a reader that waits for the page is told that the address is gone', async () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const eviction = new Eviction(mm, addr, 1);
    const fault: CopyFault = { outcome: 0, address: 0 };
    const read = copyFromUser(mm, addr, new Uint8Array(1), fault);
    expect(waits(read)).toBe(true);
    // The fault holds the mmap lock for read while it waits, so the move comes after it.
    const length = PAGE_SIZE;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    const moving = doMremap(mm, addr, length, length, flags, ELSEWHERE);
    expect(waits(moving)).toBe(true);
    eviction.finish();
    expect(await moving).toBe(ELSEWHERE);
    await read;
    expect(fault.outcome).toBe(FAULT_SIGSEGV);
    expect(load(mm, ELSEWHERE)).toBe(1);
  });
});

describe('a move during a migration of the range', () => {
  test('waits until it is done, then moves the device entries [F106]', async () => {
    const { mm, device } = bench;
    const addr = mapFilled(mm, 2);
    const { gate, open } = makeGate();
    device.gate = gate;
    const migrating = device.migrateIn(mm, addr, 2);
    const length = 2 * PAGE_SIZE;
    const moving = doMremap(mm, addr, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, ELSEWHERE);
    expect(waits(moving)).toBe(true);
    expect(isMigrationEntry(pteAt(mm, addr))).toBe(true);
    open();
    expect([await migrating, await moving]).toEqual([2, ELSEWHERE]);
    device.gate = null;
    expect(pteAt(mm, addr)).toBe(0);
    expect([device.used, load(mm, ELSEWHERE), load(mm, ELSEWHERE + PAGE_SIZE)]).toEqual([2, 1, 2]);
  });

  test('a moved page can be collected again and finds its way back [F21]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    move(mm, addr, 2);
    new Migration(bench, ELSEWHERE, 2).run();
    expect([load(mm, ELSEWHERE), load(mm, ELSEWHERE + PAGE_SIZE)]).toEqual([1, 2]);
  });
});
