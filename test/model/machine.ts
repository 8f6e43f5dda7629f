/*
 * The real thing that the model test drives: mm, the test device's driver and the CPU engine, with
 * an arena of addresses per process that straddles two page tables. Copies of the engine take a
 * seeded number of turns, so that commands of one step interleave.
 */
import { isErr } from '../../src/base/errno.ts';
import { Prng } from '../../src/base/prng.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../src/base/units.ts';
import { DmirrorDevice, APERTURE_PAGES } from '../../src/driver/dmirror-device.ts';
import type { DriverContext } from '../../src/driver/dmirror-device.ts';
import { Dmirror } from '../../src/driver/dmirror.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import { CpuEngine } from '../../src/engine/cpu-engine.ts';
import type { CopyEngine } from '../../src/engine/copy-engine.ts';
import { dupMmap, mmAlloc, mmput } from '../../src/mm/fork.ts';
import { unpinUserPage } from '../../src/mm/gup.ts';
import type { MmStruct, System } from '../../src/mm/mm-types.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../src/mm/mm-types.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import { allocPage } from '../../src/mm/page-alloc.ts';
import { shmemCreate } from '../../src/mm/shmem.ts';
import type { ShmemInode } from '../../src/mm/shmem.ts';
import { createSystem } from '../../src/mm/system.ts';
import {
  ARENA_PAGES,
  OBJECTS,
  OBJECT_PAGES,
  PIN_SLOTS,
  PRIVATE_AT_START,
  PROCESS_SLOTS,
} from './model.ts';

const RAM_PAGES = 320;
const PRIVATE_DEVICES = 2;
/** Private devices, and a coherent one, which is the last. */
export const DEVICES = PRIVATE_DEVICES + 1;
/** Small enough to run full, in chunks that come and go. */
const DEVICE_PAGES = 20;
const CHUNK_PAGES = 8;
const APERTURE = APERTURE_PAGES;

/** Pages 0 to 7 of the arena are in one page table, 8 to 15 in the next. */
const ARENA = 2 ** 32 + PMD_SIZE - (ARENA_PAGES / 2) * PAGE_SIZE;
/** Where a process receives what its device read. */
const BUFFER = 2 ** 33;

/** Address of an arena page. */
export function arenaAddress(page: number): number {
  return ARENA + page * PAGE_SIZE;
}

export interface RealProcess {
  readonly mm: MmStruct;
  readonly buffer: number;
  /** By device; null = not open. */
  readonly mirrors: (Dmirror | null)[];
}

export interface RealPin {
  readonly pfn: number;
}

/** How often things happened, so that a run can be shown not to be vacuous. */
export interface Tally {
  commands: number;
  pagesToDevice: number;
  /** Of these, to the coherent one. */
  pagesToCoherent: number;
  deviceFaults: number;
  evictions: number;
  races: number;
  claims: number;
}

export class Machine {
  readonly sys: System;
  readonly cpuEngine: CpuEngine;
  readonly devices: readonly DmirrorDevice[];
  readonly processes: (RealProcess | null)[];
  readonly pins: (RealPin | null)[] = Array.from({ length: PIN_SLOTS }, () => null);
  readonly objects: readonly ShmemInode[];
  readonly tally: Tally;
  /** A RAM page through which the checker looks at VRAM. */
  readonly scratchPfn: number;
  private readonly scratchList = new CommandList(1);

  constructor(seed: number, tally: Tally) {
    this.tally = tally;
    const vramFrames = PRIVATE_DEVICES * DEVICE_PAGES + DEVICES * APERTURE;
    const sys = createSystem({
      ramBytes: RAM_PAGES * PAGE_SIZE,
      devicePages: vramFrames,
      coherentPages: DEVICE_PAGES,
      maxTables: 128,
    });
    if (typeof sys === 'number') throw new Error(`createSystem ${sys}`);
    this.sys = sys;
    const geometry = { hostFrames: sys.hostPages, vramFrames };
    this.cpuEngine = new CpuEngine({ ram: sys.ram, geometry });
    let now = 0;
    const context: DriverContext = {
      sys,
      engine: delayed(this.cpuEngine, new Prng(seed)),
      strategy: 'auto',
      // A virtual clock that hardly moves: no time budget runs out.
      nowMs: () => (now += 0.001),
    };
    const apertures = sys.hostPages + PRIVATE_DEVICES * DEVICE_PAGES;
    this.devices = Array.from({ length: DEVICES }, (_, minor) => {
      const aperture = apertures + minor * APERTURE;
      const isPrivate = minor < PRIVATE_DEVICES;
      const [chunk, place] = isPrivate ? [CHUNK_PAGES, null] : [DEVICE_PAGES, RAM_PAGES];
      const device = DmirrorDevice.create(context, minor, DEVICE_PAGES, chunk, aperture, place);
      if (typeof device === 'number') throw new Error(`device ${device}`);
      return device;
    });
    this.objects = Array.from({ length: OBJECTS }, () => {
      const inode = shmemCreate(sys, OBJECT_PAGES * PAGE_SIZE);
      if (typeof inode === 'number') throw new Error(`shmemCreate ${inode}`);
      return inode;
    });
    this.processes = Array.from({ length: PROCESS_SLOTS }, (_, slot) =>
      slot < 2 ? this.spawn() : null,
    );
    this.scratchPfn = allocPage(sys);
  }

