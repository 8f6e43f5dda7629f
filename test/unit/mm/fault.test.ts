import { describe, expect, test } from 'vitest';
import { isPending } from '../../../src/base/maybe.ts';
import type { MaybePromise } from '../../../src/base/maybe.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  FAULT_FLAG_WRITE,
  VM_FAULT_HWPOISON,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
  handleMmFault,
} from '../../../src/mm/memory.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import { allocPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU, PG_SWAPBACKED } from '../../../src/mm/page.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import type { ShmemInode } from '../../../src/mm/shmem.ts';
import {
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  mkLeaf,
  mkPte,
  ptePfn,
} from '../../../src/mm/swapops.ts';
import { FAULT_ENOMEM, FAULT_OK, FAULT_SIGBUS, copyFromUser } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
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

const WRITTEN = PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_YOUNG;

/** One fault, as the architecture calls it. */
function fault(mm: MmStruct, addr: number, flags = 0): MaybePromise<number> {
  expect(mm.mmapLock.readTrylock()).toBe(true);
  const vma = vmaLookup(mm, addr);
  if (vma === null) throw new Error('no VMA');
  const unlock = (bits: number): number => {
    mm.mmapLock.readUnlock();
    return bits;
  };
  const result = handleMmFault(vma, addr, flags);
  return isPending(result) ? result.then(unlock) : unlock(result);
}

function makeInode(mm: MmStruct, pages: number): ShmemInode {
  const inode = shmemCreate(mm.sys, pages * PAGE_SIZE);
  if (typeof inode === 'number') throw new Error('no inode');
  return inode;
}

function mapInode(mm: MmStruct, inode: ShmemInode, pages: number, flags: number, pgoff = 0) {
  return expectSync(doMmap(mm, { length: pages * PAGE_SIZE, prot: RW, flags, inode, pgoff }));
}

describe('private anonymous memory', () => {
  test('a read maps the zero page, which counts as nothing', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    const free = sys.pageAllocator.freePages;
    expect(fault(mm, base + 5)).toBe(0);
    expect(pteAt(mm, base)).toBe(mkPte(sys.zeroPfn, PTE_SPECIAL | PTE_YOUNG));
    expect([mm.anonRss, sys.pageAllocator.freePages]).toEqual([0, free]);
    expect(sys.mem.mapcount[sys.zeroPfn]).toBe(0);
    expect(sys.vmstat.read('zero_page_fault')).toBe(1);
    checkInvariants(sys);
  });

  test('a write maps a zeroed page of its own: dirty, exclusive, on the LRU', () => {
    const sys = makeSystem();
    sys.ram.fill(0xff, 2 * PAGE_SIZE);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(0);
    const pfn = ptePfn(pteAt(mm, base));
    expect(pteAt(mm, base)).toBe(mkPte(pfn, WRITTEN));
    expect(sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE)).toBe(true);
    expect(sys.mem.testFlag(pfn, PG_LRU)).toBe(true);
    expect(sys.mem.testFlag(pfn, PG_SWAPBACKED)).toBe(true);
    expect(mm.anonRss).toBe(1);
    const bytes = sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    checkInvariants(sys);
  });

  test('a write after a read replaces the zero page by a zeroed one, with one flush', () => {
    const sys = makeSystem();
    sys.ram.fill(0xff, 2 * PAGE_SIZE);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    expect(load(mm, base)).toBe(0);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(0);
    const pfn = ptePfn(pteAt(mm, base));
    expect(pfn).not.toBe(sys.zeroPfn);
    expect(sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE).every((b) => b === 0)).toBe(
      true,
    );
    expect([mm.anonRss, mm.tlbFlushes]).toEqual([1, 1]);
    expect(sys.vmstat.read('wp_fault')).toBe(1);
    checkInvariants(sys);
  });

  test('a fault that finds the entry good does nothing but young and dirty', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const at = sys.pageTables.pteOffset(mm.pgd, base);
    const pte = sys.pageTables.words[at]!;
    sys.pageTables.words[at] = pte & ~(PTE_YOUNG | PTE_DIRTY);
    expect(fault(mm, base)).toBe(0);
    expect(pteAt(mm, base)).toBe(pte & ~PTE_DIRTY);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(0);
    expect(pteAt(mm, base)).toBe(pte);
  });

  test('a write to a VMA without VM_WRITE is SIGSEGV and changes nothing', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1, PROT_READ);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(VM_FAULT_SIGSEGV);
    expect(pteAt(mm, base)).toBe(0);
    expect(fault(mm, base)).toBe(0);
  });

  test.each([
    ['no page', (mm: MmStruct) => (mm.sys.pageAllocator.failAt = 1)],
    ['no page table', (mm: MmStruct) => (mm.sys.pageTables.failAllocations = 1)],
  ])('%s is VM_FAULT_OOM, and the next try works', (_name, breakIt) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    breakIt(mm);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(VM_FAULT_OOM);
    checkInvariants(sys);
    expect(fault(mm, base, FAULT_FLAG_WRITE)).toBe(0);
    checkInvariants(sys);
  });

  test('no page for a copy leaves the shared one mapped', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    expect(load(mm, base)).toBe(0);
    sys.pageAllocator.failAt = 1;
    expect(storeOutcome(mm, base)).toBe(FAULT_ENOMEM);
    expect(load(mm, base)).toBe(0);
    checkInvariants(sys);
  });

  test('I16: a fault needs the mmap lock', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    expect(() => handleMmFault(vmaLookup(mm, base)!, base, 0)).toThrow('I16');
  });
});

