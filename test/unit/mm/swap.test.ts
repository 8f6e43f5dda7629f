/* Paging out, swap entries, the swap cache, and what they are to devices. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { CLEAR_REFS_SOFT_DIRTY, clearRefs } from '../../../src/mm/clear-refs.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MADV_COLD, MADV_FREE, MADV_PAGEOUT, doMadvise } from '../../../src/mm/madvise.ts';
import { migratePfn } from '../../../src/mm/migrate-types.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_SWAPCACHE } from '../../../src/mm/page.ts';
import { addToSwapCache, folioSwapSlot } from '../../../src/mm/swap-state.ts';
import { swapDuplicate, swapFree, swapInfo, swapon } from '../../../src/mm/swapfile.ts';
import {
  LEAF_SWAP,
  PTE_SOFT_DIRTY,
  PTE_SWP_EXCLUSIVE,
  PTE_UFFD_WP,
  leafKind,
  ptePfn,
  pteWrite,
} from '../../../src/mm/swapops.ts';
import { FAULT_ENOMEM, FAULT_OK } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { pageoutRange, reclaimPage } from '../../../src/mm/vmscan.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import {
  expectSync,
  load,
  loadOutcome,
  makeSystem,
  mapAnon,
  mapShared,
  pteAt,
  store,
  watch,
} from './fixture.ts';
import { HmmRig, READ, WRITE } from './hmm-rig.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

const SLOTS = 16;

let bench: Bench;
let mm: MmStruct;

beforeEach(() => {
  bench = makeBench();
  mm = bench.mm;
  expect(swapon(bench.sys, SLOTS)).toBe(0);
});

afterEach(() => {
  checkAtRest(bench);
  for (const one of bench.sys.mms) expectSync(mmput(one));
  checkAtRest(bench);
  expect([usedSlots(), bench.device.used]).toEqual([0, 0]);
});

function usedSlots(): number {
  return SLOTS - swapInfo(bench.sys).freeSlots;
}

function pageout(one: MmStruct, addr: number, pages: number): number {
  return pageoutRange(vmaLookup(one, addr)!, addr, addr + pages * PAGE_SIZE);
}

/** Pages filled with 1, 2, 3..., all of them in swap space. */
function mapSwapped(pages: number): number {
  const addr = mapFilled(mm, pages);
  expect(pageout(mm, addr, pages)).toBe(pages);
  return addr;
}

function fork(parent: MmStruct): MmStruct {
  const child = expectSync(dupMmap(parent));
  if (typeof child === 'number') throw new Error(`fork ${child}`);
  return child;
}

function isSwapped(one: MmStruct, addr: number): boolean {
  return leafKind(pteAt(one, addr)) === LEAF_SWAP;
}

function inSwapCache(addr: number): boolean {
  return bench.sys.mem.testFlag(pfnAt(mm, addr), PG_SWAPCACHE);
}

const swapins = (): number => bench.sys.vmstat.read('pswpin');

describe('swapon', () => {
  test.each([0, -1, 0.5, Number.NaN, 2 ** 23])('%d slots are EINVAL', (pages) => {
    expect(swapon(makeSystem(), pages)).toBe(errno.EINVAL);
  });

  test('more than the host has is ENOMEM, a second area EBUSY', () => {
    const sys = makeSystem();
    expect(swapon(sys, 2 ** 23 - 1)).toBe(errno.ENOMEM);
    expect(sys.swap).toBe(null);
    expect(swapon(bench.sys, 1)).toBe(errno.EBUSY);
  });

  test('I37: a slot that nobody uses can not be named or freed', () => {
    expect(() => swapDuplicate(bench.sys, 1)).toThrow('I37');
    expect(() => swapFree(bench.sys, 1)).toThrow('I37');
    expect(() => swapInfo(makeSystem())).toThrow('I37');
  });
});

