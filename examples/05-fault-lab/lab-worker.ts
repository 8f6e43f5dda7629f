/*
 * One side of the lab. It has a thread of its own, as a policy may be the user's: one that never
 * returns stops this thread, which the page then ends.
 */
import { policyByName, userPolicy } from '../../src/index.ts';
import type { PolicyFactory } from '../../src/index.ts';
import { traceOf } from '../_shell/fault-work.ts';
import { failureOf, moduleUrl } from '../_shell/own-policy.ts';
import { LabRun } from './lab-run.ts';
import type { LabAnswer, LabPolicy, LabRequest, LabSetup } from './lab-setup.ts';

let run: LabRun | null = null;
/** The address of the user's module, for lines in its stacks. */
let url: string | null = null;

function say(answer: LabAnswer): void {
  self.postMessage(answer);
}

async function loadPolicy(policy: LabPolicy): Promise<PolicyFactory> {
  if (policy.kind === 'named') {
    return policyByName(policy.name, policy.evict === null ? {} : { evict: policy.evict });
  }
  url = moduleUrl(policy.code);
  return userPolicy(await import(/* @vite-ignore */ url), 'yours');
}

async function open({ work, policy, options }: LabSetup): Promise<void> {
  run = new LabRun(traceOf(work, options.seed), await loadPolicy(policy), options);
  say({ kind: 'state', state: run.state(), isReached: true });
}

async function answer(request: LabRequest): Promise<void> {
  if (request.kind === 'open') return open(request.setup);
  if (run === null) throw new Error('nothing is open');
  if (request.kind === 'files') return say({ kind: 'files', ...run.files() });
  let isReached = true;
  if (request.kind === 'inject') {
    run.inject(request.what);
  } else {
    const end = performance.now() + request.budgetMs;
    isReached = run.advance(request.goal, () => performance.now() >= end);
  }
  say({ kind: 'state', state: run.state(), isReached });
}

self.addEventListener('message', ({ data }: MessageEvent<LabRequest>) => {
  answer(data).catch((error: unknown) => {
    say({ kind: 'failed', failure: failureOf(error, url), state: run?.state() ?? null });
  });
});
