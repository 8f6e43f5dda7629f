/**
 * Device migration of large folios like nearly all: anonymous ones that one PMD entry maps, that
 * move as one entry to another large folio, and that nobody but the migration refers to. Each step
 * is written out here, with everything loaded once; whatever is different in any way is left to the
 * long ways of migrate-vma-collect-huge.ts, migrate-device-unmap.ts, migrate-device-commit.ts and
 * migrate-device-finalize.ts, and what a folio comes to is what it comes to there.
 *
 * Locking: as the step that calls. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import { MEMORY_DEVICE_PRIVATE } from './memory-type.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { HUGE_COLLECTED } from './migrate-vma-collect-huge.ts';
import { MOVED_FLAGS, mappingFor } from './migrate.ts';
import { linearPageIndex, vmaPageProt } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import {
  MAPPING_ANON,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_ISOLATED,
  PG_LOCKED,
  PG_LRU,
  PG_SWAPCACHE,
  PG_WAITERS,
} from './page.ts';
import type { MemMap } from './page.ts';
import { soleAnonVma } from './rmap.ts';
import { SKIP_CORE_SILENT, SKIP_NONE } from './skip-reason.ts';
import {
  LEAF_MIGRATION_READ,
  PTE_DIRTY,
  PTE_HUGE,
  PTE_SPECIAL,
  isDevicePrivateEntry,
  isMigrationEntry,
  isWritableLeaf,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';
import { migrationEntryFor } from './try-to-migrate.ts';

/** Entries of a large folio in src[], and of one that takes its place in dst[]. */
const FROM = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND;
const TO = MIGRATE_PFN_VALID | MIGRATE_PFN_COMPOUND;

/**
 * Collects the PMD leaf at word `at` if it is of RAM that nobody may have pinned, or of device
 * memory of the caller's own: puts a migration entry in its place and fills the first slot.
 *
 * @param start The range of the leaf, which the caller takes whole. @param end Its end.
 * @returns HUGE_COLLECTED; SKIP_CORE_SILENT; SKIP_NONE for a leaf that has to be looked at more
 * closely: nothing changed. Context: inside MMU_NOTIFY_MIGRATE.
 */
