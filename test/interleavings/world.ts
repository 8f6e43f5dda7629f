/*
 * A machine whose waits end in an order that fast-check chooses. The copy engine waits twice per
 * list, before it copies and after; every operation waits before it begins. In between, everything
 * runs for a number of turns of the microtask queue that fast-check chooses, too, so that locks
 * change hands at different times.
 */
import type * as fc from 'fast-check';
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../src/base/units.ts';
import type { CommandList } from '../../src/engine/command-list.ts';
import type { CopyEngine } from '../../src/engine/copy-engine.ts';
import type { CpuEngine, CpuEngineOptions } from '../../src/engine/cpu-engine.ts';
import { bootMachine } from '../../src/index.ts';
import type { LocalMachine, Process, TestDevice } from '../../src/index.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE } from '../../src/mm/mm-types.ts';
import type { MmStruct } from '../../src/mm/mm-types.ts';
import { allocPage, putPage } from '../../src/mm/page-alloc.ts';
import { findProblems } from '../../src/sim/check-invariants.ts';
import { asTask } from '../model/lockdep.ts';

const MIB = 2 ** 20;
const RW = 3;
/** Where the range is, and where its bytes are received. */
export const RANGE = 2 ** 32;
export const BUFFER = 2 ** 33;
/** Where mremap moves the range to. */
export const ELSEWHERE = 2 ** 34;
/** Turns after which nothing moves by itself any more. */
const QUIET_TURNS = 3000;

/** Where the pages of the range are when the operations begin. */
export type Placement = 'ram' | 'device' | 'other' | 'hole';

export interface WorldOptions {
  readonly isHuge: boolean;
  readonly placement: Placement;
}

/** The first word of page i before anything happens. */
export function wordOf(page: number): number {
  return page + 1;
}

export class World {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly mm: MmStruct;
  /** Device 0, device 1, and device 0 once more. */
  readonly devices: TestDevice[] = [];
  readonly scheduler: fc.Scheduler;
  readonly isHuge: boolean;
  readonly npages: number;
  /** Pages that a test has taken so that RAM is short. */
  readonly hoard: number[] = [];
  private readonly turns: readonly number[];
  private at = 0;

  private constructor(
    machine: LocalMachine,
    process: Process,
    scheduler: fc.Scheduler,
    turns: readonly number[],
    isHuge: boolean,
  ) {
    this.machine = machine;
    this.process = process;
    this.scheduler = scheduler;
    this.turns = turns;
    this.isHuge = isHuge;
    this.npages = isHuge ? 512 : 4;
    this.mm = [...machine.kernel.sys.mms][0]!;
  }

  static async make(
    scheduler: fc.Scheduler,
    turns: readonly number[],
    { isHuge, placement }: WorldOptions,
  ): Promise<World> {
    const machine = await bootMachine({
      engine: 'cpu',
      ramBytes: (isHuge ? 16 : 2) * MIB,
      deviceBytes: (isHuge ? 8 : 1) * MIB,
      chunkBytes: (isHuge ? 4 : 1) * MIB,
      thp: isHuge ? 'always' : 'never',
    });
    const process = await machine.spawn();
    const world = new World(machine, process, scheduler, turns, isHuge);
    for (const minor of [0, 1, 0]) world.devices.push(await process.openDevice(minor));
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    const length = world.npages * PAGE_SIZE;
    await process.mmap({ addr: RANGE, length, prot: RW, flags });
    await process.mmap({ addr: BUFFER, length: 8 * PAGE_SIZE, prot: RW, flags });
    await world.place(placement);
    // From here on copies wait for the scheduler.
    Object.assign(machine.kernel['context'], { engine: world.scheduled(machine.kernel.engine) });
    return world;
  }

  /** Addresses of the pages that are looked at. */
  sample(): number[] {
    return this.isHuge ? [0, 1, 255, 511] : [0, 1, 2, 3];
  }

  get engine(): CpuEngine {
    return this.machine.kernel.engine as CpuEngine;
  }

  counter(name: string): number {
    return this.machine.kernel.counters().vm[name] ?? NaN;
  }

