/*
 * What a side of the lab runs, as it is sent to its worker, and what the worker answers.
 */
import type { EvictionName, ModelResult, PolicyName } from '../../src/index.ts';
import type { FaultWork } from '../_shell/fault-work.ts';
import type { PolicyFailure } from '../_shell/own-policy.ts';
import type { Goal, Injection, LabOptions, LabState } from './lab-run.ts';

/** A policy by name, or the text of a module that exports one. */
export type LabPolicy =
  | { readonly kind: 'named'; readonly name: PolicyName; readonly evict: EvictionName | null }
  | { readonly kind: 'own'; readonly code: string };

/** All that a side runs. */
export interface LabSetup {
  readonly work: FaultWork;
  readonly policy: LabPolicy;
  readonly options: LabOptions;
}

/** What the page asks of a worker; each question has one answer. */
export type LabRequest =
  | { readonly kind: 'open'; readonly setup: LabSetup }
  | { readonly kind: 'advance'; readonly goal: Goal; readonly budgetMs: number }
  | { readonly kind: 'inject'; readonly what: Injection }
  | { readonly kind: 'files' };

/** What a worker answers. */
export type LabAnswer =
  | { readonly kind: 'state'; readonly state: LabState; readonly isReached: boolean }
  | { readonly kind: 'files'; readonly result: ModelResult; readonly chrome: string }
  | { readonly kind: 'failed'; readonly failure: PolicyFailure; readonly state: LabState | null };
