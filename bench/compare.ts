/**
 * Two reports against each other, cell by cell and goal by goal.
 *
 * The runs were not interleaved, so two things can make a cell differ besides the code: chance,
 * which its interval tells, and a machine that was faster or slower at the time, which the cells
 * tell that run nothing of ours: bare loops, bare WebGPU. A difference counts when the whole
 * interval of its ratio lies outside of 1, and is more than nine of ten of those cells moved.
 */
import { settingsText } from './copy-settings.ts';
import { adapterName, formatNumber } from './format.ts';
import { GPU_TIME_NOTES, hasGpuTime } from './gpu-time-notes.ts';
import { quantile } from './stats.ts';
import type { Table } from './tables.ts';
import { isBroken } from './types.ts';
import type { BenchCell, BenchGoal, BenchReport } from './types.ts';

/** What a ratio means: `drift` is surely no chance, but no more than the machine itself moved. */
export type Verdict = 'slower' | 'faster' | 'noise' | 'drift' | 'not verified';

/** One cell in both reports. */
export interface CellChange {
  readonly id: string;
  readonly before: number;
  readonly after: number;
  readonly unit: string;
  /** After over before, with its 95% interval. */
  readonly ratio: number;
  readonly ci: readonly [number, number];
  readonly verdict: Verdict;
  /**
   * Microseconds on the device before and after, null where there are none; absent where neither
   * run has them. Medians of a few repeats: without an interval they have no verdict.
   */
  readonly gpuUs?: readonly [before: number | null, after: number | null];
}

/** One goal in both reports. */
export interface GoalChange {
  readonly id: string;
  readonly before: BenchGoal;
  readonly after: BenchGoal;
  /** Value over value, where both are of the same thing. */
  readonly ratio: number | null;
  readonly ci: readonly [number, number] | null;
  readonly verdict: string;
}

/** Everything that two reports say about each other. */
export interface Comparison {
  readonly cells: readonly CellChange[];
  readonly goals: readonly GoalChange[];
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
  /** How far the machine itself moved: the ratio that nine of ten bare cells stay below. */
  readonly drift: number;
  /** What makes the two runs hard to compare, a line each. */
  readonly warnings: readonly string[];
}

type Interval = readonly [number, number];

/**
 * Interval of b / a from the intervals of both: their half widths on a log scale, added as
 * independent errors are.
 */
export function ratioInterval(
  a: { readonly value: number; readonly ci: Interval },
  b: { readonly value: number; readonly ci: Interval },
): Interval {
  const ratio = b.value / a.value;
  const width = (from: number, to: number): number => Math.log(to / from);
  const down = Math.hypot(width(a.value, a.ci[1]), width(b.ci[0], b.value));
  const up = Math.hypot(width(a.ci[0], a.value), width(b.value, b.ci[1]));
  return [ratio * Math.exp(-down), ratio * Math.exp(up)];
}

/** Cells in which only the machine, its browser and its adapter are timed. */
const BARE = [
  /^reference\/(?!engine-)/,
  /^mm\/bare-loop\//,
  /^fault\/tlb\/.*\/plain$/,
  /^fault\/core\/bare$/,
  /^fault\/hop\/.*-round-trip$/,
  /^goal\/.*\/(webgpu-[a-z-]+|js-gather|gather|nothing|fresh-clear)(\/\d+)?$/,
];

/** Whether nothing of ours is timed in a cell. */
export function isBare({ id }: Pick<BenchCell, 'id'>): boolean {
  return BARE.some((pattern) => pattern.test(id));
}

/** How far bare cells are from where they were, either way: what nine of ten stay below. */
function machineDrift(before: BenchReport, after: BenchReport): number {
  const steps = shared(before, after)
    .filter(([a]) => isBare(a))
    .map(([a, b]) => Math.exp(Math.abs(Math.log(b.median / a.median))));
  return steps.length === 0 ? 1 : quantile(steps, 0.9);
}