  /** Jobs for which this answers true fail from now on. */
  failJobs(failJob: CpuEngineOptions['failJob']): void {
    Object.assign(this.engine['options'], { failJob });
  }

  /** Leaves `left` free pages of RAM. */
  starve(left: number): void {
    const { sys } = this.machine.kernel;
    while (sys.pageAllocator.freePages > left) this.hoard.push(allocPage(sys));
  }

  feed(): void {
    for (const pfn of this.hoard.splice(0)) putPage(this.machine.kernel.sys, pfn);
  }

  /**
   * Runs all operations at once, each beginning when the scheduler says so, until all are done.
   * Fails when they wait for each other.
   */
  async runAll(operations: readonly (() => Promise<unknown>)[]): Promise<void> {
    const running = operations.map((operation, i) =>
      asTask(async () => {
        await this.scheduler.schedule(Promise.resolve(), `operation ${i} begins`);
        await operation();
      }),
    );
    const state = { isOver: false };
    const over = Promise.all(running).finally(() => {
      state.isOver = true;
    });
    over.catch(() => undefined);
    while (!state.isOver) {
      if (this.scheduler.count() > 0) await this.scheduler.waitOne();
      else await this.expectProgress(state);
      await spin(this.turns[this.at++ % this.turns.length]!);
    }
    await over;
  }

  /** Every invariant, with nothing locked and nobody waiting. */
  check(): void {
    const references = new Map(this.hoard.map((pfn) => [pfn, 1]));
    expect(findProblems(this.machine.kernel.sys, { references })).toEqual([]);
  }

  /** Ends the machine, which must then be empty. */
  async end(): Promise<void> {
    this.feed();
    this.failJobs(undefined);
    Object.assign(this.machine.kernel['context'], { engine: this.engine });
    this.check();
    await this.machine.close();
    const { sys } = this.machine.kernel;
    for (const { calloc, cfree } of this.machine.kernel.counters().devices) {
      expect(cfree).toBe(calloc);
    }
    expect([sys.pageTables.tablesInUse, sys.mem.waitingPages]).toEqual([0, 0]);
  }

  /** First words of the sampled pages; null where the access is answered by a signal. */
  async words(process: Process, base = RANGE): Promise<(number | null)[]> {
    const words: (number | null)[] = [];
    for (const page of this.sample()) words.push(await firstWord(process, base + page * PAGE_SIZE));
    return words;
  }

  private async place(placement: Placement): Promise<void> {
    if (placement === 'hole') return;
    for (let page = 0; page < this.npages; page++) {
      const word = Uint32Array.of(wordOf(page));
      await this.process.write(RANGE + page * PAGE_SIZE, new Uint8Array(word.buffer));
    }
    if (placement === 'ram') return;
    const device = this.devices[placement === 'device' ? 0 : 1]!;
    await device.ioctl('MIGRATE_TO_DEV', { addr: RANGE, ptr: 0, npages: this.npages });
  }

  private async expectProgress(state: { readonly isOver: boolean }): Promise<void> {
    for (let turn = 0; turn < QUIET_TURNS; turn++) {
      if (state.isOver || this.scheduler.count() > 0) return;
      await Promise.resolve();
    }
    throw new Error('operations wait for each other');
  }

  private scheduled(engine: CopyEngine): CopyEngine {
    const submit = async (list: CommandList, strategy?: 'auto'): Promise<number> => {
      await this.scheduler.schedule(Promise.resolve(), `copy of ${list.length} begins`);
      const status = await engine.submit(list, strategy);
      await this.scheduler.schedule(Promise.resolve(), `copy of ${list.length} ends`);
      return status;
    };
    return new Proxy(engine, {
      get: (target, name): unknown => (name === 'submit' ? submit : Reflect.get(target, name)),
    });
  }
}

/** Turns of the microtask queue. */
export async function spin(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
}

async function firstWord(process: Process, addr: number): Promise<number | null> {
  const { machine, pid } = process;
  const { errno, outcome, bytes } = await machine.api.read(pid, addr, 4);
  if (errno !== 0 || outcome !== 0) return null;
  return new DataView(bytes.buffer).getUint32(0, true);
}