describe('shared memory', () => {
  test('both sides see one page, held by the cache and by each mapping', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 4);
    const a = mapInode(mm, inode, 4, MAP_SHARED);
    const b = mapInode(mm, inode, 2, MAP_SHARED, 2);
    store(mm, a + 2 * PAGE_SIZE, 42);
    expect(load(mm, b)).toBe(42);
    const pfn = ptePfn(pteAt(mm, b));
    expect(ptePfn(pteAt(mm, a + 2 * PAGE_SIZE))).toBe(pfn);
    expect([sys.mem.refcount[pfn], sys.mem.mapcount[pfn]]).toEqual([3, 2]);
    expect([mm.shmemRss, mm.anonRss]).toEqual([2, 0]);
    shmemPut(inode);
    checkInvariants(sys);
  });

  test('a read maps a writable VMA writable at once, clean, with a page of zeroes', () => {
    const mm = makeMm(makeSystem());
    mm.sys.ram.fill(0xff, 2 * PAGE_SIZE);
    const base = mapShared(mm, 1);
    const page = new Uint8Array(PAGE_SIZE);
    expect(expectSync(copyFromUser(mm, base, page))).toBe(0);
    expect(page.every((byte) => byte === 0)).toBe(true);
    expect(pteAt(mm, base) & (PTE_WRITE | PTE_DIRTY)).toBe(PTE_WRITE);
    expect(mm.sys.vmstat.read('zero_page_fault')).toBe(0);
  });

  test('beyond the end of the object is SIGBUS, the last page is not', () => {
    const mm = makeMm(makeSystem());
    const inode = makeInode(mm, 2);
    const base = mapInode(mm, inode, 3, MAP_SHARED);
    expect(loadOutcome(mm, base + 2 * PAGE_SIZE - 1)).toBe(FAULT_OK);
    expect(loadOutcome(mm, base + 2 * PAGE_SIZE)).toBe(FAULT_SIGBUS);
    expect(storeOutcome(mm, base + 2 * PAGE_SIZE)).toBe(FAULT_SIGBUS);
  });

  test('pages outlive the mapping as long as a handle is open', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const free = sys.pageAllocator.freePages;
    const inode = makeInode(mm, 1);
    const base = mapInode(mm, inode, 1, MAP_SHARED);
    store(mm, base, 42);
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    checkInvariants(sys, { inodeHandles: new Map([[inode, 1]]) });
    const again = mapInode(mm, inode, 1, MAP_SHARED);
    shmemPut(inode);
    expect(load(mm, again)).toBe(42);
    expectSync(doMunmap(mm, again, PAGE_SIZE));
    expect(sys.pageAllocator.freePages).toBe(free);
    checkInvariants(sys);
  });

  test('a fault waits for the page lock, then maps the page [F6]', async () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 1);
    const a = mapInode(mm, inode, 1, MAP_SHARED);
    const b = mapInode(mm, inode, 1, MAP_SHARED);
    store(mm, a, 42);
    const pfn = ptePfn(pteAt(mm, a));
    sys.mem.trylockPage(pfn);
    const pending = fault(mm, b);
    expect(isPending(pending)).toBe(true);
    sys.mem.unlockPage(pfn);
    expect(await pending).toBe(0);
    expect(ptePfn(pteAt(mm, b))).toBe(pfn);
    shmemPut(inode);
    checkInvariants(sys);
  });

  test('a fault that waited looks for the page again: it may have been replaced', async () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 1);
    const a = mapInode(mm, inode, 1, MAP_SHARED);
    store(mm, a, 42);
    expectSync(doMunmap(mm, a, PAGE_SIZE));
    const old = inode.cache.get(0);
    sys.mem.trylockPage(old);
    const b = mapInode(mm, inode, 1, MAP_SHARED);
    const pending = fault(mm, b);
    // Migration puts another page in its place while it holds the lock.
    const target = allocPage(sys);
    sys.ram.copyWithin(target * PAGE_SIZE, old * PAGE_SIZE, (old + 1) * PAGE_SIZE);
    sys.mem.mapping[target] = sys.mem.mapping[old]!;
    sys.mem.mapping[old] = 0;
    sys.mem.setFlag(target, PG_LRU);
    inode.cache.set(0, target);
    sys.mem.refcount[old]! -= 1;
    sys.mem.unlockPage(old);
    expect(await pending).toBe(0);
    expect(ptePfn(pteAt(mm, b))).toBe(target);
    expect(sys.mem.refcount[old]).toBe(0);
    shmemPut(inode);
    checkInvariants(sys);
  });

  test('two faults on one missing page end with one mapping', async () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 1);
    store(mm, mapInode(mm, inode, 1, MAP_SHARED), 7);
    const b = mapInode(mm, inode, 1, MAP_SHARED);
    const pfn = inode.cache.get(0);
    sys.mem.trylockPage(pfn);
    const both = [fault(mm, b), fault(mm, b, FAULT_FLAG_WRITE)];
    sys.mem.unlockPage(pfn);
    expect([await both[0], await both[1]]).toEqual([0, 0]);
    expect(sys.mem.mapcount[pfn]).toBe(2);
    shmemPut(inode);
    checkInvariants(sys);
  });
});

