/*
 * Which functions of a kernel call which: WGSL has no recursion, and a walk that follows calls
 * needs those who are called first.
 *
 * Locking. None; pure. Source: our own.
 */
import { everywhere } from './wgsl-tree.ts';
import type { KernelProblem, Tree } from './wgsl-tree.ts';

/** A function that calls itself, by itself or through others. */
export interface CallCircle {
  readonly name: string;
  /** Through whom, the first few of them, and how many they are. */
  readonly through: readonly string[];
  readonly count: number;
  /** The line of the call that closes it. */
  readonly line: number;
}

/** Circles that are told, and functions of one that are named. */
const MOST_CIRCLES = 100;
const MOST_NAMES = 5;

/** What a walk over all calls gives. */
export interface CallOrder {
  /** All functions, each behind those that it calls, unless there are circles. */
  readonly names: readonly string[];
  readonly circles: readonly CallCircle[];
}

/** A function that is being walked, and the next of its calls. */
interface Step {
  readonly name: string;
  readonly calls: readonly Tree[];
  next: number;
}

/**
 * Follows the calls of all functions. It keeps its own stack: a chain of calls may be as long as
 * the text allows.
 *
 * @param functions all functions of the text by name
 */
export function callOrder(functions: ReadonlyMap<string, Tree>): CallOrder {
  const names: string[] = [];
  const circles: CallCircle[] = [];
  const begun = new Set<string>();
  const step = (name: string): Step => {
    begun.add(name);
    const isOwn = ({ kind, name: called }: Tree): boolean =>
      (kind === 'call' || kind === 'callExpr') && functions.has(called);
    return { name, calls: everywhere(functions.get(name)!).filter(isOwn), next: 0 };
  };
  for (const root of functions.keys()) {
    if (begun.has(root)) continue;
    const path = [step(root)];
    const onPath = new Set([root]);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const call = top.calls[top.next++];
      if (call === undefined) {
        names.push(top.name);
        onPath.delete(top.name);
        path.pop();
      } else if (onPath.has(call.name)) {
        const from = path.findIndex(({ name }) => name === call.name) + 1;
        const through = path.slice(from, from + MOST_NAMES).map(({ name }) => name);
        const { name, line } = call;
        if (circles.length < MOST_CIRCLES) {
          circles.push({ name, through, count: path.length - from, line });
        }
      } else if (!begun.has(call.name)) {
        path.push(step(call.name));
        onPath.add(call.name);
      }
    }
  }
  return { names, circles };
}

/** What is wrong with a circle. */
export function circleProblem({ name, through, count, line }: CallCircle): KernelProblem {
  const said = count > through.length ? `${count} others` : through.join(' and ');
  const by = said === '' ? '' : ` through ${said}`;
  return { line, reason: `${name} calls itself${by}: there is no recursion in WGSL` };
}
