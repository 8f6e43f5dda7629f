/*
 * Makes a worker_threads entry out of a TypeScript file.
 *
 * A new worker thread refuses a `.ts` file. So the entry is bundled into one ES module first,
 * `?raw` shader imports included, with packages left as imports. It goes to
 * node_modules/.cache/webhmm/node/, from where these imports resolve, under a name with the key of
 * the tree that it was made of: as long as nothing changes the next command finds it there, and of
 * processes that want it at the same time one makes it. What was made while somebody edited the
 * tree is of no version of it, and gets a name that nobody finds.
 *
 * In the bundle `import.meta.url` is the bundle's own, so an entry that starts further workers must
 * be given their URLs.
 */
import { existsSync } from 'node:fs';
import { readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Rolldown } from 'vite';
import { buildOnce } from './build-once.ts';
import { cacheFolder } from './chromium-bundle.ts';
import { treeKey } from './tree-key.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** A bundle that was asked for last so long ago is removed by the next one of its entry. */
const STALE_MS = 24 * 60 * 60 * 1000;

/** Makes the names of this process's unfinished files differ from each other. */
let attempts = 0;

/**
 * Bundles a worker's entry file.
 *
 * @param entry path of a TypeScript file, absolute or relative to the repository
 * @param keyOf the key of the tree as it is now
 * @returns the bundle's file URL, for `new Worker(url)` of node:worker_threads
 */
export async function bundleNodeWorker(entry: string, keyOf = treeKey): Promise<URL> {
  const file = resolve(ROOT, entry);
  const folder = join(cacheFolder(), 'node');
  const name = basename(file, '.ts');
  const key = keyOf(relative(ROOT, file));
  const found = join(folder, `${name}-${key}.mjs`);
  const find = (): string | undefined => (existsSync(found) ? found : undefined);
  const made = await buildOnce(`${found}.lock`, find, async () => {
    const target = await makeBundle(file, found, () => keyOf(relative(ROOT, file)) === key);
    await removeStale(folder, name);
    return target;
  });
  // Whoever asked starts threads from it for as long as he runs.
  const now = new Date();
  await utimes(made, now, now);
  return pathToFileURL(made);
}

/** Makes a bundle. Answers where it is: under another name if the tree has changed meanwhile. */
async function makeBundle(file: string, found: string, isOfKey: () => boolean): Promise<string> {
  const code = await bundle(file);
  const own = `pid${process.pid}-${(attempts += 1)}`;
  const target = isOfKey() ? found : join(dirname(found), `${basename(file, '.ts')}-${own}.mjs`);
  const partial = `${target}.${own}`;
  await writeFile(partial, code);
  await rename(partial, target);
  return target;
}

async function bundle(file: string): Promise<string> {
  // Loaded only here: most commands find their bundles made.
  const { build } = await import('vite');
  const result = await build({
    configFile: false,
    root: ROOT,
    // A failure is thrown; there is no need to print it as well.
    logLevel: 'silent',
    publicDir: false,
    build: {
      ssr: file,
      write: false,
      target: 'node20',
      sourcemap: 'inline',
      minify: false,
      rolldownOptions: { output: { format: 'es', codeSplitting: false } },
    },
  });
  const outputs = (Array.isArray(result) ? result : [result]) as Rolldown.RolldownOutput[];
  const chunks = outputs.flatMap(({ output }) => output).filter((part) => part.type === 'chunk');
  const only = chunks[0];
  if (only === undefined || chunks.length !== 1) {
    throw new Error(`${file} made ${chunks.length} chunks instead of one`);
  }
  return only.code;
}

async function removeStale(folder: string, name: string): Promise<void> {
  for (const other of await readdir(folder)) {
    const path = join(folder, other);
    const info = other.startsWith(`${name}-`) ? await stat(path).catch(() => undefined) : undefined;
    if (info !== undefined && Date.now() - info.mtimeMs > STALE_MS) {
      await rm(path, { force: true });
    }
  }
}
