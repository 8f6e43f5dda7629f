/*
 * What the plots of the benchmark page show, out of invented cells: the CPU's copy is in each of
 * them, runs keep lines of their own, and where several cells share a place the fastest counts.
 */
import { describe, expect, test } from 'vitest';
import {
  copyCells,
  copyData,
  distribution,
  firstPageData,
  folioOf,
  isCpuCopy,
  migrationData,
} from '../../../examples/03-copy-bench/plot-data.ts';
import type { BenchCell } from '../../../bench/types.ts';
import { syntheticCell } from '../bench/synthetic-report.ts';

const KIB = 1024;

function copy(direction: string, strategy: string, folio: number, batch: number, gbps: number) {
  const params = { direction, strategy, folioBytes: folio, batch };
  const id = `copy/${direction}/${strategy}/${folio}/${batch}`;
  const bytes = folio * batch;
  return syntheticCell(id, 'copy', params, bytes / gbps / 1000, bytes);
}

const COPIES: readonly BenchCell[] = [
  copy('to-device', 'staging', 4 * KIB, 16, 1),
  copy('to-device', 'staging', 64 * KIB, 1, 2),
  copy('to-device', 'staging', 64 * KIB, 16, 3),
  copy('in-host', 'cpu', 4 * KIB, 16, 8),
  copy('in-host', 'cpu', 64 * KIB, 16, 9),
];

/** Lines by name, with their values rounded. */
function linesOf(data: ReturnType<typeof copyData>): Record<string, (number | null)[]> {
  const round = (value: number | null): number | null =>
    value === null ? null : Math.round(value * 10) / 10;
  return Object.fromEntries(data.series.map(({ label, values }) => [label, values.map(round)]));
}

describe('bandwidth of copies', () => {
  const runs = [{ letter: '', cells: COPIES }];

  test('against all bytes of a copy the fastest folio counts, beside the CPU', () => {
    const data = copyData(runs, { direction: 'to-device', axis: 'bytes', factor: 1 });
    expect(data.x).toEqual([64 * KIB, 1024 * KIB]);
    expect(linesOf(data)).toEqual({ staging: [2, 3], 'CPU copy, RAM to RAM': [8, 9] });
  });

  test('a mix of sizes is drawn by batch and by bytes, and is called so', () => {
    const params = { direction: 'to-device', strategy: 'runs', batch: 64, folios: 'mix' };
    const mix = syntheticCell('mix/to-device/runs/64', 'copy', params, 1000, 2 ** 20);
    const cells = copyCells([...COPIES, mix]);
    expect(cells).toContain(mix);
    expect([...new Set(cells.map(folioOf))]).toEqual(['4096', '65536', 'mix']);
    const view = { direction: 'to-device', axis: 'bytes', factor: 1 } as const;
    expect(linesOf(copyData([{ letter: '', cells }], view))['runs']).toEqual([null, 1]);
  });

  test('within RAM the CPU is a strategy like others', () => {
    const cells = COPIES.filter(isCpuCopy);
    const view = { direction: 'in-host', axis: 'batch', factor: 2 } as const;
    expect(linesOf(copyData([{ letter: '', cells }], view))).toEqual({ cpu: [18] });
  });

  test('two runs are two lines each, never one', () => {
    const twice = ['A', 'B'].map((letter) => ({ letter, cells: COPIES }));
    const data = copyData(twice, { direction: 'to-device', axis: 'folioBytes', factor: 1 });
    expect(data.series.map(({ label }) => label)).toEqual([
      'staging · A',
      'CPU copy, RAM to RAM · A',
      'staging · B',
      'CPU copy, RAM to RAM · B',
    ]);
    expect(data.series.map(({ slot }) => slot)).toEqual([0, 5, 0, 5]);
  });
});

describe('whole migrations', () => {
  const cell = (id: string, batch: number, us: number): BenchCell =>
    syntheticCell(`${id}/${batch}`, 'migrate', { batch, direction: 'to-device' }, us, batch * 4096);
  const cells = [
    cell('migrate/to-device', 64, 900),
    cell('migrate/to-device', 1, 500),
    cell('migrate/to-host', 1, 400),
    cell('first-page/to-device', 1, 450),
    cell('first-page/to-device', 64, 600),
    cell('first-page/cpu-copy', 1, 2),
    cell('first-page/cpu-copy', 64, 60),
  ];
  const runs = [{ letter: '', cells }];

  test('a batch has its total time, its first page and the CPU beside it', () => {
    const data = firstPageData(runs);
    expect(data.x).toEqual([1, 64]);
    expect(linesOf(data)).toEqual({
      'all of the batch': [500, 900],
      'its first page usable': [450, 600],
      'CPU copy, RAM to RAM': [2, 60],
    });
  });

  test('time a page is that of both ways, and the CPU is there, too', () => {
    expect(Object.keys(linesOf(migrationData(runs)))).toEqual([
      'to the device',
      'to RAM',
      'CPU copy, RAM to RAM',
    ]);
    expect(linesOf(migrationData(runs))['to RAM']).toEqual([400, null]);
  });

  test('times of faults have the copy of a page by the CPU beside them, and no other copy', () => {
    const fault = syntheticCell('fault/read/1', 'fault', { access: 'read' }, 500, 4096);
    const names = (all: readonly BenchCell[]): string[] =>
      distribution([{ letter: '', cells: all }]).series.map(({ label }) => label);
    expect(names([fault, ...cells])).toEqual(['CPU read', 'CPU copy of a page, RAM to RAM']);
    expect(names(cells)).toEqual([]);
  });

  test('a run without such cells has no line', () => {
    expect(firstPageData([{ letter: '', cells: COPIES }])).toEqual({ x: [], series: [] });
  });
});
