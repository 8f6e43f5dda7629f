/*
 * A benchmark that is stopped, as Ctrl-C on a terminal does it: the signal goes to the command and
 * to all that it has started. It says how far it came, and leaves no process and no file behind.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
/** For a step of a run on a machine that is busy. */
const LIMIT_MS = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'webhmm-bench-stop-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Stopped {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
  /** What is left in the folder for temporary files, and in that of the results. */
  readonly files: readonly string[];
  /** Whether a process of the group lives. */
  readonly isAlive: boolean;
}

/** Whether a process of that group lives. */
function lives(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

let runs = 0;

/** Runs the benchmark in Node and sends SIGINT to its group once it has printed `when`. */
function stopAt(when: RegExp, ...args: string[]): Promise<Stopped> {
  runs += 1;
  const own = join(folder, String(runs));
  const temporary = join(own, 'tmp');
  mkdirSync(temporary, { recursive: true });
  const files = ['--json', join(own, 'x.json'), '--report', join(own, 'x.html')];
  const child = spawn(process.execPath, ['cli/run.mjs', 'bench', ...args, ...files], {
    cwd: ROOT,
    // A group of its own, as a shell gives to each command.
    detached: true,
    env: { ...process.env, TMPDIR: temporary },
  });
  const group = child.pid!;
  let out = '';
  let err = '';
  let isSent = false;
  child.stdout.on('data', (text: Buffer) => (out += text.toString()));
  child.stderr.on('data', (text: Buffer) => {
    err += text.toString();
    if (isSent || !when.test(err)) return;
    isSent = true;
    process.kill(-group, 'SIGINT');
  });
  return new Promise((done) => {
    child.on('close', (status) => {
      const left = readdirSync(own, { recursive: true }).map(String);
      done({ status, out, err, files: left, isAlive: lives(group) });
    });
  });
}

const PROGRESS = /^bench: .* \(\d+ s\)$/m;
const SAID = /\nbench: stopped by SIGINT\nbench: \d+ cells? (was|were) measured; of a stopped run /;

describe('a benchmark in Node that is stopped', () => {
  // Progress is printed from its third second on; these take longer on any machine.
  test.each([
    ['while it opens its device', /^Node .* adapter: /m, ['--suite', 'copy']],
    ['in a sweep of copies', PROGRESS, ['--suite', 'copy', '--goal', 'none']],
    ['in whole migrations', PROGRESS, ['--suite', 'migrate']],
    ['behind a goal', PROGRESS, ['--goal', 'G18']],
    ['in a soak', PROGRESS, ['soak', '--minutes', '2']],
  ] as const)(
    '%s leaves nothing behind',
    async (_, when, args) => {
      const ended = await stopAt(when, ...args, '--browser', 'node');
      expect(ended).toMatchObject({ status: 130, out: '', isAlive: false, files: ['tmp'] });
      expect(ended.err).toMatch(when === PROGRESS ? SAID : /\nbench: stopped by SIGINT\n/);
    },
    LIMIT_MS,
  );
});
