/**
 * Where each page of a run is, what the device maps, and how much device memory is left. The fault
 * service is its only writer.
 *
 * A real run keeps one beside the true page tables: pages that leave the device by themselves (CPU
 * faults, munmap) are reported to it.
 */
import { assert } from '../../base/assert.ts';
import { BLOCK_PAGES, BLOCK_SHIFT, GROUP_SHIFT } from './block.ts';
import { ACCESS_READ, ACCESS_STRONG, HINT_NAMES, IN_RAM, ON_DEVICE } from './policy.ts';
import type { Hints, PolicyView, Region } from './policy.ts';

/** Ranges that may be covered by others before they are dropped. */
const SPARE_RANGES = 1024;

/** The state of a run's pages. */
export class Residency implements PolicyView {
  /** Pages up to the end of the last block that has a region; more when regions come behind it. */
  pageCount: number;
  /** Pages that there may ever be: what arrays have room for. */
  readonly capacity: number;
  readonly devicePages: number;
  readonly where: Uint8Array;
  readonly mapped: Uint8Array;
  readonly remote: Uint8Array;
  /** The same three for somebody who may write what he looks at; null where nobody does. */
  copy: Pick<Residency, 'where' | 'mapped' | 'remote'> | null = null;
  /** 1 for a page that was prefetched and has not been used since. */
  readonly prefetched: Uint8Array;
  /** Accesses over the link, by 64 KiB group, since one of its pages was last on the device. */
  readonly remoteUses: Uint32Array;
  nowUs = 0;
  /** Pages of device memory that are taken; with whole chunks more than have something in them. */
  usedPages = 0;
  /** Pages that are on the device. */
  residentPages = 0;
  /** Whether a block takes memory for all of its pages as soon as one of them is on the device. */
  wholeBlocks = false;
  /** The place in `ranges` of each page's region, plus 1; 0 for none. */
  private readonly regionAt: Uint32Array;
  private readonly blockResident: Uint16Array;
  /** Pages of device memory that each block has, where blocks are taken whole. */
  private readonly blockTaken: Uint16Array;
  /** Pages of each block that are in a region. */
  private readonly blockPages: Uint16Array;
  private readonly isSeen: Uint8Array;
  /** The round in which a page was last served; those of the running round are protected. */
  private readonly servedIn: Uint32Array;
  private round = 1;
  private ranges: Region[];
  /** Ranges at which those that are covered are dropped. */
  private mostRanges = SPARE_RANGES;

  /**
   * @param regions ranges that do not overlap, each in blocks of its own address space
   * @param devicePages pages of device memory, at least 1
   * @param mostPages up to which page regions may come later; by default none comes
   */
  constructor(regions: readonly Region[], devicePages: number, mostPages = 0) {
    this.pageCount = blocksOf(endOf(regions)) * BLOCK_PAGES;
    const pageCount = Math.max(this.pageCount, blocksOf(mostPages) * BLOCK_PAGES);
    this.capacity = pageCount;
    this.devicePages = devicePages;
    this.ranges = [...regions];
    this.where = new Uint8Array(pageCount);
    this.mapped = new Uint8Array(pageCount);
    this.remote = new Uint8Array(pageCount);
    this.prefetched = new Uint8Array(pageCount);
    this.remoteUses = new Uint32Array(pageCount >>> GROUP_SHIFT);
    this.regionAt = new Uint32Array(pageCount);
    this.blockResident = new Uint16Array(pageCount >>> BLOCK_SHIFT);
    this.blockTaken = new Uint16Array(pageCount >>> BLOCK_SHIFT);
    this.isSeen = new Uint8Array(pageCount);
    this.blockPages = new Uint16Array(pageCount >>> BLOCK_SHIFT);
    this.servedIn = new Uint32Array(pageCount);
    this.enterRegions();
  }

  private enterRegions(): void {
    this.ranges.forEach(({ first, outer }, at) => {
      this.regionAt.fill(at + 1, first, outer);
      for (let from = first; from < outer;) {
        const block = from >>> BLOCK_SHIFT;
        const to = Math.min(outer, (block + 1) * BLOCK_PAGES);
        this.blockPages[block]! += to - from;
        from = to;
      }
    });
  }

