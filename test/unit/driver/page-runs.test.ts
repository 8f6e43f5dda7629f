/*
 * Device pages that are taken and given back together: each one once, by its own chunk, as if it
 * had been alone.
 */
import { expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { DeviceMemory } from '../../../src/driver/device-memory.ts';
import { zoneDevicePagesInit } from '../../../src/mm/memremap.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
} from '../../../src/mm/migrate-types.ts';
import type { System } from '../../../src/mm/mm-types.ts';
import { allocPages, putPage } from '../../../src/mm/page-alloc.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { makeMm, makeSystem } from '../mm/fixture.ts';
import { mapFilled } from '../mm/migration.ts';

const CHUNK = 4;
const PAGES = 12;

function makeMemory(sys: System, pages = PAGES, chunk = CHUNK): DeviceMemory {
  const made = DeviceMemory.create(sys, pages, chunk, {}, () => 0);
  if (typeof made === 'number') throw new Error(`DeviceMemory.create: ${made}`);
  return made;
}

/** Takes `count` pages together; as numbers within the device. */
function take(memory: DeviceMemory, count: number): number[] {
  const pfns = new Uint32Array(count);
  const taken = memory.allocPages(pfns, count);
  return Array.from(pfns.subarray(0, taken), (pfn) => pfn - memory.startPfn);
}

function give(memory: DeviceMemory, pages: readonly number[]): void {
  for (const page of pages) {
    memory.sys.mem.unlockPage(memory.startPfn + page);
    putPage(memory.sys, memory.startPfn + page);
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const refs = (memory: DeviceMemory): number[] => memory.chunks.map((one) => one?.pgmap.ref ?? 0);

test('pages taken together come from as many chunks as they need, locked and live [F14] [F15]', () => {
  const memory = makeMemory(makeSystem());
  expect(take(memory, 6)).toEqual(upTo(6));
  expect(refs(memory)).toEqual([5, 3, 0]);
  expect(memory.calloc).toBe(6);
  const { mem } = memory.sys;
  for (const page of upTo(6)) {
    const pfn = memory.startPfn + page;
    expect([mem.refcount[pfn], mem.isLocked(pfn), mem.zoneDeviceData[pfn]]).toEqual([1, true, 0]);
  }
  expect(mem.refcount[memory.startPfn + 6]).toBe(0);
});

test('fewer are taken when the device is full, and none after that', () => {
  const memory = makeMemory(makeSystem());
  expect(take(memory, PAGES + 5)).toEqual(upTo(PAGES));
  expect(take(memory, 1)).toEqual([]);
  expect([memory.calloc, memory.pagesInUse]).toEqual([PAGES, PAGES]);
});

test('I28 and I27: none of them was in use, and none belongs to a dying pagemap', () => {
  const sys = makeSystem();
  const memory = makeMemory(sys);
  take(memory, 2);
  const pfns = Uint32Array.of(memory.startPfn + 2, memory.startPfn + 1);
  expect(() => zoneDevicePagesInit(sys, pfns, 0, 2)).toThrow('I28');
  const { pgmap } = memory.chunks[0]!;
  pgmap.lastPageFreed = () => undefined;
  expect(() => zoneDevicePagesInit(sys, pfns, 0, 1)).toThrow('I27');
});

test('a chunk of which pages were just taken is not idle: it is not carved anew', () => {
  const memory = makeMemory(makeSystem(512, 1024), HPAGE_PMD_NR + 8, HPAGE_PMD_NR + 8);
  const head = memory.allocFolio();
  expect(head).toBeGreaterThan(0);
  give(memory, [head - memory.startPfn]);
  const taken = take(memory, 16);
  expect(new Set(taken).size).toBe(taken.length);
  expect(taken).toHaveLength(8);
});

test('pages of three chunks in turn: each finds its own chunk again on the way home [F53]', () => {
  const sys = makeSystem(256, 64);
  const mm = makeMm(sys);
  const memory = makeMemory(sys);
  take(memory, PAGES);
  give(memory, [11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
  const addr = mapFilled(mm, PAGES);
  const vma = vmaLookup(mm, addr)!;
  const [src, dst, pfns] = [0, 0, 0].map(() => new Uint32Array(PAGES));
  const migrate = (flags: number, alloc: () => number): void => {
    const args = {
      vma,
      start: addr,
      end: addr + PAGES * PAGE_SIZE,
      src: src!,
      dst: dst!,
      cpages: 0,
      npages: 0,
      pgmapOwner: memory.owner,
      flags,
      faultPage: NO_FAULT_PAGE,
      reasons: null,
    };
    expect(mm.mmapLock.readTrylock()).toBe(true);
    expect(migrateVmaSetup(args)).toBe(0);
    expect([args.cpages, alloc()]).toEqual([PAGES, PAGES]);
    dst!.set(pfns!.map((pfn) => migratePfn(pfn)));
    migrateVmaPages(args);
    migrateVmaFinalize(args);
    mm.mmapLock.readUnlock();
  };
  migrate(MIGRATE_VMA_SELECT_SYSTEM, () => memory.allocPages(pfns!, PAGES));
  const within = Array.from(pfns!, (pfn) => pfn - memory.startPfn);
  expect(within).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
  expect(refs(memory)).toEqual([5, 5, 5]);
  migrate(MIGRATE_VMA_SELECT_DEVICE_PRIVATE, () => {
    const taken = allocPages(sys, pfns!, PAGES);
    for (const pfn of pfns!) sys.mem.trylockPage(pfn);
    return taken;
  });
  expect(refs(memory)).toEqual([1, 1, 1]);
  expect([memory.pagesInUse, take(memory, PAGES).length]).toEqual([0, PAGES]);
});

test('pages of a chunk that is being released are dropped when they come back together', () => {
  const sys = makeSystem(256, 64);
  const memory = makeMemory(sys, CHUNK, CHUNK);
  take(memory, CHUNK);
  const [chunk] = memory.chunks;
  memory.beginRemove(chunk!);
  const pfns = Uint32Array.from(upTo(CHUNK), (page) => memory.startPfn + page);
  chunk!.pgmap.ops.pagesFree!(pfns, CHUNK);
  expect([memory.cfree, take(memory, 1)]).toEqual([CHUNK, []]);
});
