/**
 * Large folios in the collect phase of migrate_vma_setup (mm/migrate_device.c:
 * migrate_vma_collect_huge_pmd, migrate_vma_split_folio). A PMD leaf is collected as one entry if
 * the caller can take it whole (COMPOUND, and the range covers it); otherwise its folio is split
 * into pages, which are then collected one by one.
 *
 * Locking: as the collect phase: mmap lock held, folios by trylock. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PMD_SIZE, pmdAlignDown } from '../base/units.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_COMPOUND,
  MIGRATE_VMA_SELECT_DEVICE_COHERENT,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { pagePgmap } from './memremap.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY } from './page.ts';
import { folioRemoveRmapPmd } from './rmap.ts';
import { migrationEntryFor } from './try-to-migrate.ts';
import {
  SKIP_CORE_SILENT,
  SKIP_FOREIGN_OWNER,
  SKIP_LOCKED,
  SKIP_MIGRATION_IN_PROGRESS,
  SKIP_NONE,
  SKIP_NOT_SELECTED,
  SKIP_SPLIT_FAILED,
} from './skip-reason.ts';
import { splitFolio } from './split-folio.ts';
import {
  PTE_DIRTY,
  PTE_SPECIAL,
  isDevicePrivateEntry,
  isWritableLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';

/** What collectHugePmd says besides a SKIP_* code for the whole chunk. */
export const HUGE_COLLECTED = -1;
/** The leaf is the huge zero page: a hole. */
export const HUGE_HOLE = -2;
/** There are PTEs now, to be collected one by one. */
export const HUGE_SPLIT = -3;

/** True when [start, end) is one whole PMD range and the caller takes it as one entry. */
export function takesWhole(args: MigrateVma, start: number, end: number): boolean {
  if ((args.flags & MIGRATE_VMA_SELECT_COMPOUND) === 0) return false;
  return pmdAlignDown(start) === start && end - start === PMD_SIZE;
}

/**
 * Collects the PMD leaf at word index `at`, of which [start, end) is in the range.
 *
 * @returns HUGE_* or a SKIP_* code. Context: inside MMU_NOTIFY_MIGRATE.
 */
export function collectHugePmd(args: MigrateVma, start: number, end: number, at: number): number {
  const { sys } = args.vma.mm;
  const pmd = sys.pageTables.words[at]!;
  const verdict = judgePmd(args, sys, pmd);
  if (verdict !== SKIP_NONE) return verdict;
  const folio = ptePfn(pmd);
  const isFaultFolio = isFaultPage(args, sys, folio);
  if (!isFaultFolio && !sys.mem.trylockPage(folio)) return SKIP_LOCKED;
  if (takesWhole(args, start, end) && !mayBePinned(sys, folio, pmd)) {
    if (takePmd(args, start, at, pmd)) return HUGE_COLLECTED;
    if (!isFaultFolio) sys.mem.unlockPage(folio);
    return SKIP_CORE_SILENT;
  }
  return splitLocked(args, sys, folio, isFaultFolio) ? HUGE_SPLIT : SKIP_SPLIT_FAILED;
}

/**
 * Splits the large folio that a PTE of the range maps, so that its page can be collected alone.
 *
 * @returns SKIP_NONE, or why it can't be.
 */
export function splitMappedFolio(args: MigrateVma, sys: System, folio: number): number {
  const isFaultFolio = isFaultPage(args, sys, folio);
  if (!isFaultFolio && !sys.mem.trylockPage(folio)) return SKIP_LOCKED;
  return splitLocked(args, sys, folio, isFaultFolio) ? SKIP_NONE : SKIP_SPLIT_FAILED;
}

/** True for the folio that the caller's fault holds locked and referenced. */
export function isFaultPage(args: MigrateVma, sys: System, folio: number): boolean {
  return args.faultPage !== NO_FAULT_PAGE && sys.mem.folioOf(args.faultPage) === folio;
}

/** Splits a locked folio; a fault's lock and reference go to the page that faulted. */
function splitLocked(args: MigrateVma, sys: System, folio: number, isFaultFolio: boolean): boolean {
  const { mem } = sys;
  const lockAt = isFaultFolio ? args.faultPage : folio;
  mem.getPage(folio);
  const isSplit = splitFolio(sys, folio, isFaultFolio ? 1 : 0, lockAt) === 0;
  const held = isSplit ? lockAt : folio;
  if (!isFaultFolio) mem.unlockPage(held);
  putPage(sys, held);
  return isSplit;
}

function judgePmd(args: MigrateVma, sys: System, pmd: number): number {
  if (ptePresent(pmd)) return judgePresent(args, sys, pmd);
  if (!isDevicePrivateEntry(pmd)) return SKIP_MIGRATION_IN_PROGRESS;
  if ((args.flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE) === 0) return SKIP_NOT_SELECTED;
  const { owner } = pagePgmap(sys, ptePfn(pmd));
  return owner === args.pgmapOwner ? SKIP_NONE : SKIP_FOREIGN_OWNER;
}

function judgePresent(args: MigrateVma, sys: System, pmd: number): number {
  const folio = ptePfn(pmd);
  if (sys.mem.isDeviceCoherent(folio)) {
    if ((args.flags & MIGRATE_VMA_SELECT_DEVICE_COHERENT) === 0) return SKIP_NOT_SELECTED;
    return pagePgmap(sys, folio).owner === args.pgmapOwner ? SKIP_NONE : SKIP_FOREIGN_OWNER;
  }
  if ((args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0) return SKIP_NOT_SELECTED;
  return (pmd & PTE_SPECIAL) !== 0 ? HUGE_HOLE : SKIP_NONE;
}

function mayBePinned(sys: System, folio: number, pmd: number): boolean {
  const isExclusive = sys.mem.testFlag(folio, PG_ANON_EXCLUSIVE);
  return isExclusive && ptePresent(pmd) && sys.mem.maybeDmaPinned(folio);
}

/**
 * Puts a PMD migration entry in place of the leaf and fills the first slot of the range.
 *
 * @returns false when a core did not let go of the leaf, which is left as it was.
 */
function takePmd(args: MigrateVma, start: number, at: number, pmd: number): boolean {
  const { mm } = args.vma;
  const { sys } = mm;
  const { mem } = sys;
  const folio = ptePfn(pmd);
  const isPresent = ptePresent(pmd);
  const isWritable = isPresent ? pteWrite(pmd) : isWritableLeaf(pmd);
  const isExclusive = mem.testFlag(folio, PG_ANON_EXCLUSIVE);
  sys.pageTables.setPte(at, migrationEntryFor(pmd, isExclusive));
  if (isPresent && !tryFlushTlbRange(mm, start, start + PMD_SIZE, HPAGE_PMD_NR)) {
    sys.pageTables.setPte(at, pmd);
    return false;
  }
  if (isPresent && (pmd & PTE_DIRTY) !== 0) mem.setFlag(folio, PG_DIRTY);
  mem.clearFlag(folio, PG_ANON_EXCLUSIVE);
  // The mapping's reference becomes the migration's.
  folioRemoveRmapPmd(sys, folio);
  const flags = MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND | (isWritable ? MIGRATE_PFN_WRITE : 0);
  assert(args.npages + HPAGE_PMD_NR <= args.src.length, 'a whole PMD range has its slots');
  args.src[args.npages] = (migratePfn(folio) | flags) >>> 0;
  return true;
}
