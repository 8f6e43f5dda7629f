/* Getting at user pages by their frames: which page comes, and what had to happen first. */
import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_WRITE,
  getUserPages,
  getUserPagesFast,
  getUserPagesUnlocked,
  pinUserPages,
  pinUserPagesFast,
  pinUserPagesUnlocked,
  putUserPages,
  unpinUserPages,
  unpinUserPagesDirtyLock,
} from '../../../src/mm/gup.ts';
import {
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { GUP_PIN_COUNTING_BIAS, PG_ANON_EXCLUSIVE, PG_DIRTY } from '../../../src/mm/page.ts';
import { isMigrationEntry, ptePfn, ptePresent, pteWrite } from '../../../src/mm/swapops.ts';
import {
  RW,
  expectSync,
  load,
  makeMm,
  makeSystem,
  mapAnon,
  mapShared,
  pteAt,
  store,
} from './fixture.ts';
import { checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import { makeGate, waits } from './tiny-device.ts';

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

/** Runs one of the functions that want the mmap lock held. */
function locked(mm: MmStruct, work: () => number | Promise<number>): number {
  expect(mm.mmapLock.readTrylock()).toBe(true);
  const result = expectSync(work());
  mm.mmapLock.readUnlock();
  return result;
}

const pfns = new Uint32Array(8);

describe('pages of a range', () => {
  test('are faulted in and come with one reference each', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapAnon(mm, 4);
    const seen = new Uint32Array(4);
    expect(locked(mm, () => getUserPages(mm, base, 4, FOLL_WRITE, seen))).toBe(4);
    for (let i = 0; i < 4; i++) {
      expect(seen[i]).toBe(pfnAt(mm, base + i * PAGE_SIZE));
      expect(sys.mem.refcount[seen[i]!]).toBe(2);
    }
    checkAtRest(bench, { references: new Map([...seen].map((pfn) => [pfn, 1])) });
    putUserPages(sys, seen);
    checkAtRest(bench);
  });

  test('come with one pin each, and the counters say so', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapAnon(mm, 3);
    const seen = new Uint32Array(3);
    expect(expectSync(pinUserPagesUnlocked(mm, base, 3, FOLL_WRITE, seen))).toBe(3);
    expect([...seen].map((pfn) => sys.mem.refcount[pfn])).toEqual(
      [1, 1, 1].map((mapping) => mapping + GUP_PIN_COUNTING_BIAS),
    );
    checkAtRest(bench, { pins: new Map([...seen].map((pfn) => [pfn, 1])) });
    unpinUserPages(sys, seen);
    expect(sys.vmstat.read('nr_foll_pin_acquired')).toBe(3);
    expect(sys.vmstat.read('nr_foll_pin_released')).toBe(3);
    checkAtRest(bench);
  });

  test('end at the first that can not be had', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapAnon(mm, 4);
    expectSync(doMunmap(mm, base + 2 * PAGE_SIZE, PAGE_SIZE));
    expect(expectSync(getUserPagesUnlocked(mm, base, 4, 0, pfns))).toBe(2);
    putUserPages(sys, pfns.subarray(0, 2));
    const hole = base + 2 * PAGE_SIZE;
    expect(expectSync(getUserPagesUnlocked(mm, hole, 2, 0, pfns))).toBe(errno.EFAULT);
    expect(expectSync(getUserPagesFast(mm, base, 4, 0, pfns))).toBe(2);
    putUserPages(sys, pfns.subarray(0, 2));
    expect(expectSync(getUserPagesFast(mm, hole, 2, 0, pfns))).toBe(errno.EFAULT);
    checkAtRest(bench);
  });

  test('end where memory ran out', () => {
    const { mm, sys } = makeBench();
    const base = mapAnon(mm, 3);
    sys.pageAllocator.failAt = 2;
    expect(expectSync(getUserPagesUnlocked(mm, base, 3, FOLL_WRITE, pfns))).toBe(1);
    sys.pageAllocator.failAt = 1;
    const rest = base + PAGE_SIZE;
    expect(expectSync(getUserPagesUnlocked(mm, rest, 2, FOLL_WRITE, pfns))).toBe(errno.ENOMEM);
  });

  test.each([
    ['a write to read-only memory', PROT_READ, FOLL_WRITE, errno.EFAULT],
    ['a read of it', PROT_READ, 0, 1],
    ['a read of memory without VM_READ', PROT_WRITE, 0, errno.EFAULT],
    ['a write to it', PROT_WRITE, FOLL_WRITE, 1],
    ['any access to PROT_NONE', PROT_NONE, 0, errno.EFAULT],
  ])('%s', (_name, prot, flags, expected) => {
    const { mm } = makeBench();
    const base = mapAnon(mm, 1, prot);
    expect(expectSync(getUserPagesUnlocked(mm, base, 1, flags, pfns))).toBe(expected);
  });

  test('a read of a page that PROT_NONE hides is EFAULT, also the fast way', () => {
    const { mm } = makeBench();
    const base = mapFilled(mm, 1);
    expectSync(doMprotect(mm, base, PAGE_SIZE, PROT_NONE));
    expect(ptePresent(pteAt(mm, base))).toBe(true);
    expect(expectSync(getUserPagesFast(mm, base, 1, 0, pfns))).toBe(errno.EFAULT);
  });

  test('arguments that make no sense are refused and take nothing', () => {
    const bench = makeBench();
    const { mm } = bench;
    const base = mapFilled(mm, 2);
    const get = (start: number, count: number, flags: number): number =>
      expectSync(getUserPagesFast(mm, start, count, flags, pfns));
    expect(get(base, 1, FOLL_LONGTERM)).toBe(errno.EINVAL);
    expect(locked(mm, () => getUserPages(mm, base, 1, FOLL_LONGTERM, pfns))).toBe(errno.EINVAL);
    expect(get(base, 1, 1 << 30)).toBe(errno.EINVAL);
    for (const count of [-1, 0.5, Number.NaN, pfns.length + 1]) {
      expect(get(base, count, 0)).toBe(errno.EINVAL);
    }
    for (const start of [-1, 0.5, Number.NaN, TASK_SIZE, TASK_SIZE - PAGE_SIZE]) {
      expect(get(start, 2, 0)).toBe(errno.EFAULT);
    }
    expect(get(base, 0, 0)).toBe(0);
    checkAtRest(bench);
  });

  test('a page with too many references is ENOMEM', () => {
    const { mm, sys } = makeBench();
    const base = mapFilled(mm, 1);
    const pfn = pfnAt(mm, base);
    sys.mem.refcount[pfn] = 2 ** 31 - 1500;
    expect(expectSync(pinUserPagesFast(mm, base, 1, FOLL_WRITE, pfns))).toBe(errno.ENOMEM);
    expect(sys.mem.refcount[pfn]).toBe(2 ** 31 - 1500);
  });

  test('a pin that was written through leaves the page dirty, one that was not does not', () => {
    const { mm, sys } = makeBench();
    const base = mapFilled(mm, 1);
    const seen = new Uint32Array(1);
    for (const makeDirty of [false, true]) {
      sys.mem.clearFlag(pfnAt(mm, base), PG_DIRTY);
      expect(expectSync(pinUserPagesFast(mm, base, 1, 0, seen))).toBe(1);
      unpinUserPagesDirtyLock(sys, seen, makeDirty);
      expect(sys.mem.testFlag(seen[0]!, PG_DIRTY)).toBe(makeDirty);
    }
  });
});

