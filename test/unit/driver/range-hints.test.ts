/**
 * Hints about ranges, merged: oracle is a page by page map of what was said last.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { NO_HINTS } from '../../../src/driver/policy/policy.ts';
import type { Hints } from '../../../src/driver/policy/policy.ts';
import { firstBehind, mergeHints, sayTheSame } from '../../../src/driver/range-hints.ts';
import type { RangeHints } from '../../../src/driver/range-hints.ts';

const RAM: Hints = { ...NO_HINTS, preferred: 'ram' };
const DEVICE: Hints = { ...NO_HINTS, preferred: 'device' };

function say(first: number, outer: number, hints: Hints = RAM): RangeHints {
  return { first, outer, hints };
}

/** Ranges as text. */
function merged(...said: RangeHints[]): string[] {
  return mergeHints(said, 100)!.map(
    ({ first, outer, hints }) => `${first}-${outer} ${hints.preferred}`,
  );
}

describe('hints about ranges', () => {
  test('that overlap: the last word counts, and cuts the one before', () => {
    expect(merged(say(10, 30), say(15, 20, DEVICE))).toEqual([
      '10-15 ram',
      '15-20 device',
      '20-30 ram',
    ]);
    expect(merged(say(10, 30), say(5, 20, DEVICE))).toEqual(['5-20 device', '20-30 ram']);
    expect(merged(say(10, 30), say(20, 40, DEVICE))).toEqual(['10-20 ram', '20-40 device']);
    expect(merged(say(10, 30), say(5, 40, DEVICE))).toEqual(['5-40 device']);
  });

  test('that say the same and touch are one; those that do not touch are two', () => {
    expect(merged(say(10, 20), say(20, 30))).toEqual(['10-30 ram']);
    expect(merged(say(20, 30), say(10, 20))).toEqual(['10-30 ram']);
    expect(merged(say(10, 20), say(30, 40), say(20, 30))).toEqual(['10-40 ram']);
    expect(merged(say(10, 20), say(12, 15))).toEqual(['10-20 ram']);
    expect(merged(say(10, 20), say(21, 30))).toEqual(['10-20 ram', '21-30 ram']);
    expect(merged(say(10, 20), say(20, 30, DEVICE))).toEqual(['10-20 ram', '20-30 device']);
  });

  test('what takes everything back says nothing', () => {
    expect(merged(say(10, 30), say(15, 20, NO_HINTS))).toEqual(['10-15 ram', '20-30 ram']);
    expect(merged(say(10, 30), say(0, 100, NO_HINTS))).toEqual([]);
  });

  test('what is said about other pages concerns nobody', () => {
    expect(merged(say(-50, 5), say(95, 1000), say(200, 300), say(-9, 0))).toEqual([
      '0-5 ram',
      '95-100 ram',
    ]);
  });

  test('as many as there may be, and one more', () => {
    const some = Array.from({ length: 8 }, (_, i) => say(i * 2, i * 2 + 1));
    expect(mergeHints(some, 100, 8)!.length).toBe(8);
    expect(mergeHints([...some, say(50, 51)], 100, 8)).toBe(null);
    // Said again and again it is still the same.
    const again = Array.from({ length: 10_000 }, (_, i) => some[i % 8]!);
    expect(mergeHints(again, 100, 8)!.length).toBe(8);
  });

  test('any order of any ranges is what each page heard last', () => {
    const prng = new Prng(7);
    const kinds = [NO_HINTS, RAM, DEVICE];
    for (let round = 0; round < 300; round++) {
      const pages = Array.from({ length: 64 }, () => NO_HINTS);
      const said: RangeHints[] = [];
      for (let i = prng.below(20); i >= 0; i--) {
        const first = prng.below(64);
        const outer = first + 1 + prng.below(64 - first);
        const hints = kinds[prng.below(3)]!;
        pages.fill(hints, first, outer);
        said.push(say(first, outer, hints));
      }
      const ranges = mergeHints(said, 64)!;
      for (let page = 0; page < 64; page++) {
        const at = ranges[firstBehind(ranges, page)];
        const got = at !== undefined && at.first <= page ? at.hints : NO_HINTS;
        expect(got.preferred, `round ${round}, page ${page}`).toBe(pages[page]!.preferred);
      }
      for (let i = 1; i < ranges.length; i++) {
        const [one, next] = [ranges[i - 1]!, ranges[i]!];
        expect(next.first).toBeGreaterThanOrEqual(one.outer);
        const isOne = next.first === one.outer && sayTheSame(one.hints, next.hints);
        expect(isOne, `round ${round}`).toBe(false);
      }
    }
  });
});
