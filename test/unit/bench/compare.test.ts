/*
 * Reports against each other, pooled, and exported, on invented ones.
 */
import { describe, expect, test } from 'vitest';
import { compareReports, comparisonLines, comparisonTables } from '../../../bench/compare.ts';
import { countVerdicts, isBare, ratioInterval } from '../../../bench/compare.ts';
import { mailTable, tidyCsv, withSpread } from '../../../bench/exports.ts';
import { askedFor, ranOn, settingsFact } from '../../../bench/format.ts';
import { mailText } from '../../../bench/mail-text.ts';
import { ReportRefusal, poolReports, readReport } from '../../../bench/read-report.ts';
import { textTable } from '../../../bench/report-text.ts';
import type { BenchCell, BenchReport, PresetTable } from '../../../bench/types.ts';
import { Prng } from '../../../src/base/prng.ts';
import { syntheticReport } from './synthetic-report.ts';

const base = syntheticReport();

/** The report with every cell's time multiplied, some by a factor of their own. */
function scaled(by: (cell: BenchCell) => number, width = 0.01): BenchReport {
  const cells = base.cells.map((cell): BenchCell => {
    const median = cell.median * by(cell);
    const ci = [median * (1 - width), median * (1 + width)] as const;
    return { ...cell, median, ci };
  });
  return { ...base, cells };
}

const before = scaled(() => 1);

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ReportRefusal) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('a comparison', () => {
  test('of a report with itself finds only noise', () => {
    const { cells, goals, drift } = compareReports(before, before);
    expect(new Set(cells.map(({ verdict }) => verdict))).toEqual(
      new Set(['noise', 'not verified']),
    );
    expect(drift).toBe(1);
    expect(goals.map(({ id, verdict }) => `${id} ${verdict}`)).toEqual([
      'G4 MISS, a difference within noise',
    ]);
  });

  test('names what is slower and what is faster, beyond noise', () => {
    const after = scaled(({ id }) =>
      id.startsWith('fault') ? 1.2 : id.startsWith('migrate/to-device/64') ? 0.7 : 1,
    );
    const { cells } = compareReports(before, after);
    const verdicts = new Map(cells.map(({ id, verdict }) => [id, verdict]));
    expect(verdicts.get('fault/read/1')).toBe('slower');
    expect(verdicts.get('migrate/to-device/64')).toBe('faster');
    expect(verdicts.get('migrate/to-device/1')).toBe('noise');
  });

  test('the same difference is noise where the intervals are wide', () => {
    const slower = ({ id }: BenchCell) => (id.startsWith('fault') ? 1.2 : 1);
    const { cells } = compareReports(
      scaled(() => 1, 0.2),
      scaled(slower, 0.2),
    );
    expect(cells.find(({ id }) => id === 'fault/read/1')?.verdict).toBe('noise');
  });

  test.each([
    ['reference/memcpy', true],
    ['reference/engine-contiguous-to-host', false],
    ['fault/tlb/load8/plain', true],
    ['fault/tlb/load8/core', false],
    ['fault/hop/atomics-round-trip', true],
    ['fault/hop/trap', false],
    ['goal/G17/webgpu-contiguous-copy', true],
    ['goal/G3/webgpu-descriptors/512', true],
    ['goal/G3/to-device/commands/512', false],
    ['goal/G19/to-device/plain', false],
  ])('%s runs nothing of ours: %s', (id, expected) => {
    expect(isBare({ id })).toBe(expected);
  });

  test('what moved as far as the reference lines is drift of the machine', () => {
    const { cells, drift } = compareReports(
      before,
      scaled(() => 1.3),
    );
    expect(drift).toBeCloseTo(1.3, 3);
    const verified = cells.filter(({ verdict }) => verdict !== 'not verified');
    expect(new Set(verified.map(({ verdict }) => verdict))).toEqual(new Set(['drift']));
  });

  test('cells that were not verified are never better or worse', () => {
    const { cells } = compareReports(
      before,
      scaled(() => 9),
    );
    expect(cells.find(({ id }) => id === 'copy/to-device/runs/4096/512')?.verdict).toBe(
      'not verified',
    );
  });

  test('cells of one side only are counted, different adapters are said first', () => {
    const adapter = { ...base.env.adapter, description: 'another' };
    const other = { ...base, cells: base.cells.slice(2), env: { ...base.env, adapter } };
    const comparison = compareReports(base, other);
    expect(comparison.onlyBefore).toHaveLength(2);
    expect(comparisonLines(comparison)[0]).toMatch(/^DIFFERENT ADAPTERS: .*, then .*another$/);
  });

  test('the table shows what differs, and everything only when asked', () => {
    const after = scaled(({ id }) => (id.startsWith('fault') ? 1.2 : 1));
    const comparison = compareReports(before, after);
    const few = comparisonTables(comparison, false).map(textTable).join('\n');
    expect(few).toContain('fault/read/1');
    expect(few).toMatch(/fault\/read\/1 .* 1\.20 .*slower/);
    expect(few).not.toContain('migrate/to-device/1');
    expect(comparisonTables(comparison, true).map(textTable).join('\n')).toContain('noise');
    expect(countVerdicts(comparison.cells)).toBe('1 slower, 6 noise, 1 not verified');
  });

  test('errors of both sides add up as independent ones do', () => {
    const side = { value: 1, ci: [1 / 1.1, 1.1] as const };
    const [low, high] = ratioInterval(side, side);
    expect(Math.log(high)).toBeCloseTo(Math.SQRT2 * Math.log(1.1), 9);
    expect(low).toBeCloseTo(1 / high, 9);
  });
});

