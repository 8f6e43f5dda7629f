/**
 * The machine: RAM, the page array, page tables and what Linux keeps in globals (boot,
 * mm/mm_init.c; kernel/resource.c for device regions). Everything per page is reserved here, for
 * the whole pfn space, once.
 *
 * Layout of the pfn space: [0, ramPages) RAM, where pfn 0 is never used and the next page is the
 * zero page; [ramPages, hostPages) frames of coherent device memory, in the same memory; then
 * devicePages pfns of private device memory. Drivers reserve their part of either by region.
 */
import { errno } from '../base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PFN_LIMIT, PTRS_PER_TABLE } from '../base/units.ts';
import { clearHighpage } from './highmem.ts';
import { THP_MADVISE } from './mm-types.ts';
import type { MemRegion, System } from './mm-types.ts';
import { PageAllocator } from './page-alloc.ts';
import { MemMap, PG_RESERVED, PG_UPTODATE } from './page.ts';
import { PageTables } from './pgtable.ts';
import { Vmstat } from './vmstat.ts';

/** Size of the machine. */
export interface SystemOptions {
  /** Bytes of RAM: whole pages, at least MIN_RAM_PAGES of them, at most 4 GiB. */
  readonly ramBytes: number;
  /** Pfns reserved above RAM and coherent memory for private device memory. */
  readonly devicePages: number;
  /** Pages of coherent device memory, which the CPU reaches like RAM. Default 0. */
  readonly coherentPages?: number;
  /** Page tables in the pool (2 KiB each); by default enough to map everything four times over. */
  readonly maxTables?: number;
  /**
   * Memory to use as RAM and coherent memory (the buffer of a WebAssembly.Memory), as long as both
   * together, or a new one.
   */
  readonly ram?: SharedArrayBuffer;
}

/** Fewest pages of RAM of a machine: the unused pfn 0, the zero page and some to hand out. */
export const MIN_RAM_PAGES = 4;
/** Most RAM and coherent memory together: what one shared WebAssembly.Memory can hold. */
export const MAX_RAM_BYTES = 2 ** 32;

const ZERO_PFN = 1;
const FIRST_FREE_PFN = 2;
/** Page tables of a machine that has hardly any memory. */
const MIN_DEFAULT_TABLES = 1024;
/** How often the default pool can map all pages of the machine. */
const DEFAULT_MAPPINGS_PER_PAGE = 4;

/**
 * Boots a machine.
 *
 * @returns the machine; EINVAL for sizes that don't fit the layout above or don't agree with `ram`;
 * ENOMEM when the host has no room. Context: never waits. Our own.
 */
export function createSystem(options: SystemOptions): System | number {
  const { ramBytes, devicePages, coherentPages = 0 } = options;
  const ramPages = ramBytes / PAGE_SIZE;
  if (!Number.isInteger(ramPages) || ramPages < MIN_RAM_PAGES) return errno.EINVAL;
  if (!Number.isInteger(devicePages) || devicePages < 0) return errno.EINVAL;
  if (!Number.isInteger(coherentPages) || coherentPages < 0) return errno.EINVAL;
  const hostBytes = ramBytes + coherentPages * PAGE_SIZE;
  if (hostBytes > MAX_RAM_BYTES) return errno.EINVAL;
  const pageCount = ramPages + coherentPages + devicePages;
  if (pageCount > PFN_LIMIT) return errno.EINVAL;
  const maxTables = options.maxTables ?? defaultTables(pageCount);
  if (!Number.isInteger(maxTables) || maxTables < 2 || maxTables > PFN_LIMIT) return errno.EINVAL;
  if (options.ram !== undefined && options.ram.byteLength !== hostBytes) return errno.EINVAL;
  try {
    const ram = options.ram ?? new SharedArrayBuffer(hostBytes);
    return assemble(ram, ramPages, pageCount, maxTables);
  } catch (error) {
    if (error instanceof RangeError) return errno.ENOMEM;
    throw error;
  }
}

