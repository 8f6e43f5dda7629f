/* What pagemap, smaps and mincore say of pages in RAM, on the device, on the way, nowhere. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { CLEAR_REFS_SOFT_DIRTY, clearRefs } from '../../../src/mm/clear-refs.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_HUGEPAGE,
  MADV_PAGEOUT,
  doMadvise,
} from '../../../src/mm/madvise.ts';
import { doMincore } from '../../../src/mm/mincore.ts';
import { MAP_PRIVATE } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { LEAF_SWAP, leafKind } from '../../../src/mm/swapops.ts';
import { swapon } from '../../../src/mm/swapfile.ts';
import {
  PM_FILE,
  PM_GUARD_REGION,
  PM_MMAP_EXCLUSIVE,
  PM_PRESENT,
  PM_SOFT_DIRTY,
  PM_SWAP,
  readPagemap,
  readSmaps,
} from '../../../src/mm/task-mmu.ts';
import type { SmapsTotals } from '../../../src/mm/task-mmu.ts';
import { RW, expectSync, load, mapAnon, mapShared, pteAt, store } from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

const NAMES: readonly (readonly [number, string])[] = [
  [PM_PRESENT, 'P'],
  [PM_SWAP, 'W'],
  [PM_FILE, 'F'],
  [PM_GUARD_REGION, 'G'],
  [PM_MMAP_EXCLUSIVE, 'X'],
  [PM_SOFT_DIRTY, 'd'],
];

/** The pagemap entries as letters; pfns are checked where there is a page. */
function pagemap(addr: number, pages: number, mm: MmStruct = bench.mm): string[] {
  const entries = new Uint32Array(2 * pages).fill(0xdeadbeef);
  expect(expectSync(readPagemap(mm, addr, entries))).toBe(0);
  return Array.from({ length: pages }, (_, i) => {
    const bits = entries[2 * i + 1]!;
    const pte = pteAt(mm, addr + i * PAGE_SIZE);
    if (pte !== 0) expect(entries[2 * i]).toBe(pfnAt(mm, addr + i * PAGE_SIZE));
    return NAMES.map(([bit, name]) => ((bits & bit) === 0 ? '' : name)).join('');
  });
}

function clearSoftDirty(): void {
  expect(expectSync(clearRefs(bench.mm, CLEAR_REFS_SOFT_DIRTY))).toBe(0);
}

function smaps(mm: MmStruct = bench.mm): SmapsTotals[] {
  const totals: SmapsTotals[] = [];
  expect(expectSync(readSmaps(mm, totals))).toBe(0);
  return totals;
}

/** Some totals of the only mapping, in pages. */
function pages(...names: (keyof SmapsTotals)[]): number[] {
  const all = smaps();
  expect(all).toHaveLength(1);
  return names.map((name) => all[0]![name] / PAGE_SIZE);
}

function advise(addr: number, count: number, advice: number): void {
  expect(expectSync(doMadvise(bench.mm, addr, count * PAGE_SIZE, advice))).toBe(0);
}

function mincore(addr: number, count: number): number[] {
  const vec = new Uint8Array(count).fill(9);
  expect(expectSync(doMincore(bench.mm, addr, count * PAGE_SIZE, vec))).toBe(0);
  return [...vec];
}

describe('pagemap', () => {
  test('a page on the device is swapped, not present [F108]', () => {
    const addr = mapFilled(bench.mm, 3);
    clearSoftDirty();
    expect(expectSync(bench.device.migrateIn(bench.mm, addr + PAGE_SIZE))).toBe(1);
    expect(pagemap(addr, 3)).toEqual(['PX', 'W', 'PX']);
    expect(load(bench.mm, addr + PAGE_SIZE)).toBe(2);
    expect(pagemap(addr, 3)).toEqual(['PX', 'PX', 'PX']);
  });

  test('soft-dirty of a page on the device is shown [F108] [F8]', () => {
    const addr = mapFilled(bench.mm, 2);
    clearSoftDirty();
    store(bench.mm, addr, 9);
    expect(expectSync(bench.device.migrateIn(bench.mm, addr, 2))).toBe(2);
    expect(pagemap(addr, 2)).toEqual(['Wd', 'W']);
  });

  test('a page under migration is swapped, a hole nothing, the zero page present', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 4);
    store(mm, addr, 1);
    store(mm, addr + PAGE_SIZE, 1);
    clearSoftDirty();
    load(mm, addr + 2 * PAGE_SIZE);
    const migration = new Migration(bench, addr, 1).setup();
    expect(pagemap(addr, 4)).toEqual(['W', 'PX', 'P', '']);
    migration.finalize();
  });

  test('a new mapping is soft-dirty all over, what is not mapped is nothing', () => {
    const addr = mapAnon(bench.mm, 1);
    expect(pagemap(addr - PAGE_SIZE, 2)).toEqual(['', 'd']);
  });

  test('pages that several processes map are not exclusive; shared memory is a file', () => {
    const { mm } = bench;
    const [anon, shared] = [mapFilled(mm, 1), mapShared(mm, 1)];
    store(mm, shared, 1);
    clearSoftDirty();
    expect([pagemap(anon, 1), pagemap(shared, 1)]).toEqual([['PX'], ['PFX']]);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    expect([pagemap(anon, 1), pagemap(anon, 1, child)]).toEqual([['P'], ['P']]);
    store(child, anon, 9);
    expectSync(mmput(child));
    expect(pagemap(anon, 1)).toEqual(['PX']);
  });

  test('guards are shown', () => {
    const addr = mapAnon(bench.mm, 1);
    clearSoftDirty();
    advise(addr, 1, MADV_GUARD_INSTALL);
    expect(pagemap(addr, 1)).toEqual(['WG']);
  });

  test('under a PMD leaf each page has its own frame', () => {
    bench = makeBench(4 * HPAGE_PMD_NR);
    const { mm } = bench;
    mapAnon(mm, HPAGE_PMD_NR, RW, MAP_PRIVATE, 2 ** 40);
    advise(2 ** 40, HPAGE_PMD_NR, MADV_HUGEPAGE);
    store(mm, 2 ** 40, 1);
    const entries = new Uint32Array(2 * HPAGE_PMD_NR);
    expectSync(readPagemap(mm, 2 ** 40, entries));
    expect(entries[2 * 511]! - entries[0]!).toBe(511);
    expect((entries[2 * 511 + 1]! & PM_MMAP_EXCLUSIVE) !== 0).toBe(true);
    const huge = smaps()[0]!;
    expect([huge.anonHugePages, huge.rss, huge.privateDirty]).toEqual([
      PMD_SIZE,
      PMD_SIZE,
      PMD_SIZE,
    ]);
  });
});

