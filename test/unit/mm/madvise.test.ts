/* madvise: arguments, advice on pages, on VMAs, and faulting in (hmm-semantics 15). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DODUMP,
  MADV_DOFORK,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_HUGEPAGE,
  MADV_KEEPONFORK,
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WILLNEED,
  MADV_WIPEONFORK,
  doMadvise,
} from '../../../src/mm/madvise.ts';
import {
  PROT_NONE,
  PROT_READ,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_HUGEPAGE,
  VM_IO,
  VM_NOHUGEPAGE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_READ,
  VM_SEQ_READ,
  VM_WIPEONFORK,
  VM_WRITE,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { PG_ACTIVE, PG_DIRTY, PG_REFERENCED, PG_SWAPBACKED } from '../../../src/mm/page.ts';
import { PTE_DIRTY, PTE_SPECIAL, PTE_WRITE, PTE_YOUNG } from '../../../src/mm/swapops.ts';
import { FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { MAX_MAP_COUNT, linkVma, makeVma } from '../../../src/mm/vma.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import {
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
import { checkAtRest, makeBench, mapFilled, mapOnDevice, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { userfaultfdRelease } from '../../../src/mm/userfaultfd-register.ts';
import { MISSING, UffdRig, settle } from './uffd-rig.ts';
import { makeGate, waits } from './tiny-device.ts';

const RW_FLAGS = VM_READ | VM_WRITE;

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

function advise(addr: number, pages: number, advice: number, mm: MmStruct = bench.mm): number {
  return expectSync(doMadvise(mm, addr, pages * PAGE_SIZE, advice));
}

function fork(): MmStruct {
  const child = expectSync(dupMmap(bench.mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

describe('arguments of madvise', () => {
  const at = 2 ** 30;
  test.each([
    ['unknown advice', at, PAGE_SIZE, 5, errno.EINVAL],
    ['NaN as advice', at, PAGE_SIZE, Number.NaN, errno.EINVAL],
    ['nothing mapped there, to be collapsed', at, PAGE_SIZE, MADV_COLLAPSE, errno.ENOMEM],
    ['an address off the page', at + 1, PAGE_SIZE, MADV_DONTNEED, errno.EINVAL],
    ['NaN as address', Number.NaN, PAGE_SIZE, MADV_DONTNEED, errno.EINVAL],
    ['a negative length', at, -PAGE_SIZE, MADV_DONTNEED, errno.EINVAL],
    ['a range that wraps', at, Number.MAX_SAFE_INTEGER, MADV_DONTNEED, errno.EINVAL],
    ['no length', at, 0, MADV_DONTNEED, 0],
    ['no length, unknown advice', at, 0, 5, errno.EINVAL],
    ['nothing mapped there', at, PAGE_SIZE, MADV_DONTNEED, errno.ENOMEM],
    ['nothing mapped there, for the VMA', at, PAGE_SIZE, MADV_DONTFORK, errno.ENOMEM],
    ['nothing mapped there, to be faulted in', at, PAGE_SIZE, MADV_POPULATE_READ, errno.ENOMEM],
    ['above user space', TASK_SIZE, PAGE_SIZE, MADV_POPULATE_WRITE, errno.ENOMEM],
  ])('%s', (_name, addr, length, advice, expected) => {
    expect(expectSync(doMadvise(bench.mm, addr, length, advice))).toBe(expected);
  });

  test('gaps are ENOMEM after the rest has got the advice', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 4);
    expectSync(doMunmap(mm, base + PAGE_SIZE, PAGE_SIZE));
    expect(advise(base, 4, MADV_DONTNEED)).toBe(errno.ENOMEM);
    expect([0, 2, 3].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([0, 0, 0]);
    expect(advise(base - PAGE_SIZE, 2, MADV_DONTFORK)).toBe(errno.ENOMEM);
    expect(vmaShape(mm, base)[0]).toEqual([0, 1, RW_FLAGS | VM_DONTCOPY]);
    expect(advise(base + 3 * PAGE_SIZE, 2, MADV_DONTNEED)).toBe(errno.ENOMEM);
  });

  test('a length is rounded up to whole pages', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 3);
    expect(expectSync(doMadvise(mm, base, PAGE_SIZE + 1, MADV_DONTNEED))).toBe(0);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([0, 0, 3]);
  });
});

describe('DONTNEED', () => {
  test.each([
    ['DONTNEED', MADV_DONTNEED],
    ['DONTNEED_LOCKED', MADV_DONTNEED_LOCKED],
  ])('%s frees device pages at once; nothing comes home [F104]', (_name, advice) => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 3);
    const seen = watch(mm, base);
    expect(advise(base + PAGE_SIZE, 2, advice)).toBe(0);
    expect(seen.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 1, 2],
    ]);
    expect([device.used, device.faults, mm.anonRss]).toEqual([1, 0, 1]);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 0, 0]);
  });

  test('of shared memory only unmaps it', () => {
    const { mm } = bench;
    const base = mapShared(mm, 1);
    store(mm, base, 5);
    expect(advise(base, 1, MADV_DONTNEED)).toBe(0);
    expect([pteAt(mm, base), load(mm, base)]).toEqual([0, 5]);
  });

  test('needs the mmap lock for read only: a reader does not hold it up', () => {
    const { mm } = bench;
    const base = mapFilled(mm, 1);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    expect(advise(base, 1, MADV_DONTNEED)).toBe(0);
    expect(waits(doMadvise(mm, base, PAGE_SIZE, MADV_DONTFORK))).toBe(true);
    mm.mmapLock.readUnlock();
  });

  test.each([
    ['DONTNEED', MADV_DONTNEED],
    ['FREE', MADV_FREE],
    ['COLD', MADV_COLD],
    ['PAGEOUT', MADV_PAGEOUT],
  ])('%s of memory without pages is EINVAL', (_name, advice) => {
    const base = mapFilled(bench.mm, 1);
    const vma = vmaLookup(bench.mm, base)!;
    vma.vmFlags |= VM_PFNMAP;
    expect(advise(base, 1, advice)).toBe(errno.EINVAL);
    vma.vmFlags &= ~VM_PFNMAP;
    expect(advise(base, 1, advice)).toBe(0);
  });
});

describe('FREE', () => {
  test('ignores device pages [F104]', () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 2);
    const before = [pteAt(mm, base), pteAt(mm, base + PAGE_SIZE)];
    expect(advise(base, 2, MADV_FREE)).toBe(0);
    expect([pteAt(mm, base), pteAt(mm, base + PAGE_SIZE)]).toEqual(before);
    expect([device.used, load(mm, base), load(mm, base + PAGE_SIZE)]).toEqual([2, 1, 2]);
  });

  test('makes RAM pages clean and old, and keeps them', () => {
    const { mm, sys } = bench;
    const base = mapFilled(mm, 2);
    const pfn = pfnAt(mm, base);
    const lazy = PG_DIRTY | PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED;
    sys.mem.setFlag(pfn, lazy);
    const seen = watch(mm, base);
    const flushes = mm.tlbFlushes;
    expect(advise(base, 1, MADV_FREE)).toBe(0);
    expect(seen.map(({ event, pages }) => [event, pages])).toEqual([[MMU_NOTIFY_CLEAR, 1]]);
    expect(mm.tlbFlushes).toBe(flushes + 1);
    expect(pteAt(mm, base) & (PTE_DIRTY | PTE_YOUNG | PTE_WRITE)).toBe(PTE_WRITE);
    expect(sys.mem.testFlag(pfn, lazy)).toBe(false);
    expect(pteAt(mm, base + PAGE_SIZE) & PTE_DIRTY).toBe(PTE_DIRTY);
    expect([load(mm, base), load(mm, base + PAGE_SIZE)]).toEqual([1, 2]);
    store(mm, base, 7);
    expect(pteAt(mm, base) & PTE_DIRTY).toBe(PTE_DIRTY);
  });

  test('leaves pages alone that fork shares, and the zero page', () => {
    const { mm, sys } = bench;
    const base = mapFilled(mm, 1);
    const zero = mapAnon(mm, 1);
    load(mm, zero);
    const child = fork();
    const before = [pteAt(mm, base), pteAt(mm, zero)];
    expect([advise(base, 1, MADV_FREE), advise(zero, 1, MADV_FREE)]).toEqual([0, 0]);
    expect([pteAt(mm, base), pteAt(mm, zero)]).toEqual(before);
    expect(sys.mem.testFlag(pfnAt(mm, base), PG_SWAPBACKED)).toBe(true);
    expectSync(mmput(child));
  });

  test('is for private memory only', () => {
    expect(advise(mapShared(bench.mm, 1), 1, MADV_FREE)).toBe(errno.EINVAL);
  });
});

describe('COLD and PAGEOUT', () => {
  test('COLD makes RAM pages old, but not clean; device pages are skipped [F104]', () => {
    const { mm, device } = bench;
    const base = mapFilled(mm, 1);
    const away = mapOnDevice(bench, 1);
    const awayBefore = pteAt(mm, away);
    bench.sys.mem.setFlag(pfnAt(mm, base), PG_ACTIVE);
    expect([advise(base, 1, MADV_COLD), advise(away, 1, MADV_COLD)]).toEqual([0, 0]);
    expect(pteAt(mm, base) & (PTE_YOUNG | PTE_DIRTY)).toBe(PTE_DIRTY);
    expect(bench.sys.mem.testFlag(pfnAt(mm, base), PG_ACTIVE)).toBe(false);
    expect([pteAt(mm, away), device.used]).toEqual([awayBefore, 1]);
  });

  test.each([
    ['PAGEOUT without swap', MADV_PAGEOUT],
    ['WILLNEED', MADV_WILLNEED],
  ])('%s changes nothing', (_name, advice) => {
    const { mm, device } = bench;
    const base = mapFilled(mm, 1);
    const away = mapOnDevice(bench, 1);
    const before = [pteAt(mm, base), pteAt(mm, away)];
    expect([advise(base, 1, advice), advise(away, 1, advice)]).toEqual([0, 0]);
    expect([pteAt(mm, base), pteAt(mm, away), device.faults]).toEqual([...before, 0]);
  });
});

describe('advice about VMAs', () => {
  test.each([
    ['DONTFORK', MADV_DONTFORK, VM_DONTCOPY, MADV_DOFORK],
    ['WIPEONFORK', MADV_WIPEONFORK, VM_WIPEONFORK, MADV_KEEPONFORK],
    ['DONTDUMP', MADV_DONTDUMP, VM_DONTDUMP, MADV_DODUMP],
    ['RANDOM', MADV_RANDOM, VM_RAND_READ, MADV_NORMAL],
    ['SEQUENTIAL', MADV_SEQUENTIAL, VM_SEQ_READ, MADV_NORMAL],
  ])('%s cuts the VMA, its opposite joins it again', (_name, advice, flag, opposite) => {
    const { mm } = bench;
    const base = mapFilled(mm, 4);
    expect(advise(base + PAGE_SIZE, 2, advice)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([
      [0, 1, RW_FLAGS],
      [1, 2, RW_FLAGS | flag],
      [3, 1, RW_FLAGS],
    ]);
    checkAtRest(bench);
    expect(advise(base, 4, opposite)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([[0, 4, RW_FLAGS]]);
    expect([0, 1, 2, 3].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 2, 3, 4]);
  });

  test('HUGEPAGE and NOHUGEPAGE exclude each other', () => {
    const { mm } = bench;
    const base = mapAnon(mm, 2);
    expect(advise(base, 2, MADV_HUGEPAGE)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([[0, 2, RW_FLAGS | VM_HUGEPAGE]]);
    expect(advise(base, 1, MADV_NOHUGEPAGE)).toBe(0);
    expect(vmaShape(mm, base)).toEqual([
      [0, 1, RW_FLAGS | VM_NOHUGEPAGE],
      [1, 1, RW_FLAGS | VM_HUGEPAGE],
    ]);
  });

  test.each([
    ['DOFORK', MADV_DOFORK],
    ['DODUMP', MADV_DODUMP],
  ])('%s is refused for device mappings', (_name, advice) => {
    const base = mapAnon(bench.mm, 1);
    for (const flag of [VM_IO, VM_DONTEXPAND]) {
      vmaLookup(bench.mm, base)!.vmFlags |= flag;
      expect(advise(base, 1, advice)).toBe(errno.EINVAL);
      vmaLookup(bench.mm, base)!.vmFlags &= ~flag;
    }
    expect(advise(base, 1, advice)).toBe(0);
  });

  test('too many VMAs is EAGAIN', () => {
    const { mm } = bench;
    for (let i = 0; i < MAX_MAP_COUNT; i++) {
      const start = 2 ** 30 + i * 3 * PAGE_SIZE;
      linkVma(makeVma(mm, start, start + 2 * PAGE_SIZE, RW_FLAGS, start / PAGE_SIZE, null));
    }
    expect(advise(2 ** 30, 1, MADV_DONTFORK)).toBe(errno.EAGAIN);
    expect(advise(2 ** 30, 2, MADV_DONTFORK)).toBe(0);
  });
});

describe('advice about fork', () => {
  test('DONTFORK: the child has nothing there, and device pages stay exclusive [F101]', () => {
    const { mm } = bench;
    const base = mapOnDevice(bench, 3);
    const before = pteAt(mm, base + PAGE_SIZE);
    advise(base + PAGE_SIZE, 1, MADV_DONTFORK);
    const child = fork();
    expect(loadOutcome(child, base + PAGE_SIZE)).toBe(FAULT_SIGSEGV);
    expect(pteAt(mm, base + PAGE_SIZE)).toBe(before);
    expect([load(child, base), load(child, base + 2 * PAGE_SIZE)]).toEqual([1, 3]);
  });

  test('WIPEONFORK: the child finds zeroes, and has pages of its own [F101]', () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 1);
    const before = pteAt(mm, base);
    advise(base, 1, MADV_WIPEONFORK);
    const child = fork();
    expect([load(child, base), pteAt(mm, base), device.faults]).toEqual([0, before, 0]);
    store(child, base, 9);
    expect([load(mm, base), load(child, base)]).toEqual([1, 9]);
  });

  test('WIPEONFORK is for private anonymous memory', () => {
    expect(advise(mapShared(bench.mm, 1), 1, MADV_WIPEONFORK)).toBe(errno.EINVAL);
  });
});

describe('POPULATE', () => {
  test('READ maps the zero page, WRITE pages of their own', () => {
    const { mm } = bench;
    const base = mapAnon(mm, 4);
    expect(advise(base, 2, MADV_POPULATE_READ)).toBe(0);
    expect(advise(base + 2 * PAGE_SIZE, 2, MADV_POPULATE_WRITE)).toBe(0);
    expect(pteAt(mm, base + PAGE_SIZE) & (PTE_SPECIAL | PTE_WRITE)).toBe(PTE_SPECIAL);
    expect(pteAt(mm, base + 3 * PAGE_SIZE) & (PTE_SPECIAL | PTE_WRITE)).toBe(PTE_WRITE);
    expect(mm.anonRss).toBe(2);
  });

  test('brings device pages home, also after a wait [F68]', async () => {
    const { mm, device } = bench;
    const base = mapOnDevice(bench, 3);
    const { gate, open } = makeGate();
    device.gate = gate;
    const populating = doMadvise(mm, base, 3 * PAGE_SIZE, MADV_POPULATE_READ);
    expect(waits(populating)).toBe(true);
    open();
    expect(await populating).toBe(0);
    device.gate = null;
    expect([device.used, device.faults]).toEqual([0, 3]);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 2, 3]);
  });

  test('waits for a userfaultfd, without the mmap lock', async () => {
    const { mm } = bench;
    const base = mapAnon(mm, 2);
    const rig = new UffdRig(mm);
    rig.register(base, 2, MISSING);
    const populating = doMadvise(mm, base, 2 * PAGE_SIZE, MADV_POPULATE_WRITE);
    await settle();
    expect(mm.mmapLock.isLocked).toBe(false);
    await rig.copy(base, 5);
    await settle();
    await rig.copy(base + PAGE_SIZE, 6);
    expect(await populating).toBe(0);
    expect([load(mm, base), load(mm, base + PAGE_SIZE), mm.mmapLock.isLocked]).toEqual([
      5,
      6,
      false,
    ]);
    expectSync(userfaultfdRelease(rig.ctx));
  });

  test.each([
    ['reading what may not be read', PROT_NONE, MADV_POPULATE_READ],
    ['writing what may not be written', PROT_READ, MADV_POPULATE_WRITE],
  ])('%s is EINVAL', (_name, prot, advice) => {
    const base = mapAnon(bench.mm, 1, prot);
    expect(advise(base, 1, advice)).toBe(errno.EINVAL);
  });

  test('a device page that is lost is EFAULT, no memory ENOMEM; what came before stays', () => {
    const { mm, device, sys } = bench;
    const base = mapOnDevice(bench, 1);
    device.broken = 2;
    expect(advise(base, 1, MADV_POPULATE_READ)).toBe(errno.EFAULT);
    device.broken = null;
    const wide = mapAnon(mm, sys.ramPages);
    expect(advise(wide, sys.ramPages, MADV_POPULATE_WRITE)).toBe(errno.ENOMEM);
    expect(pteAt(mm, wide) & PTE_WRITE).toBe(PTE_WRITE);
    expectSync(doMunmap(mm, wide, sys.ramPages * PAGE_SIZE));
  });
});
