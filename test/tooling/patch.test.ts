/*
 * The patch reader of the canaries: a patch fits exactly or is refused, and then nothing is
 * written.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadCanaries } from '../../cli/canaries.ts';
import { applyPatch } from '../../cli/patch.ts';

let root = '';

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'webhmm-patch-'));
  mkdirSync(join(root, 'src'));
  writeFileSync(join(root, 'src/a.ts'), 'one\ntwo\nthree\nfour\nfive\n');
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const CHANGE = `# caught-by: --project node test/x
diff --git a/src/a.ts b/src/a.ts
index 111..222 100644
--- a/src/a.ts
+++ b/src/a.ts
@@ -1,4 +1,4 @@ function
 one
 two
-three
+THREE
 four
`;

describe('a patch that fits', () => {
  test('changes its lines', () => {
    expect(applyPatch(CHANGE, root)).toEqual(['src/a.ts']);
    expect(read('src/a.ts')).toBe('one\ntwo\nTHREE\nfour\nfive\n');
  });

  test('finds lines that have moved', () => {
    writeFileSync(join(root, 'src/a.ts'), `${'new\n'.repeat(40)}one\ntwo\nthree\nfour\n`);
    applyPatch(CHANGE, root);
    expect(read('src/a.ts')).toMatch(/new\none\ntwo\nTHREE\nfour\n$/);
  });

  test('takes the place nearest to its line number where there are several', () => {
    writeFileSync(join(root, 'src/a.ts'), 'one\ntwo\nthree\nfour\n'.repeat(3));
    applyPatch(CHANGE.replace('-1,4', '-6,4'), root);
    const at = read('src/a.ts').split('\n').indexOf('THREE');
    expect(at).toBe(6);
  });

  test('may have several hunks, each moved by what went before', () => {
    const two = `--- a/src/a.ts\n+++ b/src/a.ts
@@ -1 +1,2 @@\n one\n+one and a half
@@ -4,2 +5,1 @@\n four\n-five\n`;
    applyPatch(two, root);
    expect(read('src/a.ts')).toBe('one\none and a half\ntwo\nthree\nfour\n');
  });

  test('may add a file and delete one', () => {
    const both = `--- /dev/null\n+++ b/src/deep/new.ts\n@@ -0,0 +1,2 @@\n+x\n+y
--- a/src/a.ts\n+++ /dev/null\n@@ -1,5 +0,0 @@\n-one\n-two\n-three\n-four\n-five\n`;
    applyPatch(both, root);
    expect(read('src/deep/new.ts')).toBe('x\ny\n');
    expect(existsSync(join(root, 'src/a.ts'))).toBe(false);
  });

  test('may come from plain diff, with times and without prefixes', () => {
    const plain = `--- src/a.ts\t2026-01-01 00:00:00
+++ src/a.ts\t2026-01-02 00:00:00\n@@ -2 +2 @@\n-two\n+TWO\n`;
    applyPatch(plain, root);
    expect(read('src/a.ts')).toBe('one\nTWO\nthree\nfour\nfive\n');
  });
});

describe('a patch that does not fit', () => {
  test.each([
    ['its context differs', CHANGE.replace(' two', ' 2'), 'does not fit'],
    ['its file is missing', CHANGE.replaceAll('a.ts', 'b.ts'), 'does not exist'],
    ['it leads out of the folder', CHANGE.replaceAll('/src/a.ts', '/../a.ts'), 'leads out'],
    ['it is cut short', CHANGE.slice(0, CHANGE.indexOf(' four')), 'cut short'],
    ['it changes nothing', '# only a comment\n', 'no file is changed'],
    ['it is binary', 'GIT binary patch\n', 'binary'],
  ])('%s: nothing is written', (_, patch, message) => {
    expect(() => applyPatch(patch, root)).toThrow(message);
    expect(read('src/a.ts')).toBe('one\ntwo\nthree\nfour\nfive\n');
  });

  test('the first file is left alone when the second does not fit', () => {
    const second = '--- a/src/b.ts\n+++ b/src/b.ts\n@@ -1 +1 @@\n-x\n+y\n';
    expect(() => applyPatch(CHANGE + second, root)).toThrow('does not exist');
    expect(read('src/a.ts')).toContain('three');
  });
});

describe('loading canaries', () => {
  test('reads which tests must catch each, and has a default', () => {
    writeFileSync(join(root, 'b.patch'), CHANGE);
    writeFileSync(join(root, 'a.patch'), CHANGE.replace(/^#.*\n/, ''));
    const canaries = loadCanaries(root).map(({ name, tests }) => ({ name, tests }));
    expect(canaries).toEqual([
      { name: 'a', tests: '--project node' },
      { name: 'b', tests: '--project node test/x' },
    ]);
  });

  test('an empty folder is an error, not a success', () => {
    expect(() => loadCanaries(join(root, 'src'))).toThrow('there are no canaries');
  });
});
