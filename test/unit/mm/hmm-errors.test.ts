/* hmm_range_fault: errors (hmm-semantics 11.2). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import { HMM_PFN_DMA_MAPPED, hmmRangeFault } from '../../../src/mm/hmm.ts';
import { VM_FAULT_HWPOISON, VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../../../src/mm/memory.ts';
import {
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  VM_IO,
  VM_PFNMAP,
} from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import { mmuIntervalReadBegin, newMmuIntervalNotifier } from '../../../src/mm/mmu-notifier.ts';
import { shmemCreate, shmemPut } from '../../../src/mm/shmem.ts';
import {
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MIGRATION_READ,
  PTE_SPECIAL,
  mkLeaf,
  mkPte,
} from '../../../src/mm/swapops.ts';
import { swapon } from '../../../src/mm/swapfile.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { reclaimPage } from '../../../src/mm/vmscan.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { RW, expectSync, load, mapAnon, pteAt } from './fixture.ts';
import {
  Migration,
  checkAtRest,
  forgePte,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { HmmRig, READ, WRITE, word, words } from './hmm-rig.ts';

let bench: Bench;
let rig: HmmRig;

beforeEach(() => {
  bench = makeBench();
  rig = new HmmRig(bench);
});

afterEach(() => checkAtRest(bench));

describe('errors [F70]', () => {
  /** The status of a request, and how the entries look: outputs in words, inputs as "?". */
  async function failing(addr: number, pages: number, flags: number): Promise<[number, string]> {
    const input = HMM_PFN_DMA_MAPPED | 5;
    const pfns = Array<number>(pages).fill(input);
    const range = rig.range(addr, pages, { pfns, defaultFlags: flags });
    const status = await rig.run(range);
    const entries = Array.from(range.hmmPfns, (entry, i) => {
      if (entry === input) return '?';
      const bare = (entry & ~HMM_PFN_DMA_MAPPED) >>> 0;
      return word(bare, bench.mm, addr + i * PAGE_SIZE);
    });
    return [status, entries.join('')];
  }

  test('EFAULT: no VMA in part of the range; what lies before is output', async () => {
    const addr = mapFilled(bench.mm, 3);
    expectSync(doMunmap(bench.mm, addr + PAGE_SIZE, PAGE_SIZE));
    expect(await failing(addr, 3, READ)).toEqual([errno.EFAULT, 'W??']);
  });

  test.each([
    ['none', PROT_NONE],
    ['write only', PROT_WRITE],
  ])('EFAULT: a VMA that can not be read: %s', async (_what, prot) => {
    const addr = mapFilled(bench.mm, 3);
    rig.protect(addr + PAGE_SIZE, 1, prot);
    expect(await failing(addr, 3, READ)).toEqual([errno.EFAULT, 'W??']);
  });

  test.each([
    ['VM_IO', VM_IO],
    ['VM_PFNMAP', VM_PFNMAP],
  ])('EFAULT: a VMA with %s', async (_what, flag) => {
    const addr = mapFilled(bench.mm, 1);
    const vma = vmaLookup(bench.mm, addr)!;
    vma.vmFlags |= flag;
    expect(await failing(addr, 1, READ)).toEqual([errno.EFAULT, '?']);
    vma.vmFlags &= ~flag;
  });

  test('EPERM: write to a read-only VMA, for a page, a hole, the zero page [F72]', async () => {
    const addr = mapFilled(bench.mm, 2);
    rig.protect(addr + PAGE_SIZE, 1, PROT_READ);
    expect(await failing(addr, 2, WRITE)).toEqual([errno.EPERM, 'W?']);
    const hole = mapAnon(bench.mm, 1, PROT_READ);
    expect(await failing(hole, 1, WRITE)).toEqual([errno.EPERM, '?']);
    load(bench.mm, hole);
    expect(await failing(hole, 1, WRITE)).toEqual([errno.EPERM, '?']);
    expect(rig.faults()).toBe(0);
  });

  test('EPERM comes before EFAULT of what lies behind', async () => {
    const addr = mapFilled(bench.mm, 2);
    rig.protect(addr, 1, PROT_READ);
    expectSync(doMunmap(bench.mm, addr + PAGE_SIZE, PAGE_SIZE));
    expect(await failing(addr, 2, WRITE)).toEqual([errno.EPERM, '??']);
    expect(await failing(addr, 2, READ)).toEqual([errno.EFAULT, 'R?']);
  });

  test('EFAULT: a special page', async () => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkPte(9, PTE_SPECIAL));
    expect(await failing(addr, 1, READ)).toEqual([errno.EFAULT, '?']);
    forgePte(bench.mm, addr, 0);
  });

  test.each([
    ['hwpoison', LEAF_HWPOISON],
    ['poison marker', LEAF_MARKER_POISON],
    ['guard marker', LEAF_MARKER_GUARD],
  ])('EFAULT: a %s entry, without a fault', async (_what, kind) => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkLeaf(kind, 9, 0));
    expect(await failing(addr, 1, READ)).toEqual([errno.EFAULT, '?']);
    expect(rig.faults()).toBe(0);
    forgePte(bench.mm, addr, 0);
  });

  test('ENOMEM: a swap entry without memory for its page; the next time it is had', async () => {
    expect(swapon(bench.sys, 4)).toBe(0);
    const addr = mapFilled(bench.mm, 1);
    expect(reclaimPage(bench.sys, pfnAt(bench.mm, addr))).toBe(true);
    bench.sys.pageAllocator.failAt = 1;
    expect(await failing(addr, 1, READ)).toEqual([errno.ENOMEM, '?']);
    expect(await failing(addr, 1, READ)).toEqual([0, 'W']);
    expect(rig.faults()).toBe(2);
  });

  test('EFAULT: a fault that ends in SIGBUS, beyond the end of an object', async () => {
    const inode = shmemCreate(bench.sys, PAGE_SIZE);
    if (typeof inode === 'number') throw new Error('shmemCreate');
    const request = { length: 2 * PAGE_SIZE, prot: RW, flags: MAP_PRIVATE, inode };
    const addr = expectSync(doMmap(bench.mm, request));
    shmemPut(inode);
    expect(await failing(addr, 2, READ)).toEqual([errno.EFAULT, '??']);
    expect(await failing(addr, 1, READ)).toEqual([0, 'R']);
  });

  test.each([
    ['SIGBUS', VM_FAULT_SIGBUS, errno.EFAULT],
    ['HWPOISON', VM_FAULT_HWPOISON, errno.EFAULT],
    ['out of memory', VM_FAULT_OOM, errno.ENOMEM],
  ])('a device page that does not come home: %s', async (_what, outcome, status) => {
    const addr = mapOnDevice(bench, 1);
    bench.device.broken = outcome;
    const range = rig.range(addr, 1, { defaultFlags: READ, owner: {} });
    expect(await rig.run(range)).toBe(status);
    bench.device.broken = null;
  });

  test('ENOMEM: no page for a hole', async () => {
    const addr = mapAnon(bench.mm, 2);
    bench.sys.pageAllocator.failAt = 2;
    expect(await failing(addr, 2, WRITE)).toEqual([errno.ENOMEM, '??']);
  });

  test.each([
    ['empty', 0, 0, 4],
    ['inverted', PAGE_SIZE, 0, 4],
    ['not aligned at its start', 1, PAGE_SIZE, 4],
    ['not aligned at its end', 0, PAGE_SIZE + 1, 4],
    ['longer than the array', 0, 5 * PAGE_SIZE, 4],
  ])('EINVAL: a range that is %s', async (_what, from, to, entries) => {
    const addr = mapFilled(bench.mm, 5);
    const base = rig.range(addr, entries);
    const range = { ...base, start: addr + from, end: addr + to };
    expect(await rig.run(range)).toBe(errno.EINVAL);
    expect(await rig.run({ ...base, start: addr, end: addr + entries * PAGE_SIZE })).toBe(0);
  });

  test('EBUSY: the sequence is out of date, before anything is looked at [F74]', () => {
    const addr = mapFilled(bench.mm, 2);
    const range = rig.range(addr, 1, { pfns: [7], defaultFlags: READ });
    expectSync(doMunmap(bench.mm, addr + PAGE_SIZE, PAGE_SIZE));
    expectSync(bench.mm.mmapLock.readLock());
    expect(expectSync(hmmRangeFault(range))).toBe(errno.EBUSY);
    expect(range.hmmPfns[0]).toBe(7);
    expect(expectSync(hmmRangeFault({ ...range, end: range.start }))).toBe(errno.EBUSY);
    bench.mm.mmapLock.readUnlock();
  });

  test('EBUSY after a fault that changed the range itself; then it is there [F74]', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    expectSync(dupMmap(mm));
    const range = rig.range(addr, 1, { defaultFlags: WRITE });
    expectSync(mm.mmapLock.readLock());
    expect(expectSync(hmmRangeFault(range))).toBe(errno.EBUSY);
    range.notifierSeq = expectSync(mmuIntervalReadBegin(range.notifier));
    expect(expectSync(hmmRangeFault(range))).toBe(0);
    mm.mmapLock.readUnlock();
    expect(words(range)).toBe('W');
  });

  test('I14: a migration entry of a page that is not locked would be waited for, for ever', () => {
    const addr = mapFilled(bench.mm, 1);
    const pte = pteAt(bench.mm, addr);
    forgePte(bench.mm, addr, mkLeaf(LEAF_MIGRATION_READ, pfnAt(bench.mm, addr), 0));
    const range = rig.range(addr, 1, { defaultFlags: READ });
    expectSync(bench.mm.mmapLock.readLock());
    expect(() => hmmRangeFault(range)).toThrow('I14');
    bench.mm.mmapLock.readUnlock();
    forgePte(bench.mm, addr, pte);
  });

  test('EBUSY after a wait in which a page that it had seen was dropped [F74]', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    const range = rig.range(addr, 2, { defaultFlags: READ });
    const migration = new Migration(bench, addr + PAGE_SIZE, 1).setup();
    range.notifierSeq = expectSync(mmuIntervalReadBegin(range.notifier));
    expectSync(mm.mmapLock.readLock());
    const running = hmmRangeFault(range);
    expect(isPending(running)).toBe(true);
    zapPageRange(migration.args.vma, addr, addr + PAGE_SIZE);
    migration.finalize();
    expect(await running).toBe(errno.EBUSY);
    mm.mmapLock.readUnlock();
    expect(await rig.run(range)).toBe(0);
    expect(words(range)).toBe('RW');
  });

  test('I26: the mmap lock must be held; I23: the notifier inserted', () => {
    const addr = mapFilled(bench.mm, 1);
    const range = rig.range(addr, 1);
    expect(() => hmmRangeFault(range)).toThrow('I26');
    const notifier = newMmuIntervalNotifier(null);
    expect(() => hmmRangeFault({ ...range, notifier })).toThrow('I23');
  });
});
