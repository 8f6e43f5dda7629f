/*
 * `npm run selftest` as a user or a script sees it: what it prints where, and how it exits.
 */
import { execFile } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { selectInstances } from './selftest.ts';
import { SUITE } from './suite.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** All of them take a minute where nothing else runs. */
const LIMIT_MS = 600_000;
const MIB = 2 ** 20;
const SHORT = { WEBHMM_BENCHMARK_ROUNDS: '1' };

interface Outcome {
  readonly status: number;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** Runs the command; `path` stands in for the PATH of programs. Benchmarks measure once. */
function run(args: readonly string[], path = process.env['PATH']): Promise<Outcome> {
  const command = [join(ROOT, 'cli/run.mjs'), 'selftest', ...args];
  const options = { cwd: ROOT, env: { ...process.env, PATH: path, ...SHORT } };
  return new Promise((done) => {
    const child = execFile(process.execPath, command, options, (_error, stdout, stderr) => {
      done({ status: child.exitCode ?? -1, lines: stdout.trimEnd().split('\n'), stderr });
    });
  });
}

const results = ({ lines }: Outcome): string[] => lines.filter((line) => /^(not )?ok /.test(line));

test(
  'runs all in both variants, and names the engine',
  async () => {
    const all = selectInstances(SUITE, {});
    const outcome = await run(['--engine', 'cpu']);
    expect(outcome.status).toBe(0);
    expect(outcome.stderr).toBe('');
    expect(outcome.lines.slice(0, 4)).toEqual([
      'TAP version 13',
      `1..${all.length}`,
      `# Starting ${all.length} tests from 4 test cases.`,
      '# adapter none: the CPU engine moves the pages (software)',
    ]);
    expect(results(outcome)).toHaveLength(all.length);
    expect(outcome.lines).toContain('ok 2 hmm.hmm_device_private.anon_read');
    const doubleMap = 'hmm2.hmm2_device_private.double_map';
    const at = all.findIndex(({ id }) => id === doubleMap);
    expect(outcome.lines).toContain(`ok ${at + 1} ${doubleMap}`);
    const skipped = results(outcome).filter((line) => line.includes('# SKIP')).length;
    expect(outcome.lines.slice(-2)).toEqual([
      `# PASSED: ${all.length} / ${all.length} tests passed.`,
      `# Totals: pass:${all.length - skipped} fail:0 xfail:0 xpass:0 skip:${skipped} error:0`,
    ]);
  },
  LIMIT_MS,
);

test(
  'on coherent devices each test says what was really moved',
  async () => {
    const filter = 'coherent.(open_close|migrate)$';
    const outcome = await run(['--engine', 'cpu', '--filter', filter]);
    expect(outcome.status).toBe(0);
    const moved = outcome.lines.filter((line) => line.includes('bytes moved'));
    const line = (engine: number, aperture: number): string =>
      `#  bytes moved by the copy engine: ${engine}, of these through an aperture: ${aperture}`;
    // To the device, then into the aperture and out of it: what MIGRATE_TO_DEV reads.
    expect(moved).toEqual([line(0, 0), line(3 * 4 * MIB, 2 * 4 * MIB)]);
  },
  LIMIT_MS,
);

test(
  'runs what a filter selects, and tests of ours when it names them',
  async () => {
    const filter = 'private.migrate_mixed$|webhmm.*holes_are_zero';
    const outcome = await run(['--engine', 'cpu', '--filter', filter]);
    expect(outcome.status).toBe(0);
    expect(outcome.lines[1]).toBe('1..2');
    expect(results(outcome)).toEqual([
      'ok 1 hmm2.hmm2_device_private.migrate_mixed',
      'ok 2 webhmm.webhmm_device_private.holes_are_zero',
    ]);
  },
  LIMIT_MS,
);

test('a browser that is not installed is a skip', async () => {
  const outcome = await run(['--engine', 'firefox'], dirname(process.execPath));
  expect(outcome.status).toBe(4);
  expect(outcome.lines).toEqual(['TAP version 13', '1..0 # SKIP Firefox is not installed']);
});

test.skipIf(!bundleRunsHere())(
  'runs on the page in Chromium, whose filter is the one of the command line',
  async () => {
    const filter = '^hmm2\\.hmm2_device_private\\.(double_map|snapshot)$';
    const outcome = await run(['--engine', 'chromium', '--filter', filter]);
    expect(outcome.lines[1]).toBe('1..2');
    expect(results(outcome)).toEqual([
      'ok 1 hmm2.hmm2_device_private.snapshot',
      'ok 2 hmm2.hmm2_device_private.double_map',
    ]);
    expect(outcome.lines[3]).toMatch(/^# adapter (?!none)\S+/);
    expect(outcome.status).toBe(0);
  },
  LIMIT_MS,
);

describe('a mistake on the command line is one line, with nothing on stdout', () => {
  test.each([
    { args: ['--engine', 'deno'], says: /^selftest: --engine takes cpu, node, chromium, firefox/ },
    { args: ['--filter', '('], says: /^selftest: --filter takes a regular expression/ },
    { args: ['--filter', 'no_such_test'], says: /^selftest: no test matches --filter no_such/ },
    {
      args: ['--filter', 'webhmm.*zero', '--variant', 'coherent'],
      says: /^selftest: no test matches --filter webhmm\.\*zero with --variant coherent/,
    },
  ])('$args', async ({ args, says }) => {
    const { status, lines, stderr } = await run(args);
    expect(status).toBe(1);
    expect(lines).toEqual(['']);
    expect(stderr.trimEnd()).toMatch(says);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});
