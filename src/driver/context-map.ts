/*
 * A context's page table over a process's mirror: what is in this device's memory by the mirror's
 * page table can be mapped for kernels, and whatever takes a page away from the mirror's page table
 * takes it out of the context's in the same breath.
 *
 * Promises. An entry of the context's page table exists only while the mirror's page table, which
 * the interval notifier keeps right, has the page in this device's memory, and goes before a copy
 * home begins. Passes that were submitted before an entry went see the old one; copies and clears
 * of its frame are queued behind them.
 *
 * Locking. None; never waits. Between looking a page up in the mirror's page table and mapping it
 * nothing waits. Source: our own.
 */
import { PAGE_SIZE } from '../base/units.ts';
import {
  PTE_ALL,
  PTE_KILL_ATOMIC,
  PTE_KILL_READ,
  PTE_KILL_WRITE,
  PTE_READ,
  PTE_WRITE,
  VM_SPACE_BYTES,
} from '../engine/vm/abi.ts';
import type { DeviceSpace } from '../engine/vm/device-space.ts';
import { VM_READ, VM_WRITE } from '../mm/mm-types.ts';
import { findVma } from '../mm/vma-lookup.ts';
import { cpuMaps } from './cpu-maps.ts';
import { DPT_WRITE, dptPfn } from './device-page-table.ts';
import type { EraseListener } from './device-page-table.ts';
import type { Dmirror } from './dmirror.ts';
import { PageSet } from './page-set.ts';

const KILL_WRITES = PTE_KILL_WRITE | PTE_KILL_ATOMIC;
/** Pages of a context's space. */
export const SPACE_PAGES = VM_SPACE_BYTES / PAGE_SIZE;

/** A set, or a map by page. */
type Pages = PageSet | Map<number, boolean>;

/** See the file header. Pages are those of the context: 0 is its address 0. */
export class ContextMap {
  readonly mirror: Dmirror;
  readonly space: DeviceSpace;
  /** Virtual page number of the context's page 0. */
  readonly originPage: number;
  /** Pages that are mapped for kernels, in the order in which they came. */
  readonly mapped = new PageSet();
  /** Pages that were mapped when they were not, and mapped ones that somebody took away. */
  made = 0;
  erased = 0;
  /** Told of pages [first, end) that left the mirror's page table or begin to, at once. */
  onErase: EraseListener | null = null;
  private readonly listener: EraseListener = (first, end) => this.erase(first, end);
  private readonly firstFrame: number;
  /** Pages with refusals, and whether those are of writes alone. */
  private readonly refused = new Map<number, boolean>();
  /** The VMAs by which the refusals were last right: start, end and flags of each. */
  private vmas = new Float64Array(0);

  /**
   * @param mirror the process's open device; which has memory of its own
   * @param space the context's page table
   * @param origin virtual address that is address 0 of the context, page aligned
   * @param firstFrame pfn of the first VRAM frame of the engine's arena
   */
  constructor(mirror: Dmirror, space: DeviceSpace, origin: number, firstFrame: number) {
    this.mirror = mirror;
    this.space = space;
    this.originPage = origin / PAGE_SIZE;
    this.firstFrame = firstFrame;
    mirror.pageTable.listen(this.listener);
  }

  /**
   * Maps a page that the mirror's page table has on the device, with what it allows.
   *
   * @param write whether it has to be writable
   * @returns false where it is not there, or not writable: the context's page table is as it was
   */
  map(page: number, write: boolean): boolean {
    const entry = this.mirror.pageTable.lookup(this.originPage + page);
    const frame = dptPfn(entry) - this.firstFrame;
    // HMM gives a driver no private pages of other devices, so what is in VRAM is this one's.
    if (entry === 0 || frame < 0) return false;
    const writable = (entry & DPT_WRITE) !== 0;
    if (write && !writable) return false;
    // While a page is copied home its entry is still there.
    const address = (this.originPage + page) * PAGE_SIZE;
    if (!cpuMaps(this.mirror.mm, address, dptPfn(entry), writable)) return false;
    const kills = !writable && this.refused.has(page) ? KILL_WRITES : 0;
    this.space.mapPage(page * PAGE_SIZE, frame, (writable ? PTE_ALL : PTE_READ) | kills);
    // A large folio that came whole is mapped by one entry, as soon as all of it is mapped.
    const { mem } = this.mirror.mm.sys;
    if (mem.isLarge(mem.folioOf(dptPfn(entry)))) this.space.promote(page * PAGE_SIZE);
    const before = this.mapped.size;
    this.mapped.add(page);
    this.made += this.mapped.size - before;
    return true;
  }

