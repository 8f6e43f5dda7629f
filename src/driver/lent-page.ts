/**
 * Pages that are lent to a device for a pass (aperture.ts): what is known of each, what the device
 * may do with it, how its bytes come back. Locking: the folio is locked by whoever has lent it.
 */
import { PAGE_SIZE } from '../base/units.ts';
import {
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_READ,
  PTE_ALL,
  PTE_ATOMIC,
  PTE_READ,
} from '../engine/vm/abi.ts';
import { removeMigrationPtes } from '../mm/migrate.ts';
import type { System } from '../mm/mm-types.ts';
import { putPage } from '../mm/page-alloc.ts';
import { DPT_ATOMIC, DPT_WRITE } from './device-page-table.ts';

/** No pfn: neither device memory nor allocated RAM has number 0. */
export const NO_PAGE = 0;

/** A RAM page that is lent. */
export interface LentPage {
  readonly pfn: number;
  readonly folio: number;
  /** VRAM frame that holds the copy. */
  readonly frame: number;
  isWritten: boolean;
  /** RAM page through which it comes back; NO_PAGE for none. */
  bounce: number;
  /** What went in, where it has to be merged. */
  before: Uint8Array | null;
}

/** A virtual page through which kernels see it. */
export interface LentMapping {
  readonly page: number;
  readonly lent: LentPage;
  /** `PTE_*` flags, and what the context's entry refused before. */
  readonly flags: number;
  readonly kills: number;
  isErased: boolean;
}

/**
 * Takes over what came back in a page's bounce page.
 *
 * @returns whether it had to be merged with what somebody else may have written meanwhile
 */
export function takeBack(sys: System, { pfn, bounce, before }: LentPage): boolean {
  const now = pageBytes(sys, bounce);
  const target = pageBytes(sys, pfn);
  if (before === null) {
    target.set(now);
    return false;
  }
  for (let i = 0; i < PAGE_SIZE; i++) if (now[i] !== before[i]) target[i] = now[i]!;
  return true;
}

/** Puts a folio's mappings back, wherever there still are any, and lets it go. */
export function giveFolioBack(sys: System, folio: number): void {
  removeMigrationPtes(sys, folio, folio);
  sys.mem.unlockPage(folio);
  putPage(sys, folio);
}

/** Whether an access changes memory. */
export function isWrite(access: number): boolean {
  return access !== ACCESS_READ && access !== ACCESS_PREFETCH;
}

/** Whether an entry of the device page table allows such an access. */
export function allows(entry: number, access: number): boolean {
  if (!isWrite(access)) return entry !== 0;
  return (entry & (access === ACCESS_ATOMIC ? DPT_WRITE | DPT_ATOMIC : DPT_WRITE)) !== 0;
}

/** Rights for a pass. Lent for reading means that nothing has to be copied back. */
export function rightsOf(entry: number, access: number): number {
  if (!isWrite(access)) return PTE_READ;
  return (entry & DPT_WRITE) !== 0 ? PTE_ALL : PTE_READ | PTE_ATOMIC;
}

/** Whether a folio is one of the zero pages, which are nobody's to change. */
export function isZeroPage(sys: System, folio: number): boolean {
  return folio === sys.zeroPfn || (folio === sys.hugeZeroPfn && folio !== NO_PAGE);
}

/** The bytes of a page of RAM. */
export function pageBytes(sys: System, pfn: number): Uint8Array {
  return sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
}
