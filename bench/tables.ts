/**
 * The report as tables of text, which the terminal prints and the HTML report wraps in markup.
 * What is shown is decided here, once.
 */
import { fragmentsText, unusualText } from './copy-settings.ts';
import { FIRST_PAGE } from './first-page-cells.ts';
import { GPU_TIME_NOTES, hasGpuTime } from './gpu-time-notes.ts';
import { PHASES, PHASE_ORDER } from './phase-names.ts';
import { splitWait, waitNotes } from './phase-split.ts';
import { presetTextTable } from './presets.ts';
import { askedFor, settingsFact, directionName, formatNumber, shortBytes } from './format.ts';
import { median } from './stats.ts';
import { isBroken } from './types.ts';
import type {
  BenchCell,
  BenchEnvironment,
  BenchGoal,
  BenchReport,
  GoalLimit,
  GoalPart,
} from './types.ts';

/** A table: cells are text, the first column names the row. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Sentences on what the figures are, below them. */
  readonly notes?: readonly string[];
}

/** What the report must say before anything else; null for a real GPU in a visible tab. */
export function warnings(report: BenchReport): string[] {
  const lines: string[] = [];
  const { env } = report;
  if (env.engine === 'cpu') {
    lines.push("CPU ENGINE: no adapter was used; figures are functional only, not a GPU's");
  } else if (env.isSoftware) {
    lines.push("SOFTWARE ADAPTER: figures are functional only, not a GPU's");
  }
  if (env.hidden) lines.push('THE TAB WAS HIDDEN: it was throttled, its figures are worth nothing');
  if (env.deviceLost !== undefined) lines.push(`THE RUN ENDED EARLY: ${env.deviceLost}`);
  const failed = report.cells.filter(isBroken).length;
  if (failed > 0) lines.push(`${failed} CELLS WERE NOT VERIFIED: their figures are worth nothing`);
  const unchecked = report.cells.filter((cell) => cell.unchecked === true).length;
  if (unchecked > 0) lines.push(`NOBODY LOOKED AT THE RESULTS OF ${unchecked} CELLS, as asked`);
  const unusual = unusualText(env.settings);
  if (unusual !== '')
    lines.push(`NOT THE USUAL SETTINGS: ${unusual}; goals are meant for the usual`);
  return lines;
}

/** A figure, or why there is none. */
function figure(cell: BenchCell | undefined, value: (cell: BenchCell) => number | null): string {
  if (cell === undefined) return '-';
  if (isBroken(cell)) return 'FAIL';
  const number = value(cell);
  return number === null ? '-' : formatNumber(number);
}

function isSweep(cell: BenchCell): boolean {
  return cell.suite === 'copy' && cell.id.startsWith('copy/');
}

/** Distinct values of a parameter, numbers in ascending order, words in order of appearance. */
function valuesOf<T extends string | number>(cells: readonly BenchCell[], name: string): T[] {
  const values = [...new Set(cells.map((cell) => cell.params[name] as T))];
  return typeof values[0] === 'number' ? values.toSorted((a, b) => Number(a) - Number(b)) : values;
}

const STRATEGY_ORDER = ['auto', 'commands', 'staging', 'runs', 'compute', 'writeBuffer', 'cpu'];
const DIRECTION_ORDER = ['to-device', 'to-host', 'in-device', 'in-host'];

/** The directions that the copy suite measured, in a fixed order. */
export function copyDirections(report: BenchReport): string[] {
  const seen = new Set(
    report.cells.filter(isSweep).map((cell) => String(cell.params['direction'])),
  );
  return DIRECTION_ORDER.filter((direction) => seen.has(direction));
}

/** Cells of the copy suite in one direction, strategies in a fixed order. */
export function copyCells(report: BenchReport, direction: string): BenchCell[] {
  const rank = (cell: BenchCell): number => STRATEGY_ORDER.indexOf(String(cell.params['strategy']));
  return report.cells
    .filter((cell) => isSweep(cell) && cell.params['direction'] === direction)
    .toSorted((a, b) => rank(a) - rank(b));
}

/** What a table of the copy suite shows of each cell. */
interface CopyFigure {
  readonly what: string;
  readonly of: (cell: BenchCell) => number | null;
  readonly notes?: readonly string[];
}

const RATE: CopyFigure = { what: 'GB/s moved once', of: (cell) => cell.gbPerSecond };
const GPU_TIME: CopyFigure = {
  what: 'us on the device by timestamp queries',
  of: (cell) => cell.gpuUs ?? null,
  notes: GPU_TIME_NOTES,
};

