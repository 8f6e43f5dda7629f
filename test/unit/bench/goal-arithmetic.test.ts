/*
 * Arithmetic of the goals on paths, crossover, lanes and the harness, on invented samples; frames
 * of fragmented batches.
 */
import { describe, expect, test } from 'vitest';
import { crossoverText } from '../../../bench/crossover-goal.ts';
import type { CrossoverCell } from '../../../bench/crossover-goal.ts';
import { overlapLimit } from '../../../bench/engine-goals.ts';
import { CLUSTER_FOLIOS, takeFragments } from '../../../bench/fragments.ts';
import type { Fragments } from '../../../bench/fragments.ts';
import { FramePool } from '../../../bench/frames.ts';
import { distanceFromOne } from '../../../bench/harness-goals.ts';
import { bestPath, isWithin, shareWithin, worstCell } from '../../../bench/path-regret.ts';
import type { CellRegret } from '../../../bench/path-regret.ts';
import { Prng } from '../../../src/base/prng.ts';

function regret(id: string, low: number, value: number, high: number): CellRegret {
  return { id, best: 'runs', regret: { value, ci: [low, high] } };
}

describe('path regret', () => {
  test('the best path is that with the smallest median, whatever its outliers', () => {
    expect(
      bestPath([
        [3, 3, 3],
        [1, 2, 90],
        [1, 4, 4],
      ]),
    ).toBe(1);
  });

  test('a path that failed is not the best, and without any there is none', () => {
    expect(bestPath([[], [7]])).toBe(1);
    expect(bestPath([[], []])).toBe(-1);
  });

  test('a cell misses only when its whole interval lies above the bound', () => {
    expect(isWithin(regret('a', 1.09, 1.3, 1.5), 1.1)).toBe(true);
    expect(isWithin(regret('a', 1.1, 1.3, 1.5), 1.1)).toBe(true);
    expect(isWithin(regret('a', 1.11, 1.12, 1.5), 1.1)).toBe(false);
  });

  test('the share of cells within a bound', () => {
    const cells = [regret('a', 1, 1, 1), regret('b', 2, 2, 2), regret('c', 1, 1.2, 2)];
    const share = shareWithin([...cells, regret('d', 0.5, 1, 1.2)], 1.1, new Prng(1));
    expect(share.value).toBe(0.75);
    expect(share.ci[0]).toBeLessThan(0.75);
    expect(share.ci[1]).toBe(1);
  });

  test('the worst cell is the one that is surely bad, not the noisiest', () => {
    expect(worstCell([regret('noisy', 0.5, 3, 9), regret('bad', 1.4, 1.5, 1.6)]).id).toBe('bad');
  });
});

describe('the crossover', () => {
  const cell = (folioBytes: number, batch: number, value: number): CrossoverCell => ({
    folioBytes,
    batch,
    threads: 2,
    ratio: { value, ci: [value * 0.9, value * 1.05] },
  });

  test('names the batch from which offload wins, by folio size', () => {
    const cells = [cell(4096, 1, 9), cell(4096, 8, 0.9), cell(65536, 1, 0.5), cell(65536, 8, 0.4)];
    const text = 'offload wins with 4 KiB from a batch of 8 on, 64 KiB from a batch of 1 on';
    expect(crossoverText(cells)).toBe(text);
  });

  test('a batch that wins alone, below one that loses, is no crossover', () => {
    const cells = [cell(4096, 1, 0.8), cell(4096, 8, 1.2)];
    expect(crossoverText(cells)).toBe(
      'offload never wins; nearest 4 KiB x 1, 0.800 x the time of 2 CPU threads',
    );
  });

  test('a win within noise is none', () => {
    expect(crossoverText([cell(4096, 1, 0.99)])).toContain('never wins');
    expect(crossoverText([cell(4096, 1, 0.9)])).toContain('wins with');
  });
});

describe('the harness goals', () => {
  test('the distance of a ratio from 1 is the same both ways, and 0 is in reach across 1', () => {
    expect(distanceFromOne({ value: 0.96, ci: [0.9, 1.02] }).value).toBeCloseTo(0.04, 12);
    expect(distanceFromOne({ value: 0.96, ci: [0.9, 1.02] }).ci[0]).toBe(0);
    expect(distanceFromOne({ value: 0.96, ci: [0.9, 1.02] }).ci[1]).toBeCloseTo(0.1, 12);
    expect(distanceFromOne({ value: 1.05, ci: [1.02, 1.06] }).ci[0]).toBeCloseTo(0.02, 12);
  });

  test('overlapping two equal halves can bring 2, unequal ones less', () => {
    expect(overlapLimit([4, 9], [4, 3])).toEqual([2, 12 / 9]);
  });
});

describe('fragments', () => {
  const take = (batch: number, folioPages: number, fragments: Fragments) =>
    takeFragments(
      new FramePool(64, 4096),
      new FramePool(8192, 4096),
      { batch, folioPages, fragments },
      new Prng(3),
    );
  const neighbours = (frames: Uint32Array) =>
    [...frames].filter((frame) => frames.includes(frame + 1)).length;

  test('contiguous folios are one range in order, on both sides', () => {
    const { source, target } = take(8, 2, 'contiguous')!;
    expect([...source]).toEqual([64, 66, 68, 70, 72, 74, 76, 78]);
    expect([...target]).toEqual([...source].map((frame) => frame - 64 + 8192));
  });

  test('clusters are whole, and their pages have neighbours as targets', () => {
    const { source, target } = take(64, 1, 'clustered')!;
    expect(new Set(source).size).toBe(64);
    expect(neighbours(source)).toBeGreaterThanOrEqual(64 - 64 / CLUSTER_FOLIOS);
    const at = new Map([...source].map((frame, i) => [frame, target[i]!]));
    for (const [frame, to] of at) {
      const within = (frame - 64) % CLUSTER_FOLIOS;
      expect((to - 8192) % CLUSTER_FOLIOS).toBe(within);
      if (within > 0) expect(at.get(frame - 1)).toBe(to - 1);
    }
  });

  test('pages of clusters are not in order', () => {
    const { source } = take(64, 1, 'clustered')!;
    const steps = [...source].filter((frame, i) => i > 0 && frame === source[i - 1]! + 1);
    expect(steps.length).toBeLessThan(16);
  });

  test('scattered folios are aligned and mostly without neighbours', () => {
    const { source } = take(32, 16, 'scattered')!;
    expect([...source].every((frame) => frame % 16 === 0)).toBe(true);
    expect([...source]).not.toEqual([...source].toSorted((a, b) => a - b));
  });

  test('what does not fit is refused', () => {
    expect(take(4097, 1, 'scattered')).toBeNull();
    expect(take(300, 16, 'clustered')).toBeNull();
  });
});
