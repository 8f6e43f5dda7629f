/**
 * The report for a terminal: adapter first, then what to beware of, tables, and every cell that
 * failed or was left out, with its reason. Goals that were not measured share one line; why each
 * was not is in the HTML and JSON reports.
 */
import { adapterName } from './format.ts';
import { reportFacts, reportTables, warnings } from './tables.ts';
import type { Table } from './tables.ts';
import { isBroken } from './types.ts';
import type { BenchReport } from './types.ts';

/** Columns of text with two blanks between; numbers to the right. */
export function textTable(table: Table): string {
  const all = [table.columns, ...table.rows];
  const widths = table.columns.map((_, at) => Math.max(...all.map((row) => row[at]!.length)));
  const isNumeric = table.columns.map((_, at) =>
    table.rows.every((row) => /^(-|FAIL|[\d.]+)?$/.test(row[at]!)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((text, at) =>
        at > 0 && isNumeric[at] === true ? text.padStart(widths[at]!) : text.padEnd(widths[at]!),
      )
      .join('  ')
      .trimEnd();
  const { title, notes = [] } = table;
  return [title, ...all.map((row) => `  ${line(row)}`), ...notes].join('\n');
}

/** Groups what was left out by reason: "copy/...: moves more than 256 MiB (and 9 more)". */
function omittedLines(report: BenchReport): string[] {
  const byReason = new Map<string, string[]>();
  for (const { id, why } of report.omitted) {
    byReason.set(why, [...(byReason.get(why) ?? []), id]);
  }
  return [...byReason].map(([why, ids]) => {
    const more = ids.length > 1 ? ` (and ${ids.length - 1} more)` : '';
    return `  ${ids[0]!}${more}: ${why}`;
  });
}

/** Why goals that were asked for by name are open. */
function openReasons({ env, goals }: BenchReport): string[] {
  const open = goals.filter(({ id, holds }) => holds === null && env.goals?.includes(id) === true);
  return open.map(({ id, why }) => `  ${id}: ${why ?? 'not decided'}`);
}

/** The whole report, ending in a newline. */
export function textReport(report: BenchReport): string {
  const measured = report.goals.filter((goal) => goal.holds !== null);
  const open = report.goals.filter((goal) => goal.holds === null).map(({ id }) => id);
  const tables = reportTables({ ...report, goals: measured });
  const parts = [
    `adapter: ${adapterName(report.env.adapter)}`,
    ...warnings(report),
    ...reportFacts(report).map(([name, value]) => `${name}: ${value}`),
    ...tables.filter(({ rows }) => rows.length > 0).map((table) => `\n${textTable(table)}`),
    ...(open.length > 0 ? [`\nnot measured: ${open.join(', ')}`] : []),
    ...openReasons(report),
  ];
  const failed = report.cells.filter(isBroken);
  if (failed.length > 0) {
    parts.push('\nNot verified', ...failed.map(({ id, failure }) => `  ${id}: ${failure ?? ''}`));
  }
  const omitted = omittedLines(report);
  if (omitted.length > 0) parts.push('\nLeft out', ...omitted);
  return `${parts.join('\n')}\n`;
}
