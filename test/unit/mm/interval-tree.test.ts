import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { makeMm, makeSystem } from './fixture.ts';
import { VmaIntervals } from '../../../src/mm/interval-tree.ts';
import type { MmStruct, Vma } from '../../../src/mm/mm-types.ts';
import { makeVma } from '../../../src/mm/vma.ts';

function vmaOf(mm: MmStruct, pgoff: number, pages: number): Vma {
  const start = 2 ** 30 + pgoff * PAGE_SIZE;
  return makeVma(mm, start, start + pages * PAGE_SIZE, 0, pgoff, null);
}

/** The VMAs that the collection offers for `index`, as a walk visits them. */
function hits(intervals: VmaIntervals, index: number): Vma[] {
  const found: Vma[] = [];
  for (let i = intervals.firstCandidate(index); i < intervals.vmas.length; i++) {
    const vma = intervals.vmas[i]!;
    if (vma.vmPgoff > index) break;
    if (index < vma.vmPgoff + (vma.vmEnd - vma.vmStart) / PAGE_SIZE) found.push(vma);
  }
  return found;
}

describe('VmaIntervals', () => {
  test('finds a VMA from its first page to its last, and not beyond', () => {
    const mm = makeMm(makeSystem());
    const intervals = new VmaIntervals();
    const vma = vmaOf(mm, 100, 10);
    intervals.insert(vma);
    expect([99, 100, 109, 110].map((index) => hits(intervals, index).length)).toEqual([0, 1, 1, 0]);
  });

  test('starts past the VMAs that are too short to reach the index', () => {
    const mm = makeMm(makeSystem());
    const intervals = new VmaIntervals();
    for (let i = 0; i < 1000; i++) intervals.insert(vmaOf(mm, i * 4, 4));
    expect(intervals.firstCandidate(2000)).toBe(500);
    const long = vmaOf(mm, 0, 4000);
    intervals.insert(long);
    expect(intervals.firstCandidate(2000)).toBe(0);
    intervals.remove(long);
    expect(intervals.firstCandidate(2000)).toBe(500);
  });

  test('agrees with a plain list under random changes', () => {
    const seed = 20_261_121;
    const random = new Prng(seed);
    const mm = makeMm(makeSystem());
    const intervals = new VmaIntervals();
    const plain: Vma[] = [];
    for (let step = 0; step < 2000; step++) {
      if (plain.length > 0 && random.chance(0.45)) {
        const [gone] = plain.splice(random.below(plain.length), 1);
        intervals.remove(gone!);
      } else {
        const vma = vmaOf(mm, random.below(60), 1 + random.below(random.chance(0.1) ? 40 : 4));
        plain.push(vma);
        intervals.insert(vma);
      }
      const index = random.below(100);
      // Positions in the plain list, since a VMA holds on to the whole machine.
      const expected = plain.flatMap((vma, at) => {
        const end = vma.vmPgoff + (vma.vmEnd - vma.vmStart) / PAGE_SIZE;
        return vma.vmPgoff <= index && index < end ? [at] : [];
      });
      const found = hits(intervals, index).map((vma) => plain.indexOf(vma));
      expect(
        found.toSorted((a, b) => a - b),
        `seed ${seed} step ${step}`,
      ).toEqual(expected);
    }
  });

  test('I10: taking out a VMA whose place changed is a bug', () => {
    const mm = makeMm(makeSystem());
    const intervals = new VmaIntervals();
    const vma = vmaOf(mm, 100, 10);
    intervals.insert(vma);
    intervals.insert(vmaOf(mm, 200, 10));
    vma.vmPgoff = 300;
    expect(() => intervals.remove(vma)).toThrow('I10');
  });
});