/** What was measured in a direction; time on the device where anything is known of it. */
function copyTables(report: BenchReport, direction: string): Table[] {
  const isTimed = hasGpuTime(copyCells(report, direction));
  return (isTimed ? [RATE, GPU_TIME] : [RATE]).map((what) => copyTable(report, direction, what));
}

/** A figure by strategy (rows), folio size and batch (columns). */
function copyTable(report: BenchReport, direction: string, copy: CopyFigure): Table {
  const { what, of, notes } = copy;
  const cells = copyCells(report, direction);
  const how = fragmentsText(report.env.settings?.fragments ?? 'scattered');
  const strategies = valuesOf<string>(cells, 'strategy');
  const shapes = valuesOf<number>(cells, 'folioBytes').flatMap((folioBytes) =>
    valuesOf<number>(
      cells.filter((cell) => cell.params['folioBytes'] === folioBytes),
      'batch',
    ).map((batch) => ({ folioBytes, batch })),
  );
  return {
    title: `${directionName(direction)}, ${what}, ${how} (size x batch)`,
    columns: [
      'strategy',
      ...shapes.map(({ folioBytes, batch }) => `${shortBytes(folioBytes)} x${batch}`),
    ],
    rows: strategies.map((strategy) => [
      strategy,
      ...shapes.map(({ folioBytes, batch }) => {
        const cell = cells.find(
          ({ params }) =>
            params['strategy'] === strategy &&
            params['folioBytes'] === folioBytes &&
            params['batch'] === batch,
        );
        return figure(cell, of);
      }),
    ]),
    ...(notes === undefined ? {} : { notes }),
  };
}

/** GB/s of batches of folios of several sizes; null where none was measured. */
function mixTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(({ id }) => id.startsWith('mix/'));
  if (cells.length === 0) return null;
  const batches = valuesOf<number>(cells, 'batch');
  const rows = DIRECTION_ORDER.flatMap((direction) => {
    const here = cells.filter(({ params }) => params['direction'] === direction);
    return STRATEGY_ORDER.flatMap((strategy) => {
      const own = here.filter(({ params }) => params['strategy'] === strategy);
      if (own.length === 0) return [];
      const at = (batch: number): BenchCell | undefined =>
        own.find(({ params }) => params['batch'] === batch);
      const figures = batches.map((batch) => figure(at(batch), (one) => one.gbPerSecond));
      return [[directionName(direction), strategy, ...figures]];
    });
  });
  const title = 'Folios of 4 KiB, 64 KiB and 2 MiB in one batch, GB/s moved once';
  return { title, columns: ['direction', 'strategy', ...batches.map((n) => `x${n}`)], rows };
}

const MIGRATE_PHASES = ['bookkeeping', 'hostCopy', 'encode', 'submit', 'wait'];

function migrateTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(({ id }) => id.startsWith('migrate/'));
  if (cells.length === 0) return null;
  const firstPage = ({ params }: BenchCell): BenchCell | undefined =>
    params['direction'] === 'to-device'
      ? report.cells.find(({ id }) => id === `${FIRST_PAGE}${String(params['batch'])}`)
      : undefined;
  const perPage = (cell: BenchCell, phase: string): string =>
    cell.phases?.[phase] === undefined
      ? '-'
      : formatNumber(cell.phases[phase] / Math.max(1, Number(cell.params['pages'])));
  return {
    title: 'Whole migrations, us a page (medians, also of phases)',
    columns: ['direction', 'pages', 'us/page', 'first page, us', 'GB/s', ...MIGRATE_PHASES],
    rows: cells.map((cell) => [
      directionName(String(cell.params['direction'])),
      String(cell.params['batch']),
      figure(cell, (one) => one.usPerPage),
      figure(firstPage(cell), (one) => one.median),
      figure(cell, (one) => one.gbPerSecond),
      ...MIGRATE_PHASES.map((phase) => perPage(cell, phase)),
    ]),
  };
}