test('I38: a slot has one page in the cache, and the page knows it', () => {
  const { sys } = bench;
  const addr = mapSwapped(1);
  load(mm, addr);
  const pfn = pfnAt(mm, addr);
  const slot = folioSwapSlot(sys, pfn);
  const other = allocPage(sys);
  sys.mem.trylockPage(other);
  expect(() => addToSwapCache(sys, other, slot)).toThrow('I38');
  expect(() => folioSwapSlot(sys, other)).toThrow('I38');
  sys.mem.unlockPage(other);
  putPage(sys, other);
});

describe('paging out', () => {
  test('frees the page, leaves an exclusive swap entry, tells the notifiers CLEAR', () => {
    const addr = mapFilled(mm, 2);
    const free = bench.sys.pageAllocator.freePages;
    const seen = watch(mm, addr);
    expect(pageout(mm, addr + PAGE_SIZE, 1)).toBe(1);
    expect(seen.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 1, 1],
    ]);
    expect(bench.sys.pageAllocator.freePages).toBe(free + 1);
    const entry = pteAt(mm, addr + PAGE_SIZE);
    expect([leafKind(entry), entry & PTE_SWP_EXCLUSIVE]).toEqual([LEAF_SWAP, PTE_SWP_EXCLUSIVE]);
    expect([mm.anonRss, mm.swapEnts, usedSlots()]).toEqual([1, 1, 1]);
    expect(bench.sys.vmstat.read('pswpout')).toBe(1);
  });

  test('the contents come back, and soft-dirty and uffd-wp with them', () => {
    const addr = mapSwapped(3);
    const at = bench.sys.pageTables.pteOffset(mm.pgd, addr);
    bench.sys.pageTables.words[at]! |= PTE_UFFD_WP;
    expect([0, 1, 2].map((i) => load(mm, addr + i * PAGE_SIZE))).toEqual([1, 2, 3]);
    expect(pteAt(mm, addr) & (PTE_SOFT_DIRTY | PTE_UFFD_WP)).toBe(PTE_SOFT_DIRTY | PTE_UFFD_WP);
    expect([mm.anonRss, mm.swapEnts, swapins()]).toEqual([3, 0, 3]);
  });

  test('leaves alone what is shared, pinned, locked, special, on a device, or of an object', () => {
    const { sys } = bench;
    const addr = mapFilled(mm, 3);
    fork(mm);
    expect(pageout(mm, addr, 3)).toBe(0);
    const pinned = mapFilled(mm, 1);
    const pin = expectSync(pinUserPage(mm, pinned));
    const locked = mapFilled(mm, 1);
    expect(sys.mem.trylockPage(pfnAt(mm, locked))).toBe(true);
    const shared = mapShared(mm, 1);
    store(mm, shared, 1);
    for (const at of [pinned, locked, shared, mapOnDevice(bench, 1)]) {
      const before = pteAt(mm, at);
      expect([pageout(mm, at, 1), pteAt(mm, at)]).toEqual([0, before]);
    }
    sys.mem.unlockPage(pfnAt(mm, locked));
    unpinUserPage(sys, pin);
    expect([pageout(mm, pinned, 1), pageout(mm, locked, 1), usedSlots()]).toEqual([1, 1, 2]);
  });

  test('stops when there is no slot left; a page with another reference stays in the cache', () => {
    const { sys } = bench;
    const addr = mapFilled(mm, SLOTS + 2);
    const held = pfnAt(mm, addr);
    sys.mem.getPage(held);
    expect(reclaimPage(sys, held)).toBe(false);
    expect([isSwapped(mm, addr), sys.mem.testFlag(held, PG_SWAPCACHE)]).toEqual([true, true]);
    expect(pageout(mm, addr, SLOTS + 2)).toBe(SLOTS - 1);
    expect([usedSlots(), mm.anonRss]).toEqual([SLOTS, 2]);
    expect([load(mm, addr), pfnAt(mm, addr), swapins()]).toEqual([1, held, 0]);
    sys.mem.refcount[held]! -= 1;
  });

  test('without swap space nothing happens', () => {
    const other = makeBench();
    const addr = mapFilled(other.mm, 1);
    expect(reclaimPage(other.sys, pfnAt(other.mm, addr))).toBe(false);
    expect(load(other.mm, addr)).toBe(1);
    checkAtRest(other);
  });

  test('slots of pages that are back in RAM are taken when no other is left', () => {
    const addr = mapSwapped(4);
    for (let i = 0; i < 4; i++) load(mm, addr + i * PAGE_SIZE);
    expect([usedSlots(), inSwapCache(addr)]).toEqual([4, true]);
    const rest = mapFilled(mm, SLOTS);
    expect(pageout(mm, rest, SLOTS)).toBe(SLOTS);
    expect([usedSlots(), inSwapCache(addr)]).toEqual([SLOTS, false]);
    expect(load(mm, addr)).toBe(1);
  });
});

