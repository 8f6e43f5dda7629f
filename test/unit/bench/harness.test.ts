/*
 * The harness on operations whose time is known, as they say it themselves: what a wrong harness
 * would call a difference, or would not look at, turns a goal red.
 */
import { describe, expect, test } from 'vitest';
import { makeCell } from '../../../bench/cells.ts';
import { differenceFlags, sameThingPart, verifiedShare } from '../../../bench/harness-goals.ts';
import { twoSided } from '../../../bench/goal-runs.ts';
import { interleave, sampleOperation } from '../../../bench/sampler.ts';
import type { Operation, Sampled } from '../../../bench/sampler.ts';
import { Prng } from '../../../src/base/prng.ts';

const COMPARISONS = 120;
const PAIRS = 15;
const BOX = { minSamples: 15, maxSamples: 15, budgetMs: 10_000, warmups: 2 };

/** An operation on a clock of its own. @param cost Microseconds of the n-th run. */
function simulated(cost: (run: number) => number, more: Partial<Operation> = {}): Operation {
  let now = 0;
  let runs = 0;
  const run = (): number => {
    now += cost(runs);
    runs += 1;
    return 0;
  };
  return { run, clock: () => now, ...more };
}

/** G18's first part for a thing that is compared with itself. */
async function comparedWithItself(operation: Operation) {
  const order = (): number[] => twoSided(COMPARISONS * PAIRS);
  const [a, b] = await interleave([operation, operation], order, 2);
  const random = new Prng(3);
  return sameThingPart(differenceFlags(a!.samples, b!.samples, random), random);
}

describe('G18: A/A comparisons', () => {
  test('of noise find no difference', async () => {
    const random = new Prng(1);
    const part = await comparedWithItself(simulated(() => 60 + (random.nextU32() % 80)));
    expect(part.what).toMatch(/^share of 120 comparisons/);
    expect(part.holds, `${part.value}`).toBe(true);
  });

  test('of a machine whose drift makes it slower and slower find no difference', async () => {
    const part = await comparedWithItself(simulated((run) => 100 + run / 10));
    expect(part.holds, `${part.value}`).toBe(true);
  });

  test('of two things that differ find it', async () => {
    const order = (): number[] => twoSided(COMPARISONS * PAIRS);
    const random = new Prng(2);
    const side = (us: number): Operation => simulated(() => us + (random.nextU32() % 80));
    const [a, b] = await interleave([side(60), side(120)], order, 2);
    const part = sameThingPart(differenceFlags(a!.samples, b!.samples, random), random);
    expect(part).toMatchObject({ value: 1, holds: false });
  });
});

describe('what is no sample', () => {
  /** Slow for as long as it is new. */
  const warming = (): Operation => simulated((run) => (run < BOX.warmups ? 1000 : 100));

  test('is warm-up, in a cell and in a comparison', async () => {
    const alone = await sampleOperation(warming(), BOX, 0);
    expect(alone.samples).toEqual(Array.from({ length: 15 }, () => 100));
    const order = (): number[] => twoSided(PAIRS);
    for (const { samples } of await interleave([warming(), warming()], order, BOX.warmups)) {
      expect(samples).toEqual(Array.from({ length: PAIRS }, () => 100));
    }
  });

  test('is preparing', async () => {
    let now = 0;
    const operation: Operation = {
      prepare: () => void (now += 5000),
      run: () => {
        now += 100;
        return 0;
      },
      clock: () => now,
    };
    const { samples } = await sampleOperation(operation, BOX, 0);
    expect(new Set(samples)).toEqual(new Set([100]));
  });
});

describe('G19: cells whose results', () => {
  const spec = { suite: 'copy', id: 'x', params: {}, unit: 'us', bytes: 0, pages: 0 } as const;
  const cellsOf = (all: readonly Sampled[]) => ({
    cells: all.map((sampled) => makeCell(spec, sampled, new Prng(1))),
  });
  const right = simulated(() => 100, { verify: () => null });
  const wrong = simulated(() => 100, { verify: () => 'page 7 is wrong' });

  test('are right all count', async () => {
    const all = await interleave([right, right], () => twoSided(PAIRS), 1);
    const alone = await sampleOperation(right, BOX, 0);
    expect(verifiedShare(cellsOf([...all, alone]))).toMatchObject({ value: 1, holds: true });
  });

  test('are wrong when one looks at them turn it red', async () => {
    const alone = cellsOf([await sampleOperation(wrong, BOX, 0)]);
    expect(verifiedShare(alone)).toMatchObject({ value: 0, holds: false });
    expect(alone.cells[0]!.samples).toHaveLength(15);
    const both = await interleave([right, wrong], () => twoSided(PAIRS), 1);
    expect(verifiedShare(cellsOf(both))).toMatchObject({ value: 0.5, holds: false });
  });
});
