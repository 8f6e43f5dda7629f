/*
 * How a command is loaded: as one file that is made once, and again when one of its modules has
 * changed; by Node's hooks where that can't be.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const LOADER = [
  'run.mjs',
  'command-bundle.mjs',
  'typescript.mjs',
  'typescript-hooks.mjs',
  'blank-types.mjs',
  'using.mjs',
];

/** Where bundles are kept, as seen from the cli folder. */
const KEPT = '../node_modules/.cache/webhmm/commands';

/** A tree with a command, `probe`, and packages of its own. */
let tree = '';

beforeEach(() => {
  tree = realpathSync(mkdtempSync(join(tmpdir(), 'webhmm-command-')));
  mkdirSync(join(tree, 'cli'));
  for (const file of LOADER) cpSync(join(ROOT, 'cli', file), join(tree, 'cli', file));
  for (const file of ['package.json', 'package-lock.json']) {
    cpSync(join(ROOT, file), join(tree, file));
  }
  mkdirSync(join(tree, 'node_modules'));
  for (const name of ['vite', 'comlink']) {
    symlinkSync(realpathSync(join(ROOT, 'node_modules', name)), join(tree, 'node_modules', name));
  }
  write('part.ts', 'export const part = (): string => "old";');
  write('probe.ts', 'import { part } from "./part.ts"; export const main = () => say(part());');
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

/** Writes a file of the tree's cli folder. */
function write(name: string, text: string): void {
  const say = 'function say(text: unknown): void { process.stdout.write(`${text}\\n`); }';
  writeFileSync(join(tree, 'cli', name), name.endsWith('.ts') ? `${text}\n${say}\n` : text);
}

function probe(...args: string[]): { status: number | null; out: string; err: string } {
  const command = ['--enable-source-maps', 'cli/run.mjs', 'probe', ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    cwd: tree,
    encoding: 'utf8',
  });
  return { status, out: stdout, err: stderr };
}

/** The bundles that there are. */
function bundles(): string[] {
  const folder = join(tree, 'node_modules', '.cache', 'webhmm', 'commands');
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.mjs')) : [];
}

test('a command is bundled when it is first started, and found the next time', () => {
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
  const made = bundles();
  expect(made).toHaveLength(1);
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
  expect(bundles()).toEqual(made);
  // It is what runs: the hooks would need this file.
  rmSync(join(tree, 'cli', 'typescript-hooks.mjs'));
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
});

test('what is changed in any of its modules counts at once, and what is put back, too', () => {
  expect(probe().out).toBe('old\n');
  write('part.ts', 'export const part = (): string => "new";');
  expect(probe()).toEqual({ status: 0, out: 'new\n', err: '' });
  expect(bundles()).toHaveLength(2);
  write('deep.ts', 'export const deep = 1;');
  write('part.ts', 'import { deep } from "./deep.ts"; export const part = () => deep;');
  expect(probe().out).toBe('1\n');
  write('deep.ts', 'export const deep = 2;');
  expect(probe().out).toBe('2\n');
  expect(bundles()).toHaveLength(4);
  write('part.ts', 'export const part = (): string => "old";');
  expect(probe().out).toBe('old\n');
  // Four are kept. The list of files was that of the last one, so this one was made again.
  expect(bundles()).toHaveLength(4);
});

test('what is in no module of its leaves a bundle as it is', () => {
  probe();
  const made = bundles();
  write('other.ts', 'export const other = 1;');
  expect(probe().out).toBe('old\n');
  expect(bundles()).toEqual(made);
});

test('modules have the addresses of their own files; text and packages are what they are', () => {
  mkdirSync(join(tree, 'sub'));
  writeFileSync(join(tree, 'sub', 'a.wgsl'), 'fn a() {} // "quoted"\n');
  writeFileSync(
    join(tree, 'sub', 'place.ts'),
    'export const place: string[] = [import.meta.url, import.meta.dirname];',
  );
  const code = [
    'import { proxyMarker } from "comlink";',
    'import { place } from "../sub/place.ts";',
    'import text from "../sub/a.wgsl?raw";',
    'export async function main(): Promise<void> {',
    '  using end = { [Symbol.dispose]: () => say("disposed") };',
    '  const { part } = await import("./part.ts");',
    '  say(JSON.stringify([place, text, typeof proxyMarker, part(), typeof end]));',
    '  say(String(process.argv.slice(2)));',
    '}',
  ];
  write('probe.ts', code.join('\n'));
  const { out, err } = probe('--one', 'two');
  expect(err).toBe('');
  expect(bundles()).toHaveLength(1);
  const [values, args, end] = out.trimEnd().split('\n');
  const url = pathToFileURL(join(tree, 'sub', 'place.ts')).href;
  expect(JSON.parse(values!)).toEqual([
    [url, join(tree, 'sub')],
    'fn a() {} // "quoted"\n',
    'symbol',
    'old',
    'object',
  ]);
  expect([args, end]).toEqual(['--one,two', 'disposed']);
});

test('what a command imports while it runs may be TypeScript, with the hooks', () => {
  write('late.ts', 'export const late = (): string => "late"; say(late());');
  const code = [
    'export async function main(): Promise<void> {',
    '  await import("./typescript.mjs");',
    '  await import(process.argv[2] ?? "");',
    '}',
  ];
  write('probe.ts', code.join('\n'));
  const url = pathToFileURL(join(tree, 'cli', 'late.ts')).href;
  expect(probe(url)).toEqual({ status: 0, out: 'late\n', err: '' });
  expect(bundles()).toHaveLength(1);
});

test('a stack names the source, its line and its column', () => {
  write('part.ts', '// one\nexport function part(): string {\n  throw new Error("here");\n}');
  const { status, err } = probe();
  expect(status).toBe(1);
  expect(err).toContain(`${join(tree, 'cli', 'part.ts')}:3:9`);
});

test('a module that does not parse is named, as the hooks do it', () => {
  write('part.ts', 'export const part = = 1;');
  const { status, err } = probe();
  expect(status).toBe(1);
  expect(err).toContain(join(tree, 'cli', 'part.ts'));
  expect(bundles()).toEqual([]);
});

test('a command runs by the hooks in a tree that borrows its packages', () => {
  const modules = join(tree, 'node_modules');
  renameSync(modules, join(tree, 'packages'));
  symlinkSync(join(tree, 'packages'), modules);
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
  expect(bundles()).toEqual([]);
});

test('a command runs by the hooks where nothing can be kept', () => {
  writeFileSync(join(tree, 'node_modules', '.cache'), '');
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
  expect(bundles()).toEqual([]);
});

test.each([
  ['a list of files that can not be read', () => write(join(KEPT, 'probe.json'), '[')],
  ['a bundle that was cut off when it was written', () => write(join(KEPT, bundles()[0]!), '')],
  [
    'a module that has another name now',
    () => {
      renameSync(join(tree, 'cli', 'part.ts'), join(tree, 'cli', 'piece.ts'));
      write(
        'probe.ts',
        'import { part } from "./piece.ts"; export const main = () => say(part());',
      );
    },
  ],
])('after %s it is bundled again', (_, change) => {
  probe();
  change();
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
  // It is what runs: the hooks would need this file.
  rmSync(join(tree, 'cli', 'typescript-hooks.mjs'));
  expect(probe()).toEqual({ status: 0, out: 'old\n', err: '' });
});
