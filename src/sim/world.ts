/**
 * The machine that a run happens on, and what the simulator knows of it. This is a second
 * composition root, beside src/worker: mm, two test devices, each on an engine that the scheduler
 * serves, and a clock that moves with the steps.
 */
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { isPending } from '../base/maybe.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { APERTURE_PAGES, DmirrorDevice } from '../driver/dmirror-device.ts';
import { mmAlloc } from '../mm/fork.ts';
import { doMmap } from '../mm/mmap.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  THP_ALWAYS,
  PROT_READ,
  PROT_WRITE,
} from '../mm/mm-types.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import type { MmuNotifierRange } from '../mm/mmu-notifier.ts';
import { shmemCreate } from '../mm/shmem.ts';
import type { ShmemInode } from '../mm/shmem.ts';
import { swapon } from '../mm/swapfile.ts';
import { createSystem } from '../mm/system.ts';
import { ARENA, ARENA_PAGES, BUFFERS, BUFFER_PAGES, DEVICES } from './arena.ts';
import { ARENA_TABLES, ARENA_TABLES_PAGES, MOST_DEVICES, OBJECTS, OBJECT_PAGES } from './arena.ts';
import type { SimConfig } from './config.ts';
import { Core } from './core.ts';
import type { Dice } from './dice.ts';
import { SimProcess } from './process.ts';
import { Content } from './shadow.ts';
import type { PlaceState } from './shadow.ts';
import type { CopyFaults } from './sim-engine.ts';
import { SimEngine } from './sim-engine.ts';
import { Violation, violated } from './violation.ts';

const MAX_TABLES = 128;
/** Virtual milliseconds per reading of the clock, which a step causes a few of. */
const TICK_MS = 0.02;

export interface SimDevice {
  readonly device: DmirrorDevice;
  readonly engine: SimEngine;
}

export interface SimObject {
  readonly inode: ShmemInode;
  /** Also beyond the end, where nobody sees them. */
  readonly pages: Content[];
  /** Pages up to its end. */
  size: number;
  /** Calls in flight that write to it or change its size; those that do the latter are alone. */
  writers: number;
  isResizing: boolean;
}

export interface SimPin {
  readonly pfn: number;
  /** Null: which contents the page has could not be told. */
  content: Content | null;
}

/** A fork in flight: what the child would see, by child, had it been made at that moment. */
export interface ForkInFlight {
  readonly parent: SimProcess;
  readonly snapshots: Map<MmStruct, PlaceState[]>;
}

/** Tells of every address space at the moment it is made: that of a fork. */
class WatchedMms extends Set<MmStruct> {
  onAdd: (mm: MmStruct) => void = () => {};

  override add(mm: MmStruct): this {
    this.onAdd(mm);
    return super.add(mm);
  }
}

/** How often things happened, so that a run can be shown not to be vacuous. */
export type Tally = Record<string, number>;

export class World {
  readonly config: SimConfig;
  readonly sys: System;
  readonly devices: readonly SimDevice[];
  readonly objects: readonly SimObject[];
  readonly processes: (SimProcess | null)[];
  readonly cores: readonly Core[];
  readonly pins: SimPin[] = [];
  readonly forks: ForkInFlight[] = [];
  /** Invalidations that were begun and not yet ended. */
  readonly openRanges: MmuNotifierRange[] = [];
  readonly copies: CopyFaults = { fails: () => false, onFailure: () => this.copyFailed() };
  readonly tally: Tally = {};
  /** Names of the operations in flight, by task number. */
  readonly tasks: (string | null)[];
  inFlight = 0;
  step = 0;
  /** The first thing that went wrong. */
  failure: Error | null = null;
  /** Receives a line per event; unset but in replays, since the lines cost more than the run. */
  log: ((line: string) => void) | undefined;
  /** Everything that the run did and saw. */
  hash = 0x811c9dc5;
  /** Since the last rest: memory was refused or nearly gone, copies failed. */
  memoryFailed = false;
  copiesFailed = false;
  /** Since the start: a device is lost. */
  deviceLost = false;
  /** Since the start: somebody has a monitor, which some faults can't wait for. */
  isMonitored = false;
  /** While the simulator waits for rest, it starts nothing and injects nothing. */
  isResting = false;
  private values = 0;
  private nowMs = 0;

  constructor(config: SimConfig) {
    this.config = config;
    const sys = createSystem({
      ramBytes: config.ramPages * PAGE_SIZE,
      devicePages: DEVICES * config.devicePages + MOST_DEVICES * APERTURE_PAGES,
      coherentPages: config.coherentPages,
      maxTables: MAX_TABLES,
    });
    if (typeof sys === 'number') violated(`no machine: ${sys}`);
    const mms = new WatchedMms();
    mms.onAdd = (mm) => this.noteFork(mm);
    (sys as { mms: Set<MmStruct> }).mms = mms;
    this.sys = sys;
    if (config.isHuge) sys.thpMode = THP_ALWAYS;
    if (config.swapPages > 0) swapon(sys, config.swapPages);
    const count = config.coherentPages > 0 ? MOST_DEVICES : DEVICES;
    this.devices = Array.from({ length: count }, (_, minor) => this.makeDevice(minor));
    this.objects = Array.from({ length: OBJECTS }, () => this.makeObject(OBJECT_PAGES));
    this.tasks = Array.from({ length: config.tasks }, () => null);
    this.processes = Array.from({ length: config.processes }, () => null);
    this.cores = Array.from({ length: config.cores }, (_, id) => new Core(this, id));
    this.spawn(0);
    this.spawn(1);
  }

