/*
 * After each command of the model test: all invariants of mm, the driver's own books, device page
 * tables against CPU page tables, and every byte of every process, looked at where it lies (RAM or
 * VRAM) without a fault.
 */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../src/base/units.ts';
import type { DeviceMemory } from '../../src/driver/device-memory.ts';
import { DPT_ATOMIC, DPT_WRITE, dptPfn } from '../../src/driver/device-page-table.ts';
import type { Dmirror } from '../../src/driver/dmirror.ts';
import { VM_SHARED, VM_SOFTDIRTY } from '../../src/mm/mm-types.ts';
import type { MmStruct } from '../../src/mm/mm-types.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  isDevicePrivateEntry,
  isWritableLeaf,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from '../../src/mm/swapops.ts';
import { vmaLookup } from '../../src/mm/vma-lookup.ts';
import { checkInvariants } from './check-invariants.ts';
import type { Known } from './check-invariants.ts';
import type { Machine, RealProcess } from './machine.ts';
import { arenaAddress } from './machine.ts';
import { ARENA_PAGES } from './model.ts';
import type { Bytes, Model, ModelProcess } from './model.ts';

export function checkStep(model: Model, machine: Machine): void {
  checkInvariants(machine.sys, known(machine));
  for (const { memory } of machine.devices) checkDriver(memory);
  machine.processes.forEach((process, slot) => {
    const expected = model.processes[slot] ?? null;
    expect(process === null, `process ${slot} lives in one world only`).toBe(expected === null);
    if (process === null || expected === null) return;
    for (const mirror of process.mirrors) if (mirror !== null) checkMirror(mirror);
    checkMappings(process.mm, expected, slot);
    checkBytes(machine, process, expected, slot);
  });
  model.pins.forEach((pin, slot) => {
    if (pin === null) return;
    const frame = machine.peekRam(machine.pins[slot]!.pfn);
    expectBytes(frame, pin.bytes, `pin ${slot}`);
  });
}

function known(machine: Machine): Known {
  const pins = new Map<number, number>();
  for (const pin of machine.pins) if (pin) pins.set(pin.pfn, (pins.get(pin.pfn) ?? 0) + 1);
  return {
    pins,
    references: new Map([[machine.scratchPfn, 1]]),
    inodeHandles: new Map(machine.objects.map((inode) => [inode, 1])),
    deviceFree: new Set(machine.devices.flatMap(({ memory }) => freePages(memory))),
  };
}

function freePages(memory: DeviceMemory): number[] {
  const { zoneDeviceData } = memory.sys.mem;
  const pages: number[] = [];
  // The list head is the driver's own affair, and just what a checker has to see.
  for (let pfn = memory['freeHead']; pfn !== 0; pfn = zoneDeviceData[pfn]!) pages.push(pfn);
  return pages;
}

function checkDriver(memory: DeviceMemory): void {
  let registered = 0;
  for (const chunk of memory.chunks) {
    if (chunk === null) continue;
    registered += chunk.nrPages;
    let live = 0;
    for (let i = 0; i < chunk.nrPages; i++) {
      if (memory.sys.mem.refcount[chunk.startPfn + i]! > 0) live++;
    }
    expect(chunk.pgmap.ref, 'a pagemap has a reference per live page and one more').toBe(live + 1);
  }
  expect(freePages(memory).length + memory.pagesInUse, 'pages of the device').toBe(registered);
}

/** A device maps only what the CPU page table says, with no more rights. */
function checkMirror(mirror: Dmirror): void {
  const { pageTables } = mirror.mm.sys;
  mirror.pageTable.forEach((page, entry) => {
    const at = pageTables.pteOffset(mirror.mm.pgd, page * PAGE_SIZE);
    const pte = pageTables.words[at]!;
    const isWritable = (entry & DPT_WRITE) !== 0;
    const name = `device entry of page ${page.toString(16)}`;
    expect(ptePfn(pte), name).toBe(dptPfn(entry));
    const isAtomic = (entry & DPT_ATOMIC) !== 0;
    expect(leafKind(pte) === LEAF_DEVICE_EXCLUSIVE, name).toBe(isAtomic);
    expect(isAtomic || ptePresent(pte) || isDevicePrivateEntry(pte), name).toBe(true);
    if (isWritable) expect(pteWrite(pte) || isWritableLeaf(pte), name).toBe(true);
  });
}

/** What is mapped in the arena, with which rights, and whether shared. */
function checkMappings(mm: MmStruct, expected: ModelProcess, slot: number): void {
  for (let page = 0; page < ARENA_PAGES; page++) {
    const found = expected.pages.get(page);
    const wanted = found === undefined ? null : found.prot | (found.isShared ? VM_SHARED : 0);
    const vma = vmaLookup(mm, arenaAddress(page));
    const flags = vma === null ? null : vma.vmFlags & ~VM_SOFTDIRTY;
    expect(flags, `VMA of process ${slot} page ${page}`).toBe(wanted);
  }
}

function checkBytes(
  machine: Machine,
  process: RealProcess,
  expected: ModelProcess,
  slot: number,
): void {
  for (const [page, { bytes }] of expected.pages) {
    if (bytes === null) continue;
    expectBytes(peek(machine, process.mm, page), bytes, `process ${slot} page ${page}`);
  }
}

/** The bytes that a load would see, without loading: from RAM, VRAM, the page cache, or zeroes. */
function peek(machine: Machine, mm: MmStruct, page: number): Uint8Array {
  const addr = arenaAddress(page);
  const { pageTables, zeroPfn } = machine.sys;
  const pte = pageTables.words[pageTables.pteOffset(mm.pgd, addr)]!;
  if (isDevicePrivateEntry(pte)) return machine.peekVram(ptePfn(pte));
  if (ptePresent(pte) || leafKind(pte) === LEAF_DEVICE_EXCLUSIVE)
    return machine.peekRam(ptePfn(pte));
  const vma = mm.vmas.find((one) => one.vmStart <= addr && addr < one.vmEnd);
  const index = vma === undefined ? 0 : vma.vmPgoff + (addr - vma.vmStart) / PAGE_SIZE;
  const cached = vma?.inode?.cache.get(index) ?? 0;
  return machine.peekRam(cached === 0 ? zeroPfn : cached);
}

function expectBytes(frame: Uint8Array, bytes: Bytes, name: string): void {
  let others = 0;
  for (const byte of frame) if (byte !== 0) others++;
  for (const [offset, value] of bytes) {
    // A matcher costs a microsecond, and most bytes are right.
    if (frame[offset] !== value) expect(frame[offset], `${name} offset ${offset}`).toBe(value);
    others--;
  }
  expect(others, `${name}: bytes that should be zero`).toBe(0);
}
