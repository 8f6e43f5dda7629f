/**
 * Takes samples: time-boxed for a cell of its own, interleaved for comparisons. Warm-up is run
 * and dropped; the last sample is known to be the last before it runs, so that its content can be
 * prepared to be verified; preparing and verifying are outside the timed window.
 */
import { ErrnoError, SignalError } from '../src/index.ts';
import { TICKS_PER_SAMPLE, chainLength, nowUs } from './clock.ts';
import { median } from './stats.ts';

const COUNTS = ['lists', 'submissions', 'copyCommands', 'dispatches', 'maps'] as const;

/** What an engine counts besides times. */
export type EngineCounts = Readonly<Partial<Record<(typeof COUNTS)[number], number>>>;

/** Running totals of an engine in milliseconds, as far as phases need them. */
export interface PhaseTotals extends EngineCounts {
  encodeMs: number;
  submitMs: number;
  hostCopyMs: number;
  waitMs: number;
}

/** Something that is timed. */
export interface Operation {
  /** Makes ready for the next sample; not timed. `last` = its result will be verified. */
  prepare?(last: boolean): void | Promise<void>;
  /** Does it once. A number other than 0 is an errno and fails the cell. */
  run(): number | Promise<number>;
  /** Looks at the result of the last sample. Null when all of it is right, else what is wrong. */
  verify?(): string | null | Promise<string | null>;
  /** Where the operation's engine counts its time, for a split by phase. */
  readonly totals?: PhaseTotals;
  /** What is read before and after instead of the wall clock, in microseconds. */
  readonly clock?: () => number;
}

/** How long to sample. */
export interface SampleBox {
  readonly minSamples: number;
  readonly maxSamples: number;
  /** Milliseconds after which no sample beyond the minimum is begun, preparation included. */
  readonly budgetMs: number;
  readonly warmups: number;
}

/** What came out. */
export interface Sampled {
  /** Microseconds of one operation each. */
  readonly samples: number[];
  readonly dropped: number;
  readonly chained: number;
  /** Why the samples are not to be believed; null when they are. */
  failure: string | null;
  /** Median microseconds of one operation by phase; null without totals. */
  readonly phases: Record<string, number> | null;
  /** What the engine did for one operation on average; absent without totals. */
  readonly counts?: Record<string, number>;
}

/** An operation that failed; the message says how. */
export class OperationFailure extends Error {
  override readonly name = 'OperationFailure';
}

/**
 * What went wrong in words, for errors that fail a cell: our own, a system call's errno, a
 * signal. Any other error is a bug and is thrown again.
 */
export function failureText(error: unknown): string {
  if (error instanceof OperationFailure) return error.message;
  if (error instanceof ErrnoError || error instanceof SignalError) return error.message;
  throw error;
}

/** What readings of a clock of 5 us make of parts that come to the whole. */
const CLOCK_NOISE_US = 10;
const PHASES = ['encode', 'submit', 'hostCopy', 'wait', 'other'] as const;

/** Notes by how much the engine's totals and counts grew in each timed window. */
class PhaseMeter {
  private readonly totals: PhaseTotals | undefined;
  private readonly start: PhaseTotals = { encodeMs: 0, submitMs: 0, hostCopyMs: 0, waitMs: 0 };
  private readonly taken: Record<(typeof PHASES)[number], number[]> = {
    encode: [],
    submit: [],
    hostCopy: [],
    wait: [],
    other: [],
  };
  private readonly counted = COUNTS.map(() => ({ start: 0, sum: 0 }));
  private operations = 0;

  constructor(totals: PhaseTotals | undefined) {
    this.totals = totals;
  }

  begin(): void {
    const { totals, start } = this;
    if (totals === undefined) return;
    start.encodeMs = totals.encodeMs;
    start.submitMs = totals.submitMs;
    start.hostCopyMs = totals.hostCopyMs;
    start.waitMs = totals.waitMs;
    COUNTS.forEach((name, at) => {
      this.counted[at]!.start = totals[name] ?? 0;
    });
  }

