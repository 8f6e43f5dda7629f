/**
 * The performance goals, one row each in every report. A goal that a run did not measure has
 * `holds: null` and says why; it never counts as reached.
 */
import { strain } from './goal-parts.ts';
import type { GoalResult } from './run-context.ts';
import type { BenchGoal, SuiteName } from './types.ts';

/** A goal and the suite that decides it. */
interface GoalDefinition {
  readonly id: string;
  readonly title: string;
  readonly suite: SuiteName;
  /** The goal is about WebGPU and means nothing on the CPU engine. */
  readonly needsWebGpu: boolean;
}

const NOT_ASKED = 'this run was not asked for it';

function decided(id: string, title: string, suite: SuiteName, needsWebGpu = true): GoalDefinition {
  return { id, title, suite, needsWebGpu };
}

const DEFINITIONS: readonly GoalDefinition[] = [
  decided('G1', 'The automatic path is close to the best fixed path', 'copy'),
  decided('G2', 'Clustered 4 KiB pages coalesce to 64 KiB speed', 'copy'),
  decided('G3', 'Submitting descriptors costs far less JS time than commands', 'copy'),
  decided('G4', 'Scattered upload is 2.5 x a writeBuffer a page', 'copy'),
  decided('G5', 'Scattered readback is half of a contiguous one', 'copy'),
  decided('G6', 'Batching curve: no batch size is a bad choice', 'copy'),
  decided('G7', 'The first page of a large batch is usable early', 'migrate'),
  decided('G8', 'A blocking fault costs little more than its copy', 'fault'),
  decided('G9', 'A 64 KiB fault costs little more than a 4 KiB one', 'fault'),
  decided('G10', 'The fault request and wake-up is near the Atomics round trip', 'fault'),
  decided('G11', 'Bookkeeping is at most 100 ns a page', 'mm', false),
  decided('G12', 'Steady-state migration makes no garbage', 'mm', false),
  decided('G13', 'A 2 MiB folio costs a fraction of 512 pages', 'migrate'),
  decided('G14', 'The first migration is as fast as later ones', 'migrate'),
  decided('G15', 'The copy kernel suits software adapters', 'copy'),
  decided('G16', 'On a real GPU a kernel copy is near the copy command', 'copy'),
  decided('G17', 'Several channels gain on one', 'copy'),
  decided('G18', 'The harness reports no difference where there is none', 'copy', false),
  decided('G19', 'Verification does not change what is measured', 'copy', false),
  decided('G20', 'The report names where offload begins to win', 'copy'),
  decided('TLB', 'A TLB hit costs a few times a typed array access', 'fault', false),
];

/** All goals by name, in order. */
export const GOALS: readonly Pick<GoalDefinition, 'id' | 'title' | 'suite'>[] = DEFINITIONS;

/** Ids of all goals, in order. */
export const GOAL_IDS: readonly string[] = DEFINITIONS.map(({ id }) => id);

/** Of the goals about WebGPU, those whose steps run on the CPU engine, too, to be tested there. */
const RUN_ON_CPU = ['G1', 'G7', 'G20'];

/** What a goal needs to be measured at all; undefined for an id that is none. */
export function goalNeeds(
  id: string,
): { readonly suite: SuiteName; readonly device: boolean } | undefined {
  const found = DEFINITIONS.find((definition) => definition.id === id);
  if (found === undefined) return undefined;
  return { suite: found.suite, device: found.needsWebGpu && !RUN_ON_CPU.includes(id) };
}

/**
 * The rows of all goals.
 *
 * @param results What the suites measured. @param suites The suites that ran.
 * @param isAsked Whether the run was to measure a goal.
 */
export function goalRows(
  results: readonly GoalResult[],
  suites: readonly SuiteName[],
  engine: 'webgpu' | 'cpu',
  isAsked: (id: string) => boolean = () => true,
): BenchGoal[] {
  return DEFINITIONS.map((definition) => {
    const result = results.find((one) => one.id === definition.id);
    // Sweeps decide some goals by the way, but nobody wants a verdict that was not asked for.
    if (!isAsked(definition.id)) return openRow(definition, NOT_ASKED);
    const isOpen = definition.needsWebGpu && engine === 'cpu';
    if (result !== undefined && result.parts.length > 0 && !isOpen) {
      return decidedRow(definition, result);
    }
    return openRow(definition, result?.why ?? reason(definition, suites, engine));
  });
}

function reason(
  definition: GoalDefinition,
  suites: readonly SuiteName[],
  engine: 'webgpu' | 'cpu',
): string {
  const { suite, needsWebGpu } = definition;
  if (!suites.includes(suite)) return `needs the suite ${suite}, which was not run`;
  if (needsWebGpu && engine === 'cpu')
    return 'needs a WebGPU adapter; this run used the CPU engine';
  if (definition.id === 'G12')
    return 'nobody tells this page the size of a heap; run npm run bench';
  return 'a cell that it rests on failed or was left out';
}

function openRow(definition: GoalDefinition, why: string): BenchGoal {
  return {
    id: definition.id,
    title: definition.title,
    what: '',
    value: null,
    ci: null,
    comparison: null,
    target: null,
    holds: null,
    parts: [],
    why,
  };
}

/** A goal's row shows its most strained part; it holds when all parts do. */
function decidedRow(definition: GoalDefinition, result: GoalResult): BenchGoal {
  const worst = result.parts.toSorted((a, b) => strain(b) - strain(a))[0]!;
  return {
    id: definition.id,
    title: definition.title,
    what: worst.what,
    value: worst.value,
    ci: worst.ci,
    comparison: worst.comparison,
    target: worst.target,
    holds: result.parts.every((part) => part.holds),
    parts: result.parts,
    ...(worst.limit === undefined ? {} : { limit: worst.limit }),
  };
}
