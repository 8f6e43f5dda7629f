/*
 * `npm run bench` from outside: mistakes are one line before anything runs, and a run on the CPU
 * engine in Node writes what it says.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { BenchReport } from '../../bench/types.ts';
import { GOAL_IDS } from '../../bench/goals.ts';
import { parseCommandLine, UsageError } from '../../cli/args.ts';
import { prepareOutput } from '../../cli/bench-output.ts';
import { pageQuery } from '../../cli/bench-run.ts';
import { BENCH_COMMAND, SOAK_COMMAND, benchOptions, refuseUnused } from '../../cli/bench.ts';
import { refuseContradiction, soakOptions } from '../../cli/bench.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'webhmm-bench-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the command without npm. */
function bench(...args: string[]): Promise<Ran> {
  return new Promise((done) => {
    const child = spawn(process.execPath, ['cli/run.mjs', 'bench', ...args], { cwd: ROOT });
    let out = '';
    let err = '';
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('close', (status) => done({ status, out, err }));
  });
}

/** The message of the UsageError that `task` throws. */
function refusal(task: () => unknown): string {
  try {
    task();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return 'accepted';
}

/** Options for the benchmark of a command line that is right. */
function optionsOf(...args: string[]) {
  const line = parseCommandLine(BENCH_COMMAND, args);
  if (line === 'help') throw new Error('help was asked for');
  return benchOptions(line.values);
}

describe('the command line', () => {
  test.each([
    { args: ['--suite', 'copi'], says: /^--suite takes .*did you mean copy\?$/ },
    { args: ['--suite', 'copy,'], says: /^--suite takes / },
    { args: ['--adapter', 'gpu'], says: /^--adapter takes webgpu, cpu, not 'gpu'/ },
    { args: ['--power', 'max'], says: /^--power takes high, low/ },
    { args: ['--seed', '1.5'], says: /^--seed takes a whole number/ },
    { args: ['--seed', '4294967296'], says: /^--seed takes a whole number/ },
    { args: ['--browser', '/no/such/browser'], says: /^--browser .*no file/ },
    { args: ['--fragments', 'scatter'], says: /^--fragments takes contiguous, clustered, scat/ },
    { args: ['--folios', '3K'], says: /^--folios takes 4K, 16K, .*, not '3K'/ },
    { args: ['--batches', '3'], says: /^--batches takes 1, 2, 4, .*, not '3'/ },
    { args: ['--channels', '17'], says: /^--channels takes a whole number from 1 to 16/ },
    { args: ['--ring', '0'], says: /^--ring takes a whole number from 1 to 8/ },
    { args: ['--verify', 'on'], says: /^--verify takes device, readback, off, not 'on'/ },
    { args: ['--quik'], says: /^unknown option --quik; did you mean --quick\?/ },
    { args: ['copy'], says: /^unexpected argument 'copy'/ },
  ])('$args is refused in one line', ({ args, says }) => {
    const message = refusal(() => parseCommandLine(BENCH_COMMAND, args));
    expect(message).toMatch(says);
    expect(message).not.toContain('\n');
  });

  test('without options everything runs, full size, seed 1, on WebGPU', () => {
    expect(optionsOf()).toEqual({ quick: false, seed: 1, engine: 'webgpu' });
  });

  test('all suite names are accepted, also those that have no page of their own', () => {
    expect(optionsOf('--suite', 'copy,migrate,fault,mm').suites).toEqual([
      'copy',
      'migrate',
      'fault',
      'mm',
    ]);
  });

  test('the page is asked for the same', () => {
    const options = optionsOf('--suite', 'copy,mm', '--quick', '--seed=7', '--power', 'low');
    expect(pageQuery(options)).toBe('?auto&suite=copy,mm&quick=1&seed=7&power=low');
    expect(pageQuery(optionsOf('--adapter', 'cpu'))).toBe('?auto&quick=0&seed=1&engine=cpu');
    const copies = ['--directions=to-host', '--strategies', 'auto,runs', '--folios', '4K,2M'];
    expect(pageQuery(optionsOf(...copies, '--batches=64'))).toBe(
      '?auto&quick=0&seed=1&directions=to-host&strategies=auto,runs&folios=4K,2M&batches=64',
    );
    const settings = ['--fragments', 'targets', '--channels=4', '--ring=2', '--verify', 'off'];
    expect(pageQuery(optionsOf(...settings))).toBe(
      '?auto&quick=0&seed=1&fragments=targets&channels=4&ring=2&verify=off',
    );
  });
});

describe('options that a run would not use', () => {
  const refusalOf = (...args: string[]): string => {
    const line = parseCommandLine(BENCH_COMMAND, args);
    if (line === 'help') throw new Error('help was asked for');
    return refusal(() => refuseUnused(line.values));
  };

  test.each([
    { args: ['--preset', 'xe-phases', '--goal', 'G2'], says: /^--goal would not be used: a publ/ },
    { args: ['--goal=G2', '--channels=4', '--folios', '4K'], says: /^--folios, --channels would/ },
    { args: ['--suite', 'mm', '--verify', 'off'], says: /^--verify would .*of the suite copy/ },
  ])('$args is refused, and says why', ({ args, says }) => {
    expect(refusalOf(...args)).toMatch(says);
  });

  test.each([
    { args: ['--preset', 'xe-phases', '--quick', '--seed', '3', '--ring', '2'] },
    { args: ['--goal', 'none', '--channels', '4'] },
    { args: ['--suite', 'copy,mm', '--goal', 'G2'] },
  ])('$args is not', ({ args }) => {
    expect(refusalOf(...args)).toBe('accepted');
  });
});

describe('options that contradict each other', () => {
  const refusalOf = (...args: string[]): string => {
    const line = parseCommandLine(BENCH_COMMAND, args);
    if (line === 'help') throw new Error('help was asked for');
    return refusal(() => refuseContradiction(line.values));
  };

  test.each([
    { args: ['--suite', 'mm', '--goal', 'G2'], says: /^--goal: G2 needs the suite copy, .*; choo/ },
    { args: ['--goal', 'none,G1'], says: /^--goal: none stands for .*; name goals alone, or none/ },
    { args: ['--goal', 'G4', '--adapter', 'cpu'], says: /^--goal: G4 needs a WebGPU adapter/ },
    { args: ['--goal', 'G8', '--browser', 'node'], says: /^--goal: G8 needs CPU cores/ },
  ])('$args is refused, and says what helps', ({ args, says }) => {
    expect(refusalOf(...args)).toMatch(says);
  });

  test.each([
    { args: ['--suite', 'mm', '--goal', 'none'] },
    { args: ['--goal', 'G8'] },
    { args: ['--goal', 'G1', '--adapter', 'cpu'] },
  ])('$args is not', ({ args }) => {
    expect(refusalOf(...args)).toBe('accepted');
  });

  test('before a run begins: one line, status 1', async () => {
    const ran = await bench('--browser', 'node', '--suite', 'mm', '--goal', 'G2');
    expect(ran).toMatchObject({ status: 1, out: '' });
    expect(ran.err).toMatch(/^bench: --goal: G2 needs the suite copy, [^\n]*\n$/);
  });
});

describe('the command line of a soak', () => {
  const soakOf = (...args: string[]) => {
    const line = parseCommandLine(SOAK_COMMAND, args);
    if (line === 'help') throw new Error('help was asked for');
    return soakOptions(line.values);
  };

  test('means ten minutes on WebGPU, unless it says otherwise', () => {
    expect(soakOf()).toEqual({ soakMinutes: 10, quick: true, seed: 1, engine: 'webgpu' });
    const other = soakOf('--minutes', '3', '--adapter', 'cpu', '--power', 'high');
    expect(other).toMatchObject({ soakMinutes: 3, engine: 'cpu' });
    expect(pageQuery(other)).toBe('?auto&soak=3&quick=1&seed=1&engine=cpu&power=high');
  });

  test.each(['0', '-1', '1.5', '1441', 'ten'])('%s minutes are refused', (minutes) => {
    const message = refusal(() => soakOf('--minutes', minutes));
    expect(message).toMatch(/^--minutes takes a whole number from 1 to 1440/);
  });

  test('has a --help of its own', async () => {
    const ran = await bench('soak', '--help');
    expect(ran.status).toBe(0);
    expect(ran.out).toContain('npm run bench -- soak [options]');
    expect(ran.out).toContain('--minutes N');
  });
});

describe('the files for the results', () => {
  const html = join(folder, 'x.html');

  test.each([
    {
      json: '/no/such/folder/x.json',
      says: /^--json: can't write .*ENOENT; make its folder first$/,
    },
    { json: folder, says: /^--json: can't write .*EISDIR; name another file$/ },
    { json: html, says: /^--json and --report name the same file/ },
  ])('$json can not be written: one line', ({ json, says }) => {
    expect(refusal(() => prepareOutput(json, html, 'quick'))).toMatch(says);
  });

  test('a report that is no HTML file is refused', () => {
    const json = join(folder, 'x.json');
    expect(refusal(() => prepareOutput(json, join(folder, 'x.txt'), 'quick'))).toMatch(
      /^--report takes a file that ends in \.html/,
    );
  });

  test('the check leaves no file behind and keeps one that is there', () => {
    const json = join(folder, 'never.json');
    expect(prepareOutput(json, html, 'quick')).toEqual({ json, html });
    expect(existsSync(json)).toBe(false);
    expect(existsSync(html)).toBe(false);
    const own = resolve(import.meta.dirname, 'bench-cli.test.ts');
    const before = readFileSync(own, 'utf8');
    prepareOutput(own, html, 'quick');
    expect(readFileSync(own, 'utf8')).toBe(before);
  });
});

describe('the command itself', () => {
  test('a mistake is one line on stderr and status 1', async () => {
    const ran = await bench('--adapter', 'cpu', '--json', '/no/such/folder/x.json');
    expect(ran).toMatchObject({ status: 1, out: '' });
    expect(ran.err).toMatch(/^bench: --json: can't write [^\n]*\n$/);
  });

  test('goals are listed by id, with their suites', async () => {
    const ran = await bench('goals');
    expect(ran).toMatchObject({ status: 0, err: '' });
    for (const id of GOAL_IDS) expect(ran.out).toMatch(new RegExp(`^  ${id} +[a-z]+ +[A-Z]`, 'm'));
  });

  test('--help lists every option', async () => {
    const ran = await bench('--help');
    expect(ran.status).toBe(0);
    for (const option of Object.keys(BENCH_COMMAND.options)) {
      expect(ran.out).toContain(`--${option}`);
    }
  });

  test('a run on the CPU engine prints tables and writes JSON and HTML', async () => {
    const json = join(folder, 'run.json');
    const html = join(folder, 'run.html');
    const args = ['--adapter', 'cpu', '--suite', 'mm', '--quick', '--seed', '5'];
    const ran = await bench(...args, '--json', json, '--report', html);
    expect(ran.err.replace(/^bench: .*\n/gm, '')).toBe('');
    expect(ran.status).toBe(0);
    expect(ran.out.split('\n')[0]).toMatch(/^adapter: /);
    expect(ran.out).toContain('CPU ENGINE: no adapter was used');
    expect(ran.out).toContain('Bookkeeping of migration');
    const report = JSON.parse(readFileSync(json, 'utf8')) as BenchReport;
    expect(report.schema).toBe('webhmm-bench/1');
    expect(report.env).toMatchObject({ seed: 5, browser: 'Node', node: process.versions.node });
    expect(report.cells.every((cell) => cell.verified)).toBe(true);
    expect(readFileSync(html, 'utf8')).toContain('</html>');
  });
});
