/* A device has a page in RAM for itself: what other calls make of that. */
import { beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { removeMigrationPtes } from '../../../src/mm/migrate.ts';
import { PROT_NONE, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import {
  MMU_NOTIFY_PROTECTION_PAGE,
  MMU_NOTIFY_PROTECTION_VMA,
} from '../../../src/mm/mmu-notifier.ts';
import { PG_ANON_EXCLUSIVE } from '../../../src/mm/page.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import {
  LEAF_MIGRATION_READ_EXCLUSIVE,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from '../../../src/mm/swapops.ts';
import {
  RW,
  expectSync,
  load,
  loadOutcome,
  mapAnon,
  pteAt,
  store,
  storeOutcome,
  watch,
} from './fixture.ts';
import { ExclusiveRig } from './exclusive-rig.ts';
import { HmmRig, READ, WRITE } from './hmm-rig.ts';
import { Migration, checkAtRest, mapFilled, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

let rig: ExclusiveRig;
let bench: Bench;
let mm: MmStruct;
let sys: System;

beforeEach(() => {
  rig = new ExclusiveRig();
  ({ bench, mm, sys } = rig);
});

function protect(addr: number, prot: number): void {
  expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, prot))).toBe(0);
}

describe('mprotect', () => {
  test('leaves the entry, but tells the driver; the CPU gets the new rights [F99]', () => {
    const addr = rig.mapExclusive(4);
    const entry = pteAt(mm, addr);
    const seen = watch(mm, addr);
    protect(addr, PROT_READ);
    expect(seen.map(({ event }) => event)).toEqual([MMU_NOTIFY_PROTECTION_VMA]);
    expect(pteAt(mm, addr)).toBe(entry);
    expect(storeOutcome(mm, addr)).toBeGreaterThan(0);
    expect(load(mm, addr)).toBe(4);
    expect(pteWrite(pteAt(mm, addr))).toBe(false);
    checkAtRest(bench);
  });

  test('back and forth before anybody looks changes nothing [F99]', () => {
    const addr = rig.mapExclusive(4);
    protect(addr, PROT_NONE);
    expect(loadOutcome(mm, addr)).toBeGreaterThan(0);
    protect(addr, RW);
    expect(load(mm, addr)).toBe(4);
    expect(pteWrite(pteAt(mm, addr))).toBe(true);
    checkAtRest(bench);
  });

  test('a device may not write then, but read [F99]', async () => {
    const addr = rig.mapExclusive(4);
    protect(addr, PROT_READ);
    const range = new HmmRig(bench).range(addr, 1, { defaultFlags: WRITE, owner: {} });
    expect(await new HmmRig(bench).run(range)).toBe(errno.EPERM);
    expect(rig.isExclusive(addr)).toBe(true);
    expect(await new HmmRig(bench).look(addr, 1, { defaultFlags: READ, owner: {} })).toBe('R');
  });
});

describe('fork', () => {
  test('takes the page back first, then shares it as any other [F100]', () => {
    const addr = rig.mapExclusive(6);
    const pfn = pfnAt(mm, addr);
    const seen = watch(mm, addr);
    const child = rig.fork();
    expect(seen.map(({ event }) => event)).toEqual([MMU_NOTIFY_PROTECTION_PAGE]);
    for (const space of [mm, child]) {
      expect([ptePfn(pteAt(space, addr)), pteWrite(pteAt(space, addr))]).toEqual([pfn, false]);
    }
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(false);
    checkAtRest(bench);
    store(child, addr, 60);
    store(mm, addr, 61);
    expect([load(child, addr), load(mm, addr)]).toEqual([60, 61]);
    checkAtRest(bench);
  });

  test('fails as a whole while the driver has the page locked, and works later [F100]', () => {
    const first = mapFilled(mm, 1);
    const addr = mapAnon(mm, 1);
    store(mm, addr, 6);
    const pfn = rig.make(addr);
    const spaces = sys.mms.size;
    expect(expectSync(dupMmap(mm))).toBe(errno.ENOMEM);
    expect(sys.mms.size).toBe(spaces);
    expect(rig.isExclusive(addr)).toBe(true);
    rig.release(pfn);
    checkAtRest(bench);
    const child = rig.fork();
    expect([load(child, addr), load(child, first)]).toEqual([6, 1]);
    checkAtRest(bench);
  });

  test('copies a page for the child that somebody has pinned [F100]', () => {
    const addr = mapFilled(mm, 1);
    const pinned = expectSync(pinUserPage(mm, addr));
    rig.release(rig.make(addr));
    const child = rig.fork();
    expect([pfnAt(mm, addr), pfnAt(child, addr) === pinned]).toEqual([pinned, false]);
    expect(load(child, addr)).toBe(1);
    unpinUserPage(sys, pinned);
    checkAtRest(bench);
  });
});

