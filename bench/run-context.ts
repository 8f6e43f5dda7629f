/**
 * What every suite is given: the machine, the plan, where cells go and how to say what is being
 * done.
 */
import type { LocalMachine, Prng } from '../src/index.ts';
import { makeCell } from './cells.ts';
import type { CellSpec } from './cells.ts';
import { nextTask } from './clock.ts';
import type { CopyMachine } from './copy-operation.ts';
import type { HeapReader } from './heap.ts';
import type { BenchPlan } from './plan.ts';
import type { Sampled } from './sampler.ts';
import type { BenchCell, BenchProgress, GoalPart, OmittedCell } from './types.ts';

/** What one goal came to, before the rows of all goals are put together. */
export interface GoalResult {
  readonly id: string;
  readonly parts: readonly GoalPart[];
  /** Why there are none. */
  readonly why?: string;
}

/** Gives a port that leads through the page's main thread back to this one, to `answer`. */
export type AskMain = (answer: () => void) => MessagePort;

/** See the file header. */
export class RunContext {
  readonly plan: BenchPlan;
  readonly machine: LocalMachine;
  readonly copyMachine: CopyMachine;
  readonly tickUs: number;
  readonly signal: AbortSignal | undefined;
  /** Null where nobody can tell how much of the heap is in use. */
  readonly heap: HeapReader | null;
  /** Null where no other thread answers: outside browsers. */
  readonly askMain: AskMain | null;
  readonly cells: BenchCell[] = [];
  readonly omitted: OmittedCell[] = [];
  readonly goals: GoalResult[] = [];
  /** For shuffles and bootstrap; suites fork their own streams. */
  readonly random: Prng;
  private readonly onProgress: (progress: BenchProgress) => void;
  private readonly bootstrapRandom: Prng;
  private readonly begun = performance.now();
  private done = 0;
  private total = 1;

  constructor(
    parts: Pick<
      RunContext,
      'plan' | 'machine' | 'copyMachine' | 'tickUs' | 'signal' | 'heap' | 'askMain' | 'random'
    >,
    onProgress: (progress: BenchProgress) => void,
  ) {
    this.plan = parts.plan;
    this.machine = parts.machine;
    this.copyMachine = parts.copyMachine;
    this.tickUs = parts.tickUs;
    this.signal = parts.signal;
    this.heap = parts.heap;
    this.askMain = parts.askMain;
    this.random = parts.random;
    this.bootstrapRandom = parts.random.fork('bootstrap');
    this.onProgress = onProgress;
  }

  /** The stream of random numbers that intervals are drawn with. */
  get resampling(): Prng {
    return this.bootstrapRandom;
  }

  /** Milliseconds of the run's time box that are left. */
  get msLeft(): number {
    return this.plan.runBudgetMs - (performance.now() - this.begun);
  }

  /** Milliseconds that are left to what comes last. */
  get msLeftForLast(): number {
    return this.plan.lastBudgetMs - (performance.now() - this.begun);
  }

  /** Whether the run is to measure that goal. */
  wants(goal: string): boolean {
    const { onlyGoals, preset, soak } = this.plan;
    if (preset !== null || soak !== null) return false;
    return onlyGoals.length === 0 || onlyGoals.includes(goal);
  }

  /** Announces how many steps are to come. */
  expect(steps: number): void {
    this.total = this.done + steps;
  }

  /**
   * Says what comes next. A message that stops the run gets through here, by throwing; so does the
   * loss of the device, after which every other cell would fail.
   */
  async say(suite: BenchProgress['suite'], note: string): Promise<void> {
    this.onProgress({ suite, note, done: this.done, total: this.total });
    await nextTask();
    this.signal?.throwIfAborted();
    if (this.copyMachine.engine.isLost) throw new Error('the device was lost');
  }

  /** Makes a cell of samples, keeps and announces it. */
  addCell(spec: CellSpec, sampled: Sampled): BenchCell {
    const cell = makeCell(spec, sampled, this.resampling);
    this.cells.push(cell);
    this.done += 1;
    this.total = Math.max(this.total, this.done);
    const { done, total } = this;
    this.onProgress({ suite: spec.suite, note: spec.id, done, total, cell });
    return cell;
  }

  omit(id: string, why: string): void {
    this.omitted.push({ id, why });
  }
}