/** Phases of a migration, driven by hand; microseconds of the whole batch. */
function phaseTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(({ id }) => id.startsWith(PHASES));
  const phases = cells.map((cell) => splitWait(cell).phases);
  const names = [...new Set(phases.flatMap((one) => Object.keys(one)))];
  if (names.length === 0) return null;
  const rank = (name: string): number => PHASE_ORDER.indexOf(name);
  const columns = names.toSorted((a, b) => rank(a) - rank(b));
  return {
    title: 'Phases of a migration of 512 pages, us',
    columns: ['direction', 'us', ...columns],
    rows: cells.map((cell, at) => [
      directionName(String(cell.params['direction'])),
      figure(cell, (one) => one.median),
      ...columns.map((name) => formatNumber(phases[at]?.[name] ?? Number.NaN)),
    ]),
    notes: waitNotes(cells),
  };
}

function faultTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(
    ({ suite, params }) => suite === 'fault' && params['access'] !== 'tlb',
  );
  if (cells.length === 0) return null;
  return {
    title: 'CPU fault on a device page until it is back in RAM, us',
    columns: ['access', 'what', 'p50', 'p90', 'p99', 'max', 'n'],
    rows: cells.map((cell) => [
      String(cell.params['access']),
      String(cell.params['what'] ?? '4KiB'),
      figure(cell, (one) => one.p50),
      figure(cell, (one) => one.p90),
      figure(cell, (one) => one.p99),
      figure(cell, (one) => one.max),
      String(cell.samples.length),
    ]),
  };
}

const MM_PHASES = ['setup', 'allocate', 'pages', 'finalize'];

function mmTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(({ suite, unit }) => suite === 'mm' && unit === 'ns/page');
  if (cells.length === 0) return null;
  return {
    title: 'Bookkeeping of migration with a null copier, ns a page',
    columns: ['direction', 'ns/page', '95% interval', ...MM_PHASES, 'n'],
    rows: cells.map((cell) => [
      directionName(String(cell.params['direction'])),
      figure(cell, (one) => one.median),
      `${formatNumber(cell.ci[0])} to ${formatNumber(cell.ci[1])}`,
      ...MM_PHASES.map((phase) => formatNumber(cell.phases?.[phase] ?? Number.NaN)),
      String(cell.samples.length),
    ]),
  };
}

function garbageTable(report: BenchReport): Table | null {
  const cells = report.cells.filter(({ suite, unit }) => suite === 'mm' && unit === 'bytes');
  if (cells.length === 0) return null;
  return {
    title: 'Left on the JS heap by a batch of 512 pages, bytes',
    columns: ['what', 'batches a call', 'bytes', '95% interval', 'n'],
    rows: cells.map((cell) => [
      cell.params['side'] === 'bare' ? 'bare WebGPU calls' : 'whole migration',
      String(cell.params['batchesACall']),
      figure(cell, (one) => one.median),
      `${formatNumber(cell.ci[0])} to ${formatNumber(cell.ci[1])}`,
      String(cell.samples.length),
    ]),
  };
}

const PAGE_BYTES = 4096;
const MIB = 2 ** 20;

/** What a soak found: times a page, and what was in use at its beginning and its end. */
export function soakTable(all: readonly BenchCell[]): Table | null {
  const cells = all.filter(({ id }) => id.startsWith('soak/'));
  const params = cells[0]?.params;
  if (params === undefined) return null;
  const [minutes, rounds, processes] = ['minutes', 'rounds', 'processes'].map((name) =>
    String(params[name]),
  );
  return {
    title: `Soak: ${minutes} min, ${rounds} rounds in ${processes} processes, all words compared`,
    columns: ['what', 'unit', 'first third', 'last third', 'least', 'most', 'n'],
    rows: cells.map((cell) => {
      const { samples, unit, bytes } = cell;
      const third = Math.max(1, Math.floor(samples.length / 3));
      const scaled = (value: number): number => value / (unit === 'us' ? bytes / PAGE_BYTES : MIB);
      const figures = [samples.slice(0, third), samples.slice(-third)].map(median);
      return [
        String(cell.params['what']),
        unit === 'us' ? 'us/page' : 'MiB',
        ...[...figures, cell.min, cell.max].map((value) => formatNumber(scaled(value))),
        String(samples.length),
      ];
    }),
  };
}

function referenceTable(report: BenchReport): Table | null {
  const cells = report.cells.filter((cell) => cell.suite === 'reference');
  if (cells.length === 0) return null;
  return {
    title: 'Reference lines of the same run',
    columns: ['what', 'size', 'us', 'GB/s', 'n'],
    rows: cells.map((cell) => [
      String(cell.params['name']),
      cell.bytes === 0 ? '-' : shortBytes(cell.bytes),
      figure(cell, (one) => one.median),
      figure(cell, (one) => one.gbPerSecond),
      String(cell.samples.length),
    ]),
  };
}

