/**
 * Access traces as text: CSV, a line per access, and JSON. What one writes the other reads back.
 *
 * ```
 * # region 0,1000 context=0 read-only fixed
 * workgroup,lane,page,access
 * 0,0,17,R
 * ```
 * Lines are in the order of the accesses; a workgroup's lanes are told apart by their numbers.
 * Access is R, W, A (atomic), S (atomic to all processors), P (prefetch) or B (barrier; its page is
 * not looked at). Without `# region` lines all pages up to the last one are one writable region.
 */
import { isRecord } from '../../base/is-record.ts';
import { jsonMistake } from '../../base/json-mistake.ts';
import { BARRIER, plainRegion, TraceError, TraceWriter } from './access-trace.ts';
import type { AccessTrace } from './access-trace.ts';
import { BLOCK_PAGES } from './block.ts';
import { NO_HINTS } from './policy.ts';
import type { Region } from './policy.ts';

/** Pages that a trace may name: 16 GiB. */
export const MAX_TRACE_PAGES = 2 ** 22;
/** Workgroups and lanes that a trace may name: a launch has up to 2^31 workgroups. */
const MAX_NUMBER = 2 ** 31 - 1;

const HEADER = 'workgroup,lane,page,access';
const SCHEMA = 'webhmm-access-trace-1';
/** The letter of each access kind; ACCESS_COUNTER is no access that a kernel makes. */
const LETTERS = ['P', 'R', 'W', 'A', 'S', '', '', 'B'] as const;

