/**
 * A run as a Chrome trace, which Perfetto opens: each fault's life as nested slices, the batches on
 * a track of their own, device memory in use as a counter. Times are µs of the virtual clock.
 */
import { STAGES } from './fault-lives.ts';
import type { FaultLife } from './fault-lives.ts';
import type { ModelResult } from './model-run.ts';

/** An event of the trace event format. */
export interface TraceEvent {
  readonly name: string;
  /** b, e: begin and end of an asynchronous slice; X: a slice; C: a counter; M: a name. */
  readonly ph: 'b' | 'e' | 'X' | 'C' | 'M';
  readonly ts: number;
  readonly pid: number;
  readonly tid: number;
  readonly cat?: string;
  readonly id?: number;
  readonly dur?: number;
  readonly args?: Readonly<Record<string, number | string>>;
}

/** The whole file. */
export interface ChromeTrace {
  readonly traceEvents: readonly TraceEvent[];
  readonly displayTimeUnit: 'ms';
  readonly otherData: Readonly<Record<string, unknown>>;
}

/** What a trace is made of: a run of the model, or a kernel's launch. */
export type TracedRun = Pick<
  ModelResult,
  | 'trace'
  | 'policy'
  | 'constants'
  | 'traits'
  | 'cost'
  | 'devicePages'
  | 'window'
  | 'us'
  | 'counts'
  | 'times'
  | 'batchesDropped'
  | 'batchStartUs'
  | 'batchUs'
  | 'batchEvictions'
  | 'residency'
>;

/** Lives of a run's faults: the ring that they were noted in, or what somebody read out of one. */
export interface KeptLives {
  /** Lives begun, and the most that are kept. */
  readonly begun: number;
  readonly capacity: number;
  /** The faults that are kept, oldest first. */
  all(): Iterable<FaultLife>;
}

const PID = 1;
const BATCH_TRACK = 1;
const FAULT_TRACK = 2;
const LETTERS = 'PRWASC';

/**
 * @param lives what the run was given to note its faults in
 * @returns plain data, to be written with JSON.stringify
 */
export function chromeTrace(result: TracedRun, lives: KeptLives): ChromeTrace {
  const events: TraceEvent[] = [
    nameEvent('process_name', 0, `${result.trace} under ${result.policy}`),
    nameEvent('thread_name', BATCH_TRACK, 'batches'),
    nameEvent('thread_name', FAULT_TRACK, 'faults'),
  ];
  result.batchUs.forEach((dur, i) => {
    const args = { evictions: result.batchEvictions[i]! };
    const ts = result.batchStartUs[i]!;
    const name = `batch ${result.batchesDropped + i}`;
    events.push({ name, ph: 'X', ts, dur, pid: PID, tid: BATCH_TRACK, args });
  });
  addLives(events, lives);
  for (const { us, pages } of result.residency) {
    const args = { pages };
    events.push({ name: 'device memory', ph: 'C', ts: us, pid: PID, tid: 0, args });
  }
  const { policy, constants, traits, cost, counts, times, us, window, devicePages } = result;
  const otherData = {
    policy,
    constants,
    traits,
    cost,
    counts,
    times,
    us,
    window,
    devicePages,
    faultsKept: Math.min(lives.begun, lives.capacity),
    faultsSeen: lives.begun,
  };
  return { traceEvents: events, displayTimeUnit: 'ms', otherData };
}

function nameEvent(name: string, tid: number, value: string): TraceEvent {
  return { name, ph: 'M', ts: 0, pid: PID, tid, args: { name: value } };
}

function addLives(events: TraceEvent[], lives: KeptLives): void {
  let id = 0;
  for (const { page, access, workgroup, context, batch, outcome, times } of lives.all()) {
    id++;
    const base = { cat: 'fault', id, pid: PID, tid: FAULT_TRACK } as const;
    const name = `page ${page} ${LETTERS[access]}`;
    // Stages that take no time are no slices, but the fault has them all.
    const stages = Object.fromEntries(STAGES.map((stage, at) => [`${stage}Us`, times[at]!]));
    const args = { page, workgroup, context, batch, outcome, ...stages };
    events.push({ ...base, name, ph: 'b', ts: times[0]!, args });
    for (let stage = 1; stage < STAGES.length; stage++) {
      if (times[stage]! <= times[stage - 1]!) continue;
      events.push({ ...base, name: STAGES[stage]!, ph: 'b', ts: times[stage - 1]! });
      events.push({ ...base, name: STAGES[stage]!, ph: 'e', ts: times[stage]! });
    }
    events.push({ ...base, name, ph: 'e', ts: times.at(-1)! });
  }
}
