/*
 * Commands that are stopped by a signal say so and nothing else, take back what they have set up,
 * and exit with 128 plus the signal.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const FAILING = ['--import', './cli/typescript.mjs', 'test/tooling/stop-failing.ts'];
const LIMIT_MS = 120_000;

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs Node and sends `signals`, one at once after the other, when `when` fits what it printed. */
function runUntil(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  when: RegExp,
  signals: readonly NodeJS.Signals[],
): Promise<Ended> {
  const child = spawn(process.execPath, args, { cwd: ROOT, env: { ...process.env, ...env } });
  let out = '';
  let err = '';
  let isSent = false;
  const look = (): void => {
    if (isSent || !when.test(out + err)) return;
    isSent = true;
    for (const signal of signals) child.kill(signal);
  };
  child.stdout.on('data', (text: Buffer) => {
    out += text.toString();
    look();
  });
  child.stderr.on('data', (text: Buffer) => {
    err += text.toString();
    look();
  });
  return new Promise((done) => child.on('close', (status) => done({ status, out, err })));
}

describe('a body that fails', () => {
  const run = (env: Record<string, string>, ...signals: NodeJS.Signals[]): Promise<Ended> =>
    runUntil(FAILING, env, /\n/, signals);

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('because of %s is not heard, and the status is %i', async (signal, status) => {
    const ended = await run({}, signal);
    expect(ended.err).toBe(`\nstop-failing: stopped by ${signal}\n`);
    expect(ended.status).toBe(status);
    expect(existsSync(ended.out.trim())).toBe(false);
  });

  test('because of a signal that npm passes on as well is taken back, too', async () => {
    const ended = await run({}, 'SIGINT', 'SIGTERM');
    expect(ended.err).toMatch(/^\nstop-failing: stopped by SIG(INT|TERM)\n$/);
    expect(existsSync(ended.out.trim())).toBe(false);
  });

  test('by itself is heard, and the status is 1', async () => {
    const ended = await run({ FAIL: '1' });
    expect(ended.err).toMatch(/^stop-failing: Error: failed by itself\n/);
    expect(ended.status).toBe(1);
    expect(ended.out).toContain('webhmm-stop-');
    expect(existsSync(ended.out.trim())).toBe(false);
  });
});

test(
  'a kernel that is stopped shows how far it was, says so last, and writes no file',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'webhmm-stop-'));
    const size = ['--workgroups', '60000', '--window', '1', '--device', '2'];
    const args = ['cli/run.mjs', 'kernel', '--shape', 'accumulate', '--engine', 'cpu', ...size];
    const file = ['--json', join(folder, 'x.json')];
    try {
      const shown = /^kernel: pass \d+, \d+ faults, workgroups \d+\/60000 \(\d+ s\)$/m;
      const ended = await runUntil([...args, ...file], {}, shown, ['SIGINT']);
      expect(ended.err).toMatch(/ s\)\n\nkernel: stopped by SIGINT\n$/);
      expect(ended).toMatchObject({ status: 130, out: '' });
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  LIMIT_MS,
);

describe.skipIf(!bundleRunsHere())('a benchmark that is stopped (needs Linux x64)', () => {
  test.each(['node', 'bundled'])(
    'on --browser %s says so, and how far it came, last, and leaves no file',
    async (browser) => {
      const folder = mkdtempSync(join(tmpdir(), 'webhmm-stop-'));
      const args = ['cli/run.mjs', 'bench', '--quick', '--browser', browser];
      const files = ['--json', join(folder, 'x.json'), '--report', join(folder, 'x.html')];
      try {
        // The first progress line comes two seconds after the run began.
        const began = /^bench: .*\d+\/\d+/m;
        const ended = await runUntil([...args, ...files], { TMPDIR: folder }, began, ['SIGINT']);
        const said = ended.err.slice(ended.err.indexOf('\n\nbench: stopped by'));
        const far = /\nbench: (1 cell was|\d+ cells were) measured; of a stopped run [^\n]*\n$/;
        expect(said.replace(far, '\n')).toBe('\n\nbench: stopped by SIGINT\n');
        expect(said).toMatch(far);
        expect(ended).toMatchObject({ status: 130, out: '' });
        expect(readdirSync(folder)).toEqual([]);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    LIMIT_MS,
  );
});
