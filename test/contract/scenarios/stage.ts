/*
 * What the scenarios play on: a real machine with one device whose kernels work on the machine's
 * own device memory. Nothing is replaced. Hooks stand before and behind the copy engine, and at the
 * notifier of an address space, so that things happen at a chosen moment of a migration.
 */
import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { Dmirror, newDmirrorCmd } from '../../../src/driver/dmirror.ts';
import type { DmirrorDevice } from '../../../src/driver/dmirror-device.ts';
import { MachinePager } from '../../../src/driver/machine-pager.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../../../src/engine/copy-engine.ts';
import { FAULT_WORDS } from '../../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';
import type { VmIrKernel } from '../../../src/engine/vm/ir.ts';
import type { FaultBatch, LaunchReport, LaunchRequest } from '../../../src/engine/vm/launch.ts';
import { launchKernel } from '../../../src/engine/vm/launch.ts';
import { kernelOfIr } from '../../../src/engine/vm/shapes.ts';
import type { VmEngine, VmProgram, VmProgramOptions } from '../../../src/engine/vm/vm-engine.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, bootMachine } from '../../../src/index.ts';
import type { LocalMachine, MachineOptions, Process } from '../../../src/index.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { findProblems } from '../../../src/sim/check-invariants.ts';
import { kernelsOver } from '../../vm/machine-run.ts';

/** What moves pages and runs kernels. */
export type StageEngine = 'cpu' | 'webgpu';

/** Address 0 of a context is address 0 of its process: ranges have to lie below 4 GiB. */
export const RANGE = 0x1000_0000;
export const ELSEWHERE = 0x2000_0000;
export const RW = 3;
/** Turns of the microtask queue after which what does not wait for us is over. */
const TURNS = 300;

/** Called with each list of the copy engine; its wait is part of the copy. */
type CopyHook = (list: CommandList) => Promise<void> | void;

export class Stage {
  readonly machine: LocalMachine;
  readonly engine: VmEngine;
  beforeCopy: CopyHook | null = null;
  afterCopy: CopyHook | null = null;
  /** A list for which this answers true fails as on a device that reports an error: nothing of it
   * is done. */
  failsCopy: ((list: CommandList) => boolean) | null = null;
  /** Frame 0 of the kernels' engine, as a pfn. */
  readonly firstFrame: number;
  private readonly actors: Actor[] = [];
  private readonly idle: { readonly ram: number; readonly tables: number };

  private constructor(machine: LocalMachine) {
    this.machine = machine;
    const { kernel } = machine;
    this.engine = kernelsOver(kernel.engine);
    this.firstFrame = kernel.engine.geometry.hostFrames;
    Object.assign(kernel['context'], { engine: this.hooked(kernel.engine) });
    this.idle = { ram: this.sys.pageAllocator.freePages, tables: this.sys.pageTables.tablesInUse };
  }

  /** Boots a machine whose one device has `devicePages`, in a single chunk. */
  static async open(
    engine: StageEngine,
    devicePages: number,
    options: MachineOptions = {},
  ): Promise<Stage> {
    const deviceBytes = devicePages * PAGE_SIZE;
    const machine = await bootMachine({
      engine,
      ramBytes: 8 * 2 ** 20,
      deviceBytes,
      chunkBytes: deviceBytes,
      devices: 1,
      coherentDevices: 0,
      ...options,
    });
    return new Stage(machine);
  }

  get sys(): System {
    return this.machine.kernel.sys;
  }

  get device(): DmirrorDevice {
    return this.machine.kernel.devices[0]!;
  }

  /** A counter of memory management. */
  count(name: string): number {
    const value = this.machine.kernel.counters().vm[name];
    if (value === undefined) throw new Error(`no counter ${name}`);
    return value;
  }

  /** A process with the device open. */
  async actor(): Promise<Actor> {
    const actor = new Actor(this, await this.machine.spawn());
    this.actors.push(actor);
    return actor;
  }

  /** Ends what a test has left, so that the next one is not blamed for it. */
  async clear(): Promise<void> {
    this.beforeCopy = null;
    this.afterCopy = null;
    this.failsCopy = null;
    for (const actor of this.actors.splice(0)) await actor.end();
    const { kernel } = this.machine;
    for (const pid of kernel['processes'].keys()) await kernel.exit(pid);
  }

  /** A kernel ready to be launched. */
  async compile(ir: VmIrKernel, options: Partial<VmProgramOptions> = {}): Promise<VmProgram> {
    const program = await this.engine.compile(kernelOfIr(ir), { slots: 8, hash: true, ...options });
    if ('problems' in program) throw new Error(JSON.stringify(program.problems));
    return program;
  }

  /** Every invariant of memory management, while nothing is under way. */
  check(): void {
    expect(findProblems(this.sys)).toEqual([]);
  }

  /** The machine without a process: nothing of anybody is left, on the device or in RAM. */
  checkEmpty(): void {
    this.check();
    const { calloc, cfree } = this.device.memory;
    expect(cfree, 'device pages given back').toBe(calloc);
    const { pageAllocator, pageTables, mem } = this.sys;
    expect(pageAllocator.freePages, 'free RAM').toBe(this.idle.ram);
    expect(pageTables.tablesInUse, 'page tables').toBe(this.idle.tables);
    expect(mem.waitingPages).toBe(0);
  }

  async close(): Promise<void> {
    await this.clear();
    await this.machine.close();
  }

  private hooked(engine: CopyEngine): CopyEngine {
    const submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
      await this.beforeCopy?.(list);
      if (this.failsCopy?.(list) === true) {
        list.done.fill(0, 0, list.length);
        return errno.EIO;
      }
      const status = await engine.submit(list, strategy);
      await this.afterCopy?.(list);
      return status;
    };
    return new Proxy(engine, {
      get: (target, name): unknown => (name === 'submit' ? submit : Reflect.get(target, name)),
    });
  }
}

