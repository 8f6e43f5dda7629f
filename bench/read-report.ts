/**
 * Reads reports that were written earlier, and pools repeated runs. What is no report of this
 * schema is refused with its version named; runs on different adapters are never pooled.
 */
import { makeCell } from './cells.ts';
import { settingsText } from './copy-settings.ts';
import { adapterName } from './format.ts';
import type { RandomSource } from './stats.ts';
import { BENCH_SCHEMA, isBroken } from './types.ts';
import type { BenchCell, BenchReport } from './types.ts';

/** Why a file can't be used, in one line. */
export class ReportRefusal extends Error {
  override readonly name = 'ReportRefusal';
}

const READABLE = `this version reads '${BENCH_SCHEMA}'`;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The report in a JSON text.
 *
 * @param file Names it in refusals.
 * @throws ReportRefusal for anything but a report of this version's schema
 */
export function readReport(text: string, file: string): BenchReport {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ReportRefusal(`${file} is not JSON`);
  }
  const schema = isObject(value) ? value['schema'] : undefined;
  if (schema !== BENCH_SCHEMA) {
    const named = typeof schema === 'string' ? `its schema is '${schema}'` : 'it names no schema';
    throw new ReportRefusal(`${file} is not a report that can be read: ${named}, ${READABLE}`);
  }
  const report = value as BenchReport;
  const parts = [report.cells, report.goals, report.omitted];
  const isWhole =
    isObject(report.env) && isObject(report.env.adapter) && parts.every(Array.isArray);
  if (!isWhole)
    throw new ReportRefusal(`${file} is not a whole report: it lacks environment, cells or goals`);
  const broken = firstBroken(report);
  if (broken !== null) throw new ReportRefusal(`${file} is not a whole report: ${broken}`);
  return report;
}

/** Names of fields that whatever shows or compares a report takes for granted, by type. */
type Needed = Readonly<
  Partial<Record<'string' | 'number' | 'boolean' | 'list', readonly string[]>>
>;

const CELL: Needed = {
  string: ['suite', 'id', 'unit'],
  number: ['bytes', 'median', 'p50', 'p90', 'p99', 'cv'],
  boolean: ['verified'],
  list: ['samples', 'ci'],
};
const GOAL: Needed = { string: ['id', 'title'], list: ['parts'] };
const OMITTED: Needed = { string: ['id', 'why'] };
const TABLE: Needed = {
  string: ['title', 'source', 'unit'],
  list: ['columns', 'published', 'measured', 'notes'],
};
const ENVIRONMENT: Needed = {
  string: ['engine', 'browser', 'version', 'startedAt'],
  number: ['cores', 'clockTickUs', 'seed'],
  boolean: ['quick'],
  list: ['suites'],
};
const ADAPTER: Needed = { string: ['vendor', 'architecture', 'description'] };

/** Says which part of a report is not what it has to be; null when all of them are. */
function firstBroken(report: BenchReport): string | null {
  const { env, cells, goals, omitted, presets = [], wallSeconds } = report;
  if (!Array.isArray(presets)) return 'its published tables are no list';
  if (typeof wallSeconds !== 'number') return 'it lacks wallSeconds';
  return (
    lacking('its environment', env, ENVIRONMENT) ??
    lacking('its adapter', env.adapter, ADAPTER) ??
    firstLacking('cell', cells, CELL) ??
    cellWithoutParams(cells) ??
    firstLacking('goal', goals, GOAL) ??
    firstLacking('cell left out', omitted, OMITTED) ??
    firstLacking('table', presets, TABLE)
  );
}

function cellWithoutParams(cells: readonly BenchCell[]): string | null {
  const cell = cells.find(({ params }) => !isObject(params));
  return cell === undefined ? null : `cell ${cell.id} lacks params`;
}

function firstLacking(what: string, entries: readonly unknown[], needed: Needed): string | null {
  for (const [at, entry] of entries.entries()) {
    const named = isObject(entry) && typeof entry['id'] === 'string' ? entry['id'] : String(at);
    const lack = lacking(`${what} ${named}`, entry, needed);
    if (lack !== null) return lack;
  }
  return null;
}

function lacking(what: string, value: unknown, needed: Needed): string | null {
  if (!isObject(value)) return `${what} is no object`;
  for (const [type, names] of Object.entries(needed)) {
    const isRight = (field: unknown): boolean =>
      type === 'list' ? Array.isArray(field) : typeof field === type;
    const name = names.find((one) => !isRight(value[one]));
    if (name !== undefined) return `${what} lacks ${name}`;
  }
  return null;
}

/**
 * Several runs as one: samples of equal cells together. The goals are those of the first run: they
 * rest on pairs of one run.
 *
 * @throws ReportRefusal for runs on different adapters, of different browsers or settings
 */
export function poolReports(
  reports: readonly BenchReport[],
  files: readonly string[],
  random: RandomSource,
): BenchReport {
  const [first, ...others] = reports;
  if (first === undefined) throw new ReportRefusal('no report was given');
  others.forEach((other, i) => refuseToPool(first, other, files[0]!, files[i + 1]!));
  if (others.length === 0) return first;
  const ids = [...new Set(reports.flatMap(({ cells }) => cells.map(({ id }) => id)))];
  const cells = ids.map((id) =>
    poolCells(
      reports.flatMap((report) => report.cells.filter((cell) => cell.id === id)),
      random,
    ),
  );
  return { ...first, cells };
}

function refuseToPool(a: BenchReport, b: BenchReport, fileA: string, fileB: string): void {
  const sides = [a, b].map(({ env }) => ({
    adapter: adapterName(env.adapter),
    browser: `${env.engine} engine in ${env.browser}`,
    settings: settingsText(env.settings),
  }));
  for (const what of ['adapter', 'browser', 'settings'] as const) {
    const [ours, theirs] = sides.map((side) => side[what]);
    if (ours === theirs) continue;
    const both = `${fileA} (${ours}) and ${fileB} (${theirs})`;
    throw new ReportRefusal(`${both} are not averaged: they differ in ${what}`);
  }
}

function poolCells(cells: readonly BenchCell[], random: RandomSource): BenchCell {
  const first = cells[0]!;
  if (cells.length === 1) return first;
  const { suite, id, params, unit, bytes } = first;
  const { usPerPage, median } = first;
  const pages = usPerPage === null || usPerPage === 0 ? 0 : Math.round(median / usPerPage);
  const failure = cells.find(isBroken)?.failure ?? null;
  const unchecked = cells.some((cell) => cell.unchecked === true);
  const sampled = {
    samples: cells.flatMap((cell) => cell.samples),
    dropped: cells.reduce((sum, cell) => sum + cell.dropped, 0),
    chained: first.chained,
    failure,
    phases: null,
  };
  const spec = { suite, id, params, unit, bytes, pages, unchecked };
  return makeCell(spec, sampled, random);
}
