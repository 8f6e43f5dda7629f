/*
 * The device page table of one context as the host keeps it: two levels over 4 GiB, pages of 4 KiB
 * and blocks of 2 MiB, in the words that kernels read. Engines upload what changed.
 *
 * Promises. A directory entry without a table points at a table of zeros, so a walk needs no check
 * between its two loads. Entries change here only between passes: a pass uploads first.
 *
 * Locking. None; the caller orders changes and passes. Source: our own; entry sizes as x86-64.
 *
 * Leaves out: tables are never freed, so that a table's place is its block's for good.
 */
import { errno } from '../../base/errno.ts';
import {
  PTE_ALL,
  PTE_BLOCK,
  PTE_FRAME_SHIFT,
  PTE_KILL_ATOMIC,
  PTE_KILL_READ,
  PTE_KILL_WRITE,
  VM_BLOCK_SHIFT,
  VM_DIRECTORY_ENTRIES,
  VM_NO_TABLE,
  VM_PAGE_SHIFT,
  VM_SPACE_BYTES,
  VM_TABLE_ENTRIES,
  VM_TABLE_WORDS,
} from './abi.ts';

const KILLS = PTE_KILL_READ | PTE_KILL_WRITE | PTE_KILL_ATOMIC;
const FLAGS = PTE_ALL | KILLS;
const FRAME_LIMIT = 2 ** 20;
/** Words of an upload's unit: one table, and a quarter of the directory. */
const UNIT = VM_TABLE_ENTRIES;

/** A context's page table. */
export class DeviceSpace {
  /** The context's number, as fault records carry it. */
  readonly context: number;
  /** What kernels read. */
  readonly words = new Uint32Array(VM_TABLE_WORDS);
  /** One byte for each unit of 512 words: changed since the last upload. */
  private readonly changed = new Uint8Array(VM_TABLE_WORDS / UNIT);
  private anyChange = false;
  /** Entries that map 2 MiB: made, and given up for single pages when a part of them changed. */
  readonly blocks = { made: 0, split: 0 };

  constructor(context: number) {
    this.context = context;
    this.words.fill(VM_NO_TABLE << PTE_FRAME_SHIFT, 0, VM_DIRECTORY_ENTRIES);
    this.changed.fill(1, 0, VM_DIRECTORY_ENTRIES / UNIT + 1);
    this.anyChange = true;
  }

  /**
   * Maps one 4 KiB page; a block that was mapped whole is split first.
   *
   * @param address any byte of the page
   * @param frame VRAM frame, 0 to 2^20 - 1
   * @param flags `PTE_READ`, `PTE_WRITE`, `PTE_ATOMIC`, and `PTE_KILL_*` for what is refused
   * @returns 0, or EINVAL
   *
   * Context: not during a pass; never waits. Source: our own.
   */
  mapPage(address: number, frame: number, flags: number): number {
    if (!isAddress(address) || !isFrame(frame) || !areFlags(flags)) return errno.EINVAL;
    // As it is already, perhaps by an entry for 2 MiB: that one stays whole.
    if ((this.entryOf(address) & ~PTE_BLOCK) >>> 0 === pte(frame, flags)) return 0;
    this.setEntry(this.tableOf(address), address, pte(frame, flags));
    return 0;
  }

  /**
   * Maps 2 MiB by one directory entry.
   *
   * @param address any byte of the block
   * @param frame the first of 512 consecutive frames
   * @param flags as for `mapPage`
   * @returns 0, or EINVAL
   *
   * Context: not during a pass; never waits. Source: our own.
   */
  mapBlock(address: number, frame: number, flags: number): number {
    if (!isAddress(address) || !isFrame(frame + VM_TABLE_ENTRIES - 1) || !areFlags(flags)) {
      return errno.EINVAL;
    }
    if (!isFrame(frame)) return errno.EINVAL;
    this.setDirectory(address >>> VM_BLOCK_SHIFT, (pte(frame, flags) | PTE_BLOCK) >>> 0);
    this.blocks.made += 1;
    return 0;
  }

  /**
   * Has one directory entry map the 2 MiB around an address, if their 512 pages lie one behind the
   * other with the same flags.
   *
   * @returns whether it has one now
   *
   * Context: not during a pass; never waits. Source: our own; what drivers call promotion.
   */
  promote(address: number): boolean {
    if (!isAddress(address)) return false;
    const index = address >>> VM_BLOCK_SHIFT;
    const directory = this.words[index]!;
    if ((directory & PTE_BLOCK) !== 0) return true;
    const table = tableAt(index);
    if (directory >>> PTE_FRAME_SHIFT !== table) return false;
    const first = this.words[table]!;
    if ((first & PTE_ALL) === 0) return false;
    // From the end, where pages that come in order are missing longest.
    for (let page = VM_TABLE_ENTRIES - 1; page > 0; page--) {
      if (this.words[table + page] !== first + (page << PTE_FRAME_SHIFT)) return false;
    }
    return this.mapBlock(address, first >>> PTE_FRAME_SHIFT, first & FLAGS) === 0;
  }

  /** Takes out the entries for 2 MiB that lie in pages [first, end) whole. */
  unmapBlocks(first: number, end: number): void {
    const outer = Math.min(VM_DIRECTORY_ENTRIES, Math.floor(end / VM_TABLE_ENTRIES));
    for (let index = Math.max(0, Math.ceil(first / VM_TABLE_ENTRIES)); index < outer; index++) {
      if ((this.words[index]! & PTE_BLOCK) !== 0) this.unmapBlock(index * 2 ** VM_BLOCK_SHIFT);
    }
  }

