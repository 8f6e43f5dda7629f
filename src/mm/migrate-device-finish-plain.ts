/**
 * The end of a device migration for pages like nearly all: single anonymous ones that moved, that
 * nobody but the migration refers to, and whose migration entry stands where they were collected.
 * Their entries are exchanged in one loop without a call, with everything loaded once, and their
 * sources are freed together.
 *
 * What each page comes to is what finalize's long way comes to: the reference that the mapping
 * takes on the destination is the one that the migration gives up, so its count stays.
 *
 * Locking: pages locked since setup. Never waits.
 */
import { PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { freeZoneDevicePages } from './memremap.ts';
import { MEMORY_DEVICE_PRIVATE } from './memory-type.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { mappingFor } from './migrate.ts';
import { linearPageIndex, vmaPageProt } from './mm-types.ts';
import { freeUnrefPages } from './page-alloc.ts';
import {
  PG_ANON_EXCLUSIVE,
  PG_HEAD,
  PG_ISOLATED,
  PG_LOCKED,
  PG_LRU,
  PG_RESERVED,
  PG_TAIL,
  PG_WAITERS,
} from './page.ts';
import { LEAF_MIGRATION_READ, isMigrationEntry, leafKind, ptePfn } from './swapops.ts';

/** Bits of an entry that say what it stands for. */
const KIND = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND;
/** Of a page that is locked, single, and that nobody waits for, only PG_LOCKED is set. */
const LOCK_STATE = PG_LOCKED | PG_WAITERS | PG_HEAD | PG_TAIL | PG_RESERVED;

/** Sources that one call frees. */
const freed = new Uint32Array(PTRS_PER_TABLE);

/**
 * Finishes plain pages from slot `from` on, up to the first one that is not plain, or whose source
 * or destination has another owner than the first one's.
 *
 * @param word Mapping word of an anon_vma that has no VMA but `args.vma`.
 * @param end One past the last slot, at most a page table behind `from`.
 * @param firstAt Where the page table entry of slot 0 would be: slot i has word `firstAt + i`.
 * @returns the first slot that is left to do.
 */
export function finishPlainPages(
  args: MigrateVma,
  word: number,
  from: number,
  end: number,
  firstAt: number,
): number {
  const { vma, src, dst, faultPage } = args;
  const { sys } = vma.mm;
  const { flags, refcount, mapcount, mapping, index, pgmap, pgmapType } = sys.mem;
  const { pageTables } = sys;
  const { words } = pageTables;
  const firstIndex = linearPageIndex(vma, args.start + from * PAGE_SIZE) - from;
  const prot = vmaPageProt(vma);
  const sourceOwner = pgmap[src[from]! >>> MIGRATE_PFN_SHIFT]!;
  const targetOwner = pgmap[dst[from]! >>> MIGRATE_PFN_SHIFT]!;
  const isPrivate = pgmapType[targetOwner] === MEMORY_DEVICE_PRIVATE;
  // Back on the LRU, where RAM belongs.
  const lru = targetOwner === 0 ? PG_LRU : 0;
  let i = from;
  for (; i < end; i++) {
    const entry = src[i]!;
    const to = dst[i]!;
    if ((entry & KIND) !== (MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE)) break;
    if ((to & (MIGRATE_PFN_VALID | MIGRATE_PFN_COMPOUND)) !== MIGRATE_PFN_VALID) break;
    const source = entry >>> MIGRATE_PFN_SHIFT;
    const target = to >>> MIGRATE_PFN_SHIFT;
    const pte = words[firstAt + i]!;
    if (ptePfn(pte) !== source || !isMigrationEntry(pte) || source === faultPage) break;
    if (mapping[source] !== word || mapping[target] !== word) break;
    if (index[target] !== firstIndex + i) break;
    if (refcount[source] !== 1 || refcount[target] !== 1) break;
    if (mapcount[source] !== 0 || mapcount[target] !== 0) break;
    const bits = flags[target]!;
    if ((flags[source]! & LOCK_STATE) !== PG_LOCKED || (bits & LOCK_STATE) !== PG_LOCKED) break;
    if (pgmap[source] !== sourceOwner || pgmap[target] !== targetOwner) break;
    mapcount[target] = 1;
    const mapped = mappingFor(pte, target, prot, isPrivate, bits);
    if (isPrivate) words[firstAt + i] = mapped;
    else pageTables.publish(firstAt + i, mapped);
    const exclusive = leafKind(pte) !== LEAF_MIGRATION_READ ? PG_ANON_EXCLUSIVE : 0;
    flags[target] = (bits & ~(PG_LOCKED | PG_ISOLATED)) | lru | exclusive;
    // The last reference goes: what a free page says of itself.
    flags[source] = 0;
    refcount[source] = 0;
    mapping[source] = 0;
    index[source] = 0;
    freed[i - from] = source;
  }
  if (i === from) return from;
  if (sourceOwner === 0) freeUnrefPages(sys, freed, i - from);
  else freeZoneDevicePages(sys, freed, i - from);
  return i;
}
