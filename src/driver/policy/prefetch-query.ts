/**
 * One prefetch decision, or a sequence of them, asked for as plain data: what `npm run fault --
 * --prefetch JSON` answers. It drives the same algorithms as the policies, on one block of 2 MiB.
 */
import { Prng } from '../../base/prng.ts';
import { BLOCK_PAGES, GROUP_PAGES, groupStart } from './block.ts';
import { densityTree, UVM_PREFETCH_THRESHOLD } from './density-tree.ts';
import { fillNeighbourhood, randomNeighbour } from './neighbourhood.ts';

/** Prefetchers by name. */
export const PREFETCHERS = ['uvm', 'tbn', 'sl64k', 'random', 'none'] as const;
/** Names of prefetchers. */
export type PrefetcherName = (typeof PREFETCHERS)[number];

/** Other names that papers and drivers use. */
const ALIASES: Readonly<Record<string, PrefetcherName>> = {
  uvm51: 'uvm',
  sl: 'sl64k',
  off: 'none',
};

/** What the query's answer is printed as. */
export interface PrefetchAnswer {
  /** Pages that came to the device, the faulted ones included, ascending. */
  readonly moved: number[];
  /** Faults taken: pages touched that were not there. */
  readonly faults: number;
  /** With `sequence`: the pages that each fault in turn brought. */
  readonly steps?: number[];
}

/** A query that can't be read, in words for the user. */
export class QueryError extends Error {
  override readonly name = 'QueryError';
}

interface Query {
  readonly policy: PrefetcherName;
  readonly resident: Uint8Array;
  readonly faulted: Uint8Array;
  readonly thrashing: Uint8Array;
  readonly first: number;
  readonly outer: number;
  readonly threshold: number;
  readonly prng: Prng;
  /** Batches of pages touched in turn; undefined for a single batch. */
  readonly sequence: readonly (readonly number[])[] | undefined;
}

const FIELDS = 'policy resident faulted thrashing region threshold sequence seed'.split(' ');

/**
 * Answers a query.
 *
 * @param input {policy, resident, faulted, thrashing, region, threshold, sequence, seed}, all
 *   optional. Pages are numbers from 0 to 511, or pairs [first, end) of them; region is one such
 *   pair; sequence is pages (or batches of pages) touched in turn, or "forward" or "reverse"
 * @returns what moved
 * @throws QueryError that names the field and its value
 *
 * Context: pure.
 */
export function answerPrefetchQuery(input: unknown): PrefetchAnswer {
  const query = readQuery(input);
  const resident = query.resident.slice();
  if (query.sequence === undefined) {
    const faults = decide(query, resident, query.faulted);
    return { moved: newPages(query.resident, resident), faults };
  }
  const steps: number[] = [];
  let faults = decide(query, resident, query.faulted);
  if (faults > 0) steps.push(newPages(query.resident, resident).length);
  const batch = new Uint8Array(BLOCK_PAGES);
  for (const pages of query.sequence) {
    batch.fill(0);
    for (const page of pages) batch[page] = 1;
    const before = resident.slice();
    const taken = decide(query, resident, batch);
    faults += taken;
    if (taken > 0) steps.push(newPages(before, resident).length);
  }
  return { moved: newPages(query.resident, resident), faults, steps };
}

/** Services one batch. @returns its faults on pages that were not there; updates `resident`. */
function decide(query: Query, resident: Uint8Array, touched: Uint8Array): number {
  const faulted = touched.map((one, page) => one & (1 - resident[page]!));
  const faults = faulted.reduce((sum, one) => sum + one, 0);
  if (faults === 0) return 0;
  const { policy, first, outer, thrashing } = query;
  const out = new Uint8Array(BLOCK_PAGES);
  if (policy === 'uvm') {
    const { threshold } = query;
    densityTree({ resident, faulted, thrashing, first, outer, threshold }, out);
  } else if (policy !== 'none') {
    const valid = resident.slice();
    for (let page = first; page < outer; page++) {
      if (faulted[page] === 1 && valid[page] === 0) fetchAround(query, valid, page, out);
    }
    for (let page = 0; page < BLOCK_PAGES; page++) out[page]! &= 1 - thrashing[page]!;
  }
  for (let page = 0; page < BLOCK_PAGES; page++) resident[page]! |= out[page]! | faulted[page]!;
  return faults;
}

