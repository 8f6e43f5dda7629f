/**
 * Who decides what moves for a launch: a policy by name, or a user's module. Arguments come from
 * callers without types.
 */
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { PAGE_SIZE, isAddress } from '../base/units.ts';
import { CostError, readCostModel } from '../driver/policy/cost-model.ts';
import { EVICTIONS } from '../driver/policy/eviction.ts';
import { FaultLives } from '../driver/policy/fault-lives.ts';
import { policyErrorText } from '../driver/policy/policy-error.ts';
import { POLICIES, policyByName } from '../driver/policy/policies.ts';
import type { PolicyChoice } from '../driver/policy/policies.ts';
import { NO_HINTS, PolicyError, REPLAYS } from '../driver/policy/policy.ts';
import type { Hints, PolicyFactory, ServiceTraits } from '../driver/policy/policy.ts';
import { userPolicy } from '../driver/policy/user-policy.ts';
import { MAX_HINT_RANGES, mergeHints } from '../driver/range-hints.ts';
import type { RangeHints } from '../driver/range-hints.ts';
import type { ServicePagerOptions } from '../driver/service-options.ts';
import { VM_SPACE_BYTES } from '../engine/vm/abi.ts';
import { isCount } from './kernel-launch-args.ts';
import type { RefusedOrder } from './kernel-launch-args.ts';
import type { KernelLaunchRequest, LaunchServiceOptions, RangeHint } from './protocol-launch.ts';

/**
 * The options of a launch's fault service; null for a launch without policy; a text that says what
 * is wrong; ENOMEM where more is said about ranges than can be remembered. Waits for a user's
 * module.
 */
export async function readPolicy(
  request: KernelLaunchRequest,
  origin: number,
): Promise<ServicePagerOptions | RefusedOrder | string | null> {
  const { policy: name, service = {} } = request;
  if (name === undefined) return null;
  if (typeof name !== 'string') return 'a policy is a name or a URL';
  if (!isRecord(service)) return 'the options of a policy are no object';
  const wrong = whatIsWrong(service);
  if (wrong !== '') return wrong;
  const { devicePages, cost, seed, lives = 0, ringRecords } = service;
  const hints = readHints(service, origin);
  if ('errno' in hints) return hints;
  try {
    const policy = await factoryOf(name, service);
    return {
      policy,
      hints,
      traits: traitsOf(service),
      ...(cost === undefined ? {} : { cost: readCostModel(cost) }),
      ...(devicePages === undefined ? {} : { devicePages }),
      ...(seed === undefined ? {} : { seed }),
      ...(ringRecords === undefined ? {} : { ringRecords }),
      ...(lives === 0 ? {} : { lives: new FaultLives(lives) }),
    };
  } catch (error) {
    if (error instanceof CostError || error instanceof PolicyError) return error.message;
    if (error instanceof UnreadableModule) return error.message;
    throw error;
  }
}

class UnreadableModule extends Error {}

async function factoryOf(name: string, service: LaunchServiceOptions): Promise<PolicyFactory> {
  const known = POLICIES.find((one) => one === name);
  if (known !== undefined) {
    const { evict, granularity } = service;
    const choice: PolicyChoice = {
      ...(evict === undefined ? {} : { evict }),
      ...(granularity === undefined ? {} : { granularity }),
    };
    return policyByName(known, choice);
  }
  if (!URL.canParse(name)) {
    throw new UnreadableModule(`no policy ${name}: give a URL, or one of ${POLICIES.join(', ')}`);
  }
  let module: unknown;
  try {
    module = await import(/* @vite-ignore */ name);
  } catch (error) {
    const why = error instanceof Error ? policyErrorText(error, name) : String(error);
    throw new UnreadableModule(`the module of the policy can't be loaded: ${why}`);
  }
  return userPolicy(module, nameOf(new URL(name)));
}

/** What to call a module's policy: its file; what has none, a text of the caller's, has no name. */
function nameOf({ protocol, pathname }: URL): string {
  const isText = protocol === 'blob:' || protocol === 'data:';
  return isText ? 'yours' : (pathname.split('/').at(-1) ?? 'yours');
}

function traitsOf({ replay, batchLimit }: LaunchServiceOptions): Partial<ServiceTraits> {
  return {
    ...(replay === undefined ? {} : { replay }),
    ...(batchLimit === undefined ? {} : { batchLimit }),
  };
}

/** The first thing that is wrong, or an empty text. */
function whatIsWrong(service: LaunchServiceOptions): string {
  const bounds: readonly (readonly [keyof LaunchServiceOptions, number, number])[] = [
    ['devicePages', 1, 2 ** 23],
    ['granularity', 0, 31],
    ['batchLimit', 1, 2 ** 16],
    ['ringRecords', 1, 2 ** 20],
    ['seed', 0, 2 ** 32 - 1],
    ['lives', 0, 2 ** 20],
  ];
  for (const [name, least, most] of bounds) {
    const value = service[name];
    if (value !== undefined && !isCount(value, least, most)) {
      return `${name} is a whole number from ${least} to ${most}`;
    }
  }
  const { evict, replay, hints = [] } = service;
  if (evict !== undefined && !EVICTIONS.includes(evict)) {
    return `evict is one of ${EVICTIONS.join(', ')}`;
  }
  if (replay !== undefined && !REPLAYS.includes(replay)) {
    return `replay is one of ${REPLAYS.join(', ')}`;
  }
  if (!Array.isArray(hints) || !hints.every(isHint)) {
    return 'hints are ranges { addr, length } of whole pages with what is said about them';
  }
  return '';
}

function isHint(hint: RangeHint): boolean {
  if (!isRecord(hint) || !isAddress(hint.addr) || !isCount(hint.length, 1, 2 ** 47)) return false;
  if (hint.addr % PAGE_SIZE !== 0 || hint.length % PAGE_SIZE !== 0) return false;
  const { preferred = 'none', granularity = 9 } = hint;
  return ['none', 'ram', 'device'].includes(preferred) && isCount(granularity, 0, 31);
}

/** What is said about ranges, merged. */
function readHints(
  { hints = [] }: LaunchServiceOptions,
  origin: number,
): RangeHints[] | RefusedOrder {
  const pages = VM_SPACE_BYTES / PAGE_SIZE;
  const said = hints.map((hint) => rangeHints(hint, origin));
  const merged = mergeHints(said, pages, MAX_HINT_RANGES);
  const cause = `hints say different things about more than ${MAX_HINT_RANGES} ranges`;
  return merged ?? { errno: errno.ENOMEM, cause };
}

function rangeHints({ addr, length, ...said }: RangeHint, origin: number): RangeHints {
  const hints: Hints = {
    preferred: said.preferred ?? NO_HINTS.preferred,
    accessedBy: said.accessedBy === true,
    readMostly: said.readMostly === true,
    granularity: said.granularity ?? NO_HINTS.granularity,
  };
  const first = (addr - origin) / PAGE_SIZE;
  return { first, outer: first + length / PAGE_SIZE, hints };
}
