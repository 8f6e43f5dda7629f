/**
 * The page table walk of a core: mm/pgtable.ts's, seen from another thread. Each level is loaded
 * atomically, so that what the kernel wrote before it made an entry is seen with the entry.
 *
 * A table that the walk has reached stays one for this walk: the kernel lets no unlinked table
 * serve elsewhere before every core has polled (syncTableWalks).
 */
import { PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { PTE_HUGE, PTE_PFN_SHIFT, PTE_PRESENT } from '../mm/swapops.ts';
import type { AtomicsPort } from './atomics-port.ts';

const TABLE_SHIFT = 9;
const INDEX_MASK = PTRS_PER_TABLE - 1;
const PAGES_PER_HALF = PTRS_PER_TABLE * PTRS_PER_TABLE;

/**
 * The leaf entry for `addr`, PTE or PMD leaf; 0 where there is none.
 *
 * @param addr An address of user space. Context: any thread that polls; valid until it does.
 */
export function walkPageTable(
  port: AtomicsPort,
  tables: Int32Array,
  pgd: number,
  addr: number,
): number {
  const page = Math.floor(addr / PAGE_SIZE);
  const high = (page / PAGES_PER_HALF) | 0;
  const low = page - high * PAGES_PER_HALF;
  const pud = port.load(tables, (pgd << TABLE_SHIFT) | (high >>> TABLE_SHIFT)) >>> PTE_PFN_SHIFT;
  if (pud === 0) return 0;
  const pmd = port.load(tables, (pud << TABLE_SHIFT) | (high & INDEX_MASK)) >>> PTE_PFN_SHIFT;
  if (pmd === 0) return 0;
  const entry = port.load(tables, (pmd << TABLE_SHIFT) | (low >>> TABLE_SHIFT));
  if ((entry & (PTE_PRESENT | PTE_HUGE)) !== PTE_PRESENT) return entry;
  return port.load(tables, ((entry >>> PTE_PFN_SHIFT) << TABLE_SHIFT) | (low & INDEX_MASK));
}
