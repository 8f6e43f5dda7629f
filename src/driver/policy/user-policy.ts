/**
 * A user's policy: a module that exports `policy`, either an object with the interface of
 * FaultPolicy or a function that makes one for a run. It is checked before the run; what it throws
 * or answers wrongly later ends its run alone.
 */
import { PolicyError } from './policy.ts';
import type { FaultPolicy, PolicyFactory, PolicySetup } from './policy.ts';
import { asPolicyError } from './policy-error.ts';

const METHODS = ['onFaults', 'chooseVictims'] as const;
const OPTIONAL = ['arrived', 'left', 'touched', 'remoteLimit', 'onCpuFault'] as const;

/**
 * Makes a policy out of what a module exports.
 *
 * @param module the module's exports: `policy`, or `default`
 * @param name what to call it where it has no name
 * @throws PolicyError that says what is missing
 */
export function userPolicy(module: unknown, name: string): PolicyFactory {
  const exports = (module ?? {}) as Readonly<Record<string, unknown>>;
  const given = exports['policy'] ?? exports['default'];
  if (typeof given !== 'function' && (typeof given !== 'object' || given === null)) {
    throw new PolicyError(
      name,
      'module',
      'exports no `policy`: an object, or a function that makes one',
    );
  }
  return (setup) => checked(make(given, setup, name), name);
}

function make(given: unknown, setup: PolicySetup, name: string): unknown {
  if (typeof given !== 'function') return given;
  try {
    return (given as (setup: PolicySetup) => unknown)(setup);
  } catch (error) {
    throw asPolicyError(error, { name } as FaultPolicy, 'policy()');
  }
}

function checked(given: unknown, name: string): FaultPolicy {
  if (typeof given !== 'object' || given === null) {
    throw new PolicyError(name, 'policy()', `makes ${String(given)}, not an object`);
  }
  const policy = given as Record<string, unknown>;
  for (const method of METHODS) {
    if (typeof policy[method] !== 'function') {
      throw new PolicyError(name, 'module', `has no method ${method}`);
    }
  }
  for (const method of OPTIONAL) {
    if (policy[method] !== undefined && typeof policy[method] !== 'function') {
      throw new PolicyError(name, 'module', `${method} is no method`);
    }
  }
  // Methods keep their `this`; only the name is filled in.
  if (typeof policy['name'] === 'string' && policy['name'] !== '') return given as FaultPolicy;
  const named = Object.create(given) as Record<string, unknown>;
  named['name'] = name;
  return named as unknown as FaultPolicy;
}
