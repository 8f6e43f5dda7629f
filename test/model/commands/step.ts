/*
 * What all commands of the model test have in common: they act on both worlds, and then everything
 * is checked.
 */
import type * as fc from 'fast-check';
import { checkStep } from '../check-step.ts';
import { asTask } from '../lockdep.ts';
import type { Machine, RealProcess } from '../machine.ts';
import { ARENA_PAGES } from '../model.ts';
import type { Model, ModelPage, ModelProcess } from '../model.ts';

/** A range of arena pages of a process. */
export interface Range {
  /** Process slot. */
  readonly slot: number;
  readonly page: number;
  readonly pages: number;
}

export abstract class Step<Args> implements fc.AsyncCommand<Model, Machine> {
  protected readonly args: Args;

  constructor(args: Args) {
    this.args = args;
  }

  /** Whether the command makes sense now. */
  abstract check(model: Readonly<Model>): boolean;

  async run(model: Model, machine: Machine): Promise<void> {
    await asTask(() => this.act(model, machine));
    machine.tally.commands++;
    checkStep(model, machine);
  }

  toString(): string {
    const args = JSON.stringify(this.args).replaceAll(/["{}]/g, '').replaceAll(',', ', ');
    return `${this.constructor.name}(${args})`;
  }

  /** Does it to both worlds, and compares what they answer. */
  protected abstract act(model: Model, machine: Machine): Promise<void>;
}

/** Page numbers of a range, cut at the end of the arena. */
export function pagesOf(range: Range): number[] {
  const count = Math.min(range.pages, ARENA_PAGES - range.page);
  return Array.from({ length: count }, (_, i) => range.page + i);
}

export function processOf(model: Readonly<Model>, slot: number): ModelProcess {
  const process = model.processes[slot];
  if (!process) throw new Error(`no process ${slot}`);
  return process;
}

export function realOf(machine: Machine, slot: number): RealProcess {
  const process = machine.processes[slot];
  if (!process) throw new Error(`no process ${slot}`);
  return process;
}

export function isAlive(model: Readonly<Model>, slot: number): boolean {
  return (model.processes[slot] ?? null) !== null;
}

/** The pages of a range that are mapped, with their numbers. */
export function mappedPages(model: Readonly<Model>, range: Range): [number, ModelPage][] {
  const { pages } = processOf(model, range.slot);
  return pagesOf(range).flatMap((page): [number, ModelPage][] => {
    const found = pages.get(page);
    return found === undefined ? [] : [[page, found]];
  });
}
