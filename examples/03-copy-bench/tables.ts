/*
 * A report as tables: goals, cells, environment.
 */
import type {
  BenchCell,
  BenchGoal,
  BenchReport,
  GoalLimit,
  GoalPart,
  OmittedCell,
} from '../../bench/types.ts';
import { askedFor, settingsFact } from '../../bench/format.ts';
import { hasGpuTime } from '../../bench/gpu-time-notes.ts';
import type { Table } from '../../bench/tables.ts';
import { isBroken } from '../../bench/types.ts';
import { el, row } from '../_shell/dom.ts';
import { digits, formatBytes, formatCount } from '../_shell/numbers.ts';
import { adapterName } from '../_shell/status.ts';

function table(kind: string, names: readonly string[], rows: readonly Node[]): HTMLTableElement {
  const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
  return el('table', { class: kind }, el('thead', {}, head), el('tbody', {}, ...rows));
}

/** The goals that the run decided, each bound of a goal on a line of its own. */
export function goalTable(goals: readonly BenchGoal[]): HTMLTableElement {
  const names = ['Id', 'Goal', 'Result', 'Value', '95% interval', 'Target', 'What was measured'];
  return table('goals text', names, goals.flatMap(goalRows));
}

/** The others, each with the reason why not. */
export function openGoalTable(goals: readonly BenchGoal[]): HTMLTableElement {
  const rows = goals.map(({ id, title, why }) => row(id, title, why ?? ''));
  return table('text', ['Id', 'Goal', 'Why not'], rows);
}

function goalRows({ id, title, holds, parts }: BenchGoal): HTMLTableRowElement[] {
  const result = el('td', {}, verdictOf(holds === true));
  const head = el('tr', { 'data-goal': id, 'data-holds': String(holds) });
  head.append(el('th', { scope: 'row' }, id), el('td', { class: 'goal' }, title), result);
  const [only] = parts;
  const lines: HTMLTableRowElement[] = [];
  head.append(...(parts.length === 1 && only !== undefined ? partCells(only) : [spanning('')]));
  for (const part of parts) {
    if (parts.length > 1) lines.push(partRow(part));
    const { limit } = part;
    if (limit === undefined) continue;
    lines.push(el('tr', { class: 'part' }, el('td', { colspan: 3 }), spanning(limitLine(limit))));
  }
  return [head, ...lines];
}

function limitLine({ what, value, beyond }: GoalLimit): string {
  const line = `limit here ${digits(value)}: ${what}`;
  if (beyond === undefined) return line;
  const interval = beyond.ci.map(digits).join(' to ');
  const times = `${digits(beyond.value)} times as long as that (${interval})`;
  return `${line}; in the same rounds ours takes ${times}`;
}

function partRow(part: GoalPart): HTMLTableRowElement {
  const result = el('td', {}, verdictOf(part.holds));
  return el('tr', { class: 'part' }, el('td', { colspan: 2 }), result, ...partCells(part));
}

function partCells({ value, ci, comparison, target, what }: GoalPart): HTMLElement[] {
  const sign = comparison === '<=' ? '≤' : '≥';
  return [
    el('td', { 'data-label': 'value' }, digits(value)),
    el('td', { 'data-label': '95%' }, `${digits(ci[0])} to ${digits(ci[1])}`),
    el('td', { 'data-label': 'target' }, `${sign} ${Number(target.toPrecision(3))}`),
    el('td', { class: 'what' }, what),
  ];
}

function spanning(text: string): HTMLTableCellElement {
  return el('td', { class: 'what', colspan: 4 }, text);
}

function verdictOf(holds: boolean): HTMLSpanElement {
  return holds ? badgeOf('good', 'holds') : badgeOf('bad', 'misses');
}

function badgeOf(tone: 'good' | 'warn' | 'bad', text: string): HTMLSpanElement {
  return el('span', { class: `badge ${tone}` }, text);
}

/** A table that is printed on terminals, too: its title and itself. */
export function plainTable({ title, columns, rows, notes = [] }: Table): HTMLElement[] {
  const lines = rows.map(([head = '', ...cells]) => row(head, ...cells));
  const below = notes.length === 0 ? [] : [el('p', { class: 'muted' }, notes.join(' '))];
  return [el('p', { class: 'muted' }, title), table('numbers', columns, lines), ...below];
}

/** One line a cell. */
export function cellTable(cells: readonly BenchCell[]): HTMLTableElement {
  const isTimed = hasGpuTime(cells);
  const device = isTimed ? ['µs on the device'] : [];
  const times = ['Cell', 'p50', 'p90', 'p99', ''];
  const names = [...times, ...device, 'n', 'CV', 'GB/s', 'µs a page', 'Verified'];
  const rows = cells.map((cell) => {
    const unit = cell.unit === 'us' ? 'µs' : cell.unit;
    const verified = verifiedBadge(cell);
    const onDevice = cell.gpuUs === undefined ? '–' : digits(cell.gpuUs);
    const figures = [digits(cell.p50), digits(cell.p90), digits(cell.p99), unit];
    if (isTimed) figures.push(onDevice);
    const more = [formatCount(cell.samples.length), `${(cell.cv * 100).toFixed(0)} %`];
    const derived = [cell.gbPerSecond, cell.usPerPage].map((x) => (x === null ? '–' : digits(x)));
    const line = row(el('code', {}, cell.id), ...figures, ...more, ...derived, verified);
    line.dataset['cell'] = cell.id;
    return line;
  });
  return table('numbers', names, rows);
}

function verifiedBadge(cell: BenchCell): HTMLSpanElement {
  if (cell.verified) return badgeOf('good', 'yes');
  return isBroken(cell) ? badgeOf('bad', cell.failure ?? 'no') : badgeOf('warn', 'not looked at');
}

/** Combinations that were not measured, and why. */
export function omittedTable(omitted: readonly OmittedCell[]): HTMLTableElement {
  const rows = omitted.map(({ id, why }) => row(el('code', {}, id), why));
  return table('text', ['Cell', 'Why'], rows);
}

/** Where the numbers come from. */
export function environmentTable(report: BenchReport): HTMLTableElement {
  const { env, commit } = report;
  const { adapter } = env;
  const named = `${adapterName(adapter)}${env.isSoftware ? ' (software)' : ''}`;
  // Reports of others may lack the limits; the CPU engine has none.
  const binding = adapter.limits?.['maxStorageBufferBindingSize'];
  const entries: readonly (readonly [string, string])[] = [
    ['Adapter', env.engine === 'cpu' ? 'none' : named],
    ['Engine', env.engine],
    ['Browser', `${env.browser} ${env.version}`],
    ['Cores', String(env.cores)],
    ['Clock tick', `${digits(env.clockTickUs)} µs`],
    ['GPU timestamp tick', env.timestampTickNs === null ? '–' : `${env.timestampTickNs} ns`],
    ['Largest binding', binding === undefined ? '–' : formatBytes(binding)],
    ['Cross-origin isolated', env.crossOriginIsolated ? 'yes' : 'no'],
    ['Tab hidden meanwhile', env.hidden ? 'yes: worthless' : 'no'],
    ['Seed', String(env.seed)],
    ['Run', askedFor(report)],
    ['Settings', settingsFact(report)],
    ['Started', env.startedAt],
    ['Commit', commit ?? 'unknown'],
  ];
  const rows = entries.map(([name, value]) => row(name, value));
  return el('table', { class: 'numbers text' }, el('tbody', {}, ...rows));
}
