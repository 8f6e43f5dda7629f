/**
 * Splitting a PMD leaf into a table of PTEs (mm/huge_memory.c: __split_huge_pmd_locked). The folio
 * behind it stays large; only the way it is mapped changes. The table comes out of deposit, so
 * nothing can fail.
 *
 *   huge zero page      512 zero page entries
 *   present, anonymous  512 present entries, one reference and mapping each
 *   device-private      512 device-private entries, likewise
 *   migration           512 migration entries (no mapping, no reference, as before)
 *
 * Locking: mmap lock held, or the folio locked by a reverse map walk. Sends MMU_NOTIFY_CLEAR over
 * the PMD range. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PMD_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { VM_HUGETLB } from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { folioSplitPmdRmap } from './rmap.ts';
import {
  PTE_HUGE,
  PTE_PFN_SHIFT,
  PTE_SPECIAL,
  isMigrationEntry,
  isPmdLeaf,
  mkPte,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';
import { vmEventIndex } from './vmstat.ts';

const THP_SPLIT_PMD = vmEventIndex('thp_split_pmd');
const splitRange = new MmuNotifierRange();

/**
 * Splits the PMD leaf that covers `addr`, if there is one (split_huge_pmd_address).
 *
 * Context: see the file header.
 */
export function splitHugePmdAddress(vma: Vma, addr: number): void {
  const { pageTables } = vma.mm.sys;
  const at = pageTables.pmdOffset(vma.mm.pgd, addr);
  if (isPmdLeaf(pageTables.words[at]!)) splitHugePmd(vma, at, addr - (addr % PMD_SIZE));
}

/**
 * Splits the PMD leaf at word index `at`, which maps from `start` on (split_huge_pmd).
 *
 * Context: see the file header.
 */
export function splitHugePmd(vma: Vma, at: number, start: number): void {
  const { mm } = vma;
  const { sys } = mm;
  assert((vma.vmFlags & VM_HUGETLB) === 0, 'I39: a mapping of huge pages is never split');
  mmuNotifierRangeInit(splitRange, MMU_NOTIFY_CLEAR, mm, start, start + PMD_SIZE);
  mmuNotifierInvalidateRangeStart(splitRange);
  const pmd = sys.pageTables.words[at]!;
  fillTable(sys, at, pmd);
  sys.vmstat.add(THP_SPLIT_PMD, 1);
  // Only how it is mapped changes, but a core may hold the translation of the whole range.
  if (ptePresent(pmd)) flushTlbRange(mm, start, start + PMD_SIZE, HPAGE_PMD_NR);
  mmuNotifierInvalidateRangeEnd(splitRange);
}

function fillTable(sys: System, at: number, pmd: number): void {
  const { pageTables } = sys;
  const table = pageTables.withdrawTable(at);
  const first = table * PTRS_PER_TABLE;
  const { words } = pageTables;
  if (ptePresent(pmd) && (pmd & PTE_SPECIAL) !== 0) {
    const zero = mkPte(sys.zeroPfn, pmd & FLAGS_MASK & ~PTE_HUGE);
    words.fill(zero, first, first + PTRS_PER_TABLE);
  } else {
    if (!isMigrationEntry(pmd)) folioSplitPmdRmap(sys, ptePfn(pmd));
    const step = 1 << PTE_PFN_SHIFT;
    let pte = ptePresent(pmd) ? (pmd & ~PTE_HUGE) >>> 0 : pmd;
    for (let i = first; i < first + PTRS_PER_TABLE; i++, pte += step) words[i] = pte;
  }
  pageTables.used[table] = PTRS_PER_TABLE;
  pageTables.populatePmd(at, table);
}

/** The flag bits of an entry. */
const FLAGS_MASK = (1 << PTE_PFN_SHIFT) - 1;
