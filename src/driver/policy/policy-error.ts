/** What policies do wrong, with the policy and the call named. */
import { PolicyError } from './policy.ts';
import type { FaultPolicy } from './policy.ts';

/** @returns the error itself where it is a PolicyError, else one with it as its cause */
export function asPolicyError(error: unknown, policy: FaultPolicy, call: string): PolicyError {
  if (error instanceof PolicyError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new PolicyError(policy.name, call, `throws: ${message}`, error);
}

/**
 * A policy answers at once: an asynchronous one would answer when its faults are long over.
 *
 * @throws PolicyError where `answered` is a promise, whose own failure is heard and dropped
 */
export function refusePromise(answered: unknown, policy: FaultPolicy): void {
  if (!(answered instanceof Promise)) return;
  answered.catch(() => undefined);
  throw new PolicyError(
    policy.name,
    'onFaults',
    'answers with a promise; it has to answer at once',
  );
}
