/* mremap: arguments, growing, shrinking, moving entries of every kind (hmm-semantics 15). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import {
  MAP_PRIVATE,
  PROT_READ,
  VM_DONTEXPAND,
  VM_READ,
  VM_SHARED,
  VM_UFFD_FLAGS,
  VM_WRITE,
} from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { MMU_NOTIFY_UNMAP } from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  doMremap,
} from '../../../src/mm/mremap.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  leafKind,
  mkLeaf,
} from '../../../src/mm/swapops.ts';
import { FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { MAX_MAP_COUNT, linkVma, makeVma } from '../../../src/mm/vma.ts';
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
  vmaShape,
  watch,
} from './fixture.ts';
import { MISSING, UffdRig, WP, settle } from './uffd-rig.ts';
import { userfaultfdRelease } from '../../../src/mm/userfaultfd-register.ts';
import { checkAtRest, forgePte, makeBench, mapFilled, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';

const RW_FLAGS = VM_READ | VM_WRITE;
const MOVE_TO = MREMAP_MAYMOVE | MREMAP_FIXED;
/** Where nothing is mapped. */
const ELSEWHERE = 2 ** 40;

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

/** mremap with lengths in pages. */
function remap(addr: number, from: number, to: number, flags: number, target = 0): number {
  const { mm } = bench;
  return expectSync(doMremap(mm, addr, from * PAGE_SIZE, to * PAGE_SIZE, flags, target));
}

function mapAt(pages: number, addr: number): number {
  return mapAnon(bench.mm, pages, RW, MAP_PRIVATE, addr);
}

function unmap(addr: number, pages: number): void {
  expect(expectSync(doMunmap(bench.mm, addr, pages * PAGE_SIZE))).toBe(0);
}

/** The VMAs with their flags, relative to an address. */
function shape(base: number): number[][] {
  return vmaShape(bench.mm, base);
}

