/*
 * Several want the same thing made: one makes it, and nobody waits for who is gone.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { buildOnce } from '../../cli/build-once.ts';

const folder = mkdtempSync(join(tmpdir(), 'webhmm-once-'));
const lock = join(folder, 'deep', 'thing.lock');

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is made, and how often that was begun. */
let thing: string | undefined;
let begun = 0;

beforeEach(() => {
  thing = undefined;
  begun = 0;
  rmSync(join(folder, 'deep'), { recursive: true, force: true });
});

const find = (): string | undefined => thing;

/** Makes it in a few turns. */
async function make(): Promise<string> {
  begun++;
  await new Promise(setImmediate);
  thing = 'made';
  return thing;
}

test('what is there is not made, and takes no lock', async () => {
  thing = 'there';
  expect(await buildOnce(lock, find, make)).toBe('there');
  expect([begun, existsSync(join(folder, 'deep'))]).toEqual([0, false]);
});

test('of several that want it one makes it, and all get it', async () => {
  const all = await Promise.all([1, 2, 3].map(() => buildOnce(lock, find, make)));
  expect(all).toEqual(['made', 'made', 'made']);
  expect([begun, existsSync(lock)]).toEqual([1, false]);
});

test('who can not make it says so, and leaves it to the next', async () => {
  const fail = (): Promise<string> => Promise.reject(new Error('no room'));
  await expect(buildOnce(lock, find, fail)).rejects.toThrow('no room');
  expect(existsSync(lock)).toBe(false);
  expect(await buildOnce(lock, find, make)).toBe('made');
});

test('the lock of a process that is gone is taken away', async () => {
  await buildOnce(lock, find, make);
  thing = undefined;
  writeFileSync(lock, String(spawnSync(process.execPath, ['-e', '0']).pid));
  expect(await buildOnce(lock, find, make)).toBe('made');
  expect([begun, existsSync(lock)]).toEqual([2, false]);
});

test('a lock that never got its id is taken away, a young one is waited for', async () => {
  await buildOnce(lock, find, make);
  thing = undefined;
  writeFileSync(lock, '');
  utimesSync(lock, 1, 1);
  expect(await buildOnce(lock, find, make)).toBe('made');
  thing = undefined;
  writeFileSync(lock, '');
  const waiting = buildOnce(lock, find, make);
  await new Promise((done) => setTimeout(done, 200));
  thing = 'by another';
  expect(await waiting).toBe('by another');
  expect([begun, existsSync(lock)]).toEqual([2, true]);
});

test('a process that lives and makes nothing is not waited for for ever', async () => {
  await buildOnce(lock, find, make);
  thing = undefined;
  writeFileSync(lock, String(process.pid));
  expect(await buildOnce(lock, find, make, 300)).toBe('made');
  expect(begun).toBe(2);
});
