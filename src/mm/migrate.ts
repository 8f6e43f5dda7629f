/**
 * Moving a page's identity, and taking migration entries back out (mm/migrate.c). Contents are not
 * copied here: the device's copy engine does that before `folioMigrateMapping` commits the move.
 *
 * Locking: source and destination locked by the caller. Never waits; migration entries are replaced
 * without a notifier, since nothing could be mapped through them.
 *
 * Leaves out: memcg, buffer heads.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { vmaPageProt } from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MAPPING_ANON,
  PG_ACTIVE,
  PG_DIRTY,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PG_SWAPBACKED,
  PG_UPTODATE,
} from './page.ts';
import {
  RmapHits,
  folioAddAnonRmap,
  folioAddAnonRmapPmd,
  folioAddFileRmap,
  rmapWalk,
} from './rmap.ts';
import { replaceInSwapCache } from './swap-state.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_HUGE,
  PTE_SOFT_DIRTY,
  PTE_UFFD_WP,
  PTE_WRITE,
  PTE_YOUNG,
  isMigrationEntry,
  leafKind,
  mkLeaf,
  mkPte,
  ptePfn,
} from './swapops.ts';

/** Flags that belong to the contents and go with them (folio_migrate_flags). */
export const MOVED_FLAGS = PG_REFERENCED | PG_UPTODATE | PG_ACTIVE | PG_DIRTY | PG_SWAPBACKED;

/**
 * Gives the destination the source's place in its anon_vma or page cache (folio_migrate_mapping),
 * and the flags of its contents (folio_migrate_flags).
 *
 * @param extraCount References on the source, beyond the caller's one, that the caller knows of.
 * @returns 0; EAGAIN when the source has any reference that is not accounted for: nothing changed.
 * Context: both pages locked, source unmapped everywhere.
 */
export function folioMigrateMapping(
  sys: System,
  target: number,
  source: number,
  extraCount: number,
): number {
  const { mem } = sys;
  const word = mem.mapping[source]!;
  const inode = (word & MAPPING_ANON) !== 0 ? null : sys.inodes[word >>> 1];
  const isCached = inode !== null && inode !== undefined;
  const inSwapCache = mem.testFlag(source, PG_SWAPCACHE);
  const caches = isCached || inSwapCache ? 1 : 0;
  const expected = 1 + extraCount + mem.folioMapcount(source) + caches;
  if (mem.refcount[source] !== expected) return errno.EAGAIN;
  const index = mem.index[source]!;
  mem.mapping[target] = word;
  mem.index[target] = index;
  mem.flags[target]! |= mem.flags[source]! & MOVED_FLAGS;
  if (inSwapCache) replaceInSwapCache(sys, target, source);
  if (isCached) {
    assert(inode.cache.get(index) === source, 'I15: a page-cache page knows its place');
    inode.cache.set(index, target);
    mem.getPage(target);
    mem.refcount[source] = expected - 1;
  }
  return 0;
}

const hits = new RmapHits();

/**
 * Replaces every migration entry that stands for `source`, in every address space, by a mapping of
 * `target` (remove_migration_ptes): permissions are those that the entry kept. The two are the same
 * page when a migration is taken back.
 *
 * Context: both pages locked; `target` has its mapping and index.
 */
export function removeMigrationPtes(sys: System, source: number, target: number): void {
  rmapWalk(sys, target, hits);
  for (let i = 0; i < hits.length; i++) {
    const at = hits.ptes[i]!;
    if (hits.isPmd[i]) removeMigrationPmd(sys, hits.vmas[i]!, hits.addrs[i]!, at, source, target);
    else removeMigrationPte(sys, hits.vmas[i]!, hits.addrs[i]!, at, source, target);
  }
}

/** removeMigrationPtes for a PMD entry that stands for the whole folio (remove_migration_pmd). */
function removeMigrationPmd(
  sys: System,
  vma: Vma,
  addr: number,
  at: number,
  source: number,
  target: number,
): void {
  const { mem } = sys;
  const { words } = sys.pageTables;
  const entry = words[at]!;
  if (ptePfn(entry) !== source || !isMigrationEntry(entry)) return;
  mem.getPage(target);
  const isExclusive = leafKind(entry) !== LEAF_MIGRATION_READ;
  if (mem.isAnon(target)) folioAddAnonRmapPmd(sys, target, vma, addr, isExclusive);
  else folioAddFileRmap(sys, target);
  const isDevice = mem.isDevicePrivate(target);
  const next = mappingFor(entry, target, vmaPageProt(vma), isDevice, mem.flags[target]!);
  sys.pageTables.publish(at, isDevice ? next : (next | PTE_HUGE) >>> 0);
}

/**
 * Does the work of removeMigrationPtes at one place; any other entry there is left alone. `source`
 * and `target` are folios: the entry says which page of them it stands for.
 */
function removeMigrationPte(
  sys: System,
  vma: Vma,
  addr: number,
  at: number,
  source: number,
  target: number,
): void {
  const { mem } = sys;
  const { words } = sys.pageTables;
  const entry = words[at]!;
  const offset = ptePfn(entry) - source;
  if (!(offset >= 0 && offset < mem.folioNrPages(target)) || !isMigrationEntry(entry)) return;
  mem.getPage(target);
  const page = target + offset;
  const isExclusive = leafKind(entry) !== LEAF_MIGRATION_READ;
  if (mem.isAnon(target)) folioAddAnonRmap(sys, page, vma, addr, isExclusive);
  else folioAddFileRmap(sys, page);
  // One non-empty entry for another: the table's use count stays.
  const isDevice = mem.isDevicePrivate(target);
  const next = mappingFor(entry, page, vmaPageProt(vma), isDevice, mem.flags[target]!);
  sys.pageTables.publish(at, next);
}

/**
 * The entry that maps `target` with what a migration entry kept.
 *
 * @param prot vmaPageProt of the VMA. @param isPrivate Whether the target is device-private.
 * @param flags PG_* bits of the target. Context: any.
 */
export function mappingFor(
  entry: number,
  target: number,
  prot: number,
  isPrivate: boolean,
  flags: number,
): number {
  const isWrite = leafKind(entry) === LEAF_MIGRATION_WRITE;
  if (isPrivate) {
    const leaf = isWrite ? LEAF_DEVICE_PRIVATE_WRITE : LEAF_DEVICE_PRIVATE_READ;
    return mkLeaf(leaf, target, entry & (PTE_SOFT_DIRTY | PTE_UFFD_WP));
  }
  // Dirty only if the page still is: somebody may have cleaned it meanwhile.
  const dirty = (flags & PG_DIRTY) !== 0 ? PTE_DIRTY : 0;
  const rights = isWrite ? PTE_WRITE : entry & PTE_UFFD_WP;
  return mkPte(target, prot | (entry & (PTE_YOUNG | PTE_SOFT_DIRTY | dirty)) | rights);
}