/**
 * Reserves a range of pfns for private device memory, wherever there is room
 * (request_free_mem_region).
 *
 * @param pages Length of the range in pages. @returns its first pfn; EINVAL for a length
 * that is no positive integer; ENOMEM when no gap is long enough. Context: never waits.
 */
export function requestFreeMemRegion(sys: System, pages: number): number {
  if (!Number.isInteger(pages) || pages <= 0) return errno.EINVAL;
  const regions = sys.deviceRegions;
  let start = sys.hostPages;
  for (let i = 0; i <= regions.length; i++) {
    const end = i < regions.length ? regions[i]!.startPfn : sys.mem.pageCount;
    if (end - start >= pages) {
      regions.splice(i, 0, { startPfn: start, nrPages: pages });
      return start;
    }
    if (i < regions.length) start = Math.max(start, end + regions[i]!.nrPages);
  }
  return errno.ENOMEM;
}

/**
 * Reserves the device pfns from `startPfn` on (request_mem_region), for memory that lies where the
 * machine has it: coherent memory.
 *
 * @returns 0; EINVAL for a range that is empty, no pfns, or not above RAM; EBUSY when part of it is
 * reserved. Context: never waits.
 */
export function requestMemRegion(sys: System, startPfn: number, nrPages: number): number {
  if (!Number.isInteger(startPfn) || startPfn < sys.ramPages) return errno.EINVAL;
  const endPfn = startPfn + nrPages;
  if (!Number.isInteger(nrPages) || nrPages <= 0) return errno.EINVAL;
  if (endPfn > sys.mem.pageCount) return errno.EINVAL;
  const regions = sys.deviceRegions;
  const next = regions.findIndex((region) => region.startPfn + region.nrPages > startPfn);
  const at = next < 0 ? regions.length : next;
  if (at < regions.length && regions[at]!.startPfn < endPfn) return errno.EBUSY;
  regions.splice(at, 0, { startPfn, nrPages });
  return 0;
}

/**
 * Gives a reserved range back (release_mem_region). No pagemap may be registered in it.
 *
 * @returns 0, or EINVAL when no range starts there. Context: never waits.
 */
export function releaseMemRegion(sys: System, startPfn: number): number {
  const at = sys.deviceRegions.findIndex((region) => region.startPfn === startPfn);
  if (at < 0) return errno.EINVAL;
  sys.deviceRegions.splice(at, 1);
  return 0;
}

function defaultTables(pageCount: number): number {
  const leaves = Math.ceil(pageCount / PTRS_PER_TABLE);
  return Math.max(MIN_DEFAULT_TABLES, leaves * DEFAULT_MAPPINGS_PER_PAGE);
}

function assemble(
  ram: SharedArrayBuffer,
  ramPages: number,
  pageCount: number,
  maxTables: number,
): System {
  const mem = new MemMap(pageCount);
  const deviceRegions: MemRegion[] = [];
  const sys: System = {
    ram: new Uint8Array(ram),
    ramWords: new Uint32Array(ram),
    ramPages,
    hostPages: ram.byteLength / PAGE_SIZE,
    mem,
    pageTables: new PageTables(maxTables),
    pageAllocator: new PageAllocator(mem, FIRST_FREE_PFN, ramPages),
    vmstat: new Vmstat(),
    trace: null,
    zeroPfn: ZERO_PFN,
    swap: null,
    hugeZeroPfn: 0,
    hugetlbLimit: Math.floor(ramPages / HPAGE_PMD_NR),
    hugetlbInUse: 0,
    thpMode: THP_MADVISE,
    pagemaps: [null],
    deviceRegions,
    anonVmas: [null],
    inodes: [null],
    freeAnonVmaIds: [],
    freeInodeIds: [],
    mms: new Set(),
    nextMmId: 1,
  };
  for (let pfn = 0; pfn < FIRST_FREE_PFN; pfn++) {
    mem.refcount[pfn] = 1;
    mem.flags[pfn] = PG_RESERVED;
  }
  mem.setFlag(ZERO_PFN, PG_UPTODATE);
  clearHighpage(sys, ZERO_PFN);
  return sys;
}
