/* memory_failure: poisoned pages of RAM, of objects, of devices. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { filemapRead, genericFileWrite } from '../../../src/mm/filemap.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  MF_ACTION_REQUIRED,
  madviseHwpoison,
  memoryFailure,
} from '../../../src/mm/memory-failure.ts';
import type { DevPagemap } from '../../../src/mm/memremap.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { PG_HWPOISON, PG_LRU } from '../../../src/mm/page.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import { LEAF_HWPOISON, LEAF_MARKER_POISON, leafKind, mkLeaf } from '../../../src/mm/swapops.ts';
import { FAULT_SIGBUS } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import {
  expectSync,
  load,
  loadOutcome,
  mapAnon,
  mapShared,
  pteAt,
  store,
  storeOutcome,
  watch,
} from './fixture.ts';
import { HmmRig, READ } from './hmm-rig.ts';
import {
  Migration,
  checkAtRest,
  forgePte,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
} from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;
let mm: MmStruct;

beforeEach(() => {
  bench = makeBench();
  ({ mm } = bench);
});

afterEach(() => checkAtRest(bench));

/** Poisons the page that is mapped at an address; its frame. */
function poison(addr: number): number {
  const pfn = pfnAt(mm, addr);
  expect(expectSync(memoryFailure(bench.sys, pfn, 0))).toBe(0);
  return pfn;
}

