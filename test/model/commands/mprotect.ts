import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';
import type { Range } from './step.ts';

interface Args extends Range {
  readonly prot: number;
}

/** mprotect; a hole stops it half way. */
export class Mprotect extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, prot } = this.args;
    const numbers = pagesOf(this.args);
    const { pages } = processOf(model, slot);
    const hole = numbers.findIndex((at) => !pages.has(at));
    const length = numbers.length * PAGE_SIZE;
    const status = await doMprotect(realOf(machine, slot).mm, arenaAddress(page), length, prot);
    expect(status).toBe(hole < 0 ? 0 : errno.ENOMEM);
    const changed = hole < 0 ? numbers : numbers.slice(0, hole);
    for (const at of changed) pages.get(at)!.prot = prot;
  }
}
