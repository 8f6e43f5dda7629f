/*
 * Copying one page between two arrays of words, and where pages lie in an array.
 *
 * A loop instead of `target.set(source.subarray(...))`: the latter makes an object of about 100
 * bytes for each page. Inside one array `copyWithin` makes none, and is faster than the loop.
 *
 * Locking. None. Source: our own.
 */
import { WORDS_PER_PAGE } from '../../base/units.ts';

/** Whole pages that an array of words holds. */
export function pagesIn(words: Uint32Array): number {
  return Math.floor(words.length / WORDS_PER_PAGE);
}

/** Copies page `sourcePage` of `source` over page `targetPage` of `target`. */
export function copyPageWords(
  target: Uint32Array,
  targetPage: number,
  source: Uint32Array,
  sourcePage: number,
): void {
  const from = sourcePage * WORDS_PER_PAGE;
  const to = targetPage * WORDS_PER_PAGE;
  for (let i = 0; i < WORDS_PER_PAGE; i += 4) {
    target[to + i] = source[from + i]!;
    target[to + i + 1] = source[from + i + 1]!;
    target[to + i + 2] = source[from + i + 2]!;
    target[to + i + 3] = source[from + i + 3]!;
  }
}
