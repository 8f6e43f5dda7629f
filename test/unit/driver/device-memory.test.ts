/**
 * Which device pages are handed out: each one once, none lost, however chunks come and go. The list
 * of free pages is looked at by taking pages until there are none.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../../../src/base/units.ts';
import { DeviceMemory } from '../../../src/driver/device-memory.ts';
import type { DeviceChunk } from '../../../src/driver/device-memory.ts';
import type { System } from '../../../src/mm/mm-types.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { MAPPING_ANON } from '../../../src/mm/page.ts';
import { splitFolio } from '../../../src/mm/split-folio.ts';
import { createSystem } from '../../../src/mm/system.ts';

const CHUNK = 4;
const DEVICE_PAGES = 16;

let sys: System;

beforeEach(() => {
  const made = createSystem({ ramBytes: 16 * PAGE_SIZE, devicePages: DEVICE_PAGES });
  if (typeof made === 'number') throw new Error(`createSystem: ${made}`);
  sys = made;
});

function makeMemory(pages: number): DeviceMemory {
  const made = DeviceMemory.create(sys, pages, CHUNK, {}, () => 0);
  if (typeof made === 'number') throw new Error(`DeviceMemory.create: ${made}`);
  return made;
}

/** Takes pages until the device is full; their numbers within the device. */
function takeAll(memory: DeviceMemory): number[] {
  const taken: number[] = [];
  for (let pfn = memory.allocPage(); pfn > 0; pfn = memory.allocPage()) {
    taken.push(pfn - memory.startPfn);
  }
  return taken;
}

/** Gives a page back as migration does: unlocked, with its last reference. */
function give(memory: DeviceMemory, page: number): void {
  const pfn = memory.startPfn + page;
  sys.mem.unlockPage(pfn);
  putPage(sys, pfn);
}

