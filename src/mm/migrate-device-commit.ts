/**
 * Committing pages that the driver has copied (mm/migrate_device.c: __migrate_device_pages): each
 * destination takes its source's place in the anon_vma or page cache. Where the driver answers a
 * large folio with single pages, the folio, which nothing maps any more, is split now.
 *
 * Locking: sources and destinations locked. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR } from '../base/units.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  MIGRATE_PFN_WRITE,
  migrateEntryPages,
  migratePfn,
  migratePfnToPage,
} from './migrate-types.ts';
import { moveWhole } from './migrate-device-whole.ts';
import { MOVED_FLAGS, folioMigrateMapping } from './migrate.ts';
import type { System } from './mm-types.ts';
import { MAPPING_ANON, PG_LOCKED, PG_SWAPCACHE } from './page.ts';
import type { MemMap } from './page.ts';
import {
  SKIP_NONE,
  SKIP_NO_DESTINATION,
  SKIP_PAGE_CACHE,
  SKIP_PINNED_AT_COMMIT,
  SKIP_SIZES_DIFFER,
  SKIP_SWAP_CACHE,
  noteReason,
} from './skip-reason.ts';
import { splitAllPmds, splitUnmappedFolio } from './split-folio.ts';
import { folioFreeSwap } from './swap-state.ts';

/** Of these bits an entry that stands for a single page has only VALID. */
const SINGLE = MIGRATE_PFN_VALID | MIGRATE_PFN_COMPOUND;

/** The arrays of a migration, and what its caller knows. */
export interface CommitRequest {
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  readonly npages: number;
  /** The page that the caller's fault holds locked and referenced, or NO_FAULT_PAGE. */
  readonly faultPage: number;
  readonly reasons: Uint8Array | null;
}

/**
 * Commits the source pages of src[]; holes are migrateVmaInsertPages' business.
 *
 * @param maySplit Whether large folios may be split: only where the pages were collected in a VMA.
 */
export function commitPages(sys: System, request: CommitRequest, maySplit: boolean): void {
  const { src, dst, npages, faultPage } = request;
  for (let i = 0; i < npages;) {
    if (moveWhole(sys.mem, src[i]!, dst[i]!, faultPage)) {
      i += HPAGE_PMD_NR;
      continue;
    }
    i = movePlainPages(sys.mem, request, i);
    while (i < npages && (src[i]! & MIGRATE_PFN_VALID) === 0) i++;
    if (i === npages) break;
    const slot = i;
    i += migrateEntryPages(src[i]!);
    const source = migratePfnToPage(src[slot]!);
    const sizes = matchSizes(sys, request, slot, source, maySplit);
    // A split turns the entry into that of its first page; the loop goes on with the others.
    if (sizes === SKIP_NONE) i = slot + migrateEntryPages(src[slot]!);
    const target = migratePfnToPage(dst[slot]!);
    const reason =
      sizes === SKIP_NONE ? commitPage(sys, source, target, source === faultPage) : sizes;
    if (reason === SKIP_NONE) continue;
    src[slot] = src[slot]! & ~MIGRATE_PFN_MIGRATE;
    noteReason(request.reasons, reason, slot, i);
  }
}

/**
 * What commitPage comes to for nearly every page: a single anonymous one that only the migration
 * refers to. Without a call, and with everything loaded once.
 *
 * @returns the first slot from `from` on that has to be looked at, or the end.
 */
function movePlainPages(mem: MemMap, request: CommitRequest, from: number): number {
  const { src, dst, npages, faultPage } = request;
  const { flags, refcount, mapcount, mapping, index } = mem;
  let i = from;
  for (; i < npages; i++) {
    const entry = src[i]!;
    const to = dst[i]!;
    if ((entry & SINGLE) !== MIGRATE_PFN_VALID || (to & SINGLE) !== MIGRATE_PFN_VALID) break;
    const source = entry >>> MIGRATE_PFN_SHIFT;
    const target = to >>> MIGRATE_PFN_SHIFT;
    const word = mapping[source]!;
    const bits = flags[source]!;
    const targetBits = flags[target]!;
    if ((word & MAPPING_ANON) === 0 || (bits & PG_SWAPCACHE) !== 0) break;
    if (refcount[source] !== 1 || mapcount[source] !== 0 || source === faultPage) break;
    if ((targetBits & PG_LOCKED) === 0) break;
    mapping[target] = word;
    index[target] = index[source]!;
    flags[target] = targetBits | (bits & MOVED_FLAGS);
  }
  return i;
}

/** Makes source and destination of a slot the same size. @returns SKIP_NONE, or why it can't. */
function matchSizes(
  sys: System,
  request: CommitRequest,
  slot: number,
  source: number,
  maySplit: boolean,
): number {
  const isLarge = (request.src[slot]! & MIGRATE_PFN_COMPOUND) !== 0;
  const takesLarge = (request.dst[slot]! & MIGRATE_PFN_COMPOUND) !== 0;
  if (migratePfnToPage(request.dst[slot]!) < 0) return SKIP_NO_DESTINATION;
  if (isLarge === takesLarge) return SKIP_NONE;
  if (takesLarge || !maySplit) return SKIP_SIZES_DIFFER;
  const extra = source === request.faultPage ? 1 : 0;
  if (sys.mem.refcount[source] !== 1 + extra) return SKIP_PINNED_AT_COMMIT;
  splitAllPmds(sys, source);
  splitUnmappedFolio(sys, source, extra, source);
  const flags = MIGRATE_PFN_MIGRATE | (request.src[slot]! & MIGRATE_PFN_WRITE);
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    request.src[slot + i] = (migratePfn(source + i) | flags) >>> 0;
  }
  return SKIP_NONE;
}

/** @returns SKIP_NONE, or why the page stays. */
function commitPage(sys: System, source: number, target: number, isFaultPage: boolean): number {
  const { mem } = sys;
  assert(mem.isLocked(target), 'I30: a destination is locked');
  const inPageCache = mem.mapping[source] !== 0 && !mem.isAnon(source);
  if (inPageCache && mem.isZoneDevice(target)) return SKIP_PAGE_CACHE;
  // The device is no place for a page that others may want to swap in.
  const inSwapCache = mem.testFlag(source, PG_SWAPCACHE);
  if (inSwapCache && mem.isZoneDevice(target) && !folioFreeSwap(sys, source)) {
    return SKIP_SWAP_CACHE;
  }
  const moved = folioMigrateMapping(sys, target, source, isFaultPage ? 1 : 0);
  return moved === 0 ? SKIP_NONE : SKIP_PINNED_AT_COMMIT;
}