  /** Takes a page out of the context's page table alone: the next access faults. */
  unmap(page: number): void {
    this.mapped.delete(page);
    this.space.unmapPage(page * PAGE_SIZE);
  }

  /** Whether kernels may store to a page. */
  isWritable(page: number): boolean {
    return (this.space.entryOf(page * PAGE_SIZE) & PTE_WRITE) !== 0;
  }

  /** From now on such accesses end their invocation; reads of a readable page go on. */
  refuse(page: number, write: boolean): void {
    this.refused.set(page, write && this.refused.get(page) !== false);
    if (write && this.map(page, false)) return;
    const kills = write ? KILL_WRITES : KILL_WRITES | PTE_KILL_READ;
    this.mapped.delete(page);
    this.space.unmapPage(page * PAGE_SIZE, kills);
  }

  /**
   * Faults are about to be looked at. Refusals that follow hold until the VMAs differ from those
   * of now: what is mapped between the look and the refusal is not to be refused for good.
   */
  begin(): void {
    this.forgive();
    if (this.refused.size === 0) this.vmas = vmasOf(this.mirror);
  }

  /**
   * Takes back the refusals of what the process may do by now: memory that is mapped where there
   * was none tells no notifier. Context: between two passes; cheap where nothing was refused, or no
   * VMA has changed.
   */
  forgive(): void {
    const { refused, mirror, space } = this;
    if (refused.size === 0) return;
    const vmas = vmasOf(mirror);
    if (vmas.length === this.vmas.length && vmas.every((value, i) => value === this.vmas[i]))
      return;
    this.vmas = vmas;
    for (const [page, write] of refused) {
      const address = (this.originPage + page) * PAGE_SIZE;
      const vma = findVma(mirror.mm, address);
      const flags = vma === null || vma.vmStart > address ? 0 : vma.vmFlags;
      if ((flags & VM_READ) === 0 || (write && (flags & VM_WRITE) === 0)) continue;
      refused.delete(page);
      const rights = space.entryOf(page * PAGE_SIZE) & PTE_ALL;
      if (rights === 0) space.unmapPage(page * PAGE_SIZE);
      else space.protectPage(page * PAGE_SIZE, rights);
    }
  }

  /** Ends the connection: the context maps nothing any more. Pages stay on the device. */
  close(): void {
    this.mirror.pageTable.unlisten(this.listener);
    this.space.unmapAll();
    this.mapped.clear();
    this.refused.clear();
  }

  /** Virtual pages [first, end) are gone from the mirror's page table. */
  private erase(first: number, end: number): void {
    const from = Math.max(0, first - this.originPage);
    const to = Math.min(SPACE_PAGES, end - this.originPage);
    if (from >= to) return;
    this.space.unmapBlocks(from, to);
    for (const pages of [this.mapped, this.refused]) {
      if (to - from <= pages.size) {
        for (let page = from; page < to; page++) this.drop(pages, page);
      } else {
        for (const page of pagesOf(pages)) if (page >= from && page < to) this.drop(pages, page);
      }
    }
    this.onErase?.(from, to);
  }

  private drop(pages: Pages, page: number): void {
    if (!pages.delete(page)) return;
    if (pages === this.mapped) this.erased += 1;
    this.space.unmapPage(page * PAGE_SIZE);
  }
}

/** All of them, as they are now. */
function pagesOf(pages: Pages): Iterable<number> {
  return pages instanceof PageSet ? pages.inOrder() : pages.keys();
}

/** Start, end and flags of each VMA. */
function vmasOf({ mm }: Dmirror): Float64Array<ArrayBuffer> {
  const all = new Float64Array(mm.vmas.length * 3);
  mm.vmas.forEach(({ vmStart, vmEnd, vmFlags }, i) => all.set([vmStart, vmEnd, vmFlags], i * 3));
  return all;
}