function chunk(memory: DeviceMemory, at: number): DeviceChunk {
  const found = memory.chunks[at];
  if (found === null || found === undefined) throw new Error(`no chunk ${at}`);
  return found;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const ascending = (pages: readonly number[]): number[] => pages.toSorted((a, b) => a - b);

test('hands out every page once, ascending, then is ENOMEM; the neighbour keeps its own [F15]', () => {
  const memory = makeMemory(12);
  const neighbour = makeMemory(4);
  expect(takeAll(memory)).toEqual(upTo(12));
  expect(memory.allocPage()).toBe(errno.ENOMEM);
  expect(neighbour.startPfn).toBe(memory.startPfn + 12);
  expect(takeAll(neighbour)).toEqual(upTo(4));
  expect([memory.calloc, memory.cfree, memory.pagesInUse]).toEqual([12, 0, 12]);
});

test('has a chunk from the start, more when needed, the last as long as the device [F16]', () => {
  const memory = makeMemory(10);
  const registered = (): number[] => memory.chunks.map((one) => one?.nrPages ?? 0);
  expect(registered()).toEqual([4, 0, 0]);
  for (let i = 0; i < CHUNK; i++) memory.allocPage();
  expect(registered()).toEqual([4, 0, 0]);
  memory.allocPage();
  expect(registered()).toEqual([4, 4, 0]);
  expect(takeAll(memory)).toEqual([5, 6, 7, 8, 9]);
  expect(registered()).toEqual([4, 4, 2]);
});

test('a page is locked and has one reference; given back, it is the next [F14] [F15]', () => {
  const memory = makeMemory(8);
  const pfns = [memory.allocPage(), memory.allocPage(), memory.allocPage()];
  const pfn = pfns[1]!;
  expect([sys.mem.refcount[pfn], sys.mem.isLocked(pfn)]).toEqual([1, true]);
  give(memory, 1);
  expect(sys.mem.refcount[pfn]).toBe(0);
  expect(memory.allocPage()).toBe(pfn);
  expect([memory.calloc, memory.cfree, memory.pagesInUse]).toEqual([4, 1, 3]);
});

test('pages given back in any order are all handed out again, each once', () => {
  const memory = makeMemory(12);
  takeAll(memory);
  for (const page of [3, 4, 0, 11, 8, 7, 1, 2, 10, 9, 5, 6]) give(memory, page);
  expect(ascending(takeAll(memory))).toEqual(upTo(12));
});

test('a device that finds no region is ENOMEM', () => {
  expect(typeof DeviceMemory.create(sys, DEVICE_PAGES + 1, CHUNK, {}, () => 0)).toBe('number');
  expect(makeMemory(DEVICE_PAGES).capacityPages).toBe(DEVICE_PAGES);
});

test('knows its own pages, both ends of them', () => {
  const memory = makeMemory(8);
  const { startPfn } = memory;
  const pfns = [startPfn - 1, startPfn, startPfn + 7, startPfn + 8];
  expect(pfns.map((pfn) => memory.has(pfn))).toEqual([false, true, true, false]);
});

describe('a chunk that is being released', () => {
  /** Three chunks, all pages given back. */
  function emptied(): DeviceMemory {
    const memory = makeMemory(12);
    for (const page of takeAll(memory)) give(memory, page);
    return memory;
  }

  test('hands out no page any more; the pages on both sides of it are still there', () => {
    const memory = emptied();
    memory.beginRemove(chunk(memory, 1));
    expect(ascending(takeAll(memory))).toEqual([0, 1, 2, 3, 8, 9, 10, 11]);
  });

  test('drops pages that come back meanwhile, and takes none away from others', () => {
    const memory = makeMemory(12);
    takeAll(memory);
    memory.beginRemove(chunk(memory, 1));
    for (const page of [3, 4, 7, 8]) give(memory, page);
    expect(ascending(takeAll(memory))).toEqual([3, 8]);
    expect(memory.cfree).toBe(4);
  });

  test('when that is cancelled, hands out each free page once again', () => {
    const memory = emptied();
    memory.beginRemove(chunk(memory, 1));
    memory.cancelRemove(chunk(memory, 1));
    expect(ascending(takeAll(memory))).toEqual(upTo(12));
  });

  test('when that is cancelled, keeps back the pages in use', () => {
    const memory = makeMemory(12);
    takeAll(memory);
    for (const page of [3, 4, 6, 8]) give(memory, page);
    memory.beginRemove(chunk(memory, 1));
    give(memory, 7);
    memory.cancelRemove(chunk(memory, 1));
    expect(ascending(takeAll(memory))).toEqual([3, 4, 6, 7, 8]);
  });

  test('is gone when its last page is back, and can be registered anew [F17]', async () => {
    const memory = emptied();
    const old = chunk(memory, 1);
    const other = chunk(memory, 0);
    memory.beginRemove(old);
    await memory.finishRemove(old);
    expect(memory.chunks.map((one) => one === null)).toEqual([false, true, false]);
    expect(sys.mem.isZoneDevice(old.startPfn)).toBe(false);
    expect(ascending(takeAll(memory))).toEqual(upTo(12));
    expect(chunk(memory, 1)).not.toBe(old);
    expect(chunk(memory, 0)).toBe(other);
  });
});

test('a folio that was split while in use is whole again once all its pages are free', () => {
  const made = createSystem({ ramBytes: 16 * PAGE_SIZE, devicePages: 3 * HPAGE_PMD_NR });
  if (typeof made === 'number') throw new Error(`createSystem: ${made}`);
  sys = made;
  const { mem } = sys;
  const memory = DeviceMemory.create(sys, 2 * HPAGE_PMD_NR, 2 * HPAGE_PMD_NR, {}, () => 0);
  if (typeof memory === 'number') throw new Error(`DeviceMemory.create: ${memory}`);
  const head = memory.allocFolio();
  expect(mem.isLarge(head)).toBe(true);
  // What splitting asks for: an anonymous folio.
  mem.mapping[head] = MAPPING_ANON;
  expect(splitFolio(sys, head)).toBe(0);
  give(memory, head - memory.startPfn);
  expect(memory.pagesInUse).toBe(0);
  expect(memory.allocFolio()).toBe(head);
});