describe('swapping in', () => {
  test.each([
    ['a load brought back', true],
    ['was away', false],
  ])('a store to a page that %s is noted as soft-dirty [F92]', (_what, isLoaded) => {
    const addr = mapFilled(mm, 2);
    expect(expectSync(clearRefs(mm, CLEAR_REFS_SOFT_DIRTY))).toBe(0);
    expect(pageout(mm, addr, 2)).toBe(2);
    if (isLoaded) load(mm, addr);
    load(mm, addr + PAGE_SIZE);
    store(mm, addr, 9);
    const noted = [0, PAGE_SIZE].map((offset) => pteAt(mm, addr + offset) & PTE_SOFT_DIRTY);
    expect(noted).toEqual([PTE_SOFT_DIRTY, 0]);
    expect(pteWrite(pteAt(mm, addr))).toBe(true);
  });

  test('for a read keeps the slot; the page goes out again without being written', () => {
    const addr = mapSwapped(1);
    expect(load(mm, addr)).toBe(1);
    expect([inSwapCache(addr), usedSlots()]).toEqual([true, 1]);
    expect(pteWrite(pteAt(mm, addr))).toBe(true);
    expect(pageout(mm, addr, 1)).toBe(1);
    expect(bench.sys.vmstat.read('pswpout')).toBe(1);
    expect(load(mm, addr)).toBe(1);
  });

  test('for a write frees the slot at once', () => {
    const addr = mapSwapped(1);
    store(mm, addr + 1, 9);
    expect([inSwapCache(addr), usedSlots(), bench.sys.vmstat.read('wp_fault')]).toEqual([
      false,
      0,
      0,
    ]);
    expect([load(mm, addr), load(mm, addr + 1)]).toEqual([1, 9]);
  });

  test('what was stored after a read is written again on the next way out', () => {
    const addr = mapSwapped(1);
    load(mm, addr);
    store(mm, addr, 7);
    expect(pageout(mm, addr, 1)).toBe(1);
    expect([load(mm, addr), bench.sys.vmstat.read('pswpout')]).toEqual([7, 2]);
  });

  test('keeps no slots when swap space is more than half full', () => {
    const addr = mapSwapped(SLOTS / 2 + 1);
    load(mm, addr);
    // Half is left after that one.
    expect([inSwapCache(addr), usedSlots()]).toEqual([false, SLOTS / 2]);
    load(mm, addr + PAGE_SIZE);
    expect([inSwapCache(addr + PAGE_SIZE), usedSlots()]).toEqual([true, SLOTS / 2]);
  });

  test('a read-only VMA gets a read-only entry', () => {
    const addr = mapSwapped(1);
    expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, PROT_READ))).toBe(0);
    load(mm, addr);
    expect(pteWrite(pteAt(mm, addr))).toBe(false);
    expect(bench.sys.mem.testFlag(pfnAt(mm, addr), PG_ANON_EXCLUSIVE)).toBe(true);
  });

  test('without memory is an outcome that can be tried again', () => {
    const addr = mapSwapped(1);
    bench.sys.pageAllocator.failAt = 1;
    expect([loadOutcome(mm, addr), isSwapped(mm, addr)]).toEqual([FAULT_ENOMEM, true]);
    expect(load(mm, addr)).toBe(1);
  });

  test('waits for a page of the cache that somebody has locked', async () => {
    const { sys } = bench;
    const addr = mapFilled(mm, 1);
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    reclaimPage(sys, pfn);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    const rig = new HmmRig(bench);
    const looking = rig.look(addr, 1, { defaultFlags: READ });
    await Promise.resolve();
    expect(isSwapped(mm, addr)).toBe(true);
    sys.mem.unlockPage(pfn);
    expect(await looking).toBe('W');
    sys.mem.refcount[pfn]! -= 1;
  });
});