describe('reading a report', () => {
  test('what was written can be read', () => {
    expect(readReport(JSON.stringify(base), 'a.json')).toEqual(base);
  });

  test('another schema is refused with its version named', () => {
    const other = JSON.stringify({ ...base, schema: 'webhmm-bench/0' });
    expect(refusal(() => readReport(other, 'a.json'))).toBe(
      "a.json is not a report that can be read: its schema is 'webhmm-bench/0', " +
        "this version reads 'webhmm-bench/1'",
    );
  });

  test.each([
    ['{', 'a.json is not JSON'],
    ['[]', 'it names no schema'],
    ['null', 'it names no schema'],
    ['{"schema":7}', 'its schema is 7, this'],
    ['{"schema":"\\u001b[31m\\n"}', "its schema is '\\u001b[31m\\n', this"],
    [JSON.stringify({ schema: 'x'.repeat(9999) }), `${'x'.repeat(79)}..., this`],
    ['{"schema":"webhmm-bench/1"}', 'a.json is not a whole report: commit is missing'],
    [JSON.stringify(base).slice(0, -1), 'a.json is not JSON'],
  ])('%s is refused in one line', (text, says) => {
    const line = refusal(() => readReport(text, 'a.json'));
    expect(line).toContain(says);
    expect(line).not.toContain('\n');
  });

  test.each([
    ['cells', null],
    ['cells[0]', 5],
    ['cells[1].ci', null],
    ['cells[1].ci', [1]],
    ['cells[1].ci[1]', '2'],
    ['cells[1].median', '12'],
    ['cells[1].params.strategy', {}],
    ['cells[1].samples[2]', true],
    ['cells[1].phases.encode', 'long'],
    ['goals[0].parts', {}],
    ['goals[0].holds', 0],
    ['omitted', 'nothing'],
    ['env.adapter.isSoftware', 'no'],
    ['env.adapter.features[0]', 1],
    ['env.settings', { channels: 1 }, 'env.settings.fragments'],
    ['env.suites', 'all'],
    ['presets', 5],
  ])('%s of another kind is refused and named', (path, value, names = path) => {
    const report: unknown = JSON.parse(JSON.stringify(base));
    const steps = path.split(/[.[\]]+/).filter((step) => step !== '');
    let at = report as Record<string, unknown>;
    for (const step of steps.slice(0, -1)) at = at[step] as Record<string, unknown>;
    at[steps.at(-1)!] = value;
    const says = `a.json is not a whole report: ${names} is missing or no such value`;
    expect(refusal(() => readReport(JSON.stringify(report), 'a.json'))).toBe(says);
  });

  test('what earlier versions did not write, and a figure of null, are read', () => {
    const { settings: _, ...env } = base.env;
    const cells = base.cells.map((cell) => ({ ...cell, median: null, later: [1] }));
    const text = JSON.stringify({ ...base, env, cells, later: {} });
    expect(readReport(text, 'a.json').cells).toHaveLength(base.cells.length);
  });

  test.each([
    ['env.startedAt', { env: { ...base.env, startedAt: null } }],
    ['env.suites', { env: { ...base.env, suites: 'mm' } }],
    ['env.adapter.vendor', { env: { ...base.env, adapter: {} } }],
    ['cells[1]', { cells: [base.cells[0], null] }],
    ['cells[0].samples', { cells: [without('samples')] }],
    ['cells[0].params', { cells: [without('params')] }],
    ['goals[0].what', { goals: [{ id: 'G1', title: 't' }] }],
    ['omitted[0].id', { omitted: [{ why: 'no' }] }],
    ['presets[0].preset', { presets: [{}] }],
    ['presets', { presets: 'xe-phases' }],
    ['wallSeconds', { wallSeconds: null }],
  ])('of this schema, but broken: %s', (says, change) => {
    const text = JSON.stringify({ ...base, ...change });
    expect(refusal(() => readReport(text, 'a.json'))).toBe(
      `a.json is not a whole report: ${says} is missing or no such value`,
    );
  });
});

