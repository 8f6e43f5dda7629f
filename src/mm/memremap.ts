/**
 * Device memory with a struct page per frame (mm/memremap.c, include/linux/memremap.h): registering
 * a range of pfns as a `dev_pagemap`, and the life of its pages.
 *
 * A free device page has no reference and belongs to its driver, which threads its free list
 * through `zoneDeviceData`. `zoneDevicePageInit` makes it live: one reference, locked, which is
 * what migration wants of a destination. The last put gives it back through `folioFree`. Each live
 * page holds a reference on its pagemap, so that a pagemap goes only when all its pages are free.
 *
 * Device-private pages have no CPU mapping: nobody can pin them, and mm never touches their
 * contents. Coherent pages are frames of the shared memory behind RAM: the CPU maps, pins and
 * copies them as it does RAM, but they are on no LRU and belong to their driver.
 *
 * Locking: none needed; code between two waits is atomic. Only memunmapPages waits.
 *
 * Leaves out: FS_DAX, generic and P2PDMA memory, several ranges per pagemap.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { HPAGE_PMD_ORDER } from '../base/units.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { MAX_PAGEMAPS, MEMORY_DEVICE_COHERENT, MEMORY_DEVICE_PRIVATE } from './memory-type.ts';
import type { VmFault } from './memory.ts';
import type { System } from './mm-types.ts';
import { PG_HEAD, PG_LOCKED } from './page.ts';

export {
  MAX_PAGEMAPS,
  MEMORY_DEVICE_COHERENT,
  MEMORY_DEVICE_FS_DAX,
  MEMORY_DEVICE_GENERIC,
  MEMORY_DEVICE_PCI_P2PDMA,
  MEMORY_DEVICE_PRIVATE,
} from './memory-type.ts';

/** How mm reaches the driver of device memory (struct dev_pagemap_ops). */
export interface DevPagemapOps {
  /**
   * The last reference is gone: the 2^order pages from `pfn` on are the driver's again. Must not
   * wait.
   */
  readonly folioFree: (pfn: number, order: number) => void;
  /**
   * The same for the first `count` of `pfns`, single pages whose last references went together;
   * where there is no such callback, folioFree is called for each. Must not wait.
   */
  readonly pagesFree?: (pfns: Uint32Array, count: number) => void;
  /**
   * A large folio falls apart: called with its head and each page behind it in turn, then once with
   * `tail` null, when the head has become a single page. Drivers that keep something per folio move
   * it here; without it nothing happens. Must not wait.
   */
  readonly folioSplit?: (head: number, tail: number | null) => void;
  /**
   * The CPU touched a page that only the device can reach: bring it home. Called with the mmap lock
   * held for read and the page locked and referenced (pass it as fault page). May wait. Private
   * memory must have it, coherent memory has no use for it.
   *
   * @returns 0 when the access may be tried again, else VM_FAULT_* bits.
   */
  readonly migrateToRam?: (vmf: VmFault) => MaybePromise<number>;
  /**
   * Whether the driver keeps such a page for a while: then the fault waits without the mmap lock
   * and is taken up again. Asked before the page is locked, and only where the lock may be dropped;
   * must not wait. Our own: in Linux migrate_to_ram does nothing then, and the CPU faults again.
   *
   * @returns what to wait for, or null
   */
  readonly holdsBack?: (vmf: VmFault) => Promise<void> | null;
  /**
   * The contents of live pages are lost (memory_failure). EOPNOTSUPP, or no such callback, counts
   * as ENXIO.
   */
  readonly memoryFailure?: (
    pgmap: DevPagemap,
    pfn: number,
    nrPages: number,
    flags: number,
  ) => number;
}

/** A range of device memory (struct dev_pagemap). */
export interface DevPagemap {
  /** MEMORY_DEVICE_PRIVATE or MEMORY_DEVICE_COHERENT. */
  readonly type: number;
  readonly startPfn: number;
  readonly nrPages: number;
  /** Who owns the memory, compared by identity; null is nobody. */
  readonly owner: unknown;
  readonly ops: DevPagemapOps;
  /** Live pages, plus one while it is registered. Kept by mm. */
  ref: number;
  /** Number in `sys.pagemaps`; 0 while it is not registered. Kept by mm. */
  id: number;
  /** Set while memunmapPages runs; called when the last page is free. Kept by mm. */
  lastPageFreed?: () => void;
}

