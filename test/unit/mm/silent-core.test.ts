/*
 * Flushes that may fail: a core does not answer, and everything is as it was before.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { removeMigrationPtes } from '../../../src/mm/migrate.ts';
import { PG_ANON_EXCLUSIVE, PG_LOCKED, PG_LRU } from '../../../src/mm/page.ts';
import { swapon } from '../../../src/mm/swapfile.ts';
import { addTlbListener } from '../../../src/mm/tlb.ts';
import { tryToMigrate } from '../../../src/mm/try-to-migrate.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { pageoutRange } from '../../../src/mm/vmscan.ts';
import { ExclusiveRig } from './exclusive-rig.ts';
import { expectSync, load, pteAt } from './fixture.ts';
import { Migration, checkAtRest, mapFilled, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

const KEPT = PG_LOCKED | PG_ANON_EXCLUSIVE | PG_LRU;

let rig: ExclusiveRig;
let bench: Bench;
let mm: MmStruct;
let sys: System;
/** What the only core of the address space does when it may be given up on. */
let answers: boolean;
/** Whether each flush so far might fail. */
let asked: boolean[];

beforeEach(() => {
  rig = new ExclusiveRig();
  ({ bench, mm, sys } = rig);
  answers = false;
  asked = [];
  addTlbListener(mm, {
    flush: (_mm, _start, _end, mayFail) => {
      asked.push(mayFail);
      return answers || !mayFail;
    },
  });
});

const refused = (): number => sys.vmstat.read('tlb_flush_refused');

/** What is known of a page that is mapped, but that it was written to. */
function stateOf(addr: number): number[] {
  const { mem } = sys;
  const pfn = pfnAt(mm, addr);
  return [pteAt(mm, addr), mem.refcount[pfn]!, mem.mapcount[pfn]!, mem.flags[pfn]! & KEPT];
}

describe('migrate_vma_setup', () => {
  test('a silent core: the pages stay, unlocked, with the reason [F31]', () => {
    const addr = mapFilled(mm, 2);
    const before = [stateOf(addr), stateOf(addr + PAGE_SIZE)];
    const migration = new Migration(bench, addr, 2).setup();
    expect([stateOf(addr), stateOf(addr + PAGE_SIZE)]).toEqual(before);
    expect(migration.args.cpages).toBe(0);
    expect(migration.reasons).toEqual(['core did not answer', 'core did not answer']);
    expect([asked, refused()]).toEqual([[true], 1]);
    migration.supply().pages().finalize();
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE), bench.device.used]).toEqual([1, 2, 0]);
    checkAtRest(bench);
  });

  test('a core that answers: they go', () => {
    answers = true;
    const addr = mapFilled(mm, 2);
    new Migration(bench, addr, 2).run();
    expect([bench.device.used, refused()]).toEqual([2, 0]);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([1, 2]);
    checkAtRest(bench);
  });

  test('holes beside them are still collected: no core has them', () => {
    const addr = mapFilled(mm, 2);
    expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE));
    const hole = mapFilled(mm, 3);
    asked.length = 0;
    const migration = new Migration(bench, hole, 3);
    rig.zap(hole + PAGE_SIZE);
    migration.setup();
    expect(migration.src).toEqual(['-', 'hole M', '-']);
    expect(migration.args.cpages).toBe(1);
    migration.supply().pages().finalize();
    expect([load(mm, hole), load(mm, hole + PAGE_SIZE), load(mm, hole + 2 * PAGE_SIZE)]).toEqual([
      1, 0, 3,
    ]);
    checkAtRest(bench);
  });

  test('no page was there: nobody is asked', () => {
    const addr = mapFilled(mm, 1);
    rig.zap(addr);
    asked.length = 0;
    new Migration(bench, addr, 1).run();
    expect([asked, refused(), bench.device.used]).toEqual([[], 0, 1]);
  });
});

describe('the reverse map', () => {
  function lock(addr: number): number {
    const pfn = pfnAt(mm, addr);
    sys.mem.getPage(pfn);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    return pfn;
  }

  test('a silent core: the entry is put back', () => {
    const addr = mapFilled(mm, 1);
    const pfn = lock(addr);
    const before = stateOf(addr);
    expect(tryToMigrate(sys, pfn)).toBe(false);
    expect([stateOf(addr), refused()]).toEqual([before, 1]);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    expect(load(mm, addr)).toBe(1);
    checkAtRest(bench);
  });

  test('a core that answers: it is gone', () => {
    answers = true;
    const addr = mapFilled(mm, 1);
    const pfn = lock(addr);
    expect([tryToMigrate(sys, pfn), refused()]).toEqual([true, 0]);
    removeMigrationPtes(sys, pfn, pfn);
    sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    checkAtRest(bench);
  });
});

describe('swapping out', () => {
  const pageout = (addr: number): number =>
    pageoutRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);

  test('a silent core: the page stays mapped', () => {
    expect(swapon(sys, 8)).toBe(0);
    const addr = mapFilled(mm, 1);
    const before = pteAt(mm, addr);
    expect(pageout(addr)).toBe(0);
    expect([pteAt(mm, addr), refused(), mm.swapEnts]).toEqual([before, 1, 0]);
    expect(load(mm, addr)).toBe(1);
    checkAtRest(bench);
  });

  test('a core that answers: it goes', () => {
    answers = true;
    expect(swapon(sys, 8)).toBe(0);
    const addr = mapFilled(mm, 1);
    expect([pageout(addr), refused(), mm.swapEnts]).toEqual([1, 0, 1]);
    expect(load(mm, addr)).toBe(1);
    checkAtRest(bench);
  });
});

describe('make_device_exclusive', () => {
  test('a silent core: EBUSY, and the page is as before [F96]', () => {
    const addr = mapFilled(mm, 1);
    const before = stateOf(addr);
    expect(rig.make(addr)).toBe(errno.EBUSY);
    expect([stateOf(addr), refused()]).toEqual([before, 1]);
    expect(sys.vmstat.read('device_exclusive_make')).toBe(0);
    checkAtRest(bench);
  });

  test('a core that answers: the device has it', () => {
    answers = true;
    const addr = rig.mapExclusive();
    expect([rig.isExclusive(addr), refused()]).toEqual([true, 0]);
    checkAtRest(bench);
  });
});

test('munmap can not fail: it does not let the core be given up on', () => {
  const addr = mapFilled(mm, 1);
  expectSync(doMunmap(mm, addr, PAGE_SIZE));
  expect([asked, refused()]).toEqual([[false], 0]);
  checkAtRest(bench);
});
