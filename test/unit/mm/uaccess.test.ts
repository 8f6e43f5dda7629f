import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import {
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { PTE_DIRTY, PTE_WRITE, PTE_YOUNG, ptePfn } from '../../../src/mm/swapops.ts';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  FAULT_ENOMEM,
  FAULT_OK,
  FAULT_SIGSEGV,
  accessiblePage,
  copyFromUser,
  copyToUser,
  faultInUser,
} from '../../../src/mm/uaccess.ts';
import type { CopyFault } from '../../../src/mm/uaccess.ts';
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
} from './fixture.ts';
import { TinyDevice, makeGate } from './tiny-device.ts';

describe('copyToUser and copyFromUser', () => {
  test.each([
    ['inside a page', 100, 200],
    ['a whole page', 0, PAGE_SIZE],
    ['across one boundary', PAGE_SIZE - 1, 2],
    ['over several pages', 3, 3 * PAGE_SIZE],
    ['nothing', 17, 0],
  ])('%s, and not a byte beside', (_name, offset, length) => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 4);
    const source = Uint8Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff);
    expect(expectSync(copyToUser(mm, base + offset, source))).toBe(0);
    const all = new Uint8Array(4 * PAGE_SIZE);
    expect(expectSync(copyFromUser(mm, base, all))).toBe(0);
    const expected = new Uint8Array(4 * PAGE_SIZE);
    expected.set(source, offset);
    expect(all).toEqual(expected);
    checkInvariants(mm.sys);
  });

  test('stop at the first byte that is not mapped, and say how much is left', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 2);
    const fault: CopyFault = { outcome: 0, address: 0 };
    const source = new Uint8Array(PAGE_SIZE).fill(9);
    const start = base + 2 * PAGE_SIZE - 10;
    expect(expectSync(copyToUser(mm, start, source, fault))).toBe(PAGE_SIZE - 10);
    expect(fault).toEqual({ outcome: FAULT_SIGSEGV, address: base + 2 * PAGE_SIZE });
    expect(load(mm, base + 2 * PAGE_SIZE - 1)).toBe(9);
    const target = new Uint8Array(20);
    expect(expectSync(copyFromUser(mm, start, target, fault))).toBe(10);
    expect(target).toEqual(Uint8Array.from({ length: 20 }, (_, i) => (i < 10 ? 9 : 0)));
  });

  test('out of memory half way says so', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    sys.pageAllocator.failAt = 2;
    const fault: CopyFault = { outcome: 0, address: 0 };
    expect(expectSync(copyToUser(mm, base, new Uint8Array(2 * PAGE_SIZE), fault))).toBe(PAGE_SIZE);
    expect(fault).toEqual({ outcome: FAULT_ENOMEM, address: base + PAGE_SIZE });
    checkInvariants(sys);
  });

  test.each([
    ['NaN', Number.NaN],
    ['a negative address', -1],
    ['half an address', 2 ** 30 + 0.5],
    ['the end of user space', TASK_SIZE],
    ['infinity', Number.POSITIVE_INFINITY],
  ])('%s is SIGSEGV with nothing copied', (_name, addr) => {
    const mm = makeMm(makeSystem());
    expect(loadOutcome(mm, addr)).toBe(FAULT_SIGSEGV);
    expect(storeOutcome(mm, addr)).toBe(FAULT_SIGSEGV);
  });

  test('a warm copy faults no more', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 3);
    store(mm, base, ...Array.from({ length: 3 * PAGE_SIZE }, () => 1));
    const faults = mm.sys.vmstat.read('pgfault');
    expect(faults).toBe(3);
    expectSync(copyFromUser(mm, base, new Uint8Array(3 * PAGE_SIZE)));
    expect(mm.sys.vmstat.read('pgfault')).toBe(faults);
  });

  test('a dead address space is SIGSEGV, also when its page tables serve another', () => {
    const sys = makeSystem(256, 0, 8);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expectSync(mmput(mm));
    const other = makeMm(sys);
    store(other, mapAnon(other, 1), 2);
    expect(loadOutcome(mm, base)).toBe(FAULT_SIGSEGV);
    expect(storeOutcome(mm, base)).toBe(FAULT_SIGSEGV);
  });
});

describe('permissions', () => {
  test.each([
    ['nothing', PROT_NONE, FAULT_SIGSEGV, FAULT_SIGSEGV],
    ['read', PROT_READ, FAULT_OK, FAULT_SIGSEGV],
    ['write, which implies read', PROT_WRITE, FAULT_OK, FAULT_OK],
    ['execute, which implies read', PROT_EXEC, FAULT_OK, FAULT_SIGSEGV],
    ['read and write', RW, FAULT_OK, FAULT_OK],
  ])('%s, on fresh and on populated memory', (_name, prot, onLoad, onStore) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const fresh = mapAnon(mm, 1, prot, MAP_PRIVATE, 2 ** 30);
    expect([loadOutcome(mm, fresh), storeOutcome(mm, fresh)]).toEqual([onLoad, onStore]);
    const used = mapAnon(mm, 1, RW, MAP_PRIVATE, 2 ** 31);
    store(mm, used, 1);
    const shared = mapShared(mm, 1);
    store(mm, shared, 1);
    for (const addr of [used, shared]) {
      expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, prot))).toBe(0);
      expect([loadOutcome(mm, addr), storeOutcome(mm, addr)]).toEqual([onLoad, onStore]);
    }
    checkInvariants(sys);
  });
});