/**
 * Registers a range of device memory (memremap_pages). All its pages start free: without reference,
 * and in the hands of the driver.
 *
 * @returns 0; EINVAL for an empty range or numbers that are no pfns, a type other than PRIVATE and
 * COHERENT, missing ops or owner; ENOMEM when it overlaps another pagemap, lies outside the pfn
 * space, or there are MAX_PAGEMAPS; ENXIO when it overlaps RAM, and for frames of the wrong side of
 * `hostPages`: coherent memory lies below, private memory above. Context: never waits.
 */
export function memremapPages(sys: System, pgmap: DevPagemap): number {
  const { startPfn, nrPages } = pgmap;
  if (!Number.isSafeInteger(startPfn) || startPfn < 0) return errno.EINVAL;
  if (!Number.isSafeInteger(nrPages) || nrPages <= 0) return errno.EINVAL;
  if (!isCompletePagemap(pgmap)) return errno.EINVAL;
  assert(pgmap.id === 0, 'I27: a pagemap is registered once');
  const endPfn = startPfn + nrPages;
  if (endPfn > sys.mem.pageCount || overlapsPagemap(sys, startPfn, endPfn)) return errno.ENOMEM;
  if (startPfn < sys.ramPages) return errno.ENXIO;
  const isCoherent = pgmap.type === MEMORY_DEVICE_COHERENT;
  if (isCoherent ? endPfn > sys.hostPages : startPfn < sys.hostPages) return errno.ENXIO;
  const id = freeSlot(sys);
  if (id > MAX_PAGEMAPS) return errno.ENOMEM;
  sys.pagemaps[id] = pgmap;
  pgmap.id = id;
  pgmap.ref = 1;
  sys.mem.pgmapType[id] = pgmap.type;
  sys.mem.pgmap.fill(id, startPfn, endPfn);
  return 0;
}

/** The checks by type. Ops and owner come from drivers, so they are looked at, not trusted. */
function isCompletePagemap(pgmap: DevPagemap): boolean {
  const ops = pgmap.ops as Partial<DevPagemapOps> | null | undefined;
  const isPrivate = pgmap.type === MEMORY_DEVICE_PRIVATE;
  if (!isPrivate && pgmap.type !== MEMORY_DEVICE_COHERENT) return false;
  if (ops === null || ops === undefined || typeof ops.folioFree !== 'function') return false;
  if (isPrivate && typeof ops.migrateToRam !== 'function') return false;
  return pgmap.owner !== null && pgmap.owner !== undefined;
}

function overlapsPagemap(sys: System, startPfn: number, endPfn: number): boolean {
  return sys.pagemaps.some(
    (other) =>
      other !== null && startPfn < other.startPfn + other.nrPages && other.startPfn < endPfn,
  );
}

/** The lowest number above 0 that no pagemap has. */
function freeSlot(sys: System): number {
  const at = sys.pagemaps.indexOf(null, 1);
  return at < 0 ? sys.pagemaps.length : at;
}

/**
 * Unregisters a range (memunmap_pages). Migrate everything away first: no page can be made live any
 * more, and the call waits until the last live one is free.
 *
 * Context: waits for pages; no lock held that freeing a page needs.
 */
export function memunmapPages(sys: System, pgmap: DevPagemap): MaybePromise<void> {
  assert(pgmap.id !== 0, 'I27: a pagemap that is unregistered was registered');
  assert(pgmap.lastPageFreed === undefined, 'I27: a pagemap is unregistered once');
  pgmap.ref--;
  if (pgmap.ref === 0) {
    unregister(sys, pgmap);
    return;
  }
  return new Promise<void>((resolve) => {
    pgmap.lastPageFreed = resolve;
  }).then(() => {
    delete pgmap.lastPageFreed;
    unregister(sys, pgmap);
  });
}

function unregister(sys: System, pgmap: DevPagemap): void {
  const { mem } = sys;
  const endPfn = pgmap.startPfn + pgmap.nrPages;
  mem.pgmap.fill(0, pgmap.startPfn, endPfn);
  mem.zoneDeviceData.fill(0, pgmap.startPfn, endPfn);
  mem.flags.fill(0, pgmap.startPfn, endPfn);
  mem.pgmapType[pgmap.id] = 0;
  sys.pagemaps[pgmap.id] = null;
  pgmap.id = 0;
}

