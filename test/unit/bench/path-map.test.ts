/*
 * The map of paths out of G1's cells.
 */
import { describe, expect, test } from 'vitest';
import { pathMap, pathMaps } from '../../../bench/path-map.ts';
import type { BenchCell } from '../../../bench/types.ts';
import { syntheticCell } from './synthetic-report.ts';

function cell(
  strategy: string,
  batch: number,
  median: number,
  more: Partial<BenchCell['params']> = {},
): BenchCell {
  const params = {
    direction: 'to-device',
    fragments: 'scattered',
    folioBytes: 4096,
    batch,
    strategy,
    ...(more as BenchCell['params']),
  };
  const { direction, fragments, folioBytes } = params;
  const id = `goal/G1/${direction}/${fragments}/${folioBytes}/${batch}/${strategy}`;
  return { ...syntheticCell(id, 'copy', params, median, 4096), median };
}

const REGRET = { chosen: 'runs', regret: 1.04, atLeast: 0.9, atMost: 1.2 };

describe('the map of paths', () => {
  const cells = [
    cell('runs', 64, 120),
    cell('compute', 64, 60),
    cell('auto', 64, 118, REGRET),
    cell('runs', 1, 10),
    cell('auto', 1, 11),
    cell('runs', 64, 50, { fragments: 'clustered' }),
    cell('runs', 8, 50, { direction: 'to-host' }),
    { ...cell('staging', 64, 1), verified: false },
    { ...cell('runs', 64, 1), id: 'copy/to-device/runs/4096/64' },
  ];

  test('has a column for each size and batch, and times over the fastest', () => {
    const map = pathMap(cells, 'to-device', 'scattered');
    expect(map.paths).toEqual(['runs', 'compute']);
    expect(map.columns.map(({ batch }) => batch)).toEqual([1, 64]);
    expect(map.columns[1]!.overBest).toEqual([2, 1]);
    expect(map.columns[0]!.overBest).toEqual([1, null]);
  });

  test('says which path was taken and what that cost, where the report does', () => {
    const [first, second] = pathMap(cells, 'to-device', 'scattered').columns;
    expect(second).toMatchObject({ chosen: 'runs', regret: { value: 1.04, ci: [0.9, 1.2] } });
    expect(first).toMatchObject({ chosen: null, regret: null });
  });

  test('says nothing of times that are below the tick of the clock', () => {
    const untimed = { regret: Number.NaN, atLeast: 0, atMost: Number.POSITIVE_INFINITY };
    const zero = [cell('runs', 1, 0), cell('compute', 1, 5), cell('auto', 1, 0, untimed)];
    const [only] = pathMap(zero, 'to-device', 'scattered').columns;
    expect(only).toMatchObject({ overBest: [null, null], regret: null });
  });

  test('has batches of one folio in each fragmentation', () => {
    const { columns } = pathMap(cells, 'to-device', 'clustered');
    expect(columns.map(({ batch, overBest }) => [batch, overBest])).toEqual([
      [1, [1]],
      [64, [1]],
    ]);
  });

  test('knows the directions and fragmentations that were measured', () => {
    expect(pathMaps(cells)).toEqual([
      { direction: 'to-device', fragments: 'clustered' },
      { direction: 'to-device', fragments: 'scattered' },
      { direction: 'to-host', fragments: 'scattered' },
    ]);
    expect(pathMaps([])).toEqual([]);
  });
});
