/*
 * The cache of worker bundles: what a key stands for, and how long it is kept.
 */
import { existsSync, rmSync, statSync, utimesSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { bundleNodeWorker } from '../../cli/node-worker.ts';

const ENTRY = 'test/tooling/worker-entry.ts';
/** Keys of no tree. */
const OLD = `test-old-${process.pid}`;
const NEW = `test-new-${process.pid}`;
const made: string[] = [];

async function bundle(...keys: readonly string[]): Promise<string> {
  const left = [...keys];
  const file = fileURLToPath(await bundleNodeWorker(ENTRY, () => left.shift() ?? keys.at(-1)!));
  made.push(file);
  return file;
}

afterAll(() => {
  for (const file of made) rmSync(file, { force: true });
});

describe('bundles of workers', () => {
  test('a tree that stays as it is gives its key to the bundle, and finds it again', async () => {
    const file = await bundle(NEW);
    expect(file).toContain(NEW);
    const { mtimeMs, ino } = statSync(file);
    expect(await bundle(NEW)).toBe(file);
    expect(statSync(file).ino).toBe(ino);
    expect(statSync(file).mtimeMs).toBeGreaterThanOrEqual(mtimeMs);
  });

  test('a tree that is edited meanwhile gives neither key to it', async () => {
    const file = await bundle(OLD, `${OLD}-edited`);
    expect(existsSync(file)).toBe(true);
    expect(file).not.toContain(OLD);
    // The text is back as it was: it is made anew.
    expect(await bundle(OLD)).toContain(OLD);
  });

  test('one that is asked for is as good as new: nobody clears it away meanwhile', async () => {
    const file = await bundle(NEW);
    utimesSync(file, 1, 1);
    const before = Date.now();
    expect(await bundle(NEW)).toBe(file);
    // Clocks of file systems are coarse.
    expect(statSync(file).mtimeMs).toBeGreaterThan(before - 2000);
  });
});
