/**
 * The collect phase of migrate_vma_setup (mm/migrate_device.c: migrate_vma_collect*): one walk over
 * the page tables of the range decides for each page whether it may migrate, locks it (trylock, so
 * this never waits) and puts a migration entry in its place at once: that freezes the entry and
 * saves a reverse map walk later.
 *
 * A collected page has one reference more than its remaining mappings and caches account for. Its
 * own mapping's reference becomes that one, so the count itself does not change here.
 *
 * Locking: mmap lock held; inside MMU_NOTIFY_MIGRATE with the caller's owner, which a driver that
 * migrates its own memory recognises and ignores. One TLB flush per page table.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE, pmdAlignDown } from '../base/units.ts';
import {
  HUGE_COLLECTED,
  HUGE_HOLE,
  HUGE_SPLIT,
  collectHugePmd,
  splitMappedFolio,
  takesWhole,
} from './migrate-vma-collect-huge.ts';
import { takeWholeLeaf } from './migrate-device-whole.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  migratePfn,
  migratePfnToPage,
} from './migrate-types.ts';
import {
  MIGRATE_VMA_SELECT_DEVICE_COHERENT,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { collectPlainPages } from './migrate-vma-collect-plain.ts';
import { pagePgmap } from './memremap.ts';
import { removeMigrationPtes } from './migrate.ts';
import { vmaIsAnonymous } from './mm-types.ts';
import type { System } from './mm-types.ts';
import {
  MMU_NOTIFY_MIGRATE,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import {
  GUP_PIN_COUNTING_BIAS,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_HEAD,
  PG_LOCKED,
  PG_TAIL,
} from './page.ts';
import { putPage } from './page-alloc.ts';
import { migrationEntryFor } from './try-to-migrate.ts';
import {
  SKIP_CORE_SILENT,
  SKIP_FOREIGN_OWNER,
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_LOCKED,
  SKIP_MIGRATION_IN_PROGRESS,
  SKIP_NONE,
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
  isPmdLeaf,
  isWritableLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';

/**
 * What `judge` says of a hole and of the zero page: there is no page to collect, but one to make.
 */
const HOLE = -1;
const NO_PAGEMAP = -1;
/** What it says of a page of a large folio: that has to be split first. */
const LARGE = -2;

/** What the slots of a PMD range hold besides its one entry. */
const NO_ENTRIES = new Uint32Array(HPAGE_PMD_NR);

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
    const chunkEnd = Math.min(args.end, pmdAlignDown(addr) + PMD_SIZE);
    const count = (chunkEnd - addr) / PAGE_SIZE;
    if (collectLeaf(args, addr, chunkEnd)) {
      addr = chunkEnd;
      continue;
    }
    const first = mm.sys.pageTables.pteOffset(mm.pgd, addr);
    if (first === 0) collectHoles(args, count, takesWhole(args, addr, chunkEnd));
    else if (!tryFlushTlbRange(mm, addr, chunkEnd, collectTable(args, mm.sys, first, count))) {
      uncollect(args, mm.sys, count);
    }
    addr = chunkEnd;
  }
  mmuNotifierInvalidateRangeEnd(collectRange);
}

/** A PMD leaf. @returns false when there are PTEs to collect, or nothing. */
function collectLeaf(args: MigrateVma, addr: number, end: number): boolean {
  const { mm } = args.vma;
  const at = mm.sys.pageTables.pmdOffset(mm.pgd, addr);
  if (!isPmdLeaf(mm.sys.pageTables.words[at]!)) return false;
  const count = (end - addr) / PAGE_SIZE;
  const taken = takesWhole(args, addr, end) ? takeWholeLeaf(args, addr, end, at) : SKIP_NONE;
  const verdict = taken === SKIP_NONE ? collectHugePmd(args, addr, end, at) : taken;
  if (verdict === HUGE_SPLIT) return false;
  if (verdict === HUGE_HOLE) {
    collectHoles(args, count, takesWhole(args, addr, end));
    return true;
  }
  if (verdict === HUGE_COLLECTED) {
    // One entry; a copy of nothing costs a third of a fill.
    const entry = args.src[args.npages]!;
    args.dst.set(NO_ENTRIES, args.npages);
    args.src.set(NO_ENTRIES, args.npages);
    args.src[args.npages] = entry;
    args.cpages++;
  } else skipRest(args, args.npages, args.npages + count, verdict);
  args.npages += count;
  return true;
}

