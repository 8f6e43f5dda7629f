/**
 * Four-level page tables (mm/pgtable-generic.c, include/linux/pgtable.h): pgd, pud, pmd and pte
 * tables of 512 entries, allocated from a pool in shared memory reserved at boot, so that other
 * threads can walk them. A table is a number; entry i of table t is word t * 512 + i. Upper levels
 * hold table number << 9 | PTE_PRESENT. Table 0 is never handed out, so word index 0 means "no
 * entry".
 *
 * Locking: the kernel worker is the only writer; code between two waits plays the page-table lock.
 * A PMD entry may be a leaf (isPmdLeaf): then there is no PTE table below, but one lies in deposit
 * (`depositTable`), so that splitting the leaf needs no memory.
 *
 * Leaves out: PUD leaves, a fifth level.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, PMD_SIZE, PTRS_PER_TABLE, TASK_SIZE } from '../base/units.ts';
import { PTE_HUGE, PTE_PFN_SHIFT, PTE_PRESENT, isPmdLeaf } from './swapops.ts';

const TABLE_SHIFT = 9;
const INDEX_MASK = PTRS_PER_TABLE - 1;
/** Pages that one pud entry covers; splits a page number into two 18-bit halves. */
const PAGES_PER_HALF = PTRS_PER_TABLE * PTRS_PER_TABLE;

/** Bytes that one entry of a pud table and of the top level covers. */
const PUD_SIZE = PMD_SIZE * PTRS_PER_TABLE;
const PGDIR_SIZE = PUD_SIZE * PTRS_PER_TABLE;

/** The lowest multiple of `span` above `addr`. */
function nextMultiple(addr: number, span: number): number {
  return addr - (addr % span) + span;
}

export class PageTables {
  /** All tables, one after the other. */
  readonly words: Uint32Array<SharedArrayBuffer>;
  /** Entries in use per table, so that empty tables can be freed. */
  readonly used: Uint32Array<SharedArrayBuffer>;
  readonly capacity: number;
  private readonly freeTables: Uint32Array;
  private freeCount = 0;
  /** Deposited tables of each pmd table: the first one here, the others by `nextDeposit`. */
  private readonly deposits: Uint32Array;
  private readonly nextDeposit: Uint32Array;
  private depositCount = 0;
  /** Cores in other threads walk these tables. */
  isShared = false;
  /** Fault injection for tests: the next allocations fail while this is above zero. */
  failAllocations = 0;

  /** @param capacity Number of tables to reserve (2 KiB each). */
  constructor(capacity: number) {
    this.capacity = capacity;
    this.words = new Uint32Array(new SharedArrayBuffer(capacity * PTRS_PER_TABLE * 4));
    this.used = new Uint32Array(new SharedArrayBuffer(capacity * 4));
    this.freeTables = new Uint32Array(capacity);
    this.deposits = new Uint32Array(capacity);
    this.nextDeposit = new Uint32Array(capacity);
    for (let table = capacity - 1; table > 0; table--) this.freeTables[this.freeCount++] = table;
  }

  /** Tables handed out and not yet freed. */
  get tablesInUse(): number {
    return this.capacity - 1 - this.freeCount;
  }

  /** Tables that lie in deposit for PMD leaves; they are among those in use. */
  get depositedTables(): number {
    return this.depositCount;
  }

  /** A zeroed table, or ENOMEM. */
  allocTable(): number {
    if (this.failAllocations > 0) {
      this.failAllocations--;
      return errno.ENOMEM;
    }
    if (this.freeCount === 0) return errno.ENOMEM;
    return this.freeTables[--this.freeCount]!;
  }

  /** Returns an empty table to the pool. */
  freeTable(table: number): void {
    assert(this.used[table] === 0, 'I3: only an empty page table is freed');
    this.freeTables[this.freeCount++] = table;
  }

  /** Word index of the PMD entry for `addr`, or 0 when an upper level is missing (pmd_offset). */
  pmdOffset(pgd: number, addr: number): number {
    const page = Math.floor(addr / PAGE_SIZE);
    const high = (page / PAGES_PER_HALF) | 0;
    const low = page - high * PAGES_PER_HALF;
    const words = this.words;
    const pud = words[(pgd << TABLE_SHIFT) | (high >>> TABLE_SHIFT)]! >>> PTE_PFN_SHIFT;
    if (pud === 0) return 0;
    const pmd = words[(pud << TABLE_SHIFT) | (high & INDEX_MASK)]! >>> PTE_PFN_SHIFT;
    if (pmd === 0) return 0;
    return (pmd << TABLE_SHIFT) | (low >>> TABLE_SHIFT);
  }

