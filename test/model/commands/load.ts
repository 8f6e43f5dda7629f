import { expect } from 'vitest';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { accessOutcome } from '../model.ts';
import type { Model } from '../model.ts';
import { cpuLoad } from './cpu-access.ts';
import { Step, isAlive, processOf, realOf } from './step.ts';

interface Args {
  readonly slot: number;
  readonly page: number;
  readonly offset: number;
}

/** A one-byte load. */
export class Load extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, offset } = this.args;
    const process = processOf(model, slot);
    const result = await cpuLoad(realOf(machine, slot).mm, arenaAddress(page) + offset);
    expect(result.outcome).toBe(accessOutcome(process, page, false));
    if (result.outcome !== 'ok') return;
    expect(result.byte).toBe(process.pages.get(page)!.bytes!.get(offset) ?? 0);
  }
}