/** "holds", "MISS", or "-" where the run can't decide. */
function verdict(goal: BenchGoal): string {
  if (goal.holds === null) return '-';
  return goal.holds ? 'holds' : 'MISS';
}

/** A goal's value against its target: "0.18 <= 0.2". */
function bound(value: number, comparison: string, target: number): string {
  return `${formatNumber(value)} ${comparison} ${formatNumber(target)}`;
}

/** A row for each goal; a goal of several parts has its title there, and a row for each part. */
function goalTable(report: BenchReport): Table {
  return {
    title: 'Goals',
    columns: ['goal', '', 'value', '95% interval', 'what'],
    rows: report.goals.flatMap((goal) => {
      const only = goal.parts.length === 1 ? goal.parts[0] : undefined;
      const value = only === undefined ? ['', ''] : partValue(only);
      const row = [goal.id, verdict(goal), ...value, goalText(goal)];
      return goal.parts.length > 1 ? [row, ...goal.parts.map(partRow)] : [row];
    }),
  };
}

function partValue(part: GoalPart): string[] {
  const interval = `${formatNumber(part.ci[0])} to ${formatNumber(part.ci[1])}`;
  return [bound(part.value, part.comparison, part.target), interval];
}

function partRow(part: GoalPart): string[] {
  return ['', part.holds ? 'holds' : 'MISS', ...partValue(part), `${part.what}${limitText(part)}`];
}

function goalText(goal: BenchGoal): string {
  if (goal.holds === null) return `${goal.title} (${goal.why ?? 'not decided'})`;
  return goal.parts.length > 1 ? goal.title : `${goal.what}${limitText(goal)}`;
}

function limitText({ limit }: Pick<GoalPart, 'limit'>): string {
  if (limit === undefined) return '';
  const { what, value, beyond } = limit;
  return `; limit here ${formatNumber(value)}: ${what}${beyondText(beyond)}`;
}

function beyondText(beyond: GoalLimit['beyond']): string {
  if (beyond === undefined) return '';
  const [low, high] = beyond.ci.map(formatNumber);
  const times = formatNumber(beyond.value);
  return `; in the same rounds ours takes ${times} times as long as that (${low} to ${high})`;
}

/** All tables of the report, in the order to read them. */
export function reportTables(report: BenchReport): Table[] {
  const tables: (Table | null)[] = [
    ...(report.presets ?? []).map(presetTextTable),
    ...copyDirections(report).flatMap((direction) => copyTables(report, direction)),
    mixTable(report),
    migrateTable(report),
    phaseTable(report),
    faultTable(report),
    mmTable(report),
    garbageTable(report),
    soakTable(report.cells),
    referenceTable(report),
    goalTable(report),
  ];
  return tables.filter((table) => table !== null);
}

/** Facts about the run, name and value. */
export function reportFacts(report: BenchReport): (readonly [string, string])[] {
  const { env } = report;
  const tick = env.timestampTickNs;
  return [
    ['browser', browserFact(env)],
    ['commit', report.commit ?? 'unknown'],
    ['run', `${askedFor(report)}, seed ${env.seed}`],
    ['settings', settingsFact(report)],
    ['time', `${report.wallSeconds.toFixed(1)} s from ${env.startedAt}`],
    ['clock tick', `${formatNumber(env.clockTickUs)} us${tick === null ? '' : `, GPU ${tick} ns`}`],
    ['machine', `${env.cores} cores, cross-origin isolated: ${env.crossOriginIsolated}`],
    ['shared memory', env.devShm === null ? 'unknown' : `in ${env.devShm}`],
    ['cells', cellCount(report)],
  ];
}

function browserFact(env: BenchEnvironment): string {
  const named = `${env.browser} ${env.version}`;
  return env.node === null || env.browser === 'Node'
    ? named
    : `${named}, driven by Node ${env.node}`;
}

function cellCount(report: BenchReport): string {
  const verified = report.cells.filter((cell) => cell.verified).length;
  const unchecked = report.cells.filter((cell) => cell.unchecked === true).length;
  const others = unchecked === 0 ? '' : `, ${unchecked} not looked at`;
  const left = `${report.omitted.length} left out`;
  return `${verified} of ${report.cells.length} verified${others}, ${left}`;
}
