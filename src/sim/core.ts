/**
 * A CPU core: it runs a process, caches translations in a TLB, and loads from and stores to RAM
 * through them without asking mm. Only flushes of mm (tlb.ts) make it forget. A translation that
 * mm failed to flush shows up as an entry that grants more than the page table, or as a load or
 * store that shadow memory does not know of.
 *
 * Locking: none; a core acts between turns of the microtask queue, and waits only for its faults.
 */
import { isPending } from '../base/maybe.ts';
import { WORDS_PER_PAGE } from '../base/units.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { PROT_WRITE } from '../mm/mm-types.ts';
import { PTE_PROTNONE, ptePresent, pteWrite } from '../mm/swapops.ts';
import { addTlbListener, removeTlbListener } from '../mm/tlb.ts';
import type { TlbListener } from '../mm/tlb.ts';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  FAULT_ENOMEM,
  FAULT_OK,
  FAULT_SIGBUS,
  FAULT_SIGSEGV,
  accessiblePage,
  faultInUser,
} from '../mm/uaccess.ts';
import { ARENA_PAGES, arenaAddress, arenaPage } from './arena.ts';
import type { Dice } from './dice.ts';
import { leafEntry, leafFrame } from './leaf.ts';
import type { SimProcess } from './process.ts';
import { SLOTS, UNMAPPED } from './shadow.ts';
import type { PlaceState } from './shadow.ts';
import { violated } from './violation.ts';

const TLB_ENTRIES = 6;
const NO_PAGE = -1;

/** An access that faulted and is to be tried again. */
interface Access {
  readonly process: SimProcess;
  readonly page: number;
  readonly slot: number;
  readonly isStore: boolean;
  readonly epoch: number;
}

/** What a core needs of the world around it. */
export interface CoreWorld {
  /** Faults that explain a failed access. */
  readonly copiesFailed: boolean;
  readonly deviceLost: boolean;
  readonly log: ((line: string) => void) | undefined;
  isMemoryShort(): boolean;
  pickProcess(dice: Dice): SimProcess | null;
  newValue(): number;
  note(value: number): void;
  count(what: string): void;
  fail(error: unknown): void;
}

export class Core implements TlbListener {
  readonly id: number;
  process: SimProcess | null = null;
  private readonly world: CoreWorld;
  /** Arena page, frame and right to write of each cached translation. */
  private readonly pages = new Int32Array(TLB_ENTRIES).fill(NO_PAGE);
  private readonly pfns = new Uint32Array(TLB_ENTRIES);
  private readonly writable = new Uint8Array(TLB_ENTRIES);
  private access: Access | null = null;
  /** A fault is being handled. */
  isWaiting = false;

  constructor(world: CoreWorld, id: number) {
    this.world = world;
    this.id = id;
  }

  /** mm took rights away: forget what was cached of the range (flush_tlb_range). */
  flush(mm: MmStruct, start: number, end: number): boolean {
    const first = arenaPage(start);
    const last = arenaPage(end - 1);
    for (let i = 0; i < TLB_ENTRIES; i++) {
      const page = this.pages[i]!;
      if (page === NO_PAGE || page < first || page > last) continue;
      if (mm.sys.mem.refcount[mm.sys.mem.folioOf(this.pfns[i]!)] === 0) {
        violated(`page ${this.pfns[i]} was freed before core ${this.id} was told to forget it`);
      }
      this.pages[i] = NO_PAGE;
    }
    return true;
  }

  /** Runs another process from now on: the TLB starts empty. */
  switchTo(process: SimProcess | null): void {
    if (this.isWaiting) return;
    if (this.process !== null) removeTlbListener(this.process.mm, this);
    this.process = process;
    this.access = null;
    this.pages.fill(NO_PAGE);
    if (process !== null) addTlbListener(process.mm, this);
  }

  /** One load or store, or another try of one that faulted. */
  run(dice: Dice): void {
    if (this.isWaiting) return;
    const { world } = this;
    if (this.process === null || this.process.isDying) this.switchTo(world.pickProcess(dice));
    const { process } = this;
    if (process === null) return;
    if (this.access === null) {
      const page = dice.below(ARENA_PAGES);
      const slot = dice.below(SLOTS.length);
      const { epoch } = process.places[page]!;
      this.access = { process, page, slot, isStore: dice.chance(0.6), epoch };
    }
    this.tryAccess(this.access);
  }

  /** True while a fault is handled or an access is to be repeated. */
  get isBusy(): boolean {
    return this.isWaiting || this.access !== null;
  }

  /** Repeats an access that faulted, if there is one. */
  retry(): void {
    if (this.isWaiting || this.access === null) return;
    if (this.access.process.isDying) this.switchTo(null);
    else this.tryAccess(this.access);
  }

