/*
 * The simulator in a worker thread. It is bundled first, as every thread's entry is. A run that
 * failed leaves globals of mm in the middle of something, so whatever runs after one (shrinking)
 * runs in a fresh copy of this very module: the same file under an address with a query, which only
 * offers `runSim`.
 */
import { parentPort } from 'node:worker_threads';
import { makeConfig } from '../src/sim/config.ts';
import type { SimChoice } from '../src/sim/config.ts';
import { NTH_SITES, failEachNth } from '../src/sim/nth.ts';
import { OPERATIONS } from '../src/sim/ops/table.ts';
import { runSim } from '../src/sim/run.ts';
import type { SimOptions, SimResult } from '../src/sim/run.ts';
import { shrink } from '../src/sim/shrink.ts';
import type { SimScript } from '../src/sim/shrink.ts';

export { runSim } from '../src/sim/run.ts';

/** What the command asks for. */
export type SimRequest =
  | {
      readonly kind: 'seeds';
      readonly from: number;
      readonly count: number;
      readonly steps: number;
      readonly choice: SimChoice;
    }
  | { readonly kind: 'nth'; readonly seed: number; readonly steps: number }
  | { readonly kind: 'script'; readonly script: SimScript; readonly shrinkMs: number };

/** A failing run, small enough to be read. */
export interface SimFailure {
  readonly seed: number;
  readonly steps: number;
  readonly message: string;
  readonly stack: string;
  readonly script: SimScript;
  readonly log: readonly string[];
}

export type SimReply =
  | {
      readonly kind: 'seed';
      readonly seed: number;
      readonly steps: number;
      readonly hash: number;
      readonly tally: Readonly<Record<string, number>>;
    }
  | { readonly kind: 'nth'; readonly site: string; readonly failures: number }
  | { readonly kind: 'failure'; readonly failure: SimFailure }
  /** A script that was to fail did not. */
  | { readonly kind: 'passed' }
  | { readonly kind: 'done' };

let copies = 0;

/** Runs the simulator in a copy of this module that nothing has run in before. */
async function attempt(options: SimOptions): Promise<SimResult> {
  copies++;
  const url = `${import.meta.url}?copy=${copies}`;
  const copy = (await import(/* @vite-ignore */ url)) as { runSim: typeof runSim };
  return copy.runSim(options);
}

function reply(message: SimReply): void {
  parentPort?.postMessage(message);
}

function failureOf(script: SimScript, result: SimResult): SimFailure {
  const { failure, steps, log } = result;
  const { message, stack } = failure!;
  return { seed: script.config.seed, steps, message, stack: stack ?? '', script, log };
}

async function runSeeds(request: SimRequest & { kind: 'seeds' }): Promise<void> {
  const { from, count, steps, choice } = request;
  for (let seed = from; seed < from + count; seed++) {
    const config = makeConfig(seed, OPERATIONS, choice);
    const result = await runSim({ config, steps });
    if (result.failure !== null) {
      const script = { config, trace: result.trace };
      reply({ kind: 'failure', failure: failureOf(script, result) });
      return;
    }
    reply({ kind: 'seed', seed, steps: result.steps, hash: result.hash, tally: result.tally });
  }
}

async function runNth(request: SimRequest & { kind: 'nth' }): Promise<void> {
  for (const site of NTH_SITES) {
    const { failures, broken } = await failEachNth(site, request.seed, request.steps, runSim);
    if (broken !== null) {
      const config = makeConfig(request.seed, OPERATIONS);
      const failed = failureOf({ config, trace: broken.trace }, broken);
      const message = `with ${site} number ${failures} refused: ${failed.message}`;
      reply({ kind: 'failure', failure: { ...failed, message } });
      return;
    }
    reply({ kind: 'nth', site, failures });
  }
}

/** Shrinks a script that fails, for so long, and runs what is left once more with a log. */
async function runScript(request: SimRequest & { kind: 'script' }): Promise<void> {
  const end = performance.now() + request.shrinkMs;
  const script = await shrink(request.script, attempt, () => performance.now() > end);
  const result = await attempt({ ...script, steps: 0, isLogged: true });
  if (result.failure === null) reply({ kind: 'passed' });
  else reply({ kind: 'failure', failure: failureOf(script, result) });
}

async function serve(request: SimRequest): Promise<void> {
  if (request.kind === 'seeds') await runSeeds(request);
  else if (request.kind === 'nth') await runNth(request);
  else await runScript(request);
  reply({ kind: 'done' });
}

if (!import.meta.url.includes('?')) {
  parentPort?.on('message', (request: SimRequest) => void serve(request));
}
