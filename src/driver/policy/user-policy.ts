/**
 * A user's policy: a module that exports `policy`, either an object with the interface of
 * FaultPolicy or a function that makes one for a run. It is checked before the run; what it throws
 * or answers wrongly later ends its run alone.
 */
import { PolicyError, REPLAYS, UVM_SERVICE } from './policy.ts';
import type {
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicyFactory,
  PolicySetup,
  PolicyView,
  ServiceTraits,
  VictimRequest,
  Victims,
} from './policy.ts';
import { asPolicyError } from './policy-error.ts';
import { PolicyEyes } from './policy-eyes.ts';

const METHODS = ['onFaults', 'chooseVictims'] as const;
const OPTIONAL = ['arrived', 'left', 'touched', 'remoteLimit', 'onCpuFault', 'keeps'] as const;
/** Traits that are numbers, and their bound. */
const COUNTS: readonly string[] = ['batchLimit', 'batchesPerPass', 'throttledPerPass'];
const MAX_COUNT = 65_536;

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
  return (setup) => {
    try {
      return checked(make(given, setup), name);
    } catch (error) {
      throw asPolicyError(error, { name } as FaultPolicy, 'policy()');
    }
  };
}

function make(given: unknown, setup: PolicySetup): unknown {
  return typeof given === 'function' ? (given as (setup: PolicySetup) => unknown)(setup) : given;
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
  const wrong = wrongTrait(policy['service']);
  if (wrong !== '') throw new PolicyError(name, 'service', wrong);
  const own = policy['name'];
  return new GuardedPolicy(
    given as FaultPolicy,
    typeof own === 'string' && own !== '' ? own : name,
  );
}

/** A user's policy behind eyes of its own. Methods keep their `this`, and may be changed later. */
class GuardedPolicy implements FaultPolicy {
  readonly name: string;
  readonly touched: FaultPolicy['touched'];
  readonly remoteLimit: FaultPolicy['remoteLimit'];
  readonly keeps: FaultPolicy['keeps'];
  // Whether there are methods that not all have makes a difference to the service.
  readonly arrived?: NonNullable<FaultPolicy['arrived']>;
  readonly left?: NonNullable<FaultPolicy['left']>;
  readonly onCpuFault?: NonNullable<FaultPolicy['onCpuFault']>;
  private readonly given: FaultPolicy;
  private readonly eyes = new PolicyEyes();

  constructor(given: FaultPolicy, name: string) {
    const { eyes } = this;
    this.given = given;
    this.name = name;
    if (given.touched !== undefined) {
      this.touched = (page, access, view) => given.touched!(page, access, eyes.of(view));
    }
    if (given.remoteLimit !== undefined) {
      this.remoteLimit = (page, view) => given.remoteLimit!(page, eyes.of(view));
    }
    if (given.keeps !== undefined) this.keeps = (page, view) => given.keeps!(page, eyes.of(view));
    if (given.arrived !== undefined) {
      this.arrived = (page, cause, view) => given.arrived!(page, cause, eyes.of(view));
    }
    if (given.left !== undefined) {
      this.left = (page, cause, view) => given.left!(page, cause, eyes.of(view));
    }
    if (given.onCpuFault !== undefined) {
      this.onCpuFault = (page, access, view, answer) =>
        given.onCpuFault!(page, access, eyes.of(view), eyes.answers(answer));
    }
  }

  get source(): string {
    return this.given.source ?? '';
  }

  get constants(): NonNullable<FaultPolicy['constants']> {
    return this.given.constants ?? {};
  }

  get service(): Partial<ServiceTraits> {
    return this.given.service ?? {};
  }

  // What they return is looked at: an answer that comes later is refused.
  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
    const { given, eyes } = this;
    return given.onFaults(eyes.faults(faults), eyes.of(view), eyes.answers(answer));
  }

  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
    const { given, eyes } = this;
    return given.chooseVictims(request, eyes.of(view), eyes.victims(victims));
  }
}

/** What is wrong with a policy's traits, or an empty text. */
function wrongTrait(service: unknown): string {
  if (service === undefined) return '';
  if (typeof service !== 'object' || service === null) return 'is no object';
  for (const [name, value] of Object.entries(service)) {
    if (COUNTS.includes(name)) {
      const isCount = Number.isInteger(value) && value >= 1 && value <= MAX_COUNT;
      if (!isCount) return `${name} is a whole number from 1 to ${MAX_COUNT}`;
    } else if (name === 'replay') {
      if (!REPLAYS.some((one) => one === value)) return `${name} is one of ${REPLAYS.join(', ')}`;
    } else if (name === 'costs') {
      if (value !== 'fault' && value !== 'batch') return `${name} is fault or batch`;
    } else if (name in UVM_SERVICE) {
      if (typeof value !== 'boolean') return `${name} is true or false`;
    } else {
      return `there is no trait ${name}`;
    }
  }
  return '';
}
