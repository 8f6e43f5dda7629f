/*
 * Has one process make what several want at the same time.
 *
 * Tests of pages begin together, and each wants the site. Who comes first makes it, the others wait
 * for the result instead of taking the cores from him. Nothing depends on that: what they make is
 * given its name in one go, so where a lock is lost two make the same, which does no harm.
 */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive } from './chromium-bundle.ts';
import { onExit, unlessStopped } from './cleanup.ts';

const LOOK_MS = 50;
/** Nobody waits longer for another: the id may be that of a process which knows nothing of it. */
const PATIENCE_MS = 90_000;

/**
 * Finds something, or makes it, or waits until another process has made it.
 *
 * @param lock path of the file that whoever makes it holds
 * @param find what there is, undefined as long as there is nothing
 * @param make makes it; what it throws is thrown, and the next one may try
 * @param patienceMs makes it nevertheless after so many milliseconds
 */
export async function buildOnce<T>(
  lock: string,
  find: () => T | undefined,
  make: () => Promise<T>,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const since = performance.now();
  for (;;) {
    const found = find();
    if (found !== undefined) return found;
    await unlessStopped();
    const isImpatient = performance.now() - since > patienceMs;
    if (isImpatient || (await take(lock))) {
      const release = onExit(() => rm(lock, { force: true }));
      try {
        return find() ?? (await make());
      } finally {
        await release();
      }
    }
    await delay(LOOK_MS);
  }
}

/** Takes a lock that nobody holds. */
async function take(lock: string): Promise<boolean> {
  try {
    await mkdir(dirname(lock), { recursive: true });
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if (await isLeft(lock)) await rm(lock, { force: true });
  return false;
}

/** Whether the process that took a lock is gone. */
async function isLeft(lock: string): Promise<boolean> {
  try {
    const text = await readFile(lock, 'utf8');
    if (text !== '') return !isAlive(Number(text));
    // He is about to write his id, or died before he did.
    return Date.now() - (await stat(lock)).mtimeMs > 5000;
  } catch {
    return false;
  }
}
