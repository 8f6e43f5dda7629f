/**
 * Splitting a large folio into single pages (mm/huge_memory.c: split_folio,
 * folio_split_unmapped). The contents stay where they are; each page gets a lock, references and a
 * mapping of its own. Device memory is split too: its driver hears of each page (`folioSplit`).
 *
 * Locking: folio locked by the caller, who holds one reference on it (and knows of `extra` more).
 * Never waits.
 *
 * Leaves out: orders between 0 and PMD size, page-cache folios, replacing pages of zeroes by the
 * zero page, the queue of partially mapped folios.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { HPAGE_PMD_NR } from '../base/units.ts';
import { pagePgmap } from './memremap.ts';
import { removeMigrationPtes } from './migrate.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_HEAD,
  PG_ISOLATED,
  PG_LOCKED,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_TAILS_DIFFER,
  PG_UPTODATE,
} from './page.ts';
import { RmapHits, rmapWalk } from './rmap.ts';
import { tryToMigrate } from './try-to-migrate.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import { isPmdLeaf, ptePfn } from './swapops.ts';
import { vmEventIndex } from './vmstat.ts';

const THP_SPLIT_PAGE = vmEventIndex('thp_split_page');
const THP_SPLIT_PAGE_FAILED = vmEventIndex('thp_split_page_failed');

/** Flags that every page of a split folio has from its head. */
const INHERITED =
  PG_REFERENCED | PG_UPTODATE | PG_DIRTY | PG_LRU | PG_ACTIVE | PG_SWAPBACKED | PG_ISOLATED;

const pmdHits = new RmapHits();

/**
 * Splits an anonymous large folio (split_folio): afterwards each of its pages is a folio.
 *
 * @param extra References beyond the caller's one that the caller knows of.
 * @param lockAt The page of the folio on which the caller's lock and references stay.
 * @returns 0; EAGAIN when somebody else refers to it: nothing changed but that it is mapped by
 * PTEs; EBUSY for a folio that is not anonymous. Context: see the file header.
 */
export function splitFolio(sys: System, folio: number, extra = 0, lockAt = folio): number {
  const { mem } = sys;
  assert(mem.isLocked(folio), 'I37: a folio is split under its lock');
  if (!mem.isAnon(folio)) return errno.EBUSY;
  splitAllPmds(sys, folio);
  const isUnmapped = tryToMigrate(sys, folio);
  if (!isUnmapped || mem.refcount[folio] !== 1 + extra) {
    removeMigrationPtes(sys, folio, folio);
    sys.vmstat.add(THP_SPLIT_PAGE_FAILED, 1);
    return errno.EAGAIN;
  }
  splitUnmappedFolio(sys, folio, extra, lockAt);
  for (let pfn = folio; pfn < folio + HPAGE_PMD_NR; pfn++) removeMigrationPtes(sys, pfn, pfn);
  for (let pfn = folio; pfn < folio + HPAGE_PMD_NR; pfn++) {
    if (pfn === lockAt) continue;
    mem.unlockPage(pfn);
    putPage(sys, pfn);
  }
  return 0;
}

/**
 * Makes single pages of a large folio that nothing maps (folio_split_unmapped): each is locked and
 * has one reference. Migration entries for its pages stay valid.
 *
 * @param extra References that go to `lockAt` in addition. Context: folio locked, unmapped.
 */
export function splitUnmappedFolio(
  sys: System,
  folio: number,
  extra: number,
  lockAt: number,
): void {
  const { mem } = sys;
  assert(mem.folioMapcount(folio) === 0, 'I37: a folio that is split is not mapped');
  assert(mem.refcount[folio] === 1 + extra, 'I37: a folio that is split has no unknown user');
  const inherited = mem.flags[folio]! & INHERITED;
  const word = mem.mapping[folio]!;
  const index = mem.index[folio]!;
  mem.clearFlag(folio, PG_HEAD | PG_TAILS_DIFFER);
  for (let i = 1; i < HPAGE_PMD_NR; i++) {
    const pfn = folio + i;
    mem.flags[pfn] = (mem.flags[pfn]! & PG_ANON_EXCLUSIVE) | inherited | PG_LOCKED;
    mem.mapping[pfn] = word;
    mem.index[pfn] = index + i;
    mem.refcount[pfn] = 1;
  }
  mem.refcount[folio] = 1;
  mem.refcount[lockAt]! += extra;
  sys.vmstat.add(THP_SPLIT_PAGE, 1);
  if (mem.isZoneDevice(folio)) tellDriver(sys, folio);
}

function tellDriver(sys: System, folio: number): void {
  const { ops } = pagePgmap(sys, folio);
  for (let i = 1; i < HPAGE_PMD_NR; i++) ops.folioSplit?.(folio, folio + i);
  ops.folioSplit?.(folio, null);
}

/** Every PMD entry that stands for the folio becomes a table of PTEs, also migration entries. */
export function splitAllPmds(sys: System, folio: number): void {
  rmapWalk(sys, folio, pmdHits);
  for (let i = 0; i < pmdHits.length; i++) {
    if (!pmdHits.isPmd[i]) continue;
    const at = pmdHits.ptes[i]!;
    const pmd = sys.pageTables.words[at]!;
    if (isPmdLeaf(pmd) && ptePfn(pmd) === folio)
      splitHugePmd(pmdHits.vmas[i]!, at, pmdHits.addrs[i]!);
  }
}
