import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { pinUserPage } from '../../../src/mm/gup.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { accessOutcome, bytesForStore } from '../model.ts';
import type { Model } from '../model.ts';
import { Step, isAlive, processOf, realOf } from './step.ts';

interface Args {
  readonly slot: number;
  readonly page: number;
  readonly pin: number;
}

/** Pins a page for I/O; the model remembers whose bytes those are. */
export class Pin extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot) && model.pins[this.args.pin] === null;
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, pin } = this.args;
    const process = processOf(model, slot);
    const pfn = await pinUserPage(realOf(machine, slot).mm, arenaAddress(page));
    if (accessOutcome(process, page, true) !== 'ok') {
      expect(pfn).toBe(errno.EFAULT);
      return;
    }
    expect(pfn).toBeGreaterThan(0);
    machine.pins[pin] = { pfn };
    model.pins[pin] = { bytes: bytesForStore(process.pages.get(page)!) };
  }
}