/** The pagemap of a device page (page_pgmap). Context: the page belongs to one. */
export function pagePgmap(sys: System, pfn: number): DevPagemap {
  const pgmap = sys.pagemaps[sys.mem.pgmap[pfn]!];
  assert(pgmap !== null && pgmap !== undefined, 'I17: a mapped device page has its pagemap');
  return pgmap;
}

/**
 * Makes a free device page live (zone_device_page_init): one reference, locked, no mapping, no flag
 * of its last life. Contents are whatever was there.
 *
 * @param order 0, or HPAGE_PMD_ORDER for a large folio of that many naturally aligned free pages.
 * Context: the driver took the page off its free list; the pagemap is not being unregistered.
 */
export function zoneDevicePageInit(sys: System, pfn: number, order = 0): void {
  const { mem } = sys;
  assert(order === 0 || order === HPAGE_PMD_ORDER, 'I33: a folio is a page or of PMD size');
  const pgmap = pagePgmap(sys, pfn);
  assert(pgmap.lastPageFreed === undefined, 'I27: no page is made live in a dying pagemap');
  assert(mem.refcount[pfn] === 0, 'I28: a device page that is made live was free');
  pgmap.ref += 1 << order;
  mem.mapping[pfn] = 0;
  mem.index[pfn] = 0;
  if (order !== 0) {
    mem.prepCompound(pfn);
    mem.flags[pfn] = PG_HEAD | PG_LOCKED;
  } else {
    mem.clearCompound(pfn);
    mem.flags[pfn] = PG_LOCKED;
  }
  mem.refcount[pfn] = 1;
}

/**
 * zoneDevicePageInit for several single pages, of any pagemaps.
 *
 * @param pfns Its slots `from` to `to` - 1 are looked at. Context: as there. Our own.
 */
export function zoneDevicePagesInit(
  sys: System,
  pfns: Uint32Array,
  from: number,
  to: number,
): void {
  const { mem } = sys;
  const { flags, refcount, mapping, index, pgmap } = mem;
  for (let i = from; i < to;) {
    const first = i;
    const owner = pgmap[pfns[i]!]!;
    const map = pagePgmap(sys, pfns[i]!);
    assert(map.lastPageFreed === undefined, 'I27: no page is made live in a dying pagemap');
    for (; i < to; i++) {
      const pfn = pfns[i]!;
      if (pgmap[pfn] !== owner) break;
      assert(refcount[pfn] === 0, 'I28: a device page that is made live was free');
      if (flags[pfn] !== 0) mem.clearCompound(pfn);
      mapping[pfn] = 0;
      index[pfn] = 0;
      flags[pfn] = PG_LOCKED;
      refcount[pfn] = 1;
    }
    map.ref += i - first;
  }
}

/**
 * Takes back a device page whose last reference went (free_zone_device_folio), for putPage.
 *
 * Context: any; never waits.
 */
export function freeZoneDevicePage(sys: System, pfn: number): void {
  const { mem } = sys;
  const pgmap = pagePgmap(sys, pfn);
  const flags = mem.flags[pfn]!;
  const order = (flags & PG_HEAD) === 0 ? 0 : HPAGE_PMD_ORDER;
  assert(mem.folioMapcount(pfn) === 0, 'I7: a page is unmapped before it is freed');
  assert((flags & PG_LOCKED) === 0, 'I8: a freed page is not locked');
  if (order !== 0) mem.retireCompound(pfn);
  else mem.flags[pfn] = 0;
  mem.mapping[pfn] = 0;
  mem.index[pfn] = 0;
  pgmap.ops.folioFree(pfn, order);
  pgmap.ref -= 1 << order;
  if (pgmap.ref === 0) pgmap.lastPageFreed?.();
}

/**
 * Gives single pages of one pagemap back whose last references went together.
 *
 * @param pfns Its first `count` pages, at least one: their struct page says already that they are
 * free, without reference, flag, mapping or index. Context: any; never waits. Our own.
 */
export function freeZoneDevicePages(sys: System, pfns: Uint32Array, count: number): void {
  const pgmap = pagePgmap(sys, pfns[0]!);
  const { ops } = pgmap;
  if (ops.pagesFree !== undefined) ops.pagesFree(pfns, count);
  else for (let i = 0; i < count; i++) ops.folioFree(pfns[i]!, 0);
  pgmap.ref -= count;
  if (pgmap.ref === 0) pgmap.lastPageFreed?.();
}
