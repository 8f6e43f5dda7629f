/* hmm_range_fault: what a snapshot reports of each kind of entry (hmm-semantics 11.3). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE, PFN_LIMIT, PMD_SIZE } from '../../../src/base/units.ts';
import * as hmm from '../../../src/mm/hmm.ts';
import {
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToPage,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import {
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  VM_IO,
  VM_PFNMAP,
} from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  PTE_PROTNONE,
  PTE_SPECIAL,
  mkLeaf,
  mkPte,
} from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { expectSync, load, mapAnon, mapShared, pteAt, store } from './fixture.ts';
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
import { HmmRig, words } from './hmm-rig.ts';

let bench: Bench;
let rig: HmmRig;

beforeEach(() => {
  bench = makeBench();
  rig = new HmmRig(bench);
});

afterEach(() => checkAtRest(bench));

test('the flags are distinct bits above every pfn [F75]', () => {
  const names = ['VALID', 'WRITE', 'ERROR', 'DMA_MAPPED', 'P2PDMA', 'P2PDMA_BUS'];
  const bits = names.map((name) => (hmm as unknown as Record<string, number>)[`HMM_PFN_${name}`]!);
  expect(bits.map(Math.log2)).toEqual([31, 30, 29, 28, 27, 26]);
  expect(Math.min(...bits)).toBeGreaterThan(PFN_LIMIT - 1);
  expect([HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE]).toEqual([HMM_PFN_VALID, HMM_PFN_WRITE]);
  expect(hmmPfnToPage((HMM_PFN_VALID | HMM_PFN_WRITE | (PFN_LIMIT - 1)) >>> 0)).toBe(PFN_LIMIT - 1);
});

describe('a snapshot [F73]', () => {
  test('reports what is there and faults nothing', async () => {
    const addr = mapFilled(bench.mm, 4);
    rig.protect(addr + PAGE_SIZE, 1, PROT_READ);
    expectSync(doMunmap(bench.mm, addr + 3 * PAGE_SIZE, PAGE_SIZE));
    expect(await rig.look(addr, 4)).toBe('WRWE');
    expect(rig.faults()).toBe(0);
  });

  test('a hole, with and without page table, could be faulted later [F72]', async () => {
    const addr = mapAnon(bench.mm, 2);
    expect(await rig.look(addr, 2)).toBe('--');
    store(bench.mm, addr, 1);
    expect(await rig.look(addr, 2)).toBe('W-');
  });

  test('the zero page is a valid page, read-only [F81]', async () => {
    const addr = mapAnon(bench.mm, 1);
    load(bench.mm, addr);
    const range = rig.range(addr, 1);
    expect(await rig.run(range)).toBe(0);
    expect(range.hmmPfns[0]).toBe((HMM_PFN_VALID | bench.sys.zeroPfn) >>> 0);
  });

  test('shared memory, readable and writable', async () => {
    const addr = mapShared(bench.mm, 2);
    store(bench.mm, addr, 1);
    expect(await rig.look(addr, 2)).toBe('W-');
  });

  test('own device memory, writable and read-only [F76]', async () => {
    const addr = mapOnDevice(bench, 2);
    rig.protect(addr, 1, PROT_READ);
    expect(await rig.look(addr, 2)).toBe('RW');
  });

  test('device memory of somebody else could be faulted later [F78]', async () => {
    const addr = mapOnDevice(bench, 1);
    expect(await rig.look(addr, 1, { owner: {} })).toBe('-');
    expect(await rig.look(addr, 1, { owner: null })).toBe('-');
  });

  test.each([
    ['swap', LEAF_SWAP],
    ['device-exclusive', LEAF_DEVICE_EXCLUSIVE],
    ['hwpoison', LEAF_HWPOISON],
    ['poison marker', LEAF_MARKER_POISON],
    ['guard marker', LEAF_MARKER_GUARD],
    ['uffd-wp marker', LEAF_MARKER_UFFD_WP],
  ])('a %s entry is 0 [F80]', async (_what, kind) => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkLeaf(kind, 9, 0));
    expect(await rig.look(addr, 1)).toBe('-');
    forgePte(bench.mm, addr, 0);
  });

  test('a NUMA hint (protnone in a readable VMA) is 0', async () => {
    const addr = mapFilled(bench.mm, 1);
    const pte = pteAt(bench.mm, addr);
    forgePte(bench.mm, addr, mkPte(pfnAt(bench.mm, addr), PTE_PROTNONE));
    expect(await rig.look(addr, 1)).toBe('-');
    forgePte(bench.mm, addr, pte);
  });

  test('a special page that is not the zero page is an ERROR [F80]', async () => {
    const addr = mapAnon(bench.mm, 1);
    forgePte(bench.mm, addr, mkPte(9, PTE_SPECIAL));
    expect(await rig.look(addr, 1)).toBe('E');
    forgePte(bench.mm, addr, 0);
  });

  test('a migration entry is 0, and not waited for [F79]', async () => {
    const addr = mapFilled(bench.mm, 1);
    const migration = new Migration(bench, addr, 1).setup();
    const range = rig.range(addr, 1);
    expect(expectSync(hmmRangeFault(range))).toBe(0);
    expect(words(range)).toBe('-');
    migration.finalize();
  });

  test.each([
    ['none at all', PROT_NONE],
    ['write only', PROT_WRITE],
    ['execute only', PROT_EXEC],
  ])('a VMA without VM_READ is an ERROR: %s [F80]', async (_what, prot) => {
    const addr = mapFilled(bench.mm, 2);
    rig.protect(addr, 1, prot);
    expect(await rig.look(addr, 2)).toBe('EW');
  });

  test.each([
    ['VM_IO', VM_IO],
    ['VM_PFNMAP', VM_PFNMAP],
  ])('so is a VMA with %s [F80]', async (_what, flag) => {
    const addr = mapFilled(bench.mm, 1);
    const vma = vmaLookup(bench.mm, addr)!;
    vma.vmFlags |= flag;
    expect(await rig.look(addr, 1)).toBe('E');
    vma.vmFlags &= ~flag;
  });

  test('several VMAs, gaps before, between and behind them [F83]', async () => {
    const { mm } = bench;
    const base = mapAnon(mm, 7);
    const unmap = (page: number, pages: number) =>
      expectSync(doMunmap(mm, base + page * PAGE_SIZE, pages * PAGE_SIZE));
    for (const page of [1, 2, 4, 5]) store(mm, base + page * PAGE_SIZE, 1);
    rig.protect(base + 5 * PAGE_SIZE, 1, PROT_READ);
    unmap(0, 1);
    unmap(3, 1);
    unmap(6, 1);
    expect(await rig.look(base, 7)).toBe('EWWEWRE');
    expect(await rig.look(base + 6 * PAGE_SIZE, 1)).toBe('E');
  });

  test('an address space without any VMA', async () => {
    expect(await rig.look(0x10000, 2)).toBe('EE');
  });

  test('over the border of two page tables, one of which is missing', async () => {
    const { mm } = bench;
    const big = mapAnon(mm, (2 * PMD_SIZE) / PAGE_SIZE);
    const border = big - (big % PMD_SIZE) + PMD_SIZE;
    store(mm, border, 1);
    expect(await rig.look(border - 2 * PAGE_SIZE, 4)).toBe('--W-');
  });
});
