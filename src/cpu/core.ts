/**
 * A CPU core: synchronous loads and stores of virtual memory through a software TLB over the page
 * tables in shared memory. What the TLB holds is used without asking anybody; what it lacks is
 * looked up by a walk; what the walk does not allow traps to the kernel worker and blocks this
 * thread until the kernel has faulted it in.
 *
 * The core only reads page tables. An entry serves a load when it is present and young, a store
 * when it is writable and dirty, too: the kernel sets these bits in the fault that the first access
 * makes, as on machines whose hardware does not. So nothing has to be folded back when an entry
 * goes away.
 *
 * Between two polls (shootdown.ts) the core may use what it cached, so every access looks whether
 * the kernel has nudged it. Our own; the walk is that of mm/pgtable.ts.
 */
import { PAGE_SIZE, TASK_SIZE, WORDS_PER_PAGE } from '../base/units.ts';
import {
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_PROTNONE,
  PTE_WRITE,
  PTE_YOUNG,
  leafPfn,
} from '../mm/swapops.ts';
import { ACCESS_READ, ACCESS_WRITE, FAULT_ENOMEM, FAULT_OK, FAULT_SIGBUS } from '../mm/uaccess.ts';
import type { AtomicsPort } from './atomics-port.ts';
import { CoreMemory, TLB_ENTRIES, tlbIndex, tlbTag } from './core-memory.ts';
import {
  CORE_FAULT_KIND,
  CORE_TLB_FLUSHES,
  CORE_TLB_MISSES,
  CORE_TRAPS,
  ControlMap,
} from './control.ts';
import type { Doorbell } from './doorbell.ts';
import { FaultLatency } from './fault-latency.ts';
import { RECORD_FAULT, newRecord } from './fault-ring.ts';
import { CoreGate } from './shootdown.ts';
import { CoreEnded, CpuSignal } from './signals.ts';
import { trap } from './trap.ts';
import { walkPageTable } from './walk.ts';

const READABLE = PTE_PRESENT | PTE_YOUNG;
const WRITABLE = READABLE | PTE_WRITE | PTE_DIRTY;

/** What a core needs to run: memory shared with the kernel. Plain data, for other threads. */
export interface CoreImage {
  readonly slot: number;
  /** Differs from that of every other core of the machine, which slots don't. */
  readonly serial: number;
  readonly ram: SharedArrayBuffer;
  readonly pageTables: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  readonly ringCapacity: number;
  /** Where it counts how long faults take: numbers of a FaultLatency. */
  readonly latency: SharedArrayBuffer;
  /** The address space: number of its top page table. */
  readonly pgd: number;
}

export class Core {
  readonly image: CoreImage;
  readonly port: AtomicsPort;
  readonly control: ControlMap;
  readonly gate: CoreGate;
  readonly bell: Doorbell;
  readonly memory: CoreMemory;
  private readonly latency: FaultLatency;
  private readonly tables: Int32Array<SharedArrayBuffer>;
  private readonly block: number;
  private readonly record = newRecord();
  /** Times that the TLB was emptied: what was looked up before the last one is void. */
  generation = 0;
  /** The signal that this core ends by, once it was told. */
  private ending = 0;
  /** @param memory Made of `image`, by whoever wants to have it before there is a core. */
  constructor(
    image: CoreImage,
    port: AtomicsPort,
    bell: Doorbell,
    memory: CoreMemory = new CoreMemory(image),
  ) {
    this.image = image;
    this.memory = memory;
    this.port = port;
    this.bell = bell;
    this.latency = new FaultLatency(image.latency);
    this.control = ControlMap.attach(image.control, image.ringCapacity);
    this.block = this.control.block(image.slot);
    this.tables = new Int32Array(image.pageTables);
    this.gate = new CoreGate(port, this.control.words, this.block, () => this.flushTlb());
  }

  /**
   * Index in `u32` of the word at `addr`, which this core may load until it polls next.
   *
   * @param addr Multiple of 4. Throws CpuSignal. Context: may block for a fault.
   */
  readWordAt(addr: number): number {
    this.pollIfNudged();
    return this.findRead(addr) + ((addr & (PAGE_SIZE - 1)) >>> 2);
  }

  /** As readWordAt, for a store. */
  writeWordAt(addr: number): number {
    this.pollIfNudged();
    return this.findWrite(addr) + ((addr & (PAGE_SIZE - 1)) >>> 2);
  }

  /** Times that this core has gone into the kernel: faults and system calls. */
  get traps(): number {
    return this.port.load(this.control.words, this.block + CORE_TRAPS);
  }

  /** Polls when the kernel wants it: what every access begins with. */
  pollIfNudged(): void {
    if (this.memory.isNudged) this.poll();
  }

  /** Looks for requests of the kernel; ends the program when it was told to end. */
  poll(): void {
    this.obey(this.gate.poll());
  }

  /** Throws CoreEnded where this core was told to end, and its program has caught that. */
  protected stopIfEnding(): void {
    if (this.ending !== 0) this.obey(0);
  }

  /** Runs `wait`, which may block, while the kernel does not wait for this core. */
  parked<T>(wait: () => T): T {
    this.stopIfEnding();
    this.gate.park();
    try {
      return wait();
    } finally {
      this.resume();
    }
  }

  /** Parks until `resume`: for code that awaits promises. */
  suspend(): void {
    this.stopIfEnding();
    this.gate.park();
  }

