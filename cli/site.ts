/*
 * Builds the site and serves it to a browser that a command has started.
 *
 * The build goes to a folder of this process's own under node_modules/.cache/webhmm, so that
 * commands can run at the same time and `dist/` stays what `npm run build` made. It is served from
 * 127.0.0.1 on a free port with the headers that make pages cross-origin isolated. Both are undone
 * when the command ends; what a killed process left behind is removed by the next build.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build, preview } from 'vite';
import { cacheFolder, isAlive } from './chromium-bundle.ts';
import { onExit } from './cleanup.ts';
import { withProgress } from './progress.ts';

const ROOT = resolve(import.meta.dirname, '..');

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
  const cache = cacheFolder();
  await mkdir(cache, { recursive: true });
  await removeLeftovers(cache);
  const folder = join(cache, `site.pid${process.pid}`);
  const removeFolder = onExit(() => rm(folder, { recursive: true, force: true }));
  const configFile = join(ROOT, 'vite.config.ts');
  const common = { configFile, logLevel: 'warn' as const, build: { outDir: folder } };
  await withProgress('build', 'pages and workers', build(common));
  const server = await preview({
    ...common,
    preview: { host: '127.0.0.1', port: 0, strictPort: true, open: false },
  });
  const closeServer = onExit(() => server.close());
  const url = server.resolvedUrls?.local[0];
  if (url === undefined) {
    throw new Error('the preview server gave no address');
  }
  return {
    url,
    folder,
    close: async () => {
      await closeServer();
      await removeFolder();
    },
  };
}

async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const pid = /^site\.pid(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) {
      await rm(join(cache, name), { recursive: true, force: true });
    }
  }
}