  /**
   * The address space has changed. Pages that are in no region any more stay where they are until
   * somebody says where they went.
   *
   * @param regions ranges inside the pages that there may be
   */
  replaceRegions(regions: readonly Region[]): void {
    assert(endOf(regions) <= this.capacity, 'regions lie where there may be pages');
    this.ranges = [...regions];
    this.regionAt.fill(0, 0, this.pageCount);
    this.blockPages.fill(0, 0, this.pageCount >>> BLOCK_SHIFT);
    this.pageCount = Math.max(this.pageCount, blocksOf(endOf(regions)) * BLOCK_PAGES);
    this.enterRegions();
    if (!this.wholeBlocks) return;
    this.usedPages = 0;
    for (let block = 0; block < this.pageCount >>> BLOCK_SHIFT; block++) {
      const pages = this.blockResident[block]!;
      this.blockTaken[block] = pages === 0 ? 0 : Math.max(pages, this.blockPages[block]!);
      this.usedPages += this.blockTaken[block]!;
    }
  }

  /** Pages of device memory that are left; below 0 where others have put more there (adopt). */
  get freePages(): number {
    return this.devicePages - this.usedPages;
  }

  residentIn(block: number): number {
    return this.blockResident[block]!;
  }

  /**
   * Pages of device memory that a page will take when it comes.
   *
   * @param isComing whether another page of its block is on its way already
   */
  costOf(page: number, isComing: boolean): number {
    if ((this.where[page]! & ON_DEVICE) !== 0) return 0;
    if (!this.wholeBlocks) return 1;
    const block = page >>> BLOCK_SHIFT;
    return isComing || this.blockTaken[block]! > 0 ? 0 : Math.max(1, this.blockPages[block]!);
  }

  /** Notes that a page comes to the device. @returns whether it is the first time */
  firstTouch(page: number): boolean {
    const isFirst = this.isSeen[page] === 0;
    this.isSeen[page] = 1;
    return isFirst;
  }

  regionOf(page: number): Region | undefined {
    const at = this.regionAt[page] ?? 0;
    return at === 0 ? undefined : this.ranges[at - 1];
  }

  /**
   * Changes the hints of a range, inside one region, which is split. The device's mappings of the
   * range go, so that it faults again and is placed anew; hints that it has already change nothing.
   *
   * @returns whether anything changed
   */
  setHints(first: number, outer: number, hints: Hints): boolean {
    const region = this.regionOf(first);
    assert(region !== undefined && outer <= region.outer, 'hints are for pages of one region');
    if (HINT_NAMES.every((name) => region.hints[name] === hints[name])) return false;
    this.ranges.push({ ...region, first, outer, hints });
    this.regionAt.fill(this.ranges.length, first, outer);
    if (this.ranges.length > this.mostRanges) this.dropCoveredRanges();
    for (let page = first; page < outer; page++) this.unmap(page);
    return true;
  }

  /** Ranges that it remembers; some may be covered by others. */
  get rangeCount(): number {
    return this.ranges.length;
  }

  /** Ranges that others have covered whole are nobody's any more. */
  private dropCoveredRanges(): void {
    const kept: Region[] = [];
    const places = new Map<number, number>();
    for (let page = 0; page < this.pageCount; page++) {
      const at = this.regionAt[page]!;
      if (at === 0) continue;
      let place = places.get(at);
      if (place === undefined) {
        place = kept.push(this.ranges[at - 1]!);
        places.set(at, place);
      }
      this.regionAt[page] = place;
    }
    this.ranges = kept;
    // So that looking for them costs a page's time per hint in the long run, and no more.
    this.mostRanges = kept.length * 2 + SPARE_RANGES;
  }

  isProtected(page: number): boolean {
    return this.servedIn[page] === this.round;
  }

  /** Keeps a page from being evicted until the next replay has been answered. */
  protect(page: number): void {
    this.servedIn[page] = this.round;
  }

