/*
 * `npm run stress` from outside: figures and exit status, mistakes on the command line, and Ctrl-C.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SLOW = { timeout: 180_000 };

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function start(...args: string[]): { child: ChildProcess; ran: Promise<Ran> } {
  const child = spawn(process.execPath, ['cli/run.mjs', 'stress', ...args], { cwd: ROOT });
  const ran = new Promise<Ran>((done) => {
    let out = '';
    let err = '';
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('close', (status) => done({ status, out, err }));
  });
  return { child, ran };
}

const stress = (...args: string[]): Promise<Ran> => start(...args).ran;

test('a run prints its seed, then what was done and that nothing was lost', SLOW, async () => {
  const { status, out, err } = await stress('--seconds', '1', '--seed', '7');
  expect(err).toMatch(/^stress: seed 7$/m);
  expect(out).toMatch(/^\S+ operations in \d+ s, .*: nothing lost, nothing torn, sums exact\n$/);
  expect(status).toBe(0);
});

test.runIf(bundleRunsHere())('a run in Chromium does the same', SLOW, async () => {
  const { status, out } = await stress('--engine', 'chromium', '--seconds', '1');
  expect(out).toMatch(/nothing lost, nothing torn, sums exact\n$/);
  expect(status).toBe(0);
});

test('a mistake on the command line is one line', SLOW, async () => {
  const { status, out, err } = await stress('--seconds', '0');
  expect([status, out]).toEqual([1, '']);
  expect(err).toBe("stress: --seconds takes a whole number from 1 to 86400, not '0'\n");
});

test('Ctrl-C ends a run in the middle', SLOW, async () => {
  const { child, ran } = start('--seconds', '60');
  await new Promise<void>((heard) => {
    child.stderr!.on('data', (text: Buffer) => {
      if (text.toString().includes('operations in')) heard();
    });
  });
  child.kill('SIGINT');
  const { status, out, err } = await ran;
  expect(status).toBe(130);
  expect(out).toBe('');
  expect(err).toMatch('stopped by SIGINT');
});