  /** Like pmdOffset, making the missing levels (pmd_alloc). Word index, or ENOMEM. */
  pmdAlloc(pgd: number, addr: number): number {
    assert(addr >= 0 && addr < TASK_SIZE, 'page table address is in user space');
    assert(pgd !== 0, 'I3: table 0 stays empty');
    const page = Math.floor(addr / PAGE_SIZE);
    const high = (page / PAGES_PER_HALF) | 0;
    const low = page - high * PAGES_PER_HALF;
    const pud = this.allocLevel(pgd, high >>> TABLE_SHIFT);
    if (pud < 0) return pud;
    const pmd = this.allocLevel(pud, high & INDEX_MASK);
    if (pmd < 0) return pmd;
    return (pmd << TABLE_SHIFT) | (low >>> TABLE_SHIFT);
  }

  /** Keeps an empty table for the PMD leaf at `pmdAt` (pgtable_trans_huge_deposit). */
  depositTable(pmdAt: number, table: number): void {
    const owner = pmdAt >>> TABLE_SHIFT;
    assert(this.used[table] === 0, 'I34: a deposited page table is empty');
    this.nextDeposit[table] = this.deposits[owner]!;
    this.deposits[owner] = table;
    this.depositCount++;
  }

  /** Takes back a table that was deposited with a leaf of the same pmd table. */
  withdrawTable(pmdAt: number): number {
    const owner = pmdAt >>> TABLE_SHIFT;
    const table = this.deposits[owner]!;
    assert(table !== 0, 'I34: a PMD leaf has a page table in deposit');
    this.deposits[owner] = this.nextDeposit[table]!;
    this.nextDeposit[table] = 0;
    this.depositCount--;
    return table;
  }

  /** Puts a PTE table in the place of an empty or leaf PMD entry (pmd_populate). */
  populatePmd(pmdAt: number, table: number): void {
    this.setPte(pmdAt, ((table << PTE_PFN_SHIFT) | PTE_PRESENT) >>> 0);
  }

  /**
   * Word index of the PTE for `addr`; 0 when an upper level is missing, or the PMD entry is a leaf
   * (pte_offset_map).
   */
  pteOffset(pgd: number, addr: number): number {
    const page = Math.floor(addr / PAGE_SIZE);
    const high = (page / PAGES_PER_HALF) | 0;
    const low = page - high * PAGES_PER_HALF;
    const words = this.words;
    const pud = words[(pgd << TABLE_SHIFT) | (high >>> TABLE_SHIFT)]! >>> PTE_PFN_SHIFT;
    if (pud === 0) return 0;
    const pmd = words[(pud << TABLE_SHIFT) | (high & INDEX_MASK)]! >>> PTE_PFN_SHIFT;
    if (pmd === 0) return 0;
    const entry = words[(pmd << TABLE_SHIFT) | (low >>> TABLE_SHIFT)]!;
    if ((entry & (PTE_PRESENT | PTE_HUGE)) !== PTE_PRESENT) return 0;
    return ((entry >>> PTE_PFN_SHIFT) << TABLE_SHIFT) | (low & INDEX_MASK);
  }

  /**
   * Word index of the leaf entry for `addr`, PTE or PMD leaf; that of an empty entry where there is
   * none, and 0, which holds 0 too, when an upper level is missing.
   */
  leafOffset(pgd: number, addr: number): number {
    const pmdAt = this.pmdOffset(pgd, addr);
    const entry = this.words[pmdAt]!;
    if ((entry & (PTE_PRESENT | PTE_HUGE)) !== PTE_PRESENT) return pmdAt;
    const index = Math.floor(addr / PAGE_SIZE) % PTRS_PER_TABLE;
    return ((entry >>> PTE_PFN_SHIFT) << TABLE_SHIFT) | index;
  }

  /**
   * Like pteOffset, making the missing levels (pte_alloc_map). Word index; ENOMEM; EEXIST where the
   * PMD entry is a leaf.
   */
  pteAlloc(pgd: number, addr: number): number {
    const pmdAt = this.pmdAlloc(pgd, addr);
    if (pmdAt < 0) return pmdAt;
    if (isPmdLeaf(this.words[pmdAt]!)) return errno.EEXIST;
    const pte = this.allocLevel(pmdAt >>> TABLE_SHIFT, pmdAt & INDEX_MASK);
    if (pte < 0) return pte;
    return (pte << TABLE_SHIFT) | (Math.floor(addr / PAGE_SIZE) % PTRS_PER_TABLE);
  }

