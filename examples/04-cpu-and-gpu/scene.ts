/*
 * One array, several cores that add to its words, and two devices that take pages of it, add to
 * all their words, and lose them again to the cores' faults. Whatever happens, the sum of the array
 * is the sum of what was added.
 */
import { ErrnoError, Machine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { MachineOptions, Process, RunningProgram, TestDevice } from '../../src/index.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
/** Words of the control page (turns.js): the stop flag, then a block for each core. */
const CORE_WORDS = 64;
const BUCKETS = 8;
const BUCKET_COUNT = 32;
/** Pages that a device takes in one turn. */
const RUN_PAGES = 32;

/** What the cores have written down so far. */
export interface Notes {
  /** Words that each core has added to. */
  readonly adds: readonly number[];
  /** Faults by time: entry n counts those below 2^n microseconds. */
  readonly buckets: readonly number[];
}

export interface TurnOptions {
  readonly cores: number;
  /** Pause of a core between two pages; 0 for none. */
  readonly sleepMs: number;
}

export class Scene {
  readonly machine: Machine;
  readonly npages: number;
  private readonly process: Process;
  private readonly devices: readonly TestDevice[];
  private readonly array: number;
  private readonly control: number;
  private programs: RunningProgram[] = [];
  /** Sum of all numbers that devices have added, word by word. */
  private deviceSum = 0;
  private coreSum = 0;

  private constructor(
    process: Process,
    devices: readonly TestDevice[],
    array: number,
    control: number,
    npages: number,
  ) {
    this.machine = process.machine;
    this.process = process;
    this.devices = devices;
    this.array = array;
    this.control = control;
    this.npages = npages;
  }

  static async open(options: MachineOptions, npages: number): Promise<Scene> {
    const machine = await Machine.create(options);
    const process = await machine.spawn();
    const prot = PROT_READ | PROT_WRITE;
    const array = await process.mmap({ length: npages * PAGE_SIZE, prot });
    const control = await process.mmap({ length: PAGE_SIZE, prot });
    await process.write(array, new Uint8Array(npages * PAGE_SIZE));
    await process.write(control, new Uint8Array(PAGE_SIZE));
    const devices = [await process.openDevice(0), await process.openDevice(1)];
    return new Scene(process, devices, array, control, npages);
  }

  /** Starts a program on each of that many cores. */
  async start({ cores, sleepMs }: TurnOptions): Promise<void> {
    await this.process.write(this.control, new Uint8Array(PAGE_SIZE));
    const entry = new URL('./turns.js', import.meta.url);
    const { array, control, npages: pages } = this;
    this.programs = await Promise.all(
      Array.from({ length: cores }, (_, core) =>
        this.process.run(entry, { array, pages, control, core, sleepMs }),
      ),
    );
  }

  /** Tells the cores to stop, and waits until they have. Throws when one failed. */
  async stop(): Promise<void> {
    await this.process.write(this.control, Uint8Array.of(1));
    for (const { exited } of this.programs) {
      const { status, message } = await exited;
      if (status !== 0) throw new Error(`a core's program failed: ${message}`);
    }
    const { adds } = await this.notes(this.programs.length);
    this.coreSum += adds.reduce((sum, one) => sum + one, 0);
    this.programs = [];
  }

  /** A device takes a run of pages and adds 1 to every word of them. */
  async deviceTurn(minor: number, start: number): Promise<void> {
    const first = start % (this.npages - RUN_PAGES + 1);
    const addr = this.array + first * PAGE_SIZE;
    const device = this.devices[minor]!;
    await takePages(device, addr);
    await device.ioctl('ADD', { addr, ptr: 1, npages: RUN_PAGES });
    this.deviceSum += RUN_PAGES * WORDS_PER_PAGE;
  }

  look(): Promise<Uint8Array> {
    return this.process.pageMap(this.array, this.npages);
  }

  async notes(cores: number): Promise<Notes> {
    const bytes = await this.process.read(this.control, PAGE_SIZE);
    const words = new Uint32Array(bytes.buffer);
    const buckets = Array.from({ length: BUCKET_COUNT }, () => 0);
    const adds: number[] = [];
    for (let core = 0; core < cores; core++) {
      const own = (1 + core) * CORE_WORDS;
      adds.push(words[own]!);
      for (let i = 0; i < BUCKET_COUNT; i++) buckets[i]! += words[own + BUCKETS + i]!;
    }
    return { adds, buckets };
  }

  /** The sum of the array, and what it has to be. Faults everything home. */
  async sums(): Promise<{ found: number; expected: number }> {
    const bytes = await this.process.read(this.array, this.npages * PAGE_SIZE);
    const found = new Uint32Array(bytes.buffer).reduce((sum, word) => sum + word, 0);
    return { found, expected: this.coreSum + this.deviceSum };
  }
}

/** Migrates a run. The test device then reads it, and says ENOENT if pages have left already. */
async function takePages(device: TestDevice, addr: number): Promise<void> {
  try {
    await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: RUN_PAGES });
  } catch (error) {
    if (!(error instanceof ErrnoError && error.code === 'ENOENT')) throw error;
  }
}