describe('arguments of mremap', () => {
  const at = 2 ** 30;
  const P = PAGE_SIZE;
  test.each([
    ['an address off the page', at + 1, P, P, 0, 0, errno.EINVAL],
    ['NaN as address', Number.NaN, P, P, 0, 0, errno.EINVAL],
    ['a negative old length', at, -P, P, 0, 0, errno.EINVAL],
    ['an infinite new length', at, P, Number.POSITIVE_INFINITY, 0, 0, errno.EINVAL],
    ['NaN as flags', at, P, P, Number.NaN, 0, errno.EINVAL],
    ['an unknown flag', at, P, P, 8, 0, errno.EINVAL],
    ['no new length', at, P, 0, 0, 0, errno.EINVAL],
    ['a new length above user space', at, P, TASK_SIZE + P, 0, 0, errno.EINVAL],
    ['FIXED without MAYMOVE', at, P, P, MREMAP_FIXED, ELSEWHERE, errno.EINVAL],
    ['DONTUNMAP without MAYMOVE', at, P, P, MREMAP_DONTUNMAP, 0, errno.EINVAL],
    ['DONTUNMAP of another size', at, P, 2 * P, MREMAP_MAYMOVE | 4, 0, errno.EINVAL],
    ['a place off the page', at, P, P, MOVE_TO, ELSEWHERE + 1, errno.EINVAL],
    ['a place that reaches out of user space', at, P, 2 * P, MOVE_TO, TASK_SIZE - P, errno.EINVAL],
    ['a place that overlaps below', at, 2 * P, 2 * P, MOVE_TO, at - P, errno.EINVAL],
    ['a place that overlaps above', at, 2 * P, 2 * P, MOVE_TO, at + P, errno.EINVAL],
    ['nothing mapped there', at, P, P, MREMAP_MAYMOVE, 0, errno.EFAULT],
    ['nothing mapped there, with a place', at, P, P, MOVE_TO, ELSEWHERE, errno.EFAULT],
  ])('%s', (_name, addr, oldLen, newLen, flags, target, expected) => {
    expect(expectSync(doMremap(bench.mm, addr, oldLen, newLen, flags, target))).toBe(expected);
  });

  test('a place next to the old one on either side does not overlap', () => {
    const { mm } = bench;
    const base = mapAt(2, ELSEWHERE);
    store(mm, base, 5);
    expect(remap(base, 2, 2, MOVE_TO, base + 2 * PAGE_SIZE)).toBe(base + 2 * PAGE_SIZE);
    expect(remap(base + 2 * PAGE_SIZE, 2, 2, MOVE_TO, base)).toBe(base);
    expect(load(mm, base)).toBe(5);
  });

  test('lengths are rounded up to whole pages', () => {
    const base = mapAnon(bench.mm, 2);
    const moved = doMremap(bench.mm, base, PAGE_SIZE + 1, 1, 0);
    expect(expectSync(moved)).toBe(base);
    expect(shape(base)).toEqual([[0, 1, RW_FLAGS]]);
  });

  test('a range over the end of its VMA is EFAULT, up to it is fine', () => {
    const base = mapAnon(bench.mm, 2);
    expect(remap(base + PAGE_SIZE, 2, 1, 0)).toBe(errno.EFAULT);
    expect(remap(base + PAGE_SIZE, 1, 1, 0)).toBe(base + PAGE_SIZE);
  });

  test('a VMA that must not expand: growing is EFAULT, DONTUNMAP EINVAL, moving fine', () => {
    const base = mapAnon(bench.mm, 1);
    vmaLookup(bench.mm, base)!.vmFlags |= VM_DONTEXPAND;
    const dontUnmap = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    expect(remap(base, 1, 2, MREMAP_MAYMOVE)).toBe(errno.EFAULT);
    expect(remap(base, 1, 1, dontUnmap)).toBe(errno.EINVAL);
    expect(remap(base, 1, 1, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
  });

  test('below the lowest address is EPERM, and nothing moved', () => {
    const base = mapFilled(bench.mm, 1);
    expect(remap(base, 1, 1, MOVE_TO, 0)).toBe(errno.EPERM);
    expect(load(bench.mm, base)).toBe(1);
  });

  test('too many VMAs is ENOMEM', () => {
    const { mm } = bench;
    const most = MAX_MAP_COUNT - 3;
    for (let i = 0; i < most; i++) {
      const start = 2 ** 30 + i * 2 * PAGE_SIZE;
      linkVma(makeVma(mm, start, start + PAGE_SIZE, RW_FLAGS, start / PAGE_SIZE, null));
    }
    expect(remap(2 ** 30, 1, 1, MOVE_TO, ELSEWHERE)).toBe(errno.ENOMEM);
    expect(remap(2 ** 30, 1, 3, MREMAP_MAYMOVE)).toBe(errno.ENOMEM);
    unmap(2 ** 30 + 2 * PAGE_SIZE, 1);
    unmap(2 ** 30 + 4 * PAGE_SIZE, 1);
    unmap(2 ** 30 + 6 * PAGE_SIZE, 1);
    expect(remap(2 ** 30, 1, 1, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
  });
});

describe('growing and shrinking', () => {
  test('grows in place into free space', () => {
    const { mm } = bench;
    const base = mapAt(2, ELSEWHERE);
    store(mm, base + PAGE_SIZE, 7);
    expect(remap(base, 2, 4, 0)).toBe(base);
    expect(shape(base)).toEqual([[0, 4, RW_FLAGS]]);
    expect([load(mm, base + PAGE_SIZE), load(mm, base + 3 * PAGE_SIZE)]).toEqual([7, 0]);
  });

  test('merges with the neighbour that it grows up to', () => {
    const base = mapAt(1, ELSEWHERE);
    mapAt(1, ELSEWHERE + 2 * PAGE_SIZE);
    expect(remap(base, 1, 2, 0)).toBe(base);
    expect(shape(base)).toEqual([[0, 3, RW_FLAGS]]);
  });

  test('without room it moves if it may, else ENOMEM', () => {
    const { mm } = bench;
    const base = mapAt(1, ELSEWHERE);
    mapAnon(mm, 1, PROT_READ, MAP_PRIVATE, ELSEWHERE + PAGE_SIZE);
    store(mm, base, 3);
    expect(remap(base, 1, 2, 0)).toBe(errno.ENOMEM);
    const moved = remap(base, 1, 2, MREMAP_MAYMOVE);
    expect(moved).toBeGreaterThan(ELSEWHERE + 2 * PAGE_SIZE);
    expect([load(mm, moved), load(mm, moved + PAGE_SIZE)]).toEqual([3, 0]);
    expect(loadOutcome(mm, base)).toBe(FAULT_SIGSEGV);
  });

  test('the middle of a VMA can only grow elsewhere', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 3);
    expect(remap(base + PAGE_SIZE, 1, 2, 0)).toBe(errno.ENOMEM);
    const moved = remap(base + PAGE_SIZE, 1, 2, MREMAP_MAYMOVE);
    expect([load(mm, base), load(mm, moved), load(mm, base + 2 * PAGE_SIZE)]).toEqual([1, 2, 3]);
    expect(loadOutcome(mm, base + PAGE_SIZE)).toBe(FAULT_SIGSEGV);
  });

  test('shrinking frees the pages behind, also those on the device [F103]', () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 3);
    expect(remap(base, 3, 1, 0)).toBe(base);
    expect(shape(base)).toEqual([[0, 1, RW_FLAGS]]);
    expect([device.used, device.faults, mm.anonRss]).toEqual([1, 0, 1]);
  });

  test('moving may shrink or grow, too', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 3);
    expect(remap(base, 3, 2, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect(mm.anonRss).toBe(2);
    const there = 2 * ELSEWHERE;
    expect(remap(ELSEWHERE, 2, 5, MOVE_TO, there)).toBe(there);
    expect(shape(there)).toEqual([[0, 5, RW_FLAGS]]);
    expect([load(mm, there), load(mm, there + PAGE_SIZE)]).toEqual([1, 2]);
  });
});