  /** @param spentUs Microseconds of the window. @param operations How many ran in it. */
  end(spentUs: number, operations: number): void {
    const { totals, start, taken } = this;
    if (totals === undefined) return;
    this.operations += operations;
    COUNTS.forEach((name, at) => {
      const count = this.counted[at]!;
      count.sum += (totals[name] ?? 0) - count.start;
    });
    const grown = (ms: number, before: number): number => ((ms - before) * 1000) / operations;
    const encode = grown(totals.encodeMs, start.encodeMs);
    const submit = grown(totals.submitMs, start.submitMs);
    const hostCopy = grown(totals.hostCopyMs, start.hostCopyMs);
    const wait = grown(totals.waitMs, start.waitMs);
    taken.encode.push(encode);
    taken.submit.push(submit);
    taken.hostCopy.push(hostCopy);
    taken.wait.push(wait);
    taken.other.push(spentUs / operations - encode - submit - hostCopy - wait);
  }

  /**
   * Median microseconds of an operation; `other` is what the engine does not account for, absent
   * where its parts come to more than the whole: then some went on at the same time.
   */
  result(): Record<string, number> | null {
    const { taken } = this;
    if (taken.other.length === 0) return null;
    const medians = PHASES.map((phase): [string, number] => [phase, median(taken[phase])]);
    const told = medians.filter(([phase, us]) => phase !== 'other' || us > -CLOCK_NOISE_US);
    return Object.fromEntries(told.map(([phase, us]) => [phase, Math.max(0, us)]));
  }

  /** What was counted for one operation; nothing where nobody counts. */
  counts(): { counts?: Record<string, number> } {
    const { totals, operations } = this;
    if (totals?.lists === undefined || operations === 0) return {};
    const entries = COUNTS.map((name, at) => [name, this.counted[at]!.sum / operations]);
    return { counts: Object.fromEntries(entries) as Record<string, number> };
  }
}

const MAX_LENGTH_RUNS = 4096;

/**
 * Microseconds of one operation, of as many together as make a sample; the first run, of cold code,
 * only counts where the clock does not matter.
 */
async function lengthOf(
  operation: Operation,
  tickUs: number,
): Promise<{ readonly us: number; readonly runs: number }> {
  let runs = 0;
  if (tickUs > 0) {
    await runChecked(operation);
    runs = 1;
  }
  for (let count = 1; ; count *= 2) {
    const start = nowUs();
    for (let i = 0; i < count; i++) await runChecked(operation);
    const spent = nowUs() - start;
    runs += count;
    const isLong = spent >= TICKS_PER_SAMPLE * tickUs;
    if (isLong || count >= MAX_LENGTH_RUNS) return { us: spent / count, runs };
  }
}

async function runChecked(operation: Operation): Promise<void> {
  const result = operation.run();
  const status = typeof result === 'number' ? result : await result;
  if (status !== 0) throw new OperationFailure(`the operation answered errno ${status}`);
}

/**
 * Gives the index of the operation to run in each turn; each index occurs equally often.
 *
 * @param roundMs How long a round over all operations took during warm-up, for time boxes.
 */
export type Order = (roundMs: number) => readonly number[];

/** One sample: microseconds of one operation out of `chained`. */
async function timeOnce(
  operation: Operation,
  chained: number,
  meter: PhaseMeter,
  last: boolean,
): Promise<number> {
  const clock = operation.clock ?? nowUs;
  await operation.prepare?.(last);
  meter.begin();
  const start = clock();
  for (let i = 0; i < chained; i++) {
    const result = operation.run();
    const status = typeof result === 'number' ? result : await result;
    if (status !== 0) throw new OperationFailure(`the operation answered errno ${status}`);
  }
  const spent = clock() - start;
  meter.end(spent, chained);
  return spent / chained;
}

/**
 * Samples one operation for as long as its box allows.
 *
 * @param tickUs Granularity of the clock. @param signal Stops between two samples, by throwing.
 * @returns the samples; a failed operation or verification is in `failure`, not thrown.
 */
