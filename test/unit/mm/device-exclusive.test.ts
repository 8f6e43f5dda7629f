/* A device has a page in RAM for itself: how it gets it, and everything that takes it back. */
import { beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { makeDeviceExclusive } from '../../../src/mm/device-exclusive.ts';
import { MAP_PRIVATE, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_EXCLUSIVE,
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import type { MmuIntervalNotifier } from '../../../src/mm/mmu-notifier.ts';
import { PG_DIRTY } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  mkPte,
  ptePfn,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { RW, expectSync, load, mapAnon, mapShared, pteAt, store, watch } from './fixture.ts';
import { ExclusiveRig } from './exclusive-rig.ts';
import { checkAtRest, forgePte, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { waits } from './tiny-device.ts';

let rig: ExclusiveRig;
let bench: Bench;
let mm: MmStruct;
let sys: System;

beforeEach(() => {
  rig = new ExclusiveRig();
  ({ bench, mm, sys } = rig);
});

describe('exclusive access', () => {
  test('replaces the entry and nothing else; the page comes locked, referenced [F96] [F1]', () => {
    const addr = mapAnon(mm, 1);
    store(mm, addr, 7);
    const pfn = pfnAt(mm, addr);
    const { anonRss, tlbFlushes } = mm;
    expect(rig.make(addr + 5)).toBe(pfn);
    const entry = pteAt(mm, addr);
    expect([leafKind(entry), ptePfn(entry)]).toEqual([LEAF_DEVICE_EXCLUSIVE, pfn]);
    expect(entry & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    expect(sys.mem.isLocked(pfn)).toBe(true);
    expect([sys.mem.refcount[pfn], sys.mem.mapcount[pfn]]).toEqual([2, 1]);
    expect(sys.mem.testFlag(pfn, PG_DIRTY)).toBe(true);
    expect([mm.anonRss, mm.tlbFlushes]).toEqual([anonRss, tlbFlushes + 1]);
    rig.release(pfn);
    expect(sys.vmstat.read('device_exclusive_make')).toBe(1);
    checkAtRest(bench);
  });

  test('faults in what is not there, or only the zero page [F96]', () => {
    const addr = mapAnon(mm, 2);
    expect(load(mm, addr + PAGE_SIZE)).toBe(0);
    for (const page of [addr, addr + PAGE_SIZE]) {
      const pfn = rig.make(page);
      expect(pfn).toBeGreaterThan(0);
      expect(pfn).not.toBe(sys.zeroPfn);
      rig.release(pfn);
    }
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([0, 0]);
    checkAtRest(bench);
  });

  test('breaks copy-on-write first: the child keeps its page [F96] [F100]', () => {
    const addr = mapFilled(mm, 1);
    const shared = pfnAt(mm, addr);
    const child = rig.fork();
    const pfn = rig.make(addr);
    expect(pfn).not.toBe(shared);
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    rig.release(pfn);
    expect(ptePresent(pteAt(child, addr))).toBe(true);
    sys.ram[pfn * PAGE_SIZE] = 50;
    expect([load(mm, addr), load(child, addr)]).toEqual([50, 1]);
    checkAtRest(bench);
  });

  test('brings a page home from device memory first [F96] [F68]', () => {
    const addr = mapOnDevice(bench, 1);
    const pfn = rig.make(addr);
    expect(sys.mem.isZoneDevice(pfn)).toBe(false);
    expect(sys.vmstat.read('device_private_fault')).toBe(1);
    rig.release(pfn);
    expect(load(mm, addr)).toBe(1);
    checkAtRest(bench);
  });

  test('takes the page from another device that had it [F97]', () => {
    const addr = rig.mapExclusive(9);
    const seen = watch(mm, addr);
    const pfn = rig.make(addr, { name: 'other' });
    rig.release(pfn);
    expect(seen.map(({ event }) => event)).toEqual([MMU_NOTIFY_CLEAR, MMU_NOTIFY_EXCLUSIVE]);
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(1);
    expect(rig.isExclusive(addr)).toBe(true);
    expect(load(mm, addr)).toBe(9);
    checkAtRest(bench);
  });

  test('tells its page and its owner before the entry changes [F97] [F92]', () => {
    const addr = mapFilled(mm, 3);
    const seen = watch(mm, addr);
    const owner = { name: 'me' };
    const owners: unknown[] = [];
    const sub = newMmuIntervalNotifier(null);
    const invalidate = (_: unknown, range: { readonly owner: unknown }): boolean => {
      owners.push(range.owner);
      return true;
    };
    expect(mmuIntervalNotifierInsert(sub, mm, 0, TASK_SIZE, { invalidate })).toBe(0);
    const before = pteAt(mm, addr + PAGE_SIZE);
    rig.release(rig.make(addr + PAGE_SIZE + 123, owner));
    const event = { event: MMU_NOTIFY_EXCLUSIVE, from: 1, pages: 1 };
    expect(seen).toEqual([{ ...event, pteBefore: before }]);
    expect(owners).toEqual([owner]);
  });

  test('is for anonymous memory only: EOPNOTSUPP, and nothing is held [F97]', () => {
    const addr = mapShared(mm, 1);
    expect(rig.make(addr)).toBe(errno.EOPNOTSUPP);
    expect(ptePresent(pteAt(mm, addr))).toBe(true);
    checkAtRest(bench);
    // A private mapping of an object gets an anonymous page by the write that this counts as.
    const inode = vmaLookup(mm, addr)!.inode!;
    const request = { addr: 0, length: PAGE_SIZE, prot: RW, flags: MAP_PRIVATE, inode };
    const copy = expectSync(doMmap(mm, request));
    const pfn = rig.make(copy);
    expect(sys.mem.isAnon(pfn)).toBe(true);
    rig.release(pfn);
    checkAtRest(bench);
  });

  test('needs a page that may be written: EFAULT, and ENOMEM without memory [F97]', () => {
    const readOnly = mapAnon(mm, 1, PROT_READ);
    expect(rig.make(readOnly)).toBe(errno.EFAULT);
    expect(rig.make(2 ** 40)).toBe(errno.EFAULT);
    for (const wrong of [Number.NaN, -1, TASK_SIZE]) expect(rig.make(wrong)).toBe(errno.EFAULT);
    const empty = mapAnon(mm, 1);
    sys.pageAllocator.failAt = 1;
    expect(rig.make(empty)).toBe(errno.ENOMEM);
    checkAtRest(bench);
  });

  test('looks again when the page went while its lock was waited for [F97]', async () => {
    const addr = mapFilled(mm, 1);
    const old = pfnAt(mm, addr);
    expect(sys.mem.trylockPage(old)).toBe(true);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    const made = makeDeviceExclusive(mm, addr, null);
    expect(waits(made)).toBe(true);
    rig.zap(addr);
    const seen = watch(mm, addr);
    sys.mem.unlockPage(old);
    const pfn = await made;
    mm.mmapLock.readUnlock();
    // At the first attempt there is nothing any more, at the second a page of zeroes.
    expect(seen.map(({ event, pteBefore }) => [event, pteBefore === 0])).toEqual([
      [MMU_NOTIFY_EXCLUSIVE, true],
      [MMU_NOTIFY_EXCLUSIVE, false],
    ]);
    rig.release(pfn);
    expect(load(mm, addr)).toBe(0);
    checkAtRest(bench);
  });

  test('is waited for where the page is just locked [F97]', async () => {
    const addr = mapFilled(mm, 1);
    const old = pfnAt(mm, addr);
    expect(sys.mem.trylockPage(old)).toBe(true);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    const made = makeDeviceExclusive(mm, addr, null);
    expect(ptePresent(pteAt(mm, addr))).toBe(true);
    const seen = watch(mm, addr);
    sys.mem.unlockPage(old);
    expect(await made).toBe(old);
    mm.mmapLock.readUnlock();
    expect(seen).toHaveLength(1);
    rig.release(old);
    checkAtRest(bench);
  });
});

/** A driver that follows the range: what it filters, and whether it has to begin again. */
class Driver {
  readonly sub: MmuIntervalNotifier = newMmuIntervalNotifier(this);

  constructor(space: MmStruct) {
    const status = mmuIntervalNotifierInsert(this.sub, space, 0, TASK_SIZE, {
      invalidate: (sub, range, curSeq) => {
        if (range.event === MMU_NOTIFY_EXCLUSIVE && range.owner === this) return true;
        mmuIntervalSetSeq(sub, curSeq);
        return true;
      },
    });
    expect(status).toBe(0);
  }

  begin(): number {
    return expectSync(mmuIntervalReadBegin(this.sub));
  }

  mustRetry(seq: number): boolean {
    return mmuIntervalReadRetry(this.sub, seq);
  }
}

describe('drivers that follow the range', () => {
  test('recognise their own request, and see that of another as a change [F93]', () => {
    const addr = mapFilled(mm, 1);
    const driver = new Driver(mm);
    const other = new Driver(mm);
    const seq = driver.begin();
    const otherSeq = other.begin();
    rig.release(rig.make(addr, driver));
    expect(driver.mustRetry(seq)).toBe(false);
    expect(other.mustRetry(otherSeq)).toBe(true);
  });

  test('see the access being taken back as a change, whoever asked for it [F93] [F98]', () => {
    const addr = mapFilled(mm, 1);
    const driver = new Driver(mm);
    rig.release(rig.make(addr, driver));
    const seq = driver.begin();
    expect(load(mm, addr)).toBe(1);
    expect(driver.mustRetry(seq)).toBe(true);
  });
});

describe('a CPU access', () => {
  test('takes the page back: writable, old, as dirty as it was [F98]', () => {
    const addr = rig.mapExclusive(3);
    const pfn = pfnAt(mm, addr);
    const seen = watch(mm, addr);
    const entry = pteAt(mm, addr);
    expect(load(mm, addr)).toBe(3);
    const event = { event: MMU_NOTIFY_CLEAR, from: 0, pages: 1 };
    expect(seen).toEqual([{ ...event, pteBefore: entry }]);
    const bits = PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG;
    expect(pteAt(mm, addr)).toBe(mkPte(pfn, bits));
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(1);
    expect(sys.vmstat.read('wp_fault')).toBe(0);
    checkAtRest(bench);
  });

  test('that stores finds what the device has left there [F98]', () => {
    const addr = rig.mapExclusive(3);
    sys.ram[pfnAt(mm, addr) * PAGE_SIZE + 1] = 44;
    store(mm, addr, 5);
    expect([load(mm, addr), load(mm, addr + 1)]).toEqual([5, 44]);
    checkAtRest(bench);
  });

  test('does not make a clean page dirty [F98]', () => {
    const addr = rig.mapExclusive();
    sys.mem.clearFlag(pfnAt(mm, addr), PG_DIRTY);
    load(mm, addr);
    expect(pteAt(mm, addr) & (PTE_DIRTY | PTE_WRITE)).toBe(PTE_WRITE);
  });

  test('I35: waits until the driver has unlocked the page [F98]', async () => {
    const addr = mapAnon(mm, 1);
    store(mm, addr, 8);
    const pfn = rig.make(addr);
    const byte = new Uint8Array(1);
    const loaded = copyFromUser(mm, addr, byte);
    expect(waits(loaded)).toBe(true);
    expect(rig.isExclusive(addr)).toBe(true);
    rig.release(pfn);
    expect(await loaded).toBe(0);
    expect(byte[0]).toBe(8);
    checkAtRest(bench);
  });

  test('that waited restores nothing when the page is gone by then [F98]', async () => {
    const addr = mapAnon(mm, 1);
    store(mm, addr, 8);
    const pfn = rig.make(addr);
    const byte = new Uint8Array(1);
    const loaded = copyFromUser(mm, addr, byte);
    rig.zap(addr);
    rig.release(pfn);
    expect(await loaded).toBe(0);
    expect([byte[0], sys.mem.refcount[pfn]]).toEqual([0, 0]);
    expect(sys.vmstat.read('device_exclusive_revoke')).toBe(0);
    checkAtRest(bench);
  });

  test('leaves a page write-protected that userfaultfd watches', () => {
    const addr = rig.mapExclusive();
    forgePte(mm, addr, (pteAt(mm, addr) | PTE_UFFD_WP) >>> 0);
    load(mm, addr);
    expect(pteAt(mm, addr) & (PTE_WRITE | PTE_UFFD_WP)).toBe(PTE_UFFD_WP);
  });
});