describe('a private mapping of an object', () => {
  test('reads share the page, a write gets a copy that nobody else sees', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 2);
    const shared = mapInode(mm, inode, 2, MAP_SHARED);
    store(mm, shared, 10);
    store(mm, shared + PAGE_SIZE, 20);
    const own = mapInode(mm, inode, 2, MAP_PRIVATE);
    expect(load(mm, own)).toBe(10);
    expect(pteAt(mm, own) & PTE_WRITE).toBe(0);
    expect([mm.shmemRss, mm.anonRss]).toEqual([3, 0]);
    store(mm, own, 11);
    store(mm, own + PAGE_SIZE, 21);
    expect([mm.shmemRss, mm.anonRss]).toEqual([2, 2]);
    expect([load(mm, shared), load(mm, shared + PAGE_SIZE)]).toEqual([10, 20]);
    expect([load(mm, own), load(mm, own + PAGE_SIZE)]).toEqual([11, 21]);
    expect(sys.vmstat.read('cow_copy')).toBe(2);
    shmemPut(inode);
    checkInvariants(sys);
  });

  test('no memory for the copy leaves the object as it was', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const inode = makeInode(mm, 1);
    store(mm, mapInode(mm, inode, 1, MAP_SHARED), 10);
    const own = mapInode(mm, inode, 1, MAP_PRIVATE);
    sys.pageAllocator.failAt = 1;
    expect(storeOutcome(mm, own)).toBe(FAULT_ENOMEM);
    expect(load(mm, own)).toBe(10);
    shmemPut(inode);
    checkInvariants(sys);
  });
});

describe('a fault on a migration entry [F69]', () => {
  function migrating() {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const pte = pteAt(mm, base);
    const pfn = ptePfn(pte);
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    tryToMigrate(sys, pfn);
    return { sys, mm, base, pfn };
  }

  test('waits for the page to be unlocked, then lets the access try again', async () => {
    const { sys, mm, base, pfn } = migrating();
    const pending = fault(mm, base);
    expect(isPending(pending)).toBe(true);
    expect(sys.vmstat.read('migration_entry_wait')).toBe(1);
    let done = false;
    void Promise.resolve(pending).then(() => (done = true));
    await Promise.resolve();
    expect(done).toBe(false);
    sys.mem.unlockPage(pfn);
    expect(await pending).toBe(0);
    // It did not take the lock, and it did not map anything by itself.
    expect(sys.mem.isLocked(pfn)).toBe(false);
    expect(pteAt(mm, base) & 1).toBe(0);
  });

  test('I14: the page behind it is locked', () => {
    const { sys, mm, base, pfn } = migrating();
    sys.mem.unlockPage(pfn);
    expect(() => fault(mm, base)).toThrow('I14');
  });
});

