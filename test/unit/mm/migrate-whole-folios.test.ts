/*
 * Each step of a migration has a short way for a large folio that moves whole. One that is
 * different in any way has to come to what the long way makes of it.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { DeviceMemory } from '../../../src/driver/device-memory.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_VMA_SELECT_COMPOUND,
  NO_FAULT_PAGE,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../../src/mm/migrate-types.ts';
import { THP_ALWAYS } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { allocHugeFolio, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_HEAD, PG_LOCKED, PG_LRU } from '../../../src/mm/page.ts';
import { skipReasonName } from '../../../src/mm/skip-reason.ts';
import {
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_HUGE,
  PTE_PRESENT,
  PTE_WRITE,
  isMigrationEntry,
  leafKind,
  ptePfn,
} from '../../../src/mm/swapops.ts';
import { addTlbListener } from '../../../src/mm/tlb.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { expectSync, load, makeMm, makeSystem, mapAnon, store } from './fixture.ts';
import { TO_DEVICE, TO_RAM } from './migration.ts';
import { waits } from './tiny-device.ts';

const FOLIOS = 3;

let sys: System;
let mm: MmStruct;
let memory: DeviceMemory;
/** Where the folio is mapped. */
let base: number;

function makeMemory(): DeviceMemory {
  const made = DeviceMemory.create(sys, HPAGE_PMD_NR, HPAGE_PMD_NR, {}, () => 0);
  if (typeof made === 'number') throw new Error(`DeviceMemory.create: ${made}`);
  return made;
}

beforeEach(() => {
  sys = makeSystem((1 + FOLIOS) * HPAGE_PMD_NR, 2 * HPAGE_PMD_NR, 64);
  sys.thpMode = THP_ALWAYS;
  memory = makeMemory();
  mm = makeMm(sys);
  const hole = mapAnon(mm, 2 * HPAGE_PMD_NR);
  base = Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
  store(mm, base, 1);
});

/** The PMD entry of the folio. */
function pmd(of = mm): number {
  return sys.pageTables.words[sys.pageTables.pmdOffset(of.pgd, base)]!;
}

/** One migration of the folio, step by step; nobody copies. */
class Whole {
  readonly args: MigrateVma;
  private readonly way: number;

  constructor(way: number, owner: object = memory.owner) {
    this.way = way;
    this.args = {
      vma: vmaLookup(mm, base)!,
      src: new Uint32Array(HPAGE_PMD_NR).fill(0xdeadbeef),
      dst: new Uint32Array(HPAGE_PMD_NR).fill(0xdeadbeef),
      start: base,
      end: base + PMD_SIZE,
      cpages: -1,
      npages: -1,
      pgmapOwner: owner,
      flags: way | MIGRATE_VMA_SELECT_COMPOUND,
      faultPage: NO_FAULT_PAGE,
      reasons: new Uint8Array(HPAGE_PMD_NR),
    };
  }

  setup(): this {
    expect(mm.mmapLock.readTrylock()).toBe(true);
    expect(migrateVmaSetup(this.args)).toBe(0);
    return this;
  }

  supply(): this {
    const { args } = this;
    const folio = this.way === TO_DEVICE ? memory.allocFolio() : allocHugeFolio(sys);
    if (this.way === TO_RAM) sys.mem.trylockPage(folio);
    expect(folio).toBeGreaterThan(0);
    args.dst[0] = (migratePfn(folio) | MIGRATE_PFN_COMPOUND) >>> 0;
    return this;
  }

  pages(): this {
    migrateVmaPages(this.args);
    return this;
  }

  finalize(): this {
    migrateVmaFinalize(this.args);
    mm.mmapLock.readUnlock();
    return this;
  }

  run(): this {
    return this.setup().supply().pages().finalize();
  }

  get source(): number {
    return migratePfnToPage(this.args.src[0]!);
  }

  get target(): number {
    return migratePfnToPage(this.args.dst[0]!);
  }

  get migrates(): boolean {
    return (this.args.src[0]! & MIGRATE_PFN_MIGRATE) !== 0;
  }

  get reason(): string {
    return skipReasonName(this.args.reasons![0]!);
  }
}

/** What nothing in the machine holds afterwards, besides what the test names. */
function checkAtRest(references: ReadonlyMap<number, number> = new Map()): void {
  checkInvariants(sys, { references });
}

