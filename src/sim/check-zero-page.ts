/** The part of the checker that looks at the zero page (check-invariants.ts). */
import { PAGE_SIZE } from '../base/units.ts';
import type { System } from '../mm/mm-types.ts';

/** Says so when the zero page is not zero: `expect` is called with a condition and a message. */
export function checkZeroPage(
  sys: System,
  expect: (holds: boolean, message: string) => void,
): void {
  const words = PAGE_SIZE / 4;
  const page = sys.ramWords.subarray(sys.zeroPfn * words, (sys.zeroPfn + 1) * words);
  expect(
    page.every((word) => word === 0),
    'C14: the zero page has been written',
  );
}