describe('the fast way', () => {
  test('takes what is mapped without the mmap lock; what is not there waits for it', async () => {
    const { mm, sys } = makeBench();
    const base = mapFilled(mm, 2);
    const empty = mapAnon(mm, 1);
    expectSync(mm.mmapLock.writeLock());
    expect(expectSync(pinUserPagesFast(mm, base, 2, FOLL_WRITE, pfns))).toBe(2);
    unpinUserPages(sys, pfns.subarray(0, 2));
    const later = pinUserPagesFast(mm, empty, 1, FOLL_WRITE, pfns);
    expect(waits(later)).toBe(true);
    mm.mmapLock.writeUnlock();
    expect(await later).toBe(1);
    unpinUserPages(sys, pfns.subarray(0, 1));
  });

  test('goes on the slow way after the first page that is not there', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapAnon(mm, 4);
    for (const i of [0, 1, 3]) store(mm, base + i * PAGE_SIZE, i + 1);
    const faults = sys.vmstat.read('pgfault');
    const seen = new Uint32Array(4);
    expect(expectSync(pinUserPagesFast(mm, base, 4, FOLL_WRITE, seen))).toBe(4);
    expect(sys.vmstat.read('pgfault')).toBe(faults + 1);
    expect([...seen]).toEqual([0, 1, 2, 3].map((i) => pfnAt(mm, base + i * PAGE_SIZE)));
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });

  test('FAST_ONLY ends where a fault would be needed, and never waits', () => {
    const { mm, sys } = makeBench();
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    expectSync(mm.mmapLock.writeLock());
    const flags = FOLL_WRITE | FOLL_FAST_ONLY;
    expect(expectSync(getUserPagesFast(mm, base, 2, flags, pfns))).toBe(1);
    putUserPages(sys, pfns.subarray(0, 1));
    expect(expectSync(getUserPagesFast(mm, base + PAGE_SIZE, 1, flags, pfns))).toBe(0);
    mm.mmapLock.writeUnlock();
  });

  test('NOFAULT takes what is there, and is EFAULT where nothing is', () => {
    const { mm, sys } = makeBench();
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    const faults = sys.vmstat.read('pgfault');
    expect(expectSync(getUserPagesUnlocked(mm, base, 2, FOLL_NOFAULT, pfns))).toBe(1);
    putUserPages(sys, pfns.subarray(0, 1));
    const empty = base + PAGE_SIZE;
    expect(expectSync(getUserPagesFast(mm, empty, 1, FOLL_NOFAULT, pfns))).toBe(errno.EFAULT);
    expect(sys.vmstat.read('pgfault')).toBe(faults);
  });
});

