/**
 * Reads reports that were written earlier, and pools repeated runs. What is no report of this
 * schema is refused with its version named; runs on different adapters are never pooled.
 */
import { makeCell } from './cells.ts';
import { settingsText } from './copy-settings.ts';
import { adapterName } from './format.ts';
import { wrongField } from './report-shape.ts';
import { median } from './stats.ts';
import type { RandomSource } from './stats.ts';
import { BENCH_SCHEMA, isBroken } from './types.ts';
import type { BenchCell, BenchReport } from './types.ts';

/** Why a file can't be used, in one line. */
export class ReportRefusal extends Error {
  override readonly name = 'ReportRefusal';
}

/** Characters of a quoted value at most. */
const QUOTED = 80;
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
    const named = schema === undefined ? 'it names no schema' : `its schema is ${quoted(schema)}`;
    throw new ReportRefusal(`${file} is not a report that can be read: ${named}, ${READABLE}`);
  }
  const wrong = wrongField(value);
  if (wrong !== null) {
    throw new ReportRefusal(`${file} is not a whole report: ${wrong} is missing or no such value`);
  }
  return value as BenchReport;
}

/** Any value of a file in a line: control characters escaped, and not too long. */
function quoted(value: unknown): string {
  const json = JSON.stringify(value);
  const inner = typeof value === 'string' ? `'${json.slice(1, -1)}'` : json;
  return inner.length <= QUOTED ? inner : `${inner.slice(0, QUOTED)}...`;
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
  const { usPerPage } = first;
  const pages = usPerPage === null || usPerPage === 0 ? 0 : Math.round(first.median / usPerPage);
  const failure = cells.find(isBroken)?.failure ?? null;
  const unchecked = cells.some((cell) => cell.unchecked === true);
  const sampled = {
    samples: cells.flatMap((cell) => cell.samples),
    dropped: cells.reduce((sum, cell) => sum + cell.dropped, 0),
    chained: first.chained,
    failure,
    phases: null,
  };
  const onDevice = cells.flatMap(({ gpuUs }) => (gpuUs === undefined ? [] : [gpuUs]));
  const gpuUs = onDevice.length === 0 ? null : median(onDevice);
  const spec = { suite, id, params, unit, bytes, pages, unchecked, gpuUs };
  return makeCell(spec, sampled, random);
}
