/**
 * What an experiment of the reproduction menu is: one knob swept, a curve, and relations that hold
 * or don't. All run on the fault service that real runs use.
 */
import type { CostModel } from '../cost-model.ts';

/** Ways to break something on purpose; each makes a line fail that depends on it. */
export const BREAKS = {
  threshold: 'the density tree grows at its threshold, not above',
  prefetch: 'the tree-based neighbourhood fetches the faulted page alone',
  dedup: 'the dedup bit is not looked at',
  records: 'fault records cost nothing',
  fifo: 'FIFO for LRU',
  evictions: 'evictions cost nothing',
  setup: 'a managed allocation costs nothing to set up',
  detector: 'the thrashing detector is off',
  granularity: 'the granularity of a range is not looked at',
  remote: 'nothing is used remotely',
  flush: 'the ring is not flushed before a replay',
  commands: 'a copy command costs nothing',
} as const;
/** The name of one of them. */
export type BreakName = keyof typeof BREAKS;

/** What an experiment is given. */
export interface ExperimentContext {
  readonly cost: CostModel;
  /** What is broken on purpose, if anything. */
  readonly broken: BreakName | undefined;
}

/** A relation that a result has to satisfy. */
export interface Relation {
  readonly name: string;
  readonly value: number;
  /** Both ends belong to the range. */
  readonly low: number;
  readonly high: number;
}

/** A curve, for drawing. */
export interface Curve {
  readonly name: string;
  readonly x: string;
  readonly y: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** What came out of one. */
export interface ExperimentResult {
  readonly relations: readonly Relation[];
  readonly curves: readonly Curve[];
}

/** One published result, and how it is reproduced here. */
export interface Experiment {
  readonly number: number;
  readonly name: string;
  /** What it reproduces, in a line. */
  readonly title: string;
  readonly run: (context: ExperimentContext) => ExperimentResult;
}

/** @returns whether a relation holds; NaN never does */
export function holds({ value, low, high }: Relation): boolean {
  return value >= low && value <= high;
}

/** `value` is at least `low`. */
export function atLeast(name: string, value: number, low: number): Relation {
  return { name, value, low, high: Infinity };
}

/** `value` is at most `high`. */
export function atMost(name: string, value: number, high: number): Relation {
  return { name, value, low: -Infinity, high };
}

/** `value` is exactly so much. */
export function exactly(name: string, value: number, wanted: number): Relation {
  return { name, value, low: wanted, high: wanted };
}

/** A relation as text: "tbn/none 36.2 in [30,43]". */
export function relationText(relation: Relation): string {
  const { name, low, high } = relation;
  const value = short(relation.value);
  if (low === high) return `${name} ${value} = ${short(low)}`;
  if (high === Infinity) return `${name} ${value} >= ${short(low)}`;
  if (low === -Infinity) return `${name} ${value} <= ${short(high)}`;
  return `${name} ${value} in [${short(low)},${short(high)}]`;
}

function short(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