/** Writes a trace as CSV. */
export function traceToCsv(trace: AccessTrace): string {
  const lines = [`# name ${trace.name}`];
  for (const { first, outer, context, isWritable, isMigratable } of trace.regions) {
    const flags = `${isWritable ? '' : ' read-only'}${isMigratable ? '' : ' fixed'}`;
    lines.push(`# region ${first},${outer} context=${context}${flags}`);
  }
  lines.push(HEADER);
  for (const { workgroup, lane, page, access } of rowsOf(trace)) {
    lines.push(`${workgroup},${lane},${page},${LETTERS[access]}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Writes a trace as JSON. */
export function traceToJson(trace: AccessTrace): string {
  const rows = [...rowsOf(trace)].map((row) => [
    row.workgroup,
    row.lane,
    row.page,
    LETTERS[row.access],
  ]);
  const { name, regions } = trace;
  return JSON.stringify({ schema: SCHEMA, name, regions, accesses: rows });
}

interface Row {
  readonly workgroup: number;
  readonly lane: number;
  readonly page: number;
  readonly access: number;
}

function* rowsOf(trace: AccessTrace): Generator<Row> {
  const { laneWorkgroup, laneStart } = trace;
  for (let i = 0, inGroup = 0; i < laneWorkgroup.length; i++) {
    const workgroup = laneWorkgroup[i]!;
    inGroup = i > 0 && laneWorkgroup[i - 1] === workgroup ? inGroup + 1 : 0;
    for (let at = laneStart[i]!; at < laneStart[i + 1]!; at++) {
      yield { workgroup, lane: inGroup, page: trace.pages[at]!, access: trace.access[at]! };
    }
  }
}

/**
 * Reads a trace: JSON where the text begins like it, or is called so, else CSV.
 *
 * @param name the trace's name where the text has none; that of its file, if there is one
 * @throws TraceError that names the line and what is wrong with it
 *
 * Context: pure.
 */
export function readTrace(text: string, name = 'trace'): AccessTrace {
  const begin = text.trimStart();
  // What is called JSON and is a trace as CSV all the same can be read.
  const isCalled = /\.json$/i.test(name) && !/^(#|workgroup *,)/.test(begin);
  return isCalled || /^[[{"]/.test(begin) ? readJson(text, name) : readCsv(text, name);
}

function readCsv(text: string, name: string): AccessTrace {
  const lines = text.split(/\r?\n/);
  const regions: Region[] = [];
  const rows: Row[] = [];
  let hasHeader = false;
  let called = name;
  lines.forEach((line, i) => {
    const where = `line ${i + 1}`;
    const words = line.trim();
    if (words === '') return;
    if (words.startsWith('#')) {
      const [kind, ...rest] = words.slice(1).trim().split(/\s+/);
      if (kind === 'name') called = rest.join(' ');
      if (kind === 'region') regions.push(readRegion(rest, where));
    } else if (!hasHeader) {
      if (words.replaceAll(' ', '') !== HEADER) {
        throw new TraceError(`${where}: expected the header '${HEADER}', not '${cut(words)}'`);
      }
      hasHeader = true;
    } else {
      rows.push(readRow(words.split(','), where));
    }
  });
  if (!hasHeader) throw new TraceError(`no line '${HEADER}': this is no access trace`);
  return build(called, regions, rows);
}

function readRegion([range, ...flags]: readonly string[], where: string): Region {
  const [first, outer] = (range ?? '').split(',');
  const region = plainRegion(0, 1);
  const from = readCount(first, 'first page', MAX_TRACE_PAGES - 1, where);
  const to = readCount(outer, 'end', MAX_TRACE_PAGES, where);
  if (to <= from) throw new TraceError(`${where}: region ${range} is empty`);
  let context = 0;
  for (const flag of flags) {
    const number = /^context=(.*)$/.exec(flag)?.[1];
    if (number !== undefined) context = readCount(number, 'context', 0xffff, where);
    else if (flag !== 'read-only' && flag !== 'fixed') {
      throw new TraceError(`${where}: a region has context=N, read-only, fixed, not '${flag}'`);
    }
  }
  const isWritable = !flags.includes('read-only');
  const isMigratable = !flags.includes('fixed');
  return { ...region, first: from, outer: to, context, isWritable, isMigratable };
}

function readRow(fields: readonly unknown[], where: string): Row {
  if (fields.length !== 4) {
    const barrier = plainText(fields[2]).trim() === 'B' ? '; a barrier has a page, too: 0' : '';
    throw new TraceError(`${where}: expected 4 fields, ${HEADER}, not ${fields.length}${barrier}`);
  }
  const letter = plainText(fields[3]).trim();
  const access = letter === '' ? -1 : LETTERS.indexOf(letter as 'R');
  if (access < 0) {
    throw new TraceError(`${where}: access is R, W, A, S, P or B, not '${cut(letter)}'`);
  }
  return {
    workgroup: readCount(fields[0], 'workgroup', MAX_NUMBER, where),
    lane: readCount(fields[1], 'lane', MAX_NUMBER, where),
    page: access === BARRIER ? 0 : readCount(fields[2], 'page', MAX_TRACE_PAGES - 1, where),
    access,
  };
}

function readCount(value: unknown, what: string, max: number, where: string): number {
  const text = plainText(value).trim();
  const number = Number(text);
  if (/^\d+$/.test(text) && number <= max) return number;
  throw new TraceError(`${where}: ${what} is a whole number up to ${max}, not '${cut(text)}'`);
}

function readJson(text: string, name: string): AccessTrace {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new TraceError(`this is no JSON: ${jsonMistake(text)}`);
  }
  if (!isRecord(parsed)) throw new TraceError(`a trace as JSON is an object, not '${cut(text)}'`);
  const value = parsed as Readonly<Record<string, unknown>>;
  if (value['schema'] !== SCHEMA) {
    throw new TraceError(`schema is '${SCHEMA}', not '${cut(plainText(value['schema']))}'`);
  }
  const { regions = [], accesses } = value;
  if (!Array.isArray(accesses))
    throw new TraceError('accesses is a list of [workgroup, lane, page, access]');
  if (!Array.isArray(regions)) throw new TraceError('regions is a list');
  const rows = accesses.map((one: unknown, i) =>
    readRow(Array.isArray(one) ? (one as unknown[]) : [one], `access ${i}`),
  );
  const called = typeof value['name'] === 'string' ? value['name'] : name;
  return build(called, regions.map(readJsonRegion), rows);
}

function readJsonRegion(value: unknown, i: number): Region {
  const where = `region ${i}`;
  if (typeof value !== 'object' || value === null) throw new TraceError(`${where} is no object`);
  const fields = value as Readonly<Record<string, unknown>>;
  const flag = fields['isWritable'] === false ? ['read-only'] : [];
  if (fields['isMigratable'] === false) flag.push('fixed');
  flag.push(`context=${plainText(fields['context'] ?? 0)}`);
  const range = `${plainText(fields['first'])},${plainText(fields['outer'])}`;
  const hints = { ...NO_HINTS, ...(fields['hints'] as object | undefined) };
  return { ...readRegion([range, ...flag], where), hints };
}

function build(name: string, given: readonly Region[], rows: readonly Row[]): AccessTrace {
  if (rows.length === 0) throw new TraceError('the trace has no access');
  const last = rows.reduce((most, { page }) => Math.max(most, page), 0);
  const regions = given.length > 0 ? given : [plainRegion(0, last + 1)];
  checkRegions(regions);
  // Workgroups in the order of their first access; lanes of one together.
  const lanes = new Map<number, Map<number, Row[]>>();
  for (const row of rows) {
    const group = lanes.get(row.workgroup) ?? new Map<number, Row[]>();
    lanes.set(row.workgroup, group);
    const lane = group.get(row.lane) ?? [];
    group.set(row.lane, lane);
    lane.push(row);
  }
  const writer = new TraceWriter(name, regions);
  for (const group of lanes.values()) {
    let isNew = true;
    for (const lane of group.values()) {
      writer.lane(isNew);
      isNew = false;
      for (const { page, access } of lane) writer.touch(page, access);
    }
  }
  return writer.finish();
}

function checkRegions(regions: readonly Region[]): void {
  const sorted = regions.toSorted((a, b) => a.first - b.first);
  sorted.forEach((region, i) => {
    const before = sorted[i - 1];
    if (before === undefined) return;
    if (before.outer > region.first) {
      throw new TraceError(`regions at pages ${before.first} and ${region.first} overlap`);
    }
    const sameBlock =
      Math.floor((before.outer - 1) / BLOCK_PAGES) === Math.floor(region.first / BLOCK_PAGES);
    if (before.context !== region.context && sameBlock) {
      throw new TraceError(`region ${region.first}: another address space begins at a 2 MiB block`);
    }
  });
}

/** A number or a text as text; anything else as JSON, which no field takes. */
function plainText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

function cut(text: string): string {
  // Of a file that is no text a terminal should see nothing that moves its cursor.
  const plain = text.replaceAll(/\p{C}/gu, '?');
  return plain.length > 40 ? `${plain.slice(0, 37)}...` : plain;
}
