/**
 * The collect phase of migrate_vma_setup for pages like nearly all: single ones that are not
 * locked, have a mapping, and are selected: RAM that nobody may have pinned, or device memory of a
 * pagemap that a page was taken from already. They are taken in one loop without a call, with
 * everything loaded once; all others are looked at one by one.
 *
 * Locking: as migrateVmaCollect.
 */
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_SYSTEM,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import {
  GUP_PIN_COUNTING_BIAS,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_HEAD,
  PG_LOCKED,
  PG_TAIL,
} from './page.ts';
import {
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isWritableLeaf,
  mkLeaf,
  ptePfn,
  ptePresent,
} from './swapops.ts';

/** What a migration entry keeps of a present entry, and of any other. */
const KEPT_OF_PRESENT = PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP;
const KEPT = PTE_SOFT_DIRTY | PTE_UFFD_WP;

/**
 * Takes plain pages from slot `from` on, up to the first one that is not plain, or is of another
 * kind than the first one: RAM or device memory.
 *
 * @param end One past the last slot. @param firstAt Slot i has page table entry `firstAt + i`.
 * @param ownedMap Number of a pagemap whose pages may be taken; -1 is none.
 * @returns the first slot that is left to do.
 */
export function collectPlainPages(
  args: MigrateVma,
  from: number,
  end: number,
  firstAt: number,
  ownedMap: number,
): number {
  const { sys } = args.vma.mm;
  const { words } = sys.pageTables;
  const { flags, mapcount, mapping, refcount, pgmap } = sys.mem;
  const { src, dst } = args;
  const isRam = ptePresent(words[firstAt + from]!);
  if (isRam ? (args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0 : ownedMap < 0) return from;
  const owner = isRam ? 0 : ownedMap;
  // A device page can't be pinned: its references are not looked at.
  const maxReferences = isRam ? GUP_PIN_COUNTING_BIAS - 2 : 0x7fffffff;
  const kept = isRam ? KEPT_OF_PRESENT : KEPT;
  let slot = from;
  for (; slot < end; slot++) {
    const pte = words[firstAt + slot]!;
    const isOfKind = isRam
      ? (pte & (PTE_PRESENT | PTE_SPECIAL)) === PTE_PRESENT
      : isDevicePrivateEntry(pte);
    if (!isOfKind) break;
    const pfn = ptePfn(pte);
    const bits = flags[pfn]!;
    if ((bits & (PG_HEAD | PG_TAIL | PG_LOCKED)) !== 0) break;
    if (mapping[pfn] === 0 || pgmap[pfn] !== owner || refcount[pfn]! > maxReferences) break;
    const mappings = mapcount[pfn]!;
    if (mappings < 1) break;
    const isWritable = isRam ? (pte & PTE_WRITE) !== 0 : isWritableLeaf(pte);
    const dirty = isRam && (pte & PTE_DIRTY) !== 0 ? PG_DIRTY : 0;
    flags[pfn] = (bits & ~PG_ANON_EXCLUSIVE) | PG_LOCKED | dirty;
    mapcount[pfn] = mappings - 1;
    let kind = LEAF_MIGRATION_READ;
    if (isWritable) kind = LEAF_MIGRATION_WRITE;
    else if ((bits & PG_ANON_EXCLUSIVE) !== 0) kind = LEAF_MIGRATION_READ_EXCLUSIVE;
    // One non-empty entry for another: the table's use count stays.
    words[firstAt + slot] = mkLeaf(kind, pfn, pte & kept);
    const write = isWritable ? MIGRATE_PFN_WRITE : 0;
    src[slot] = (pfn << MIGRATE_PFN_SHIFT) | MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE | write;
    dst[slot] = 0;
  }
  return slot;
}
