/**
 * The end of a device migration (mm/migrate_device.c: __migrate_device_finalize): migration entries become
 * mappings of the page that holds the contents now, locks and references go, waiters wake and fault
 * again. No notifier is sent: nothing could be reached through the entries.
 *
 * Locking: pages locked since setup. Never waits.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { putbackLru } from './migrate-device-unmap.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_VALID,
  NO_FAULT_PAGE,
  migratePfnToPage,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { removeMigrationPte, removeMigrationPtes } from './migrate.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { soleVma } from './rmap.ts';
import { vmEventIndex } from './vmstat.ts';

const PGMIGRATE_SUCCESS = vmEventIndex('pgmigrate_success');
const PGMIGRATE_FAIL = vmEventIndex('pgmigrate_fail');
const PGMIGRATE_TO_DEVICE = vmEventIndex('pgmigrate_to_device');
const PGMIGRATE_TO_RAM = vmEventIndex('pgmigrate_to_ram');

/**
 * Finds the page table entries of collected pages. While a page can be mapped in one VMA only, which is
 * the common case, its entry is where it was collected, and the reverse map walk is spared.
 */
class EntryFinder {
  private args: MigrateVma | null = null;
  /** Mapping word that was looked up last, and whether its object has the collected VMA alone. */
  private word = 0;
  private isSole = false;
  /** The slots before this one are in the page table that was looked up last. */
  private tableEnd = 0;
  /** Word index of the entry of slot 0, if that table reached so far down. */
  private origin = 0;

  begin(args: MigrateVma | null): void {
    this.args = args;
    this.word = 0;
    this.isSole = false;
    this.tableEnd = 0;
  }

  /** Drops what must not be kept alive. */
  end(): void {
    this.args = null;
  }

  /** Word index of the only entry that can stand for the page of `slot`; 0 = walk the reverse map. */
  find(sys: System, pfn: number, slot: number): number {
    const args = this.args;
    if (args === null) return 0;
    const word = sys.mem.mapping[pfn]!;
    if (word !== this.word) {
      this.word = word;
      this.isSole = soleVma(sys, pfn) === args.vma;
    }
    if (!this.isSole) return 0;
    if (slot >= this.tableEnd) {
      const at = sys.pageTables.pteOffset(
        args.vma.mm.pgd,
        args.start + slot * PAGE_SIZE,
      );
      // No entry can be there without a table; the reverse map walk will find that out.
      if (at === 0) return 0;
      this.origin = at - slot;
      this.tableEnd = slot + PTRS_PER_TABLE - (at % PTRS_PER_TABLE);
    }
    return this.origin + slot;
  }
}

const finder = new EntryFinder();

/**
 * Finishes every entry of src[] and dst[].
 *
 * @param args Where the pages were collected, null when they were selected by pfn.
 */
export function finalizePages(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
  args: MigrateVma | null,
): void {
  replaceAllEntries(sys, src, dst, npages, args);
  countOutcome(sys, src, dst, npages);
  releasePages(sys, src, npages, args === null ? NO_FAULT_PAGE : args.faultPage);
  // Destinations that were not used are freed here: this was their only reference.
  releasePages(sys, dst, npages, NO_FAULT_PAGE);
}

/** Unlocks the pages of src[] or dst[], except one that somebody else locked, and drops them. */
function releasePages(sys: System, entries: Uint32Array, npages: number, exempt: number): void {
  const { mem } = sys;
  for (let i = 0; i < npages; i++) {
    const pfn = migratePfnToPage(entries[i]!);
    if (pfn < 0) continue;
    if (pfn !== exempt) mem.unlockPage(pfn);
    putPage(sys, pfn);
  }
}

function replaceAllEntries(
  sys: System,
  src: Uint32Array,
  dst: Uint32Array,
  npages: number,
  args: MigrateVma | null,
): void {
  finder.begin(args);
  for (let i = 0; i < npages; i++) {
    const source = migratePfnToPage(src[i]!);
    if (source < 0) continue;
    const target = isMoved(src[i]!, dst[i]!) ? migratePfnToPage(dst[i]!) : source;
    replaceEntries(sys, source, target, args, i);
  }
  finder.end();
}

function isMoved(srcEntry: number, dstEntry: number): boolean {
  return (srcEntry & MIGRATE_PFN_MIGRATE) !== 0 && (dstEntry & MIGRATE_PFN_VALID) !== 0;
}

/** Maps `target` wherever a migration entry of `source` is, and puts it on the LRU. */
function replaceEntries(
  sys: System,
  source: number,
  target: number,
  args: MigrateVma | null,
  slot: number,
): void {
  const { mem } = sys;
  assert(
    target === source || !mem.isAnon(source) || mem.mapping[target] === mem.mapping[source],
    'I49: a page with a destination was committed before it is finalized',
  );
  if (!mem.isZoneDevice(target)) putbackLru(mem, target);
  const at = finder.find(sys, target, slot);
  if (at === 0 || args === null) removeMigrationPtes(sys, source, target);
  else removeMigrationPte(sys, args.vma, args.start + slot * PAGE_SIZE, at, source, target);
}

function countOutcome(sys: System, src: Uint32Array, dst: Uint32Array, npages: number): void {
  let toDevice = 0;
  let toRam = 0;
  let restored = 0;
  for (let i = 0; i < npages; i++) {
    if (!isMoved(src[i]!, dst[i]!)) restored += src[i]! & MIGRATE_PFN_VALID;
    else if (sys.mem.isZoneDevice(migratePfnToPage(dst[i]!))) toDevice++;
    else toRam++;
  }
  sys.vmstat.add(PGMIGRATE_SUCCESS, toDevice + toRam);
  sys.vmstat.add(PGMIGRATE_TO_DEVICE, toDevice);
  sys.vmstat.add(PGMIGRATE_TO_RAM, toRam);
  sys.vmstat.add(PGMIGRATE_FAIL, restored);
}