/** The first cell without one of its fields. */
function without(field: keyof BenchCell): Partial<BenchCell> {
  return { ...base.cells[0], [field]: undefined };
}

describe('pooling', () => {
  const pool = (...reports: BenchReport[]) =>
    poolReports(
      reports,
      reports.map((_, i) => `${i}.json`),
      new Prng(1),
    );

  test('repeated runs have the samples of all, and what belongs to one run alone', () => {
    const more = { ...base, cells: base.cells.slice(0, 2) };
    const { cells } = pool(base, more);
    expect(cells.map(({ samples }) => samples.length)).toEqual([6, 6, 3, 3, 3, 3, 3, 3]);
    expect(cells[0]?.gbPerSecond).toBeCloseTo(base.cells[0]!.gbPerSecond!, 6);
    expect(cells[0]?.usPerPage).toBeCloseTo(base.cells[0]!.usPerPage!, 6);
  });

  test('a failure of one run fails the cell', () => {
    const cells = base.cells.map((cell) => ({ ...cell, verified: false, failure: 'broken' }));
    expect(pool(base, { ...base, cells }).cells[0]).toMatchObject({ failure: 'broken' });
  });

  test('runs on different adapters are not averaged', () => {
    const adapter = { ...base.env.adapter, description: 'another' };
    const other = { ...base, env: { ...base.env, adapter } };
    expect(refusal(() => pool(base, other))).toMatch(
      /^0\.json \(.*\) and 1\.json \(.*\) are not averaged: they differ in adapter$/,
    );
  });

  test('runs in different browsers are not averaged', () => {
    const other = { ...base, env: { ...base.env, browser: 'Firefox' } };
    expect(refusal(() => pool(base, other))).toContain('they differ in browser');
  });
});

