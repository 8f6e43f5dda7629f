import { expect, test } from 'vitest';
import * as reasons from '../../../src/mm/skip-reason.ts';
import { SKIP_REASONS, skipReasonName } from '../../../src/mm/skip-reason.ts';

const codes = Object.entries(reasons).filter(
  (entry): entry is [string, number] => entry[0] !== 'SKIP_REASONS' && typeof entry[1] === 'number',
);

test('codes count up from 0 and fit a byte', () => {
  expect(codes.map(([, code]) => code).sort((a, b) => a - b)).toEqual(
    Array.from({ length: SKIP_REASONS }, (_, i) => i),
  );
  expect(SKIP_REASONS).toBeLessThanOrEqual(256);
});

test('every code has a name of its own', () => {
  const names = codes.map(([, code]) => skipReasonName(code));
  expect(new Set(names).size).toBe(SKIP_REASONS);
  expect(skipReasonName(0)).toBe('none');
});

test('a code that nobody has is said to be unknown', () => {
  expect(skipReasonName(SKIP_REASONS)).toBe(`unknown reason ${SKIP_REASONS}`);
  expect(skipReasonName(-1)).toBe('unknown reason -1');
});