describe('smaps', () => {
  test('pages on the device count like RAM [F108] [F9]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 4);
    const names = ['rss', 'pss', 'anonymous', 'privateDirty', 'sharedDirty'] as const;
    expect(pages(...names)).toEqual([4, 4, 4, 4, 0]);
    expect(expectSync(bench.device.migrateIn(mm, addr, 2))).toBe(2);
    expect(pages(...names)).toEqual([4, 4, 4, 4, 0]);
    expect([mm.anonRss, bench.device.used]).toEqual([4, 2]);
  });

  test('pages that a child shares are shared, on the device as in RAM [F108]', () => {
    const { mm } = bench;
    mapOnDevice(bench, 1);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    expect(pages('rss', 'pss', 'privateDirty', 'sharedDirty')).toEqual([1, 0.5, 0, 1]);
    expectSync(mmput(child));
    expect(pages('rss', 'pss', 'privateDirty', 'sharedDirty')).toEqual([1, 1, 1, 0]);
  });

  test('a page under migration is resident and private', () => {
    const addr = mapFilled(bench.mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    expect(pages('rss', 'pss', 'privateDirty')).toEqual([1, 1, 1]);
    migration.finalize();
  });

  test('the zero page and holes are not resident; freed pages are lazily so', () => {
    const { mm } = bench;
    const addr = mapAnon(mm, 3);
    load(mm, addr);
    store(mm, addr + PAGE_SIZE, 1);
    expect(pages('rss', 'referenced', 'lazyFree')).toEqual([1, 1, 0]);
    advise(addr, 3, MADV_FREE);
    expect(pages('rss', 'referenced', 'privateClean', 'lazyFree')).toEqual([1, 0, 1, 1]);
  });

  test('swapped pages are counted apart', () => {
    const { mm, sys } = bench;
    expect(swapon(sys, 8)).toBe(0);
    const addr = mapFilled(mm, 3);
    advise(addr, 2, MADV_PAGEOUT);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_SWAP);
    expect(pages('rss', 'swap')).toEqual([1, 2]);
    expect(mincore(addr, 3)).toEqual([0, 0, 1]);
    advise(addr, 1, MADV_FREE);
    expect(pages('swap')).toEqual([1]);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([0, 2]);
  });

  test('there is a section for each mapping', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 3);
    expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE));
    expect(smaps().map(({ start, end }) => [start - addr, end - addr])).toEqual([
      [0, PAGE_SIZE],
      [2 * PAGE_SIZE, 3 * PAGE_SIZE],
    ]);
  });
});

describe('mincore', () => {
  test('pages in RAM, on the device and on the way are resident, holes are not [F108]', () => {
    const { mm, device } = bench;
    const addr = mapAnon(mm, 4);
    for (const page of [0, 1, 2]) store(mm, addr + page * PAGE_SIZE, page);
    expect(expectSync(device.migrateIn(mm, addr))).toBe(1);
    const migration = new Migration(bench, addr + PAGE_SIZE, 1).setup();
    expect(mincore(addr, 4)).toEqual([1, 1, 1, 0]);
    migration.finalize();
    expect([device.faults, mm.anonRss]).toEqual([0, 3]);
  });

  test('of shared memory, what the object has is resident, mapped here or not', () => {
    const { mm } = bench;
    const addr = mapShared(mm, 2);
    store(mm, addr, 1);
    expectSync(doMadvise(mm, addr, PAGE_SIZE, 4));
    expect([pteAt(mm, addr), ...mincore(addr, 2)]).toEqual([0, 1, 0]);
  });

  test.each([
    ['an address off the page', 2 ** 30 + 1, PAGE_SIZE, errno.EINVAL],
    ['NaN', Number.NaN, PAGE_SIZE, errno.EINVAL],
    ['a negative length', 2 ** 30, -1, errno.EINVAL],
    ['nothing mapped', 2 ** 30, PAGE_SIZE, errno.ENOMEM],
    ['a range out of user space', TASK_SIZE - PAGE_SIZE, 2 * PAGE_SIZE, errno.ENOMEM],
    ['no length', 2 ** 30, 0, 0],
  ])('%s', (_name, addr, length, expected) => {
    expect(expectSync(doMincore(bench.mm, addr, length, new Uint8Array(4)))).toBe(expected);
  });
});
