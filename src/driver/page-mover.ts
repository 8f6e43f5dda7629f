/**
 * Moves the pages of a context between RAM and its device, whole runs of them at a time, and single
 * ones against whatever stands in the way.
 *
 * Locking: migrations take the mmap lock for read, device faults too. Source: our own.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { ContextMap } from './context-map.ts';
import { whereIs } from './context-regions.ts';
import { dptPfn } from './device-page-table.ts';
import { toDevice, toSystem } from './dmirror-migrate.ts';
import { AnyEviction } from './evict-any.ts';
import { migratePages } from './migrate-pages.ts';
import { IN_RAM } from './policy/policy.ts';

/** Rounds of bringing one page, against CPUs that take it away at once. */
const MAX_TRIES = 16;

/** See the file header. Pages are those of the context. */
export class PageMover {
  private readonly map: ContextMap;
  private readonly others: AnyEviction;
  private readonly one = new Int32Array(1);
  private pages = new Int32Array(512);

  constructor(map: ContextMap) {
    this.map = map;
    this.others = new AnyEviction(map.mirror.device);
  }

  /** Room for so many pages to move, in any order. */
  room(count: number): Int32Array {
    if (this.pages.length < count) this.pages = new Int32Array(count * 2);
    return this.pages;
  }

  /** Where a page is by the CPU page table: ON_DEVICE, IN_RAM, or 0 for nowhere. */
  whereIs(page: number): number {
    return whereIs(this.map.mirror, this.map.originPage + page);
  }

  /**
   * Moves the first `count` pages of `room` to the device, as far as they can be; maps nothing.
   *
   * @returns 0, or ENODEV, EIO of the copy engine. Context: waits.
   */
  async bring(count: number): Promise<number> {
    if (count === 0) return 0;
    const { mirror, originPage } = this.map;
    const pages = this.pages.subarray(0, count).sort();
    await this.takeRoom(count);
    const status = await migratePages(mirror, pages, count, originPage, toDevice);
    return isFatal(status) ? status : 0;
  }

  /** The same towards RAM. What is full or locked stays where it is. */
  async sendHome(count: number): Promise<number> {
    const { mirror, originPage } = this.map;
    const pages = this.pages.subarray(0, count).sort();
    const status = await migratePages(mirror, pages, count, originPage, toSystem);
    return isFatal(status) ? status : 0;
  }

  /**
   * Brings a page that a migration alone did not: a copy for writing, a page not there yet.
   *
   * @returns 0: it is mapped; what the device fault answers (EFAULT, EPERM and others); EBUSY where
   * it stays in RAM; ENODEV, EIO, EINTR. Context: waits.
   */
  async bringOne(page: number, write: boolean): Promise<number> {
    const { map, one } = this;
    const { mirror, originPage } = map;
    const address = (originPage + page) * PAGE_SIZE;
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      const faulted = await mirror.fault(address, address + PAGE_SIZE, write);
      if (isErr(faulted) && faulted !== errno.EBUSY) return faulted;
      if (map.map(page, write)) return 0;
      one[0] = page;
      await this.takeRoom(1);
      const moved = await migratePages(mirror, one, 1, originPage, toDevice);
      if (isFatal(moved)) return moved;
      if (map.map(page, write)) return 0;
      // It is in RAM: no room on the device, or it can't be moved.
      if (attempt > 0 && this.whereIs(page) === IN_RAM) return errno.EBUSY;
    }
    return errno.EBUSY;
  }

  /** The service has made room among its own pages; others may have the memory all the same. */
  private async takeRoom(pages: number): Promise<void> {
    const { mirror, mapped, originPage } = this.map;
    const { memory } = mirror.device;
    if (memory.capacityPages - memory.pagesInUse >= pages) return;
    const { mem } = mirror.mm.sys;
    const own = new Set<number>();
    for (const page of mapped.inOrder()) {
      own.add(mem.folioOf(dptPfn(mirror.pageTable.lookup(originPage + page))));
    }
    await this.others.free(pages, (pfn) => own.has(mem.folioOf(pfn)));
  }
}

/** The engine or the file is gone. */
export function isFatal(status: number): boolean {
  return status === errno.ENODEV || status === errno.EIO || status === errno.EINTR;
}
