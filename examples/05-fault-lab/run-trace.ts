/*
 * A real run as a Chrome trace, which Perfetto opens: what its fault service noted of each fault,
 * in virtual time, and its passes with what they raised, by the clock.
 */
import { launchTrace, PAGE_SIZE } from '../../src/index.ts';
import type { ChromeTrace, KernelReport, TraceEvent } from '../../src/index.ts';
import type { FaultNote, LaunchNotes, PassNote } from './kernel-run.ts';

/** A run that is over, without its memory. */
export interface TracedLaunch {
  /** "stencil under uvm". */
  readonly name: string;
  readonly report: Pick<KernelReport, 'service' | 'origin' | 'outcome'>;
  readonly notes: LaunchNotes;
  readonly window: number;
}

/** The service's process has number 1. */
const PID = 2;
const PASS_TRACK = 1;
const FAULT_TRACK = 2;
const LETTERS = { read: 'R', write: 'W', atomic: 'A', prefetch: 'P', prefetch_write: 'P' } as const;

/** @returns plain data, to be written with JSON.stringify */
export function runTrace({ name, report, notes, window }: TracedLaunch): ChromeTrace {
  const { service, origin, outcome } = report;
  const byClock = clockEvents(name, origin, notes);
  if (service === null) {
    const otherData = { window, outcome, policy: 'page by page' };
    return { traceEvents: byClock, displayTimeUnit: 'ms', otherData };
  }
  const trace = launchTrace(service, `${name}, virtual time`, window);
  const otherData = { ...trace.otherData, outcome };
  return { ...trace, traceEvents: [...trace.traceEvents, ...byClock], otherData };
}

/** Times are µs from the first pass on. */
function clockEvents(name: string, origin: number, { passes, faults }: LaunchNotes): TraceEvent[] {
  const byNumber = new Map(passes.map((pass) => [pass.pass, pass]));
  const from = passes[0]?.timeMs ?? 0;
  return [
    named('process_name', 0, `${name}, by the clock`),
    named('thread_name', PASS_TRACK, 'passes'),
    named('thread_name', FAULT_TRACK, 'faults'),
    ...passes.flatMap((pass) => [passEvent(pass, from), memoryEvent(pass, from)]),
    ...faults.flatMap((fault, i) => {
      const raised = byNumber.get(fault.pass);
      return raised === undefined
        ? []
        : faultEvents(fault, i + 1, raised, byNumber.get(fault.pass + 1), origin, from);
    }),
  ];
}

function named(name: string, tid: number, value: string): TraceEvent {
  return { name, ph: 'M', ts: 0, pid: PID, tid, args: { name: value } };
}

function passEvent(
  { pass, timeMs, durationMs, faults, finished, replayed }: PassNote,
  from: number,
): TraceEvent {
  const args = { faults, finished, replayed };
  const place = { ts: (timeMs - from) * 1000, dur: durationMs * 1000, pid: PID, tid: PASS_TRACK };
  return { name: `pass ${pass}`, ph: 'X', ...place, args };
}

/** What of the device's memory is in use behind a pass. */
function memoryEvent(
  { timeMs, durationMs, pagesInUse: pages }: PassNote,
  from: number,
): TraceEvent {
  const ts = (timeMs - from + durationMs) * 1000;
  return { name: 'device memory', ph: 'C', ts, pid: PID, tid: 0, args: { pages } };
}

/** From the end of the pass that raised it to the end of the next, where it is tried again. */
function faultEvents(
  { address, access, workgroup, pass }: FaultNote,
  id: number,
  raised: PassNote,
  next: PassNote | undefined,
  origin: number,
  from: number,
): TraceEvent[] {
  const page = Math.floor((address - origin) / PAGE_SIZE);
  const name = `page ${page} ${LETTERS[access]}`;
  const base = { cat: 'pass', id, pid: PID, tid: FAULT_TRACK } as const;
  const begins = (raised.timeMs - from + raised.durationMs) * 1000;
  const args = { page, workgroup, pass };
  const begin: TraceEvent = { ...base, name, ph: 'b', ts: begins, args };
  // Nobody tries those again that the last pass raised.
  if (next === undefined) return [begin, { ...base, name, ph: 'e', ts: begins }];
  const served = Math.max(begins, (next.timeMs - from) * 1000);
  const ends = Math.max(served, (next.timeMs - from + next.durationMs) * 1000);
  return [
    begin,
    { ...base, name: 'served', ph: 'b', ts: begins },
    { ...base, name: 'served', ph: 'e', ts: served },
    { ...base, name: 'replayed', ph: 'b', ts: served },
    { ...base, name: 'replayed', ph: 'e', ts: ends },
    { ...base, name, ph: 'e', ts: ends },
  ];
}