  /**
   * Writes an entry in place of one that is as empty or not as it is itself. Other threads that see
   * a present entry see what was written to its page, or table, before.
   */
  publish(at: number, pte: number): void {
    if (this.isShared && (pte & PTE_PRESENT) !== 0) Atomics.store(this.words, at, pte);
    else this.words[at] = pte;
  }

  /** Writes a leaf entry and keeps the table's use count (set_pte, pte_clear for 0). */
  setPte(at: number, pte: number): void {
    const old = this.words[at]!;
    this.publish(at, pte);
    if (old === 0) {
      if (pte !== 0) this.used[at >>> TABLE_SHIFT]! += 1;
    } else if (pte === 0) {
      this.used[at >>> TABLE_SHIFT]! -= 1;
    }
  }

  /**
   * The lowest address of [addr, end) that has a page table or a PMD leaf: `addr` itself or the
   * start of a PMD range; `end` when there is none. Lets walks over sparse ranges skip what was
   * never populated.
   */
  nextPopulated(pgd: number, addr: number, end: number): number {
    const words = this.words;
    let at = addr;
    while (at < end) {
      const page = Math.floor(at / PAGE_SIZE);
      const high = (page / PAGES_PER_HALF) | 0;
      const low = page - high * PAGES_PER_HALF;
      const pud = words[(pgd << TABLE_SHIFT) | (high >>> TABLE_SHIFT)]! >>> PTE_PFN_SHIFT;
      if (pud === 0) {
        at = nextMultiple(at, PGDIR_SIZE);
        continue;
      }
      const pmd = words[(pud << TABLE_SHIFT) | (high & INDEX_MASK)]! >>> PTE_PFN_SHIFT;
      if (pmd === 0) {
        at = nextMultiple(at, PUD_SIZE);
        continue;
      }
      if (words[(pmd << TABLE_SHIFT) | (low >>> TABLE_SHIFT)]! !== 0) return at;
      at = nextMultiple(at, PMD_SIZE);
    }
    return end;
  }

  /**
   * Frees the page tables of [start, end) that hold no entry any more (free_pgtables).
   * Call after the range was zapped. @returns how many there were: until syncTableWalks a core may
   * still be reading one.
   */
  freeEmptyTables(pgd: number, start: number, end: number): number {
    const before = this.freeCount;
    let addr = start;
    while (addr < end) {
      const high = Math.floor(addr / PUD_SIZE);
      const pudAt = (pgd << TABLE_SHIFT) | (high >>> TABLE_SHIFT);
      const pud = this.words[pudAt]! >>> PTE_PFN_SHIFT;
      if (pud === 0) {
        addr = nextMultiple(addr, PGDIR_SIZE);
        continue;
      }
      const pmdAt = (pud << TABLE_SHIFT) | (high & INDEX_MASK);
      if (this.words[pmdAt]! !== 0) this.freeEmptyPteTables(pmdAt, addr, end);
      this.freeEntryIfEmpty(pmdAt);
      this.freeEntryIfEmpty(pudAt);
      addr = nextMultiple(addr, PUD_SIZE);
    }
    return this.freeCount - before;
  }

  /** Frees empty PTE tables of that part of [start, end) that the table behind `pmdAt` covers. */
  private freeEmptyPteTables(pmdAt: number, start: number, end: number): void {
    const pmd = this.words[pmdAt]! >>> PTE_PFN_SHIFT;
    const stop = Math.min(end, nextMultiple(start, PUD_SIZE));
    for (let addr = start; addr < stop; addr = nextMultiple(addr, PMD_SIZE)) {
      const index = Math.floor(addr / PMD_SIZE) % PTRS_PER_TABLE;
      this.freeEntryIfEmpty((pmd << TABLE_SHIFT) | index);
    }
  }

  private freeEntryIfEmpty(at: number): void {
    const table = this.words[at]! >>> PTE_PFN_SHIFT;
    if (isPmdLeaf(this.words[at]!) || table === 0 || this.used[table] !== 0) return;
    this.setPte(at, 0);
    this.freeTable(table);
  }

  private allocLevel(table: number, index: number): number {
    const at = (table << TABLE_SHIFT) | index;
    const next = this.words[at]! >>> PTE_PFN_SHIFT;
    if (next !== 0) return next;
    const fresh = this.allocTable();
    if (fresh < 0) return fresh;
    this.setPte(at, ((fresh << PTE_PFN_SHIFT) | PTE_PRESENT) >>> 0);
    return fresh;
  }
}
