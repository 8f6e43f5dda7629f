/*
 * Reading a curve: where it falls off, how far, and what the time goes to there.
 */
import type { TimeSplit } from '../../src/index.ts';
import { TIME_WORDS } from '../_shell/fault-words.ts';
import { usPerAccess, workingSetsMoved } from './sweep.ts';
import type { Contender, SweepCell } from './sweep.ts';

/** An access that takes so many times as long as where everything fits is over the cliff. */
const OVER = 1.5;
/** A share of the accesses, and of the time, that is worth a word. */
const NOTABLE = 0.05;

type Term = keyof TimeSplit;

/** A curve, read. */
export interface Cliff {
  readonly contender: Contender;
  /** µs an access where everything fits, at the largest such ratio there is. */
  readonly fitsUs: number | null;
  /** The first ratio over the cliff; null where there is none. */
  readonly edge: number | null;
  /** The last ratio before it: it is somewhere in between. */
  readonly before: number | null;
  /** The slowest point, and how many times slower than where everything fits. */
  readonly worst: { readonly ratio: number; readonly us: number; readonly slower: number } | null;
  /** Ratios at which the run did not end. */
  readonly stuck: readonly number[];
  readonly reason: string;
}

/**
 * Reads one policy's curve.
 *
 * @param cells its cells, in any order, maybe not all yet
 */
export function readCliff(contender: Contender, cells: readonly SweepCell[]): Cliff {
  const own = cells
    .filter((cell) => cell.contender === contender)
    .toSorted((a, b) => a.ratio - b.ratio);
  const stuck = own.filter(({ result }) => result === null).map(({ ratio }) => ratio);
  const ended = own.filter((cell) => usPerAccess(cell) !== null);
  const fits = ended.findLast(({ ratio }) => ratio <= 1);
  const timeOf = (cell: SweepCell): number => usPerAccess(cell) ?? 0;
  const over = ended.filter(({ ratio }) => ratio > 1);
  const fitsUs = fits === undefined ? null : timeOf(fits);
  const edge = fitsUs === null ? undefined : over.find((cell) => timeOf(cell) >= OVER * fitsUs);
  const [first, ...rest] = over;
  const slowest = rest.reduce((most, cell) => {
    return most !== undefined && timeOf(most) >= timeOf(cell) ? most : cell;
  }, first);
  const worst =
    slowest === undefined || fitsUs === null
      ? null
      : { ratio: slowest.ratio, us: timeOf(slowest), slower: timeOf(slowest) / fitsUs };
  return {
    contender,
    fitsUs,
    edge: edge?.ratio ?? null,
    before: edge === undefined ? null : (ended[ended.indexOf(edge) - 1]?.ratio ?? null),
    worst,
    stuck,
    reason:
      slowest === undefined || fits === undefined
        ? ''
        : reasonOf(fits, slowest, edge !== undefined),
  };
}

/** Why the slowest point is slow, or why it is not. */
function reasonOf(fits: SweepCell, slowest: SweepCell, isOver: boolean): string {
  const { result, pages } = slowest;
  if (result === null || fits.result === null) return '';
  const comes = result.counts.bytesIn / 4096 / pages;
  const came = fits.result.counts.bytesIn / 4096 / pages;
  const remote = result.counts.remoteUses / result.accesses;
  const unused = result.counts.prefetchedUnused / Math.max(1, result.counts.movedPages);
  const sentences: string[] = [];
  if (comes === 0) {
    sentences.push('No page moves: what is used lies in RAM, whatever the device holds.');
  } else if (comes > came * 1.2) {
    sentences.push(
      `A page comes ${times(comes)} on average, instead of ${times(came)}: ` +
        'it has been evicted when it is used again.',
    );
  } else {
    sentences.push(
      isOver
        ? 'Pages come no more often, but making room for them takes time.'
        : 'Pages come no more often than where everything fits.',
    );
  }
  if (remote > NOTABLE) {
    sentences.push(`${percent(remote)} of the accesses go over the link and move nothing.`);
  }
  if (unused > NOTABLE) {
    sentences.push(`${percent(unused)} of the pages brought are evicted without having been used.`);
  }
  sentences.push(`Most time: ${topTerms(result.times, result.us)}.`);
  return sentences.join(' ');
}

function topTerms(split: Readonly<Record<Term, number>>, us: number): string {
  const terms = (Object.entries(split) as [Term, number][])
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, 2)
    .filter(([, value], i) => i === 0 || value > us * 0.2);
  return terms.map(([term, value]) => `${TIME_WORDS[term]} (${percent(value / us)})`).join(', ');
}

function times(count: number): string {
  const rounded = Number(count.toPrecision(2));
  return rounded === 1 ? 'once' : `${rounded} times`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** All cells as CSV, a line each, the cost model in front. */
export function sweepCsv(cells: readonly SweepCell[], notes: readonly string[]): string {
  const [any] = cells.flatMap(({ result }) => (result === null ? [] : [result]));
  const counts = Object.keys(any?.counts ?? {}) as (keyof NonNullable<typeof any>['counts'])[];
  const split = Object.keys(any?.times ?? {}) as Term[];
  const own = ['policy', 'ratio', 'devicePages', 'pages', 'us', 'accesses', 'usPerAccess'];
  const names = [...own, 'workingSetsMoved', ...counts, ...split.map((term) => `${term}Us`)];
  const lines = cells.map((cell) => {
    const { contender, ratio, devicePages, pages, result, failure } = cell;
    const head = [contender, ratio, devicePages, pages];
    if (result === null) return [...head, `"${(failure ?? '').replaceAll('"', '""')}"`].join();
    return [
      ...head,
      result.us,
      result.accesses,
      usPerAccess(cell) ?? '',
      workingSetsMoved(cell) ?? '',
      ...counts.map((name) => result.counts[name]),
      ...split.map((term) => result.times[term]),
    ].join();
  });
  return [...notes.map((note) => `# ${note}`), names.join(), ...lines, ''].join('\n');
}