describe('a large folio that moves whole', () => {
  test('to the device: mapped there, and its source is free [F25] [F53]', () => {
    const source = ptePfn(pmd());
    const before = sys.vmstat.read('pgfree');
    const whole = new Whole(TO_DEVICE).run();
    expect([whole.args.cpages, whole.args.npages]).toEqual([1, HPAGE_PMD_NR]);
    expect([...whole.args.src.subarray(1), ...whole.args.dst.subarray(1)].some(Boolean)).toBe(
      false,
    );
    const { target } = whole;
    expect([leafKind(pmd()), ptePfn(pmd())]).toEqual([LEAF_DEVICE_PRIVATE_WRITE, target]);
    const { refcount, entireMapcount, largeMapcount } = sys.mem;
    expect([refcount, entireMapcount, largeMapcount].map((one) => one[target])).toEqual([1, 1, 1]);
    expect([refcount, entireMapcount, largeMapcount].map((one) => one[source])).toEqual([0, 0, 0]);
    expect(sys.vmstat.read('pgfree') - before).toBe(HPAGE_PMD_NR);
    expect(sys.vmstat.read('pgmigrate_to_device')).toBe(HPAGE_PMD_NR);
    expect(sys.vmstat.read('thp_migration_success')).toBe(1);
    checkAtRest();
  });

  test('home: writable, on the LRU, exclusive, and the driver has its folio back', () => {
    new Whole(TO_DEVICE).run();
    const whole = new Whole(TO_RAM).run();
    expect(pmd() & (PTE_PRESENT | PTE_HUGE | PTE_WRITE)).toBe(PTE_PRESENT | PTE_HUGE | PTE_WRITE);
    expect(ptePfn(pmd())).toBe(whole.target);
    const bits = PG_HEAD | PG_LRU | PG_ANON_EXCLUSIVE;
    expect(sys.mem.flags[whole.target]! & (bits | PG_LOCKED)).toBe(bits);
    expect(memory.pagesInUse).toBe(0);
    expect(sys.vmstat.read('pgmigrate_to_ram')).toBe(HPAGE_PMD_NR);
    checkAtRest();
  });
});

describe('a large folio that is not collected', () => {
  /** Nothing is selected, the leaf stays. */
  function stays(whole: Whole, reason: string): void {
    const before = pmd();
    whole.setup();
    expect([whole.args.cpages, whole.args.src[0], whole.reason]).toEqual([0, 0, reason]);
    expect(pmd()).toBe(before);
    whole.finalize();
  }

  test('somebody has locked it', () => {
    const folio = ptePfn(pmd());
    expect(sys.mem.trylockPage(folio)).toBe(true);
    stays(new Whole(TO_DEVICE), 'locked');
    expect(sys.mem.isLocked(folio)).toBe(true);
    sys.mem.unlockPage(folio);
    checkAtRest();
  });

  test('it is in RAM, and device memory is asked for; and the other way round', () => {
    stays(new Whole(TO_RAM), 'not selected');
    new Whole(TO_DEVICE).run();
    stays(new Whole(TO_DEVICE), 'not selected');
    checkAtRest();
  });

  test('it is on the device of somebody else [F19]', () => {
    new Whole(TO_DEVICE).run();
    stays(new Whole(TO_RAM, {}), 'foreign owner');
    checkAtRest();
  });

  test('a core does not let go of it', () => {
    let isSilent = true;
    addTlbListener(mm, { flush: (_mm, _start, _end, mayFail) => !(mayFail && isSilent) });
    stays(new Whole(TO_DEVICE), 'core did not answer');
    expect(sys.mem.isLocked(ptePfn(pmd()))).toBe(false);
    isSilent = false;
    expect(new Whole(TO_DEVICE).run().migrates).toBe(true);
    checkAtRest();
  });

  test('it is pinned: it is mapped by its pages, and stays', () => {
    const folio = ptePfn(pmd());
    expect(expectSync(pinUserPage(mm, base))).toBe(folio);
    const whole = new Whole(TO_DEVICE).setup();
    expect([whole.args.cpages, whole.reason]).toEqual([0, 'large folio not split']);
    whole.finalize();
    unpinUserPage(sys, folio);
    expect(load(mm, base)).toBe(1);
    checkAtRest();
  });

  test('it finds no destination: each of its pages is counted', () => {
    const whole = new Whole(TO_DEVICE).setup().pages().finalize();
    const reasons = whole.args.reasons!;
    expect([whole.migrates, whole.reason]).toEqual([false, 'no destination']);
    expect(reasons.every((reason) => reason === reasons[0])).toBe(true);
    checkAtRest();
  });

  test('it is the huge zero page: a hole [F110]', () => {
    zapPageRange(vmaLookup(mm, base)!, base, base + PMD_SIZE);
    expect(load(mm, base)).toBe(0);
    const whole = new Whole(TO_DEVICE).setup();
    expect(whole.args.src[0]).toBe(MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND);
    whole.finalize();
    expect(ptePfn(pmd())).toBe(sys.hugeZeroPfn);
  });
});