describe('exports', () => {
  test('CSV has a row for each sample, with the parameters in columns', () => {
    const lines = tidyCsv(base).trimEnd().split('\r\n');
    const samples = base.cells.reduce((sum, { samples: { length } }) => sum + length, 0);
    expect(lines).toHaveLength(1 + samples);
    const header = lines[0]!.split(',');
    expect(header.slice(0, 3)).toEqual(['commit', 'browser', 'adapter']);
    expect(header).toContain('param_folioBytes');
    expect(new Set(lines.map((line) => line.split(',').length))).toEqual(new Set([header.length]));
  });

  test('every row names the adapter, also one that browsers give no description of', () => {
    const masked = { vendor: 'google', architecture: 'swiftshader', device: '', description: '' };
    const env = { ...base.env, adapter: { ...base.env.adapter, ...masked } };
    const named = (report: typeof base): string => tidyCsv(report).split('\r\n')[1]!.split(',')[2]!;
    expect(named({ ...base, env })).toBe('google swiftshader');
    expect(named({ ...base, env: { ...env, engine: 'cpu' } })).toBe('the CPU engine');
  });

  test('a mail names adapter and browser, and says what is a software adapter', () => {
    const lines = (isSoftware: boolean): string[] =>
      (mailText({ ...base, env: { ...base.env, isSoftware } }, 'once') ?? '').split('\n');
    expect(lines(true)[0]).toBe(`${ranOn(base.env)} (software adapter: figures are not a GPU's)`);
    expect(lines(false)[0]).toBe(ranOn(base.env));
    expect(lines(false)[1]).toContain(`${base.env.browser} ${base.env.version}`);
    expect(mailText({ ...base, cells: [] }, 'once')).toBeNull();
  });

  test('a run for a published table names it, not the suites that were not run', () => {
    const table = { preset: 'xe-phases' } as PresetTable;
    expect(askedFor({ ...base, presets: [table, table] })).toMatch(/^preset xe-phases \(/);
    expect(askedFor(base)).toBe(
      `${base.env.suites.join(', ')} (${base.env.quick ? 'quick' : 'full'})`,
    );
  });

  test('a run of single goals names them and their suites; a soak its minutes', () => {
    const of = (env: Partial<BenchReport['env']>): string =>
      askedFor({ env: { ...base.env, quick: false, ...env } });
    expect(of({ suites: ['copy'], goals: ['G18'] })).toBe('only goal G18, of copy (full)');
    expect(of({ suites: ['migrate', 'copy'], goals: ['G2', 'G7'] })).toBe(
      'only goals G2, G7, of migrate, copy (full)',
    );
    expect(of({ suites: ['copy'], goals: ['none'] })).toBe('copy, no goals (full)');
    expect(of({ suites: [], goals: ['G2'] })).toBe('only goal G2, of no suite (full)');
    expect(of({ soakMinutes: 10 })).toBe('soak of 10 min');
    // Settings of the sweep say nothing of a run without one.
    const settings = { fragments: 'targets', ringDepth: 5, channels: 4, verify: 'off' } as const;
    const said = (env: Partial<BenchReport['env']>): string =>
      settingsFact({ env: { ...base.env, settings, ...env } });
    expect(said({ goals: ['none'] })).toContain('rings of 5, 4 channels');
    for (const env of [{ goals: ['G18'] }, { soakMinutes: 1 }]) {
      expect(said(env)).toBe('rings of 5; copies have no others than their own');
    }
  });

  test('fields with commas and quotes are quoted', () => {
    const commit = 'a,"b"';
    expect(tidyCsv({ ...base, commit }).split('\r\n')[1]).toMatch(/^"a,""b""",/);
  });

  test('the mailing-list table has folio sizes as columns and strategies as rows', () => {
    const text = mailTable(base, 'once').map(textTable).join('\n');
    expect(text).toContain('RAM to VRAM, scattered on both sides, GB/s moved once');
    expect(text).toMatch(/strategy +4K x512 +2M x1$/m);
    expect(text).toMatch(/staging +2\.00±0\.\d+ +-/);
    expect(text).toMatch(/runs +FAIL/);
  });

  test('a column of that table is one batch: the largest that most rows have', () => {
    const [first, second] = base.cells as [BenchCell, BenchCell];
    const alone = { ...first, params: { ...first.params, batch: 1024 }, gbPerSecond: 77 };
    const small = [first, second].map((cell) => ({
      ...cell,
      params: { ...cell.params, batch: 8 },
      gbPerSecond: 5,
    }));
    const cells = [...small, alone, ...base.cells];
    const text = mailTable({ ...base, cells }, 'once')
      .map(textTable)
      .join('\n');
    expect(text).toMatch(/strategy +4K x512 +2M x1$/m);
    expect(text).toMatch(/staging +2\.00±0\.\d+ +-/);
    expect(text).not.toMatch(/77|5\.00/);
  });

  test('its tables and rows have an order of their own, whatever was measured first', () => {
    const home = base.cells.slice(0, 1).map((cell) => ({
      ...cell,
      id: cell.id.replace('to-device', 'to-host'),
      params: { ...cell.params, direction: 'to-host' },
    }));
    const titles = (cells: readonly BenchCell[]): string[] =>
      mailTable({ ...base, cells }, 'once').map(({ title }) => title.split(',')[0]!);
    expect(titles([...home, ...base.cells])).toEqual(['RAM to VRAM', 'VRAM to RAM']);
    const rows = mailTable({ ...base, cells: base.cells.toReversed() }, 'once')[0]!.rows;
    expect(rows.map(([name]) => name)).toEqual(['commands', 'staging', 'runs']);
  });

  test('a mix of sizes is the last column', () => {
    const params = { direction: 'to-device', strategy: 'staging', batch: 64, folios: 'mix' };
    const mix = { ...base.cells[0]!, id: 'mix/to-device/staging/64', params };
    const text = mailTable({ ...base, cells: [mix, ...base.cells] }, 'once').map(textTable);
    expect(text.join('\n')).toMatch(/strategy +4K x512 +2M x1 +mix x64$/m);
    expect(text.join('\n')).toMatch(/staging +2\.00±0\.\d+ +- +2\.00±0\.\d+$/m);
  });

  test('the table of a preset says the batch of each column, too', () => {
    const cell = (channels: number, size: number, batch: number): BenchCell => ({
      ...base.cells[0]!,
      id: `preset/dma-offload/${channels}/${size}`,
      params: { path: `auto, ${channels} lists in flight`, folioBytes: size, batch, channels },
    });
    const cells = [cell(1, 4096, 2048), cell(4, 4096, 2048), cell(1, 2 ** 21, 4)];
    const text = mailTable({ ...base, cells }, 'once')
      .map(textTable)
      .join('\n');
    expect(text).toMatch(/path +4K x2048 +2M x4$/m);
    expect(text).toMatch(/auto, 4 lists in flight +2\.00±0\.\d+ +-$/m);
  });

  test('counted twice it says so, and every figure is the double', () => {
    expect(mailTable(base, 'twice')[0]?.title).toContain('read and written (x2)');
    const [once, twice] = (['once', 'twice'] as const).map((counted) =>
      Number.parseFloat(withSpread(base.cells[0], counted)),
    );
    expect(twice).toBe(2 * once!);
  });
});
