/*
 * One number for everything in a machine that a refused call must leave alone: page tables, the
 * state of every page in use, VMAs, notifiers, device page tables, descriptors. Counters of events
 * and the order of free lists are no state. Bytes have a number of their own, which costs more.
 */
import { PAGE_SIZE, PTRS_PER_TABLE } from '../../src/base/units.ts';
import type { DmirrorDevice } from '../../src/driver/dmirror-device.ts';
import { Dmirror } from '../../src/driver/dmirror.ts';
import type { CpuEngine } from '../../src/engine/cpu-engine.ts';
import type { MmStruct, System } from '../../src/mm/mm-types.ts';
import { PTE_PFN_SHIFT, isPmdLeaf } from '../../src/mm/swapops.ts';
import type { Kernel } from '../../src/worker/kernel.ts';

const WORDS = PAGE_SIZE / 4;

/** Order matters: the same numbers elsewhere are another state. */
class Sum {
  value = 0x811c9dc5;
  private readonly pair = new Float64Array(1);
  private readonly halves = new Uint32Array(this.pair.buffer);

  word(word: number): void {
    this.value = Math.imul(this.value ^ word, 0x01000193) ^ (this.value >>> 15);
  }

  /** Any number. */
  number(value: number): void {
    this.pair[0] = value;
    this.word(this.halves[0]!);
    this.word(this.halves[1]!);
  }
}

/** The state of mm, without bytes. */
export function systemDigest(sys: System): number {
  const sum = new Sum();
  addPages(sum, sys);
  for (const mm of sys.mms) addMm(sum, mm);
  sum.number(sys.pageAllocator.freePages);
  sum.number(sys.hugeZeroPfn);
  sum.number(sys.anonVmas.length - sys.freeAnonVmaIds.length);
  sum.number(sys.inodes.length - sys.freeInodeIds.length);
  for (const inode of sys.inodes) {
    if (inode === null) continue;
    for (const value of [inode.id, inode.size, inode.users, inode.nrPages]) sum.number(value);
  }
  for (const pgmap of sys.pagemaps) sum.number(pgmap?.ref ?? -1);
  for (const { startPfn, nrPages } of sys.deviceRegions) sum.number(startPfn * 2 ** 23 + nrPages);
  return sum.value;
}

/** The same with devices, descriptors and processes. */
export function kernelDigest(kernel: Kernel): number {
  const sum = new Sum();
  sum.word(systemDigest(kernel.sys));
  for (const device of kernel.devices) addDevice(sum, device);
  sum.number(kernel['userPages']['held'].size);
  sum.number(kernel['launches']['compiled'].size + kernel['launches']['active'].size * 2 ** 20);
  const own = kernel['uffds']['files'].size + kernel['tmpfiles']['inodes'].size;
  for (const value of [kernel['processes'].size, kernel['files'].size, own]) sum.number(value);
  return sum.value;
}

/** The contents of every page in use, in RAM and in VRAM. */
export function bytesDigest(sys: System, engine: CpuEngine): number {
  const sum = new Sum();
  const { refcount, pageCount } = sys.mem;
  const vram = engine['vram'];
  for (let pfn = 0; pfn < pageCount; pfn++) {
    if (refcount[sys.mem.folioOf(pfn)] === 0) continue;
    const isHost = pfn < sys.hostPages;
    const words = isHost ? sys.ramWords : vram;
    const first = (isHost ? pfn : pfn - sys.hostPages) * WORDS;
    for (let at = first; at < first + WORDS; at++) sum.word(words[at]!);
  }
  return sum.value;
}

/**
 * The entries below a table of level 3 (pgd) to 0 (pte). Tables without entries are no state: a
 * fault that fails may leave some behind, as in Linux.
 */
function addEntries(sum: Sum, sys: System, table: number, level: number, base: number): void {
  const { words, used } = sys.pageTables;
  let left = used[table]!;
  const span = PAGE_SIZE * PTRS_PER_TABLE ** level;
  for (let i = 0; left > 0 && i < PTRS_PER_TABLE; i++) {
    const entry = words[table * PTRS_PER_TABLE + i]!;
    if (entry === 0) continue;
    left--;
    const isLeaf = level === 0 || (level === 1 && isPmdLeaf(entry));
    if (isLeaf) {
      sum.number(base + i * span + level);
      sum.word(entry);
    } else addEntries(sum, sys, entry >>> PTE_PFN_SHIFT, level - 1, base + i * span);
  }
}

function addPages(sum: Sum, { mem }: System): void {
  for (let pfn = 0; pfn < mem.pageCount; pfn++) {
    if (mem.refcount[pfn] === 0) continue;
    sum.word(pfn);
    sum.word(mem.flags[pfn]!);
    sum.word(mem.refcount[pfn]!);
    sum.word(mem.mapcount[pfn]!);
    sum.word(mem.entireMapcount[pfn]!);
    sum.word(mem.largeMapcount[pfn]!);
    sum.word(mem.pincount[pfn]!);
    sum.word(mem.mapping[pfn]!);
    sum.number(mem.index[pfn]!);
  }
  sum.number(mem.waitingPages);
}

function addMm(sum: Sum, mm: MmStruct): void {
  for (const value of [mm.id, mm.users, mm.anonRss, mm.shmemRss]) sum.number(value);
  addEntries(sum, mm.sys, mm.pgd, 3, 0);
  sum.word(mm.mmapLock.isLocked ? 1 : 0);
  for (const vma of mm.vmas) {
    const { vmStart, vmEnd, vmFlags, vmPgoff } = vma;
    for (const value of [vmStart, vmEnd, vmFlags, vmPgoff]) sum.number(value);
    sum.number(vma.inode?.id ?? -1);
    sum.number(vma.anonVma?.id ?? -1);
    sum.word(vma.uffdCtx === null ? 0 : 1);
  }
  const subs = mm.notifierSubscriptions;
  sum.number(subs?.size ?? -1);
  sum.word(subs?.isInvalidating === true ? 1 : 0);
}

function addDevice(sum: Sum, device: DmirrorDevice): void {
  sum.number(device.memory.pagesInUse);
  sum.word(device.failNextAllocation ? 1 : 0);
  sum.word(device.apertureLock['held'] ? 1 : 0);
  for (const mirror of device.mirrors) {
    sum.number(mirror.mm.id);
    if (!(mirror instanceof Dmirror)) continue;
    mirror.pageTable.forEach((page, entry) => {
      sum.number(page);
      sum.word(entry);
    });
  }
}