/** What UVMSmart's prefetchers bring for one fault; marks it valid and in `out`. */
function fetchAround(query: Query, valid: Uint8Array, page: number, out: Uint8Array): void {
  const { policy, first, outer, prng } = query;
  if (policy === 'tbn') {
    fillNeighbourhood(valid, page, first, outer, out);
    return;
  }
  const start = groupStart(page);
  const from = policy === 'sl64k' ? Math.max(first, start) : page;
  const to = policy === 'sl64k' ? Math.min(outer, start + GROUP_PAGES) : page + 1;
  for (let at = from; at < to; at++) valid[at] = out[at] = 1;
  if (policy !== 'random') return;
  const other = randomNeighbour(valid, first, outer, prng);
  if (other >= 0) valid[other] = out[other] = 1;
}

function newPages(before: Uint8Array, after: Uint8Array): number[] {
  return [...after.keys()].filter((page) => after[page] === 1 && before[page] === 0);
}

function readQuery(input: unknown): Query {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new QueryError('the query must be an object, {"policy": "uvm", "faulted": [0], ...}');
  }
  const fields = input as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) {
    throw new QueryError(`knows no field '${unknown}'; fields are ${FIELDS.join(', ')}`);
  }
  const given = fields['policy'] ?? 'uvm';
  const word = typeof given === 'string' ? given.toLowerCase() : given;
  const policy = ALIASES[word as string] ?? word;
  if (!PREFETCHERS.includes(policy as PrefetcherName)) {
    throw new QueryError(`policy is one of ${PREFETCHERS.join(', ')}, not ${show(given)}`);
  }
  const { first, outer } = readRegion(fields['region']);
  const faulted = readMask('faulted', fields['faulted']);
  const sequence = readSequence(fields['sequence'], first, outer);
  const outside = [...faulted.keys(), ...(sequence ?? []).flat()].find(
    (page, at) => (at >= BLOCK_PAGES || faulted[page] === 1) && (page < first || page >= outer),
  );
  if (outside !== undefined) {
    throw new QueryError(`page ${outside} is touched, outside the region [${first}, ${outer})`);
  }
  return {
    policy: policy as PrefetcherName,
    resident: readMask('resident', fields['resident']),
    faulted,
    thrashing: readMask('thrashing', fields['thrashing']),
    first,
    outer,
    threshold: readNumber('threshold', fields['threshold'] ?? UVM_PREFETCH_THRESHOLD, 0, 100),
    prng: new Prng(readNumber('seed', fields['seed'] ?? 1, 0, 2 ** 32 - 1)),
    sequence,
  };
}

function readRegion(value: unknown): { first: number; outer: number } {
  if (value === undefined || value === null) return { first: 0, outer: BLOCK_PAGES };
  if (!Array.isArray(value) || value.length !== 2) {
    throw new QueryError(`region is a pair [first, end), not ${show(value)}`);
  }
  const first = readNumber('region', value[0], 0, BLOCK_PAGES - 1);
  return { first, outer: readNumber('region', value[1], first + 1, BLOCK_PAGES) };
}

/** A list of pages and of pairs [first, end). */
function readPages(name: string, value: unknown): number[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    throw new QueryError(`${name} is a list of pages, [0, 5, [16, 32]], not ${show(value)}`);
  }
  return value.flatMap((one: unknown) => {
    if (!Array.isArray(one)) return [readNumber(name, one, 0, BLOCK_PAGES - 1)];
    if (one.length !== 2) throw new QueryError(`${name}: ${show(one)} is no pair [first, end)`);
    const from = readNumber(name, one[0], 0, BLOCK_PAGES - 1);
    const to = readNumber(name, one[1], from, BLOCK_PAGES);
    return Array.from({ length: to - from }, (_, at) => from + at);
  });
}

function readMask(name: string, value: unknown): Uint8Array {
  const mask = new Uint8Array(BLOCK_PAGES);
  for (const page of readPages(name, value)) mask[page] = 1;
  return mask;
}

function readSequence(value: unknown, first: number, outer: number): number[][] | undefined {
  if (value === undefined || value === null) return undefined;
  if (value === 'forward' || value === 'reverse') {
    const pages = Array.from({ length: outer - first }, (_, at) => [first + at]);
    return value === 'forward' ? pages : pages.reverse();
  }
  if (!Array.isArray(value)) {
    throw new QueryError(
      `sequence is a list of pages or of batches of pages, "forward" or "reverse", not ` +
        show(value),
    );
  }
  return value.map((one: unknown) =>
    Array.isArray(one) ? readPages('sequence', one) : [readNumber('sequence', one, 0, 511)],
  );
}

function readNumber(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  throw new QueryError(`${name} takes whole numbers from ${min} to ${max}, not ${show(value)}`);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