  /** A value that no word has had before. */
  newValue(): number {
    this.values++;
    // Spread over the word, so that a torn or shifted word is no other value.
    return Math.imul(this.values, 0x9e3779b1) >>> 0;
  }

  /** Mixes something that happened into the hash of the run. */
  note(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193) >>> 0;
  }

  count(what: string, by = 1): void {
    this.tally[what] = (this.tally[what] ?? 0) + by;
  }

  /** Keeps the first failure. */
  fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Violation(String(error));
  }

  /** A process that new operations may use. */
  pickProcess(dice: Dice): SimProcess | null {
    const from = dice.below(this.processes.length);
    for (let i = 0; i < this.processes.length; i++) {
      const process = this.processes[(from + i) % this.processes.length]!;
      if (process !== null && !process.isDying) return process;
    }
    return null;
  }

  /** Starts an operation that waits. Its failure is the run's. */
  begin(name: string, run: (task: number) => Promise<void>): void {
    const task = this.tasks.indexOf(null);
    if (task < 0) return;
    this.tasks[task] = name;
    this.inFlight++;
    this.count(name);
    this.log?.(`${name} begins as task ${task}`);
    const end = (): void => {
      this.tasks[task] = null;
      this.inFlight--;
    };
    run(task).then(end, (error: unknown) => {
      this.fail(error);
      end();
    });
  }

  /** Insists that a status is one of those. */
  expectStatus(what: string, status: number, allowed: readonly number[]): void {
    this.note(status);
    if (allowed.includes(status)) return;
    violated(`${what} answers ${status}, not ${allowed.join(', ')}`);
  }

  /** A row of some list has failed, or a device is gone in the middle of one. */
  copyFailed(): void {
    this.copiesFailed = true;
    for (const process of this.processes) process?.doubtWrites();
  }

  /** Errnos that the faults of this run explain. */
  excuses(): number[] {
    const { ENOMEM, EIO, ENODEV, EFAULT, EBUSY } = errno;
    // A buffer that finds no page is EFAULT.
    const excuses: number[] = this.isMemoryShort() ? [ENOMEM, EFAULT] : [];
    // A fault on a page that can't be read from its device is EFAULT to whoever needed it.
    if (this.copiesFailed || this.deviceLost) excuses.push(EIO, ENODEV, EFAULT);
    if (this.isMonitored) excuses.push(EFAULT, EBUSY);
    return excuses;
  }

  isMemoryShort(): boolean {
    // Large folios come and go by the hundred pages: what was free a moment ago is no measure.
    const isLow = this.config.isHuge || this.sys.pageAllocator.freePages < 40;
    if (isLow) this.memoryFailed = true;
    return this.memoryFailed;
  }

  /** A new address space in an empty slot; false when there is no memory for it. */
  spawn(slot: number): boolean {
    const mm = mmAlloc(this.sys);
    if (typeof mm === 'number') return false;
    const process = new SimProcess(slot, mm);
    const { tasks } = this.config;
    this.mapAtOnce(mm, BUFFERS, tasks * BUFFER_PAGES);
    if (this.config.isHuge) this.mapAtOnce(mm, ARENA_TABLES, ARENA_TABLES_PAGES);
    else this.mapAtOnce(mm, ARENA, ARENA_PAGES);
    for (let page = 0; page < ARENA_PAGES; page++) {
      process.replace(page, this.privateState(PROT_READ | PROT_WRITE));
    }
    this.processes[slot] = process;
    return true;
  }

  privateState(prot: number): PlaceState {
    return { prot, content: Content.zero(), isShared: false };
  }

  makeObject(pages: number): SimObject {
    const inode = shmemCreate(this.sys, pages * PAGE_SIZE);
    if (typeof inode === 'number') violated(`no object: ${inode}`);
    const contents = Array.from({ length: pages }, () => Content.zero());
    return { inode, pages: contents, size: pages, writers: 0, isResizing: false };
  }

  private makeDevice(minor: number): SimDevice {
    const { devicePages, chunkPages, ramPages, coherentPages } = this.config;
    const hostFrames = ramPages + coherentPages;
    const vramFrames = DEVICES * devicePages + MOST_DEVICES * APERTURE_PAGES;
    const engine = new SimEngine(this.sys, { hostFrames, vramFrames }, this.copies);
    const nowMs = (): number => (this.nowMs += TICK_MS);
    const aperture = hostFrames + DEVICES * devicePages + minor * APERTURE_PAGES;
    const context = { sys: this.sys, engine, strategy: 'auto' as const, nowMs };
    const isCoherent = minor >= DEVICES;
    const pages = isCoherent ? coherentPages : devicePages;
    const chunk = isCoherent ? coherentPages : chunkPages;
    const first = isCoherent ? ramPages : null;
    const device = DmirrorDevice.create(context, minor, pages, chunk, aperture, first);
    if (typeof device === 'number') violated(`no device: ${device}`);
    return { device, engine };
  }

  private mapAtOnce(mm: MmStruct, addr: number, pages: number): void {
    const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
    const prot = PROT_READ | PROT_WRITE;
    const mapped: MaybePromise<number> = doMmap(mm, {
      addr,
      length: pages * PAGE_SIZE,
      prot,
      flags,
    });
    if (isPending(mapped) || mapped !== addr) violated('a new address space can be mapped');
  }

  /** What each fork in flight would hand its child at this moment. */
  private noteFork(mm: MmStruct): void {
    for (const { parent, snapshots } of this.forks) {
      const states = parent.places.map(({ now }): PlaceState => {
        const isOwn = !now.isShared && now.content !== null;
        return isOwn ? { ...now, content: now.content.clone() } : now;
      });
      snapshots.set(mm, states);
    }
  }
}
