/*
 * Time on the device in what people read: shown with its unit and what it is where a cell has it,
 * and nowhere else. On invented reports.
 */
import { describe, expect, test } from 'vitest';
import { compareReports, comparisonTables } from '../../../bench/compare.ts';
import { tidyCsv } from '../../../bench/exports.ts';
import { GPU_TIME_NOTES } from '../../../bench/gpu-time-notes.ts';
import { poolReports } from '../../../bench/read-report.ts';
import { htmlReport } from '../../../bench/report-html.ts';
import { textReport, textTable } from '../../../bench/report-text.ts';
import type { BenchReport } from '../../../bench/types.ts';
import { Prng } from '../../../src/base/prng.ts';
import { syntheticReport } from './synthetic-report.ts';

const STAGING = 'copy/to-device/staging/4096/512';
const NOTE = GPU_TIME_NOTES[0]!;
const without = syntheticReport();

/** The report with a time on the device of one cell. */
function withTime(gpuUs: number): BenchReport {
  const cells = without.cells.map((cell) => (cell.id === STAGING ? { ...cell, gpuUs } : cell));
  return { ...without, cells };
}

const rowsOf = (report: BenchReport): string[][] =>
  tidyCsv(report)
    .trimEnd()
    .split('\r\n')
    .map((line) => line.split(','));

describe('time on the device', () => {
  test('is a column of the CSV, with its unit in its name, filled where a cell has it', () => {
    const [header = [], ...rows] = rowsOf(withTime(393.216));
    const at = header.indexOf('gpu_us');
    expect(at).toBe(header.indexOf('bytes') + 1);
    for (const row of rows) {
      expect(row).toHaveLength(header.length);
      expect(row[at]).toBe(row[header.indexOf('cell')] === STAGING ? '393.216' : '');
    }
    expect(rowsOf(without)[0]).not.toContain('gpu_us');
  });

  test('stands in text and HTML with a sentence on what it is', () => {
    const report = withTime(393.216);
    expect(textReport(report)).toContain(`\n${NOTE}\n`);
    expect(htmlReport(report)).toContain('<p class="note">Time on the device is what');
    expect(textReport(without)).not.toContain(NOTE);
    expect(htmlReport(without)).not.toContain('<p class="note">');
  });

  test('stands beside the ratios of a comparison, without a verdict of its own', () => {
    const comparison = compareReports(withTime(400), withTime(300));
    const [cells] = comparisonTables(comparison, true);
    expect(cells!.columns.slice(-2)).toEqual(['us on the device before', 'after']);
    const row = cells!.rows.find(([id]) => id === STAGING)!;
    expect(row.slice(-3)).toEqual(['noise', '400', '300']);
    const others = cells!.rows.filter(([id]) => id !== STAGING);
    expect(new Set(others.flatMap((one) => one.slice(-2)))).toEqual(new Set(['-']));
    expect(textTable(cells!)).toContain('no verdict rests on it.');
  });

  test('of one side alone leaves the other empty', () => {
    const [cells] = comparisonTables(compareReports(without, withTime(300)), true);
    expect(cells!.rows.find(([id]) => id === STAGING)!.slice(-2)).toEqual(['-', '300']);
  });

  test('is no column of a comparison whose cells that are shown have none', () => {
    const [cells] = comparisonTables(compareReports(without, without), true);
    expect(cells!.columns.at(-1)).toBe('');
    // The cell that has it differs by noise alone.
    expect(comparisonTables(compareReports(withTime(1), withTime(2)), false)[0]?.notes).toBe(
      undefined,
    );
  });

  test('of pooled runs is their median', () => {
    const files = ['a', 'b', 'c'];
    const pooled = poolReports([300, 100, 200].map(withTime), files, new Prng(1));
    expect(pooled.cells.find(({ id }) => id === STAGING)!.gpuUs).toBe(200);
    const half = poolReports([without, withTime(100)], files, new Prng(1));
    expect(half.cells.find(({ id }) => id === STAGING)!.gpuUs).toBe(100);
  });
});
