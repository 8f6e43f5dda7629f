/*
 * Runs a sweep, or the experiment behind it, away from the page. Cancelling is terminating: a run
 * answers nothing before it ends.
 */
import { EXPERIMENTS, runExperiment, userPolicy } from '../../src/index.ts';
import type { CostModel, ExperimentReport, PolicyFactory } from '../../src/index.ts';
import { failureOf, moduleUrl } from '../_shell/own-policy.ts';
import type { PolicyFailure } from '../_shell/own-policy.ts';
import { runSweep } from './sweep.ts';
import type { SweepCell, SweepListener, SweepOptions } from './sweep.ts';

/** What the page asks for. */
export type SweepRequest =
  /** `code` is the user's policy, where it is among the contenders. */
  | { readonly kind: 'sweep'; readonly options: SweepOptions; readonly code: string | null }
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
  /** The user's policy can't be loaded, or has failed in a run: the first of its failures. */
  | { readonly kind: 'wrong'; readonly failure: PolicyFailure }
  | { readonly kind: 'failed'; readonly message: string };

/** Steps come by the thousand; the bar needs ten a second. */
const STEP_MS = 100;

function say(message: SweepMessage): void {
  self.postMessage(message);
}

async function sweep(options: SweepOptions, code: string | null): Promise<void> {
  const url = code === null ? null : moduleUrl(code);
  let own: PolicyFactory | null = null;
  if (url !== null) {
    try {
      own = userPolicy(await import(/* @vite-ignore */ url), 'yours');
    } catch (error) {
      say({ kind: 'wrong', failure: failureOf(error, url) });
      return say({ kind: 'done' });
    }
  }
  let said = performance.now();
  let isWrong = false;
  const listener: SweepListener = {
    onTrace: ({ pages, workgroups }) => say({ kind: 'trace', accesses: pages.length, workgroups }),
    onCell: ({ error, ...cell }, done, total) => {
      say({ kind: 'cell', cell, done, total });
      if (isWrong || error === undefined || cell.contender !== 'yours') return;
      isWrong = true;
      say({ kind: 'wrong', failure: failureOf(error, url) });
    },
    onStep: (fraction) => {
      if (performance.now() - said < STEP_MS) return;
      said = performance.now();
      say({ kind: 'step', fraction });
    },
  };
  runSweep(options, listener, own);
  say({ kind: 'done' });
}

async function answer(data: SweepRequest): Promise<void> {
  try {
    if (data.kind === 'sweep') return await sweep(data.options, data.code);
    const experiment = EXPERIMENTS.find(({ name }) => name === data.name);
    if (experiment === undefined) throw new Error(`there is no experiment ${data.name}`);
    say({ kind: 'report', report: runExperiment(experiment, { cost: data.cost }) });
  } catch (error) {
    say({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}

self.addEventListener('message', ({ data }: MessageEvent<SweepRequest>) => void answer(data));
