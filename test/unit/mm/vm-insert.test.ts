/* Mappings that drivers fill: pages of their own and bare frames (src/mm/vm-insert.ts). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { pinUserPage } from '../../../src/mm/gup.ts';
import { migrateVmaSetup } from '../../../src/mm/migrate-device.ts';
import {
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  VM_DONTEXPAND,
  VM_IO,
  VM_MIXEDMAP,
  VM_PFNMAP,
} from '../../../src/mm/mm-types.ts';
import type { MmStruct, Vma } from '../../../src/mm/mm-types.ts';
import { doMmap, doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PTE_SPECIAL, ptePfn, ptePresent, pteWrite } from '../../../src/mm/swapops.ts';
import { FAULT_SIGBUS, FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import { remapPfnRange, vmInsertPage, vmfInsertMixed } from '../../../src/mm/vm-insert.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { RW, expectSync, load, loadOutcome, pteAt, store, storeOutcome, watch } from './fixture.ts';
import { makeFile, mapFile } from './file-rig.ts';
import { HmmRig, READ, WRITE } from './hmm-rig.ts';
import { Migration, checkAtRest, makeBench, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { shmemPut } from '../../../src/mm/shmem.ts';

let bench: Bench;
let mm: MmStruct;
/** Frames of a driver, filled with 50, 51, ... */
let frames: number[];

