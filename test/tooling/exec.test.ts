/*
 * `npm run exec` from outside: output, exit status and messages of programs, good and bad, and of
 * command lines that are wrong.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { parseArg, programUrl } from '../../cli/exec.ts';
import { exitCode } from '../../cli/exec-run.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SLOW = { timeout: 180_000 };
const folder = mkdtempSync(join(tmpdir(), 'webhmm-exec-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function start(...args: string[]): { child: ChildProcess; ran: Promise<Ran> } {
  const env = { ...process.env, INIT_CWD: folder };
  const child = spawn(process.execPath, ['cli/run.mjs', 'exec', ...args], { cwd: ROOT, env });
  const ran = new Promise<Ran>((done) => {
    let out = '';
    let err = '';
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('close', (status) => done({ status, out, err }));
  });
  return { child, ran };
}

/** Writes a program, whose name is given back. */
function program(name: string, code: string): string {
  writeFileSync(join(folder, name), code);
  return name;
}

const exec = (...args: string[]): Promise<Ran> =>
  start('--ram', '16', '--device', '4', ...args).ran;

describe('a program', () => {
  test(
    'prints as it goes, gets its argument, and its status is that of the command',
    SLOW,
    async () => {
      const code = `export default function main(cpu, { words, status }) {
      const at = cpu.mmap({ length: words * 4, prot: 3 });
      for (let i = 0; i < words; i++) cpu.store32(at + i * 4, i);
      cpu.print('core', cpu.core, cpu.load32(at + 4 * (words - 1)));
      return status;
    }`;
      const name = program('good.js', code);
      const ran = await exec(name, '--arg', '{"words": 2048, "status": 3}', '--stats');
      expect(ran).toMatchObject({ status: 3, out: 'core 0 2047\n' });
      expect(ran.err).toMatch(/^pgfault 2$/m);
      expect(ran.err).toMatch(/^milliseconds [\d.]+$/m);
    },
  );

  test('reads from a device what it has sent there: the fault brings it home', SLOW, async () => {
    const code = `export default function main(cpu) {
      const addr = cpu.mmap({ length: 4096, prot: 3 });
      cpu.store32(addr, 41);
      const fd = cpu.syscall('openDevice', 0);
      cpu.syscall('ioctl', fd, 'MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
      cpu.syscall('ioctl', fd, 'ADD', { addr, ptr: 1, npages: 1 });
      cpu.print(cpu.load32(addr));
    }`;
    const ran = await exec(program('device.js', code), '--stats');
    expect(ran).toMatchObject({ status: 0, out: '42\n' });
    expect(ran.err).toMatch(/^device_private_fault 1$/m);
  });

  test('that a signal ends has 128 and its number, with address and cause', SLOW, async () => {
    const code = 'export default (cpu) => { cpu.print("so far"); cpu.store8(0x12345, 1); };';
    const ran = await exec(program('segv.js', code));
    expect(ran).toMatchObject({ status: 139, out: 'so far\n' });
    expect(ran.err).toBe(
      'exec: SIGSEGV: write at 0x12345: not mapped, or not with that permission\n',
    );
  });

  test('that throws is status 1, with a stack that names its file', SLOW, async () => {
    const code = 'export default function main() {\n  throw new Error("no more");\n}';
    const ran = await exec(program('throws.js', code));
    expect(ran).toMatchObject({ status: 1, out: '' });
    expect(ran.err).toMatch(/^exec: Error: no more\n.*throws\.js:2/);
  });

  test.for([
    ['no default export', 'export const main = 1;', /needs `export default function main\(cpu/],
    ['a syntax error', 'export default function {', /^exec: SyntaxError: .*bad-\d+\.js.*\n$/],
    [
      'a child that is no module',
      'export default (cpu) => cpu.fork(undefined);',
      /fork takes a module's URL, as '.\/child.js'/,
    ],
  ] as const)('with %s is status 1 and says so', SLOW, async ([, code, message]) => {
    const ran = await exec(program(`bad-${code.length}.js`, code));
    expect(ran.status).toBe(1);
    expect(ran.err).toMatch(message);
  });

  test('is waited for with its children, which fail for themselves', SLOW, async () => {
    const code = `export default function main(cpu, args) {
      if (args === null) {
        cpu.print('parent', cpu.fork('./family.js', 'child') > 1);
        return 0;
      }
      cpu.sleep(50);
      cpu.print(args);
      if (args === 'child') cpu.fork(new URL('./family.js', import.meta.url), 'grandchild');
      else cpu.load8(1);
      return 5;
    }`;
    const ran = await exec(program('family.js', code));
    expect(ran.status).toBe(0);
    // Nobody says whether a parent or its child comes first.
    expect(ran.out.split('\n').toSorted()).toEqual(['', 'child', 'grandchild', 'parent true']);
    expect(ran.err).toMatch(/^exec: child \d+: SIGSEGV: read at 0x1: .*\n$/);
  });

  test('runs on several cores of one address space', SLOW, async () => {
    const code = `const FIXED = 0x32;
    function isMapped(cpu, at) {
      try {
        cpu.load8(at);
        return true;
      } catch {
        return false;
      }
    }
    export default function main(cpu) {
      const at = 0x10000000;
      if (cpu.core === 0) cpu.mmap({ addr: at, length: 4096, prot: 3, flags: FIXED });
      while (cpu.core === 1 && !isMapped(cpu, at)) cpu.sleep(1);
      cpu.atomicAdd(at, 1);
      while (cpu.atomicLoad(at) < 2) cpu.sleep(1);
      cpu.print(cpu.core);
      return cpu.core * 4;
    }`;
    const ran = await exec(program('cores.js', code), '--cores', '2');
    expect(ran.out.split('\n').toSorted()).toEqual(['', '0', '1']);
    expect(ran.status).toBe(4);
  });

  test.skipIf(!bundleRunsHere())('runs in a browser', { timeout: 120_000 }, async () => {
    const code = `import { text } from './other.js';
    export default (cpu) => { cpu.print(text); return 6; };`;
    program('other.js', 'export const text = "from beside it";');
    const ran = await exec(program('web.js', code), '--engine', 'chromium');
    expect(ran).toMatchObject({ status: 6, out: 'from beside it\n' });
    expect(ran.err).toMatch(/adapter: /);
  });
});

test('Ctrl-C ends an endless program and the command', SLOW, async () => {
  const code = 'export default function main(cpu) { cpu.print("on"); for (;;) cpu.sleep(10); }';
  const { child, ran } = start(program('endless.js', code));
  child.stdout!.once('data', () => child.kill('SIGINT'));
  const { status, out, err } = await ran;
  expect({ status, out }).toEqual({ status: 130, out: 'on\n' });
  expect(err).toBe('\nexec: stopped by SIGINT\n');
});

describe('a wrong command line', () => {
  test('is one line on stderr, and status 1', SLOW, async () => {
    const ran = await start('missing.js').ran;
    expect(ran).toMatchObject({ status: 1, out: '' });
    expect(ran.err).toMatch(/^exec: there is no file .*missing\.js: give the path.*\n$/);
  });

  test.for([
    [[], /no program given: write `npm run exec -- prog\.js`/],
    [['.'], /is no file/],
    [['a.js', 'b.js'], /one program at a time, not 'b\.js'.*--arg/],
    [['typed.ts'], /typed\.ts is TypeScript: compile it first/],
  ] as const)('names the remedy for %j', ([args, message]) => {
    program('typed.ts', '');
    expect(() => programUrl(args, folder)).toThrow(message);
  });

  test('takes an argument that is JSON, and no other', () => {
    expect(parseArg(undefined)).toBe(null);
    expect(parseArg('{"words": 64}')).toEqual({ words: 64 });
    expect(() => parseArg('{words')).toThrow(/--arg takes JSON, as --arg '\{"words": 64\}'/);
  });
});

test('the status is that of the first core that did not end well', () => {
  const ended = (status: number, signal = '', message = '') => ({ status, signal, message });
  expect(exitCode([ended(0), ended(0)])).toBe(0);
  expect(exitCode([ended(0), ended(-1, '', 'threw'), ended(7)])).toBe(1);
  expect(exitCode([ended(-1, 'SIGBUS', 'lost')])).toBe(135);
  expect(exitCode([ended(-1, 'SIGKILL', 'killed')])).toBe(137);
  // As exit(3) has it.
  expect(exitCode([ended(256 + 3)])).toBe(3);
  expect(exitCode([ended(0.5)])).toBe(0);
});
