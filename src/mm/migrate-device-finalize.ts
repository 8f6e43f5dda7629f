/**
 * The end of a device migration (mm/migrate_device.c: __migrate_device_finalize): migration entries
 * become mappings of the page that holds the contents now, locks and references go, waiters wake
 * and fault again. No notifier is sent: nothing could be reached through the entries.
 *
 * Locking: pages locked since setup. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { putbackLru } from './migrate-device-unmap.ts';
import { MEMORY_DEVICE_PRIVATE } from './memory-type.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  NO_FAULT_PAGE,
  migrateEntryPages,
  migratePfnToPage,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { mappingFor, removeMigrationPtes } from './migrate.ts';
import { linearPageIndex, vmaPageProt } from './mm-types.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_ISOLATED, PG_LRU } from './page.ts';
import { soleAnonVma } from './rmap.ts';
import { LEAF_MIGRATION_READ, isMigrationEntry, leafKind, ptePfn } from './swapops.ts';
import { vmEventIndex } from './vmstat.ts';

const PGMIGRATE_SUCCESS = vmEventIndex('pgmigrate_success');
const PGMIGRATE_FAIL = vmEventIndex('pgmigrate_fail');
const PGMIGRATE_TO_DEVICE = vmEventIndex('pgmigrate_to_device');
const THP_MIGRATION_SUCCESS = vmEventIndex('thp_migration_success');
const THP_MIGRATION_FAIL = vmEventIndex('thp_migration_fail');
const PGMIGRATE_TO_RAM = vmEventIndex('pgmigrate_to_ram');

/**
 * Finishes every entry of src[] and dst[].
 *
 * @param args Where the pages were collected, null when they were selected by pfn.
 */
export function finalizePages(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
  args: MigrateVma | null,
): void {
  replaceAllEntries(sys, src, dst, npages, args);
  releaseDestinations(sys, src, dst, npages);
  releaseSources(sys, src, npages, args === null ? NO_FAULT_PAGE : args.faultPage);
}

/** Unlocks and drops what the driver allocated; what was not used is freed by that. Counts. */
function releaseDestinations(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
): void {
  const { pgmap } = sys.mem;
  let toDevice = 0;
  let toRam = 0;
  let restored = 0;
  for (let i = 0, next = 0; i < npages; i = next) {
    const from = src[i]!;
    const to = dst[i]!;
    const pages = migrateEntryPages(from);
    next = i + migrateEntryPages(to);
    if (pages > 1)
      sys.vmstat.add(isMoved(from, to) ? THP_MIGRATION_SUCCESS : THP_MIGRATION_FAIL, 1);
    if (!isMoved(from, to) && (from & MIGRATE_PFN_VALID) !== 0) restored += pages;
    if ((to & MIGRATE_PFN_VALID) === 0) continue;
    const pfn = to >>> MIGRATE_PFN_SHIFT;
    if (isMoved(from, to)) {
      if (pgmap[pfn] === 0) toRam += pages;
      else toDevice += pages;
    }
    unlockAndPut(sys, pfn);
  }
  sys.vmstat.add(PGMIGRATE_SUCCESS, toDevice + toRam);
  sys.vmstat.add(PGMIGRATE_TO_DEVICE, toDevice);
  sys.vmstat.add(PGMIGRATE_TO_RAM, toRam);
  sys.vmstat.add(PGMIGRATE_FAIL, restored);
}

/** Unlocks and drops the pages that were collected; those that moved away are freed by that. */
function releaseSources(sys: System, src: Uint32Array, npages: number, faultPage: number): void {
  for (let i = 0, next = 0; i < npages; i = next) {
    const from = src[i]!;
    next = i + migrateEntryPages(from);
    if ((from & MIGRATE_PFN_VALID) === 0) continue;
    const pfn = from >>> MIGRATE_PFN_SHIFT;
    if (pfn === faultPage) putPage(sys, pfn);
    else unlockAndPut(sys, pfn);
  }
}

/** unlockPage and putPage, short for a folio that somebody else still refers to. */
function unlockAndPut(sys: System, pfn: number): void {
  const { mem } = sys;
  mem.unlockPage(pfn);
  const references = mem.refcount[pfn]!;
  if (references > 1) mem.refcount[pfn] = references - 1;
  else putPage(sys, pfn);
}

