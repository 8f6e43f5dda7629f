import { unpinUserPage } from '../../../src/mm/gup.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { Step } from './step.ts';

interface Args {
  readonly pin: number;
}

/** Gives a pinned page back. */
export class Unpin extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return (model.pins[this.args.pin] ?? null) !== null;
  }

  protected act(model: Model, machine: Machine): Promise<void> {
    const { pin } = this.args;
    unpinUserPage(machine.sys, machine.pins[pin]!.pfn);
    machine.pins[pin] = null;
    model.pins[pin] = null;
    return Promise.resolve();
  }
}