/** Cells that both have, verified or not, with figures. */
function shared(before: BenchReport, after: BenchReport): [BenchCell, BenchCell][] {
  const others = new Map(after.cells.map((cell) => [cell.id, cell]));
  return before.cells.flatMap((cell): [BenchCell, BenchCell][] => {
    const other = others.get(cell.id);
    const hasFigures = other !== undefined && cell.median > 0 && other.median > 0;
    return hasFigures && other.unit === cell.unit ? [[cell, other]] : [];
  });
}

function judgeRatio(ci: Interval, drift: number): Verdict {
  const [low, high] = ci;
  if (low <= 1 && high >= 1) return 'noise';
  if (low > drift) return 'slower';
  if (high < 1 / drift) return 'faster';
  return 'drift';
}

function compareCells(a: BenchCell, b: BenchCell, drift: number): CellChange {
  const ci = ratioInterval({ value: a.median, ci: a.ci }, { value: b.median, ci: b.ci });
  const isRight = !isBroken(a) && !isBroken(b);
  const gpuUs = [a.gpuUs ?? null, b.gpuUs ?? null] as const;
  return {
    id: a.id,
    before: a.median,
    after: b.median,
    unit: a.unit,
    ratio: b.median / a.median,
    ci,
    verdict: isRight ? judgeRatio(ci, drift) : 'not verified',
    ...(hasGpuTime([a, b]) ? { gpuUs } : {}),
  };
}

function stateOf(goal: BenchGoal): string {
  if (goal.holds === null) return 'open';
  return goal.holds ? 'holds' : 'MISS';
}

function compareGoals(before: BenchGoal, after: BenchGoal): GoalChange {
  const states = [stateOf(before), stateOf(after)];
  const turned = states[0] === states[1] ? states[0]! : states.join(' -> ');
  const values = [before, after].map(({ value, ci }) =>
    value === null || ci === null || value <= 0 || ci[0] <= 0 ? null : { value, ci },
  );
  const [a, b] = values;
  const isSame = before.what === after.what && a !== null && b !== null;
  const ci = isSame ? ratioInterval(a!, b!) : null;
  const says = ci === null || judgeRatio(ci, 1) !== 'noise' ? '' : ', a difference within noise';
  const ratio = isSame ? b!.value / a!.value : null;
  return { id: before.id, before, after, ratio, ci, verdict: `${turned}${says}` };
}

function listWarnings(before: BenchReport, after: BenchReport): string[] {
  const lines: string[] = [];
  const say = (what: string, of: (report: BenchReport) => string): void => {
    if (of(before) !== of(after)) lines.push(`${what}: ${of(before)}, then ${of(after)}`);
  };
  say('DIFFERENT ADAPTERS', ({ env }) => adapterName(env.adapter));
  say('different engines', ({ env }) => env.engine);
  say('different browsers', ({ env }) => `${env.browser} ${env.version}`);
  say('different machines', ({ env }) => `${env.cores} cores`);
  say('different settings', ({ env }) => settingsText(env.settings));
  say('different lengths', ({ env }) => (env.quick ? 'quick' : 'full'));
  for (const [name, { env }] of [
    ['first', before],
    ['second', after],
  ] as const) {
    if (env.hidden) lines.push(`THE TAB OF THE ${name.toUpperCase()} RUN WAS HIDDEN`);
  }
  return lines;
}

/** Compares two reports; `after` is held against `before`. */
export function compareReports(before: BenchReport, after: BenchReport): Comparison {
  const drift = machineDrift(before, after);
  const idsOf = (report: BenchReport): Set<string> => new Set(report.cells.map(({ id }) => id));
  const [ours, theirs] = [idsOf(before), idsOf(after)];
  return {
    cells: shared(before, after).map(([a, b]) => compareCells(a, b, drift)),
    goals: before.goals.flatMap((goal) => {
      const other = after.goals.find(({ id }) => id === goal.id);
      const isOpen = goal.holds === null && other?.holds === null;
      return other === undefined || isOpen ? [] : [compareGoals(goal, other)];
    }),
    onlyBefore: [...ours].filter((id) => !theirs.has(id)),
    onlyAfter: [...theirs].filter((id) => !ours.has(id)),
    drift,
    warnings: listWarnings(before, after),
  };
}