/**
 * Pages without a page table (migrate_vma_collect_hole).
 *
 * @param isWhole They are one PMD range that the caller takes as one entry.
 */
function collectHoles(args: MigrateVma, count: number, isWhole: boolean): void {
  const { src, dst, reasons, npages } = args;
  const verdict = judgeHole(args);
  args.npages = npages + count;
  dst.fill(0, npages, args.npages);
  const isHole = verdict === HOLE;
  src.fill(isHole && !isWhole ? MIGRATE_PFN_MIGRATE : 0, npages, args.npages);
  if (isHole && isWhole) src[npages] = MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND;
  if (isHole) args.cpages += isWhole ? 1 : count;
  else if (reasons !== null) reasons.fill(verdict, npages, args.npages);
}

/** Entries of one page table (migrate_vma_collect_pmd). @returns present entries taken away. */
function collectTable(args: MigrateVma, sys: System, first: number, count: number): number {
  const { words } = sys.pageTables;
  const { src, dst } = args;
  const end = args.npages + count;
  const firstAt = first - args.npages;
  let unmapped = 0;
  /** The pagemap of the last device page that was taken; none has number NO_PAGEMAP. */
  let ownedMap = NO_PAGEMAP;
  for (let slot = args.npages; slot < end; slot++) {
    const pte = words[firstAt + slot]!;
    const next = pte === 0 ? slot : collectPlainPages(args, slot, end, firstAt, ownedMap);
    if (next > slot) {
      args.cpages += next - slot;
      if (ptePresent(pte)) unmapped += next - slot;
      slot = next - 1;
      continue;
    }
    let verdict = judge(args, sys, pte);
    dst[slot] = 0;
    if (verdict === LARGE) {
      verdict = splitMappedFolio(args, sys, sys.mem.folioOf(ptePfn(pte)));
      if (verdict !== SKIP_NONE) {
        skipRest(args, slot, end, verdict);
        break;
      }
      verdict = judge(args, sys, words[firstAt + slot]!);
    }
    if (verdict !== SKIP_NONE) {
      src[slot] = verdict === HOLE ? MIGRATE_PFN_MIGRATE : 0;
      if (verdict === HOLE) args.cpages++;
      else if (args.reasons !== null) args.reasons[slot] = verdict;
      continue;
    }
    src[slot] = takePage(sys, pte, firstAt + slot);
    args.cpages++;
    if (ptePresent(pte)) unmapped++;
    else ownedMap = sys.mem.pgmap[ptePfn(pte)]!;
  }
  args.npages = end;
  return unmapped;
}

/** Locks the page behind the entry at word `at` and unmaps it there. @returns its entry of src. */
function takePage(sys: System, pte: number, at: number): number {
  const { flags, mapcount } = sys.mem;
  const pfn = ptePfn(pte);
  const isPresent = ptePresent(pte);
  const isWritable = isPresent ? pteWrite(pte) : isWritableLeaf(pte);
  const bits = flags[pfn]!;
  const dirty = isPresent && (pte & PTE_DIRTY) !== 0 ? PG_DIRTY : 0;
  flags[pfn] = (bits & ~PG_ANON_EXCLUSIVE) | PG_LOCKED | dirty;
  const mappings = mapcount[pfn]! - 1;
  assert(mappings >= 0, 'I12: a mapping that is removed was counted');
  mapcount[pfn] = mappings;
  // One non-empty entry for another: the table's use count stays.
  sys.pageTables.words[at] = migrationEntryFor(pte, (bits & PG_ANON_EXCLUSIVE) !== 0);
  return migratePfn(pfn) | MIGRATE_PFN_MIGRATE | (isWritable ? MIGRATE_PFN_WRITE : 0);
}

