/* Migration of pages by pfn: migrate_device_range, migrate_device_pfns (hmm-semantics 9). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MEMORY_DEVICE_COHERENT, zoneDevicePageInit } from '../../../src/mm/memremap.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDevicePfns,
  migrateDeviceRange,
} from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU } from '../../../src/mm/page.ts';
import { skipReasonName } from '../../../src/mm/skip-reason.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  isMigrationEntry,
  leafKind,
  pteWrite,
} from '../../../src/mm/swapops.ts';
import { expectSync, load, makeMm, makeSystem, mapShared, pteAt, store, watch } from './fixture.ts';
import {
  checkAtRest,
  makeBench,
  makeCoherentBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { TinyDevice } from './tiny-device.ts';

let bench: Bench;

/** A machine with a private and a coherent device, in that order. */
function makeMixedBench(): Bench {
  const sys = makeSystem(256, 64, 256, 32);
  const device = new TinyDevice(sys);
  const coherent = new TinyDevice(sys, 32, MEMORY_DEVICE_COHERENT);
  return { sys, mm: makeMm(sys), device, devices: [device, coherent] };
}

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

/** An eviction of some pages to RAM, step by step. */
class Eviction {
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  private readonly codes: Uint8Array;
  readonly npages: number;

  constructor(pfns: readonly number[]) {
    this.npages = pfns.length;
    this.src = Uint32Array.from(pfns);
    this.dst = new Uint32Array(pfns.length);
    this.codes = new Uint8Array(pfns.length).fill(0xee);
  }

  setup(): this {
    expect(migrateDevicePfns(bench.sys, this.src, this.npages, this.codes)).toBe(0);
    return this;
  }

  supply(): this {
    const { sys, device } = bench;
    for (let i = 0; i < this.npages; i++) {
      const source = migratePfnToPage(this.src[i]!);
      if ((this.src[i]! & MIGRATE_PFN_MIGRATE) === 0) continue;
      const pfn = allocPage(sys);
      expect(sys.mem.trylockPage(pfn)).toBe(true);
      const bytes = device.vram.get(source);
      const start = source * PAGE_SIZE;
      sys.ram.set(bytes ?? sys.ram.subarray(start, start + PAGE_SIZE), pfn * PAGE_SIZE);
      this.dst[i] = migratePfn(pfn);
    }
    return this;
  }

  pages(): this {
    migrateDevicePages(bench.sys, this.src, this.dst, this.npages, this.codes);
    return this;
  }

  finalize(): this {
    migrateDeviceFinalize(bench.sys, this.src, this.dst, this.npages);
    return this;
  }

  run(): this {
    return this.setup().supply().pages().finalize();
  }

  get reasons(): string[] {
    return Array.from(this.codes, skipReasonName);
  }
}

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

describe('a range of device pfns [F56]', () => {
  test('is evicted whole; free pages are left out', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 3);
    const first = device.pgmap.startPfn;
    const src = new Uint32Array(5);
    const reasons = new Uint8Array(5);
    expect(migrateDeviceRange(sys, src, first, 5, reasons)).toBe(0);
    const migrate = (pfn: number) => migratePfn(pfn) | MIGRATE_PFN_MIGRATE;
    expect(Array.from(src)).toEqual([migrate(first), migrate(first + 1), migrate(first + 2), 0, 0]);
    const names = ['none', 'none', 'none', 'free page', 'free page'];
    expect(Array.from(reasons, skipReasonName)).toEqual(names);
    expect(isMigrationEntry(pteAt(mm, addr))).toBe(true);
    migrateDeviceFinalize(sys, src, new Uint32Array(5), 5);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
    expect(device.used).toBe(3);
  });

  test('moves to RAM with contents and permissions [F59]', () => {
    const { mm, device, sys } = bench;
    const addr = mapOnDevice(bench, 3);
    const pfns = [0, 1, 2].map((i) => pfnAt(mm, addr + i * PAGE_SIZE));
    const eviction = new Eviction(pfns).run();
    expect(eviction.reasons).toEqual(['none', 'none', 'none']);
    expect([device.used, device.faults]).toEqual([0, 0]);
    for (const i of [0, 1, 2]) {
      const pte = pteAt(mm, addr + i * PAGE_SIZE);
      expect([pteWrite(pte), load(mm, addr + i * PAGE_SIZE)]).toEqual([true, i + 1]);
      expect(sys.mem.testFlag(pfnAt(mm, addr + i * PAGE_SIZE), PG_LRU | PG_ANON_EXCLUSIVE)).toBe(
        true,
      );
    }
    expect(sys.vmstat.read('pgmigrate_to_ram')).toBe(3);
  });

  test('of coherent memory: present entries become those of RAM, on the LRU [F59] [F13]', () => {
    bench = makeCoherentBench();
    const { mm, device, sys } = bench;
    const addr = mapOnDevice(bench, 3);
    const src = new Uint32Array(5);
    migrateDeviceRange(sys, src, device.pgmap.startPfn, 5);
    expect(Array.from(src, (entry) => entry !== 0)).toEqual([true, true, true, false, false]);
    expect(isMigrationEntry(pteAt(mm, addr))).toBe(true);
    migrateDeviceFinalize(sys, src, new Uint32Array(5), 5);
    expect([pteWrite(pteAt(mm, addr)), device.used]).toEqual([true, 3]);
    new Eviction([0, 1, 2].map((i) => pfnAt(mm, addr + i * PAGE_SIZE))).run();
    expect([device.used, load(mm, addr + 2 * PAGE_SIZE)]).toEqual([0, 3]);
    expect(sys.mem.testFlag(pfnAt(mm, addr), PG_LRU | PG_ANON_EXCLUSIVE)).toBe(true);
  });

  test('tells every address space that maps a page CLEAR, and nobody MIGRATE', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    const [here, there] = [watch(mm, addr), watch(child, addr)];
    new Eviction([pfnAt(mm, addr)]).run();
    for (const seen of [here, there]) {
      expect(seen.map((one) => [one.event, one.from, one.pages])).toEqual([
        [MMU_NOTIFY_CLEAR, 0, 1],
      ]);
      expect(leafKind(seen[0]!.pteBefore)).toBe(LEAF_DEVICE_PRIVATE_READ);
    }
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 1]);
  });

  test('needs no mmap lock: it runs while the address space is being changed', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 2);
    expectSync(mm.mmapLock.writeLock());
    new Eviction([pfnAt(mm, addr)]).run();
    mm.mmapLock.writeUnlock();
    expect([load(mm, addr), bench.device.faults]).toEqual([1, 0]);
  });
});

