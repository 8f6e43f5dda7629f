/*
 * Knows the tree by its content, so that what was built from it is built once.
 *
 * Everything that a bundle or the site could be made of goes into the key, by its path in the tree,
 * and all of it at once: reading a thousand files takes some 30 ms, a build up to five seconds, and
 * no list of what a build has read can be out of date. A tree with the same content elsewhere, as a
 * canary's copy is one, has the same key.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
/** All that builds read. The lock file stands for the packages. */
const INPUTS = ['src', 'shaders', 'bench', 'cli', 'examples', 'docs', 'test'] as const;

/** What the tree holds, until whoever asked for it gives way to others. */
let known: Buffer | undefined;

/**
 * The key of the tree as it is now.
 *
 * @param extra what the result of the build depends on besides
 */
export function treeKey(extra: string): string {
  if (known === undefined) {
    known = digestOfTree();
    queueMicrotask(() => (known = undefined));
  }
  return createHash('sha256').update(extra).update('\0').update(known).digest('hex').slice(0, 16);
}

function digestOfTree(): Buffer {
  const hash = createHash('sha256');
  const add = (path: string): void => {
    hash.update(`\0${path}\0`).update(readFileSync(join(ROOT, path)));
  };
  const walk = (folder: string): void => {
    const entries = readdirSync(join(ROOT, folder), { withFileTypes: true });
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile()) add(path);
    }
  };
  for (const folder of INPUTS) walk(folder);
  for (const entry of readdirSync(ROOT, { withFileTypes: true })) {
    if (entry.isFile()) add(entry.name);
  }
  return hash.digest();
}