export async function sampleOperation(
  operation: Operation,
  box: SampleBox,
  tickUs: number,
  signal?: AbortSignal,
): Promise<Sampled> {
  const begun = nowUs();
  const samples: number[] = [];
  const meter = new PhaseMeter(operation.totals);
  let chained = 1;
  let dropped = 0;
  let failure: string | null = null;
  try {
    let operationUs = 0;
    for (let i = 0; i < box.warmups; i++) {
      await operation.prepare?.(false);
      const length = await lengthOf(operation, i === box.warmups - 1 ? tickUs : 0);
      operationUs = length.us;
      dropped += length.runs;
    }
    chained = chainLength(operationUs, tickUs);
    for (let last = false; !last;) {
      signal?.throwIfAborted();
      last = isLast(samples.length, box, (nowUs() - begun) / 1000);
      samples.push(await timeOnce(operation, chained, meter, last));
    }
    failure = (await operation.verify?.()) ?? null;
  } catch (error) {
    failure = failureText(error);
  }
  const { counts } = meter.counts();
  const taken = { samples, dropped, chained, failure, phases: meter.result() };
  return counts === undefined ? taken : { ...taken, counts };
}

/** Samples of so many operations chained, whatever they take; for operations far below a tick. */
export async function sampleChained(
  operation: Operation,
  chained: number,
  count: number,
): Promise<Sampled> {
  const meter = new PhaseMeter(undefined);
  const samples: number[] = [];
  await timeOnce(operation, chained, meter, false);
  for (let i = 0; i < count; i++) samples.push(await timeOnce(operation, chained, meter, false));
  return { samples, dropped: 1, chained, failure: null, phases: null };
}

/** Whether the sample after `taken` ones is the last: at most the maximum, at least the minimum. */
function isLast(taken: number, box: SampleBox, elapsedMs: number): boolean {
  const next = taken + 1;
  if (next >= box.maxSamples) return true;
  if (next < box.minSamples) return false;
  // Another one after this has to fit too, at the pace so far.
  const pace = elapsedMs / Math.max(1, taken + box.warmups);
  return elapsedMs + 2 * pace > box.budgetMs;
}

/**
 * Samples several operations in a given order, so that what the machine does meanwhile falls on
 * all of them alike.
 *
 * @param order Which operation runs when. @param warmups Rounds over all of them, dropped.
 */
export async function interleave(
  operations: readonly Operation[],
  order: Order,
  warmups: number,
  signal?: AbortSignal,
): Promise<Sampled[]> {
  const meters = operations.map((operation) => new PhaseMeter(operation.totals));
  const taken: number[][] = operations.map(() => []);
  const failures: (string | null)[] = operations.map(() => null);
  let begun = nowUs();
  for (let round = 0; round < warmups; round++) {
    // The first round is of cold code and memory: it says nothing about the others.
    begun = nowUs();
    for (const [which, operation] of operations.entries()) {
      failures[which] ??= await attempt(async () => {
        await operation.prepare?.(false);
        await runChecked(operation);
        return null;
      });
    }
  }
  const turns = order((nowUs() - begun) / 1000);
  const left = operations.map((_, which) => turns.filter((other) => other === which).length);
  for (const which of turns) {
    signal?.throwIfAborted();
    left[which]! -= 1;
    if (failures[which] !== null) continue;
    const operation = operations[which]!;
    const last = left[which] === 0;
    failures[which] = await attempt(async () => {
      taken[which]!.push(await timeOnce(operation, 1, meters[which]!, last));
      return last ? ((await operation.verify?.()) ?? null) : null;
    });
  }
  return operations.map((_, which) => ({
    samples: taken[which]!,
    dropped: warmups,
    chained: 1,
    failure: failures[which]!,
    phases: meters[which]!.result(),
    ...meters[which]!.counts(),
  }));
}

async function attempt(task: () => Promise<string | null>): Promise<string | null> {
  try {
    return await task();
  } catch (error) {
    return failureText(error);
  }
}
