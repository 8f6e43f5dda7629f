import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmAlloc, mmgetNotZero, mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MAP_PRIVATE, PROT_NONE, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_PROTECTION_PAGE,
  MMU_NOTIFY_RELEASE,
  MMU_NOTIFY_UNMAP,
} from '../../../src/mm/mmu-notifier.ts';
import { PG_ANON_EXCLUSIVE } from '../../../src/mm/page.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_HWPOISON,
  LEAF_MIGRATION_READ,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  mkLeaf,
  ptePfn,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { FAULT_OK, FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import {
  RW,
  expectSync,
  load,
  loadOutcome,
  makeMm,
  makeSystem,
  mapAnon,
  mapShared,
  pteAt,
  store,
  storeOutcome,
  vmaShape,
  watch,
} from './fixture.ts';
import { TinyDevice } from './tiny-device.ts';

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

describe('fork of private memory', () => {
  test('shares each page read-only until somebody writes', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 3);
    store(mm, base, 10);
    store(mm, base + PAGE_SIZE, 20);
    const free = sys.pageAllocator.freePages;
    const child = fork(mm);
    expect(sys.pageAllocator.freePages).toBe(free);
    const pfn = ptePfn(pteAt(mm, base));
    expect(ptePfn(pteAt(child, base))).toBe(pfn);
    expect([pteAt(mm, base) & PTE_WRITE, pteAt(child, base) & PTE_WRITE]).toEqual([0, 0]);
    expect([sys.mem.refcount[pfn], sys.mem.mapcount[pfn]]).toEqual([2, 2]);
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
    expect([mm.anonRss, child.anonRss]).toEqual([2, 2]);
    checkInvariants(sys);
  });

  test.each(['parent', 'child'])('a write of the %s stays its own', (writer) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 10);
    const child = fork(mm);
    const [who, other] = writer === 'parent' ? [mm, child] : [child, mm];
    store(who, base, 11);
    expect([load(who, base), load(other, base)]).toEqual([11, 10]);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    // The other one is alone with the old page now, and keeps it without a copy.
    const pfn = ptePfn(pteAt(other, base));
    store(other, base, 12);
    expect(ptePfn(pteAt(other, base))).toBe(pfn);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    checkInvariants(sys);
  });

  test('copies the VMAs with their permissions', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 6);
    store(mm, base, 1);
    expectSync(doMprotect(mm, base + 2 * PAGE_SIZE, PAGE_SIZE, 1));
    mapShared(mm, 2);
    const child = fork(mm);
    expect(vmaShape(child, base)).toEqual(vmaShape(mm, base));
    checkInvariants(mm.sys);
  });

  test('flushes the parent once, for the pages that lost write permission', () => {
    const mm = makeMm(makeSystem());
    const low = mapAnon(mm, 4, RW, MAP_PRIVATE, 2 ** 30);
    const high = mapAnon(mm, 4, RW, MAP_PRIVATE, 2 ** 31);
    for (let i = 0; i < 3; i++) store(mm, low + i * PAGE_SIZE, 1);
    store(mm, high, 1);
    expect(load(mm, high + PAGE_SIZE)).toBe(0);
    const child = fork(mm);
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 4]);
    expect(child.tlbFlushes).toBe(0);
    fork(mm);
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 4]);
  });

  test('a VMA without anonymous pages is not copied entry by entry', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    expect(load(mm, base)).toBe(0);
    const tables = sys.pageTables.tablesInUse;
    const child = fork(mm);
    expect(sys.pageTables.tablesInUse).toBe(tables + 1);
    expect(load(child, base)).toBe(0);
    checkInvariants(sys);
  });

  test('the zero page beside a written page is copied and counts nothing', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    expect(load(mm, base + PAGE_SIZE)).toBe(0);
    const child = fork(mm);
    expect(pteAt(child, base + PAGE_SIZE) & PTE_SPECIAL).toBe(PTE_SPECIAL);
    expect(child.anonRss).toBe(1);
    checkInvariants(sys);
  });

  test("the child's entries are old, and dirty as the parent's", () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    sys.pageTables.words[sys.pageTables.pteOffset(mm.pgd, base)]! |= PTE_UFFD_WP;
    const child = fork(mm);
    const flags = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
    expect(pteAt(mm, base) & flags).toBe(flags);
    expect(pteAt(child, base) & flags).toBe(PTE_DIRTY | PTE_SOFT_DIRTY);
  });

  test('pages in several page tables, up to both ends of a VMA', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const start = 2 ** 30 + PMD_SIZE - PAGE_SIZE;
    const base = mapAnon(mm, 514, RW, MAP_PRIVATE, start);
    const touched = [0, 1, 512, 513];
    for (const i of touched) store(mm, base + i * PAGE_SIZE, i & 0xff);
    const child = fork(mm);
    for (const i of touched) expect(load(child, base + i * PAGE_SIZE)).toBe(i & 0xff);
    expect(child.anonRss).toBe(4);
    checkInvariants(sys);
  });

  test('a poisoned entry is handed on', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    const entry = mkLeaf(LEAF_HWPOISON, 7, 0);
    sys.pageTables.setPte(sys.pageTables.pteOffset(mm.pgd, base + PAGE_SIZE), entry);
    expect(pteAt(fork(mm), base + PAGE_SIZE)).toBe(entry);
  });
});

