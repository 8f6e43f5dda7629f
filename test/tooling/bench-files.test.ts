/*
 * What the command does with reports that were written: compares and shows them, and refuses what
 * it can't use in one line.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import type { BenchReport } from '../../bench/types.ts';
import { UsageError } from '../../cli/args.ts';
import { prepareOutput, writeReport } from '../../cli/bench-output.ts';
import { comparisonText, mailOf, readSide } from '../../cli/bench-files.ts';
import { benchOptions, BENCH_COMMAND } from '../../cli/bench.ts';
import { parseCommandLine } from '../../cli/args.ts';
import { pageQuery } from '../../cli/bench-run.ts';
import { syntheticReport } from '../unit/bench/synthetic-report.ts';

// Starting a command takes seconds on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const ROOT = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'webhmm-bench-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, report: unknown): string {
  const file = join(folder, name);
  writeFileSync(file, JSON.stringify(report));
  return file;
}

const base = syntheticReport();
const mine = write('mine.json', base);
const old = write('old.json', { ...base, schema: 'webhmm-bench/0' });
const other = write('other.json', {
  ...base,
  env: { ...base.env, adapter: { ...base.env.adapter, description: 'another' } },
});

function bench(...args: string[]) {
  return spawnSync(process.execPath, ['cli/run.mjs', 'bench', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
}

function refusal(task: () => unknown): string {
  try {
    task();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return 'accepted';
}

describe('files', () => {
  test("a report that can't be written any more is one line that names option and file", () => {
    const html = join(folder, 'x.html');
    const gone = join(folder, 'gone', 'x.json');
    expect(refusal(() => writeReport(base, { json: gone, html }))).toBe(
      `--json: can't write ${gone}: ENOENT`,
    );
    expect(refusal(() => writeReport(base, { json: join(folder, 'y.json'), html: folder }))).toBe(
      `--report: can't write ${folder}: EISDIR`,
    );
  });

  test('names are meant from where npm was called', () => {
    vi.stubEnv('INIT_CWD', folder);
    expect(readSide('mine.json').cells).toHaveLength(base.cells.length);
    const json = join(folder, 'new.json');
    expect(prepareOutput('new.json', join(folder, 'new.html'), '').json).toBe(json);
    vi.unstubAllEnvs();
  });
});

describe('a side of a comparison', () => {
  test('another schema is refused with its version named', () => {
    expect(refusal(() => readSide(old))).toContain("its schema is 'webhmm-bench/0'");
  });

  test('a file that is not there is refused', () => {
    expect(refusal(() => readSide(join(folder, 'none.json')))).toMatch(/^can't read .*ENOENT$/);
  });

  test('repeated runs are pooled, runs on different adapters are not', () => {
    expect(readSide(`${mine},${mine}`).cells[0]?.samples).toHaveLength(6);
    expect(refusal(() => readSide(`${mine},${other}`))).toContain('not averaged');
  });
});

describe('texts', () => {
  const report: BenchReport = base;

  test('a report against itself: only noise, and no cell in the table', () => {
    const text = comparisonText(report, report, false);
    expect(text).toContain('7 noise, 1 not verified of 8 cells');
    expect(text).not.toContain('fault/read/1');
    expect(comparisonText(report, report, true)).toContain('fault/read/1');
  });

  test('the table for mailing lists says how bytes are counted', () => {
    expect(mailOf(report, 'twice')).toContain('read and written (x2)');
    expect(mailOf({ ...report, cells: [] }, 'once')).toBe('the report has no copy cells\n');
  });
});

describe('single goals', () => {
  const optionsOf = (...args: string[]) => {
    const line = parseCommandLine(BENCH_COMMAND, args);
    if (line === 'help') throw new Error('help was asked for');
    return benchOptions(line.values);
  };

  test('are passed on to the page', () => {
    expect(pageQuery(optionsOf('--goal', 'G2,G18'))).toBe('?auto&goal=G2,G18&quick=0&seed=1');
  });

  test('that do not exist are refused', () => {
    expect(refusal(() => optionsOf('--goal', 'G99'))).toMatch(/^--goal takes /);
  });
});

describe('the commands', () => {
  test('compare prints what differs, with status 0', () => {
    const ran = bench('compare', mine, mine, '--all');
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(/^7 noise, 1 not verified of 8 cells/);
    expect(ran.stdout).toContain('noise: the interval holds 1');
  });

  test('compare refuses other adapters, unless it is told', () => {
    const refused = bench('compare', mine, other);
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^bench: the runs are on different adapters, .*--any-adapter/);
    const told = bench('compare', mine, other, '--any-adapter');
    expect(told).toMatchObject({ status: 0, stderr: '' });
    expect(told.stdout).toMatch(/^DIFFERENT ADAPTERS: /);
  });

  test('runs of different settings are compared with a caution, and not pooled', () => {
    const settings = { fragments: 'targets', ringDepth: 3, channels: 1, verify: 'device' } as const;
    const unlike = { ...base, env: { ...base.env, settings } };
    expect(comparisonText(base, unlike, false)).toMatch(
      /^different settings: scattered on both .*, then only targets scattered/,
    );
    const file = write('unlike.json', unlike);
    expect(refusal(() => readSide(`${mine},${file}`))).toContain('they differ in settings');
  });

  test('compare refuses another schema with one line and status 1', () => {
    const ran = bench('compare', mine, old);
    expect(ran).toMatchObject({ status: 1, stdout: '' });
    expect(ran.stderr).toMatch(/^bench: .*webhmm-bench\/0', this version reads [^\n]*\n$/);
  });

  test('compare --help names both files and its options', () => {
    const ran = bench('compare', '--help');
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/^usage: npm run bench -- compare BEFORE\.json AFTER\.json/);
    expect(ran.stdout).toContain('--all');
  });

  test('show writes CSV and prints the tables', () => {
    const csv = join(folder, 'mine.csv');
    const ran = bench('show', mine, '--csv', csv);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toContain('GB/s moved once');
    expect(readFileSync(csv, 'utf8')).toMatch(/^commit,browser,adapter,/);
  });

  test('show with two files, or none, says what to write', () => {
    expect(bench('show').stderr).toMatch(/^bench: too few files: write REPORT\.json/);
    expect(bench('show', mine, mine).stderr).toMatch(/^bench: unexpected argument /);
  });
});