export function takeWholeLeaf(args: MigrateVma, start: number, end: number, at: number): number {
  const { mm } = args.vma;
  const { mem, pageTables, pagemaps } = mm.sys;
  const { flags, pgmap, pincount, entireMapcount, largeMapcount } = mem;
  const pmd = pageTables.words[at]!;
  const folio = ptePfn(pmd);
  const isPresent = ptePresent(pmd);
  const bits = flags[folio]!;
  if ((bits & PG_LOCKED) !== 0 || args.faultPage !== NO_FAULT_PAGE) return SKIP_NONE;
  if (isPresent) {
    if ((args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0 || (pmd & PTE_SPECIAL) !== 0)
      return SKIP_NONE;
    if (pgmap[folio] !== 0 || pincount[folio] !== 0) return SKIP_NONE;
  } else {
    if ((args.flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE) === 0) return SKIP_NONE;
    if (!isDevicePrivateEntry(pmd)) return SKIP_NONE;
    if (pagemaps[pgmap[folio]!]?.owner !== args.pgmapOwner) return SKIP_NONE;
  }
  // One non-empty entry for another: the table's use count stays.
  pageTables.words[at] = migrationEntryFor(pmd, (bits & PG_ANON_EXCLUSIVE) !== 0);
  if (isPresent && !tryFlushTlbRange(mm, start, end, HPAGE_PMD_NR)) {
    pageTables.publish(at, pmd);
    return SKIP_CORE_SILENT;
  }
  const mappings = entireMapcount[folio]! - 1;
  assert(mappings >= 0, 'I12: a mapping that is removed was counted');
  entireMapcount[folio] = mappings;
  largeMapcount[folio]! -= 1;
  const dirty = isPresent && (pmd & PTE_DIRTY) !== 0 ? PG_DIRTY : 0;
  // The mapping's reference becomes the migration's.
  flags[folio] = (bits & ~PG_ANON_EXCLUSIVE) | PG_LOCKED | dirty;
  const isWritable = isPresent ? pteWrite(pmd) : isWritableLeaf(pmd);
  const write = isWritable ? MIGRATE_PFN_WRITE : 0;
  args.src[args.npages] = ((folio << MIGRATE_PFN_SHIFT) | FROM | write) >>> 0;
  return HUGE_COLLECTED;
}

/**
 * Unmaps the large folio of an entry of src[] if it was mapped once, where it was collected.
 *
 * @returns false for one that has to be looked at more closely: nothing changed.
 */
export function isolateWhole(mem: MemMap, entry: number, faultPage: number): boolean {
  if ((entry & FROM) !== FROM) return false;
  const { flags, refcount, pgmap } = mem;
  const pfn = entry >>> MIGRATE_PFN_SHIFT;
  // A mapping would have a reference.
  if (refcount[pfn] !== 1 || pfn === faultPage) return false;
  if (pgmap[pfn] !== 0) return true;
  const bits = flags[pfn]!;
  if ((bits & (PG_LRU | PG_SWAPCACHE)) !== PG_LRU) return false;
  flags[pfn] = (bits & ~PG_LRU) | PG_ISOLATED;
  return true;
}

/**
 * Commits a large folio to the large destination of its slot.
 *
 * @returns false for one that has to be looked at more closely: nothing changed.
 */
export function moveWhole(mem: MemMap, entry: number, to: number, faultPage: number): boolean {
  if ((entry & TO) !== TO || (to & TO) !== TO) return false;
  const { flags, refcount, mapping, index } = mem;
  const source = entry >>> MIGRATE_PFN_SHIFT;
  const target = to >>> MIGRATE_PFN_SHIFT;
  const word = mapping[source]!;
  const bits = flags[source]!;
  const targetBits = flags[target]!;
  if ((word & MAPPING_ANON) === 0 || (bits & PG_SWAPCACHE) !== 0) return false;
  if (refcount[source] !== 1 || source === faultPage) return false;
  if ((targetBits & PG_LOCKED) === 0) return false;
  mapping[target] = word;
  index[target] = index[source]!;
  flags[target] = targetBits | (bits & MOVED_FLAGS);
  return true;
}

/**
 * Finishes a large folio that moved, if no VMA but the one that it was collected in can map it and
 * its migration entry still stands there: maps the destination, frees the source.
 *
 * @returns false for one that has to be looked at more closely: nothing changed.
 */
export function finishWhole(args: MigrateVma, slot: number): boolean {
  const { vma, src, dst } = args;
  if ((src[slot]! & FROM) !== FROM || (dst[slot]! & TO) !== TO) return false;
  const { sys, pgd } = vma.mm;
  const { pageTables } = sys;
  const { flags, mapping, index, entireMapcount, largeMapcount, pgmap } = sys.mem;
  const source = src[slot]! >>> MIGRATE_PFN_SHIFT;
  const target = dst[slot]! >>> MIGRATE_PFN_SHIFT;
  const word = mapping[target]!;
  if (source === args.faultPage || soleAnonVma(sys, word) !== vma) return false;
  const addr = args.start + slot * PAGE_SIZE;
  const at = pageTables.pmdOffset(pgd, addr);
  const entry = pageTables.words[at]!;
  if (ptePfn(entry) !== source || !isMigrationEntry(entry)) return false;
  const bits = flags[target]!;
  const lock = PG_LOCKED | PG_WAITERS;
  if ((flags[source]! & lock) !== PG_LOCKED || (bits & lock) !== PG_LOCKED) return false;
  if (mapping[source] !== word) return false;
  if (index[target] !== linearPageIndex(vma, addr)) return false;
  const owner = pgmap[target]!;
  const isPrivate = sys.mem.pgmapType[owner] === MEMORY_DEVICE_PRIVATE;
  assert(largeMapcount[target] === 0, 'I12: a page that was unmapped has no mapping');
  // The reference that the mapping takes is the one that the migration gives up.
  entireMapcount[target] = 1;
  largeMapcount[target] = 1;
  const next = mappingFor(entry, target, vmaPageProt(vma), isPrivate, bits);
  pageTables.publish(at, isPrivate ? next : (next | PTE_HUGE) >>> 0);
  const exclusive = leafKind(entry) !== LEAF_MIGRATION_READ ? PG_ANON_EXCLUSIVE : 0;
  // Back on the LRU, where RAM belongs.
  const lru = owner === 0 ? PG_LRU : 0;
  flags[target] = (bits & ~(PG_LOCKED | PG_ISOLATED)) | lru | exclusive;
  flags[source]! &= ~PG_LOCKED;
  putPage(sys, source);
  return true;
}