describe('accessiblePage', () => {
  test('sets young on a load, young and dirty on a store', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const at = sys.pageTables.pteOffset(mm.pgd, base);
    const bare = sys.pageTables.words[at]! & ~(PTE_YOUNG | PTE_DIRTY);
    sys.pageTables.words[at] = bare;
    expect(accessiblePage(mm, base, ACCESS_READ)).toBe(ptePfn(bare));
    expect(pteAt(mm, base)).toBe(bare | PTE_YOUNG);
    expect(accessiblePage(mm, base, ACCESS_WRITE)).toBe(ptePfn(bare));
    expect(pteAt(mm, base)).toBe(bare | PTE_YOUNG | PTE_DIRTY);
  });

  test('refuses a store without PTE_WRITE and leaves the entry alone', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    expect(load(mm, base)).toBe(0);
    const pte = pteAt(mm, base);
    expect(accessiblePage(mm, base, ACCESS_WRITE)).toBe(0);
    expect(pteAt(mm, base)).toBe(pte);
    expect(pte & PTE_WRITE).toBe(0);
    expect(accessiblePage(mm, base + PAGE_SIZE, ACCESS_READ)).toBe(0);
  });
});

describe('waiting', () => {
  test('a copy that meets a device page goes on after it came home [F68]', async () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 3);
    store(mm, base, ...Array.from({ length: 3 * PAGE_SIZE }, (_, i) => i & 0xff));
    expect(device.migrateIn(mm, base, 3)).toBe(3);
    const { gate, open } = makeGate();
    device.gate = gate;
    const target = new Uint8Array(3 * PAGE_SIZE);
    const copying = copyFromUser(mm, base, target);
    expect(isPending(copying)).toBe(true);
    open();
    expect(await copying).toBe(0);
    expect(target).toEqual(Uint8Array.from({ length: 3 * PAGE_SIZE }, (_, i) => i & 0xff));
    expect(device.faults).toBe(3);
    expect(mm.mmapLock.isLocked).toBe(false);
    checkInvariants(sys, { deviceFree: new Set(device.free) });
  });

  test('a fault waits for a writer of the mmap lock', async () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    expectSync(mm.mmapLock.writeLock());
    const pending = faultInUser(mm, base, ACCESS_READ);
    expect(isPending(pending)).toBe(true);
    mm.mmapLock.writeUnlock();
    expect(await pending).toBe(FAULT_OK);
    expect(mm.mmapLock.isLocked).toBe(false);
  });

  test('memory that was unmapped during the wait is SIGSEGV', async () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 2);
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 2);
    expect(device.migrateIn(mm, base, 2)).toBe(2);
    const { gate, open } = makeGate();
    device.gate = gate;
    const fault: CopyFault = { outcome: 0, address: 0 };
    const copying = copyFromUser(mm, base, new Uint8Array(2 * PAGE_SIZE), fault);
    const unmapping = doMunmap(mm, base, 2 * PAGE_SIZE);
    open();
    expect(await unmapping).toBe(0);
    expect(await copying).toBeGreaterThan(0);
    expect(fault.outcome).toBe(FAULT_SIGSEGV);
    checkInvariants(sys, { deviceFree: new Set(device.free) });
  });
});

describe('pinUserPage', () => {
  test('pins a page of the program and counts as many references as a pin has', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    const pfn = expectSync(pinUserPage(mm, base + 5));
    expect(ptePfn(pteAt(mm, base))).toBe(pfn);
    expect(sys.mem.refcount[pfn]).toBe(1025);
    expect(sys.mem.maybeDmaPinned(pfn)).toBe(true);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    unpinUserPage(sys, pfn);
    expect(sys.mem.maybeDmaPinned(pfn)).toBe(false);
    checkInvariants(sys);
  });

  test('a pinned page outlives its mapping', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    const pfn = expectSync(pinUserPage(mm, base));
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    unpinUserPage(sys, pfn);
    expect(sys.mem.refcount[pfn]).toBe(0);
    checkInvariants(sys);
  });

  test('brings a device page home, device pages are never pinned [F68]', () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(device.migrateIn(mm, base)).toBe(1);
    const pfn = expectSync(pinUserPage(mm, base));
    expect(sys.mem.isZoneDevice(pfn)).toBe(false);
    expect(device.used).toBe(0);
    unpinUserPage(sys, pfn);
  });

  test('a pinned page does not migrate, the same page unpinned does [F34]', () => {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 77);
    const pte = pteAt(mm, base);
    const pfn = expectSync(pinUserPage(mm, base));
    expect(device.migrateIn(mm, base)).toBe(0);
    expect(pteAt(mm, base)).toBe(pte);
    const known = { deviceFree: new Set(device.free), pins: new Map([[pfn, 1]]) };
    checkInvariants(sys, known);
    unpinUserPage(sys, pfn);
    expect(device.migrateIn(mm, base)).toBe(1);
    expect(load(mm, base)).toBe(77);
  });

  test.each([
    ['read-only memory', PROT_READ, errno.EFAULT],
    ['no permission at all', PROT_NONE, errno.EFAULT],
  ])('%s is EFAULT', (_name, prot, expected) => {
    const mm = makeMm(makeSystem());
    expect(expectSync(pinUserPage(mm, mapAnon(mm, 1, prot)))).toBe(expected);
  });

  test('addresses that are none are EFAULT, no memory is ENOMEM', () => {
    const mm = makeMm(makeSystem());
    expect(expectSync(pinUserPage(mm, Number.NaN))).toBe(errno.EFAULT);
    expect(expectSync(pinUserPage(mm, TASK_SIZE))).toBe(errno.EFAULT);
    expect(expectSync(pinUserPage(mm, 2 ** 30))).toBe(errno.EFAULT);
    mm.sys.pageAllocator.failAt = 1;
    expect(expectSync(pinUserPage(mm, mapAnon(mm, 1)))).toBe(errno.ENOMEM);
  });

  test('I21: unpinning what was not pinned is a bug', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    expect(() => unpinUserPage(sys, ptePfn(pteAt(mm, base)))).toThrow('I21');
  });
});
