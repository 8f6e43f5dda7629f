/*
 * Runs a sweep, or the experiment behind it, away from the page. Cancelling is terminating: a run
 * answers nothing before it ends.
 */
import { EXPERIMENTS, runExperiment } from '../../src/index.ts';
import type { CostModel, ExperimentReport } from '../../src/index.ts';
import { runSweep } from './sweep.ts';
import type { SweepCell, SweepOptions } from './sweep.ts';

/** What the page asks for. */
export type SweepRequest =
  | { readonly kind: 'sweep'; readonly options: SweepOptions }
  | { readonly kind: 'experiment'; readonly name: string; readonly cost: CostModel };

/** What the worker says. */
export type SweepMessage =
  | { readonly kind: 'trace'; readonly accesses: number; readonly workgroups: number }
  | {
      readonly kind: 'cell';
      readonly cell: SweepCell;
      readonly done: number;
      readonly total: number;
    }
  | { readonly kind: 'step'; readonly fraction: number }
  | { readonly kind: 'done' }
  | { readonly kind: 'report'; readonly report: ExperimentReport }
  | { readonly kind: 'failed'; readonly message: string };

/** Steps come by the thousand; the bar needs ten a second. */
const STEP_MS = 100;

function say(message: SweepMessage): void {
  self.postMessage(message);
}

function sweep(options: SweepOptions): void {
  let said = performance.now();
  runSweep(options, {
    onTrace: ({ pages, workgroups }) => say({ kind: 'trace', accesses: pages.length, workgroups }),
    onCell: (cell, done, total) => say({ kind: 'cell', cell, done, total }),
    onStep: (fraction) => {
      if (performance.now() - said < STEP_MS) return;
      said = performance.now();
      say({ kind: 'step', fraction });
    },
  });
  say({ kind: 'done' });
}

self.addEventListener('message', ({ data }: MessageEvent<SweepRequest>) => {
  try {
    if (data.kind === 'sweep') return sweep(data.options);
    const experiment = EXPERIMENTS.find(({ name }) => name === data.name);
    if (experiment === undefined) throw new Error(`there is no experiment ${data.name}`);
    say({ kind: 'report', report: runExperiment(experiment, { cost: data.cost }) });
  } catch (error) {
    say({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
});