  /** Takes everything out. */
  unmapAll(): void {
    for (let index = 0; index < VM_DIRECTORY_ENTRIES; index++) {
      if (this.words[index]! >>> PTE_FRAME_SHIFT === VM_NO_TABLE) continue;
      this.unmapBlock(index * 2 ** VM_BLOCK_SHIFT);
    }
  }

  /** Takes a page out, or leaves only `PTE_KILL_*` flags in its place. EINVAL for bad arguments. */
  unmapPage(address: number, kills = 0): number {
    if (!isAddress(address) || (kills & ~KILLS) !== 0) return errno.EINVAL;
    if (this.entryOf(address) === kills) return 0;
    this.setEntry(this.tableOf(address), address, kills);
    return 0;
  }

  /** Changes the flags of a mapped page; its frame stays. ENOENT where nothing is mapped. */
  protectPage(address: number, flags: number): number {
    if (!isAddress(address) || !areFlags(flags)) return errno.EINVAL;
    const entry = this.entryOf(address);
    if ((entry & PTE_ALL) === 0) return errno.ENOENT;
    return this.mapPage(address, entry >>> PTE_FRAME_SHIFT, flags);
  }

  /** Takes everything out of the 2 MiB around an address. */
  unmapBlock(address: number): number {
    if (!isAddress(address)) return errno.EINVAL;
    const index = address >>> VM_BLOCK_SHIFT;
    const table = tableAt(index);
    this.words.fill(0, table, table + VM_TABLE_ENTRIES);
    this.setDirectory(index, (VM_NO_TABLE << PTE_FRAME_SHIFT) >>> 0);
    return 0;
  }

  /** The entry that a walk finds: frame and flags, 0 where nothing is. */
  entryOf(address: number): number {
    const directory = this.words[address >>> VM_BLOCK_SHIFT]!;
    const page = pageInBlock(address);
    if ((directory & PTE_BLOCK) !== 0) {
      return (directory + (page << PTE_FRAME_SHIFT)) >>> 0;
    }
    return this.words[(directory >>> PTE_FRAME_SHIFT) + page]!;
  }

  /**
   * Hands each changed run of words to `upload` and forgets that it changed.
   *
   * @param upload takes the first word and the number of words
   */
  flush(upload: (first: number, words: number) => void): void {
    if (!this.anyChange) return;
    this.anyChange = false;
    const { changed } = this;
    let from = changed.indexOf(1);
    while (from >= 0) {
      let to = from;
      while (changed[to] === 1) changed[to++] = 0;
      upload(from * UNIT, (to - from) * UNIT);
      from = changed.indexOf(1, to);
    }
  }

  /** The next `flush` uploads all: for an engine that has not seen this space before. */
  markAllChanged(): void {
    this.anyChange = true;
    for (let unit = 0; unit < this.changed.length; unit++) {
      if (this.unitInUse(unit)) this.changed[unit] = 1;
    }
  }

  private unitInUse(unit: number): boolean {
    if (unit <= VM_NO_TABLE / UNIT) return true;
    const block = unit - VM_NO_TABLE / UNIT - 1;
    return this.words[block]! >>> PTE_FRAME_SHIFT === unit * UNIT;
  }

  /** First word of the table of an address, made or split from its block if need be. */
  private tableOf(address: number): number {
    const index = address >>> VM_BLOCK_SHIFT;
    const directory = this.words[index]!;
    const table = tableAt(index);
    if (directory >>> PTE_FRAME_SHIFT === table && (directory & PTE_BLOCK) === 0) return table;
    const split = (directory & PTE_BLOCK) !== 0;
    if (split) this.blocks.split += 1;
    for (let page = 0; page < VM_TABLE_ENTRIES; page++) {
      const entry = directory + (page << PTE_FRAME_SHIFT);
      this.words[table + page] = split ? (entry & ~PTE_BLOCK) >>> 0 : 0;
    }
    this.mark(table);
    this.setDirectory(index, (table << PTE_FRAME_SHIFT) >>> 0);
    return table;
  }

  private setEntry(table: number, address: number, entry: number): void {
    this.words[table + pageInBlock(address)] = entry;
    this.mark(table);
  }

  private setDirectory(index: number, entry: number): void {
    this.words[index] = entry;
    this.mark(index);
  }

  private mark(word: number): void {
    this.changed[Math.floor(word / UNIT)] = 1;
    this.anyChange = true;
  }
}

function tableAt(block: number): number {
  return VM_NO_TABLE + VM_TABLE_ENTRIES * (1 + block);
}

function pageInBlock(address: number): number {
  return (address >>> VM_PAGE_SHIFT) & (VM_TABLE_ENTRIES - 1);
}

function pte(frame: number, flags: number): number {
  return ((frame << PTE_FRAME_SHIFT) | flags) >>> 0;
}

function isAddress(address: number): boolean {
  return Number.isInteger(address) && address >= 0 && address < VM_SPACE_BYTES;
}

function isFrame(frame: number): boolean {
  return Number.isInteger(frame) && frame >= 0 && frame < FRAME_LIMIT;
}

function areFlags(flags: number): boolean {
  return (flags & ~FLAGS) === 0;
}
