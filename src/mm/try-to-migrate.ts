/**
 * Taking a page out of every page table that maps it (mm/rmap.c: try_to_migrate): each mapping
 * becomes a migration entry, which makes whoever comes by wait until the page has moved.
 *
 * Locking: page locked and referenced by the caller; never waits. Each address space is told by
 * MMU_NOTIFY_CLEAR before its entry changes.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY } from './page.ts';
import { RmapHits, folioRemoveRmap, folioRemoveRmapPmd, rmapWalk } from './rmap.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_YOUNG,
  isDevicePrivateEntry,
  isWritableLeaf,
  leafKind,
  mkLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';

const migrateHits = new RmapHits();
const clearRange = new MmuNotifierRange();

/**
 * Replaces every mapping of a page, in every address space, by a migration entry (try_to_migrate):
 * READ, READ_EXCLUSIVE or WRITE by what the mapping allowed, carrying young and dirty of present
 * entries, soft-dirty and uffd-wp of all. Each address space that maps it gets MMU_NOTIFY_CLEAR,
 * without owner, first. The reverse map and the mappings' references are dropped.
 *
 * @param staysPut The page will not move, it is only lent to a device (our own): then a pin is no
 * reason to leave a mapping in place. Fork must be kept away until the mappings are back.
 * @returns true when nothing maps the page any more; false when a mapping of a possibly pinned
 * exclusive page, or one that a silent core may still use, was left in place.
 * Context: page locked and referenced by the caller; never waits.
 */
export function tryToMigrate(sys: System, pfn: number, staysPut = false): boolean {
  assert(sys.mem.isLocked(pfn), 'I14: the page behind a migration entry is locked');
  rmapWalk(sys, pfn, migrateHits);
  for (let i = 0; i < migrateHits.length; i++) {
    const pte = sys.pageTables.words[migrateHits.ptes[i]!]!;
    if (!mapsPage(pte) || sys.mem.folioOf(ptePfn(pte)) !== pfn) continue;
    const vma = migrateHits.vmas[i]!;
    const isPmd = migrateHits.isPmd[i]!;
    const { addrs, ptes } = migrateHits;
    if (!tryToMigrateOne(sys, vma, addrs[i]!, ptes[i]!, isPmd, staysPut)) break;
  }
  return sys.mem.folioMapcount(pfn) === 0;
}

/** True for an entry that counts as a mapping of its page. */
function mapsPage(pte: number): boolean {
  if (ptePresent(pte)) return (pte & PTE_SPECIAL) === 0;
  return isDevicePrivateEntry(pte) || leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
}

function tryToMigrateOne(
  sys: System,
  vma: Vma,
  addr: number,
  at: number,
  isPmd: boolean,
  staysPut: boolean,
): boolean {
  const mem = sys.mem;
  const pfn = ptePfn(sys.pageTables.words[at]!);
  const folio = mem.folioOf(pfn);
  const end = addr + (isPmd ? PMD_SIZE : PAGE_SIZE);
  const exclusive = mem.testFlag(pfn, PG_ANON_EXCLUSIVE);
  // Device-private memory can't be pinned, however many references a page has.
  const isPinned = exclusive && !mem.isDevicePrivate(pfn) && mem.maybeDmaPinned(pfn);
  if (isPinned && !staysPut) return false;
  mmuNotifierRangeInit(clearRange, MMU_NOTIFY_CLEAR, vma.mm, addr, end);
  mmuNotifierInvalidateRangeStart(clearRange);
  const pte = sys.pageTables.words[at]!;
  if ((pte & PTE_DIRTY) !== 0 && ptePresent(pte)) mem.setFlag(folio, PG_DIRTY);
  sys.pageTables.setPte(at, migrationEntryFor(pte, exclusive));
  if (ptePresent(pte) && !tryFlushTlbRange(vma.mm, addr, end, isPmd ? HPAGE_PMD_NR : 1)) {
    // A core that may still store to the page: to us the same as a pin.
    sys.pageTables.setPte(at, pte);
    mmuNotifierInvalidateRangeEnd(clearRange);
    return false;
  }
  mem.clearFlag(pfn, PG_ANON_EXCLUSIVE);
  if (isPmd) folioRemoveRmapPmd(sys, pfn);
  else folioRemoveRmap(sys, pfn);
  putPage(sys, folio);
  mmuNotifierInvalidateRangeEnd(clearRange);
  return true;
}

/**
 * The migration entry that stands for a mapping while its page moves.
 *
 * @param pte The present, device-private or device-exclusive entry that it replaces.
 * @param exclusive Whether the page is AnonExclusive.
 */
export function migrationEntryFor(pte: number, exclusive: boolean): number {
  const present = ptePresent(pte);
  const writable = present ? pteWrite(pte) : isWritableLeaf(pte);
  const carried = present
    ? PTE_YOUNG | PTE_DIRTY | PTE_SOFT_DIRTY | PTE_UFFD_WP
    : PTE_SOFT_DIRTY | PTE_UFFD_WP;
  let kind = LEAF_MIGRATION_READ;
  if (writable) kind = LEAF_MIGRATION_WRITE;
  else if (exclusive) kind = LEAF_MIGRATION_READ_EXCLUSIVE;
  return mkLeaf(kind, ptePfn(pte), pte & carried);
}
