/* Soft-dirty tracking: clear_refs. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { clearSoftDirty } from '../../../src/mm/clear-refs.ts';
import { mmput } from '../../../src/mm/fork.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_SOFT_DIRTY,
  PTE_WRITE,
  leafKind,
} from '../../../src/mm/swapops.ts';
import { expectSync, load, makeMm, mapShared, pteAt, store } from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;
let mm: MmStruct;

beforeEach(() => {
  bench = makeBench();
  ({ mm } = bench);
});

afterEach(() => checkAtRest(bench));

/** Whether an entry says that the page was written since. */
function isSoftDirty(addr: number): boolean {
  return (pteAt(mm, addr) & PTE_SOFT_DIRTY) !== 0;
}

test.each([
  ['private', mapFilled],
  ['shared', mapShared],
])('only what is written afterwards is soft-dirty: %s memory', (_what, map) => {
  const addr = map(mm, 2);
  store(mm, addr, 1);
  store(mm, addr + PAGE_SIZE, 1);
  expect(isSoftDirty(addr)).toBe(true);
  const { tlbFlushedPages } = mm;
  expect(expectSync(clearSoftDirty(mm))).toBe(0);
  expect([isSoftDirty(addr), isSoftDirty(addr + PAGE_SIZE)]).toEqual([false, false]);
  expect(mm.tlbFlushedPages).toBe(tlbFlushedPages + 2);
  load(mm, addr);
  store(mm, addr + PAGE_SIZE, 2);
  expect([isSoftDirty(addr), isSoftDirty(addr + PAGE_SIZE)]).toEqual([false, true]);
});

test('a page of a process alone is not copied for it', () => {
  const addr = mapFilled(mm, 1);
  const pfn = pfnAt(mm, addr);
  expectSync(clearSoftDirty(mm));
  store(mm, addr, 2);
  expect(pfnAt(mm, addr)).toBe(pfn);
});

test('nothing to flush the second time', () => {
  const addr = mapFilled(mm, 1);
  expectSync(clearSoftDirty(mm));
  const { tlbFlushes } = mm;
  expectSync(clearSoftDirty(mm));
  expect([mm.tlbFlushes, isSoftDirty(addr)]).toEqual([tlbFlushes, false]);
});

test('a page on the device loses the bit, not its permission [F8]', () => {
  const addr = mapFilled(mm, 1);
  new Migration(bench, addr, 1).run();
  expect(isSoftDirty(addr)).toBe(true);
  expectSync(clearSoftDirty(mm));
  expect([isSoftDirty(addr), leafKind(pteAt(mm, addr))]).toEqual([
    false,
    LEAF_DEVICE_PRIVATE_WRITE,
  ]);
  // It comes home writable, so that a store goes by without a fault: nobody notices, as in Linux.
  store(mm, addr, 3);
  expect(isSoftDirty(addr)).toBe(false);
});

test('a page that may be pinned keeps both: who pinned it writes without a fault', () => {
  const addr = mapFilled(mm, 1);
  const { mem } = bench.sys;
  const pfn = pfnAt(mm, addr);
  mem.refcount[pfn]! += GUP_PIN_COUNTING_BIAS;
  expectSync(clearSoftDirty(mm));
  expect(pteAt(mm, addr) & (PTE_SOFT_DIRTY | PTE_WRITE)).toBe(PTE_SOFT_DIRTY | PTE_WRITE);
  mem.refcount[pfn]! -= GUP_PIN_COUNTING_BIAS;
});

test('ESRCH in an address space that is gone', () => {
  const gone = makeMm(bench.sys);
  expectSync(mmput(gone));
  expect(expectSync(clearSoftDirty(gone))).toBe(errno.ESRCH);
});
