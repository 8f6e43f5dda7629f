/* Guard regions: MADV_GUARD_INSTALL and MADV_GUARD_REMOVE. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import {
  MADV_DONTNEED,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
  MADV_POPULATE_READ,
  doMadvise,
} from '../../../src/mm/madvise.ts';
import { MAP_PRIVATE, VM_IO, VM_MAYBE_GUARD } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, doMremap } from '../../../src/mm/mremap.ts';
import { isGuardMarker } from '../../../src/mm/swapops.ts';
import { FAULT_OK, FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import {
  RW,
  expectSync,
  load,
  loadOutcome,
  mapAnon,
  mapShared,
  pteAt,
  store,
  storeOutcome,
  vmaShape,
} from './fixture.ts';
import { HmmRig, READ } from './hmm-rig.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

function advise(addr: number, pages: number, advice: number): number {
  return expectSync(doMadvise(bench.mm, addr, pages * PAGE_SIZE, advice));
}

/** Four filled pages, the second and third of them guarded. */
function mapGuarded(): number {
  const base = mapFilled(bench.mm, 4);
  expect(advise(base + PAGE_SIZE, 2, MADV_GUARD_INSTALL)).toBe(0);
  return base;
}

function guards(base: number, pages: number): string {
  const marks = Array.from({ length: pages }, (_, i) => pteAt(bench.mm, base + i * PAGE_SIZE));
  return marks.map((pte) => (isGuardMarker(pte) ? 'G' : '-')).join('');
}

describe('a guard region', () => {
  test('is SIGSEGV for loads and stores, and its pages are gone', () => {
    const { mm } = bench;
    const base = mapGuarded();
    expect([loadOutcome(mm, base + PAGE_SIZE), storeOutcome(mm, base + 2 * PAGE_SIZE)]).toEqual([
      FAULT_SIGSEGV,
      FAULT_SIGSEGV,
    ]);
    expect([load(mm, base), load(mm, base + 3 * PAGE_SIZE), mm.anonRss]).toEqual([1, 4, 2]);
    expect(vmaShape(mm, base)).toHaveLength(1);
  });

  test('takes device pages away like others [F104]', () => {
    const { device } = bench;
    const base = mapOnDevice(bench, 2);
    expect(advise(base, 1, MADV_GUARD_INSTALL)).toBe(0);
    expect([device.used, device.faults, loadOutcome(bench.mm, base)]).toEqual([
      1,
      0,
      FAULT_SIGSEGV,
    ]);
  });

  test('is removed without a trace of what was there; nothing else is', () => {
    const { mm } = bench;
    const base = mapGuarded();
    expect(advise(base, 4, MADV_GUARD_REMOVE)).toBe(0);
    expect([0, 1, 2, 3].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 0, 0, 4]);
  });

  test('outlives DONTNEED and mprotect, and is installed twice without harm', () => {
    const { mm } = bench;
    const base = mapGuarded();
    expect(advise(base, 4, MADV_DONTNEED)).toBe(0);
    expectSync(doMprotect(mm, base, 4 * PAGE_SIZE, 1));
    expectSync(doMprotect(mm, base, 4 * PAGE_SIZE, RW));
    expect(advise(base + PAGE_SIZE, 1, MADV_GUARD_INSTALL)).toBe(0);
    expect(guards(base, 4)).toBe('-GG-');
    expect(load(mm, base)).toBe(0);
  });

  test('goes with its mapping', () => {
    const { mm } = bench;
    const base = mapGuarded();
    expectSync(doMunmap(mm, base, 4 * PAGE_SIZE));
    expect(mapAnon(mm, 4)).toBe(base);
    expect(guards(base, 4)).toBe('----');
    expect(loadOutcome(mm, base + PAGE_SIZE)).toBe(FAULT_OK);
  });

  test('moves with mremap', () => {
    const { mm } = bench;
    const base = mapGuarded();
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    const to = 2 ** 40;
    expect(expectSync(doMremap(mm, base, 4 * PAGE_SIZE, 4 * PAGE_SIZE, flags, to))).toBe(to);
    expect(guards(to, 4)).toBe('-GG-');
  });

  test.each([
    ['private memory that was touched', (): number => mapFilled(bench.mm, 2)],
    ['private memory that was not', (): number => mapAnon(bench.mm, 2)],
    ['shared memory', (): number => mapShared(bench.mm, 2)],
  ])('is there in a child: %s', (_name, map) => {
    const base = map();
    expect(advise(base, 1, MADV_GUARD_INSTALL)).toBe(0);
    const child = expectSync(dupMmap(bench.mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    expect(loadOutcome(child, base)).toBe(FAULT_SIGSEGV);
    expect(loadOutcome(child, base + PAGE_SIZE)).toBe(FAULT_OK);
  });

  test('reaches over page tables, made for it', () => {
    const base = mapAnon(bench.mm, 3, RW, MAP_PRIVATE, 2 ** 40 + PMD_SIZE - PAGE_SIZE);
    expect(advise(base, 3, MADV_GUARD_INSTALL)).toBe(0);
    expect(guards(base, 3)).toBe('GGG');
    expect(advise(base + PAGE_SIZE, 2, MADV_GUARD_REMOVE)).toBe(0);
    expect(guards(base, 3)).toBe('G--');
  });

  test('is no hole for a migration, an error for a device fault, EFAULT for POPULATE [F80]', async () => {
    const base = mapGuarded();
    const migration = new Migration(bench, base, 3).run();
    expect(migration.reasons).toEqual(['none', 'not a page', 'not a page']);
    const rig = new HmmRig(bench);
    expect(await rig.look(base + PAGE_SIZE, 1)).toBe('-');
    expect(await rig.look(base + PAGE_SIZE, 1, { defaultFlags: READ })).toBe(String(errno.EFAULT));
    expect(advise(base + PAGE_SIZE, 1, MADV_POPULATE_READ)).toBe(errno.EFAULT);
    store(bench.mm, base, 3);
  });
});

describe('installing', () => {
  test.each([
    ['install', MADV_GUARD_INSTALL],
    ['remove', MADV_GUARD_REMOVE],
  ])('%s in a device mapping is EINVAL', (_name, advice) => {
    const base = mapFilled(bench.mm, 1);
    vmaLookup(bench.mm, base)!.vmFlags |= VM_IO;
    expect(advise(base, 1, advice)).toBe(errno.EINVAL);
    vmaLookup(bench.mm, base)!.vmFlags &= ~VM_IO;
    expect(load(bench.mm, base)).toBe(1);
  });

  test('without page tables is ENOMEM', () => {
    const base = mapAnon(bench.mm, 1);
    bench.sys.pageTables.failAllocations = 1;
    expect(advise(base, 1, MADV_GUARD_INSTALL)).toBe(errno.ENOMEM);
    expect(advise(base, 1, MADV_GUARD_INSTALL)).toBe(0);
  });

  test('does not keep the VMA from merging with its neighbours', () => {
    const { mm } = bench;
    const base = mapGuarded();
    expectSync(doMprotect(mm, base, PAGE_SIZE, 1));
    expectSync(doMprotect(mm, base, PAGE_SIZE, RW));
    expect(vmaShape(mm, base)).toEqual([[0, 4, RW | VM_MAYBE_GUARD]]);
  });
});
