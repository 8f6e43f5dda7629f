/**
 * What holds when nothing is in flight: every invariant of the machine (check-invariants.ts), the
 * drivers' books, who maps what, and every word of every page, looked at where it lies, in RAM or
 * VRAM, without a fault. Looking leaves shadow memory with one value a word.
 */
import { HPAGE_PMD_NR, PAGE_SIZE, WORDS_PER_PAGE } from '../base/units.ts';
import type { DeviceMemory } from '../driver/device-memory.ts';
import { VM_SHARED, VM_STICKY, VM_UFFD_FLAGS } from '../mm/mm-types.ts';
import type { System } from '../mm/mm-types.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_SWAP,
  isDevicePrivateEntry,
  leafKind,
  ptePfn,
  ptePresent,
} from '../mm/swapops.ts';
import { vmaLookup } from '../mm/vma-lookup.ts';
import { arenaAddress } from './arena.ts';
import { findProblems } from './check-invariants.ts';
import { leafEntry, leafFrame } from './leaf.ts';
import { SLOTS, UNMAPPED } from './shadow.ts';
import type { Content } from './shadow.ts';
import type { SimProcess } from './process.ts';
import { violated } from './violation.ts';
import type { World } from './world.ts';

/** Throws `Violation` with everything that is wrong with the machine. */
export function checkRest(world: World): void {
  const { sys } = world;
  const pins = new Map<number, number>();
  for (const { pfn } of world.pins) {
    const folio = sys.mem.folioOf(pfn);
    pins.set(folio, (pins.get(folio) ?? 0) + 1);
  }
  const problems = findProblems(sys, {
    pins,
    inodeHandles: new Map(world.objects.map(({ inode }) => [inode, 1])),
    deviceFree: new Set(world.devices.flatMap(({ device }) => freePages(device.memory))),
  });
  if (problems.length > 0) violated(`invariants broken:\n  ${problems.join('\n  ')}`);
  for (const { device } of world.devices) checkDriver(device.memory);
  for (const process of world.processes) if (process !== null) checkProcess(world, process);
  for (const { pfn, content } of world.pins) {
    if (content !== null) checkWords(sys.ramWords, pfn, content, `pinned page ${pfn}`);
  }
}

/** The driver's free list is its own affair, and just what a checker has to see. */
function freePages(memory: DeviceMemory): number[] {
  const { zoneDeviceData, pageCount } = memory.sys.mem;
  const pages: number[] = [];
  for (let pfn = memory['freeHead']; pfn !== 0; pfn = zoneDeviceData[pfn]!) {
    if (pages.length > pageCount) violated('the free list of a device has a loop');
    pages.push(pfn);
  }
  for (let head = memory['freeFolios']; head !== 0; head = zoneDeviceData[head]!) {
    if (pages.length > pageCount) violated('the list of free folios of a device has a loop');
    for (let i = 0; i < HPAGE_PMD_NR; i++) pages.push(head + i);
  }
  return pages;
}

function checkDriver(memory: DeviceMemory): void {
  const { mem } = memory.sys;
  let registered = 0;
  for (const chunk of memory.chunks) {
    if (chunk === null) continue;
    registered += chunk.nrPages;
    let live = 0;
    for (let i = 0; i < chunk.nrPages; i++) {
      if (mem.refcount[mem.folioOf(chunk.startPfn + i)]! > 0) live++;
    }
    if (chunk.pgmap.ref !== live + 1) violated(`pagemap of ${live} pages has ${chunk.pgmap.ref}`);
  }
  const listed = freePages(memory).length + memory.pagesInUse;
  if (listed !== registered) violated(`a device knows ${listed} of ${registered} pages`);
}

function checkProcess(world: World, process: SimProcess): void {
  process.places.forEach(({ now, next }, page) => {
    if (next !== null) violated('nothing changes at rest');
    const wanted = now.prot === UNMAPPED ? null : now.prot | (now.isShared ? VM_SHARED : 0);
    const vma = vmaLookup(process.mm, arenaAddress(page));
    // Sticky flags tell of what happened to a neighbour, too.
    const flags = vma === null ? null : vma.vmFlags & ~(VM_STICKY | VM_UFFD_FLAGS);
    const name = `page ${page} of process ${process.slot}`;
    if (flags !== wanted) violated(`${name} has VMA flags ${flags}, not ${wanted}`);
    if (now.content !== null) checkContent(world, process, page, now.content, name);
  });
}

/** Finds the page: in RAM, on a device that is not lost, in the page cache, or nowhere yet. */
function checkContent(
  world: World,
  process: SimProcess,
  page: number,
  content: Content,
  name: string,
): void {
  const { sys } = world;
  const addr = arenaAddress(page);
  const pte = leafEntry(process.mm, addr);
  const frame = leafFrame(process.mm, addr);
  if (isDevicePrivateEntry(pte)) {
    const { engine } = world.devices.find(({ device }) => device.memory.has(frame))!;
    if (!engine.isLost) checkWords(engine.frame(frame), 0, content, name);
    return;
  }
  if (leafKind(pte) === LEAF_SWAP) {
    checkSwapped(sys, ptePfn(pte), content, name);
    return;
  }
  const vma = vmaLookup(process.mm, addr);
  const index = vma === null ? 0 : vma.vmPgoff + (addr - vma.vmStart) / PAGE_SIZE;
  const cached = vma?.inode?.cache.get(index) ?? 0;
  const elsewhere = cached === 0 ? sys.zeroPfn : cached;
  const isInRam = ptePresent(pte) || leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
  checkWords(sys.ramWords, isInRam ? frame : elsewhere, content, name);
}

/** A page that was paged out: in its slot, or in the swap cache. */
function checkSwapped(sys: System, slot: number, content: Content, name: string): void {
  const { swap } = sys;
  if (swap === null) violated(`${name} is on a swap space that there is not`);
  const cached = swap.cache[slot]!;
  const bytes = swap.bytes(slot);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, WORDS_PER_PAGE);
  if (cached === 0) checkWords(words, 0, content, name);
  else checkWords(sys.ramWords, cached, content, name);
}

function checkWords(words: Uint32Array, frame: number, content: Content, name: string): void {
  SLOTS.forEach((at, slot) => {
    const value = words[frame * WORDS_PER_PAGE + at]!;
    if (!content.mayBe(slot, value)) {
      violated(
        `${name} slot ${slot} is ${value.toString(16)} at rest, not ${content.describe(slot)}`,
      );
    }
    content.observe(slot, value);
  });
}
