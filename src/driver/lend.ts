/**
 * Taking a page away from the CPU for as long as a device works on a copy of it. The page stays in
 * RAM: migration entries take the place of its mappings, in every address space, so that whoever
 * reaches for it waits for the page lock and no store is lost when the copy comes back.
 *
 * Locking: the folio is locked and referenced by the caller from before `lendFolio` until after
 * `removeMigrationPtes(sys, folio, folio)`, which gives it back. Never waits. Source: our own.
 */
import { tryToMigrate } from '../mm/try-to-migrate.ts';
import { DPT_WRITE, dptPfn } from './device-page-table.ts';
import type { DevicePageTable } from './device-page-table.ts';
import type { Dmirror } from './dmirror.ts';

/** Entries of the mirror that a lend has erased: page number, entry, and so on. */
const erased: number[] = [];

/**
 * Takes a folio away from the CPU. That tells every mirror to drop it, ours too, although it is
 * ours to use until it is given back: the entries that the device had are put in again at once,
 * and who listens to the page table hears nothing. Whatever unmaps the page meanwhile drops them
 * for good.
 *
 * @param staysUsable Lends a pinned page, too: whoever has the pin can still reach it, so what
 * comes back has to be merged. The mmap lock must be held for read until then, because of fork.
 * @returns false when a mapping was left: a pin, or a core that does not answer. Some others may be
 * gone then; give the folio back.
 */
export function lendFolio(mirror: Dmirror, folio: number, staysUsable: boolean): boolean {
  const { pageTable } = mirror;
  const { sys } = mirror.mm;
  const end = folio + sys.mem.folioNrPages(folio);
  erased.length = 0;
  pageTable.divert((from, to) => noteErased(pageTable, from, to));
  const isFree = tryToMigrate(sys, folio, staysUsable);
  pageTable.divert(null);
  for (let i = 0; i < erased.length; i += 2) {
    const pfn = dptPfn(erased[i + 1]!);
    if (pfn < folio || pfn >= end) continue;
    pageTable.store(erased[i]!, pfn, (erased[i + 1]! & DPT_WRITE) !== 0);
  }
  return isFree;
}

function noteErased(pageTable: DevicePageTable, from: number, to: number): void {
  for (let page = from; page < to; page++) {
    const entry = pageTable.lookup(page);
    if (entry !== 0) erased.push(page, entry);
  }
}
