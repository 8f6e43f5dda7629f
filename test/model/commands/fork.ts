import type { Machine } from '../machine.ts';
import { forkPage } from '../model.ts';
import type { Model } from '../model.ts';
import { Step, isAlive, processOf, realOf } from './step.ts';

interface Args {
  readonly slot: number;
}

/** fork into the first free slot. */
export class Fork extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot) && model.processes.includes(null);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const child = model.processes.indexOf(null);
    machine.processes[child] = await machine.fork(realOf(machine, this.args.slot));
    forkModel(model, this.args.slot, child);
  }
}

/** What fork means to the model. */
export function forkModel(model: Model, parent: number, child: number): void {
  const pages = [...processOf(model, parent).pages];
  model.processes[child] = { pages: new Map(pages.map(([at, page]) => [at, forkPage(page)])) };
}
