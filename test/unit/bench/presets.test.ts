/*
 * Published tables beside ours: on invented cells, and from a run on the CPU engine.
 */
import { describe, expect, test, vi } from 'vitest';
import { planRun } from '../../../bench/plan.ts';
import { PRESETS, gainRows, isPresetName } from '../../../bench/presets.ts';
import { presetTable, presetTextTable, presetValue } from '../../../bench/presets.ts';
import { textReport, textTable } from '../../../bench/report-text.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { PRESET_NAMES } from '../../../bench/types.ts';
import type { BenchCell, PresetName } from '../../../bench/types.ts';
import { syntheticCell, syntheticReport } from './synthetic-report.ts';

vi.setConfig({ testTimeout: 120_000 });

const MIB = 2 ** 20;

function cell(
  preset: PresetName,
  path: string,
  column: string,
  us: number,
  failure: string | null = null,
): BenchCell {
  const id = `preset/${preset}/${path}/${column}`;
  return syntheticCell(id, 'copy', { path, column }, us, MIB, failure);
}

describe('published tables', () => {
  test.each(PRESET_NAMES)('%s names its source, and has a figure or nothing a column', (name) => {
    const { source, columns, rows, notes } = PRESETS[name];
    expect(source).toMatch(/\w/);
    expect(notes.length).toBeGreaterThan(0);
    for (const { values } of rows) expect(values).toHaveLength(columns.length);
  });

  test('the DMA offload series: 4 KiB lose with one channel, 2 MiB win six times with 16', () => {
    const values = (label: string) =>
      PRESETS['dma-offload'].rows.find((row) => row.label === label)!.values as number[];
    const [vanilla, one, most] = ['vanilla, serial', 'DMA, 1 channel', 'DMA, 16 channels'].map(
      values,
    );
    expect(one![0]! / vanilla![0]!).toBeCloseTo(0.737, 3);
    expect(most![5]! / vanilla![5]!).toBeCloseTo(5.97, 2);
  });

  test('only names of presets are names', () => {
    expect(isPresetName('xe-phases')).toBe(true);
    expect(isPresetName('xe')).toBe(false);
    expect(isPresetName(null)).toBe(false);
  });
});

describe('a table of theirs and ours', () => {
  test('a row for each path, a column for each that was published', () => {
    const cells = [
      cell('dma-offload', 'auto', '4K', 1000),
      cell('dma-offload', 'auto', '2M', 500),
      cell('dma-offload', 'cpu', '4K', 250),
      cell('nvbandwidth', 'kernels', 'device to device', 1),
    ];
    const table = presetTable('dma-offload', cells);
    expect(table.measured.map(({ label }) => label)).toEqual(['auto', 'cpu']);
    expect(table.measured[0]?.values[0]).toBeCloseTo(MIB / 1e6, 4);
    expect(table.measured[0]?.values.slice(1, 5)).toEqual([null, null, null, null]);
    expect(table.measured[0]?.values[5]).toBeCloseTo((2 * MIB) / 1e6, 4);
    expect(table.published).toHaveLength(8);
  });

  test('a cell that was not verified has no figure', () => {
    const table = presetTable('dma-offload', [cell('dma-offload', 'auto', '4K', 9, 'broken')]);
    expect(table.measured[0]?.values[0]).toBeNull();
  });

  test('phases are rows of their own, in microseconds', () => {
    const cells = [cell('xe-phases', 'migrate', '4 KiB pages', 400)];
    const { measured } = presetTable('xe-phases', cells);
    expect(measured[0]).toEqual({ label: 'migrate', values: [400, null] });
    expect(measured.find(({ label }) => label === 'of that: hostCopy')?.values).toEqual([
      100,
      null,
    ]);
  });

  test('what large folios bring is in percent, where both were measured', () => {
    const rows = gainRows([
      { label: 'THP to the device', values: [4.5, 2, null] },
      { label: '4 KiB pages to the device', values: [1, null, 3] },
    ]);
    expect(rows).toEqual([{ label: 'gain to the device, %', values: [350, null, null] }]);
  });

  test('percents are whole numbers, other figures have three digits', () => {
    const value = (label: string, figure: number | null): string =>
      presetValue({ label, values: [] }, figure);
    expect([value('gain home, %', -28), value('THP home', 0.716)]).toEqual(['-28', '0.716']);
    expect([value('gain home, %', 0), value('THP home', null)]).toEqual(['0', '-']);
  });

  test('printed: the source, published rows, then ours', () => {
    const table = presetTable('nvbandwidth', [cell('nvbandwidth', 'SM', 'device to device', 1000)]);
    const text = textTable(presetTextTable(table));
    expect(text).toContain('source: NVIDIA nvbandwidth');
    expect(text).toMatch(/published +device local.* - +- +1100\n +here +SM +- +- +1\.05$/);
  });

  test('stands first in the report and survives JSON', () => {
    const presets = [presetTable('nvbandwidth', [])];
    const report = { ...syntheticReport(), presets };
    expect(textReport(report)).toContain('Bandwidth matrix');
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
});

describe('a run of a preset', () => {
  const tiny = (preset: PresetName) => {
    const plan = planRun({ quick: true, engine: 'cpu', preset });
    const box = { minSamples: 3, maxSamples: 3, budgetMs: 20, warmups: 1 };
    return {
      ...plan,
      ramBytes: 48 * MIB,
      deviceBytes: 16 * MIB,
      presetBytes: 4 * MIB,
      referenceBytes: 2 ** 18,
      goals: { ...plan.goals, minPairs: 3, maxPairs: 3, budgetMs: 20 },
      migrate: { ...plan.migrate, box },
    };
  };

  test.each(PRESET_NAMES)('%s: its cells and the reference lines, all verified', async (name) => {
    const report = await runPlan(tiny(name));
    expect(report.cells.filter((one) => !one.verified)).toEqual([]);
    const own = report.cells.filter(({ id }) => id.startsWith(`preset/${name}/`));
    const lines = report.cells.filter(({ suite }) => suite === 'reference');
    expect(own.length + lines.length).toBe(report.cells.length);
    const [table] = report.presets!;
    expect(table?.measured.length).toBeGreaterThan(0);
    expect(table?.measured[0]?.values.filter((value) => value !== null).length).toBeGreaterThan(0);
    expect(report.goals.every(({ why }) => why === 'this run was not asked for it')).toBe(true);
  });
});
