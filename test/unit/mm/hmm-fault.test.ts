/* hmm_range_fault: requests, faults, fault-ahead and restarts (hmm-semantics 11.3, 11.4). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  HMM_PFN_DMA_MAPPED,
  HMM_PFN_ERROR,
  HMM_PFN_P2PDMA,
  HMM_PFN_P2PDMA_BUS,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToPage,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import { PTE_PROTNONE, mkPte, ptePresent } from '../../../src/mm/swapops.ts';
import { RW, expectSync, load, mapAnon, pteAt, store } from './fixture.ts';
import {
  Migration,
  checkAtRest,
  forgePte,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
  withOtherDevice,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { makeGate } from './tiny-device.ts';
import { HmmRig, READ, WRITE, word, words } from './hmm-rig.ts';

let bench: Bench;
let rig: HmmRig;

beforeEach(() => {
  bench = makeBench();
  rig = new HmmRig(bench);
});

afterEach(() => checkAtRest(bench));

describe('faulting [F72]', () => {
  test('a hole for read gives the zero page, for write a page of its own', async () => {
    const addr = mapAnon(bench.mm, 2);
    expect(await rig.look(addr, 1, { defaultFlags: READ })).toBe('R');
    expect(hmmPfnToPage(pteAt(bench.mm, addr) >>> 9)).toBe(bench.sys.zeroPfn);
    expect(await rig.look(addr + PAGE_SIZE, 1, { defaultFlags: WRITE })).toBe('W');
    expect(rig.faults()).toBe(2);
  });

  test('what is good enough is not faulted', async () => {
    const addr = mapFilled(bench.mm, 2);
    rig.protect(addr, 1, PROT_READ);
    expect(await rig.look(addr, 2, { defaultFlags: READ })).toBe('RW');
    expect(await rig.look(addr + PAGE_SIZE, 1, { defaultFlags: WRITE })).toBe('W');
    expect(rig.faults()).toBe(0);
  });

  test('REQ_WRITE on a shared page breaks copy-on-write', async () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const child = expectSync(dupMmap(mm));
    expect(await rig.look(addr, 1, { defaultFlags: READ })).toBe('R');
    expect(await rig.look(addr, 1, { defaultFlags: WRITE })).toBe('W');
    expect(sys.vmstat.read('cow_copy')).toBe(1);
    if (typeof child !== 'number') expect(load(child, addr)).toBe(1);
  });

  test('REQ_WRITE on the zero page replaces it', async () => {
    const addr = mapAnon(bench.mm, 1);
    load(bench.mm, addr);
    expect(await rig.look(addr, 1, { defaultFlags: WRITE })).toBe('W');
    expect(pfnAt(bench.mm, addr)).not.toBe(bench.sys.zeroPfn);
  });

  test('a NUMA hint is faulted', async () => {
    const addr = mapFilled(bench.mm, 1);
    const pte = pteAt(bench.mm, addr);
    forgePte(bench.mm, addr, mkPte(pfnAt(bench.mm, addr), PTE_PROTNONE));
    const range = rig.range(addr, 1, { defaultFlags: READ });
    expectSync(bench.mm.mmapLock.readLock());
    // Nobody makes or clears such hints: the fault is taken, and would be again for ever.
    expect(() => hmmRangeFault(range)).toThrow('I20');
    bench.mm.mmapLock.readUnlock();
    expect(rig.faults()).toBeGreaterThan(1);
    forgePte(bench.mm, addr, pte);
  });

  test('device memory of somebody else comes home, its own does not [F78]', async () => {
    const other = withOtherDevice(bench);
    const addr = mapOnDevice(bench, 2);
    expect(await rig.look(addr, 2, { defaultFlags: WRITE, owner: bench.device })).toBe('WW');
    expect([bench.device.faults, rig.faults()]).toEqual([0, 0]);
    expect(await rig.look(addr, 2, { defaultFlags: READ, owner: other.device })).toBe('WW');
    expect([bench.device.faults, bench.device.used]).toEqual([2, 0]);
  });

  test('REQ_WRITE on its own read-only device page is a success without WRITE [F77]', async () => {
    const addr = mapOnDevice(bench, 1);
    rig.protect(addr, 1, PROT_READ);
    expect(await rig.look(addr, 1, { defaultFlags: WRITE })).toBe('R');
    expect(rig.faults()).toBe(0);
  });

  test('a migration entry is waited for, then looked at again [F79]', async () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 2);
    const migration = new Migration(bench, addr + PAGE_SIZE, 1).setup();
    const range = rig.range(addr, 2, { defaultFlags: READ });
    const running = hmmRangeFault(range);
    expect(isPending(running)).toBe(true);
    expect([word(range.hmmPfns[0]!, mm, addr), range.hmmPfns[1]]).toEqual(['W', 0]);
    migration.supply().pages().finalize();
    expectSync(mm.mmapLock.readLock());
    expect(await running).toBe(0);
    mm.mmapLock.readUnlock();
    expect([words(range), bench.device.used, rig.faults()]).toEqual(['WW', 1, 0]);
    expect(sys.vmstat.read('hmm_restart')).toBe(1);
  });

  test('a range over several VMAs faults each with its own permission [F83]', async () => {
    const addr = mapAnon(bench.mm, 3);
    rig.protect(addr + PAGE_SIZE, 1, PROT_READ);
    expect(await rig.look(addr, 3, { defaultFlags: READ })).toBe('RRR');
    expect(rig.faults()).toBe(3);
  });
});

describe('requests [F71]', () => {
  test('of single pages count as far as the mask lets them', async () => {
    const addr = mapAnon(bench.mm, 3);
    store(bench.mm, addr + PAGE_SIZE, 1);
    rig.protect(addr + PAGE_SIZE, 1, PROT_READ);
    rig.protect(addr + PAGE_SIZE, 1, RW);
    forgePte(bench.mm, addr + PAGE_SIZE, (pteAt(bench.mm, addr + PAGE_SIZE) & ~2) >>> 0);
    const pfns = [0, WRITE, 0];
    expect(await rig.look(addr, 3, { pfns, mask: 0 })).toBe('-R-');
    expect(await rig.look(addr, 3, { pfns, mask: READ })).toBe('-R-');
    expect(rig.faults()).toBe(0);
    expect(await rig.look(addr, 2, { pfns: [0, WRITE], mask: WRITE })).toBe('-W');
    expect(rig.faults()).toBe(1);
  });

  test('REQ_WRITE without REQ_FAULT asks for nothing', async () => {
    const addr = mapAnon(bench.mm, 1);
    const defaultFlags = HMM_PFN_REQ_WRITE;
    expect(await rig.look(addr, 1, { defaultFlags })).toBe('-');
    load(bench.mm, addr);
    expect(await rig.look(addr, 1, { defaultFlags })).toBe('R');
    expect(rig.faults()).toBe(0);
  });

  test('of a page and defaults add up', async () => {
    const addr = mapAnon(bench.mm, 1);
    const mask = HMM_PFN_REQ_WRITE;
    expect(await rig.look(addr, 1, { pfns: [mask], mask, defaultFlags: READ })).toBe('W');
  });

  test('the three sticky bits survive, all other input bits do not [F85]', async () => {
    const sticky = (HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS) >>> 0;
    const addr = mapFilled(bench.mm, 4);
    const { mm } = bench;
    expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE));
    expectSync(doMunmap(mm, addr + 3 * PAGE_SIZE, PAGE_SIZE));
    expectSync(
      doMmap(mm, { addr: addr + 3 * PAGE_SIZE, length: PAGE_SIZE, prot: RW, flags: 0x32 }),
    );
    const range = rig.range(addr, 4, { pfns: [0xffffffff, 0xffffffff, sticky, 0xffffffff] });
    expect(await rig.run(range)).toBe(0);
    const valid = (HMM_PFN_VALID | HMM_PFN_WRITE | sticky) >>> 0;
    expect(Array.from(range.hmmPfns)).toEqual([
      (valid | pfnAt(mm, addr)) >>> 0,
      (HMM_PFN_ERROR | sticky) >>> 0,
      (valid | pfnAt(mm, addr + 2 * PAGE_SIZE)) >>> 0,
      sticky,
    ]);
  });
});

describe('fault-ahead [F84]', () => {
  test('everything up to the end of the range is faulted, as the first page needs it', async () => {
    const addr = mapAnon(bench.mm, 4);
    store(bench.mm, addr, 1);
    const pfns = [0, WRITE, 0, 0];
    expect(await rig.look(addr, 4, { pfns, mask: WRITE })).toBe('WWWW');
    expect(rig.faults()).toBe(3);
    expect(bench.sys.vmstat.read('hmm_restart')).toBe(1);
  });

  test('a missing page table is one hole: the needs of all its pages together', async () => {
    const addr = mapAnon(bench.mm, 3);
    expect(await rig.look(addr, 3, { pfns: [0, 0, WRITE], mask: WRITE })).toBe('WWW');
    expect(rig.faults()).toBe(3);
  });

  test('it ends with the page table', async () => {
    const { mm } = bench;
    const big = mapAnon(mm, (2 * PMD_SIZE) / PAGE_SIZE);
    const border = big - (big % PMD_SIZE) + PMD_SIZE;
    const pfns = [READ, 0, 0, 0];
    expect(await rig.look(border - 2 * PAGE_SIZE, 4, { pfns, mask: WRITE })).toBe('RR--');
    expect(rig.faults()).toBe(2);
  });

  test('it ends with the VMA', async () => {
    const addr = mapAnon(bench.mm, 4);
    rig.protect(addr + 2 * PAGE_SIZE, 2, PROT_READ);
    expect(await rig.look(addr, 4, { pfns: [WRITE, 0, 0, 0], mask: WRITE })).toBe('WW--');
    expect(rig.faults()).toBe(2);
  });
});

describe('restarts [F74]', () => {
  test('outputs are never read as requests again', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 3);
    // Page 0 is read-only after fork; its output VALID|WRITE must not become a write request.
    rig.protect(addr, 1, PROT_READ);
    expectSync(doMunmap(mm, addr + 2 * PAGE_SIZE, PAGE_SIZE));
    const tail = { addr: addr + 2 * PAGE_SIZE, length: PAGE_SIZE, prot: RW, flags: 0x32 };
    expectSync(doMmap(mm, tail));
    const pfns = [0, 0, READ];
    const range = rig.range(addr, 3, { pfns, mask: WRITE });
    expect(await rig.run(range)).toBe(0);
    expect([words(range), rig.faults()]).toEqual(['RWR', 1]);
    expect(bench.sys.vmstat.read('hmm_restart')).toBe(1);
  });

  test('a fault that waits holds the mmap lock, and goes on behind the page', async () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 3);
    const { gate, open } = makeGate();
    bench.device.gate = gate;
    const range = rig.range(addr, 3, { defaultFlags: READ, owner: {} });
    expectSync(mm.mmapLock.readLock());
    const running = hmmRangeFault(range);
    expect(isPending(running)).toBe(true);
    const unmapping = doMunmap(mm, addr, PAGE_SIZE);
    expect(isPending(unmapping)).toBe(true);
    open();
    const status = await running;
    expect([0, errno.EBUSY]).toContain(status);
    expect(bench.device.faults).toBe(3);
    expect([0, 1, 2].every((i) => ptePresent(pteAt(mm, addr + i * PAGE_SIZE)))).toBe(true);
    mm.mmapLock.readUnlock();
    expect(await unmapping).toBe(0);
  });

  test('in an address space that is gone everything is out of reach', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const range = rig.range(addr, 1);
    expectSync(mmput(mm));
    expect(await rig.run(range)).toBe(0);
    expect(words(range)).toBe('E');
  });
});
