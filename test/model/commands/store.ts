import { expect } from 'vitest';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { accessOutcome, bytesForStore, setByte } from '../model.ts';
import type { Model } from '../model.ts';
import { cpuStore } from './cpu-access.ts';
import { Step, isAlive, processOf, realOf } from './step.ts';

interface Args {
  readonly slot: number;
  readonly page: number;
  readonly offset: number;
  readonly value: number;
  /** While there is no free page: works where no page is needed, and changes nothing elsewhere. */
  readonly isStarved: boolean;
}

/** A one-byte store. */
export class Store extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, offset, value, isStarved } = this.args;
    const process = processOf(model, slot);
    if (isStarved) machine.sys.pageAllocator.failAt = 1;
    const result = await cpuStore(realOf(machine, slot).mm, arenaAddress(page) + offset, value);
    machine.sys.pageAllocator.failAt = 0;
    const expected = accessOutcome(process, page, true);
    if (isStarved && expected === 'ok') expect(['ok', 'ENOMEM']).toContain(result.outcome);
    else if (isStarved && expected === 'SIGBUS') expect(result.outcome).not.toBe('ok');
    else expect(result.outcome).toBe(expected);
    if (result.outcome === 'ok') setByte(bytesForStore(process.pages.get(page)!), offset, value);
  }
}
