/**
 * Makes a failing run small: the steps that it took are left out by kind, then in ever smaller
 * pieces (delta debugging), as long as what is left still fails. Each step has a seed of its own,
 * so those that stay do much the same without the others. Any failure counts, not only the first
 * one's: a shorter way to another sign of the same mistake is welcome.
 */
import type { SimConfig } from './config.ts';
import { OPERATIONS } from './ops/table.ts';
import type { SimOptions, SimResult, SimTrace } from './run.ts';

/** Runs the simulator in a fresh copy of mm, since a failed run leaves its globals as they are. */
export type Attempt = (options: SimOptions) => Promise<SimResult>;

/** A failing run that can be repeated step by step. */
export interface SimScript {
  readonly config: SimConfig;
  readonly trace: SimTrace;
}

/**
 * Shrinks a failing run.
 *
 * @param attempt Runs one candidate. @param isOver Says when to be content with what there is.
 * @returns the smallest script that was found to fail; the given one if none smaller did.
 */
export async function shrink(
  script: SimScript,
  attempt: Attempt,
  isOver: () => boolean,
): Promise<SimScript> {
  const search = new Search(script, attempt, isOver);
  await search.withoutKinds();
  await search.withoutPieces();
  await search.withSmallerMachine();
  await search.withoutKinds();
  return search.best;
}

class Search {
  best: SimScript;
  private readonly attempt: Attempt;
  private readonly isOver: () => boolean;

  constructor(script: SimScript, attempt: Attempt, isOver: () => boolean) {
    this.best = script;
    this.attempt = attempt;
    this.isOver = isOver;
  }

  /** Without one operation at all, then without the next. */
  async withoutKinds(): Promise<void> {
    for (let kind = 0; kind < OPERATIONS.length; kind++) {
      const { operations } = this.best.trace;
      if (operations.includes(kind)) await this.keep((at) => operations[at] !== kind);
    }
  }

  /** Without a half, a quarter, ... and in the end without single steps. */
  async withoutPieces(): Promise<void> {
    let size = Math.ceil(this.best.trace.operations.length / 2);
    while (size >= 1 && !this.isOver()) {
      let start = 0;
      while (start < this.best.trace.operations.length && !this.isOver()) {
        const [from, to] = [start, start + size];
        if (!(await this.keep((at) => at < from || at >= to))) start += size;
      }
      size = size === 1 ? 0 : Math.ceil(size / 2);
    }
  }

  async withSmallerMachine(): Promise<void> {
    const { trace } = this.best;
    for (const change of [{ tasks: 1 }, { tasks: 2 }, { cores: 1 }, { processes: 2 }]) {
      await this.tryScript({ config: { ...this.best.config, ...change }, trace });
    }
  }

  /** Tries the steps for which `stays` is true. */
  private keep(stays: (at: number) => boolean): Promise<boolean> {
    const { config, trace } = this.best;
    const operations = trace.operations.filter((_, at) => stays(at));
    const seeds = trace.seeds.filter((_, at) => stays(at));
    return this.tryScript({ config, trace: { operations, seeds } });
  }

  private async tryScript(script: SimScript): Promise<boolean> {
    if (this.isOver()) return false;
    const { config, trace } = script;
    const { failure, steps } = await this.attempt({ config, steps: 0, trace });
    if (failure === null) return false;
    // What comes after the failure is not part of it.
    const operations = trace.operations.slice(0, steps);
    const seeds = trace.seeds.slice(0, steps);
    this.best = { config, trace: { operations, seeds } };
    return true;
  }
}
