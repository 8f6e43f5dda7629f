/*
 * Builds the site and serves it to a browser that a command has started.
 *
 * The build goes to a folder under node_modules/.cache/webhmm, so that `dist/` stays what `npm run
 * build` made. It is made in a folder of this process's own, which is then given a name with the
 * key of the tree that it was made of: as long as nothing changes the next command finds it there.
 * Of commands that run at the same time one builds it (build-once.ts). What a killed process left
 * behind is removed by the next build, as are builds that nobody has asked for in a day.
 *
 * It is served from 127.0.0.1 on a free port with the headers that make pages cross-origin
 * isolated, until the command ends.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build, preview } from 'vite';
import { buildOnce } from './build-once.ts';
import { cacheFolder, isAlive } from './chromium-bundle.ts';
import { onExit } from './cleanup.ts';
import { withProgress } from './progress.ts';
import { treeKey } from './tree-key.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** A build that was asked for last so long ago is removed. */
const STALE_MS = 24 * 60 * 60 * 1000;

export interface Site {
  /** Where the pages are served, "http://127.0.0.1:4173/". */
  readonly url: string;
  /** The folder with the built files. */
  readonly folder: string;
  close(): Promise<void>;
}

/**
 * Builds all pages and starts to serve them.
 *
 * @returns the running site; it is closed when the command ends, or earlier by close()
 */
export async function openSite(): Promise<Site> {
  const configFile = join(ROOT, 'vite.config.ts');
  const folder = await buildSite(configFile);
  const server = await preview({
    configFile,
    logLevel: 'warn',
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0, strictPort: true, open: false },
  });
  const closeServer = onExit(() => server.close());
  const url = server.resolvedUrls?.local[0];
  if (url === undefined) {
    throw new Error('the preview server gave no address');
  }
  return { url, folder, close: closeServer };
}

/** Builds the site unless it has been built. Answers where it is. */
async function buildSite(configFile: string): Promise<string> {
  const cache = cacheFolder();
  const key = treeKey('site');
  const found = join(cache, `site-${key}`);
  const find = (): string | undefined => (existsSync(found) ? found : undefined);
  const folder = await buildOnce(`${found}.lock`, find, () => makeSite(configFile, cache, key));
  const now = new Date();
  await utimes(folder, now, now);
  return folder;
}

/** Builds the site. Answers where it is. */
async function makeSite(configFile: string, cache: string, key: string): Promise<string> {
  const found = join(cache, `site-${key}`);
  await mkdir(cache, { recursive: true });
  await removeLeftovers(cache);
  const partial = join(cache, `site.pid${process.pid}`);
  const removePartial = onExit(() => rm(partial, { recursive: true, force: true }));
  const options = { configFile, logLevel: 'error' as const, build: { outDir: partial } };
  await withProgress('build', 'pages and workers', build(options));
  // What was made while somebody edited the tree is of no version of it.
  const folder =
    treeKey('site') === key ? found : join(cache, `site-pid${process.pid}-${Date.now()}`);
  // Another process may have been faster.
  await rename(partial, folder).catch(() => {});
  await removePartial();
  return folder;
}

async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const path = join(cache, name);
    const pid = /^site\.pid(\d+)$/.exec(name)?.[1];
    // Others may be removing leftovers, too.
    const info = name.startsWith('site-') ? await stat(path).catch(() => undefined) : undefined;
    const isLeft =
      pid === undefined
        ? info !== undefined && Date.now() - info.mtimeMs > STALE_MS
        : !isAlive(Number(pid));
    if (isLeft) await rm(path, { recursive: true, force: true });
  }
}