describe('fork of shared memory', () => {
  test('stays shared, and writable', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapShared(mm, 1);
    store(mm, base, 10);
    const child = fork(mm);
    store(child, base, 11);
    expect(load(mm, base)).toBe(11);
    expect(mm.tlbFlushes).toBe(0);
    expect(mm.vmas[0]!.inode!.users).toBe(2);
    checkInvariants(sys);
  });
});

describe('fork and pins', () => {
  test('a pinned page is copied for the child at once, the parent keeps it writable', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 10);
    const pfn = expectSync(pinUserPage(mm, base));
    const child = fork(mm);
    expect(ptePfn(pteAt(mm, base))).toBe(pfn);
    expect(pteAt(mm, base) & PTE_WRITE).toBe(PTE_WRITE);
    expect(ptePfn(pteAt(child, base))).not.toBe(pfn);
    store(mm, base, 11);
    expect(sys.ram[pfn * PAGE_SIZE]).toBe(11);
    expect(load(child, base)).toBe(10);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    unpinUserPage(sys, pfn);
  });

  test.each([
    ['read and write', RW, FAULT_OK, FAULT_OK],
    ['read', PROT_READ, FAULT_OK, FAULT_SIGSEGV],
    ['nothing', PROT_NONE, FAULT_SIGSEGV, FAULT_SIGSEGV],
  ])('the copy has the rights of its VMA: %s', (_name, prot, onLoad, onStore) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    const pfn = expectSync(pinUserPage(mm, base));
    expect(expectSync(doMprotect(mm, base, PAGE_SIZE, prot))).toBe(0);
    const child = fork(mm);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    expect([loadOutcome(child, base), storeOutcome(child, base)]).toEqual([onLoad, onStore]);
    unpinUserPage(sys, pfn);
  });

  test('no memory for that copy fails the fork and leaves nothing', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 9);
    store(mm, base + PAGE_SIZE, 10);
    const pfn = expectSync(pinUserPage(mm, base + PAGE_SIZE));
    sys.pageAllocator.failAt = 1;
    expect(expectSync(dupMmap(mm))).toBe(errno.ENOMEM);
    expect(sys.mms.size).toBe(1);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    store(mm, base, 11);
    expect(load(mm, base)).toBe(11);
    unpinUserPage(sys, pfn);
  });
});

