/**
 * The end of a device migration (mm/migrate_device.c: __migrate_device_finalize): migration entries
 * become mappings of the page that holds the contents now, locks and references go, waiters wake
 * and fault again. No notifier is sent: nothing could be reached through the entries.
 *
 * Locking: pages locked since setup. Never waits.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import { finishPlainPages } from './migrate-device-finish-plain.ts';
import { putbackLru } from './migrate-device-unmap.ts';
import { finishWhole } from './migrate-device-whole.ts';
import { MEMORY_DEVICE_PRIVATE } from './memory-type.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_SHIFT,
  MIGRATE_PFN_VALID,
  NO_FAULT_PAGE,
  migrateEntryPages,
  migratePfnToPage,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { mappingFor, removeMigrationPtes } from './migrate.ts';
import { linearPageIndex, vmaPageProt } from './mm-types.ts';
import type { System } from './mm-types.ts';
import { putPage } from './page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_ISOLATED, PG_LOCKED, PG_LRU, PG_WAITERS } from './page.ts';
import { soleAnonVma } from './rmap.ts';
import { LEAF_MIGRATION_READ, isMigrationEntry, leafKind, ptePfn } from './swapops.ts';
import { TRACE_MIGRATE_END } from './trace.ts';
import { vmEventIndex } from './vmstat.ts';

const PGMIGRATE_SUCCESS = vmEventIndex('pgmigrate_success');
const PGMIGRATE_FAIL = vmEventIndex('pgmigrate_fail');
const PGMIGRATE_TO_DEVICE = vmEventIndex('pgmigrate_to_device');
const THP_MIGRATION_SUCCESS = vmEventIndex('thp_migration_success');
const THP_MIGRATION_FAIL = vmEventIndex('thp_migration_fail');
const PGMIGRATE_TO_RAM = vmEventIndex('pgmigrate_to_ram');

/** What finalize has counted in one call; one at a time, since it never waits. */
const tally = { toDevice: 0, toRam: 0, restored: 0 };

/**
 * Finishes every entry of src[] and dst[], one after the other.
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
  const since = sys.trace?.nowMs() ?? -1;
  tally.toDevice = 0;
  tally.toRam = 0;
  tally.restored = 0;
  const faultPage = args === null ? NO_FAULT_PAGE : args.faultPage;
  for (let i = 0; i < npages;) {
    if ((src[i]! & MIGRATE_PFN_VALID) === 0) {
      finishHole(sys, src[i]!, dst[i]!);
      i += migrateEntryPages(dst[i]!);
      continue;
    }
    const isLarge = (src[i]! & MIGRATE_PFN_COMPOUND) !== 0;
    if (isLarge && args !== null && finishWhole(args, i)) {
      countMoved(sys, migratePfnToPage(dst[i]!), HPAGE_PMD_NR);
      sys.vmstat.add(THP_MIGRATION_SUCCESS, 1);
      i += HPAGE_PMD_NR;
      continue;
    }
    const next = args === null || isLarge ? i : finishRun(args, i);
    if (next > i) {
      i = next;
      continue;
    }
    const pages = migrateEntryPages(src[i]!);
    finishFolio(sys, src[i]!, dst, i, faultPage);
    i += pages;
  }
  countTally(sys);
  if (since >= 0) traceEnd(sys, args, npages, since);
}

/** A counter costs more than to see that it stays. */
function countTally({ vmstat }: System): void {
  const { toDevice, toRam, restored } = tally;
  if (toDevice + toRam > 0) vmstat.add(PGMIGRATE_SUCCESS, toDevice + toRam);
  if (toDevice > 0) vmstat.add(PGMIGRATE_TO_DEVICE, toDevice);
  if (toRam > 0) vmstat.add(PGMIGRATE_TO_RAM, toRam);
  if (restored > 0) vmstat.add(PGMIGRATE_FAIL, restored);
}

function traceEnd(sys: System, args: MigrateVma | null, npages: number, since: number): void {
  const mm = args === null ? null : args.vma.mm;
  const start = args === null ? 0 : args.start;
  const end = args === null ? npages : args.end;
  const { toDevice, toRam, restored } = tally;
  sys.trace?.emit(TRACE_MIGRATE_END, mm, start, end, since, toDevice, toRam, restored);
}

/** A hole: its destination is mapped by now, or was refused and is freed by this. */
function finishHole(sys: System, from: number, to: number): void {
  const target = migratePfnToPage(to);
  if (target < 0) return;
  if (isMoved(from, to)) countMoved(sys, target, migrateEntryPages(from));
  unlockAndPut(sys, target);
}

/**
 * One folio, wherever it may be mapped.
 *
 * @param dst Its destinations from `slot` on: one, or those that were meant to take over its pages.
 */
function finishFolio(
  sys: System,
  from: number,
  dst: Uint32Array,
  slot: number,
  faultPage: number,
): void {
  const { mem } = sys;
  const source = migratePfnToPage(from);
  const isCommitted = isMoved(from, dst[slot]!);
  const pages = migrateEntryPages(from);
  const target = isCommitted ? migratePfnToPage(dst[slot]!) : source;
  if (!isCommitted) dropUnused(sys, dst, slot, slot + pages);
  assert(
    target === source || !mem.isAnon(source) || mem.mapping[target] === mem.mapping[source],
    'I31: a page with a destination was committed before finalize',
  );
  if (!mem.isZoneDevice(target)) putbackLru(mem, target);
  removeMigrationPtes(sys, source, target);
  if (source === faultPage) putPage(sys, source);
  else unlockAndPut(sys, source);
  if (isCommitted) unlockAndPut(sys, target);
  if (isCommitted) countMoved(sys, target, pages);
  else tally.restored += pages;
  if (pages > 1) sys.vmstat.add(isCommitted ? THP_MIGRATION_SUCCESS : THP_MIGRATION_FAIL, 1);
}

