/*
 * The page's end of one side: its worker, one question at a time, and what became of it. A worker
 * that does not answer in time is ended; the page and the other side go on.
 */
import { lineOfSyntax } from '../_shell/own-policy.ts';
import type { PolicyFailure } from '../_shell/own-policy.ts';
import type { Goal, Injection, LabState } from './lab-run.ts';
import type { LabAnswer, LabRequest, LabSetup } from './lab-setup.ts';
import type { ModelResult } from '../../src/index.ts';

/** How long a worker may take for an answer. A pass takes milliseconds, a large trace a second. */
const PATIENCE_MS = 8000;

/** What a side's files are made of. */
export interface SideFiles {
  readonly result: ModelResult;
  readonly chrome: string;
}

export class LabSide {
  state: LabState | null = null;
  failure: PolicyFailure | null = null;
  private worker: Worker | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  private readonly patienceMs: number;

  constructor(patienceMs: number = PATIENCE_MS) {
    this.patienceMs = patienceMs;
  }

  /** Whether there is something left to be run. */
  get canGoOn(): boolean {
    return this.worker !== null && this.failure === null && this.state?.isDone === false;
  }

  /** Begins anew with a worker of its own. */
  async open(setup: LabSetup): Promise<void> {
    this.close();
    [this.state, this.failure] = [null, null];
    this.worker = new Worker(new URL('./lab-worker.ts', import.meta.url), { type: 'module' });
    await this.ask({ kind: 'open', setup });
    const { failure } = this as { failure: PolicyFailure | null };
    if (failure?.isSyntax === true && setup.policy.kind === 'own') {
      this.failure = { ...failure, line: await lineOfSyntax(setup.policy.code) };
    }
  }

  /** Goes on towards a goal for at most that long. @returns whether it was reached, or can't be */
  async advance(goal: Goal, budgetMs: number): Promise<boolean> {
    if (!this.canGoOn) return true;
    const answer = await this.ask({ kind: 'advance', goal, budgetMs });
    return answer?.kind !== 'state' || answer.isReached;
  }

  /** Puts a failure in the run's way. */
  async inject(what: Injection): Promise<void> {
    if (this.canGoOn) await this.ask({ kind: 'inject', what });
  }

  /** Result and trace; null where there is no run any more. */
  async files(): Promise<SideFiles | null> {
    const answer = this.worker === null ? null : await this.ask({ kind: 'files' });
    return answer?.kind === 'files' ? answer : null;
  }

  /** Ends the worker. */
  close(): void {
    this.worker?.terminate();
    this.worker = null;
  }

  /** One question after the other: a failure may be injected while a run goes on. */
  private ask(request: LabRequest): Promise<LabAnswer | null> {
    const answer = this.turn.then(() => this.askNow(request));
    this.turn = answer;
    return answer;
  }

  private async askNow(request: LabRequest): Promise<LabAnswer | null> {
    const { worker } = this;
    if (worker === null) return null;
    const answer = await this.hear(worker, request);
    if (answer.kind === 'state') this.state = answer.state;
    if (answer.kind === 'failed') {
      this.failure = answer.failure;
      this.state = answer.state ?? this.state;
    }
    return answer;
  }

  private hear(worker: Worker, request: LabRequest): Promise<LabAnswer> {
    return new Promise((resolve) => {
      const fail = (message: string): void => {
        this.close();
        resolve({
          kind: 'failed',
          failure: { message, line: null, isSyntax: false },
          state: null,
        });
      };
      const timer = setTimeout(() => {
        fail(
          `no answer for ${this.patienceMs / 1000} s: a policy that never returns? It was ended`,
        );
      }, this.patienceMs);
      worker.onmessage = ({ data }: MessageEvent<LabAnswer>) => {
        clearTimeout(timer);
        resolve(data);
      };
      worker.onerror = (event) => {
        clearTimeout(timer);
        fail(event.message || 'the worker could not start');
      };
      worker.postMessage(request);
    });
  }
}
