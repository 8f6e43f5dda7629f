/**
 * The collect phase of migrate_vma_setup (mm/migrate_device.c: migrate_vma_collect*): one walk over the
 * page tables of the range decides for each page whether it may migrate, locks it (trylock, so this never
 * waits) and puts a migration entry in its place at once: that freezes the entry and saves a
 * reverse map walk later.
 *
 * A collected page has one reference more than its remaining mappings and caches account for. Its own
 * mapping's reference becomes that one, so the count itself does not change here.
 *
 * Locking: mmap lock held; inside MMU_NOTIFY_MIGRATE with the caller's owner, which a driver that
 * migrates its own memory recognises and ignores. One TLB flush per page table.
 *
 * Leaves out: PMD entries and large folios (MIGRATE_VMA_SELECT_COMPOUND), coherent memory.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { migratePfn, MIGRATE_PFN_MIGRATE, MIGRATE_PFN_WRITE } from './migrate-types.ts';
import { MIGRATE_VMA_SELECT_DEVICE_PRIVATE, MIGRATE_VMA_SELECT_SYSTEM } from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import type { System } from './mm-types.ts';
import {
  MMU_NOTIFY_MIGRATE,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { GUP_PIN_COUNTING_BIAS, PG_ANON_EXCLUSIVE, PG_DIRTY, PG_LOCKED } from './page.ts';
import { migrationEntryFor } from './rmap.ts';
import {
  SKIP_FOREIGN_OWNER,
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_LOCKED,
  SKIP_MIGRATION_IN_PROGRESS,
  SKIP_NOT_A_PAGE,
  SKIP_NOT_SELECTED,
  SKIP_NO_MAPPING,
  SKIP_PINNED_AT_COLLECT,
  SKIP_SPECIAL,
} from './skip-reason.ts';
import {
  PTE_DIRTY,
  PTE_SPECIAL,
  isDevicePrivateEntry,
  isMigrationEntry,
  isWritableLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';

const collectRange = new MmuNotifierRange();

/**
 * Fills in src[], dst[] (zeroes), cpages and npages for the whole range (migrate_vma_collect).
 *
 * Context: mmap lock held; arguments checked by migrateVmaSetup. Never waits.
 */
export function migrateVmaCollect(args: MigrateVma): void {
  const { mm } = args.vma;
  mmuNotifierRangeInit(collectRange, MMU_NOTIFY_MIGRATE, mm, args.start, args.end, args.pgmapOwner);
  mmuNotifierInvalidateRangeStart(collectRange);
  for (let addr = args.start; addr < args.end;) {
    const chunkEnd = Math.min(args.end, addr - (addr % PMD_SIZE) + PMD_SIZE);
    const count = (chunkEnd - addr) / PAGE_SIZE;
    const first = mm.sys.pageTables.pteOffset(mm.pgd, addr);
    if (first === 0) collectHoles(args, count);
    else flushTlbRange(mm, collectTable(args, mm.sys, first, count));
    addr = chunkEnd;
  }
  mmuNotifierInvalidateRangeEnd(collectRange);
  args.end = args.start + args.npages * PAGE_SIZE;
}

/** Pages without a page table (migrate_vma_collect_hole). */
function collectHoles(args: MigrateVma, count: number): void {
  for (let i = 0; i < count; i++) {
    const slot = args.npages++;
    args.dst[slot] = 0;
    args.src[slot] = collectHole(args, slot);
  }
}

/** Entries of one page table (migrate_vma_collect_pmd). @returns present entries taken away. */
function collectTable(args: MigrateVma, sys: System, first: number, count: number): number {
  const { words } = sys.pageTables;
  const { src, dst } = args;
  const slot = args.npages;
  let unmapped = 0;
  for (let i = 0; i < count; i++) {
    const pte = words[first + i]!;
    dst[slot + i] = 0;
    if (pte === 0) {
      src[slot + i] = collectHole(args, slot + i);
      continue;
    }
    const entry = ptePresent(pte)
      ? collectPresent(args, sys, first + i, pte, slot + i)
      : collectNonpresent(args, sys, first + i, pte, slot + i);
    src[slot + i] = entry;
    if (ptePresent(pte) && entry > MIGRATE_PFN_MIGRATE) unmapped++;
  }
  args.npages = slot + count;
  return unmapped;
}