describe('pages on the device', () => {
  const write = FOLL_WRITE;
  test.each([
    ['get', getUserPagesUnlocked, write, putUserPages],
    ['get fast', getUserPagesFast, write, putUserPages],
    ['get for reading', getUserPagesFast, 0, putUserPages],
    ['pin', pinUserPagesUnlocked, write, unpinUserPages],
    ['pin fast', pinUserPagesFast, write, unpinUserPages],
    ['pin for reading', pinUserPagesFast, 0, unpinUserPages],
    ['pin long-term', pinUserPagesUnlocked, write | FOLL_LONGTERM, unpinUserPages],
    ['pin fast and long-term', pinUserPagesFast, write | FOLL_LONGTERM, unpinUserPages],
  ])('%s: each comes home by one fault [F68]', (_name, take, flags, give) => {
    const bench = makeBench();
    const { mm, sys, device } = bench;
    const base = mapOnDevice(bench, 3);
    const seen = new Uint32Array(3);
    expect(expectSync(take(mm, base, 3, flags, seen))).toBe(3);
    expect(sys.vmstat.read('device_private_fault')).toBe(3);
    expect(device.used).toBe(0);
    seen.forEach((pfn, i) => {
      expect(sys.mem.isZoneDevice(pfn)).toBe(false);
      expect(sys.ram[pfn * PAGE_SIZE]).toBe(i + 1);
      expect(pfnAt(mm, base + i * PAGE_SIZE)).toBe(pfn);
    });
    give(sys, seen);
    checkAtRest(bench);
  });

  test('stay there for FAST_ONLY and NOFAULT [F68]', () => {
    const bench = makeBench();
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 1);
    expect(expectSync(getUserPagesFast(mm, base, 1, FOLL_FAST_ONLY, pfns))).toBe(0);
    expect(expectSync(getUserPagesUnlocked(mm, base, 1, FOLL_NOFAULT, pfns))).toBe(errno.EFAULT);
    expect(device.used).toBe(1);
    checkAtRest(bench);
  });

  test('that are lost are EFAULT [F68]', () => {
    const bench = makeBench();
    const base = mapOnDevice(bench, 1);
    bench.device.broken = 2;
    const taken = getUserPagesUnlocked(bench.mm, base, 1, FOLL_WRITE, pfns);
    expect(expectSync(taken)).toBe(errno.EFAULT);
    checkAtRest(bench);
  });

  test('a page in motion is waited for, then taken where it went [F69]', async () => {
    const bench = makeBench();
    const { mm, sys, device } = bench;
    const base = mapFilled(mm, 1);
    const { gate, open } = makeGate();
    device.gate = gate;
    const migration = device.migrateIn(mm, base);
    expect(isMigrationEntry(pteAt(mm, base))).toBe(true);
    const seen = new Uint32Array(1);
    const taken = pinUserPagesFast(mm, base, 1, FOLL_WRITE, seen);
    expect(waits(taken)).toBe(true);
    open();
    expect(await migration).toBe(1);
    device.gate = null;
    expect(await taken).toBe(1);
    expect(sys.mem.isZoneDevice(seen[0]!)).toBe(false);
    expect(load(mm, base)).toBe(1);
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });
});

