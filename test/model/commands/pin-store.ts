import { PAGE_SIZE } from '../../../src/base/units.ts';
import type { Machine } from '../machine.ts';
import { setByte } from '../model.ts';
import type { Model } from '../model.ts';
import { Step } from './step.ts';

interface Args {
  readonly pin: number;
  readonly offset: number;
  readonly value: number;
}

/** I/O into a pinned page, past all page tables: whoever has the page sees it. */
export class PinStore extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return (model.pins[this.args.pin] ?? null) !== null;
  }

  protected act(model: Model, machine: Machine): Promise<void> {
    const { pin, offset, value } = this.args;
    machine.sys.ram[machine.pins[pin]!.pfn * PAGE_SIZE + offset] = value;
    setByte(model.pins[pin]!.bytes, offset, value);
    return Promise.resolve();
  }
}