/** Nothing there: in anonymous memory the destination may become the page. */
function collectHole(args: MigrateVma, slot: number): number {
  if (args.vma.inode !== null) return skip(args, slot, SKIP_HOLE_NOT_ANONYMOUS);
  args.cpages++;
  return MIGRATE_PFN_MIGRATE;
}

function collectPresent(
  args: MigrateVma,
  sys: System,
  at: number,
  pte: number,
  slot: number,
): number {
  if ((args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0) return skip(args, slot, SKIP_NOT_SELECTED);
  const { mem } = sys;
  const pfn = ptePfn(pte);
  if ((pte & PTE_SPECIAL) !== 0) {
    if (pfn !== sys.zeroPfn) return skip(args, slot, SKIP_SPECIAL);
    // Left in place: it is replaced, like a hole, when the migration commits.
    args.cpages++;
    return MIGRATE_PFN_MIGRATE;
  }
  if (mem.mapping[pfn] === 0) return skip(args, slot, SKIP_NO_MAPPING);
  const flags = mem.flags[pfn]!;
  if ((flags & PG_LOCKED) !== 0 && pfn !== args.faultPage) return skip(args, slot, SKIP_LOCKED);
  const isExclusive = (flags & PG_ANON_EXCLUSIVE) !== 0;
  // The walk holds a reference of its own at this point in Linux.
  if (isExclusive && mem.refcount[pfn]! + 1 >= GUP_PIN_COUNTING_BIAS) {
    return skip(args, slot, SKIP_PINNED_AT_COLLECT);
  }
  const dirty = (pte & PTE_DIRTY) !== 0 ? PG_DIRTY : 0;
  mem.flags[pfn] = (flags & ~PG_ANON_EXCLUSIVE) | PG_LOCKED | dirty;
  return replaceMapping(args, sys, at, pte, isExclusive, pteWrite(pte));
}

function collectNonpresent(
  args: MigrateVma,
  sys: System,
  at: number,
  pte: number,
  slot: number,
): number {
  if (!isDevicePrivateEntry(pte)) {
    const inProgress = isMigrationEntry(pte);
    return skip(args, slot, inProgress ? SKIP_MIGRATION_IN_PROGRESS : SKIP_NOT_A_PAGE);
  }
  if ((args.flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE) === 0) {
    return skip(args, slot, SKIP_NOT_SELECTED);
  }
  const { mem } = sys;
  const pfn = ptePfn(pte);
  const pgmap = sys.pagemaps[mem.pgmap[pfn]!];
  assert(pgmap !== null && pgmap !== undefined, 'I17: a mapped device page has its pagemap');
  if (pgmap.owner !== args.pgmapOwner) return skip(args, slot, SKIP_FOREIGN_OWNER);
  if (mem.mapping[pfn] === 0) return skip(args, slot, SKIP_NO_MAPPING);
  const flags = mem.flags[pfn]!;
  if ((flags & PG_LOCKED) !== 0 && pfn !== args.faultPage) return skip(args, slot, SKIP_LOCKED);
  mem.flags[pfn] = (flags & ~PG_ANON_EXCLUSIVE) | PG_LOCKED;
  const isExclusive = (flags & PG_ANON_EXCLUSIVE) !== 0;
  return replaceMapping(args, sys, at, pte, isExclusive, isWritableLeaf(pte));
}

/** Puts the migration entry of a page that is ours now. @returns the src entry. */
function replaceMapping(
  args: MigrateVma,
  sys: System,
  at: number,
  pte: number,
  isExclusive: boolean,
  isWritable: boolean,
): number {
  const { mem } = sys;
  const pfn = ptePfn(pte);
  const mappings = mem.mapcount[pfn]! - 1;
  assert(mappings >= 0, 'I12: a mapping that is removed was counted');
  mem.mapcount[pfn] = mappings;
  args.cpages++;
  // One non-empty entry for another: the table's use count stays.
  sys.pageTables.words[at] = migrationEntryFor(pte, isExclusive);
  return migratePfn(pfn) | MIGRATE_PFN_MIGRATE | (isWritable ? MIGRATE_PFN_WRITE : 0);
}

function skip(args: MigrateVma, slot: number, reason: number): number {
  if (args.reasons !== null) args.reasons[slot] = reason;
  return 0;
}
