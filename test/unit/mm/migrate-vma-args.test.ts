/* migrate_vma_setup: its argument checks (hmm-semantics 3). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { migrateVmaFinalize, migrateVmaSetup } from '../../../src/mm/migrate-device.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_COHERENT,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  migratePfn,
  migratePfnToPage,
} from '../../../src/mm/migrate-types.ts';
import {
  PROT_NONE,
  PROT_READ,
  VM_DONTEXPAND,
  VM_HUGETLB,
  VM_IO,
  VM_MIXEDMAP,
  VM_PFNMAP,
} from '../../../src/mm/mm-types.ts';
import type { Vma } from '../../../src/mm/mm-types.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { expectSync, pteAt } from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

test('entries keep a pfn, and are not negative [F26]', () => {
  for (const pfn of [0, 1, 2 ** 23 - 1]) {
    const entry = migratePfn(pfn);
    expect(entry).toBe(pfn * 2 ** MIGRATE_PFN_SHIFT + MIGRATE_PFN_VALID);
    expect(migratePfnToPage(entry)).toBe(pfn);
  }
  expect(migratePfnToPage(0)).toBe(-1);
  expect(migratePfnToPage(MIGRATE_PFN_MIGRATE)).toBe(-1);
});

test('flags sit where Linux has them [F25] [F26]', () => {
  const flags = [MIGRATE_PFN_VALID, MIGRATE_PFN_MIGRATE, MIGRATE_PFN_WRITE, MIGRATE_PFN_SHIFT];
  expect(flags).toEqual([1, 2, 8, 6]);
  const selects = [MIGRATE_VMA_SELECT_SYSTEM, MIGRATE_VMA_SELECT_DEVICE_PRIVATE];
  expect([...selects, MIGRATE_VMA_SELECT_DEVICE_COHERENT]).toEqual([1, 2, 4]);
});

describe('arguments [F22]', () => {
  /** The status of a setup of 4 filled pages with some arguments changed. */
  function statusOf(change: (args: Migration['args'], addr: number) => Migration['args']): number {
    const addr = mapFilled(bench.mm, 4);
    // Arrays for more than the VMA: they are not what refuses a range here.
    const migration = new Migration(bench, addr, 8);
    migration.args.end = addr + 4 * PAGE_SIZE;
    const args = change(migration.args, addr);
    expectSync(bench.mm.mmapLock.readLock());
    const before = pteAt(bench.mm, addr);
    const status = migrateVmaSetup(args);
    if (status === 0) migrateVmaFinalize(args);
    else
      expect([pteAt(bench.mm, addr), args.cpages, args.src[0]]).toEqual([before, -1, 0xdeadbeef]);
    bench.mm.mmapLock.readUnlock();
    return status;
  }

  test('the control case is fine', () => {
    expect(statusOf((args) => args)).toBe(0);
  });

  test.each([
    ['null', null],
    ['undefined', undefined],
  ])('a VMA that is %s', (_what, none) => {
    const vma = none as unknown as Vma;
    const addr = mapFilled(bench.mm, 1);
    const { args } = new Migration(bench, addr, 1);
    expect(migrateVmaSetup({ ...args, vma })).toBe(errno.EINVAL);
  });

  test.each([
    ['VM_HUGETLB', VM_HUGETLB],
    ['VM_IO', VM_IO],
    ['VM_DONTEXPAND', VM_DONTEXPAND],
    ['VM_PFNMAP', VM_PFNMAP],
    ['VM_MIXEDMAP', VM_MIXEDMAP],
  ])('a VMA with %s', (_what, flag) => {
    const status = statusOf((args) => {
      args.vma.vmFlags |= flag;
      return args;
    });
    expect(status).toBe(errno.EINVAL);
  });

  test.each([
    ['an empty range', 0, 0, errno.EINVAL],
    ['an inverted one', 2 * PAGE_SIZE, PAGE_SIZE, errno.EINVAL],
    ['less than a page', 0, PAGE_SIZE - 1, errno.EINVAL],
    ['less than a page across a page boundary', 1, PAGE_SIZE, errno.EINVAL],
    ['one page', 0, PAGE_SIZE, 0],
    ['a page worth of bytes that starts inside one', 5, PAGE_SIZE + 5, 0],
    ['a start before the VMA', -PAGE_SIZE, PAGE_SIZE, errno.EINVAL],
    ['an end behind the VMA', 0, 5 * PAGE_SIZE, errno.EINVAL],
    ['a start at the end of the VMA', 4 * PAGE_SIZE, 5 * PAGE_SIZE, errno.EINVAL],
    ['the last page', 3 * PAGE_SIZE, 4 * PAGE_SIZE, 0],
    ['all of the VMA', 0, 4 * PAGE_SIZE, 0],
    ['an end that is rounded down into the VMA', 0, 5 * PAGE_SIZE - 1, 0],
    ['half a byte', 0.5, PAGE_SIZE + 0.5, errno.EINVAL],
  ])('%s', (_what, from, to, expected) => {
    const status = statusOf((args, addr) => {
      args.start = addr + from;
      args.end = addr + to;
      return args;
    });
    expect(status).toBe(expected);
  });

  test('start and end are rounded down to a page [F23]', () => {
    let args: Migration['args'] | undefined;
    let base = 0;
    statusOf((one, addr) => {
      base = addr;
      args = one;
      one.start = addr + PAGE_SIZE + 7;
      one.end = addr + 3 * PAGE_SIZE + 9;
      return one;
    });
    expect([args?.start, args?.end, args?.npages]).toEqual([
      base + PAGE_SIZE,
      base + 3 * PAGE_SIZE,
      2,
    ]);
  });

  test('a range that spans two VMAs, which one VMA would hold [F23]', () => {
    const addr = mapFilled(bench.mm, 4);
    expectSync(doMprotect(bench.mm, addr + 2 * PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ));
    const { args } = new Migration(bench, addr, 4);
    expect(migrateVmaSetup(args)).toBe(errno.EINVAL);
  });

  test.each([
    ['src is one entry short', 3, 4, 4, errno.EINVAL],
    ['dst is one entry short', 4, 3, 4, errno.EINVAL],
    ['reasons is one entry short', 4, 4, 3, errno.EINVAL],
    ['all are long enough', 4, 5, 6, 0],
  ])('%s', (_what, src, dst, reasons, expected) => {
    const status = statusOf((args) => ({
      ...args,
      src: new Uint32Array(src).fill(0xdeadbeef),
      dst: new Uint32Array(dst),
      reasons: new Uint8Array(reasons),
    }));
    expect(status).toBe(expected);
  });

  test('a fault page that is RAM, one that is not locked, one beyond the machine', () => {
    const addr = mapOnDevice(bench, 1);
    const page = pfnAt(bench.mm, addr);
    const ram = pfnAt(bench.mm, mapFilled(bench.mm, 1));
    bench.sys.mem.trylockPage(ram);
    expect(statusOf((args) => ({ ...args, faultPage: ram }))).toBe(errno.EINVAL);
    bench.sys.mem.unlockPage(ram);
    expect(statusOf((args) => ({ ...args, faultPage: page }))).toBe(errno.EINVAL);
    expect(statusOf((args) => ({ ...args, faultPage: 2 ** 22 }))).toBe(errno.EINVAL);
    expect(statusOf((args) => ({ ...args, faultPage: -2 }))).toBe(errno.EINVAL);
    bench.sys.mem.trylockPage(page);
    expect(statusOf((args) => ({ ...args, faultPage: page }))).toBe(0);
    bench.sys.mem.unlockPage(page);
  });

  test('not looked at: read and write permission of the VMA', () => {
    const addr = mapFilled(bench.mm, 2);
    expectSync(doMprotect(bench.mm, addr, 2 * PAGE_SIZE, PROT_NONE));
    const migration = new Migration(bench, addr, 2).setup();
    expect(migration.args.cpages).toBe(2);
    migration.finalize();
  });

  test('I26: the mmap lock must be held in all three steps [F21]', () => {
    const addr = mapFilled(bench.mm, 1);
    const migration = new Migration(bench, addr, 1);
    expect(() => migrateVmaSetup(migration.args)).toThrow('I26');
    migration.setup();
    bench.mm.mmapLock.readUnlock();
    expect(() => migration.pages()).toThrow('I26');
    expect(() => migrateVmaFinalize(migration.args)).toThrow('I26');
    expectSync(bench.mm.mmapLock.readLock());
    migration.finalize();
  });
});
