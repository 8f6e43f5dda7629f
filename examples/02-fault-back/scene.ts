/*
 * One machine, one process, one range. Before each round the range goes to the device, which adds a
 * number to all of its words: what the CPU then reads was made there, and can be checked.
 */
import { Machine, PAGE_DEVICE, PAGE_RAM, PAGE_SIZE, SignalError } from '../../src/index.ts';
import { PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { MachineOptions, Process, TestDevice } from '../../src/index.ts';

/** How one access ended. */
export interface Access {
  readonly address: number;
  readonly ms: number;
  readonly signal: 'SIGSEGV' | 'SIGBUS' | null;
}

export class Scene {
  readonly machine: Machine;
  readonly npages: number;
  /** PAGE_* code of each page, as look() found them. */
  codes: Uint8Array;
  private readonly process: Process;
  private readonly device: TestDevice;
  private readonly addr: number;
  /** Sum of all numbers that the device has added. */
  private added = 0;

  private constructor(process: Process, device: TestDevice, addr: number, npages: number) {
    this.machine = process.machine;
    this.process = process;
    this.device = device;
    this.addr = addr;
    this.npages = npages;
    this.codes = new Uint8Array(npages);
  }

  /** Opens a machine and writes word i of the range with the number i. */
  static async open(options: MachineOptions, npages: number): Promise<Scene> {
    const machine = await Machine.create(options);
    const process = await machine.spawn();
    const length = npages * PAGE_SIZE;
    const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const words = Uint32Array.from({ length: length / 4 }, (_, word) => word);
    await process.write(addr, new Uint8Array(words.buffer));
    return new Scene(process, await process.openDevice(0), addr, npages);
  }

  /** Sends all pages that are in RAM to the device, which then adds a new number to every word. */
  async send(): Promise<{ readonly cpages: number; readonly addend: number }> {
    const { addr, npages, device } = this;
    const { cpages } = await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages });
    const addend = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    await device.ioctl('ADD', { addr, ptr: addend, npages });
    this.added = (this.added + addend) >>> 0;
    return { cpages, addend };
  }

  /** Reads where all pages are, without faulting any. */
  async look(): Promise<Uint8Array> {
    this.codes = await this.process.pageMap(this.addr, this.npages);
    return this.codes;
  }

  /** Whether the page was on a device at the last look(). */
  isAway(page: number): boolean {
    return (this.codes[page] ?? 0) >= PAGE_DEVICE;
  }

  /** All pages that were on a device at the last look(). */
  away(): number[] {
    return [...this.codes.keys()].filter((page) => this.isAway(page));
  }

  /** A page that was in RAM at the last look(). */
  home(): number | undefined {
    const page = this.codes.indexOf(PAGE_RAM);
    return page === -1 ? undefined : page;
  }

  /** Loads from a page. */
  touch(page: number): Promise<Access> {
    return this.access(this.addr + page * PAGE_SIZE);
  }

  /** Loads from an address that was mapped once and is no more. */
  async touchUnmapped(): Promise<Access> {
    const gone = await this.process.mmap({ length: PAGE_SIZE, prot: PROT_READ });
    await this.process.munmap(gone, PAGE_SIZE);
    return this.access(gone);
  }

  /** True when each word of the page is what the device made of it. Faults the page in. */
  async isIntact(page: number): Promise<boolean> {
    const bytes = await this.process.read(this.addr + page * PAGE_SIZE, PAGE_SIZE);
    const first = (page * PAGE_SIZE) / 4 + this.added;
    return new Uint32Array(bytes.buffer).every((word, i) => word === (first + i) >>> 0);
  }

  private async access(address: number): Promise<Access> {
    const start = performance.now();
    let signal: Access['signal'] = null;
    try {
      await this.process.touch(address, 'read');
    } catch (error) {
      if (!(error instanceof SignalError)) throw error;
      ({ signal } = error);
    }
    return { address, ms: performance.now() - start, signal };
  }
}
