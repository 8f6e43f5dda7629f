/*
 * What a side of the lab runs, as it is sent to its worker, and what the worker answers.
 */
import { PolicyError } from '../../src/index.ts';
import type { EvictionName, ModelResult, PolicyName } from '../../src/index.ts';
import type { FaultWork } from '../_shell/fault-work.ts';
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

/** What ended a run. */
export interface LabFailure {
  readonly message: string;
  /** In the user's module, from 1; null where that is not known. */
  readonly line: number | null;
  /** The user's module can't be loaded: the page looks for the line. */
  readonly isSyntax: boolean;
}

/** What a worker answers. */
export type LabAnswer =
  | { readonly kind: 'state'; readonly state: LabState; readonly isReached: boolean }
  | { readonly kind: 'files'; readonly result: ModelResult; readonly chrome: string }
  | { readonly kind: 'failed'; readonly failure: LabFailure; readonly state: LabState | null };

/**
 * What to say of something that was thrown.
 *
 * @param url the address of the user's module; lines of it are looked for in the stack
 */
export function failureOf(error: unknown, url: string | null): LabFailure {
  const isPolicy = error instanceof PolicyError;
  const cause = isPolicy && error.cause !== undefined ? error.cause : error;
  const message = error instanceof Error ? error.message : String(error);
  const stack = cause instanceof Error ? (cause.stack ?? '') : '';
  return {
    message,
    line: url === null ? null : lineIn(stack, url),
    isSyntax: !isPolicy && cause instanceof SyntaxError,
  };
}

/** The first line of a stack that is in the module at `url`. */
export function lineIn(stack: string, url: string): number | null {
  const at = stack.indexOf(`${url}:`);
  if (at < 0) return null;
  const line = Number.parseInt(stack.slice(at + url.length + 1), 10);
  return Number.isNaN(line) ? null : line;
}