describe('a page of RAM', () => {
  test('becomes a hwpoison entry; every access is SIGBUS, its neighbour works [F1]', () => {
    const addr = mapFilled(mm, 2);
    const pfn = poison(addr);
    expect([leafKind(pteAt(mm, addr)), pfnAt(mm, addr)]).toEqual([LEAF_HWPOISON, pfn]);
    expect([loadOutcome(mm, addr), storeOutcome(mm, addr)]).toEqual([FAULT_SIGBUS, FAULT_SIGBUS]);
    expect(load(mm, addr + PAGE_SIZE)).toBe(2);
    expect(mm.anonRss).toBe(1);
    expect(bench.sys.mem.testFlag(pfn, PG_LRU)).toBe(false);
  });

  test('tells devices before the entry changes, and flushes once [F92]', () => {
    const addr = mapFilled(mm, 1);
    const pte = pteAt(mm, addr);
    const events = watch(mm, addr);
    const { tlbFlushes } = mm;
    poison(addr);
    expect(events).toEqual([{ event: MMU_NOTIFY_CLEAR, from: 0, pages: 1, pteBefore: pte }]);
    expect(mm.tlbFlushes).toBe(tlbFlushes + 1);
  });

  test('is taken from every process that shares it', () => {
    const addr = mapFilled(mm, 1);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    poison(addr);
    expect([loadOutcome(mm, addr), loadOutcome(child, addr)]).toEqual([FAULT_SIGBUS, FAULT_SIGBUS]);
    expectSync(mmput(child));
  });

  test('a child forked later gets the entry, too', () => {
    const addr = mapFilled(mm, 2);
    poison(addr);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    expect(loadOutcome(child, addr)).toBe(FAULT_SIGBUS);
    expect(load(child, addr + PAGE_SIZE)).toBe(2);
    expectSync(mmput(child));
  });

  test('is never handed out again; the address can be used anew', () => {
    const addr = mapFilled(mm, 1);
    const { freePages } = bench.sys.pageAllocator;
    const pfn = poison(addr);
    zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
    expect(bench.sys.pageAllocator.freePages).toBe(freePages);
    store(mm, addr, 5);
    expect([load(mm, addr), pfnAt(mm, addr) === pfn]).toEqual([5, false]);
    expectSync(doMunmap(mm, addr, PAGE_SIZE));
    expect([bench.sys.mem.refcount[pfn], mm.anonRss]).toEqual([1, 0]);
  });

  test('is not migrated', () => {
    const addr = mapFilled(mm, 1);
    poison(addr);
    const migration = new Migration(bench, addr, 1).run();
    expect([migration.src, migration.reasons]).toEqual([['-'], ['not a page']]);
  });

  test('a device that asks for it gets EFAULT, a snapshot nothing [F80]', async () => {
    const addr = mapFilled(mm, 2);
    poison(addr);
    const rig = new HmmRig(bench);
    expect(await rig.look(addr, 2)).toBe('-W');
    expect(await rig.look(addr, 2, { defaultFlags: READ })).toBe(String(errno.EFAULT));
    expect(rig.faults()).toBe(0);
  });

  test('in motion is given up where it was, once the migration is over', async () => {
    const addr = mapFilled(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    const failing = memoryFailure(bench.sys, migration.page(0), 0);
    expect(isPending(failing)).toBe(true);
    // The reference of whoever waits keeps the page from being committed.
    migration.pages().finalize();
    expect(await failing).toBe(0);
    expect([migration.reasons, loadOutcome(mm, addr)]).toEqual([
      ['pinned at commit'],
      FAULT_SIGBUS,
    ]);
  });

  test('EHWPOISON the second time', () => {
    const addr = mapFilled(mm, 1);
    const pfn = poison(addr);
    expect(expectSync(memoryFailure(bench.sys, pfn, 0))).toBe(errno.EHWPOISON);
    expect(bench.sys.vmstat.read('memory_failure')).toBe(1);
  });

  test('EHWPOISON for the second of two who wait for its lock', async () => {
    const addr = mapFilled(mm, 1);
    const { mem } = bench.sys;
    const pfn = pfnAt(mm, addr);
    expect(mem.trylockPage(pfn)).toBe(true);
    const both = [memoryFailure(bench.sys, pfn, 0), memoryFailure(bench.sys, pfn, 0)];
    mem.unlockPage(pfn);
    expect([await both[0], await both[1]]).toEqual([0, errno.EHWPOISON]);
    expect(mem.refcount[pfn]).toBe(1);
  });

  test('EBUSY: a free page, the zero page; ENXIO: no page', () => {
    const { sys } = bench;
    expect(expectSync(memoryFailure(sys, sys.pageAllocator.firstFree, 0))).toBe(errno.EBUSY);
    expect(expectSync(memoryFailure(sys, sys.zeroPfn, 0))).toBe(errno.EBUSY);
    for (const pfn of [-1, 1.5, Number.NaN, sys.mem.pageCount]) {
      expect(expectSync(memoryFailure(sys, pfn, 0))).toBe(errno.ENXIO);
    }
  });
});

describe('a page of an object', () => {
  test('is SIGBUS for everybody, mapped or not; its neighbour works', () => {
    const addr = mapShared(mm, 2);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    store(mm, addr, 1);
    store(mm, addr + PAGE_SIZE, 2);
    poison(addr);
    expect([loadOutcome(mm, addr), loadOutcome(child, addr)]).toEqual([FAULT_SIGBUS, FAULT_SIGBUS]);
    expect(load(child, addr + PAGE_SIZE)).toBe(2);
    expectSync(mmput(child));
  });

  test('is out of circulation after the object is gone', () => {
    const addr = mapShared(mm, 1);
    store(mm, addr, 1);
    const pfn = poison(addr);
    expectSync(doMunmap(mm, addr, PAGE_SIZE));
    const { mem } = bench.sys;
    expect([mem.refcount[pfn], mem.mapping[pfn]]).toEqual([1, 0]);
    expect(mem.testFlag(pfn, PG_HWPOISON)).toBe(true);
  });
});

describe('a page of a file', () => {
  test('is EIO to read and to write; what lies before it is read', async () => {
    const file = shmemCreate(bench.sys, 3 * PAGE_SIZE);
    if (typeof file === 'number') throw new Error('shmemCreate');
    const bytes = new Uint8Array(3 * PAGE_SIZE).fill(7);
    expect(await genericFileWrite(file, 0, bytes)).toBe(bytes.length);
    expect(expectSync(memoryFailure(bench.sys, file.cache.get(1), 0))).toBe(0);
    expect(filemapRead(file, 0, bytes)).toBe(PAGE_SIZE);
    expect(filemapRead(file, PAGE_SIZE, bytes)).toBe(errno.EIO);
    expect(filemapRead(file, 2 * PAGE_SIZE, bytes)).toBe(PAGE_SIZE);
    expect(await genericFileWrite(file, PAGE_SIZE, Uint8Array.of(1))).toBe(errno.EIO);
    expect(await genericFileWrite(file, 0, bytes)).toBe(PAGE_SIZE);
    expect(await genericFileWrite(file, 2 * PAGE_SIZE, Uint8Array.of(1))).toBe(1);
    shmemPut(file);
  });
});

describe('device memory', () => {
  /** Gives the device a memoryFailure callback. */
  function answer(status: number): unknown[][] {
    const calls: unknown[][] = [];
    const ops = bench.device.pgmap.ops as { memoryFailure?: unknown };
    ops.memoryFailure = (pgmap: DevPagemap, ...rest: number[]): number => {
      calls.push([pgmap.owner, ...rest]);
      return status;
    };
    return calls;
  }

  test('without a callback is ENXIO, and nothing happens to it [F20]', () => {
    const addr = mapOnDevice(bench, 1);
    expect(expectSync(memoryFailure(bench.sys, pfnAt(mm, addr), 0))).toBe(errno.ENXIO);
    expect(load(mm, addr)).toBe(1);
    expect(bench.sys.vmstat.read('memory_failure')).toBe(0);
  });

  test('with one is its driver’s business [F20]', () => {
    const addr = mapOnDevice(bench, 1);
    const calls = answer(0);
    const pfn = pfnAt(mm, addr);
    expect(expectSync(memoryFailure(bench.sys, pfn, MF_ACTION_REQUIRED))).toBe(0);
    expect(calls).toEqual([[bench.device, pfn, 1, MF_ACTION_REQUIRED]]);
    expect(load(mm, addr)).toBe(1);
  });

  test.each([
    ['EIO comes through', errno.EIO, errno.EIO],
    ['EOPNOTSUPP is ENXIO, as without a callback', errno.EOPNOTSUPP, errno.ENXIO],
  ])('what it answers: %s [F20]', (_what, answered, status) => {
    const addr = mapOnDevice(bench, 1);
    answer(answered);
    expect(expectSync(memoryFailure(bench.sys, pfnAt(mm, addr), 0))).toBe(status);
  });

  test('that belongs to no pagemap is ENXIO', () => {
    const last = bench.sys.mem.pageCount - 1;
    expect(expectSync(memoryFailure(bench.sys, last, 0))).toBe(errno.ENXIO);
  });
});

describe('MADV_HWPOISON', () => {
  test('brings a device page home, and breaks it there', () => {
    const addr = mapOnDevice(bench, 1);
    expect(expectSync(madviseHwpoison(mm, addr))).toBe(0);
    expect([loadOutcome(mm, addr), bench.device.used]).toEqual([FAULT_SIGBUS, 0]);
  });

  test('EBUSY: a hole reads as the zero page; EFAULT: nothing there; EINVAL: no page', () => {
    const addr = mapAnon(mm, 1);
    expect(expectSync(madviseHwpoison(mm, addr))).toBe(errno.EBUSY);
    expect(load(mm, addr)).toBe(0);
    expect(expectSync(madviseHwpoison(mm, addr - 64 * PAGE_SIZE))).toBe(errno.EFAULT);
    for (const bad of [addr + 1, -PAGE_SIZE, Number.NaN, 2 ** 47]) {
      expect(expectSync(madviseHwpoison(mm, bad))).toBe(errno.EINVAL);
    }
  });

  test('EFAULT where a poison marker is', () => {
    const addr = mapAnon(mm, 1);
    forgePte(mm, addr, mkLeaf(LEAF_MARKER_POISON, 0, 0));
    expect(expectSync(madviseHwpoison(mm, addr))).toBe(errno.EFAULT);
  });
});
