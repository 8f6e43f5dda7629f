/**
 * Migration with nobody copying: setup, allocation of destinations with their descriptors, pages,
 * finalize, over a range, so that bookkeeping can be timed alone.
 */
import { CommandList, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../src/index.ts';
import type { LocalMachine, Process } from '../src/index.ts';
import { nowUs } from './clock.ts';
import {
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  allocPages,
  migratePfn,
  migratePfnToPage,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
  putPage,
} from './insides.ts';
import type { MigrateVma, MmStruct, Vma } from './insides.ts';
import { OperationFailure } from './sampler.ts';

/** Pages of a window; the batch that the goal names. */
export const WINDOW = 512;

/** Where the time of a window goes. */
export interface PhaseTimes {
  setup: number;
  allocate: number;
  pages: number;
  finalize: number;
}

/** A direction of migration. */
export type Way = 'toDevice' | 'toRam';

/** Allocates locked destination pages. @returns how many of them there are. */
type Allocate = (pfns: Uint32Array, count: number) => number;

/** Migrations of one range without a driver and without copies. */
export class NullMigration {
  protected readonly vma: Vma;
  protected readonly allocate: Record<Way, Allocate>;
  private readonly requests: Record<Way, MigrateVma>;
  private readonly window: number;
  protected readonly taken: Uint32Array;
  protected readonly descriptors: CommandList;
  private readonly phases: PhaseTimes = { setup: 0, allocate: 0, pages: 0, finalize: 0 };

  /**
   * @param vma The range; its pages are where a first migration to the device finds them.
   * @param window Pages of one call.
   */
  constructor(machine: LocalMachine, vma: Vma, window = WINDOW) {
    const { sys, devices } = machine.kernel;
    const { memory } = devices[0]!;
    this.vma = vma;
    this.window = window;
    this.taken = new Uint32Array(window);
    this.descriptors = new CommandList(window);
    this.allocate = {
      toDevice: (pfns, count) => memory.allocPages(pfns, count),
      toRam: (pfns, count) => {
        const taken = allocPages(sys, pfns, count);
        for (let i = 0; i < taken; i++) sys.mem.trylockPage(pfns[i]!);
        return taken;
      },
    };
    const request = (flags: number): MigrateVma => ({
      vma,
      src: new Uint32Array(window),
      dst: new Uint32Array(window),
      start: 0,
      end: 0,
      cpages: 0,
      npages: 0,
      pgmapOwner: memory.owner,
      flags,
      faultPage: -1,
      reasons: null,
    });
    this.requests = {
      toDevice: request(MIGRATE_VMA_SELECT_SYSTEM),
      toRam: request(MIGRATE_VMA_SELECT_DEVICE_PRIVATE),
    };
  }

  /** Migrates the whole range, window by window. */
  run(direction: Way): number {
    const { vma, window } = this;
    for (let at = vma.vmStart; at < vma.vmEnd; at += window * PAGE_SIZE) {
      this.migrateWindow(direction, at);
    }
    return 0;
  }

  /** Each of the first `windows` windows to the device and home again, one after the other. */
  roundTrips(windows: number): number {
    const { window, vma } = this;
    for (let i = 0; i < windows; i++) {
      this.migrateWindow('toDevice', vma.vmStart + i * window * PAGE_SIZE);
      this.migrateWindow('toRam', vma.vmStart + i * window * PAGE_SIZE);
    }
    return 0;
  }

  private migrateWindow(direction: Way, at: number): void {
    const request = this.begin(direction, at);
    migrateVmaSetup(request);
    this.allocateAll(request, this.allocate[direction]);
    migrateVmaPages(request);
    migrateVmaFinalize(request);
  }

  /** The same with the clock read between phases. */
  runTimed(direction: Way): PhaseTimes {
    const { vma, window, phases } = this;
    for (let at = vma.vmStart; at < vma.vmEnd; at += window * PAGE_SIZE) {
      const request = this.begin(direction, at);
      const begun = nowUs();
      migrateVmaSetup(request);
      const collected = nowUs();
      this.allocateAll(request, this.allocate[direction]);
      const allocated = nowUs();
      migrateVmaPages(request);
      const switched = nowUs();
      migrateVmaFinalize(request);
      phases.setup += collected - begun;
      phases.allocate += allocated - collected;
      phases.pages += switched - allocated;
      phases.finalize += nowUs() - switched;
    }
    return phases;
  }

  resetPhases(): void {
    Object.assign(this.phases, { setup: 0, allocate: 0, pages: 0, finalize: 0 });
  }

  protected begin(direction: Way, start: number): MigrateVma {
    const request = this.requests[direction];
    request.start = start;
    request.end = start + this.window * PAGE_SIZE;
    this.descriptors.reset();
    return request;
  }

  /** A destination and a copy descriptor for each page; here nobody runs the descriptors. */
  protected allocateAll(request: MigrateVma, allocate: Allocate): void {
    const { src, dst, cpages } = request;
    const { taken, descriptors, window } = this;
    const count = cpages === window ? allocate(taken, window) : 0;
    if (count < window) this.giveUp(request, count);
    for (let i = 0; i < window; i++) {
      const entry = src[i]!;
      const pfn = taken[i]!;
      descriptors.copy(migratePfnToPage(entry), pfn);
      dst[i] = (migratePfn(pfn) | (entry & MIGRATE_PFN_WRITE)) >>> 0;
    }
  }

  private giveUp(request: MigrateVma, count: number): never {
    const { window } = this;
    this.undo(request, count);
    const { cpages } = request;
    if (cpages === window) throw new OperationFailure('the machine ran out of pages');
    throw new OperationFailure(`only ${cpages} of ${window} pages could be collected`);
  }

  /** Gives back the first `count` destinations and leaves every page where it was. */
  protected undo(request: MigrateVma, count: number): void {
    const { sys } = this.vma.mm;
    for (const pfn of this.taken.subarray(0, count)) {
      sys.mem.unlockPage(pfn);
      putPage(sys, pfn);
    }
    request.dst.fill(0);
    migrateVmaFinalize(request);
  }
}

/** The address space of the only process and its only mapping. */
export interface Range {
  readonly process: Process;
  readonly mm: MmStruct;
  readonly vma: Vma;
  readonly pages: number;
}

/** A process with `pages` pages of memory, each one touched. */
export async function mapRange(machine: LocalMachine, pages: number): Promise<Range> {
  const { sys } = machine.kernel;
  const before = new Set(sys.mms);
  const process = await machine.spawn();
  const mm = [...sys.mms].find((one) => !before.has(one));
  const addr = await process.mmap({ length: pages * PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
  for (let page = 0; page < pages; page++) {
    await process.touch(addr + page * PAGE_SIZE, 'write');
  }
  const vma = mm?.vmas.find((one) => one.vmStart === addr);
  if (mm === undefined || vma === undefined) throw new Error('the process has no such mapping');
  return { process, mm, vma, pages };
}
