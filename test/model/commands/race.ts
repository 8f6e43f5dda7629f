import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { Prng } from '../../../src/base/prng.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  HMM_DMIRROR_EXCLUSIVE,
  HMM_DMIRROR_MIGRATE_TO_DEV,
  HMM_DMIRROR_MIGRATE_TO_SYS,
  HMM_DMIRROR_READ,
} from '../../../src/driver/dmirror.ts';
import { PROT_NONE } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { asTask } from '../lockdep.ts';
import { DEVICES, arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { accessOutcome, bytesForStore, setByte } from '../model.ts';
import type { Model } from '../model.ts';
import { cpuLoad, cpuStore } from './cpu-access.ts';
import { deviceCommand } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { forkModel } from './fork.ts';
import { Step, isAlive, mappedPages, pagesOf, processOf, realOf } from './step.ts';

/** What may run at the same time as the migration. */
export const RIVALS = [
  'home',
  'evict',
  'loads',
  'stores',
  'deviceLoad',
  'claim',
  'fork',
  'munmap',
  'exit',
] as const;

interface Args extends DeviceRange {
  readonly rivals: readonly (typeof RIVALS)[number][];
  readonly value: number;
  /** Seed of when each of them begins. */
  readonly delays: number;
}

/** Most turns of the microtask queue that one of them begins after the first. */
const MOST_TURNS = 40;
/** Offset of racing stores, which no other command uses. */
const RACED = 2000;

/**
 * A migration to the device and its rivals, each begun a few turns after the other. Whoever wins,
 * no store is lost, no byte changes otherwise, and nothing hangs. fork leaves out rivals whose
 * effect on the child would depend on the order.
 */
export class Race extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const rivals = this.rivals(model);
    machine.tally.races++;
    const running: Promise<unknown>[] = [];
    // Nothing is opened once the process may be gone.
    const process = realOf(machine, this.args.slot);
    for (const minor of machine.devices.keys()) machine.mirror(process, minor);
    const random = new Prng(this.args.delays);
    const start = (work: () => Promise<unknown>): void => {
      const turns = random.below(MOST_TURNS);
      running.push(
        asTask(async () => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve();
          await work();
        }),
      );
    };
    start(() => this.migrate(machine, HMM_DMIRROR_MIGRATE_TO_DEV));
    if (rivals.has('home')) start(() => this.migrate(machine, HMM_DMIRROR_MIGRATE_TO_SYS));
    if (rivals.has('evict')) start(() => this.evict(machine));
    if (rivals.has('fork')) start(() => this.fork(model, machine));
    if (rivals.has('munmap')) start(() => this.munmap(machine));
    const doomed = this.doomed(rivals);
    if (rivals.has('loads')) running.push(this.loads(model, machine, doomed));
    if (rivals.has('stores')) running.push(this.stores(model, machine, doomed));
    if (rivals.has('deviceLoad')) start(() => this.deviceLoad(machine));
    if (rivals.has('claim')) start(() => this.claim(machine));
    if (rivals.has('exit')) start(() => this.exit(machine));
    await Promise.all(running);
    for (const page of doomed) processOf(model, this.args.slot).pages.delete(page);
    if (rivals.has('exit')) {
      model.processes[this.args.slot] = null;
      machine.processes[this.args.slot] = null;
    }
  }

  private rivals(model: Model): Set<string> {
    const rivals = new Set<string>(this.args.rivals);
    const alive = model.processes.filter((process) => process !== null).length;
    if (alive < 2) rivals.delete('exit');
    // How far a claim gets, and so what it copies off an object, would depend on the order.
    if (mappedPages(model, this.args).some(([, page]) => page.copyFirst)) rivals.delete('claim');
    if (rivals.has('fork')) for (const other of ['stores', 'munmap', 'exit']) rivals.delete(other);
    return rivals;
  }

  /** Pages that are gone at the end: an access may or may not find them. */
  private doomed(rivals: ReadonlySet<string>): readonly number[] {
    if (rivals.has('exit')) return pagesOf(this.args);
    return rivals.has('munmap') ? this.victims() : [];
  }

  private async migrate(machine: Machine, command: number): Promise<void> {
    const { status } = await deviceCommand(machine, this.args, command, 0);
    expect([0, errno.ENOENT, errno.EINVAL]).toContain(status);
  }

  private async evict(machine: Machine): Promise<void> {
    const device = machine.devices[this.args.minor]!;
    // Only a coherent page can be pinned where it is.
    const isPinned = machine.pins.some((pin) => pin !== null && device.memory.has(pin.pfn));
    expect(await device.releaseChunks()).toBe(isPinned ? errno.EBUSY : 0);
  }

  private async deviceLoad(machine: Machine): Promise<void> {
    const other = { ...this.args, minor: (this.args.minor + 1) % DEVICES };
    const { buffer } = realOf(machine, this.args.slot);
    const { status } = await deviceCommand(machine, other, HMM_DMIRROR_READ, buffer);
    expect([
      0,
      errno.EFAULT,
      ...(this.args.rivals.includes('exit') ? [errno.EINVAL] : []),
    ]).toContain(status);
  }

  /** The other device wants the pages for itself. */
  private async claim(machine: Machine): Promise<void> {
    const other = { ...this.args, minor: (this.args.minor + 1) % DEVICES };
    const { status } = await deviceCommand(machine, other, HMM_DMIRROR_EXCLUSIVE, 0);
    const refusals = [errno.ENOENT, errno.EFAULT, errno.EOPNOTSUPP, errno.EINVAL];
    expect([0, ...refusals]).toContain(status);
  }

  private async fork(model: Model, machine: Machine): Promise<void> {
    const child = model.processes.indexOf(null);
    if (child < 0) return;
    machine.processes[child] = await machine.fork(realOf(machine, this.args.slot));
    forkModel(model, this.args.slot, child);
  }

  /** Unmaps the upper half of the range, after taking away every right. */
  private async munmap(machine: Machine): Promise<void> {
    const victims = this.victims();
    if (victims.length === 0) return;
    const { mm } = realOf(machine, this.args.slot);
    const length = victims.length * PAGE_SIZE;
    const start = arenaAddress(victims[0]!);
    await doMprotect(mm, start, length, PROT_NONE);
    expect([0, errno.ESRCH]).toContain(await doMunmap(mm, start, length));
  }

  private victims(): number[] {
    const pages = pagesOf(this.args);
    return pages.slice(Math.ceil(pages.length / 2));
  }

  private async loads(model: Model, machine: Machine, doomed: readonly number[]): Promise<void> {
    const process = processOf(model, this.args.slot);
    const { mm } = realOf(machine, this.args.slot);
    const loadOne = async (page: number): Promise<void> => {
      const outcome = accessOutcome(process, page, false);
      const byte = outcome === 'ok' ? (process.pages.get(page)!.bytes!.get(0) ?? 0) : 0;
      const result = await cpuLoad(mm, arenaAddress(page));
      if (doomed.includes(page) && result.outcome === 'SIGSEGV') return;
      expect(result).toEqual({ outcome, byte });
    };
    await Promise.all(pagesOf(this.args).map((page) => asTask(() => loadOne(page))));
  }

  private async stores(model: Model, machine: Machine, doomed: readonly number[]): Promise<void> {
    const process = processOf(model, this.args.slot);
    const { mm } = realOf(machine, this.args.slot);
    const storeOne = async (page: number): Promise<void> => {
      const outcome = accessOutcome(process, page, true);
      const result = await cpuStore(mm, arenaAddress(page) + RACED, this.args.value);
      if (doomed.includes(page) && result.outcome === 'SIGSEGV') return;
      expect(result.outcome).toBe(outcome);
      if (outcome !== 'ok') return;
      setByte(bytesForStore(process.pages.get(page)!), RACED, this.args.value);
    };
    await Promise.all(pagesOf(this.args).map((page) => asTask(() => storeOne(page))));
  }

  /** The process dies while others still work on its memory. */
  private async exit(machine: Machine): Promise<void> {
    const { slot, value } = this.args;
    await machine.end(realOf(machine, slot), value % 2 === 0);
  }
}
