import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { Step, isAlive, realOf } from './step.ts';

interface Args {
  readonly slot: number;
  /** Whether its device files are closed before or after the address space goes. */
  readonly closeFirst: boolean;
}

/** exit of a process that is not the last. */
export class Exit extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    const alive = model.processes.filter((process) => process !== null);
    return isAlive(model, this.args.slot) && alive.length > 1;
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, closeFirst } = this.args;
    await machine.end(realOf(machine, slot), closeFirst);
    machine.processes[slot] = null;
    model.processes[slot] = null;
  }
}
