/*
 * A copy of the tree that lasts over many canaries: nothing of one patch is left at the next, and
 * whatever goes wrong is told apart from a test that failed.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CanaryTree, plainRequest } from '../../cli/canary-tree.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const TESTS = '--project node test/one';

const CONFIG = `export default {
  test: { projects: [{ test: { name: 'node', pool: 'forks', include: ['test/*.test.ts'] } }] },
};\n`;
const CODE = `export const value = 1;\n`;
const ONE = `import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { value } from '../src/value.ts';

test('nothing is left', () => expect(existsSync('left')).toBe(false));
test('value is one', () => expect(value).toBe(1));
test('value is odd', () => expect(value % 2).toBe(1));\n`;

let root: string;
let tree: CanaryTree;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'webhmm-canaries-'));
  const files = { 'vitest.config.ts': CONFIG, 'src/value.ts': CODE, 'test/one.test.ts': ONE };
  for (const folder of ['src', 'test']) mkdirSync(join(root, folder));
  for (const [path, text] of Object.entries(files)) writeFileSync(join(root, path), text);
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'), 'dir');
  tree = new CanaryTree(root);
});

afterAll(async () => {
  await tree.remove();
  rmSync(root, { recursive: true });
});

/** A patch that puts other text for the only line of a file. */
function replace(path: string, before: string, after: string): string {
  return `--- a/${path}\n+++ b/${path}\n@@ -1 +1 @@\n-${before.trim()}\n+${after}\n`;
}

const patched = (code: string) => replace('src/value.ts', CODE, code);

async function expectClean(): Promise<void> {
  const counts = await tree.run(TESTS, undefined);
  expect(counts).toMatchObject({ passed: 3, failed: 0, firstFailure: undefined });
}

describe('a lasting copy', () => {
  test('has each patch alone, and is as before in between', async () => {
    await expectClean();
    const two = await tree.run(TESTS, patched('export const value = 2;'));
    expect(two.firstFailure).toBe('value is one (test/one.test.ts)');
    await expectClean();
    const odd = await tree.run(`${TESTS} -t value.is.odd`, patched('export const value = 4;'));
    expect(odd.firstFailure).toBe('value is odd (test/one.test.ts)');
    const three = await tree.run(TESTS, patched('export const value = 3;'));
    expect(three.firstFailure).toBe('value is one (test/one.test.ts)');
    const missed = await tree.run(`${TESTS} -t value.is.odd`, patched('export const value = 5;'));
    expect(missed).toMatchObject({ passed: 1, failed: 0, skipped: 2, firstFailure: undefined });
    await expectClean();
  });

  test('is not used again when a run has changed it', async () => {
    const write = `import fs from 'node:fs'; fs.writeFileSync('left', ''); export const value = 1;`;
    const counts = await tree.run(TESTS, patched(write));
    expect(counts.firstFailure).toBe('nothing is left (test/one.test.ts)');
    await expectClean();
  });

  test('ends tests and hooks as soon as the arguments say, and later ones as ever', async () => {
    const endless = `import { beforeEach } from 'vitest';
beforeEach(() => new Promise((done) => setTimeout(done, 700))); export const value = 2;`;
    const patch = patched(endless.replace('\n', ' '));
    const soon = await tree.run(`${TESTS} --testTimeout=200`, patch);
    expect(soon.firstFailure).toBe('nothing is left (test/one.test.ts)');
    // The same hook is in time where nothing is said.
    const later = await tree.run(TESTS, patch);
    expect(later.firstFailure).toBe('value is one (test/one.test.ts)');
    await expectClean();
  });

  test('fails without a failed test where a file can not be loaded', async () => {
    const counts = await tree.run(TESTS, patched('export const value = ;'));
    expect(counts).toMatchObject({ passed: 0, failed: 1, firstFailure: undefined });
    expect(counts.output).toMatch(/value\.ts/);
    await expectClean();
  });

  test('fails without a failed test where there is none to run', async () => {
    const counts = await tree.run('--project node test/two', undefined);
    expect(counts).toMatchObject({ passed: 0, failed: 1, firstFailure: undefined });
    expect(counts.output).toContain('No test files found');
    await expectClean();
  });

  test('refuses a patch that does not fit, and stays as it is', async () => {
    const patch = replace('src/value.ts', 'export const value = 7;', 'export const value = 2;');
    await expect(tree.run(TESTS, patch)).rejects.toThrow('does not fit');
    await expectClean();
  });
});

test('a run without end is ended, and the next one gets a fresh copy', async () => {
  const counts = await tree.run(TESTS, patched('for (;;);'), 4000);
  expect(counts).toMatchObject({ passed: 0, failed: 1, firstFailure: undefined });
  expect(counts.output).toContain('no end within 4 s');
  await expectClean();
});

test('a patch of a test, or other arguments, get a Vitest of their own', async () => {
  const test = replace('test/one.test.ts', ONE.split('\n')[0]!, `throw new Error('of its own');`);
  const counts = await tree.run(TESTS, test);
  expect(counts).toMatchObject({ passed: 0, failed: 1, firstFailure: undefined });
  expect(counts.output).toContain('of its own');
  const other = await tree.run(`${TESTS} --pool=threads`, patched('export const value = 2;'));
  expect(other.firstFailure).toBe('value is one (test/one.test.ts)');
});

test('arguments are understood only as far as a lasting copy can follow them', () => {
  const filters = ['test/a.test.ts', 'test/b'];
  const plain = { project: 'node', filters, pattern: undefined, limitMs: undefined };
  expect(plainRequest('--project node test/a.test.ts test/b')).toEqual(plain);
  expect(plainRequest('test/a.test.ts --project dawn -t x.y --testTimeout=500')).toEqual({
    project: 'dawn',
    filters: ['test/a.test.ts'],
    pattern: 'x.y',
    limitMs: 500,
  });
  expect(plainRequest('--project node')).toEqual({ ...plain, filters: [] });
  for (const other of [
    'test/a.test.ts',
    '--project chromium test/a.test.ts',
    '--project node --project dawn',
    '--project node -t',
    '--project node -t a -t b',
    '--project node --retry=2',
    '--project node --testTimeout=',
    '--project node --testTimeout=500 --testTimeout=500',
    '--project=node test/a.test.ts',
  ]) {
    expect(plainRequest(other), other).toBe(undefined);
  }
});
