/**
 * What holds between any two turns, however much is in flight: cheap checks after every step,
 * dearer ones every few. What needs the machine at rest is in check-rest.ts.
 */
import { PAGE_SIZE } from '../base/units.ts';
import { DPT_ATOMIC, DPT_WRITE, dptPfn } from '../driver/device-page-table.ts';
import type { Dmirror } from '../driver/dmirror.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  PTE_SPECIAL,
  isDevicePrivateEntry,
  isMigrationEntry,
  isWritableLeaf,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from '../mm/swapops.ts';
import { ARENA, ARENA_PAGES, BUFFERS, BUFFER_PAGES, arenaAddress } from './arena.ts';
import { leafEntry, leafFrame } from './leaf.ts';
import { violated } from './violation.ts';
import type { World } from './world.ts';

/** No TLB grants more than the page table, and nobody has written to the zero page. */
export function checkStep(world: World): void {
  for (const core of world.cores) {
    const stale = core.staleEntry();
    if (stale !== '') violated(stale);
  }
  const { ramWords, zeroPfn } = world.sys;
  if (ramWords[(zeroPfn * PAGE_SIZE) / 4] !== 0) violated('the zero page has been written');
}

/**
 * Every entry of every address space: its page is alive, locked where a migration entry stands for
 * it, and mapped as often as it says; devices map what the CPU page table says.
 */
export function checkMoving(world: World, mapcount: Int32Array): void {
  const { sys } = world;
  if (!world.config.isHuge) checkMapcounts(world, mapcount);
  for (const { pfn } of world.pins) {
    if (!sys.mem.maybeDmaPinned(pfn)) violated(`pinned page ${pfn} is not`);
  }
  for (const process of world.processes) {
    for (const mirror of process?.mirrors ?? []) if (mirror !== null) checkMirror(mirror);
  }
}

/** A PMD entry maps pages outside the arena, too: with large folios only rest is exact. */
function checkMapcounts(world: World, mapcount: Int32Array): void {
  const { sys } = world;
  mapcount.fill(0);
  for (const mm of sys.mms) {
    if (mm.pgd === 0) continue;
    countRange(mm, ARENA, ARENA_PAGES, mapcount);
    countRange(mm, BUFFERS, world.config.tasks * BUFFER_PAGES, mapcount);
  }
  checkCounts(sys, mapcount);
}

function countRange(mm: MmStruct, start: number, pages: number, mapcount: Int32Array): void {
  const { mem, pageTables } = mm.sys;
  for (let i = 0; i < pages; i++) {
    const at = pageTables.pteOffset(mm.pgd, start + i * PAGE_SIZE);
    if (at === 0) continue;
    const pte = pageTables.words[at]!;
    if (pte === 0) continue;
    const pfn = ptePfn(pte);
    if (isMigrationEntry(pte)) {
      if (!mem.isLocked(pfn)) violated(`page ${pfn} has a migration entry and is not locked`);
    } else if (ptePresent(pte) ? (pte & PTE_SPECIAL) === 0 : isDeviceEntry(pte)) {
      mapcount[pfn]!++;
    }
  }
}

/** Entries that count as mappings although the CPU can't use them. */
function isDeviceEntry(pte: number): boolean {
  return isDevicePrivateEntry(pte) || leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
}

function checkCounts(sys: System, mapcount: Int32Array): void {
  const { mem } = sys;
  for (let pfn = 0; pfn < mapcount.length; pfn++) {
    const mapped = mapcount[pfn]!;
    if (mem.mapcount[pfn] !== mapped) {
      violated(`page ${pfn} is mapped ${mapped} times and counts ${mem.mapcount[pfn]}`);
    }
    if (mem.refcount[pfn]! < mapped) {
      violated(`page ${pfn} is mapped ${mapped} times with ${mem.refcount[pfn]} references`);
    }
  }
}

/** A device maps only what the CPU page table says, with no more rights. */
function checkMirror(mirror: Dmirror): void {
  if (mirror.pageTable.mapped === 0) return;
  for (let i = 0; i < ARENA_PAGES; i++) {
    const entry = mirror.pageTable.lookup(arenaAddress(i) / PAGE_SIZE);
    if (entry === 0) continue;
    const pte = leafEntry(mirror.mm, arenaAddress(i));
    const isSame = pte !== 0 && leafFrame(mirror.mm, arenaAddress(i)) === dptPfn(entry);
    const isExclusive = leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
    const mayWrite = pteWrite(pte) || isWritableLeaf(pte) || isExclusive;
    const isOwned = (entry & DPT_ATOMIC) === 0 || isExclusive;
    if (isSame && isOwned && (mayWrite || (entry & DPT_WRITE) === 0)) continue;
    violated(
      `device ${mirror.device.minor} maps frame ${dptPfn(entry)} at page ${i} of mm ` +
        `${mirror.mm.id} (entry ${entry.toString(16)}), the CPU's entry is ${pte.toString(16)}`,
    );
  }
}
