/** `npm run kernel`: what it prints, its exit status, its mistakes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { faultsText, reportText, runKernel } from '../../cli/kernel-run.ts';
import { bootMachine } from '../../src/index.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** What a run says while it takes longer than others. */
const PROGRESS = /^kernel: (?:compiles|.*\bpass \d+, ).*\(\d+ s\)\n/gm;

function kernel(...args: string[]): { status: number | null; out: string; err: string } {
  const command = ['--enable-source-maps', 'cli/run.mjs', 'kernel', ...args];
  const { status, stdout, stderr } = spawnSync('node', command, { cwd: ROOT, encoding: 'utf8' });
  return { status, out: stdout, err: stderr.replace(PROGRESS, '') };
}

test('a shape runs to its end on memory of its own; faults are listed by page', async () => {
  await using machine = await bootMachine({ engine: 'cpu', ramBytes: 8 << 20, deviceBytes: 65536 });
  const result = await runKernel(machine, {
    source: { shape: 'swap' },
    pages: 1,
    fill: 'none',
    args: [],
    launch: { workgroups: 32, policy: 'none' },
  });
  expect(result.report).toMatchObject({ outcome: 'done', killed: 0, finished: 32 });
  expect(result.lost).toBe(0);
  const faults = result.faults.reduce((sum, { read, write }) => sum + read + write, 0);
  expect(faults).toBe(result.report.faults);
  expect(result.faults.every(({ page }) => page >= 0)).toBe(true);
  expect(reportText(result)).toMatch(/^outcome +done\nmemory .*\nworkgroups +32 of 32 finished\n/);
  expect(faultsText(result, 1)).toMatch(/^page +read +write.*\n +0 .*\n\.\.\. and \d+ more\n$/);
  expect(faultsText({ ...result, faults: [] }, 8)).toBe('');
});

test('the command ends with 0, a report and the lives of its faults', () => {
  const folder = mkdtempSync(join(tmpdir(), 'webhmm-kernel-'));
  const file = join(folder, 'life.json');
  const shape = ['--shape', 'histogram', '--engine', 'cpu', '--device', '4'];
  const done = kernel(...shape, '--policy', 'uvm', '--trace', file);
  expect([done.status, done.err]).toEqual([0, '']);
  expect(done.out).toMatch(/^outcome +done\n/);
  const trace = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: { ph: string }[] };
  const begun = trace.traceEvents.filter(({ ph }) => ph === 'b').length;
  expect(begun).toBeGreaterThan(8);
  expect(trace.traceEvents.filter(({ ph }) => ph === 'e').length).toBe(begun);
  rmSync(folder, { recursive: true });
}, 120_000);

test('--record writes an access trace, which npm run fault drives under a policy', () => {
  const folder = mkdtempSync(join(tmpdir(), 'webhmm-kernel-'));
  for (const name of ['mine.csv', 'mine.json']) {
    const file = join(folder, name);
    const shape = ['--shape', 'histogram', '--engine', 'cpu', '--workgroups', '8'];
    const done = kernel(...shape, '--record', file);
    expect([done.status, done.err]).toEqual([0, '']);
    expect(done.out).toMatch(/^outcome +done\n/);
    const command = ['--enable-source-maps', 'cli/run.mjs', 'fault', '--workload', file];
    const args = [...command, '--policy', 'none', '--json', '-'];
    const { stdout, status } = spawnSync('node', args, { cwd: ROOT, encoding: 'utf8' });
    expect(status).toBe(0);
    const pages = Number(/memory +(\d+) pages/.exec(done.out)?.[1]);
    expect(JSON.parse(stdout)).toMatchObject({
      trace: 'histogram',
      pages,
      cancelledLanes: 0,
      counts: { movedPages: pages },
    });
  }
  rmSync(folder, { recursive: true });
}, 120_000);