describe('zap', () => {
  test('frees the slot, and the page of the cache', () => {
    const addr = mapSwapped(3);
    load(mm, addr);
    const free = bench.sys.pageAllocator.freePages;
    zapPageRange(vmaLookup(mm, addr)!, addr, addr + 3 * PAGE_SIZE);
    expect([usedSlots(), mm.swapEnts, mm.anonRss]).toEqual([0, 0, 0]);
    expect(bench.sys.pageAllocator.freePages).toBe(free + 1);
    expect(load(mm, addr)).toBe(0);
  });
});

describe('MADV_FREE', () => {
  test('frees the slots of swap entries, and gives zeroes', () => {
    const addr = mapSwapped(2);
    expect(expectSync(doMadvise(mm, addr, PAGE_SIZE, MADV_FREE))).toBe(0);
    expect([usedSlots(), mm.swapEnts, pteAt(mm, addr)]).toEqual([1, 1, 0]);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([0, 2]);
  });

  test('leaves no slot with contents from before the last store', () => {
    const addr = mapSwapped(1);
    load(mm, addr);
    store(mm, addr, 9);
    expect(expectSync(doMadvise(mm, addr, PAGE_SIZE, MADV_FREE))).toBe(0);
    expect([inSwapCache(addr), usedSlots()]).toEqual([false, 0]);
    pageout(mm, addr, 1);
    expect(load(mm, addr)).toBe(9);
  });
});

test('MADV_PAGEOUT pages out what is there, other advice does not', () => {
  const addr = mapFilled(mm, 2);
  expect(expectSync(doMadvise(mm, addr, PAGE_SIZE, MADV_COLD))).toBe(0);
  expect(expectSync(doMadvise(mm, addr + PAGE_SIZE, PAGE_SIZE, MADV_PAGEOUT))).toBe(0);
  expect([isSwapped(mm, addr), isSwapped(mm, addr + PAGE_SIZE)]).toEqual([false, true]);
});

describe('fork', () => {
  test('shares the slot; both see the contents, each gets a page of its own by writing', () => {
    const addr = mapSwapped(2);
    const child = fork(mm);
    expect(swapInfo(bench.sys).map[ptePfn(pteAt(mm, addr))]).toBe(2);
    for (const one of [mm, child]) {
      expect(pteAt(one, addr) & PTE_SWP_EXCLUSIVE).toBe(0);
      expect(one.swapEnts).toBe(2);
    }
    store(child, addr, 50);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 50]);
    expectSync(mmput(mm));
    expect(load(child, addr + PAGE_SIZE)).toBe(2);
    mm = child;
  });

  test('the child first: the parent finds the same page, though it hangs where both look', () => {
    const addr = mapSwapped(1);
    const child = fork(mm);
    const grandchild = fork(child);
    expect([load(grandchild, addr), load(mm, addr), load(child, addr)]).toEqual([1, 1, 1]);
    const pfns = [mm, child, grandchild].map((one) => pfnAt(one, addr));
    expect(new Set(pfns).size).toBe(1);
    expect([bench.sys.mem.mapcount[pfns[0]!], swapins()]).toEqual([3, 1]);
    checkAtRest(bench);
  });

  test('a page of which others name the slot is not reused by a write', () => {
    const addr = mapSwapped(1);
    const child = fork(mm);
    load(mm, addr);
    store(mm, addr, 60);
    expect(bench.sys.vmstat.read('cow_copy')).toBe(1);
    expect([load(child, addr), load(mm, addr)]).toEqual([1, 60]);
  });

  test('the last user reuses the page, and its slot goes', () => {
    const addr = mapSwapped(1);
    const child = fork(mm);
    load(mm, addr);
    expectSync(mmput(child));
    const pfn = pfnAt(mm, addr);
    store(mm, addr, 60);
    expect([pfnAt(mm, addr), usedSlots(), bench.sys.vmstat.read('cow_copy')]).toEqual([pfn, 0, 0]);
  });
});

