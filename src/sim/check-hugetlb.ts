/** The part of the checker that counts the hugetlb pool (check-invariants.ts). */
import type { System } from '../mm/mm-types.ts';
import { PG_HUGETLB } from '../mm/page.ts';

/** Says what is wrong with the pool: `expect` is called with a condition and a message. */
export function checkHugetlb(sys: System, expect: (holds: boolean, message: string) => void): void {
  let folios = 0;
  for (const flags of sys.mem.flags) if ((flags & PG_HUGETLB) !== 0) folios++;
  expect(sys.hugetlbInUse === folios, `C16: ${folios} folios of the pool, not ${sys.hugetlbInUse}`);
}

/** True for a folio of the pool, which is on no LRU and in no resident set. */
export function isHugetlb(sys: System, folio: number): boolean {
  return sys.mem.testFlag(folio, PG_HUGETLB);
}