  /** A replay was sent: what was served for it may go again once the next faults are here. */
  nextRound(): void {
    this.round++;
  }

  /** The permission that a device mapping of a page gets. */
  permissionOf(page: number): number {
    return this.regionOf(page)?.isWritable === true ? ACCESS_STRONG : ACCESS_READ;
  }

  /**
   * Puts a page on the device.
   *
   * @param keepsRam whether the copy in RAM stays, for reading
   * @param isThere whether it is on the device already, put there by somebody else: then there may
   * be more pages than the run is meant to have
   */
  toDevice(page: number, keepsRam: boolean, wasPrefetched: boolean, isThere = false): void {
    if ((this.where[page]! & ON_DEVICE) === 0) {
      const cost = this.costOf(page, false);
      const isRoom = cost === 0 || cost <= this.freePages || isThere;
      assert(isRoom, 'device memory holds no more than it has');
      this.usedPages += cost;
      if (this.wholeBlocks) this.blockTaken[page >>> BLOCK_SHIFT]! += cost;
      this.residentPages++;
      this.blockResident[page >>> BLOCK_SHIFT]!++;
    }
    this.where[page] = keepsRam ? IN_RAM | ON_DEVICE : ON_DEVICE;
    this.mapped[page] = keepsRam ? ACCESS_READ : this.permissionOf(page);
    this.remote[page] = 0;
    this.prefetched[page] = wasPrefetched ? 1 : 0;
    this.remoteUses[page >>> GROUP_SHIFT] = 0;
    if (this.copy !== null) this.show(page);
  }

  /** Takes a page off the device; it is in RAM then. @returns whether it had to be copied */
  toRam(page: number): boolean {
    assert((this.where[page]! & ON_DEVICE) !== 0, 'only a device page leaves the device');
    const needsCopy = (this.where[page]! & IN_RAM) === 0;
    this.residentPages--;
    this.blockResident[page >>> BLOCK_SHIFT]!--;
    this.where[page] = IN_RAM;
    this.usedPages -= this.freedBy(page);
    this.mapped[page] = 0;
    this.prefetched[page] = 0;
    if (this.copy !== null) this.show(page);
    return needsCopy;
  }

  /** Memory that is free when a page has gone: its own, or its block's with the last one. */
  private freedBy(page: number): number {
    if (!this.wholeBlocks) return 1;
    const block = page >>> BLOCK_SHIFT;
    if (this.blockResident[block]! > 0) return 0;
    const taken = this.blockTaken[block]!;
    this.blockTaken[block] = 0;
    return taken;
  }

  /** Maps a page in RAM for the device; its uses over the link are counted anew. */
  mapRemote(page: number): void {
    this.remoteUses[page >>> GROUP_SHIFT] = 0;
    this.where[page]! |= IN_RAM;
    this.mapped[page] = this.permissionOf(page);
    this.remote[page] = 1;
    if (this.copy !== null) this.show(page);
  }

  /** Takes the device's mapping away. */
  unmap(page: number): void {
    this.mapped[page] = 0;
    this.remote[page] = 0;
    if (this.copy !== null) this.show(page);
  }

  /** Notes where a page is that is not on the device. */
  setWhere(page: number, where: number): void {
    this.where[page] = where;
    if (this.copy !== null) this.show(page);
  }

  /** Changes the access that the device's mapping of a page allows. */
  setMapped(page: number, access: number): void {
    this.mapped[page] = access;
    if (this.copy !== null) this.show(page);
  }

  private show(page: number): void {
    const copy = this.copy!;
    copy.where[page] = this.where[page]!;
    copy.mapped[page] = this.mapped[page]!;
    copy.remote[page] = this.remote[page]!;
  }
}

/** One past the last page of any region. */
function endOf(regions: readonly Region[]): number {
  return regions.reduce((most, region) => Math.max(most, region.outer), 0);
}

/** Blocks that so many pages begin. */
function blocksOf(pages: number): number {
  return Math.ceil(pages / BLOCK_PAGES);
}