beforeEach(() => {
  bench = makeBench();
  mm = bench.mm;
  frames = [0, 1, 2].map((i) => {
    const pfn = allocPage(bench.sys);
    bench.sys.ram.fill(50 + i, pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
    return pfn;
  });
});

afterEach(() => {
  checkAtRest(bench, { references: new Map(frames.map((pfn) => [pfn, 1])) });
  for (const one of bench.sys.mms) expectSync(mmput(one));
  for (const pfn of frames) putPage(bench.sys, pfn);
  checkInvariants(bench.sys);
});

function map(pages: number, flags: number, mmapFile: (vma: Vma) => number, prot = RW): number {
  return expectSync(doMmap(mm, { length: pages * PAGE_SIZE, prot, flags, mmapFile }));
}

/** A mapping with the driver's pages in it. */
function mapPages(flags: number, prot = RW): number {
  const insert = (vma: Vma): number =>
    frames.reduce((status, pfn, i) => {
      return status === 0 ? vmInsertPage(vma, vma.vmStart + i * PAGE_SIZE, pfn) : status;
    }, 0);
  return map(frames.length, flags, insert, prot);
}

/** A mapping of the driver's frames, which follow each other. */
function mapFrames(flags: number, prot = RW): number {
  const size = frames.length * PAGE_SIZE;
  return map(3, flags, (vma) => remapPfnRange(vma, vma.vmStart, frames[0]!, size), prot);
}

function flagsAt(addr: number): number {
  return vmaLookup(mm, addr)!.vmFlags;
}

describe('vm_insert_page', () => {
  test('maps the page with a reference, and makes the VMA VM_MIXEDMAP', () => {
    const addr = mapPages(MAP_PRIVATE);
    const [pfn] = frames as [number];
    expect([bench.sys.mem.refcount[pfn], bench.sys.mem.mapcount[pfn]]).toEqual([2, 1]);
    expect([mm.shmemRss, mm.anonRss]).toEqual([3, 0]);
    expect(flagsAt(addr) & (VM_MIXEDMAP | VM_PFNMAP | VM_IO)).toBe(VM_MIXEDMAP);
    expect([0, 1, 2].map((i) => load(mm, addr + i * PAGE_SIZE))).toEqual([50, 51, 52]);
    expectSync(doMunmap(mm, addr, 3 * PAGE_SIZE));
    expect([bench.sys.mem.refcount[pfn], bench.sys.mem.mapcount[pfn], mm.shmemRss]).toEqual([
      1, 0, 0,
    ]);
  });

  test('a private mapping copies on write, a shared one writes the page itself', () => {
    const own = mapPages(MAP_PRIVATE);
    const shared = mapPages(MAP_SHARED);
    store(mm, own, 7);
    store(mm, shared + PAGE_SIZE, 8);
    expect([load(mm, own), load(mm, shared)]).toEqual([7, 50]);
    expect([load(mm, own + PAGE_SIZE), pfnAt(mm, own + PAGE_SIZE)]).toEqual([8, frames[1]]);
    expect([mm.anonRss, mm.shmemRss]).toEqual([1, 5]);
  });

  test('an entry that is gone is SIGBUS: there is nothing to fault in', () => {
    const addr = mapPages(MAP_PRIVATE);
    zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
    expect([loadOutcome(mm, addr), storeOutcome(mm, addr)]).toEqual([FAULT_SIGBUS, FAULT_SIGBUS]);
    expect(load(mm, addr + PAGE_SIZE)).toBe(51);
  });

  test('is refused for what can not be mapped like that', () => {
    const inode = makeFile(bench.sys, PAGE_SIZE);
    const filePage = mapFile(mm, inode, 1);
    load(mm, filePage);
    const free = allocPage(bench.sys);
    putPage(bench.sys, free);
    const seen: number[] = [];
    const addr = map(2, MAP_PRIVATE, (vma) => {
      const at = vma.vmStart;
      const [pfn] = frames as [number];
      seen.push(
        vmInsertPage(vma, at - PAGE_SIZE, pfn),
        vmInsertPage(vma, vma.vmEnd, pfn),
        vmInsertPage(vma, at + 1, pfn),
        vmInsertPage(vma, at, free),
        vmInsertPage(vma, at, bench.sys.zeroPfn),
        vmInsertPage(vma, at, inode.cache.get(0)),
        vmInsertPage(vma, at, bench.device.free[0]!),
        vmInsertPage(vma, at, pfn),
        vmInsertPage(vma, at, pfn),
      );
      return 0;
    });
    const { EFAULT, EINVAL, EBUSY } = errno;
    const refused = [EFAULT, EFAULT, EFAULT, EINVAL, EINVAL, EINVAL, EINVAL, 0, EBUSY];
    expect(seen).toEqual(refused);
    expect(load(mm, addr)).toBe(50);
    expectSync(doMunmap(mm, filePage, PAGE_SIZE));
    shmemPut(inode);
  });

  test('a driver that fails fails mmap, and nothing is left', () => {
    const failing = map(2, MAP_PRIVATE, (vma) => {
      expect(vmInsertPage(vma, vma.vmStart, frames[0]!)).toBe(0);
      return errno.ENOMEM;
    });
    expect([failing, mm.vmas.length, mm.shmemRss]).toEqual([errno.ENOMEM, 0, 0]);
  });
});

describe('remap_pfn_range', () => {
  test('maps frames without touching their pages', () => {
    const addr = mapFrames(MAP_SHARED);
    const [pfn] = frames as [number];
    expect([bench.sys.mem.refcount[pfn], bench.sys.mem.mapcount[pfn]]).toEqual([1, 0]);
    expect(mm.shmemRss).toBe(0);
    const marks = VM_IO | VM_PFNMAP | VM_DONTEXPAND;
    expect(flagsAt(addr) & marks).toBe(marks);
    expect(pteAt(mm, addr) & PTE_SPECIAL).toBe(PTE_SPECIAL);
    store(mm, addr + PAGE_SIZE, 9);
    expect(bench.sys.ram[frames[1]! * PAGE_SIZE]).toBe(9);
    expect(load(mm, addr + 2 * PAGE_SIZE)).toBe(52);
  });

  test('a private mapping gets a copy of the frame on write', () => {
    const addr = mapFrames(MAP_PRIVATE);
    store(mm, addr + 1, 7);
    expect([load(mm, addr), load(mm, addr + 1), mm.anonRss]).toEqual([50, 7, 1]);
    expect(bench.sys.ram[frames[0]! * PAGE_SIZE + 1]).toBe(50);
    expect(pteAt(mm, addr) & PTE_SPECIAL).toBe(0);
  });

  test.each<[string, number, number, number, number]>([
    ['part of a private mapping', MAP_PRIVATE, 0, 0, 1],
    ['beyond the VMA', MAP_SHARED, 1, 0, 3],
    ['before the VMA', MAP_SHARED, -1, 0, 1],
    ['nothing', MAP_SHARED, 0, 0, 0],
    ['half a page', MAP_SHARED, 0, 0, 0.5],
    ['NaN', MAP_SHARED, Number.NaN, 0, 1],
    ['no frame', MAP_SHARED, 0, -1e6, 1],
    ['a frame of a device', MAP_SHARED, 0, 254, 1],
  ])('%s is EINVAL', (_name, flags, page, frame, pages) => {
    const status = map(3, flags, (vma) => {
      const at = vma.vmStart + page * PAGE_SIZE;
      return remapPfnRange(vma, at, frames[0]! + frame, pages * PAGE_SIZE);
    });
    expect([status, mm.vmas.length]).toEqual([errno.EINVAL, 0]);
  });

  test('pages can not be pinned there', () => {
    expect(expectSync(pinUserPage(mm, mapFrames(MAP_SHARED)))).toBe(errno.EFAULT);
  });
});

test('I36: ordinary pages and ranges of bare frames do not mix', () => {
  mapPages(MAP_SHARED);
  mapFrames(MAP_SHARED);
  const [withPages, withFrames] = mm.vmas
    .map((vma) => vma)
    .toSorted((a, b) => {
      return (a.vmFlags & VM_PFNMAP) - (b.vmFlags & VM_PFNMAP);
    }) as [Vma, Vma];
  expect(() => vmInsertPage(withFrames, withFrames.vmStart, frames[0]!)).toThrow('I36');
  const whole = 3 * PAGE_SIZE;
  expect(() => remapPfnRange(withPages, withPages.vmStart, frames[0]!, whole)).toThrow('I36');
  expect(() => remapPfnRange(withFrames, withFrames.vmStart, frames[0]!, whole)).toThrow('I36');
  expect(() => vmfInsertMixed(withFrames, withFrames.vmStart, frames[0]!)).toThrow('I36');
});

describe('VMAs of drivers', () => {
  test('are never merged: what mprotect has cut stays cut', () => {
    const addr = mapPages(MAP_SHARED);
    for (const prot of [PROT_READ, RW]) {
      expect(expectSync(doMprotect(mm, addr + PAGE_SIZE, PAGE_SIZE, prot))).toBe(0);
      expect(mm.vmas).toHaveLength(3);
    }
    expect(load(mm, addr + 2 * PAGE_SIZE)).toBe(52);
  });

  test.each([
    ['shared', MAP_SHARED],
    ['private', MAP_PRIVATE],
  ])('are copied at fork, %s', (kind, flags) => {
    const pages = mapPages(flags);
    const bare = mapFrames(flags);
    if (flags === MAP_SHARED) store(mm, pages, 60);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error('fork');
    expect([child.shmemRss, bench.sys.mem.mapcount[frames[1]!]]).toEqual([3, 2]);
    expect([load(child, pages + PAGE_SIZE), load(child, bare + 2 * PAGE_SIZE)]).toEqual([51, 52]);
    expect(pteWrite(pteAt(child, pages))).toBe(kind === 'shared');
    store(child, pages + PAGE_SIZE, 70);
    expect(load(mm, pages + PAGE_SIZE)).toBe(kind === 'shared' ? 70 : 51);
    if (kind === 'shared') expect(pteWrite(pteAt(mm, pages))).toBe(true);
  });

  test.each([
    ['VM_MIXEDMAP', mapPages],
    ['VM_PFNMAP', mapFrames],
  ])('%s is refused by migrate_vma_setup, with nothing changed [F22]', (_name, mapping) => {
    const addr = mapping(MAP_PRIVATE);
    store(mm, addr, 1);
    const before = [0, 1, 2].map((i) => pteAt(mm, addr + i * PAGE_SIZE));
    const events = watch(mm, addr);
    const { args } = new Migration(bench, addr, 3);
    expect(mm.mmapLock.readTrylock()).toBe(true);
    expect(migrateVmaSetup(args)).toBe(errno.EINVAL);
    mm.mmapLock.readUnlock();
    expect([0, 1, 2].map((i) => pteAt(mm, addr + i * PAGE_SIZE))).toEqual(before);
    expect(events).toEqual([]);
  });
});

describe('hmm_range_fault', () => {
  test('sees pages of a driver as they are; a write fault copies a private one [F80]', async () => {
    const rig = new HmmRig(bench);
    const own = mapPages(MAP_PRIVATE);
    expect(await rig.look(own, 3)).toBe('RRR');
    expect(await rig.look(own, 1, { defaultFlags: WRITE })).toBe('W');
    expect(await rig.look(own, 3)).toBe('WRR');
    expect(await rig.look(mapPages(MAP_SHARED), 3)).toBe('WWW');
  });

  test('an entry that is gone can not be had [F80]', async () => {
    const rig = new HmmRig(bench);
    const addr = mapPages(MAP_PRIVATE);
    zapPageRange(vmaLookup(mm, addr)!, addr + PAGE_SIZE, addr + 2 * PAGE_SIZE);
    expect(await rig.look(addr, 3)).toBe('R-R');
    expect(await rig.look(addr, 3, { defaultFlags: READ })).toBe(String(errno.EFAULT));
  });

  test('a bare frame among pages: ERROR, or EFAULT when it is asked for [F80]', async () => {
    const rig = new HmmRig(bench);
    const addr = map(2, MAP_PRIVATE, (vma) => {
      expect(vmInsertPage(vma, vma.vmStart, frames[0]!)).toBe(0);
      return vmfInsertMixed(vma, vma.vmStart + PAGE_SIZE, frames[1]!);
    });
    expect(ptePresent(pteAt(mm, addr + PAGE_SIZE))).toBe(true);
    expect([load(mm, addr + PAGE_SIZE), ptePfn(pteAt(mm, addr + PAGE_SIZE))]).toEqual([
      51,
      frames[1],
    ]);
    expect(await rig.look(addr, 2)).toBe('RE');
    expect(await rig.look(addr, 1, { defaultFlags: READ })).toBe('R');
    expect(await rig.look(addr, 2, { defaultFlags: READ })).toBe(String(errno.EFAULT));
    // A write is another matter: the copy is an ordinary page.
    expect(await rig.look(addr, 2, { defaultFlags: WRITE })).toBe('WW');
  });

  test('a VMA of bare frames: ERROR, or EFAULT when it is asked for [F80]', async () => {
    const rig = new HmmRig(bench);
    const addr = mapFrames(MAP_SHARED);
    expect(await rig.look(addr, 3)).toBe('EEE');
    expect(await rig.look(addr, 3, { defaultFlags: READ })).toBe(String(errno.EFAULT));
    expect(rig.faults()).toBe(0);
  });
});

test('vmf_insert_mixed takes RAM frames inside the VMA only', () => {
  const seen: number[] = [];
  map(1, MAP_PRIVATE, (vma) => {
    vma.vmFlags |= VM_MIXEDMAP;
    seen.push(
      vmfInsertMixed(vma, vma.vmEnd, frames[0]!),
      vmfInsertMixed(vma, vma.vmStart, bench.sys.ramPages),
      vmfInsertMixed(vma, vma.vmStart, frames[0]!),
      vmfInsertMixed(vma, vma.vmStart, frames[1]!),
    );
    return 0;
  });
  expect(seen).toEqual([errno.EFAULT, errno.EINVAL, 0, errno.EBUSY]);
});

test('the permissions of the mapping hold', () => {
  const readOnly = mapPages(MAP_SHARED, PROT_READ);
  expect(storeOutcome(mm, readOnly)).toBe(FAULT_SIGSEGV);
  expect(loadOutcome(mm, mapFrames(MAP_SHARED, PROT_NONE))).toBe(FAULT_SIGSEGV);
});
