/**
 * The reproduction menu: all experiments in order, and how one is reported.
 */
import { COST_MODEL } from '../cost-model.ts';
import { bands, batchLimit, replays } from './batches.ts';
import { holds, relationText } from './experiment.ts';
import type { Experiment, ExperimentContext, ExperimentResult } from './experiment.ts';
import { cliff, commands, granularity, remote, sizes } from './memory.ts';
import { stream, threshold } from './prefetchers.ts';
import { thrash } from './thrash.ts';

/** All experiments, by number. */
export const EXPERIMENTS: readonly Experiment[] = [
  stream,
  threshold,
  batchLimit,
  cliff,
  bands,
  sizes,
  thrash,
  granularity,
  remote,
  replays,
  commands,
];

/** An experiment's outcome, as it is printed and exported. */
export interface ExperimentReport extends ExperimentResult {
  readonly number: number;
  readonly name: string;
  readonly title: string;
  readonly passes: boolean;
  /** "PASS 1 stream tbn/none 36.2 in [30,43]; ..." */
  readonly line: string;
}

/**
 * Runs one experiment.
 *
 * Context: pure and synchronous; up to a few seconds.
 */
export function runExperiment(
  experiment: Experiment,
  context: Partial<ExperimentContext> = {},
): ExperimentReport {
  const { number, name, title } = experiment;
  const result = experiment.run({ cost: COST_MODEL, broken: undefined, ...context });
  const passes = result.relations.every(holds);
  // What fails comes first, so that it is seen.
  const sorted = result.relations.toSorted((a, b) => Number(holds(a)) - Number(holds(b)));
  const text = sorted.map(relationText).join('; ');
  return {
    ...result,
    number,
    name,
    title,
    passes,
    line: `${passes ? 'PASS' : 'FAIL'} ${number} ${name} ${text}`,
  };
}