describe('a large folio that others use, too', () => {
  test('a reference that nothing explains keeps it at unmap', () => {
    const folio = ptePfn(pmd());
    sys.mem.getPage(folio);
    const whole = new Whole(TO_DEVICE).setup();
    expect([whole.args.cpages, whole.reason]).toEqual([0, 'pinned at unmap']);
    whole.finalize();
    expect(ptePfn(pmd())).toBe(folio);
    checkAtRest(new Map([[folio, 1]]));
  });

  test('one that came while it was copied keeps it at commit', () => {
    const folio = ptePfn(pmd());
    const whole = new Whole(TO_DEVICE).setup().supply();
    sys.mem.getPage(folio);
    whole.pages();
    expect([whole.migrates, whole.reason]).toEqual([false, 'pinned at commit']);
    whole.finalize();
    expect(ptePfn(pmd())).toBe(folio);
    expect(memory.pagesInUse).toBe(0);
    checkAtRest(new Map([[folio, 1]]));
  });

  test('I30: a destination that is not locked is a bug', () => {
    const whole = new Whole(TO_DEVICE).setup().supply();
    sys.mem.unlockPage(whole.target);
    expect(() => whole.pages()).toThrow('I30');
  });

  test('one that came after commit keeps the source, which has moved', () => {
    const whole = new Whole(TO_DEVICE).setup().supply().pages();
    const { source, target } = whole;
    sys.mem.getPage(source);
    whole.finalize();
    expect([ptePfn(pmd()), sys.mem.refcount[source]]).toEqual([target, 1]);
    expect(sys.mem.isLocked(source)).toBe(false);
    putPage(sys, source);
    checkAtRest();
  });

  test('one on the destination stays beside that of its mapping', () => {
    const whole = new Whole(TO_DEVICE).setup().supply().pages();
    sys.mem.getPage(whole.target);
    whole.finalize();
    expect([sys.mem.refcount[whole.target], ptePfn(pmd())]).toEqual([2, whole.target]);
    putPage(sys, whole.target);
    checkAtRest();
  });

  test('another process maps it: it moves for both [F101]', () => {
    const child = expectSync(dupMmap(mm)) as MmStruct;
    const whole = new Whole(TO_DEVICE).setup();
    expect([isMigrationEntry(pmd()), isMigrationEntry(pmd(child))]).toEqual([true, true]);
    whole.supply().pages().finalize();
    expect([ptePfn(pmd()), ptePfn(pmd(child))]).toEqual([whole.target, whole.target]);
    expect(sys.mem.largeMapcount[whole.target]).toBe(2);
    checkAtRest();
  });
});

describe('what happens while a large folio is copied', () => {
  let woken: Promise<unknown> | null = null;

  afterEach(() => (woken = null));

  test('a CPU access waits, and is woken [F69]', async () => {
    const there = new Whole(TO_DEVICE).run();
    const whole = new Whole(TO_RAM).setup();
    expect(whole.source).toBe(there.target);
    whole.supply().pages();
    const reading = copyFromUser(mm, base + 7 * PAGE_SIZE, new Uint8Array(1));
    expect(waits(reading)).toBe(true);
    woken = Promise.resolve(reading);
    whole.finalize();
    expect(sys.mem.waitingPages).toBe(0);
    expect(await woken).toBe(0);
    checkAtRest();
  });

  test('one that waits for the lock of the destination is woken, too', async () => {
    const whole = new Whole(TO_DEVICE).setup().supply().pages();
    const waiting = sys.mem.lockPage(whole.target);
    expect(waits(waiting)).toBe(true);
    whole.finalize();
    await waiting;
    sys.mem.unlockPage(whole.target);
    checkAtRest();
  });

  test('it is unmapped: the destination is freed, nothing is mapped', () => {
    const whole = new Whole(TO_DEVICE).setup().supply().pages();
    zapPageRange(vmaLookup(mm, base)!, base, base + PMD_SIZE);
    whole.finalize();
    expect([pmd(), memory.pagesInUse]).toEqual([0, 0]);
    checkAtRest();
  });

  test('another folio comes in its place: that one stays', () => {
    const whole = new Whole(TO_DEVICE).setup().supply().pages();
    zapPageRange(vmaLookup(mm, base)!, base, base + PMD_SIZE);
    store(mm, base, 5);
    const other = ptePfn(pmd());
    whole.finalize();
    expect([ptePfn(pmd()), load(mm, base), memory.pagesInUse]).toEqual([other, 5, 0]);
    checkAtRest();
  });
});