/** Gives back what the driver allocated for a folio that stays. */
function dropUnused(sys: System, dst: Uint32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const pfn = migratePfnToPage(dst[i]!);
    if (pfn >= 0) unlockAndPut(sys, pfn);
  }
}

function countMoved(sys: System, target: number, pages: number): void {
  if (sys.mem.isZoneDevice(target)) tally.toDevice += pages;
  else tally.toRam += pages;
}

/** unlockPage and putPage, short for a folio that somebody else still refers to. */
function unlockAndPut(sys: System, pfn: number): void {
  const { mem } = sys;
  const { flags, refcount } = mem;
  const bits = flags[pfn]!;
  // Nobody to wake: the bit alone.
  if ((bits & (PG_LOCKED | PG_WAITERS)) === PG_LOCKED) flags[pfn] = bits & ~PG_LOCKED;
  else mem.unlockPage(pfn);
  const references = refcount[pfn]!;
  if (references > 1) refcount[pfn] = references - 1;
  else putPage(sys, pfn);
}

/**
 * finishFolio for a run of anonymous pages that can be mapped in one VMA only, because their
 * anon_vma has no other: their entries are where they were collected. This is what nearly every
 * migration does, so it is written out, with everything loaded once.
 *
 * @returns the first slot that is not of that kind, or is in another page table.
 */
function finishRun(args: MigrateVma, from: number): number {
  const { vma, src, dst } = args;
  const { sys, pgd } = vma.mm;
  const { mapping } = sys.mem;
  const head = isMoved(src[from]!, dst[from]!) ? dst[from]! : src[from]!;
  const word = mapping[migratePfnToPage(head)]!;
  if (soleAnonVma(sys, word) !== vma) return from;
  const addr = args.start + from * PAGE_SIZE;
  const at = sys.pageTables.pteOffset(pgd, addr);
  if (at === 0) return from;
  const end = Math.min(args.npages, from + PTRS_PER_TABLE - (at % PTRS_PER_TABLE));
  const firstAt = at - from;
  for (let i = from; i < end;) {
    const next = finishPlainPages(args, word, i, end, firstAt);
    countMoved(sys, migratePfnToPage(dst[i]!), next - i);
    i = next;
    if (i === end) break;
    const entry = src[i]!;
    if ((entry & (MIGRATE_PFN_VALID | MIGRATE_PFN_COMPOUND)) !== MIGRATE_PFN_VALID) return i;
    if (mapping[entry >>> MIGRATE_PFN_SHIFT] !== word) return i;
    finishSingle(args, word, i, firstAt + i);
    i++;
  }
  return end;
}

/** One page of a run, whatever became of it. @param at Where its entry is. */
function finishSingle(args: MigrateVma, word: number, slot: number, at: number): void {
  const { vma, src, dst, faultPage } = args;
  const { sys } = vma.mm;
  const { mapping, index } = sys.mem;
  const source = src[slot]! >>> MIGRATE_PFN_SHIFT;
  const isCommitted = isMoved(src[slot]!, dst[slot]!);
  const target = isCommitted ? dst[slot]! >>> MIGRATE_PFN_SHIFT : source;
  assert(mapping[target] === word, 'I31: a page with a destination was committed before finalize');
  if (!isCommitted) dropUnused(sys, dst, slot, slot + 1);
  assert(
    index[target] === linearPageIndex(vma, args.start + slot * PAGE_SIZE),
    'I11: an anonymous page is mapped where its index says',
  );
  mapInPlace(sys, at, source, target, vmaPageProt(vma));
  if (source === faultPage) putPage(sys, source);
  else unlockAndPut(sys, source);
  if (!isCommitted) {
    tally.restored++;
    return;
  }
  unlockAndPut(sys, target);
  countMoved(sys, target, 1);
}

/** Maps `target` at word `at`, if a migration entry of `source` still stands there. */
function mapInPlace(sys: System, at: number, source: number, target: number, prot: number): void {
  const { flags, refcount, mapcount, pgmap, pgmapType } = sys.mem;
  const { words } = sys.pageTables;
  const owner = pgmap[target]!;
  let bits = owner !== 0 ? flags[target]! : (flags[target]! & ~PG_ISOLATED) | PG_LRU;
  const entry = words[at]!;
  if (ptePfn(entry) === source && isMigrationEntry(entry)) {
    const references = refcount[target]!;
    assert(references > 0, 'I1: a reference is taken only on a live page');
    assert(mapcount[target] === 0, 'I12: a page that was unmapped has no mapping');
    refcount[target] = references + 1;
    mapcount[target] = 1;
    if (leafKind(entry) !== LEAF_MIGRATION_READ) bits |= PG_ANON_EXCLUSIVE;
    const isPrivate = pgmapType[owner] === MEMORY_DEVICE_PRIVATE;
    sys.pageTables.publish(at, mappingFor(entry, target, prot, isPrivate, bits));
  }
  flags[target] = bits;
}

function isMoved(srcEntry: number, dstEntry: number): boolean {
  return (srcEntry & MIGRATE_PFN_MIGRATE) !== 0 && (dstEntry & MIGRATE_PFN_VALID) !== 0;
}