describe('fork of device-private memory [F101]', () => {
  function forked() {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 10);
    expect(device.migrateIn(mm, base)).toBe(1);
    const events = watch(mm, base);
    const child = fork(mm);
    return { sys, device, mm, child, base, events };
  }
  const known = (device: TinyDevice) => ({ deviceFree: new Set(device.free) });

  test('both entries are READ, the page stays on the device, not exclusive', () => {
    const { sys, device, mm, child, base, events } = forked();
    const pfn = ptePfn(pteAt(mm, base));
    const kinds = [mm, child].map((one) => leafKind(pteAt(one, base)));
    expect(kinds).toEqual([LEAF_DEVICE_PRIVATE_READ, LEAF_DEVICE_PRIVATE_READ]);
    expect(sys.mem.refcount[pfn]).toBe(2);
    expect(sys.mem.mapcount[pfn]).toBe(2);
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
    expect([mm.anonRss, child.anonRss]).toEqual([1, 1]);
    expect(mm.tlbFlushedPages).toBe(1);
    expect(events.map(({ event }) => event)).toEqual([MMU_NOTIFY_PROTECTION_PAGE]);
    expect(device.used).toBe(1);
    checkInvariants(sys, known(device));
  });

  test('a read of the child brings the page home for both', () => {
    const { sys, device, mm, child, base } = forked();
    expect(load(child, base)).toBe(10);
    expect(ptePresent(pteAt(mm, base))).toBe(true);
    expect(ptePfn(pteAt(mm, base))).toBe(ptePfn(pteAt(child, base)));
    expect(device.used).toBe(0);
    checkInvariants(sys, known(device));
  });

  test('a write of the child takes two faults and a copy [F102]', () => {
    const { sys, device, mm, child, base } = forked();
    const faults = sys.vmstat.read('pgfault');
    store(child, base, 11);
    expect(sys.vmstat.read('pgfault') - faults).toBe(2);
    expect([load(mm, base), load(child, base)]).toEqual([10, 11]);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    checkInvariants(sys, known(device));
  });

  test('the page is free when the last process has unmapped it [F103]', () => {
    const { sys, device, mm, child, base } = forked();
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    expect(device.used).toBe(1);
    checkInvariants(sys, known(device));
    expectSync(mmput(child));
    expect(device.used).toBe(0);
    checkInvariants(sys, known(device));
  });

  test('migrated again, both follow; then each writes its own', () => {
    const { sys, device, mm, child, base } = forked();
    expect(load(mm, base)).toBe(10);
    expect(device.migrateIn(child, base)).toBe(1);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_DEVICE_PRIVATE_READ);
    store(mm, base, 12);
    store(child, base, 13);
    expect([load(mm, base), load(child, base)]).toEqual([12, 13]);
    checkInvariants(sys, known(device));
  });
});

describe('fork with a migration in progress', () => {
  test('both sides have READ entries, and both count the page', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    tryToMigrate(sys, pfn);
    const flushes = mm.tlbFlushes;
    const child = fork(mm);
    expect([mm, child].map((one) => leafKind(pteAt(one, base)))).toEqual([
      LEAF_MIGRATION_READ,
      LEAF_MIGRATION_READ,
    ]);
    expect([mm.anonRss, child.anonRss]).toEqual([1, 1]);
    expect(sys.mem.refcount[pfn]).toBe(1);
    expect(mm.tlbFlushes).toBe(flushes);
  });
});

describe('fork fails', () => {
  test.each([1, 2, 3, 4])('without the %ith page table, and leaves nothing', (nth) => {
    const sys = makeSystem(64, 0, 5 + nth - 1);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(expectSync(dupMmap(mm))).toBe(errno.ENOMEM);
    expect(sys.mms.size).toBe(1);
    checkInvariants(sys);
    store(mm, base, 2);
    expect(load(mm, base)).toBe(2);
  });

  test('the control case: with all four it works', () => {
    const sys = makeSystem(64, 0, 5 + 4);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(load(fork(mm), base)).toBe(1);
  });

  test('of a dead parent', () => {
    const mm = makeMm(makeSystem());
    expectSync(mmput(mm));
    expect(expectSync(dupMmap(mm))).toBe(errno.ESRCH);
  });
});

