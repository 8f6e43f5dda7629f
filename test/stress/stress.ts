/*
 * Cores, devices and the kernel at the same memory, in real threads. Each core knows what every
 * word that it alone writes must hold (fixtures/programs/stress.js); the host meanwhile migrates
 * pages to devices and back, forks, write-protects, claims pages for devices and lets devices add
 * and read. At the end every store, every atomic operation and every amount that a device added is
 * accounted for.
 */
import {
  ErrnoError,
  MADV_COLLAPSE,
  PAGE_SIZE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  Prng,
  errno,
} from '../../src/index.ts';
import type { Machine, MachineOptions, Process, RunningProgram } from '../../src/index.ts';
import { CORE_TRAPS } from '../../src/cpu/control.ts';
import { checkEnd } from './check-end.ts';
import { layOut, layoutFor } from './layout.ts';
import type { Region, StressProcess } from './layout.ts';
import { findTorn } from './words.ts';

const MIB = 2 ** 20;
/** Pages of one command, at most. */
const RUN_PAGES = 32;
/** A core that reports nothing for so long hangs. */
const SILENT_MS = 60_000;
/** How many times as long a run may take that has not done enough when its time is over. */
const MAX_STRETCH = 8;

/** Whether a run of some seconds was one: everything has happened again and again. */
export function isMuch({
  operations,
  migrations,
  faults,
  downgrades,
  folios,
}: StressFigures): boolean {
  const isSpread = Math.min(...faults) > 50 && downgrades > 10 && folios > 0;
  return operations > 1e5 && migrations > 100 && isSpread;
}

/** The machine that a run needs. */
export const STRESS_MACHINE: MachineOptions = {
  ramBytes: 64 * MIB,
  deviceBytes: 16 * MIB,
  coherentDevices: 1,
  coherentBytes: 4 * MIB,
};

export interface StressOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Default 4. */
  readonly cores?: number;
  /** URL of fixtures/programs/stress.js. */
  readonly program: string;
  /** It goes on beyond its time until this holds, and eight times as long at most. */
  readonly isEnough?: (figures: StressFigures) => boolean;
  /** Called some times a second. */
  readonly onProgress?: (figures: StressFigures) => void;
}

/** What a run did. */
export interface StressFigures {
  readonly seconds: number;
  /** Loads, stores and atomic operations of programs; a bulk operation is one. */
  readonly operations: number;
  /** Pages that went to a device, or came back. */
  readonly migrations: number;
  /** Traps of each core into the kernel to have a page. */
  readonly faults: readonly number[];
  /** Forks, and mprotect calls that took permissions away. */
  readonly downgrades: number;
  /** Accesses that mprotect refused. */
  readonly signals: number;
  /** Large folios made; all but the first by putting pages together again. */
  readonly folios: number;
  /** Pages to which a device added, and pages that it read. */
  readonly deviceAdds: number;
  readonly deviceReads: number;
  readonly counters: Readonly<Record<string, number>>;
}

/** What a core prints: always the first part, the others at its end. */
export interface CoreReport {
  readonly index: number;
  readonly ops: number;
  readonly signals: number;
  readonly faults: number;
  readonly hashes?: readonly number[];
  readonly counters?: readonly (readonly number[])[];
  readonly locks?: readonly (readonly number[])[];
}

/** Amounts that devices added to each page of a region, by the region's place in its process. */
export type DeviceSums = Map<Region, Uint32Array>;

/** Runs the test. Rejects with what was lost, torn or not exact, and the seed. */
export async function runStress(machine: Machine, options: StressOptions): Promise<StressFigures> {
  try {
    return await new Stress(machine, options).run();
  } catch (error) {
    throw new Error(`stress, seed ${options.seed}: ${(error as Error).message}`, { cause: error });
  }
}

class Stress {
  private readonly machine: Machine;
  private readonly options: StressOptions;
  private readonly random: Prng;
  private readonly reports: CoreReport[] = [];
  private readonly heardMs: number[] = [];
  private readonly sums: DeviceSums = new Map();
  private readonly tally = { downgrades: 0, deviceAdds: 0, deviceReads: 0 };
  private isOver = false;
  private startMs = 0;
  private processes: readonly StressProcess[] = [];

  constructor(machine: Machine, options: StressOptions) {
    this.machine = machine;
    this.options = options;
    this.random = new Prng(options.seed);
  }