describe('devices', () => {
  test('a swap entry is left out by migration, its neighbours are not [F39]', () => {
    const addr = mapFilled(mm, 3);
    pageout(mm, addr + PAGE_SIZE, 1);
    const before = pteAt(mm, addr + PAGE_SIZE);
    const migration = new Migration(bench, addr, 3).run();
    expect(migration.reasons).toEqual(['none', 'not a page', 'none']);
    expect([pteAt(mm, addr + PAGE_SIZE), bench.device.used]).toEqual([before, 2]);
    expect([0, 1, 2].map((i) => load(mm, addr + i * PAGE_SIZE))).toEqual([1, 2, 3]);
  });

  test('a snapshot says nothing of a swap entry, a fault swaps it in [F80]', async () => {
    const rig = new HmmRig(bench);
    const addr = mapSwapped(2);
    expect([await rig.look(addr, 2), swapins()]).toEqual(['--', 0]);
    expect([await rig.look(addr, 1, { defaultFlags: READ }), swapins()]).toEqual(['W', 1]);
    expect([await rig.look(addr, 2, { defaultFlags: WRITE }), swapins()]).toEqual(['WW', 2]);
  });

  test('a page of the swap cache goes to the device, and its slot is freed [F49]', () => {
    const addr = mapSwapped(1);
    load(mm, addr);
    expect(inSwapCache(addr)).toBe(true);
    const migration = new Migration(bench, addr, 1).run();
    expect([migration.reasons, usedSlots(), bench.device.used]).toEqual([['none'], 0, 1]);
    expect(load(mm, addr)).toBe(1);
  });

  test('while somebody else may swap it in, it stays, and is restored [F49]', () => {
    const addr = mapSwapped(1);
    const child = fork(mm);
    load(mm, addr);
    const before = pteAt(mm, addr);
    const migration = new Migration(bench, addr, 1).run();
    expect(migration.reasons).toEqual(['swap cache in use']);
    expect([pteAt(mm, addr), usedSlots(), bench.device.used]).toEqual([before, 1, 0]);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 1]);
  });

  test('within RAM it moves together with its place in the swap cache', () => {
    const { sys } = bench;
    const addr = mapSwapped(1);
    const child = fork(mm);
    load(mm, addr);
    const migration = new Migration(bench, addr, 1).setup();
    const target = allocPage(sys);
    sys.mem.trylockPage(target);
    const source = migration.page(0) * PAGE_SIZE;
    sys.ram.copyWithin(target * PAGE_SIZE, source, source + PAGE_SIZE);
    migration.args.dst[0] = migratePfn(target);
    migration.pages().finalize();
    expect([migration.reasons, pfnAt(mm, addr)]).toEqual([['none'], target]);
    expect([load(child, addr), pfnAt(child, addr), swapins()]).toEqual([1, target, 1]);
  });

  test('a device page is not paged out; back in RAM it may be', () => {
    const addr = mapOnDevice(bench, 1);
    expect(reclaimPage(bench.sys, pfnAt(mm, addr))).toBe(false);
    expect(loadOutcome(mm, addr)).toBe(FAULT_OK);
    expect(pageout(mm, addr, 1)).toBe(1);
    expect(load(mm, addr)).toBe(1);
  });

  test('what only the device has ever written is written to the slot, too', () => {
    const addr = mapAnon(mm, 1);
    new Migration(bench, addr, 1).run();
    bench.device.vram.get(pfnAt(mm, addr))!.fill(77);
    expect(load(mm, addr)).toBe(77);
    expect(pageout(mm, addr, 1)).toBe(1);
    expect(load(mm, addr)).toBe(77);
  });
});
