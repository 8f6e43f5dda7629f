/*
 * The clock that nudges go by in a browser; in Node, which needs none, waits for a word have whole
 * milliseconds.
 */
import { expect, test } from 'vitest';
import { Nudger } from '../../src/gpu/nudge.ts';

/** Milliseconds from the begin of a wait to the first nudge. */
function firstNudge(): Promise<number> {
  return new Promise((resolve) => {
    const begun = performance.now();
    const device = {
      pushErrorScope: () => undefined,
      popErrorScope: () => {
        resolve(performance.now() - begun);
        return new Promise<null>(() => {});
      },
    };
    new Nudger(device, true).begin();
  });
}

test('the first nudge comes after a quarter of a millisecond, not after a whole one', async () => {
  const times: number[] = [];
  // A busy machine delays each of them, but hardly all.
  do times.push(await firstNudge());
  while (times.length < 100 || (times.length < 4000 && Math.min(...times) >= 1));
  // The page's own clock may go by tenths.
  expect(Math.min(...times)).toBeGreaterThanOrEqual(0.15);
  expect(Math.min(...times)).toBeLessThan(1);
});