test('a run that did not finish has no access trace, and says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'webhmm-kernel-'));
  const file = join(folder, 'mine.csv');
  const shape = ['--shape', 'accumulate', '--engine', 'cpu', '--budget', '1'];
  const { status, out, err } = kernel(...shape, '--record', file);
  expect([status, err]).toEqual([1, 'kernel: no access trace: the run did not finish\n']);
  expect(out).toMatch(/^outcome +endless/);
  expect(readdirSync(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
}, 120_000);

test('--json - gives JSON to stdout and nothing else', () => {
  const { status, out, err } = kernel('--shape', 'swap', '--engine', 'cpu', '--json', '-');
  expect([status, err]).toEqual([0, '']);
  expect(JSON.parse(out)).toMatchObject({ report: { outcome: 'done' }, faults: [{}, {}] });
}, 120_000);

test('a policy that throws in mid-service ends its run with its line and column', () => {
  const folder = mkdtempSync(join(tmpdir(), 'webhmm-kernel-'));
  const file = join(folder, 'mine.mjs');
  writeFileSync(
    file,
    `export const policy = {
  name: 'no good',
  onFaults() {
    throw new Error('no idea');
  },
  chooseVictims() {},
};`,
  );
  const { status, out } = kernel('--shape', 'swap', '--engine', 'cpu', '--policy', file);
  expect(status).toBe(1);
  expect(out).toMatch(
    /^outcome +failed: policy no good, onFaults: throws: no idea \(mine\.mjs:4:11\)\n/,
  );
  rmSync(folder, { recursive: true });
}, 120_000);

test('files are looked at before anything is run, and none is made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'webhmm-kernel-'));
  const shape = ['--shape', 'swap', '--engine', 'cpu', '--policy', 'uvm'];
  const nowhere = join(folder, 'none', 'x.json');
  const made = join(folder, 'x.json');
  const late = kernel(...shape, '--json', made, '--trace', nowhere);
  expect([late.status, late.out]).toEqual([1, '']);
  expect(late.err).toBe(`kernel: --trace: can't write ${nowhere}: ENOENT; make its folder first\n`);
  const twice = kernel(...shape, '--json', made, '--trace', made);
  expect(twice.err).toBe(`kernel: --json and --trace name the same file, ${made}\n`);
  expect(readdirSync(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
}, 120_000);

test.each([
  [[], /^kernel: give a file with/],
  [['a.wgsl', '--shape', 'swap'], /^kernel: give a file with/],
  [['a.wgsl', 'b.wgsl'], /^kernel: one kernel at a time/],
  [['nowhere.wgsl'], /^kernel: can't read .*nowhere\.wgsl/],
  [['test/tooling/add.wgsl', '--args', '1,x'], /^kernel: --args takes words/],
  [['--shape', 'circle'], /^kernel: --shape is one of elementwise, .*, not 'circle'/],
  [['test/tooling/add.wgsl', '--evict', 'lru4k'], /^kernel: --evict needs --policy/],
  [
    ['test/tooling/add.wgsl', '--engine', 'cpu'],
    /^kernel: --engine cpu runs no WGSL, only --shape/,
  ],
  [['--shape', 'swap', '--pages', '4'], /^kernel: --pages is of a kernel in a file/],
  [['--shape', 'swap', '--policy', 'uvm', '--evict', 'x'], /^kernel: --evict takes lra2m/],
  [['test/tooling/add.wgsl', '--policy', 'best'], /^kernel: --policy is one of uvm/],
  [['test/tooling/add.wgsl', '--policy', 'best.mjs'], /^kernel: --policy: there is no file best/],
  [['test/tooling/add.wgsl', '--trace', 'x.json'], /^kernel: --trace is of virtual time: give/],
])(
  '%j is a mistake in one line or a few',
  (args, message) => {
    const { status, err, out } = kernel(...args);
    expect([status, out]).toEqual([1, '']);
    expect(err).toMatch(message);
    expect(err).not.toContain('    at ');
  },
  120_000,
);