  /** Ends `suspend`. */
  resume(): void {
    this.obey(this.gate.unpark());
  }

  /** First word of the frame behind a page that may be loaded from. Throws CpuSignal. */
  findRead(addr: number): number {
    const { readTags, readWords } = this.memory;
    const tag = tlbTag(addr);
    const at = tlbIndex(addr);
    if (readTags[at] !== tag) {
      readWords[at] = this.translate(addr, ACCESS_READ, READABLE) * WORDS_PER_PAGE;
      readTags[at] = tag;
    }
    return readWords[at]!;
  }

  /** First word of the frame behind a page that may be stored to. Throws CpuSignal. */
  findWrite(addr: number): number {
    const { writeTags, writeWords } = this.memory;
    const tag = tlbTag(addr);
    const at = tlbIndex(addr);
    if (writeTags[at] !== tag) {
      writeWords[at] = this.translate(addr, ACCESS_WRITE, WRITABLE) * WORDS_PER_PAGE;
      writeTags[at] = tag;
    }
    return writeWords[at]!;
  }

  /**
   * How many pages, from that at `page` on, can be used right now without a fault, and have their
   * frames one after the other from the word `first` on: for bulk operations.
   *
   * @param page Page aligned. @param access ACCESS_* @param most Pages to look at.
   */
  countRun(page: number, access: number, first: number, most: number): number {
    const { memory } = this;
    const tags = access === ACCESS_WRITE ? memory.writeTags : memory.readTags;
    const words = access === ACCESS_WRITE ? memory.writeWords : memory.readWords;
    let at = tlbIndex(page);
    let addr = page;
    let word = first;
    let pages = 0;
    while (pages < most) {
      if (tags[at] !== addr || words[at] !== word) {
        if (!this.isFrame(addr, access, word)) break;
        tags[at] = addr;
        words[at] = word;
      }
      at = (at + 1) & (TLB_ENTRIES - 1);
      addr += PAGE_SIZE;
      word += WORDS_PER_PAGE;
      pages++;
    }
    return pages;
  }

  /** True when the page at `addr` can be used without a fault, and its frame begins at `word`. */
  private isFrame(addr: number, access: number, word: number): boolean {
    if (addr >= TASK_SIZE) return false;
    const { port, tables, image } = this;
    const needed = access === ACCESS_WRITE ? WRITABLE : READABLE;
    const entry = walkPageTable(port, tables, image.pgd, addr) >>> 0;
    if ((entry & (needed | PTE_PROTNONE)) !== needed) return false;
    return leafPfn(entry, addr) * WORDS_PER_PAGE === word;
  }

  /** The frame behind `addr`, faulting it in as needed. */
  private translate(addr: number, access: number, needed: number): number {
    const { words } = this.control;
    const misses = this.port.load(words, this.block + CORE_TLB_MISSES);
    this.port.store(words, this.block + CORE_TLB_MISSES, (misses + 1) | 0);
    // Also refuses NaN and fractions.
    if (!(addr >= 0 && addr < TASK_SIZE && Number.isInteger(addr))) {
      throw new CpuSignal('SIGSEGV', addr, nameOf(access), 'no address of a process');
    }
    for (;;) {
      const entry = walkPageTable(this.port, this.tables, this.image.pgd, addr) >>> 0;
      if ((entry & (needed | PTE_PROTNONE)) === needed) return leafPfn(entry, addr);
      this.fault(addr, access);
    }
  }

  /** Goes into the kernel and comes back with its answer. Blocks; the TLB may be empty after. */
  protected trap(kind: number, addr: number, access: number): number {
    this.stopIfEnding();
    const { record } = this;
    record.kind = kind;
    record.slot = this.image.slot;
    record.address = addr;
    record.access = access;
    const answer = trap(this.port, this.control, this.gate, this.bell, record);
    this.resume();
    return answer;
  }

  private fault(addr: number, access: number): void {
    const { port, image } = this;
    const begun = port.nowMs();
    const outcome = this.trap(RECORD_FAULT, addr, access);
    const kind = port.load(this.control.words, this.block + CORE_FAULT_KIND);
    this.latency.add(image.slot, kind, (port.nowMs() - begun) * 1e6);
    if (outcome === FAULT_OK) return;
    if (outcome === FAULT_SIGBUS) {
      throw new CpuSignal('SIGBUS', addr, nameOf(access), 'the contents of the page are lost');
    }
    if (outcome === FAULT_ENOMEM) {
      throw new CpuSignal('SIGKILL', addr, nameOf(access), 'out of memory');
    }
    throw new CpuSignal('SIGSEGV', addr, nameOf(access), 'not mapped, or not with that permission');
  }

  /** A program that was told to end gets no further, whatever it catches. */
  private obey(signal: number): void {
    if (signal !== 0) this.ending = signal;
    if (this.ending === 0) return;
    this.gate.nudge();
    throw new CoreEnded(this.ending);
  }

  private flushTlb(): void {
    const { words } = this.control;
    const flushes = this.port.load(words, this.block + CORE_TLB_FLUSHES);
    this.port.store(words, this.block + CORE_TLB_FLUSHES, (flushes + 1) | 0);
    this.generation++;
    this.memory.flush();
  }
}

function nameOf(access: number): 'read' | 'write' {
  return access === ACCESS_WRITE ? 'write' : 'read';
}