/** Maps every page, moved or not, wherever a migration entry stands for it. */
function replaceAllEntries(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
  args: MigrateVma | null,
): void {
  let i = 0;
  while (i < npages) {
    if (migratePfnToPage(src[i]!) >= 0) {
      const isLarge = (src[i]! & MIGRATE_PFN_COMPOUND) !== 0;
      const next = args === null || isLarge ? i : replaceRun(args, i);
      if (next === i) replaceEntries(sys, src[i]!, dst[i]!);
      else i = next - 1;
      if (isLarge) i += HPAGE_PMD_NR - 1;
    }
    i++;
  }
}

/** One page, wherever it may be mapped. */
function replaceEntries(sys: System, srcEntry: number, dstEntry: number): void {
  const { mem } = sys;
  const source = migratePfnToPage(srcEntry);
  const target = isMoved(srcEntry, dstEntry) ? migratePfnToPage(dstEntry) : source;
  assert(
    target === source || !mem.isAnon(source) || mem.mapping[target] === mem.mapping[source],
    'I31: a page with a destination was committed before finalize',
  );
  if (!mem.isZoneDevice(target)) putbackLru(mem, target);
  removeMigrationPtes(sys, source, target);
}

/**
 * replaceEntries for a run of anonymous pages that can be mapped in one VMA only, because their
 * anon_vma has no other: their entries are where they were collected. This is what nearly every
 * migration does, so it is written out, with everything loaded once.
 *
 * @returns the first slot that is not of that kind, or is in another page table.
 */
function replaceRun(args: MigrateVma, from: number): number {
  const { vma, src, dst } = args;
  const { sys, pgd } = vma.mm;
  const { mapping, index, flags, refcount, mapcount, pgmap, pgmapType } = sys.mem;
  const { words } = sys.pageTables;
  const head = isMoved(src[from]!, dst[from]!) ? dst[from]! : src[from]!;
  const word = mapping[migratePfnToPage(head)]!;
  if (soleAnonVma(sys, word) !== vma) return from;
  const addr = args.start + from * PAGE_SIZE;
  const at = sys.pageTables.pteOffset(pgd, addr);
  if (at === 0) return from;
  const end = Math.min(args.npages, from + PTRS_PER_TABLE - (at % PTRS_PER_TABLE));
  const firstIndex = linearPageIndex(vma, addr);
  const prot = vmaPageProt(vma);
  for (let i = from; i < end; i++) {
    const source = migratePfnToPage(src[i]!);
    if (source < 0) continue;
    if ((src[i]! & MIGRATE_PFN_COMPOUND) !== 0) return i;
    const target = isMoved(src[i]!, dst[i]!) ? migratePfnToPage(dst[i]!) : source;
    if (mapping[source] !== word) return i;
    assert(
      mapping[target] === word,
      'I31: a page with a destination was committed before finalize',
    );
    const owner = pgmap[target]!;
    let bits = owner !== 0 ? flags[target]! : (flags[target]! & ~PG_ISOLATED) | PG_LRU;
    const entry = words[at + i - from]!;
    if (ptePfn(entry) === source && isMigrationEntry(entry)) {
      const references = refcount[target]!;
      assert(references > 0, 'I1: a reference is taken only on a live page');
      assert(mapcount[target] === 0, 'I12: a page that was unmapped has no mapping');
      assert(
        index[target] === firstIndex + i - from,
        'I11: an anonymous page is mapped where its index says',
      );
      refcount[target] = references + 1;
      mapcount[target] = 1;
      if (leafKind(entry) !== LEAF_MIGRATION_READ) bits |= PG_ANON_EXCLUSIVE;
      words[at + i - from] = mappingFor(
        entry,
        target,
        prot,
        pgmapType[owner] === MEMORY_DEVICE_PRIVATE,
        bits,
      );
    }
    flags[target] = bits;
  }
  return end;
}

function isMoved(srcEntry: number, dstEntry: number): boolean {
  return (srcEntry & MIGRATE_PFN_MIGRATE) !== 0 && (dstEntry & MIGRATE_PFN_VALID) !== 0;
}
