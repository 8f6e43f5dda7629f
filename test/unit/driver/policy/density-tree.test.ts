/**
 * The density-tree prefetcher: its golden vectors (P), both sides of its threshold, and random
 * blocks against a second writing of the algorithm. Oracles: the listed vectors, computed apart
 * from this code; and `bySets`, which counts pages one by one.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../../src/base/prng.ts';
import { densityTree } from '../../../../src/driver/policy/density-tree.ts';
import { answerPrefetchQuery } from '../../../../src/driver/policy/prefetch-query.ts';

/** Pages from `from` up to, not including, `to`. */
function span(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at);
}

function moved(query: object): number[] {
  return answerPrefetchQuery(query).moved;
}

/** One page in each of `count` groups of 64K, `step` groups apart. */
function inGroups(count: number, step: number): number[] {
  return Array.from({ length: count }, (_, at) => at * step * 16 + (at % 16));
}

describe('golden vectors', () => {
  const vectors: [string, object, number[]][] = [
    ['P1: one fault brings its 64K', { faulted: [0] }, span(0, 16)],
    ['P1: whichever page of it', { faulted: [5] }, span(0, 16)],
    ['P2: two groups', { faulted: [0, 16] }, span(0, 32)],
    ['P3: half does not grow', { faulted: [0, 32] }, [...span(0, 16), ...span(32, 48)]],
    ['P4: three of four', { faulted: [0, 16, 32] }, span(0, 64)],
    ['P5: five of eight', { faulted: [0, 16, 32, 64, 80] }, span(0, 128)],
    ['P9: 17 groups bring all', { faulted: inGroups(17, 1) }, span(0, 512)],
    [
      'P10: every other group brings itself',
      { faulted: inGroups(16, 2) },
      span(0, 512).filter((page) => page % 32 < 16),
    ],
    ['P11: P10 and page 16 bring all', { faulted: [...inGroups(16, 2), 16] }, span(0, 512)],
    ['P13: a VMA from page 5', { region: [5, 105], faulted: [5] }, span(5, 16)],
  ];
  test.each(vectors)('%s', (_, query, pages) => {
    expect(moved({ policy: 'uvm', ...query })).toEqual(pages);
  });

  const steps = [16, 16, 32, 64, 128, 256];
  const groups = Array.from({ length: 32 }, (_, at) => at * 16);
  test.each(['uvm', 'tbn'])('%s: every group in order takes six faults, either way', (policy) => {
    for (const sequence of [groups, groups.toReversed(), 'forward', 'reverse']) {
      const answer = answerPrefetchQuery({ policy, sequence });
      expect(answer).toEqual({ moved: span(0, 512), faults: 6, steps });
    }
  });

  test('a 2 MiB block takes 512 faults without, 32 with 64K groups, 6 with a tree', () => {
    const faults = (policy: string): number =>
      answerPrefetchQuery({ policy, sequence: 'forward' }).faults;
    expect(['none', 'sl64k', 'tbn', 'uvm'].map(faults)).toEqual([512, 32, 6, 6]);
  });
});

describe('the threshold is strict', () => {
  test.each([
    // The first counts that exceed 51 %, and one less, in groups of 64K below a node.
    [2, 1, 2],
    [4, 2, 3],
    [8, 4, 5],
    [16, 8, 9],
    [32, 16, 17],
  ])('of %i groups, %i do not fetch the node, %i do', (size, few, enough) => {
    const resident = (count: number): number[][] => [[0, (count - 1) * 16]];
    const last = (count: number): number => (count - 1) * 16;
    const grown = (count: number): number =>
      answerPrefetchQuery({ resident: resident(count), faulted: [last(count)] }).moved.length;
    expect(grown(few)).toBe(16);
    expect(grown(enough)).toBe((size - enough + 1) * 16);
  });

  test('262 of 512 pages exceed 51 %, 261 do not', () => {
    // Groups that thrash don't grow to 64K, so that pages count one by one.
    const thrashing = span(0, 512).filter((page) => page % 16 === 15);
    const usable = span(0, 512).filter((page) => page % 16 !== 15);
    const atRoot = (count: number): boolean => {
      // Nearly all in the left half, so that of the nodes above page 500 only the root is full.
      const resident = usable.slice(0, count - 1);
      return moved({ resident, faulted: [500], thrashing }).includes(508);
    };
    expect([atRoot(261), atRoot(262)]).toEqual([false, true]);
  });

  test('50 % at a threshold of 50 does not grow, at 49 it does', () => {
    expect(moved({ faulted: [0], threshold: 50 })).toEqual(span(0, 16));
    expect(moved({ faulted: [0], threshold: 49 })).toEqual(span(0, 32));
  });

  test('at 0 a fault brings the block, at 100 only itself', () => {
    expect(moved({ faulted: [77], threshold: 0 })).toEqual(span(0, 512));
    expect(moved({ faulted: [77], threshold: 100 })).toEqual([77]);
    expect(moved({ faulted: [77], threshold: 99 })).toEqual(span(64, 80));
  });
});

