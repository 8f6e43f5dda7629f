/** `npm run fault` as a command: what it prints and writes, its exit status, its mistakes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { UsageError } from '../../cli/args.ts';
import { runMenu } from '../../cli/fault-menu.ts';
import { runFaults } from '../../cli/fault-run.ts';
import type { FaultRunOptions } from '../../cli/fault-run.ts';

const ROOT = resolve(import.meta.dirname, '../..');
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'webhmm-fault-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A run for which nothing was asked but what it needs. */
const NONE = {
  ...Object.fromEntries(
    'window size passes oversub evict replay batch granularity seed cost json trace record'
      .split(' ')
      .map((name) => [name, undefined]),
  ),
  workload: 'sweep',
  policy: 'uvm',
  dedup: false,
} as unknown as FaultRunOptions;

function fault(...args: string[]): { status: number | null; out: string; err: string } {
  const command = ['--enable-source-maps', 'cli/run.mjs', 'fault', ...args];
  const { status, stdout, stderr } = spawnSync('node', command, { cwd: ROOT, encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

test('--prefetch prints what moved as JSON', () => {
  const { status, out } = fault('--prefetch', '{"policy":"uvm","region":[5,105],"faulted":[5]}');
  expect(status).toBe(0);
  expect(JSON.parse(out)).toEqual({ moved: [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], faults: 1 });
}, 120_000);

test('a run writes its result, its lives and its accesses; the accesses run again the same', () => {
  const files = ['r.json', 't.json', 'a.csv', 's.json'].map((name) => join(folder, name));
  const [result, lives, accesses, again] = files as [string, string, string, string];
  const run = ['--policy', 'uvm', '--window', '32', '--oversub', '150'];
  const first = fault(
    '--workload',
    'stream',
    ...run,
    '--json',
    result,
    '--trace',
    lives,
    '--record',
    accesses,
  );
  expect([first.status, first.err]).toEqual([0, '']);
  expect(first.out).toMatch(/^workload +stream, 4095 pages on a device of 2730\n/);
  const second = fault('--workload', accesses, ...run, '--json', again);
  expect(second.out).toBe(first.out);
  const [one, other] = [result, again].map(
    (file) => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>,
  );
  expect(one).toEqual(other);
  expect(one).toMatchObject({ policy: 'uvm', window: 32, cost: { farFaultUs: 45 } });
  expect(one?.['constants']).toMatchObject({ threshold: 51, 'thrashing.threshold': 3 });
  const trace = JSON.parse(readFileSync(lives, 'utf8')) as { traceEvents: unknown[] };
  expect(trace.traceEvents.length).toBeGreaterThan(1000);
}, 120_000);

test('--experiments prints a line each and is 0; broken on purpose it is 1', () => {
  const good = fault('--experiments', '11', 'thrash');
  expect(good.status).toBe(0);
  expect(good.out).toMatch(/^PASS 7 thrash .*\nPASS 11 commands GB\/s 512\/1 3\.\d+ >= 3; .*\n$/);
  const bad = fault('--experiments', '--break', 'commands', '11', '7');
  expect(bad.status).toBe(1);
  expect(bad.out).toMatch(/^PASS 7 .*\nFAIL 11 commands GB\/s 512\/1 1 >= 3; .*\n$/);
}, 120_000);

describe('a policy of the user', () => {
  const policy = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };

  test('runs, and is named in the summary', () => {
    const file = policy(
      'mine.mjs',
      `export const policy = () => ({
        onFaults(faults, view, answer) {
          for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]);
        },
        chooseVictims(request, view, victims) {},
      });`,
    );
    const { status, out } = fault('--workload', 'sweep', '--policy', file, '--size', '1');
    expect([status, out.split('\n')[1]]).toEqual([0, 'policy        mine.mjs (no source given)']);
  }, 120_000);

  test('that throws ends the run with one line that names the place', () => {
    const file = policy(
      'bad.mjs',
      `export const policy = {
        onFaults() { throw new Error('no idea'); },
        chooseVictims() {},
      };`,
    );
    const { status, out, err } = fault('--workload', 'sweep', '--policy', file);
    expect([status, out]).toEqual([1, '']);
    expect(err).toBe(`fault: policy bad.mjs, onFaults: throws: no idea (${file}:2:28)\n`);
  }, 120_000);

  const GOOD = 'export const policy = { onFaults() {}, chooseVictims() {} };';
  const WRONG: readonly (readonly [string, string, RegExp])[] = [
    ['syntax.mjs', `${GOOD}\n  for (let i = 0; i < 1; i++ { }`, /: Expected .* \(FILE:2:30\)/],
    ['top.mjs', `${GOOD}\nnull.pages;`, /Cannot read properties of null .* \(FILE:2:6\)/],
    ['odd.mjs', "throw 'tired';", /: throws tired \(FILE\)/],
    ['import.mjs', `${GOOD}\nimport './not-here.mjs';`, /Cannot find module .* \(FILE:2\)/],
    ['name.mjs', `${GOOD}\nimport { nix } from 'node:fs';`, /export named 'nix' \(FILE:2\)/],
    ['empty.mjs', 'export const politics = 1;', /empty\.mjs, module: exports no `policy`/],
    [
      'page.mjs',
      `export const policy = {
        onFaults(faults, view, answer) { answer.migrate(-7); }, chooseVictims() {},
      };`,
      /onFaults: names page -7; pages are 0 to \d+ \(FILE:2:49\)/,
    ],
    ['silent.mjs', GOOD, /onFaults: leaves the fault on page 0 without an answer \(FILE\)/],
    [
      'makes.mjs',
      "export const policy = () => {\n  throw new Error('no setup');\n};",
      /policy\(\): throws: no setup \(FILE:2:9\)/,
    ],
  ];

  test('that is wrong: what, and where', () => {
    const files = WRONG.map(([name, text]) => policy(name, text));
    const command = ['--import', './cli/typescript.mjs', 'test/tooling/policy-errors.ts'];
    command.push(...files);
    const { stdout, stderr } = spawnSync('node', command, { cwd: ROOT, encoding: 'utf8' });
    const said = stderr.split('\n');
    expect([stdout, said.length]).toEqual(['', WRONG.length + 1]);
    for (const [i, [name, , message]] of WRONG.entries()) {
      expect(said[i]!.replaceAll(files[i]!, 'FILE'), name).toMatch(message);
      expect(said[i], name).toMatch(/^UsageError: /);
    }
  }, 120_000);
});

test('nothing to do is a mistake: one line, status 1', () => {
  const { status, out, err } = fault('--break', 'fifo');
  expect([status, out]).toEqual([1, '']);
  expect(err).toBe('fault: names of experiments, --break and --curves go with --experiments\n');
}, 120_000);

describe('mistakes that a run finds', () => {
  test.each([
    [{ workload: 'foo' }, "not 'foo'"],
    [{ workload: 'none.csv' }, "can't read none.csv"],
    [{ policy: 'lru' }, "not 'lru'"],
    [{ granularity: 8 }, '--granularity is of kfd, not of uvm'],
    [{ policy: 'nvidia', granularity: 8 }, '--granularity is of kfd, not of nvidia'],
    [{ policy: 'xe', evict: 'lru4k' }, '--evict: xe has its own order'],
    [{ policy: 'none.js', evict: 'lru4k' }, '--evict: none.js has its own order'],
    [{ workload: 'none.csv', passes: 2 }, 'a file has its own'],
    [{ policy: 'none.js' }, 'there is no file none.js'],
    [{ cost: '{"farFault":1}' }, "knows no cost 'farFault'"],
    [{ cost: '{"linkGiBs":0}' }, 'cost linkGiBs must be more than 0'],
    [{ cost: '{"replayUs":-1}' }, 'must be a number, 0 or more, not -1'],
    [{ cost: '{' }, '--cost takes JSON'],
    [{ json: '/no/such/folder/r.json' }, "--json: can't write /no/such/folder/r.json: ENOENT"],
    [{ record: '/no/such/folder/r.csv', policy: 'lru' }, "--record: can't write /no/such"],
    [{ json: 'x.json', trace: 'x.json' }, '--json and --trace name the same file'],
  ])('%j: %s', async (options, message) => {
    const run = runFaults({ ...NONE, ...(options as Partial<FaultRunOptions>) });
    await expect(run).rejects.toThrow(UsageError);
    await expect(run).rejects.toThrow(message);
  });

  test('a file that can not be written is found before the first experiment', () => {
    const options = { names: [], broken: undefined, curves: false, cost: undefined };
    const print = vi.spyOn(process.stdout, 'write');
    try {
      expect(() => runMenu({ ...options, json: '/no/such/folder/x.json' })).toThrow(UsageError);
      expect(print).not.toHaveBeenCalled();
    } finally {
      print.mockRestore();
    }
  });

  test('an experiment that is not there', () => {
    const options = { broken: undefined, curves: false, cost: undefined, json: undefined };
    expect(() => runMenu({ names: ['foo'], ...options })).toThrow("there is no 'foo'; there are");
  });
});
