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

describe('mistakes', () => {
  test.each([
    { args: ['--suite', 'copi'], says: /^bench: --suite takes .*did you mean copy\?$/ },
    { args: ['--suite', ''], says: /^bench: --suite takes / },
    { args: ['--adapter', 'gpu'], says: /^bench: --adapter takes webgpu, cpu, not 'gpu'/ },
    { args: ['--power', 'max'], says: /^bench: --power takes high, low/ },
    { args: ['--seed', '-1'], says: /^bench: --seed / },
    { args: ['--seed', '4294967296'], says: /^bench: --seed takes a whole number/ },
    { args: ['--browser', '/no/such/browser'], says: /^bench: --browser .*no file/ },
    { args: ['--quik'], says: /^bench: unknown option --quik; did you mean --quick\?/ },
    { args: ['copy'], says: /^bench: unexpected argument 'copy'/ },
    {
      args: ['--json', '/no/such/folder/x.json'],
      says: /^bench: --json: can't write .*ENOENT; make its folder first$/,
    },
    { args: ['--json', folder], says: /^bench: --json: can't write .*EISDIR; name another file$/ },
    {
      args: ['--report', join(folder, 'x.txt')],
      says: /^bench: --report takes a file that ends in/,
    },
    {
      args: ['--json', join(folder, 'a.html'), '--report', join(folder, 'a.html')],
      says: /^bench: --json and --report name the same file/,
    },
  ])('$args', async ({ args, says }) => {
    const ran = await bench('--adapter', 'cpu', ...args);
    expect(ran.status).toBe(1);
    expect(ran.out).toBe('');
    expect(ran.err.trim().split('\n')).toHaveLength(1);
    expect(ran.err.trim()).toMatch(says);
  });
});

describe('help', () => {
  test('lists every option', async () => {
    const ran = await bench('--help');
    expect(ran.status).toBe(0);
    for (const option of [
      'suite',
      'quick',
      'json',
      'report',
      'browser',
      'adapter',
      'power',
      'seed',
    ]) {
      expect(ran.out).toContain(`--${option}`);
    }
  });
});

describe('a run on the CPU engine in Node', () => {
  test('prints tables, writes JSON and HTML, exits 0 when everything is verified', async () => {
    const json = join(folder, 'run.json');
    const html = join(folder, 'run.html');
    const args = ['--adapter', 'cpu', '--suite', 'mm', '--quick', '--seed', '5'];
    const ran = await bench(...args, '--json', json, '--report', html);
    expect(ran.err).toBe('');
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

  test('a check of the files leaves none behind', async () => {
    const json = join(folder, 'never.json');
    const ran = await bench('--adapter', 'cpu', '--json', json, '--report', '/no/folder/x.html');
    expect(ran.status).toBe(1);
    expect(existsSync(json)).toBe(false);
  });
});
