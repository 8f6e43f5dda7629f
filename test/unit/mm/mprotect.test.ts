import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { MAP_PRIVATE, PROT_NONE, PROT_READ, VM_READ, VM_WRITE } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MMU_NOTIFY_PROTECTION_VMA } from '../../../src/mm/mmu-notifier.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  PTE_DIRTY,
  PTE_PROTNONE,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  leafKind,
  ptePfn,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { FAULT_OK, FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { MAX_MAP_COUNT, linkVma, makeVma } from '../../../src/mm/vma.ts';
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

const RW_FLAGS = VM_READ | VM_WRITE;

function protect(mm: MmStruct, addr: number, pages: number, prot: number): number {
  return expectSync(doMprotect(mm, addr, pages * PAGE_SIZE, prot));
}

describe('mprotect arguments', () => {
  test.each([
    ['an address off the page', 2 ** 30 + 1, PAGE_SIZE, RW, errno.EINVAL],
    ['a bit that is no permission', 2 ** 30, PAGE_SIZE, 8, errno.EINVAL],
    ['NaN', Number.NaN, PAGE_SIZE, RW, errno.EINVAL],
    ['no length', 2 ** 30, 0, RW, 0],
    ['a range past the end', TASK_SIZE - PAGE_SIZE, 2 * PAGE_SIZE, RW, errno.ENOMEM],
    ['nothing mapped there', 2 ** 30, PAGE_SIZE, RW, errno.ENOMEM],
  ])('%s', (_name, addr, length, prot, expected) => {
    expect(expectSync(doMprotect(makeMm(makeSystem()), addr, length, prot))).toBe(expected);
  });

  test('a gap is ENOMEM, after what lies below it has changed', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 4);
    expectSync(doMunmap(mm, base + 2 * PAGE_SIZE, PAGE_SIZE));
    expect(protect(mm, base, 4, PROT_READ)).toBe(errno.ENOMEM);
    expect(vmaShape(mm, base)).toEqual([
      [0, 2, VM_READ],
      [3, 1, RW_FLAGS],
    ]);
    expect(protect(mm, base - PAGE_SIZE, 2, RW)).toBe(errno.ENOMEM);
    expect(vmaShape(mm, base)[0]).toEqual([0, 2, VM_READ]);
  });

  test('too many VMAs is ENOMEM', () => {
    const mm = makeMm(makeSystem());
    for (let i = 0; i < MAX_MAP_COUNT; i++) {
      const start = 2 ** 30 + i * 3 * PAGE_SIZE;
      linkVma(makeVma(mm, start, start + 2 * PAGE_SIZE, RW_FLAGS, start / PAGE_SIZE, null));
    }
    expect(protect(mm, 2 ** 30, 1, PROT_READ)).toBe(errno.ENOMEM);
    expect(protect(mm, 2 ** 30, 2, PROT_READ)).toBe(0);
  });
});

describe('mprotect splits and merges', () => {
  test.each([
    ['start', 0, 2],
    ['middle', 2, 2],
    ['end', 4, 2],
    ['whole', 0, 6],
  ])('at the %s and back', (_name, from, pages) => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 6);
    for (let i = 0; i < 6; i++) store(mm, base + i * PAGE_SIZE, i + 1);
    expect(protect(mm, base + from * PAGE_SIZE, pages, PROT_READ)).toBe(0);
    for (let i = 0; i < 6; i++) {
      const isInside = i >= from && i < from + pages;
      expect(load(mm, base + i * PAGE_SIZE)).toBe(i + 1);
      const outcome = storeOutcome(mm, base + i * PAGE_SIZE + 1);
      expect(outcome).toBe(isInside ? FAULT_SIGSEGV : FAULT_OK);
    }
    checkInvariants(mm.sys);
    expect(protect(mm, base + from * PAGE_SIZE, pages, RW)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([[0, 6, RW_FLAGS]]);
    checkInvariants(mm.sys);
  });

  test('over several VMAs at once', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 6);
    protect(mm, base + 2 * PAGE_SIZE, 2, PROT_READ);
    expect(protect(mm, base + PAGE_SIZE, 4, PROT_NONE)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([
      [0, 1, RW_FLAGS],
      [1, 4, 0],
      [5, 1, RW_FLAGS],
    ]);
  });
});