describe('pins for reading', () => {
  test('unshare a page that fork shares; a get for reading does not', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapFilled(mm, 1);
    const shared = pfnAt(mm, base);
    const child = fork(mm);
    const seen = new Uint32Array(1);
    expect(expectSync(getUserPagesFast(child, base, 1, 0, seen))).toBe(1);
    expect(seen[0]).toBe(shared);
    putUserPages(sys, seen);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
    expect(expectSync(pinUserPagesFast(child, base, 1, 0, seen))).toBe(1);
    expect(seen[0]).not.toBe(shared);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    const pte = pteAt(child, base);
    expect([ptePfn(pte), ptePresent(pte), pteWrite(pte)]).toEqual([seen[0], true, false]);
    expect(sys.mem.testFlag(seen[0]!, PG_ANON_EXCLUSIVE)).toBe(true);
    expect(load(child, base)).toBe(1);
    expect(pfnAt(mm, base)).toBe(shared);
    checkAtRest(bench, { pins: new Map([[seen[0]!, 1]]) });
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });

  test('so a later store of the process is seen through the pin', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapFilled(mm, 1);
    const child = fork(mm);
    const seen = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, base, 1, 0, seen))).toBe(1);
    store(mm, base, 99);
    expect(pfnAt(mm, base)).toBe(seen[0]);
    expect(sys.ram[seen[0]! * PAGE_SIZE]).toBe(99);
    expect(load(child, base)).toBe(1);
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });

  test('copy nothing where the process is the only one left', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapFilled(mm, 1);
    const pfn = pfnAt(mm, base);
    expectSync(mmput(fork(mm)));
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
    const seen = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, base, 1, 0, seen))).toBe(1);
    expect(seen[0]).toBe(pfn);
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
    // Unsharing gives no right that the entry did not have.
    expect(pteWrite(pteAt(mm, base))).toBe(false);
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });

  test('copy nothing of an exclusive page that is read-only', () => {
    const { mm, sys } = makeBench();
    const base = mapFilled(mm, 1);
    expectSync(doMprotect(mm, base, PAGE_SIZE, PROT_READ));
    const pfn = pfnAt(mm, base);
    expect(expectSync(pinUserPagesFast(mm, base, 1, 0, pfns))).toBe(1);
    expect(pfns[0]).toBe(pfn);
    expect(sys.vmstat.read('wp_fault')).toBe(0);
    unpinUserPages(sys, pfns.subarray(0, 1));
  });

  test('of the zero page pin nothing; long-term ones make it a page of its own', () => {
    const bench = makeBench();
    const { mm, sys } = bench;
    const base = mapAnon(mm, 1);
    const seen = new Uint32Array(1);
    const before = sys.mem.refcount[sys.zeroPfn];
    expect(expectSync(pinUserPagesFast(mm, base, 1, 0, seen))).toBe(1);
    expect(seen[0]).toBe(sys.zeroPfn);
    expect(sys.mem.refcount[sys.zeroPfn]).toBe(before);
    unpinUserPages(sys, seen);
    expect(sys.mem.refcount[sys.zeroPfn]).toBe(before);
    expect(expectSync(pinUserPagesFast(mm, base, 1, FOLL_LONGTERM, seen))).toBe(1);
    expect(seen[0]).not.toBe(sys.zeroPfn);
    expect(pfnAt(mm, base)).toBe(seen[0]);
    expect(load(mm, base)).toBe(0);
    unpinUserPages(sys, seen);
    checkAtRest(bench);
  });

  test.each([
    ['short', 0, false],
    ['long-term', FOLL_LONGTERM, true],
  ])('of a private mapping of an object, %s', (_name, flags, ownPage) => {
    const { mm, sys } = makeBench();
    const shared = mapShared(mm, 1, RW);
    store(mm, shared, 5);
    const inode = mm.vmas[0]!.inode!;
    const request = { addr: 0, length: PAGE_SIZE, prot: RW, flags: MAP_PRIVATE, inode };
    const base = expectSync(doMmap(mm, request));
    expect(load(mm, base)).toBe(5);
    const cached = pfnAt(mm, shared);
    const seen = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, base, 1, flags, seen))).toBe(1);
    expect(seen[0] !== cached).toBe(ownPage);
    expect(load(mm, base)).toBe(5);
    unpinUserPages(sys, seen);
  });

  test('of shared memory copy nothing, however long they last', () => {
    const { mm, sys } = makeBench();
    const base = mapAnon(mm, 1, RW, MAP_SHARED);
    store(mm, base, 5);
    expectSync(doMprotect(mm, base, PAGE_SIZE, PROT_READ));
    const cached = pfnAt(mm, base);
    const seen = new Uint32Array(1);
    expect(expectSync(pinUserPagesFast(mm, base, 1, FOLL_LONGTERM, seen))).toBe(1);
    expect(seen[0]).toBe(cached);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
    unpinUserPages(sys, seen);
  });
});

describe('the mmap lock', () => {
  test('I26: is needed by the variants that do not take it', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    expect(() => pinUserPages(mm, base, 1, 0, pfns)).toThrow('I26');
    expect(() => getUserPages(mm, base, 1, 0, pfns)).toThrow('I26');
  });
});
