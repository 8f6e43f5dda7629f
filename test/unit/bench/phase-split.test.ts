/*
 * The wait for a copy is split into GPU and map only where the device's time can lie in it, and
 * what is shown says which. On invented cells.
 */
import { describe, expect, test } from 'vitest';
import { splitWait, waitNotes } from '../../../bench/phase-split.ts';
import { textReport } from '../../../bench/report-text.ts';
import type { BenchCell } from '../../../bench/types.ts';
import { syntheticCell, syntheticReport } from './synthetic-report.ts';

const US = { collect: 100, submit: 50, 'GPU and map': 300, remap: 80 };

function cell(
  gpuUs?: number,
  submissions = 1,
  direction = 'to-device',
  id = `phases/${direction}/512`,
): BenchCell {
  const params = { direction, batch: 512, pages: 512 };
  const bare = syntheticCell(id, 'migrate', params, 530, 2 ** 21);
  const timed = gpuUs === undefined ? {} : { gpuUs, counts: { submissions } };
  return { ...bare, phases: US, ...timed };
}

const TOGETHER = ['collect', 'submit', 'GPU and map', 'remap'];

describe('the wait for a copy', () => {
  test('is split where the device took no longer, in one submission; nothing is lost', () => {
    const { phases, note } = splitWait(cell(200));
    expect(Object.entries(phases)).toEqual([
      ['collect', 100],
      ['submit', 50],
      ['GPU', 200],
      ['map', 100],
      ['remap', 80],
    ]);
    expect(note).toMatch(/^GPU is the device's time by timestamp queries, in rounds of their own/);
    expect(splitWait(cell(300)).phases).toMatchObject({ GPU: 300, map: 0 });
  });

  test.each([
    [
      'the device took longer than it',
      cell(301),
      /Towards the device, GPU .*took 301 µs, more than/,
    ],
    ['there were two submissions', cell(200, 2, 'to-host'), /Towards RAM, GPU .* took 200 µs, a p/],
    ['nobody knows what the device took', cell(), /one part where no timestamp queries/],
  ])('is one part where %s, and that is said', (_, one, says) => {
    const { phases, note } = splitWait(one);
    expect(Object.keys(phases)).toEqual(TOGETHER);
    expect(note).toMatch(says);
  });

  test('of other cells is left alone', () => {
    const other = cell(200, 1, 'to-device', 'migrate/to-device/512');
    expect(splitWait(other)).toEqual({ phases: US, note: null });
    expect(waitNotes([other])).toEqual([]);
  });

  test('is explained once for cells that have the same reason', () => {
    expect(waitNotes([cell(), cell(undefined, 1, 'to-host')])).toHaveLength(1);
    expect(waitNotes([cell(200), cell(301)])).toHaveLength(2);
  });

  test('has its columns and its sentence in the table of a report', () => {
    const report = syntheticReport();
    const text = textReport({ ...report, cells: [cell(200), cell(undefined, 1, 'to-host')] });
    const header = /^ +direction +us +collect +submit +GPU and map +GPU +map +remap$/m;
    expect(text).toMatch(header);
    expect(text).toMatch(/^ +RAM to VRAM +530 +100 +50\.0 +- +200 +100 +80\.0$/m);
    expect(text).toMatch(/^ +VRAM to RAM +530 +100 +50\.0 +300 +- +- +80\.0$/m);
    expect(text).toContain("\nGPU is the device's time by timestamp queries");
  });
});
