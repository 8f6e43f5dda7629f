/*
 * Coherent device memory (hmm-semantics 4.2, 7.1, 8, 14): the CPU maps it like RAM, and it still
 * belongs to a device. Every test has a twin with private memory in the other files.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { migrateVmaSetup } from '../../../src/mm/migrate-device.ts';
import { migratePfnToPage } from '../../../src/mm/migrate-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU, PG_UPTODATE } from '../../../src/mm/page.ts';
import {
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_SOFT_DIRTY,
  PTE_WRITE,
  PTE_YOUNG,
  isMigrationEntry,
  ptePresent,
  pteWrite,
} from '../../../src/mm/swapops.ts';
import { RW, expectSync, load, mapAnon, mapShared, pteAt, store } from './fixture.ts';
import { HmmRig } from './hmm-rig.ts';
import {
  COHERENT_TO_RAM,
  Migration,
  TO_DEVICE,
  TO_RAM,
  checkAtRest,
  makeCoherentBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
  withOtherDevice,
} from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeCoherentBench();
});

afterEach(() => checkAtRest(bench));

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

function onDevice(mm: MmStruct, addr: number): boolean {
  return mm.sys.mem.isDeviceCoherent(pfnAt(mm, addr));
}

describe('a page that moved to coherent memory [F13]', () => {
  test('is mapped by a present, writable entry, and the CPU uses it without a fault', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 2);
    const pfn = pfnAt(mm, addr);
    expect([onDevice(mm, addr), pteWrite(pteAt(mm, addr))]).toEqual([true, true]);
    expect([sys.mem.refcount[pfn], sys.mem.mapcount[pfn], mm.anonRss]).toEqual([1, 1, 2]);
    const faults = sys.vmstat.read('pgfault');
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([1, 2]);
    store(mm, addr, 9);
    expect([sys.vmstat.read('pgfault'), device.faults]).toEqual([faults, 0]);
    expect(device.readPage(pfn)[0]).toBe(9);
  });

  test('is exclusive as before, and never on the LRU', () => {
    const { mm, sys } = bench;
    const pfn = pfnAt(mm, mapOnDevice(bench, 1));
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    expect(sys.mem.testFlag(pfn, PG_LRU)).toBe(false);
    const ram = pfnAt(mm, mapFilled(mm, 1));
    expect(sys.mem.testFlag(ram, PG_LRU)).toBe(true);
  });

  test('keeps read-only permission; a store is answered by one reuse, in place', () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, PROT_READ))).toBe(0);
    expect(expectSync(bench.device.migrateIn(mm, addr))).toBe(1);
    expect(pteWrite(pteAt(mm, addr))).toBe(false);
    expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, RW))).toBe(0);
    store(mm, addr, 5);
    expect([load(mm, addr), onDevice(mm, addr)]).toEqual([5, true]);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
  });

  test('goes back to its driver when it is unmapped [F15] [F103]', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 3);
    expect(device.used).toBe(3);
    expect(expectSync(doMunmap(mm, addr, 2 * PAGE_SIZE))).toBe(0);
    expect([device.used, mm.anonRss]).toEqual([1, 1]);
  });

  test('a page-cache page does not move there [F50]', () => {
    const { mm } = bench;
    const addr = mapShared(mm, 1);
    store(mm, addr, 4);
    const migration = new Migration(bench, addr, 1).run();
    expect(migration.reasons).toEqual(['page-cache page to a device']);
    expect([load(mm, addr), onDevice(mm, addr)]).toEqual([4, false]);
  });
});

describe('filling a hole with a coherent page [F46] [F13]', () => {
  test.each([
    ['writable and dirty in a writable VMA', RW, PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY],
    ['neither in a read-only VMA', PROT_READ, 0],
  ])('makes a present entry, %s', (_what, prot, flags) => {
    const { mm, sys } = bench;
    const addr = mapAnon(mm, 1, prot);
    const migration = new Migration(bench, addr, 1).run();
    const target = migratePfnToPage(migration.args.dst[0]!);
    expect(pteAt(mm, addr) & 0x1ff).toBe(PTE_PRESENT | PTE_YOUNG | flags);
    expect(pfnAt(mm, addr)).toBe(target);
    expect(sys.mem.testFlag(target, PG_UPTODATE)).toBe(true);
    expect(sys.mem.testFlag(target, PG_LRU)).toBe(false);
    expect([load(mm, addr), mm.anonRss]).toEqual([0, 1]);
  });
});

describe('selecting coherent pages [F25]', () => {
  test.each([
    ['SYSTEM', TO_DEVICE, 'not selected'],
    ['DEVICE_PRIVATE', TO_RAM, 'not selected'],
    ['DEVICE_COHERENT', COHERENT_TO_RAM, 'none'],
    ['SYSTEM and DEVICE_COHERENT', TO_DEVICE | COHERENT_TO_RAM, 'none'],
  ])('%s', (_what, flags, reason) => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const before = pteAt(mm, addr);
    const migration = new Migration(bench, addr, 1, flags).setup();
    expect(migration.reasons).toEqual([reason]);
    expect(isMigrationEntry(pteAt(mm, addr))).toBe(reason === 'none');
    migration.finalize();
    expect(pteAt(mm, addr)).toBe(before);
  });

  test('DEVICE_COHERENT takes no page of RAM, and no zero page', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 2);
    store(mm, addr, 1);
    load(mm, addr + PAGE_SIZE);
    const migration = new Migration(bench, addr, 2, COHERENT_TO_RAM).setup();
    expect(migration.reasons).toEqual(['not selected', 'not selected']);
    migration.finalize();
  });

  test('not those of another owner [F19] [F39]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const other = withOtherDevice(bench);
    const migration = new Migration(other, addr, 1, COHERENT_TO_RAM).setup();
    expect(migration.reasons).toEqual(['foreign owner']);
    expect(ptePresent(pteAt(mm, addr))).toBe(true);
    migration.finalize();
  });

  test('comes home with contents and permission, on the LRU', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 2);
    store(mm, addr, 7);
    new Migration(bench, addr, 2, COHERENT_TO_RAM).run();
    expect([device.used, onDevice(mm, addr), pteWrite(pteAt(mm, addr))]).toEqual([0, false, true]);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([7, 2]);
    expect(sys.mem.testFlag(pfnAt(mm, addr), PG_LRU)).toBe(true);
    expect(sys.vmstat.read('pgmigrate_to_ram')).toBe(2);
  });

  test('carries young, dirty and soft-dirty of its present entry [F8]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    store(mm, addr, 1);
    const bits = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY;
    expect(pteAt(mm, addr) & bits).toBe(bits);
    new Migration(bench, addr, 1, COHERENT_TO_RAM).run();
    expect(pteAt(mm, addr) & bits).toBe(bits);
  });

  test('flushes the TLB for what it unmaps, as for RAM [F10]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 2);
    const before = mm.tlbFlushedPages;
    const migration = new Migration(bench, addr, 2, COHERENT_TO_RAM).setup();
    expect(mm.tlbFlushedPages - before).toBe(2);
    migration.finalize();
  });

  test('a pinned one stays mapped; unpinned it goes [F34]', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = expectSync(pinUserPage(mm, addr));
    expect(sys.mem.isDeviceCoherent(pfn)).toBe(true);
    const migration = new Migration(bench, addr, 1, COHERENT_TO_RAM).run();
    expect(migration.reasons).toEqual(['pinned at collect']);
    unpinUserPage(sys, pfn);
    expect(new Migration(bench, addr, 1, COHERENT_TO_RAM).run().reasons).toEqual(['none']);
  });

  test('is no fault page: only device-private memory faults home [F38]', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.trylockPage(pfn);
    const { args } = new Migration(bench, addr, 1, COHERENT_TO_RAM, pfn);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    expect(migrateVmaSetup(args)).toBe(-22);
    mm.mmapLock.readUnlock();
    sys.mem.unlockPage(pfn);
  });
});

describe('fork and coherent pages [F101] [F102]', () => {
  test('both processes map the page read-only; the writer gets a copy in RAM', () => {
    const { mm, sys, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    expect(pfnAt(child, addr)).toBe(pfnAt(mm, addr));
    expect([pteWrite(pteAt(mm, addr)), pteWrite(pteAt(child, addr))]).toEqual([false, false]);
    store(child, addr, 50);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 50]);
    expect([onDevice(mm, addr), onDevice(child, addr)]).toEqual([true, false]);
    expect([sys.vmstat.read('cow_copy'), device.faults]).toEqual([1, 0]);
    store(mm, addr, 60);
    expect([load(mm, addr), load(child, addr), onDevice(mm, addr)]).toEqual([60, 50, true]);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
  });

  test('one that is pinned is copied for the child, as in RAM', () => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const pfn = expectSync(pinUserPage(mm, addr));
    const child = fork(mm);
    expect([pfnAt(mm, addr), onDevice(child, addr)]).toEqual([pfn, false]);
    store(mm, addr, 30);
    expect([load(child, addr), pfnAt(mm, addr)]).toEqual([1, pfn]);
    unpinUserPage(sys, pfn);
  });

  test('a shared one goes home for both', () => {
    const { mm, device } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    new Migration(bench, addr, 1, COHERENT_TO_RAM).run();
    expect([pfnAt(child, addr), device.used]).toEqual([pfnAt(mm, addr), 0]);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 1]);
  });
});

describe('hmm_range_fault on coherent pages', () => {
  test('reports them like RAM, whoever asks: nothing is faulted [F13] [F73]', async () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 2);
    const rig = new HmmRig(bench);
    expect(await rig.look(addr, 2)).toBe('WW');
    expect(await rig.look(addr, 2, { owner: null })).toBe('WW');
    expect([rig.faults(), onDevice(mm, addr)]).toEqual([0, true]);
  });
});
