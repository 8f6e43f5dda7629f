/**
 * A hole of PMD size becomes a large folio (mm/migrate_device.c:
 * migrate_vma_insert_huge_pmd_page). The huge zero page counts as a hole; anything else that came
 * meanwhile wins.
 *
 * Locking: as migrate-vma-insert.ts, which calls this.
 */
import { isErr } from '../base/errno.ts';
import { HPAGE_PMD_NR, PMD_SIZE } from '../base/units.ts';
import { userfaultfdMissing } from './fs-userfaultfd.ts';
import { pmdFits } from './huge-memory.ts';
import { vmaIsAnonymous } from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import { PG_LRU, PG_UPTODATE } from './page.ts';
import { anonVmaPrepare, folioAddNewAnonRmapPmd } from './rmap.ts';
import {
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_HOLE_RACED,
  SKIP_MM_UNSTABLE,
  SKIP_NO_MEMORY,
  SKIP_USERFAULTFD,
} from './skip-reason.ts';
import { PTE_HUGE, PTE_SPECIAL, ptePfn, ptePresent } from './swapops.ts';
import { flushTlbRange } from './tlb.ts';

/**
 * Maps a large destination over an empty PMD range.
 *
 * @param mapped The entry for it; PTE_HUGE is added to a present one.
 * @returns pages whose translation is still to be flushed, or minus a SKIP_* code.
 */
export function insertHugePage(vma: Vma, addr: number, target: number, mapped: number): number {
  const { mm } = vma;
  const { mem, pageTables } = mm.sys;
  if (!vmaIsAnonymous(vma) || !pmdFits(vma, addr)) return -SKIP_HOLE_NOT_ANONYMOUS;
  const at = pageTables.pmdAlloc(mm.pgd, addr);
  if (isErr(at)) return -SKIP_NO_MEMORY;
  const old = pageTables.words[at]!;
  const isZero = isHugeZero(mm.sys, old);
  if (old !== 0 && !isZero) return -SKIP_HOLE_RACED;
  if (mm.isUnstable) return -SKIP_MM_UNSTABLE;
  if (userfaultfdMissing(vma)) return -SKIP_USERFAULTFD;
  if (!isZero) {
    const table = pageTables.allocTable();
    if (isErr(table)) return -SKIP_NO_MEMORY;
    pageTables.depositTable(at, table);
  }
  anonVmaPrepare(vma);
  folioAddNewAnonRmapPmd(mm.sys, target, vma, addr);
  mm.anonRss += HPAGE_PMD_NR;
  const isDevice = mem.isZoneDevice(target);
  mem.setFlag(target, isDevice ? PG_UPTODATE : PG_UPTODATE | PG_LRU);
  mem.getPage(target);
  if (!ptePresent(mapped)) {
    pageTables.setPte(at, mapped);
    return isZero ? HPAGE_PMD_NR : 0;
  }
  if (isZero) {
    // No core may still see zeroes when another one stores to what is there instead.
    pageTables.setPte(at, 0);
    flushTlbRange(mm, addr, addr + PMD_SIZE, HPAGE_PMD_NR);
  }
  pageTables.setPte(at, (mapped | PTE_HUGE) >>> 0);
  return 0;
}

/** True for the PMD entry of the huge zero page (is_huge_zero_pmd). */
export function isHugeZero(sys: System, pmd: number): boolean {
  return ptePresent(pmd) && (pmd & PTE_SPECIAL) !== 0 && ptePfn(pmd) === sys.hugeZeroPfn;
}
