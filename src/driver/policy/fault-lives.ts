/**
 * The life of each fault: when it was raised, fetched, preprocessed, allocated for, made room for,
 * copied, mapped and replayed, in a ring that keeps the latest.
 */

/** Stages of a life, in order. Times of stages that a fault did not need repeat the one before. */
export const STAGES = [
  'raised',
  'fetched',
  'preprocessed',
  'allocated',
  'evicted',
  'copied',
  'mapped',
  'replayed',
] as const;
/** A stage's name. */
export type Stage = (typeof STAGES)[number];

const STAGE_COUNT = STAGES.length;

/** How a fault ended. */
export const OUTCOMES = ['moved', 'remote', 'throttled', 'stale', 'cancelled'] as const;
/** An ending's name. */
export type Outcome = (typeof OUTCOMES)[number];

/** One fault's life, read out of the ring. Times are µs of the virtual clock. */
export interface FaultLife {
  readonly page: number;
  readonly access: number;
  readonly context: number;
  readonly workgroup: number;
  readonly batch: number;
  readonly outcome: Outcome;
  readonly times: readonly number[];
}

/** A ring of lives. */
export class FaultLives {
  readonly capacity: number;
  /** Lives begun since the beginning. */
  begun = 0;
  private readonly page: Int32Array;
  private readonly access: Uint8Array;
  private readonly context: Uint16Array;
  private readonly workgroup: Int32Array;
  private readonly batch: Int32Array;
  private readonly outcome: Uint8Array;
  private readonly times: Float64Array;

  /** @param capacity lives that are kept, at least 1 */
  constructor(capacity = 65_536) {
    this.capacity = capacity;
    this.page = new Int32Array(capacity);
    this.access = new Uint8Array(capacity);
    this.context = new Uint16Array(capacity);
    this.workgroup = new Int32Array(capacity);
    this.batch = new Int32Array(capacity);
    this.outcome = new Uint8Array(capacity);
    this.times = new Float64Array(capacity * STAGE_COUNT);
  }

  /** Begins a life. @returns its number, for mark() */
  begin(
    page: number,
    access: number,
    context: number,
    workgroup: number,
    batch: number,
    raisedUs: number,
  ): number {
    const life = this.begun++;
    const at = life % this.capacity;
    this.page[at] = page;
    this.access[at] = access;
    this.context[at] = context;
    this.workgroup[at] = workgroup;
    this.batch[at] = batch;
    this.outcome[at] = 0;
    this.times.fill(raisedUs, at * STAGE_COUNT, (at + 1) * STAGE_COUNT);
    return life;
  }

  /** Notes when a stage was reached; later stages are at least as late. */
  mark(life: number, stage: Stage, nowUs: number): void {
    if (life <= this.begun - 1 - this.capacity) return;
    const at = (life % this.capacity) * STAGE_COUNT;
    this.times.fill(nowUs, at + STAGES.indexOf(stage), at + STAGE_COUNT);
  }

  /** Says how a fault's life ended. */
  end(life: number, outcome: Outcome): void {
    if (life > this.begun - 1 - this.capacity) {
      this.outcome[life % this.capacity] = OUTCOMES.indexOf(outcome);
    }
  }

  /** The lives that are kept, oldest first. */
  all(): Generator<FaultLife> {
    return this.since(0);
  }

  /** Those of them whose numbers are at least `first`. */
  *since(first: number): Generator<FaultLife> {
    const oldest = Math.max(0, first, this.begun - this.capacity);
    for (let life = oldest; life < this.begun; life++) {
      const at = life % this.capacity;
      yield {
        page: this.page[at]!,
        access: this.access[at]!,
        context: this.context[at]!,
        workgroup: this.workgroup[at]!,
        batch: this.batch[at]!,
        outcome: OUTCOMES[this.outcome[at]!]!,
        times: [...this.times.subarray(at * STAGE_COUNT, (at + 1) * STAGE_COUNT)],
      };
    }
  }
}