describe('everybody else', () => {
  test('migration skips the page, and takes it when the CPU has it back [F39]', () => {
    const addr = rig.mapExclusive(2);
    const entry = pteAt(mm, addr);
    const skipped = new Migration(bench, addr, 1).run();
    expect([skipped.reasons, skipped.args.cpages]).toEqual([['not a page'], 0]);
    expect(pteAt(mm, addr)).toBe(entry);
    load(mm, addr);
    expect(new Migration(bench, addr, 1).run().reasons).toEqual(['none']);
    checkAtRest(bench);
  });

  test('the reverse map makes a migration entry of it, which keeps the page exclusive', () => {
    const addr = rig.mapExclusive(2);
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    expect(tryToMigrate(sys, pfn)).toBe(true);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_MIGRATION_READ_EXCLUSIVE);
    removeMigrationPtes(sys, pfn, pfn);
    rig.release(pfn);
    expect(pteWrite(pteAt(mm, addr))).toBe(false);
    store(mm, addr, 20);
    expect([pfnAt(mm, addr), sys.vmstat.read('cow_copy')]).toEqual([pfn, 0]);
    checkAtRest(bench);
  });

  test('munmap, zap and exit free the page', () => {
    const free = sys.pageAllocator.freePages;
    const [unmapped, zapped, left] = [rig.mapExclusive(), rig.mapExclusive(), rig.mapExclusive()];
    expect(mm.anonRss).toBe(3);
    expectSync(doMunmap(mm, unmapped, PAGE_SIZE));
    expect(mm.mmapLock.readTrylock()).toBe(true);
    rig.zap(zapped);
    mm.mmapLock.readUnlock();
    expect([mm.anonRss, load(mm, zapped)]).toEqual([1, 0]);
    expect(rig.isExclusive(left)).toBe(true);
    checkAtRest(bench);
    expectSync(mmput(mm));
    expect(sys.pageAllocator.freePages).toBe(free);
    checkAtRest(bench);
  });

  test('a pin takes it back, and outlives the next exclusive access [F68]', () => {
    const addr = rig.mapExclusive(2);
    const pinned = expectSync(pinUserPage(mm, addr));
    expect(ptePresent(pteAt(mm, addr))).toBe(true);
    rig.release(rig.make(addr));
    checkAtRest(bench, { pins: new Map([[pinned, 1]]) });
    unpinUserPage(sys, pinned);
    expect(load(mm, addr)).toBe(2);
    checkAtRest(bench);
  });

  test('hmm_range_fault reports nothing unless asked, and takes it back when it is [F80]', async () => {
    const addr = rig.mapExclusive(2);
    const hmm = new HmmRig(bench);
    expect(await hmm.look(addr, 1)).toBe('-');
    expect(rig.isExclusive(addr)).toBe(true);
    expect(await hmm.look(addr, 1, { defaultFlags: READ })).toBe('W');
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(1);
    rig.release(rig.make(addr));
    expect(await hmm.look(addr, 1, { defaultFlags: WRITE })).toBe('W');
    checkAtRest(bench);
  });
});