/** What a launch works on, and what happens between its passes. */
export interface Play {
  /** Default: the range. */
  readonly args?: readonly number[];
  readonly context?: number;
  /** Before a batch is served, and behind that. */
  readonly before?: (batch: FaultBatch) => Promise<void> | void;
  readonly after?: (batch: FaultBatch) => Promise<void> | void;
  readonly request?: Partial<LaunchRequest>;
}

/** How a launch went. */
export interface Played {
  readonly report: LaunchReport;
  readonly pager: MachinePager;
  readonly batches: readonly FaultBatch[];
}

/** A process and its view of the device. */
export class Actor {
  readonly stage: Stage;
  readonly process: Process;
  readonly mm: MmStruct;
  readonly mirror: Dmirror;

  constructor(stage: Stage, process: Process) {
    this.stage = stage;
    this.process = process;
    this.mm = stage.machine.kernel['processes'].get(process.pid)!;
    const mirror = Dmirror.open(stage.device, this.mm);
    if (typeof mirror === 'number') throw new Error(`open ${mirror}`);
    this.mirror = mirror;
  }

  /** Maps pages at `addr`; page i gets the word `first + i` where `fills(i)`. */
  async map(
    pages: number,
    first: number,
    addr = RANGE,
    fills: (page: number) => boolean = () => true,
  ): Promise<void> {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    await this.process.mmap({ addr, length: pages * PAGE_SIZE, prot: RW, flags });
    for (let page = 0; page < pages; page++) {
      if (fills(page)) await this.store(addr + page * PAGE_SIZE, first + page);
    }
  }

  /** Stores a word; false where that is a signal. */
  async store(addr: number, value: number): Promise<boolean> {
    const { machine, pid } = this.process;
    const bytes = new Uint8Array(Uint32Array.of(value).buffer);
    const result = await machine.api.write(pid, addr, bytes);
    return result.errno === 0 && result.outcome === 0;
  }

  /** Loads the first word of each page; null where that is a signal. */
  async words(pages: number, addr = RANGE): Promise<(number | null)[]> {
    const words: (number | null)[] = [];
    for (let page = 0; page < pages; page++) {
      words.push(await wordAt(this.process, addr + page * PAGE_SIZE));
    }
    return words;
  }

  /** A device command on pages of the range, by number; answers errno and pages. */
  async command(command: number, pages: number, addr = RANGE, ptr = 0): Promise<[number, number]> {
    const cmd = newDmirrorCmd(addr, pages, ptr);
    const status = await this.mirror.ioctl(command, cmd);
    return [status, cmd.cpages];
  }

  /** Runs a program over the process's memory, whose addresses are those of the context. */
  async launch(program: VmProgram, workgroups: number, play: Play = {}): Promise<Played> {
    const space = new DeviceSpace(play.context ?? 1);
    const pager = new MachinePager(this.mirror, space, 0, this.stage.firstFrame);
    const batches: FaultBatch[] = [];
    const report = await launchKernel(program, {
      space,
      workgroups,
      args: play.args ?? [RANGE],
      pager: async (batch) => {
        batches.push({ ...batch, records: batch.records.slice() });
        await play.before?.(batch);
        const goesOn = await pager.serve(batch);
        await play.after?.(batch);
        return goesOn;
      },
      around: pager.around,
      onSubmitted: () => pager.passSubmitted(),
      ...play.request,
    });
    pager.close();
    this.stage.engine.drop(space);
    return { report, pager, batches };
  }

  /**
   * Calls `react` at events of a kind that the notifier of this address space hears of, in the
   * middle of whatever sends them. Answers how to stop that.
   */
  onEvent(event: number, react: () => void): () => Promise<void> {
    const sub = newMmuIntervalNotifier(null);
    const status = mmuIntervalNotifierInsert(sub, this.mm, 0, TASK_SIZE, {
      invalidate: (one, range, seq) => {
        mmuIntervalSetSeq(one, seq);
        if (range.event === event) react();
        return true;
      },
    });
    if (status !== 0) throw new Error(`notifier ${status}`);
    return async () => mmuIntervalNotifierRemove(sub);
  }

  /** Ends the process, if it still is there, and closes its device. */
  async end(): Promise<void> {
    await this.mirror.close();
    const { machine, pid } = this.process;
    await machine.api.exit(pid);
  }
}

/** The word at an address; null where loading it is answered by a signal. */
export async function wordAt(process: Process, addr: number): Promise<number | null> {
  const { machine, pid } = process;
  const result = await machine.api.read(pid, addr, 4);
  if (result.errno !== 0 || result.outcome !== 0) return null;
  return new DataView(result.bytes.buffer).getUint32(0, true);
}

/** A field of each fault record of each batch. */
export function fieldOf(batches: readonly FaultBatch[], field: number): number[] {
  return batches.flatMap(({ records, count }) =>
    Array.from({ length: count }, (_, i) => records[i * FAULT_WORDS + field]!),
  );
}

/** 0 to count - 1. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Something that runs beside a test, and whether it is over. */
export class Aside {
  isOver = false;
  readonly end: Promise<void>;

  constructor(work: () => Promise<unknown>) {
    this.end = work().then(() => {
      this.isOver = true;
    });
  }

  /** Lets everything run that waits for nothing. */
  async asFarAsItGoes(): Promise<void> {
    for (let turn = 0; turn < TURNS && !this.isOver; turn++) await Promise.resolve();
  }
}