/**
 * Puts back the pages of RAM among the last `count` slots: a core did not answer and may still be
 * storing to them, so they are as good as pinned. Device pages stay collected, no core has them.
 */
function uncollect(args: MigrateVma, sys: System, count: number): void {
  const { src, reasons, npages } = args;
  for (let slot = npages - count; slot < npages; slot++) {
    const pfn = migratePfnToPage(src[slot]!);
    if (pfn < 0 || sys.mem.isDevicePrivate(pfn)) continue;
    removeMigrationPtes(sys, pfn, pfn);
    if (pfn !== args.faultPage) sys.mem.unlockPage(pfn);
    putPage(sys, pfn);
    src[slot] = 0;
    args.cpages--;
    if (reasons !== null) reasons[slot] = SKIP_CORE_SILENT;
  }
}

/** The slots from `from` on are left out, as a folio that can't be split makes Linux do. */
function skipRest(args: MigrateVma, from: number, to: number, reason: number): void {
  args.src.fill(0, from, to);
  args.dst.fill(0, from, to);
  args.reasons?.fill(reason, from, to);
}

/** Nothing there: in anonymous memory the destination may become the page. */
function judgeHole(args: MigrateVma): number {
  return vmaIsAnonymous(args.vma) ? HOLE : SKIP_HOLE_NOT_ANONYMOUS;
}

/** @returns SKIP_NONE for a page to collect, HOLE, or why not: a SKIP_* code. */
function judge(args: MigrateVma, sys: System, pte: number): number {
  if (pte === 0) return judgeHole(args);
  const { mem } = sys;
  const pfn = ptePfn(pte);
  const verdict = ptePresent(pte) ? judgePresent(args, sys, pte) : judgeLeaf(args, sys, pte);
  if (verdict !== SKIP_NONE) return verdict;
  const bits = mem.flags[pfn]!;
  if ((bits & (PG_HEAD | PG_TAIL)) !== 0) return LARGE;
  if (mem.mapping[pfn] === 0) return SKIP_NO_MAPPING;
  if ((bits & PG_LOCKED) !== 0 && pfn !== args.faultPage) return SKIP_LOCKED;
  if ((bits & PG_ANON_EXCLUSIVE) === 0 || !ptePresent(pte)) return SKIP_NONE;
  // In Linux the walk holds a reference of its own at this point.
  const isMaybePinned = mem.refcount[pfn]! + 1 >= GUP_PIN_COUNTING_BIAS;
  return isMaybePinned ? SKIP_PINNED_AT_COLLECT : SKIP_NONE;
}

function judgePresent(args: MigrateVma, sys: System, pte: number): number {
  if (sys.mem.isDeviceCoherent(ptePfn(pte))) {
    return judgeOwner(args, sys, pte, MIGRATE_VMA_SELECT_DEVICE_COHERENT);
  }
  if ((args.flags & MIGRATE_VMA_SELECT_SYSTEM) === 0) return SKIP_NOT_SELECTED;
  if ((pte & PTE_SPECIAL) === 0) return SKIP_NONE;
  // The zero page is left in place, to be replaced like a hole when the migration commits.
  return ptePfn(pte) === sys.zeroPfn ? HOLE : SKIP_SPECIAL;
}

function judgeLeaf(args: MigrateVma, sys: System, pte: number): number {
  if (!isDevicePrivateEntry(pte)) {
    return isMigrationEntry(pte) ? SKIP_MIGRATION_IN_PROGRESS : SKIP_NOT_A_PAGE;
  }
  return judgeOwner(args, sys, pte, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
}

/** Device memory: only what the flags select, and its owner asks for. */
function judgeOwner(args: MigrateVma, sys: System, pte: number, select: number): number {
  if ((args.flags & select) === 0) return SKIP_NOT_SELECTED;
  const { owner } = pagePgmap(sys, ptePfn(pte));
  return owner === args.pgmapOwner ? SKIP_NONE : SKIP_FOREIGN_OWNER;
}