describe('thrashing pages', () => {
  test('keep their 64K group from growing, and no other', () => {
    expect(moved({ faulted: [0, 48], thrashing: [3] })).toEqual([0, ...span(48, 64)]);
  });

  test('are never prefetched, but move when they fault', () => {
    const got = moved({ faulted: [0, 16, 32, 48, 70], thrashing: [70, 71] });
    expect(got).toContain(70);
    expect(got).not.toContain(71);
  });

  test('start no prefetch', () => {
    expect(moved({ resident: [[1, 512]], faulted: [0], thrashing: [0] })).toEqual([0]);
  });
});

describe('ragged regions', () => {
  test('a region without a whole 64K grows as one', () => {
    expect(moved({ region: [5, 15], faulted: [7] })).toEqual(span(5, 15));
    expect(moved({ region: [10, 20], faulted: [12] })).toEqual(span(10, 20));
  });

  test('the last group grows to the end of the region', () => {
    expect(moved({ region: [0, 40], faulted: [39] })).toEqual(span(32, 40));
  });

  test('nodes at the end count the pages that exist', () => {
    // The root has 80 pages, not 128: 32 of them are no more than 51 %, 48 are.
    expect(moved({ region: [0, 80], faulted: [0, 32] })).toEqual([...span(0, 16), ...span(32, 48)]);
    expect(moved({ region: [0, 80], faulted: [0, 32, 64] })).toEqual(span(0, 80));
  });

  test('what lies outside the region neither counts nor moves', () => {
    expect(moved({ region: [32, 64], resident: [[0, 32]], faulted: [32] })).toEqual(span(32, 48));
  });
});

/** The same decision, with sets and one count per node. */
function bySets(
  resident: Set<number>,
  faulted: Set<number>,
  thrashing: Set<number>,
  [first, outer]: readonly [number, number],
  threshold: number,
): number[] {
  const inside = span(first, outer);
  const whole = inside.filter((p) => p % 16 === 0 && p + 16 <= outer);
  const groupOf = (p: number): number => (whole.length === 0 ? 0 : Math.floor(p / 16));
  const there = new Set(inside.filter((p) => resident.has(p) || faulted.has(p)));
  for (const group of new Set(inside.map(groupOf))) {
    const pages = inside.filter((p) => groupOf(p) === group);
    if (pages.some((p) => faulted.has(p)) && !pages.some((p) => thrashing.has(p))) {
      for (const page of pages) there.add(page);
    }
  }
  const base = whole.length === 0 ? first : Math.floor(first / 16) * 16;
  const got = new Set<number>();
  for (const page of inside.filter((p) => faulted.has(p) && !thrashing.has(p))) {
    let best: number[] = [];
    for (let size = 1; size < 1024; size *= 2) {
      const start = base + Math.floor((page - base) / size) * size;
      const end = Math.min(start + size, outer);
      const count = span(start, end).filter((p) => there.has(p)).length;
      if (count * 100 > (end - start) * threshold) best = span(Math.max(start, first), end);
    }
    for (const one of best) got.add(one);
  }
  return [...got].filter((p) => !faulted.has(p) && !thrashing.has(p)).sort((a, b) => a - b);
}

test('random blocks agree with a second writing of the algorithm', () => {
  const prng = new Prng(6);
  const draw = (chance: number): Set<number> =>
    new Set(span(0, 512).filter(() => prng.chance(chance)));
  for (let round = 0; round < 120; round++) {
    const aligned = prng.chance(0.5);
    const first = aligned ? 0 : prng.below(200);
    const outer = aligned ? 512 : first + 1 + prng.below(512 - first);
    const [resident, thrashing] = [draw(prng.below(60) / 100), draw(prng.below(4) / 100)];
    const faulted = new Set(
      [...draw(prng.below(8) / 100)].filter((p) => p >= first && p < outer && !resident.has(p)),
    );
    const threshold = prng.below(101);
    const masks = [resident, faulted, thrashing].map((set) =>
      Uint8Array.from(span(0, 512), (page) => (set.has(page) ? 1 : 0)),
    );
    const out = new Uint8Array(512);
    const request = { first, outer, threshold };
    const count = densityTree(
      { resident: masks[0]!, faulted: masks[1]!, thrashing: masks[2]!, ...request },
      out,
    );
    const want = bySets(resident, faulted, thrashing, [first, outer], threshold);
    expect([...out.keys()].filter((page) => out[page] === 1)).toEqual(want);
    expect(count).toBe(want.length);
  }
});
