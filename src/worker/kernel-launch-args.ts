/**
 * What callers without types give to compile and launch kernels: read into what the engines take,
 * or refused.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, PMD_SIZE, TASK_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import { PARAM_ARGUMENTS, VM_SPACE_BYTES } from '../engine/vm/abi.ts';
import { SHAPE_KERNELS } from '../engine/vm/shape-kernels.ts';
import { kernelOfIr } from '../engine/vm/shapes.ts';
import type { VmKernel, VmProgramOptions } from '../engine/vm/vm-engine.ts';
import { LAUNCH_BYTES, LAUNCH_COUNTS, LAUNCH_COUNTS_AT } from './protocol-launch.ts';
import type { KernelLaunchRequest, KernelProblem, KernelSource } from './protocol-launch.ts';

const DEFAULT_WINDOW = 256;
const DEFAULT_LANES = 64;
const DEFAULT_BUDGET = 2 ** 16;

/** A request that was checked. */
export interface Order {
  readonly workgroups: number;
  readonly args: readonly number[];
  readonly origin: number;
  readonly window: number;
  readonly budget: number;
  /** By default the pager's. */
  readonly patience: number | undefined;
  /** The shared words, and their counts. */
  readonly words: Int32Array;
  readonly counts: Float64Array;
}

/** What is wrong with a kernel as a whole. */
export function problem(reason: string): KernelProblem {
  return { line: 1, column: 1, reason };
}

/** Callers without types: a whole number within bounds. */
export function isCount(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

/** The kernel that a source names. */
export function readKernel(source: KernelSource): VmKernel | KernelProblem {
  const { wgsl, shape, name, lanes = DEFAULT_LANES } = source;
  if (name !== undefined && typeof name !== 'string') return problem('the name is no text');
  if ((wgsl === undefined) === (shape === undefined)) {
    return problem('give wgsl, or the name of a shape');
  }
  if (shape !== undefined) {
    const isKnown = typeof shape === 'string' && Object.hasOwn(SHAPE_KERNELS, shape);
    if (!isKnown)
      return problem(`there is no such shape: ${Object.keys(SHAPE_KERNELS).join(', ')}`);
    return { ...kernelOfIr(SHAPE_KERNELS[shape]!.ir), name: name ?? shape };
  }
  if (typeof wgsl !== 'string') return problem('wgsl is no text');
  if (!isCount(lanes, 1, 256)) return problem('a workgroup has 1 to 256 invocations');
  return { name: name ?? 'kernel', lanes, wgsl };
}

/** How it is to be compiled. */
export function readOptions(source: KernelSource): VmProgramOptions | KernelProblem {
  const { window = DEFAULT_WINDOW, ringRecords, logWords, dedup, checkReplays } = source;
  if (!isCount(window, 1, 4096)) return problem('a window has 1 to 4096 workgroups');
  if (ringRecords !== undefined && !isCount(ringRecords, 1, 2 ** 16)) {
    return problem('a ring has 1 to 65536 records');
  }
  if (logWords !== undefined && !isCount(logWords, 4, 2 ** 16)) {
    return problem('a log has 4 to 65536 words');
  }
  return {
    slots: window,
    dedup: dedup !== false,
    hash: checkReplays === true,
    ...(ringRecords === undefined ? {} : { ringRecords }),
    ...(logWords === undefined ? {} : { logWords }),
  };
}

/** Why a launch does not begin. */
export interface RefusedOrder {
  readonly errno: number;
  /** For people: which argument, and what it may be. */
  readonly cause: string;
}

/** A launch, or EINVAL; EFAULT for an address out of the kernel's reach. */
export function readOrder(request: KernelLaunchRequest, slots: number): Order | RefusedOrder {
  const { workgroups, args = [], control } = request;
  const { origin = originOf(args), window = slots, budget = DEFAULT_BUDGET, patience } = request;
  const isPlace = isAddress(origin) && isPageAligned(origin) && origin <= TASK_SIZE - PAGE_SIZE;
  if (!isPlace) return wrong('origin is an address that is a multiple of the page size');
  if (!isCount(workgroups, 1, 2 ** 31)) return wrong('workgroups is a whole number from 1 to 2^31');
  if (!isCount(window, 1, 4096)) return wrong('window is a whole number from 1 to 4096');
  if (!isCount(budget, 1, 2 ** 31)) return wrong('budget is a whole number from 1 to 2^31');
  if (patience !== undefined && !isCount(patience, 1, 2 ** 20)) {
    return wrong('patience is a whole number from 1 to 2^20');
  }
  const values = readArguments(args, origin);
  if ('errno' in values) return values;
  if (control !== undefined && !isControl(control)) return wrong('control is shared memory');
  const shared = control ?? new SharedArrayBuffer(LAUNCH_BYTES);
  const words = new Int32Array(shared, 0, LAUNCH_BYTES / 4);
  const counts = new Float64Array(shared, LAUNCH_COUNTS_AT, LAUNCH_COUNTS.length);
  const most = Math.min(window, slots);
  return { workgroups, args: values, origin, window: most, budget, patience, words, counts };
}

function wrong(cause: string): RefusedOrder {
  return { errno: errno.EINVAL, cause };
}

/** Where a kernel's address 0 is by default: before the lowest address that it is given. */
function originOf(args: unknown): number {
  // Too many are refused later on.
  const addresses = (Array.isArray(args) ? args : [])
    .slice(0, PARAM_ARGUMENTS)
    .filter(
      (value): value is number => isAddress(value as number) && (value as number) >= VM_SPACE_BYTES,
    );
  if (addresses.length === 0) return TASK_SIZE - VM_SPACE_BYTES;
  const lowest = Math.min(...addresses);
  return lowest - (lowest % PMD_SIZE);
}

function readArguments(args: unknown, origin: number): number[] | RefusedOrder {
  if (!Array.isArray(args) || args.length > PARAM_ARGUMENTS) {
    return wrong(`args is an array of at most ${PARAM_ARGUMENTS} numbers`);
  }
  const values: number[] = [];
  for (const [index, value] of (args as readonly unknown[]).entries()) {
    if (!isAddress(value as number)) return wrong(`args[${index}] is no word and no address`);
    const number = value as number;
    const inSpace = number < VM_SPACE_BYTES ? number : number - origin;
    if (inSpace < 0 || inSpace >= VM_SPACE_BYTES) {
      return { errno: errno.EFAULT, cause: `args[${index}] is not in the 4 GiB from origin on` };
    }
    values.push(inSpace);
  }
  return values;
}

function isControl(control: unknown): boolean {
  return control instanceof SharedArrayBuffer && control.byteLength >= LAUNCH_BYTES;
}