describe('copy-on-write', () => {
  test('tells the notifiers CLEAR before the entry changes', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base + PAGE_SIZE, 1);
    fork(mm);
    const before = pteAt(mm, base + PAGE_SIZE);
    const events = watch(mm, base);
    store(mm, base + PAGE_SIZE, 2);
    expect(events).toEqual([{ event: MMU_NOTIFY_CLEAR, from: 1, pages: 1, pteBefore: before }]);
  });

  test('reuse of a page that nobody else has tells nobody', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expectSync(mmput(fork(mm)));
    const events = watch(mm, base);
    store(mm, base, 2);
    expect(events).toEqual([]);
    expect(mm.sys.vmstat.read('cow_copy')).toBe(0);
  });

  test('a page that somebody refers to is copied, not reused', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expectSync(mmput(fork(mm)));
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    store(mm, base, 2);
    expect(ptePfn(pteAt(mm, base))).not.toBe(pfn);
    expect(sys.ram[pfn * PAGE_SIZE]).toBe(1);
    checkInvariants(sys, { references: new Map([[pfn, 1]]) });
  });

  test('a page that is locked is copied, not waited for', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expectSync(mmput(fork(mm)));
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    store(mm, base, 2);
    expect(ptePfn(pteAt(mm, base))).not.toBe(pfn);
  });
});

describe('exit', () => {
  test('gives everything back', () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const free = sys.pageAllocator.freePages;
    const mm = makeMm(sys);
    const base = mapAnon(mm, 4);
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 1);
    expect(device.migrateIn(mm, base)).toBe(1);
    store(mm, mapShared(mm, 2), 1);
    expectSync(mmput(fork(mm)));
    expectSync(mmput(mm));
    expect(sys.pageAllocator.freePages).toBe(free);
    expect([device.used, sys.pageTables.tablesInUse, sys.mms.size]).toEqual([0, 0, 0]);
    checkInvariants(sys, { deviceFree: new Set(device.free) });
  });

  test('tells RELEASE first, while everything is still mapped', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const events = watch(mm, base);
    expectSync(mmput(mm));
    expect(events.map(({ event }) => event)).toEqual([MMU_NOTIFY_RELEASE, MMU_NOTIFY_UNMAP]);
    expect(events[1]!.pteBefore).not.toBe(0);
  });

  test('happens when the last user leaves, not before', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(mmgetNotZero(mm)).toBe(true);
    expectSync(mmput(mm));
    expect(load(mm, base)).toBe(1);
    expectSync(mmput(mm));
    expect(mmgetNotZero(mm)).toBe(false);
    expect(sys.mms.has(mm)).toBe(false);
  });

  test('waits for faults in progress', async () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    mapAnon(mm, 1);
    expectSync(mm.mmapLock.readLock());
    const exiting = mmput(mm);
    expect(isPending(exiting)).toBe(true);
    expect(sys.mms.has(mm)).toBe(true);
    expect(mmgetNotZero(mm)).toBe(false);
    mm.mmapLock.readUnlock();
    await exiting;
    expect(sys.mms.has(mm)).toBe(false);
  });

  test('I18: a user too many dropped is a bug', () => {
    const mm = makeMm(makeSystem());
    expectSync(mmput(mm));
    expect(() => mmput(mm)).toThrow('I18');
  });

  test('I19: a resident page that nobody can find is a bug', () => {
    const mm = makeMm(makeSystem());
    mm.anonRss = 1;
    expect(() => mmput(mm)).toThrow('I19');
  });

  test('no page table for a new address space is ENOMEM', () => {
    const sys = makeSystem(64, 0, 2);
    makeMm(sys);
    expect(mmAlloc(sys)).toBe(errno.ENOMEM);
  });
});
