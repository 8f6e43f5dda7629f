/**
 * The unmap phase of device migration (mm/migrate_device.c: migrate_device_unmap): collected pages
 * are taken off the LRU and out of every other page table, then looked over for references that
 * nothing explains. What survives is locked, unmapped everywhere, and nobody can change its
 * contents.
 *
 * Locking: pages locked by the caller. Never waits. Other address spaces get MMU_NOTIFY_CLEAR.
 *
 * Leaves out: draining per-CPU LRU batches (there are none).
 */
import { HPAGE_PMD_NR } from '../base/units.ts';
import { isolateWhole } from './migrate-device-whole.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  migrateEntryPages,
  migratePfnToPage,
} from './migrate-types.ts';
import { removeMigrationPtes } from './migrate.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { PG_HEAD, PG_ISOLATED, PG_LRU, PG_SWAPCACHE } from './page.ts';
import type { MemMap } from './page.ts';
import { tryToMigrate } from './try-to-migrate.ts';
import { SKIP_NOT_ON_LRU, SKIP_PINNED_AT_UNMAP, SKIP_STILL_MAPPED } from './skip-reason.ts';

/** What migrateDeviceUnmap says of a page that may go on. */
const UNMAPPED = 0;
/** Bits of an entry that say what it stands for. */
const KIND = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND;

/**
 * Unmaps every page of src[], and gives back those that can't go: their mappings are restored,
 * their entries zeroed.
 *
 * @param faultPage The page that the caller's fault holds locked and referenced, or NO_FAULT_PAGE.
 * @returns the number of entries that may migrate, holes included.
 */
export function migrateDeviceUnmap(
  sys: System,
  src: Uint32Array,
  npages: number,
  faultPage: number,
  reasons: Uint8Array | null,
): number {
  const { mem } = sys;
  let unmapped = 0;
  let failed = 0;
  for (let i = 0; i < npages;) {
    if (isolateWhole(mem, src[i]!, faultPage)) {
      unmapped++;
      i += HPAGE_PMD_NR;
      continue;
    }
    let next = isolatePlainPages(mem, src, i, npages, faultPage);
    // Holes have nothing to unmap.
    while (next < npages && src[next] === MIGRATE_PFN_MIGRATE) next++;
    unmapped += next - i;
    i = next;
    if (i === npages) break;
    const entry = src[i]!;
    const slot = i;
    i += migrateEntryPages(entry);
    if ((entry & MIGRATE_PFN_MIGRATE) === 0) continue;
    const pfn = migratePfnToPage(entry);
    const outcome = pfn < 0 ? UNMAPPED : unmapFolio(sys, pfn, pfn === faultPage);
    if (outcome === UNMAPPED) {
      unmapped++;
      continue;
    }
    src[slot] = entry & ~MIGRATE_PFN_MIGRATE;
    reasons?.fill(outcome, slot, i);
    failed++;
  }
  // Only now: while the first pass still unmaps, a page restored too early could be unmapped again.
  for (let i = 0; i < npages && failed > 0; i++) {
    const entry = src[i]!;
    const pfn = migratePfnToPage(entry);
    if (pfn < 0 || (entry & MIGRATE_PFN_MIGRATE) !== 0) continue;
    restorePage(sys, pfn, pfn === faultPage);
    src[i] = 0;
    failed--;
  }
  return unmapped;
}

/**
 * What unmapFolio comes to for nearly every page: a single page that was mapped once, where it was
 * collected, and that nobody else refers to. Without a call, and with everything loaded once.
 *
 * @returns the first slot from `from` on that has to be looked at, or `end`.
 */
function isolatePlainPages(
  mem: MemMap,
  src: Uint32Array,
  from: number,
  end: number,
  faultPage: number,
): number {
  const { flags, mapcount, refcount, pgmap } = mem;
  let i = from;
  for (; i < end; i++) {
    const entry = src[i]!;
    if ((entry & KIND) !== (MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE)) break;
    const pfn = entry >>> MIGRATE_PFN_SHIFT;
    if (mapcount[pfn] !== 0 || refcount[pfn] !== 1 || pfn === faultPage) break;
    const bits = flags[pfn]!;
    if ((bits & (PG_HEAD | PG_SWAPCACHE)) !== 0) break;
    if (pgmap[pfn] !== 0) continue;
    if ((bits & PG_LRU) === 0) break;
    flags[pfn] = (bits & ~PG_LRU) | PG_ISOLATED;
  }
  return i;
}

/** @returns UNMAPPED, or the SKIP_* code of what stands in the way. */
function unmapFolio(sys: System, pfn: number, isFaultPage: boolean): number {
  const { mem } = sys;
  const isDevice = mem.isZoneDevice(pfn);
  if (!isDevice) {
    const flags = mem.flags[pfn]!;
    if ((flags & PG_LRU) === 0) return SKIP_NOT_ON_LRU;
    // Isolation takes a reference and the collect phase's one goes: the count stays.
    mem.flags[pfn] = (flags & ~PG_LRU) | PG_ISOLATED;
  }
  let reason = UNMAPPED;
  if (mem.folioMapcount(pfn) !== 0 && !tryToMigrate(sys, pfn)) reason = SKIP_STILL_MAPPED;
  else if (!migrateVmaCheckPage(mem, pfn, isDevice, isFaultPage)) reason = SKIP_PINNED_AT_UNMAP;
  if (reason !== UNMAPPED && !isDevice) putbackLru(mem, pfn);
  return reason;
}

/**
 * True when nothing but the migration refers to an unmapped page (migrate_vma_check_page). A device
 * page may have one reference more, a leniency from the past: the check at commit is exact.
 */
function migrateVmaCheckPage(
  mem: MemMap,
  pfn: number,
  isDevice: boolean,
  isFaultPage: boolean,
): boolean {
  let expected = 1;
  if (isFaultPage) expected++;
  if (isDevice) expected++;
  const inPageCache = mem.mapping[pfn] !== 0 && !mem.isAnon(pfn);
  if (inPageCache || mem.testFlag(pfn, PG_SWAPCACHE)) expected++;
  return mem.refcount[pfn]! <= expected;
}

/** Back on the LRU (folio_putback_lru). Context: page isolated by us. */
export function putbackLru(mem: MemMap, pfn: number): void {
  mem.flags[pfn] = (mem.flags[pfn]! & ~PG_ISOLATED) | PG_LRU;
}

/** Undoes collect and unmap for one page. */
function restorePage(sys: System, pfn: number, isFaultPage: boolean): void {
  removeMigrationPtes(sys, pfn, pfn);
  if (!isFaultPage) sys.mem.unlockPage(pfn);
  putPage(sys, pfn);
}