  async run(): Promise<StressFigures> {
    const { machine, options } = this;
    this.processes = await layOut(machine, options.cores ?? 4);
    for (const { counters } of this.processes) {
      for (const region of counters) this.sums.set(region, new Uint32Array(region.pages));
    }
    const running: RunningProgram[] = [];
    for (const owner of this.processes) {
      for (const core of owner.cores) running.push(await this.start(owner, core));
    }
    this.startMs = performance.now();
    const exits = running.map((program, i) => this.awaitExit(program, i));
    try {
      await Promise.race([Promise.all([...this.chaos(), this.clock()]), all(exits)]);
      await this.processes[0]!.process.write(this.processes[0]!.stop, new Uint8Array([1]));
      await Promise.race([all(exits), this.watchdog()]);
      await checkEnd(this.processes, this.reports, this.sums);
      return await this.figures();
    } finally {
      this.isOver = true;
      for (const program of running) program.kill();
      await Promise.allSettled(exits);
    }
  }

  private start(owner: StressProcess, core: number): Promise<RunningProgram> {
    const { seed, program } = this.options;
    const layout = layoutFor(owner, core);
    this.heardMs[core] = performance.now();
    const onOutput = (text: string): void => {
      this.reports[core] = JSON.parse(text) as CoreReport;
      this.heardMs[core] = performance.now();
    };
    const args = { seed, index: core, layout, trapWord: CORE_TRAPS };
    return owner.process.run(program, args, { onOutput });
  }

  private async awaitExit(program: RunningProgram, core: number): Promise<void> {
    const { status, signal, message } = await program.exited;
    if (status === 0 || this.isOver) return;
    throw new Error(`core ${core} ended with ${status} ${signal}: ${message}`);
  }

  /** Everything that is done to the memory, each kind again and again at its own pace. */
  private chaos(): Promise<void>[] {
    return [
      this.again(() => this.command()),
      this.again(() => this.command()),
      this.again(() => this.add()),
      this.again(() => this.deviceRead()),
      this.again(() => this.fork()),
      this.again(() => this.protect()),
      this.again(() => this.fold()),
    ];
  }

  private async again(step: () => Promise<void>): Promise<void> {
    while (!this.isOver) {
      await step();
      await pause(this.random.below(4));
    }
  }

  private async clock(): Promise<void> {
    const { seconds, isEnough = () => true, onProgress } = this.options;
    const begunMs = performance.now();
    let isDone = false;
    while (!isDone && !this.isOver) {
      const leftMs = begunMs + seconds * 1000 - performance.now();
      await pause(Math.max(1, Math.min(250, leftMs)));
      this.checkSilence();
      const figures = await this.figures();
      onProgress?.(figures);
      const spent = (performance.now() - begunMs) / 1000;
      isDone = spent >= seconds * MAX_STRETCH || (spent >= seconds && isEnough(figures));
    }
    this.isOver = true;
  }

  private async watchdog(): Promise<never> {
    for (;;) {
      await pause(1000);
      this.checkSilence();
    }
  }

  private checkSilence(): void {
    const now = performance.now();
    const silent = this.heardMs.findIndex((heard) => now - heard > SILENT_MS);
    if (silent >= 0) throw new Error(`core ${silent} does not go on`);
  }

  private one<T>(list: readonly T[]): T {
    return list[this.random.below(list.length)]!;
  }

  private range(region: Region): { addr: number; npages: number } {
    const first = this.random.below(region.pages);
    const npages = 1 + this.random.below(Math.min(RUN_PAGES, region.pages - first));
    return { addr: region.addr + first * PAGE_SIZE, npages };
  }

  /** Pages go to a device, home, or are claimed by one. What could not go stays. */
  private async command(): Promise<void> {
    const owner = this.one(this.processes);
    const [small, huge] = owner.words;
    const others = [owner.bulk, owner.bulk, owner.counters[0]!, owner.locks[0]!];
    const isRare = this.random.below(16) === 0;
    const range = this.range(isRare ? huge! : this.one([small!, small!, small!, ...others]));
    const dice = this.random.below(10);
    const name = dice < 7 ? 'MIGRATE_TO_DEV' : dice < 9 ? 'MIGRATE_TO_SYS' : 'EXCLUSIVE';
    const result = await this.one(owner.devices).tryIoctl(name, { ...range, ptr: 0 });
    const { ENOENT, EBUSY, EINVAL, ENOMEM, EPERM, EFAULT } = errno;
    const known: number[] = [0, ENOENT, EBUSY, EINVAL, ENOMEM, EPERM, EFAULT];
    if (!known.includes(result.errno)) throw new ErrnoError(result.errno, name);
  }

  /** A large folio goes to a device as a whole, or is put together again. */
  private async fold(): Promise<void> {
    const { process, devices, words } = this.one(this.processes);
    const { addr, pages } = words[1]!;
    const request = { addr, npages: pages, ptr: 0 };
    if (this.random.below(4) === 0) {
      await this.one(devices).tryIoctl('MIGRATE_TO_DEV', request);
      return;
    }
    for (const device of devices) await device.tryIoctl('MIGRATE_TO_SYS', request);
    await process.madvise(addr, pages * PAGE_SIZE, MADV_COLLAPSE).catch((error: unknown) => {
      // It is not all there, or in use: nothing was done.
      if (!(error instanceof ErrnoError)) throw error;
    });
  }

