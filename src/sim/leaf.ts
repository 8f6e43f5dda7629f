/** Page table entries as the simulator's checkers look at them, PTEs and PMD leaves alike. */
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { ptePfn } from '../mm/swapops.ts';

/** The leaf entry for an address, 0 = none. */
export function leafEntry(mm: MmStruct, addr: number): number {
  const { pageTables } = mm.sys;
  return pageTables.words[pageTables.leafOffset(mm.pgd, addr)]!;
}

/** The frame that the leaf entry for an address names: within its folio, for a PMD leaf. */
export function leafFrame(mm: MmStruct, addr: number): number {
  const { pageTables } = mm.sys;
  const at = pageTables.leafOffset(mm.pgd, addr);
  const isHuge = at === pageTables.pmdOffset(mm.pgd, addr);
  const offset = isHuge ? Math.floor(addr / PAGE_SIZE) % HPAGE_PMD_NR : 0;
  return ptePfn(pageTables.words[at]!) + offset;
}