  /** Forks `parent`; throws when that fails. */
  async fork(parent: RealProcess): Promise<RealProcess> {
    const mm = await dupMmap(parent.mm);
    if (typeof mm === 'number') throw new Error(`fork ${mm}`);
    return { mm, buffer: parent.buffer, mirrors: noMirrors() };
  }

  /** The mirror of a process on a device, opened on first use. */
  mirror(process: RealProcess, minor: number): Dmirror {
    const open = process.mirrors[minor];
    if (open) return open;
    const mirror = Dmirror.open(this.devices[minor]!, process.mm);
    if (typeof mirror === 'number') throw new Error(`open ${mirror}`);
    process.mirrors[minor] = mirror;
    return mirror;
  }

  /** Copies a VRAM frame to where the test can see it. */
  peekVram(pfn: number): Uint8Array {
    const list = this.scratchList;
    list.reset();
    list.copy(pfn, this.scratchPfn);
    const status = this.cpuEngine.submit(list);
    if (isErr(status)) throw new Error(`peek ${status}`);
    return this.peekRam(this.scratchPfn);
  }

  peekRam(pfn: number): Uint8Array {
    return this.sys.ram.subarray(pfn * PAGE_SIZE, (pfn + 1) * PAGE_SIZE);
  }

  /** Ends everything that is still there. */
  async shutDown(): Promise<void> {
    for (const pin of this.pins) if (pin !== null) unpinUserPage(this.sys, pin.pfn);
    this.pins.fill(null);
    for (const [slot, process] of this.processes.entries()) {
      if (process !== null) await this.end(process, slot % 2 === 0);
      this.processes[slot] = null;
    }
  }

  /** Exit of a process: its files are closed before or after its address space goes. */
  async end(process: RealProcess, closeFirst: boolean): Promise<void> {
    const close = async (): Promise<void> => {
      for (const mirror of process.mirrors) await mirror?.close();
    };
    if (closeFirst) await close();
    await mmput(process.mm);
    if (!closeFirst) await close();
  }

  private spawn(): RealProcess {
    const mm = mmAlloc(this.sys);
    if (typeof mm === 'number') throw new Error(`mmAlloc ${mm}`);
    this.map(mm, BUFFER, ARENA_PAGES, null);
    this.map(mm, ARENA, PRIVATE_AT_START, null);
    const rest = ARENA_PAGES - PRIVATE_AT_START;
    this.map(mm, arenaAddress(PRIVATE_AT_START), rest, this.objects[0]!);
    return { mm, buffer: BUFFER, mirrors: noMirrors() };
  }

  /** Maps readable and writable memory: private, or of an object. */
  private map(mm: MmStruct, addr: number, pages: number, inode: ShmemInode | null): void {
    const address = doMmap(mm, {
      addr,
      length: pages * PAGE_SIZE,
      prot: PROT_READ | PROT_WRITE,
      flags: MAP_FIXED | (inode === null ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
      ...(inode === null ? {} : { inode }),
    });
    if (address !== addr) throw new Error('mmap of the arena');
  }
}

/** One place a device. */
function noMirrors(): (Dmirror | null)[] {
  return Array.from({ length: DEVICES }, () => null);
}

/** The engine, with 0 to 3 turns of the microtask queue before it copies and as many after. */
function delayed(engine: CpuEngine, random: Prng): CopyEngine {
  const pause = async (): Promise<void> => {
    for (let turns = random.below(4); turns > 0; turns--) await Promise.resolve();
  };
  return {
    name: engine.name,
    geometry: engine.geometry,
    adapter: engine.adapter,
    stats: engine.stats,
    strategies: engine.strategies,
    isLost: engine.isLost,
    lost: engine.lost,
    submit: async (list, strategy) => {
      await pause();
      const status = engine.submit(list, strategy);
      await pause();
      return status;
    },
    markLost: (message) => engine.markLost(message),
    close: () => engine.close(),
  };
}
