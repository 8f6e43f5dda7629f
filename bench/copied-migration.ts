/**
 * One window of a migration by hand, with the engine's copies: migrate_vma step by step with the
 * clock read in between, so that each phase has its time. A driver's own work (its page table, its
 * mirrors) is not in it.
 */
import { CommandList, PAGE_SIZE, errnoName } from '../src/index.ts';
import type { LocalMachine } from '../src/index.ts';
import { nowUs } from './clock.ts';
import { fillPage } from './content.ts';
import type { GpuTime } from './gpu-time.ts';
import {
  NO_FAULT_PAGE,
  migrateDeviceUnmap,
  migrateVmaCollect,
  migrateVmaFinalize,
  migrateVmaPages,
} from './insides.ts';
import { NullMigration, WINDOW } from './null-migration.ts';
import type { Range, Way } from './null-migration.ts';
import { WAIT } from './phase-names.ts';
import { OperationFailure } from './sampler.ts';

/** Microseconds by phase, in the order of a migration. */
export type CopiedPhases = Readonly<Record<string, number>>;

/** What the copies of a window took on the device, in that many submissions. */
export interface DeviceTime {
  readonly us: number;
  readonly submissions: number;
}

const WORDS_PER_PAGE = PAGE_SIZE / 4;

export class CopiedMigration extends NullMigration {
  private readonly machine: LocalMachine;
  private readonly range: Range;

  /** @param range One window of pages. */
  constructor(machine: LocalMachine, range: Range) {
    super(machine, range.vma);
    this.machine = machine;
    this.range = range;
  }

  /** Gives each page its content. */
  async fill(seed: number): Promise<void> {
    const words = new Uint32Array(WINDOW * WORDS_PER_PAGE);
    for (let page = 0; page < WINDOW; page++) fillPage(words, page * WORDS_PER_PAGE, seed, 0, page);
    await this.range.process.write(this.vma.vmStart, new Uint8Array(words.buffer));
  }

  /** Adds a constant to each word on the device, where the pages are after `copy('toDevice')`. */
  async add(constant: number): Promise<void> {
    const list = new CommandList(WINDOW);
    for (const pfn of this.taken) list.add(pfn, constant);
    this.check(await this.machine.kernel.engine.submit(list));
  }

  /**
   * Migrates the window as copy() does, untimed but for what its submissions take on the device.
   *
   * @returns null where nobody can tell, also of pages that `queue.writeBuffer` brings
   */
  async timeOnDevice(way: Way, clock: GpuTime): Promise<DeviceTime | null> {
    const { engine } = this.machine.kernel;
    let us: number | null = null;
    let submissions = 0;
    await this.copy(way, async () => {
      const isWritten = engine.pathOf?.(this.descriptors) === 'writeBuffer';
      const before = engine.stats.submissions;
      let status = 0;
      const run = async (): Promise<number> => (status = await engine.submit(this.descriptors));
      const taken = await clock.timeOf({ run });
      submissions = engine.stats.submissions - before;
      us = isWritten ? null : taken;
      return status;
    });
    return us === null ? null : { us, submissions };
  }

  /** Migrates the window. The mmap lock is held. @param submit Makes the copies. */
  async copy(
    way: Way,
    submit = (): number | Promise<number> => this.machine.kernel.engine.submit(this.descriptors),
  ): Promise<CopiedPhases> {
    const { engine, sys } = this.machine.kernel;
    const { stats } = engine;
    const request = this.begin(way, this.vma.vmStart);
    const { encodeMs, submitMs, hostCopyMs } = stats;
    const begun = nowUs();
    request.cpages = 0;
    request.npages = 0;
    migrateVmaCollect(request);
    const collected = nowUs();
    const { src, npages } = request;
    request.cpages = migrateDeviceUnmap(sys, src, npages, NO_FAULT_PAGE, null);
    const unmapped = nowUs();
    this.allocateAll(request, this.allocate[way]);
    const allocated = nowUs();
    const status = await submit();
    const copied = nowUs();
    if (status !== 0) this.undo(request, WINDOW);
    this.check(status);
    migrateVmaPages(request);
    migrateVmaFinalize(request);
    const ended = nowUs();
    const us = (now: number, before: number): number => (now - before) * 1000;
    const encode = us(stats.encodeMs, encodeMs);
    const submitted = us(stats.submitMs, submitMs);
    const moved = us(stats.hostCopyMs, hostCopyMs);
    return {
      collect: collected - begun,
      unmap: unmapped - collected,
      alloc: allocated - unmapped,
      [way === 'toDevice' ? 'copy-in' : 'copy-out']: moved,
      encode,
      submit: submitted,
      [WAIT]: Math.max(0, copied - allocated - moved - encode - submitted),
      remap: ended - copied,
    };
  }

  private check(status: number): void {
    if (status !== 0) throw new OperationFailure(`a copy answered ${errnoName(status)}`);
  }
}