describe('a fault on a device-private entry', () => {
  function onDevice(pages = 1) {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, pages);
    for (let i = 0; i < pages; i++) store(mm, base + i * PAGE_SIZE, 40 + i);
    expect(device.migrateIn(mm, base, pages)).toBe(pages);
    expect(isDevicePrivateEntry(pteAt(mm, base))).toBe(true);
    return { sys, device, mm, base };
  }
  const known = (device: TinyDevice) => ({ deviceFree: new Set(device.free) });

  test('brings the page home with its contents, one page per fault [F43] [F62]', () => {
    const { sys, device, mm, base } = onDevice(3);
    expect(load(mm, base + PAGE_SIZE)).toBe(41);
    expect([device.faults, device.used]).toEqual([1, 2]);
    expect(sys.vmstat.read('device_private_fault')).toBe(1);
    expect(pteAt(mm, base + PAGE_SIZE) & PTE_WRITE).toBe(PTE_WRITE);
    expect(isDevicePrivateEntry(pteAt(mm, base))).toBe(true);
    checkInvariants(sys, known(device));
  });

  test('a locked page is waited for, and the access tried again [F63]', async () => {
    const { sys, device, mm, base } = onDevice();
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.trylockPage(pfn);
    const pending = fault(mm, base);
    expect(isPending(pending)).toBe(true);
    sys.mem.unlockPage(pfn);
    expect(await pending).toBe(0);
    expect(device.faults).toBe(0);
    expect(load(mm, base)).toBe(40);
    checkInvariants(sys, known(device));
  });

  test('many cores at once migrate the page once [F62] [F63]', async () => {
    const { sys, device, mm, base } = onDevice();
    const { gate, open } = makeGate();
    device.gate = gate;
    const faults = [fault(mm, base), fault(mm, base, FAULT_FLAG_WRITE), fault(mm, base)];
    expect(faults.every(isPending)).toBe(true);
    open();
    for (const one of faults) expect(await one).toBe(0);
    expect(device.faults).toBe(1);
    device.gate = null;
    expect(load(mm, base)).toBe(40);
    checkInvariants(sys, known(device));
  });

  test.each([
    ['VM_FAULT_SIGBUS', VM_FAULT_SIGBUS, FAULT_SIGBUS],
    ['VM_FAULT_OOM', VM_FAULT_OOM, FAULT_ENOMEM],
  ])('%s of the driver reaches the program, the page stays [F65]', (_name, bits, outcome) => {
    const { sys, device, mm, base } = onDevice();
    device.broken = bits;
    expect(loadOutcome(mm, base)).toBe(outcome);
    expect(isDevicePrivateEntry(pteAt(mm, base))).toBe(true);
    checkInvariants(sys, known(device));
    device.broken = null;
    expect(load(mm, base)).toBe(40);
  });

  test('no RAM to come home to is out of memory, and works once there is [F65]', () => {
    const { sys, device, mm, base } = onDevice();
    sys.pageAllocator.failAt = 1;
    expect(loadOutcome(mm, base)).toBe(FAULT_ENOMEM);
    checkInvariants(sys, known(device));
    expect(load(mm, base)).toBe(40);
    checkInvariants(sys, known(device));
  });

  test('I20: a driver that says all is well and does nothing is caught', () => {
    const { device, mm, base } = onDevice();
    device.broken = 0;
    expect(() => load(mm, base)).toThrow('I20');
  });

  test('I17: a device entry whose pagemap is gone is a bug', () => {
    const { sys, device, mm, base } = onDevice();
    sys.pagemaps[device.pgmap.id] = null;
    expect(() => fault(mm, base)).toThrow('I17');
  });
});

/** The last number that a kind of entry can have. */
const UNKNOWN_KIND = 15;

describe('other entries', () => {
  test.each([
    ['a poisoned page', LEAF_HWPOISON, VM_FAULT_HWPOISON],
    ['a poison marker', LEAF_MARKER_POISON, VM_FAULT_HWPOISON],
    ['a guard marker', LEAF_MARKER_GUARD, VM_FAULT_SIGSEGV],
    ['a kind that nobody makes', UNKNOWN_KIND, VM_FAULT_SIGBUS],
  ])('%s', (_name, kind, bits) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    sys.pageTables.setPte(sys.pageTables.pteAlloc(mm.pgd, base), mkLeaf(kind, 7, 0));
    expect(fault(mm, base)).toBe(bits);
    expectSync(doMunmap(mm, base, PAGE_SIZE));
    checkInvariants(sys);
  });
});
