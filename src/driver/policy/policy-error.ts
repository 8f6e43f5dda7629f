/** Names the policy and the call in what a policy throws. */
import { PolicyError } from './policy.ts';
import type { FaultPolicy } from './policy.ts';

/** @returns the error itself where it is a PolicyError, else one with it as its cause */
export function asPolicyError(error: unknown, policy: FaultPolicy, call: string): PolicyError {
  if (error instanceof PolicyError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new PolicyError(policy.name, call, `throws: ${message}`, error);
}