  /** A cached translation that grants more than the page table does: a line, or ''. */
  staleEntry(): string {
    const { process } = this;
    if (process === null) return '';
    for (let i = 0; i < TLB_ENTRIES; i++) {
      const page = this.pages[i]!;
      if (page === NO_PAGE) continue;
      const addr = arenaAddress(page);
      const pte = leafEntry(process.mm, addr);
      const isGranted = ptePresent(pte) && (pte & PTE_PROTNONE) === 0;
      const isWriteGranted = this.writable[i] === 0 || pteWrite(pte);
      if (isGranted && isWriteGranted && leafFrame(process.mm, addr) === this.pfns[i]) continue;
      const what = this.writable[i] === 0 ? 'read' : 'write';
      return (
        `core ${this.id} may still ${what} frame ${this.pfns[i]} as page ${page} of process ` +
        `${process.slot}, whose entry is ${pte.toString(16)}: a TLB flush is missing`
      );
    }
    return '';
  }

  private tryAccess(access: Access): void {
    if (this.useTlb(access)) return;
    const { mm } = access.process;
    const kind = access.isStore ? ACCESS_WRITE : ACCESS_READ;
    const address = arenaAddress(access.page);
    const pfn = accessiblePage(mm, address, kind);
    if (pfn !== 0) {
      this.fill(access, pfn);
      this.useTlb(access);
      return;
    }
    this.world.count('fault');
    const outcome = faultInUser(mm, address, kind);
    if (!isPending(outcome)) {
      this.faulted(access, outcome);
      return;
    }
    this.isWaiting = true;
    outcome.then(
      (settled) => {
        this.isWaiting = false;
        this.faulted(access, settled);
      },
      (error: unknown) => this.world.fail(error),
    );
  }

  private fill(access: Access, pfn: number): void {
    let i = this.pages.indexOf(access.page);
    if (i < 0) i = this.pages.indexOf(NO_PAGE);
    if (i < 0) i = (access.page + access.slot) % TLB_ENTRIES;
    this.pages[i] = access.page;
    this.pfns[i] = pfn;
    this.writable[i] = access.isStore ? 1 : 0;
  }

  /** Makes the access if the TLB allows it. */
  private useTlb(access: Access): boolean {
    const { page, slot, isStore, process } = access;
    const i = this.pages.indexOf(page);
    if (i < 0 || (isStore && this.writable[i] === 0)) return false;
    const { world } = this;
    const { ramWords } = process.mm.sys;
    const at = this.pfns[i]! * WORDS_PER_PAGE + SLOTS[slot]!;
    const place = process.places[page]!;
    this.access = null;
    if (!this.allows(access, FAULT_OK)) {
      violated(`core ${this.id} reaches page ${page} of process ${process.slot}, which is not its`);
    }
    if (isStore) {
      const value = world.newValue();
      ramWords[at] = value;
      place.store(slot, value);
      world.log?.(`core ${this.id}: ${process.slot}:${page}.${slot} = ${value.toString(16)}`);
      return true;
    }
    const value = ramWords[at]!;
    world.note(value);
    world.log?.(`core ${this.id}: ${process.slot}:${page}.${slot} is ${value.toString(16)}`);
    if (place.mayBe(slot, value)) return true;
    return violated(
      `core ${this.id} loads ${value.toString(16)} from page ${page} slot ${slot} of process ` +
        `${process.slot}, which holds ${place.describe(slot)}`,
    );
  }

  private faulted(access: Access, outcome: number): void {
    const { world } = this;
    world.note(outcome);
    if (outcome === FAULT_OK) return;
    this.access = null;
    const { page, process } = access;
    world.log?.(`core ${this.id}: ${process.slot}:${page} fails with ${outcome}`);
    if (outcome === FAULT_ENOMEM && world.isMemoryShort()) return;
    if (this.allows(access, outcome)) return;
    const lost = world.copiesFailed || world.deviceLost;
    if (outcome === FAULT_SIGBUS && lost && this.allows(access, FAULT_OK)) return;
    violated(
      `core ${this.id} gets outcome ${outcome} of a ${access.isStore ? 'store' : 'load'} at page ` +
        `${page} of process ${process.slot}`,
    );
  }

  /** Whether shadow memory allows the outcome, before or after a change that is in flight. */
  private allows(access: Access, outcome: number): boolean {
    const { process, page, isStore, epoch } = access;
    const { now, next, epoch: epochNow } = process.places[page]!;
    if (outcomeOf(now, isStore) === outcome) return true;
    if (next !== null && outcomeOf(next, isStore) === outcome) return true;
    // An outcome that was decided before something changed.
    return outcome !== FAULT_OK && (epoch !== epochNow || process.isDying);
  }
}

function outcomeOf({ prot, content, guard }: PlaceState, isStore: boolean): number {
  if (prot === UNMAPPED || prot === 0 || guard !== undefined) return FAULT_SIGSEGV;
  if (isStore && (prot & PROT_WRITE) === 0) return FAULT_SIGSEGV;
  return content === null ? FAULT_SIGBUS : FAULT_OK;
}