describe('scattered pfns [F57]', () => {
  test('in any order, RAM pages too', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 3);
    const ram = mapFilled(mm, 1);
    const [a, b, c] = [0, 1, 2].map((i) => pfnAt(mm, addr + i * PAGE_SIZE)) as [
      number,
      number,
      number,
    ];
    const eviction = new Eviction([c, pfnAt(mm, ram), a]).run();
    expect(eviction.reasons).toEqual(['none', 'none', 'none']);
    expect([pfnAt(mm, addr + PAGE_SIZE), device.used]).toEqual([b, 1]);
    expect([load(mm, ram), load(mm, addr), load(mm, addr + 2 * PAGE_SIZE)]).toEqual([1, 1, 3]);
  });

  test('of RAM, private and coherent devices at once; free and locked ones are left out [F58]', () => {
    bench = makeMixedBench();
    const { mm, sys } = bench;
    const [privateDevice, coherentDevice] = bench.devices as [TinyDevice, TinyDevice];
    const addr = mapFilled(mm, 6);
    const at = (i: number): number => addr + i * PAGE_SIZE;
    for (const i of [1, 3]) expect(expectSync(privateDevice.migrateIn(mm, at(i)))).toBe(1);
    for (const i of [0, 4, 5]) expect(expectSync(coherentDevice.migrateIn(mm, at(i)))).toBe(1);
    const pfns = [0, 1, 2, 3, 4, 5].map((i) => pfnAt(mm, at(i)));
    const locked = pfns[5]!;
    sys.mem.trylockPage(locked);
    const free = [privateDevice.free.at(-1)!, coherentDevice.free.at(-1)!];
    const order = [pfns[4]!, free[0]!, pfns[1]!, pfns[2]!, locked, free[1]!, pfns[0]!];
    const eviction = new Eviction(order).run();
    const skipped = ['free page', 'locked', 'free page'];
    expect(eviction.reasons).toEqual([
      'none',
      skipped[0],
      'none',
      'none',
      ...skipped.slice(1),
      'none',
    ]);
    expect([1, 4, 5].map((i) => eviction.src[i])).toEqual([0, 0, 0]);
    expect([privateDevice.used, coherentDevice.used]).toEqual([1, 1]);
    expect([pfnAt(mm, at(3)), pfnAt(mm, at(5))]).toEqual([pfns[3], locked]);
    sys.mem.unlockPage(locked);
    expect([0, 1, 2, 3, 4, 5].map((i) => load(mm, at(i)))).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('twice the same: the second time it is locked already', () => {
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(bench.mm, addr);
    expect(new Eviction([pfn, pfn]).run().reasons).toEqual(['none', 'locked']);
  });

  test('I29: a pfn that does not exist is a bug', () => {
    const { sys } = bench;
    const none = sys.mem.pageCount;
    expect(() => migrateDevicePfns(sys, Uint32Array.of(none), 1)).toThrow('I29');
    expect(migrateDevicePfns(sys, Uint32Array.of(none - 1), 1)).toBe(0);
  });
});

