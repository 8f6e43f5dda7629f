/* A bench on which a device gets pages for itself. */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { makeDeviceExclusive } from '../../../src/mm/device-exclusive.ts';
import { dupMmap } from '../../../src/mm/fork.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { LEAF_DEVICE_EXCLUSIVE, leafKind } from '../../../src/mm/swapops.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { expectSync, mapAnon, pteAt, store } from './fixture.ts';
import { makeBench } from './migration.ts';
import type { Bench } from './migration.ts';

export class ExclusiveRig {
  readonly bench: Bench = makeBench();
  readonly mm: MmStruct = this.bench.mm;
  readonly sys: System = this.bench.sys;

  /** What makeDeviceExclusive answers when nothing has to wait. */
  make(addr: number, owner: unknown = null): number {
    const { mm } = this;
    expect(mm.mmapLock.readTrylock()).toBe(true);
    const pfn = expectSync(makeDeviceExclusive(mm, addr, owner));
    mm.mmapLock.readUnlock();
    return pfn;
  }

  /** What a driver does when its device knows of the page. */
  release(pfn: number): void {
    this.sys.mem.unlockPage(pfn);
    putPage(this.sys, pfn);
  }

  /** Maps a page that holds `byte`, and gives a device exclusive access to it; its address. */
  mapExclusive(byte = 1): number {
    const addr = mapAnon(this.mm, 1);
    store(this.mm, addr, byte);
    this.release(this.make(addr));
    expect(this.isExclusive(addr)).toBe(true);
    return addr;
  }

  isExclusive(addr: number): boolean {
    return leafKind(pteAt(this.mm, addr)) === LEAF_DEVICE_EXCLUSIVE;
  }

  fork(): MmStruct {
    const child = expectSync(dupMmap(this.mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    return child;
  }

  /** Drops one page; the mmap lock is held, or nobody else is there. */
  zap(addr: number): void {
    const vma = vmaLookup(this.mm, addr);
    if (vma === null) throw new Error('no VMA there');
    zapPageRange(vma, addr, addr + PAGE_SIZE);
  }
}