const VERDICTS: readonly Verdict[] = ['slower', 'faster', 'drift', 'noise', 'not verified'];

/** "3 slower, 1 faster, 80 noise". */
export function countVerdicts(cells: readonly CellChange[]): string {
  const counts = VERDICTS.map((verdict) => ({
    verdict,
    count: cells.filter((cell) => cell.verdict === verdict).length,
  }));
  const found = counts.filter(({ count }) => count > 0);
  return found.map(({ verdict, count }) => `${count} ${verdict}`).join(', ') || 'no cell in common';
}

function interval(ci: Interval): string {
  return `${formatNumber(ci[0])} to ${formatNumber(ci[1])}`;
}

const CELL_COLUMNS = ['cell', 'before', 'after', 'unit', 'ratio', '95% interval', ''];
const NO_VERDICT =
  'It is the median of three repeats, without an interval: no verdict rests on it.';

function deviceTimes({ gpuUs = [null, null] }: CellChange): string[] {
  return gpuUs.map((us) => formatNumber(us ?? Number.NaN));
}

/**
 * The comparison as tables.
 *
 * @param all Also cells that differ by noise or by the machine's own drift.
 */
export function comparisonTables(comparison: Comparison, all: boolean): Table[] {
  const shown = comparison.cells
    .filter(({ verdict }) => all || (verdict !== 'noise' && verdict !== 'drift'))
    .toSorted((a, b) => Math.abs(Math.log(b.ratio)) - Math.abs(Math.log(a.ratio)));
  const isTimed = shown.some(({ gpuUs }) => gpuUs !== undefined);
  return [
    {
      title: `Cells, time after over time before (${all ? 'all' : 'those that differ'})`,
      columns: isTimed ? [...CELL_COLUMNS, 'us on the device before', 'after'] : CELL_COLUMNS,
      rows: shown.map((cell) => [
        cell.id,
        formatNumber(cell.before),
        formatNumber(cell.after),
        cell.unit,
        formatNumber(cell.ratio),
        interval(cell.ci),
        cell.verdict,
        ...(isTimed ? deviceTimes(cell) : []),
      ]),
      ...(isTimed ? { notes: [...GPU_TIME_NOTES, NO_VERDICT] } : {}),
    },
    {
      title: 'Goals, value after over value before',
      columns: ['goal', 'before', 'after', 'ratio', '95% interval', ''],
      rows: comparison.goals.map(({ id, before, after, ratio, ci, verdict }) => [
        id,
        formatNumber(before.value ?? Number.NaN),
        formatNumber(after.value ?? Number.NaN),
        formatNumber(ratio ?? Number.NaN),
        ci === null ? '-' : interval(ci),
        verdict,
      ]),
    },
  ].filter(({ rows }) => rows.length > 0);
}

/** What the comparison says besides its tables, a line each. */
export function comparisonLines(comparison: Comparison): string[] {
  const { cells, drift, onlyBefore, onlyAfter, warnings } = comparison;
  const chance = Math.round(cells.length / 20);
  return [
    ...warnings,
    `${countVerdicts(cells)} of ${cells.length} cells`,
    `noise: the interval holds 1; about ${chance} cells differ by chance alone`,
    `drift: no more than 9 of 10 cells moved that run nothing of ours, x ${formatNumber(drift)}`,
    ...(onlyBefore.length > 0 ? [`only in the first: ${onlyBefore.length} cells`] : []),
    ...(onlyAfter.length > 0 ? [`only in the second: ${onlyAfter.length} cells`] : []),
  ];
}
