/**
 * What a user has said about ranges of a context, in the order of the pages: of what overlaps the
 * last word counts, neighbours that say the same are one range, and what says nothing is none. So
 * there are never more ranges than the user has made different from each other, and there is a
 * limit to those, as vm.max_map_count is one to the VMAs that madvise splits.
 *
 * Locking: none; pure. Source: our own.
 */
import { HINT_NAMES, NO_HINTS } from './policy/policy.ts';
import type { Hints } from './policy/policy.ts';

/** What a user has said about pages [first, outer) of a context. */
export interface RangeHints {
  readonly first: number;
  readonly outer: number;
  readonly hints: Hints;
}

/** Most ranges of a launch that say something, once they are merged. */
export const MAX_HINT_RANGES = 4096;

/**
 * Merges hints.
 *
 * @param said in the order in which they were said. @param pages of the context; what is said about
 * others concerns nobody. @param most ranges that there may be at any time
 * @returns ranges in order that do not overlap; null where there would be more than `most`
 */
export function mergeHints(
  said: Iterable<RangeHints>,
  pages: number,
  most = Infinity,
): RangeHints[] | null {
  const ranges: RangeHints[] = [];
  for (const { first, outer, hints } of said) {
    const from = Math.max(0, first);
    const to = Math.min(pages, outer);
    if (from >= to) continue;
    enter(ranges, { first: from, outer: to, hints });
    if (ranges.length > most) return null;
  }
  return ranges;
}

/** The first of the ranges that end behind a page. */
export function firstBehind(ranges: readonly RangeHints[], page: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (ranges[middle]!.outer > page) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether two hints say the same. */
export function sayTheSame(a: Hints, b: Hints): boolean {
  return HINT_NAMES.every((name) => a[name] === b[name]);
}

/** Puts a range in the place of what it covers. */
function enter(ranges: RangeHints[], range: RangeHints): void {
  let { first, outer } = range;
  let { hints } = range;
  const parts: RangeHints[] = [];
  let at = firstBehind(ranges, first);
  let end = at;
  while (end < ranges.length && ranges[end]!.first < outer) end++;
  const head = ranges[at];
  const tail = ranges[end - 1];
  if (head !== undefined && head.first < first) parts.push({ ...head, outer: first });
  const rest = end > at && tail!.outer > outer ? { ...tail!, first: outer } : undefined;
  // Neighbours that say the same become one with it; all of them were one already.
  const left = parts.at(-1) ?? ranges[at - 1];
  if (left !== undefined && left.outer === first && sayTheSame(left.hints, hints)) {
    if (parts.length === 0) at--;
    parts.length = 0;
    ({ first, hints } = left);
  }
  const right = rest ?? ranges[end];
  const isOne = right !== undefined && right.first === outer && sayTheSame(right.hints, hints);
  if (isOne) {
    if (rest === undefined) end++;
    ({ outer } = right);
  }
  if (!sayTheSame(hints, NO_HINTS)) parts.push({ first, outer, hints });
  if (rest !== undefined && !isOne) parts.push(rest);
  ranges.splice(at, end - at, ...parts);
}