describe('pages that can not go', () => {
  test('a locked page keeps its lock, count and mapping [F58]', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 2);
    const pfn = pfnAt(mm, addr);
    sys.mem.trylockPage(pfn);
    const eviction = new Eviction([pfn, pfnAt(mm, addr + PAGE_SIZE)]).setup();
    expect([eviction.src[0], sys.mem.refcount[pfn], sys.mem.isLocked(pfn)]).toEqual([0, 1, true]);
    eviction.supply().pages().finalize();
    expect(eviction.reasons).toEqual(['locked', 'none']);
    sys.mem.unlockPage(pfn);
  });

  test('a free page, and one that its driver has just taken [F58]', () => {
    const { sys, device } = bench;
    const pfn = device.free.pop()!;
    expect(new Eviction([pfn]).run().reasons).toEqual(['free page']);
    zoneDevicePageInit(sys, pfn);
    expect(new Eviction([pfn]).run().reasons).toEqual(['locked']);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
  });

  test('a reference more than the mappings: let through once on a device, caught at commit [F3]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const release = bench.device.hold(pfnAt(mm, addr));
    const eviction = new Eviction([pfnAt(mm, addr)]).setup();
    expect(eviction.reasons).toEqual(['none']);
    eviction.supply().pages().finalize();
    expect(eviction.reasons).toEqual(['pinned at commit']);
    const more = bench.device.hold(pfnAt(mm, addr));
    expect(new Eviction([pfnAt(mm, addr)]).run().reasons).toEqual(['pinned at unmap']);
    release();
    more();
    expect(new Eviction([pfnAt(mm, addr)]).run().reasons).toEqual(['none']);
  });

  test('an exclusive page of RAM that is pinned stays mapped', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const pfn = expectSync(pinUserPage(mm, addr));
    const before = pteAt(mm, addr);
    const eviction = new Eviction([pfn]).run();
    expect(eviction.reasons).toEqual(['still mapped']);
    expect([pteAt(mm, addr), sys.mem.isLocked(pfn)]).toEqual([before, false]);
    expect(sys.mem.testFlag(pfn, PG_LRU)).toBe(true);
    unpinUserPage(sys, pfn);
  });

  test('a page of RAM off the LRU', () => {
    const { mm, sys } = bench;
    const pfn = pfnAt(mm, mapFilled(mm, 1));
    sys.mem.clearFlag(pfn, PG_LRU);
    expect(new Eviction([pfn]).run().reasons).toEqual(['not on the LRU']);
    sys.mem.setFlag(pfn, PG_LRU);
  });

  test('one that gets no destination', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const eviction = new Eviction([pfnAt(mm, addr)]).setup().pages();
    expect(eviction.reasons).toEqual(['no destination']);
    eviction.finalize();
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
  });

  test('a page-cache page moves within RAM [F59]', () => {
    const { mm } = bench;
    const addr = mapShared(mm, 1);
    store(mm, addr, 9);
    const pfn = pfnAt(mm, addr);
    expect(new Eviction([pfn]).run().reasons).toEqual(['none']);
    expect(pfnAt(mm, addr)).not.toBe(pfn);
    expect(load(mm, addr)).toBe(9);
  });
});

describe('races with the address space', () => {
  test('munmap while the copy runs: nothing is left to map, both pages are freed', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 2);
    const free = sys.pageAllocator.freePages;
    const eviction = new Eviction([pfnAt(mm, addr)]).setup().supply();
    expectSync(doMunmap(mm, addr, PAGE_SIZE));
    eviction.pages().finalize();
    expect(eviction.reasons).toEqual(['none']);
    expect([device.used, sys.pageAllocator.freePages, mm.anonRss]).toEqual([1, free, 1]);
  });

  test('fork while the copy runs: both processes get the new page, read-only', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const eviction = new Eviction([pfnAt(mm, addr)]).setup().supply();
    const child = fork(mm);
    eviction.pages().finalize();
    expect(eviction.reasons).toEqual(['none']);
    expect(pfnAt(child, addr)).toBe(pfnAt(mm, addr));
    expect([pteWrite(pteAt(mm, addr)), pteWrite(pteAt(child, addr))]).toEqual([false, false]);
    store(child, addr, 50);
    expect([load(mm, addr), load(child, addr), device.used]).toEqual([1, 50, 0]);
  });

  test('pages of an address space that is gone are gone', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    const eviction = new Eviction([pfn]).setup().supply();
    expectSync(doMunmap(mm, addr, PAGE_SIZE));
    const other = mapFilled(mm, 1);
    eviction.pages().finalize();
    expect([device.used, load(mm, other)]).toEqual([0, 1]);
  });
});
