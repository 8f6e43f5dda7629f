import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';
import type { Range } from './step.ts';

/** munmap of any part of the arena, mapped or not. */
export class Munmap extends Step<Range> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page } = this.args;
    const pages = pagesOf(this.args);
    const length = pages.length * PAGE_SIZE;
    expect(await doMunmap(realOf(machine, slot).mm, arenaAddress(page), length)).toBe(0);
    for (const at of pages) processOf(model, slot).pages.delete(at);
  }
}