  /** A device adds to all words of a page, which counts if it says so. */
  private async add(): Promise<void> {
    const owner = this.one(this.processes);
    const region = this.one(owner.counters);
    const page = this.random.below(region.pages);
    const amount = 1 + this.random.below(1000);
    const request = { addr: region.addr + page * PAGE_SIZE, ptr: amount, npages: 1 };
    const result = await this.one(owner.devices).tryIoctl('ADD', request);
    if (result.errno === errno.EBUSY) return;
    if (result.errno !== 0) throw new ErrnoError(result.errno, 'ADD');
    this.sums.get(region)![page]! += amount;
    this.tally.deviceAdds++;
  }

  /** A device reads words while cores write them: each is one that was stored. */
  private async deviceRead(): Promise<void> {
    const { process, devices, words } = this.one(this.processes);
    const region = this.one(words);
    const { addr, npages } = this.range(region);
    const length = npages * PAGE_SIZE;
    const ptr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const result = await this.one(devices).tryIoctl('READ', { addr, npages, ptr });
    const bytes = await process.read(ptr, length);
    await process.munmap(ptr, length);
    // Memory that mprotect has taken away is not for devices either.
    if (result.errno !== 0) return;
    const torn = findTorn(new Uint32Array(bytes.buffer), (addr - region.addr) / 4);
    if (torn >= 0) throw new Error(`a device read a torn word: ${region.name} ${torn}`);
    this.tally.deviceReads += npages;
  }

  /** A child's memory stays as it was, whatever the parent's cores store; and the other way. */
  private async fork(): Promise<void> {
    const { process, words } = this.one(this.processes);
    const { addr, pages, name } = words[0]!;
    let child: Process;
    try {
      child = await process.fork();
    } catch (error) {
      if (error instanceof ErrnoError && error.errno === errno.ENOMEM) return;
      throw error;
    }
    this.tally.downgrades++;
    const length = pages * PAGE_SIZE;
    await child.mprotect(addr, length, PROT_READ | PROT_WRITE);
    const before = new Uint32Array((await child.read(addr, length)).buffer);
    await pause(this.random.below(3));
    await child.write(addr + this.random.below(pages) * PAGE_SIZE, new Uint8Array(64).fill(0xee));
    const torn = findTorn(before, 0);
    if (torn >= 0) throw new Error(`a child has a torn word: ${name} ${torn}`);
    const after = new Uint32Array((await child.read(addr, length)).buffer);
    let changed = 0;
    for (let i = 0; i < before.length; i++) if (before[i] !== after[i]) changed++;
    if (changed > 16) throw new Error(`${changed} words changed in a child that stored 16`);
    await child.exit();
  }

  private async protect(): Promise<void> {
    const { process, words, bulk } = this.one(this.processes);
    const { addr, npages } = this.range(this.one([...words, bulk]));
    const prot = this.random.below(4) === 0 ? PROT_NONE : PROT_READ;
    await process.mprotect(addr, npages * PAGE_SIZE, prot);
    this.tally.downgrades++;
    await pause(this.random.below(2));
    await process.mprotect(addr, npages * PAGE_SIZE, PROT_READ | PROT_WRITE);
  }

  private async figures(): Promise<StressFigures> {
    const { vm } = await this.machine.counters();
    const sum = (pick: (report: CoreReport) => number): number =>
      this.reports.reduce((total, report) => total + pick(report), 0);
    return {
      seconds: (performance.now() - this.startMs) / 1000,
      operations: sum(({ ops }) => ops),
      migrations: vm['pgmigrate_to_device']! + vm['pgmigrate_to_ram']!,
      // A core that has not reported yet has no place among the reports.
      faults: Array.from(this.heardMs, (_, core) => this.reports[core]?.faults ?? 0),
      signals: sum(({ signals }) => signals),
      ...this.tally,
      folios: vm['thp_fault_alloc']! + vm['thp_collapse_alloc']!,
      counters: vm,
    };
  }
}

async function all(exits: readonly Promise<void>[]): Promise<void> {
  await Promise.all(exits);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds));
}

/** The figures in a line or two. */
export function describeFigures(figures: StressFigures): string {
  const { seconds, operations, migrations, faults, downgrades, signals } = figures;
  const { deviceAdds, deviceReads, folios } = figures;
  return (
    `${operations.toExponential(2)} operations in ${seconds.toFixed(0)} s, ` +
    `${migrations} page migrations, ${faults.join('/') || 0} faults, ${downgrades} downgrades, ` +
    `${signals} refused accesses, ${deviceAdds} device additions, ${deviceReads} device reads, ` +
    `${folios} large folios`
  );
}