describe('moving', () => {
  test('device pages stay on the device, entries are the same but for soft-dirty [F106]', () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 3);
    const before = [0, 1, 2].map((i) => pteAt(mm, base + i * PAGE_SIZE));
    expect(remap(base, 3, 3, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    const after = [0, 1, 2].map((i) => pteAt(mm, ELSEWHERE + i * PAGE_SIZE));
    expect(after).toEqual(before.map((pte) => (pte | PTE_SOFT_DIRTY) >>> 0));
    expect([device.used, device.faults, mm.anonRss]).toEqual([3, 0, 3]);
    expect(loadOutcome(mm, base)).toBe(FAULT_SIGSEGV);
    checkAtRest(bench);
    for (let i = 0; i < 3; i++) expect(load(mm, ELSEWHERE + i * PAGE_SIZE)).toBe(i + 1);
    expect([device.used, device.faults]).toEqual([0, 3]);
  });

  test('present entries get soft-dirty too, holes stay holes [F8]', () => {
    const { mm, sys } = bench;
    const base = mapAnon(mm, 3);
    store(mm, base, 1);
    load(mm, base + 2 * PAGE_SIZE);
    sys.pageTables.words[sys.pageTables.pteOffset(mm.pgd, base)]! &= ~PTE_SOFT_DIRTY;
    expect(remap(base, 3, 3, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect(pteAt(mm, ELSEWHERE) & (PTE_SOFT_DIRTY | PTE_DIRTY)).toBe(PTE_SOFT_DIRTY | PTE_DIRTY);
    expect(pteAt(mm, ELSEWHERE + PAGE_SIZE)).toBe(0);
    expect(pteAt(mm, ELSEWHERE + 2 * PAGE_SIZE) & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
  });

  test.each([
    ['swap', LEAF_SWAP],
    ['device-exclusive', LEAF_DEVICE_EXCLUSIVE],
  ])('entries of kind %s move as they are', (_name, kind) => {
    const { mm } = bench;
    const base = mapAnon(mm, 1);
    const entry = mkLeaf(kind, 0, PTE_UFFD_WP);
    forgePte(mm, base, entry);
    expect(remap(base, 1, 1, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect([pteAt(mm, base), pteAt(mm, ELSEWHERE)]).toEqual([0, entry | PTE_SOFT_DIRTY]);
    forgePte(mm, ELSEWHERE, 0);
  });

  test('one UNMAP event over the old range, before; one flush a page table [F92] [F10]', () => {
    const { mm } = bench;
    const pages = 4;
    const base = mapAt(pages, ELSEWHERE + PMD_SIZE - 2 * PAGE_SIZE);
    for (let i = 0; i < pages; i++) store(mm, base + i * PAGE_SIZE, i);
    const seen = watch(mm, base);
    const [flushes, flushed] = [mm.tlbFlushes, mm.tlbFlushedPages];
    const first = pteAt(mm, base);
    expect(remap(base, pages, pages, MOVE_TO, 2 * ELSEWHERE)).toBe(2 * ELSEWHERE);
    const whole = { event: MMU_NOTIFY_UNMAP, from: 0, pages };
    // The second one is of the unmapping of the old range, which is empty by then.
    expect(seen).toEqual([
      { ...whole, pteBefore: first },
      { ...whole, pteBefore: 0 },
    ]);
    expect([mm.tlbFlushes - flushes, mm.tlbFlushedPages - flushed]).toEqual([2, pages]);
  });

  test('nothing present is moved without a flush [F10]', () => {
    const { mm } = bench;
    const base = mapOnDevice(bench, 2);
    const flushes = mm.tlbFlushes;
    remap(base, 2, 2, MOVE_TO, ELSEWHERE);
    expect(mm.tlbFlushes).toBe(flushes);
  });

  test('the place that FIXED names is cleared first', () => {
    const { mm, device } = bench;
    const victim = mapOnDevice(bench, 2);
    const base = mapFilled(mm, 1);
    expect(remap(base, 1, 1, MOVE_TO, victim + PAGE_SIZE)).toBe(victim + PAGE_SIZE);
    expect([device.used, load(mm, victim + PAGE_SIZE)]).toEqual([1, 1]);
  });

  test('a piece that moves out and back makes one VMA again', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 4);
    expect(remap(base + PAGE_SIZE, 2, 2, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect(shape(base)).toHaveLength(3);
    expect(remap(ELSEWHERE, 2, 2, MOVE_TO, base + PAGE_SIZE)).toBe(base + PAGE_SIZE);
    expect(shape(base)).toEqual([[0, 4, RW_FLAGS]]);
    for (let i = 0; i < 4; i++) expect(load(mm, base + i * PAGE_SIZE)).toBe(i + 1);
  });

  test('memory that was never touched merges where it comes to lie', () => {
    const base = mapAt(2, ELSEWHERE);
    const other = mapAt(2, 2 * ELSEWHERE);
    expect(remap(other, 2, 2, MOVE_TO, base + 2 * PAGE_SIZE)).toBe(base + 2 * PAGE_SIZE);
    expect(shape(base)).toEqual([[0, 4, RW_FLAGS]]);
  });

  test('several VMAs move together and keep their distances', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 6);
    unmap(base + 2 * PAGE_SIZE, 1);
    expectSync(doMprotect(mm, base + 3 * PAGE_SIZE, PAGE_SIZE, PROT_READ));
    expect(remap(base + PAGE_SIZE, 4, 4, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect(shape(ELSEWHERE).slice(0, 3)).toEqual([
      [0, 1, RW_FLAGS],
      [2, 1, VM_READ],
      [3, 1, RW_FLAGS],
    ]);
    const there = [0, 2, 3].map((i) => load(mm, ELSEWHERE + i * PAGE_SIZE));
    expect([...there, load(mm, base), load(mm, base + 5 * PAGE_SIZE)]).toEqual([2, 4, 5, 1, 6]);
    expect(loadOutcome(mm, base + 3 * PAGE_SIZE)).toBe(FAULT_SIGSEGV);
  });

  test('a gap at the start, or another size, makes several VMAs EFAULT', () => {
    const base = mapFilled(bench.mm, 4);
    unmap(base, 1);
    expect(remap(base, 4, 4, MOVE_TO, ELSEWHERE)).toBe(errno.EFAULT);
    unmap(base + 2 * PAGE_SIZE, 1);
    expect(remap(base + PAGE_SIZE, 3, 4, MOVE_TO, ELSEWHERE)).toBe(errno.EFAULT);
  });

  test('without page tables it is ENOMEM and nothing moved; then it works', () => {
    const { mm, sys, device } = bench;
    const base = mapOnDevice(bench, 2);
    const inUse = sys.pageTables.tablesInUse;
    sys.pageTables.failAllocations = 1;
    expect(remap(base, 2, 2, MOVE_TO, ELSEWHERE)).toBe(errno.ENOMEM);
    expect([sys.pageTables.tablesInUse, device.used, mm.vmas.length]).toEqual([inUse, 2, 1]);
    expect(remap(base, 2, 2, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect(load(mm, ELSEWHERE)).toBe(1);
  });

  test('a second table that is missing gives the first one back', () => {
    const { mm, sys } = bench;
    const base = mapAt(2, ELSEWHERE + PMD_SIZE - PAGE_SIZE);
    store(mm, base, 1);
    store(mm, base + PAGE_SIZE, 2);
    const { pageTables } = sys;
    const inUse = pageTables.tablesInUse;
    const hoard: number[] = [];
    // One PTE table, and the two levels above it, are left: one short.
    while (pageTables.capacity - 1 - pageTables.tablesInUse > 3) {
      hoard.push(pageTables.allocTable());
    }
    const target = 2 * ELSEWHERE + PMD_SIZE - PAGE_SIZE;
    expect(remap(base, 2, 2, MOVE_TO, target)).toBe(errno.ENOMEM);
    for (const table of hoard) pageTables.freeTable(table);
    expect(pageTables.tablesInUse).toBe(inUse);
    expect([load(mm, base), load(mm, base + PAGE_SIZE)]).toEqual([1, 2]);
  });
});

describe('DONTUNMAP', () => {
  const flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;

  test('the pages go, the old range reads as zero, nothing comes home [F106]', () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 2);
    const moved = remap(base, 2, 2, flags);
    expect(moved).toBeGreaterThan(0);
    expect([load(mm, base), device.faults, device.used]).toEqual([0, 0, 2]);
    store(mm, base + PAGE_SIZE, 9);
    expect([load(mm, moved), load(mm, moved + PAGE_SIZE)]).toEqual([1, 2]);
    expect(load(mm, base + PAGE_SIZE)).toBe(9);
  });

  test('takes the address as a wish, with FIXED as an order', () => {
    const base = mapFilled(bench.mm, 1);
    expect(remap(base, 1, 1, flags, ELSEWHERE)).toBe(ELSEWHERE);
    const taken = remap(base, 1, 1, flags, ELSEWHERE);
    expect(taken).not.toBe(ELSEWHERE);
    expect(remap(base, 1, 1, flags | MREMAP_FIXED, ELSEWHERE)).toBe(ELSEWHERE);
    expect(load(bench.mm, ELSEWHERE)).toBe(0);
  });

  test('ends although the new place merges with the old one', () => {
    const { mm } = bench;
    const base = mapAnon(mm, 8);
    expect(remap(base, 4, 4, flags | MREMAP_FIXED, base + 4 * PAGE_SIZE)).toBe(
      base + 4 * PAGE_SIZE,
    );
    expect(shape(base)).toEqual([[0, 8, RW_FLAGS]]);
  });

  test('of a part of a VMA leaves the rest alone', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 3);
    const moved = remap(base + PAGE_SIZE, 1, 1, flags);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 0, 3]);
    store(mm, base + PAGE_SIZE, 8);
    expect([load(mm, base + PAGE_SIZE), load(mm, moved)]).toEqual([8, 2]);
  });

  test('a VMA left empty as a whole is off the reverse map', () => {
    const base = mapFilled(bench.mm, 2);
    remap(base, 2, 2, flags);
    expect(vmaLookup(bench.mm, base)!.anonVmaChain).toHaveLength(0);
  });
});

describe('what a userfaultfd monitors', () => {
  test('is ordinary memory at the new place, and still monitored at the old one', async () => {
    const { mm } = bench;
    const base = mapFilled(mm, 2);
    const rig = new UffdRig(mm);
    rig.register(base, 2, MISSING | WP);
    rig.protect(base, 2);
    const flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
    const moved = remap(base, 2, 2, flags);
    expect(pteAt(mm, moved) & PTE_UFFD_WP).toBe(0);
    expect(vmaLookup(mm, moved)!.vmFlags & VM_UFFD_FLAGS).toBe(0);
    store(mm, moved, 9);
    expect(load(mm, moved)).toBe(9);
    const access = rig.load(base);
    await settle();
    expect(access.outcome).toBe(null);
    expectSync(userfaultfdRelease(rig.ctx));
    await access.done;
    expect(load(mm, base)).toBe(0);
  });

  test('a marker of a protected hole stays behind', () => {
    const { mm } = bench;
    const base = mapShared(mm, 1);
    const rig = new UffdRig(mm);
    rig.register(base, 1, WP);
    rig.protect(base, 1);
    expect(leafKind(pteAt(mm, base))).toBe(LEAF_MARKER_UFFD_WP);
    remap(base, 1, 1, MOVE_TO, ELSEWHERE);
    expect(pteAt(mm, ELSEWHERE)).toBe(0);
  });
});

describe('shared memory', () => {
  test('moves with its contents', () => {
    const { mm } = bench;
    const base = mapShared(mm, 2);
    store(mm, base + PAGE_SIZE, 6);
    expect(remap(base, 2, 2, MOVE_TO, ELSEWHERE)).toBe(ELSEWHERE);
    expect([load(mm, ELSEWHERE + PAGE_SIZE), mm.shmemRss]).toEqual([6, 1]);
  });

  test('an old length of 0 maps it a second time; private memory is EINVAL', () => {
    const { mm } = bench;
    const base = mapShared(mm, 2);
    store(mm, base + PAGE_SIZE, 6);
    const second = remap(base + PAGE_SIZE, 0, 1, MREMAP_MAYMOVE);
    store(mm, second, 7);
    expect(load(mm, base + PAGE_SIZE)).toBe(7);
    expect(vmaLookup(mm, second)!.vmFlags & VM_SHARED).toBe(VM_SHARED);
    expect(remap(mapAnon(mm, 1), 0, 1, MREMAP_MAYMOVE)).toBe(errno.EINVAL);
  });
});
