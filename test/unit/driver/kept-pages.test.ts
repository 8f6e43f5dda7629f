/*
 * What asks whether pages are kept asks about those that can be.
 */
import { expect, test } from 'vitest';
import { KeptPages } from '../../../src/driver/kept-pages.ts';
import type { PageKeeper } from '../../../src/driver/kept-pages.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';

const PAGE = 4096;

test.each([
  ['a range as large as the address space', 0, 2 ** 35, [8, 9, 10, 11]],
  ['a part of what can be kept', 9, 10, [9]],
  ['from the middle', 10, 100, [10, 11]],
  ['what ends where it begins', 0, 8, []],
  ['what begins where it ends', 12, 20, []],
])('a command on %s asks about those pages alone', async (_, first, outer, expected) => {
  const asked: number[] = [];
  const keeper: PageKeeper = {
    range: { first: 8, outer: 12 },
    holdsBack: () => null,
    keeps: () => false,
    detains: (_mm, page) => {
      asked.push(page);
      return null;
    },
  };
  const kept = new KeptPages();
  kept.add(keeper);
  // Nobody looks at the address space itself before somebody has to wait.
  const mm = {} as MmStruct;
  await kept.untilFree({ mm, isClosing: false }, first * PAGE, outer * PAGE);
  expect(asked).toEqual(expected);
});