describe('mprotect of present pages', () => {
  test('an exclusive page is writable again without a fault', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    protect(mm, base, 1, PROT_READ);
    expect(pteAt(mm, base) & PTE_WRITE).toBe(0);
    const faults = mm.sys.vmstat.read('pgfault');
    protect(mm, base, 1, RW);
    expect(pteAt(mm, base) & PTE_WRITE).toBe(PTE_WRITE);
    store(mm, base, 2);
    expect(mm.sys.vmstat.read('pgfault')).toBe(faults);
  });

  test('a page shared with a child stays read-only and is copied on write', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error('fork');
    protect(mm, base, 1, PROT_READ);
    protect(mm, base, 1, RW);
    expect(pteAt(mm, base) & PTE_WRITE).toBe(0);
    store(mm, base, 2);
    expect(load(child, base)).toBe(1);
    expectSync(mmput(child));
    checkInvariants(mm.sys);
  });

  test('the zero page never becomes writable', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1, PROT_READ);
    expect(load(mm, base)).toBe(0);
    protect(mm, base, 1, RW);
    store(mm, base, 5);
    checkInvariants(mm.sys);
  });

  test('shared memory is writable again at once', () => {
    const mm = makeMm(makeSystem());
    const base = mapShared(mm, 1);
    store(mm, base, 1);
    protect(mm, base, 1, PROT_READ);
    expect(storeOutcome(mm, base)).toBe(FAULT_SIGSEGV);
    protect(mm, base, 1, RW);
    expect(pteAt(mm, base) & PTE_WRITE).toBe(PTE_WRITE);
    checkInvariants(mm.sys);
  });

  test('PROT_NONE keeps the page out of reach, and young and dirty as they were', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1);
    store(mm, base, 1);
    const kept = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY;
    protect(mm, base, 1, PROT_NONE);
    expect(loadOutcome(mm, base)).toBe(FAULT_SIGSEGV);
    expect(pteAt(mm, base) & (PTE_PROTNONE | PTE_WRITE | kept)).toBe(PTE_PROTNONE | kept);
    expect(mm.anonRss).toBe(1);
    checkInvariants(mm.sys);
    protect(mm, base, 1, PROT_READ);
    expect(load(mm, base)).toBe(1);
  });

  test('flushes once for the entries that lose rights, not for those that gain', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 4);
    for (let i = 0; i < 3; i++) store(mm, base + i * PAGE_SIZE, 1);
    protect(mm, base, 4, PROT_READ);
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 3]);
    protect(mm, base, 4, RW);
    expect([mm.tlbFlushes, mm.tlbFlushedPages]).toEqual([1, 3]);
  });

  test('PROTECTION_VMA comes before the entries change, only where something is populated', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 4);
    const events = watch(mm, base);
    protect(mm, base, 4, PROT_READ);
    expect(events).toEqual([]);
    protect(mm, base, 4, RW);
    store(mm, base + PAGE_SIZE, 1);
    const pte = pteAt(mm, base + PAGE_SIZE);
    protect(mm, base + PAGE_SIZE, 2, PROT_READ);
    expect(events).toEqual([
      { event: MMU_NOTIFY_PROTECTION_VMA, from: 1, pages: 2, pteBefore: pte },
    ]);
    protect(mm, base + PAGE_SIZE, 2, PROT_READ);
    expect(events).toHaveLength(1);
  });
});

describe('mprotect of device-private entries [F105]', () => {
  function onDevice() {
    const sys = makeSystem();
    const device = new TinyDevice(sys);
    const mm = makeMm(sys);
    const base = mapAnon(mm, 1);
    store(mm, base, 7);
    expect(device.migrateIn(mm, base)).toBe(1);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_DEVICE_PRIVATE_WRITE);
    return { sys, device, mm, base };
  }

  test('WRITE becomes READ and is never upgraded', () => {
    const { sys, device, mm, base } = onDevice();
    protect(mm, base, 1, PROT_READ);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_DEVICE_PRIVATE_READ);
    protect(mm, base, 1, RW);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_DEVICE_PRIVATE_READ);
    // Home again, the page is exclusive: one more fault makes it writable without a copy.
    store(mm, base, 8);
    expect(load(mm, base)).toBe(8);
    expect(sys.vmstat.read('cow_copy')).toBe(0);
    checkInvariants(sys, { deviceFree: new Set(device.free) });
  });

  test('it drops soft-dirty and keeps uffd-wp', () => {
    const { sys, mm, base } = onDevice();
    sys.pageTables.words[sys.pageTables.pteOffset(mm.pgd, base)]! |= PTE_SOFT_DIRTY | PTE_UFFD_WP;
    protect(mm, base, 1, PROT_READ);
    expect(pteAt(mm, base) & (PTE_SOFT_DIRTY | PTE_UFFD_WP)).toBe(PTE_UFFD_WP);
  });

  test('nothing present, nothing flushed; a page in no reach stays on the device', () => {
    const { device, mm, base } = onDevice();
    const flushes = mm.tlbFlushes;
    protect(mm, base, 1, PROT_NONE);
    expect(mm.tlbFlushes).toBe(flushes);
    expect(loadOutcome(mm, base)).toBe(FAULT_SIGSEGV);
    expect([device.faults, device.used]).toEqual([0, 1]);
    protect(mm, base, 1, PROT_READ);
    expect(load(mm, base)).toBe(7);
  });
});

describe('mprotect of migration entries', () => {
  test.each([
    ['anonymous', LEAF_MIGRATION_READ_EXCLUSIVE],
    ['shared', LEAF_MIGRATION_READ],
  ])('WRITE of %s memory', (what, expected) => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const base = what === 'shared' ? mapShared(mm, 1) : mapAnon(mm, 1);
    store(mm, base, 1);
    const pfn = ptePfn(pteAt(mm, base));
    sys.mem.getPage(pfn);
    sys.mem.trylockPage(pfn);
    expect(tryToMigrate(sys, pfn)).toBe(true);
    const carried = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY;
    protect(mm, base, 1, PROT_READ);
    expect(ptePresent(pteAt(mm, base))).toBe(false);
    expect(leafKind(pteAt(mm, base))).toBe(expected);
    expect(pteAt(mm, base) & carried).toBe(carried);
  });
});

describe('mprotect beside other processes', () => {
  test('changes the entries of the caller only', () => {
    const mm = makeMm(makeSystem());
    const base = mapAnon(mm, 1, RW, MAP_PRIVATE);
    store(mm, base, 1);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error('fork');
    protect(child, base, 1, PROT_NONE);
    expect(load(mm, base)).toBe(1);
    expect(loadOutcome(child, base)).toBe(FAULT_SIGSEGV);
    checkInvariants(mm.sys);
  });
});
