/**
 * Turns samples into a cell of the report.
 */
import type { Sampled } from './sampler.ts';
import { coefficientOfVariation, medianEstimate, quantile } from './stats.ts';
import type { RandomSource } from './stats.ts';
import type { BenchCell } from './types.ts';

/** What a cell is, before it is measured. */
export interface CellSpec {
  readonly suite: BenchCell['suite'];
  readonly id: string;
  readonly params: BenchCell['params'];
  readonly unit: BenchCell['unit'];
  /** Bytes and pages that one operation moves; 0 for none. */
  readonly bytes: number;
  readonly pages: number;
  /** Nobody looks at the result. */
  readonly unchecked?: boolean;
  /** Microseconds on the device; null where nobody can tell. */
  readonly gpuUs?: number | null;
}

/** Nanoseconds of precision are noise; four significant digits after the point are not. */
function round(value: number): number {
  return Number.isFinite(value) ? Math.round(value * 1000) / 1000 : 0;
}

/** Rounds to six significant digits, for derived figures of any size. */
function significant(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(6)) : 0;
}

/**
 * The cell of some samples. Without a sample its figures are 0 and it is not verified.
 *
 * @param random For the bootstrap interval; drawn from once per resample.
 */
export function makeCell(spec: CellSpec, sampled: Sampled, random: RandomSource): BenchCell {
  const { samples } = sampled;
  const empty = samples.length === 0;
  const estimate = empty ? { value: 0, ci: [0, 0] as const } : medianEstimate(samples, random);
  const at = (q: number): number => (empty ? 0 : round(quantile(samples, q)));
  const failure = sampled.failure ?? (empty ? 'no sample was taken' : null);
  const unchecked = failure === null && spec.unchecked === true;
  const median = estimate.value;
  const us = spec.unit === 'us' ? median : 0;
  return {
    suite: spec.suite,
    id: spec.id,
    params: spec.params,
    samples: samples.map(round),
    unit: spec.unit,
    verified: failure === null && !unchecked,
    ...(failure === null ? {} : { failure }),
    ...(unchecked ? { unchecked } : {}),
    dropped: sampled.dropped,
    chained: sampled.chained,
    median: round(median),
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    min: at(0),
    max: at(1),
    ci: [round(estimate.ci[0]), round(estimate.ci[1])],
    cv: significant(coefficientOfVariation(samples)),
    bytes: spec.bytes,
    gbPerSecond: spec.bytes > 0 && us > 0 ? significant(spec.bytes / us / 1000) : null,
    usPerPage: usPerPage(spec, median),
    ...(typeof spec.gpuUs === 'number' ? { gpuUs: round(spec.gpuUs) } : {}),
    ...(sampled.phases === null ? {} : { phases: roundAll(sampled.phases) }),
    ...(sampled.counts === undefined ? {} : { counts: roundAll(sampled.counts) }),
  };
}

function usPerPage(spec: CellSpec, median: number): number | null {
  if (spec.unit === 'ns/page') return significant(median / 1000);
  return spec.pages > 0 ? significant(median / spec.pages) : null;
}

function roundAll(values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, round(value)]));
}
