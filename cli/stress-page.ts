/*
 * Serves the page that runs the stress test, straight from the sources, to a browser that
 * `npm run stress` has started.
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createServer } from 'vite';
import { cacheFolder } from './chromium-bundle.ts';
import { onExit } from './cleanup.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** Headers that make a page cross-origin isolated. */
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const HTML =
  '<!doctype html><title>stress</title>' +
  '<script type="module" src="/test/stress/page.ts"></script>';

/** @returns the page's address, and what stops serving it; the end of the command does, too. */
export async function openStressPage(): Promise<{ url: string; close: () => Promise<void> }> {
  const cacheDir = join(cacheFolder(), `stress.pid${process.pid}`);
  onExit(() => rm(cacheDir, { recursive: true, force: true }));
  const server = await createServer({
    configFile: false,
    root: ROOT,
    logLevel: 'error',
    appType: 'custom',
    cacheDir,
    // A page in the middle of a run must not be loaded again.
    optimizeDeps: { include: ['comlink'], noDiscovery: true },
    server: {
      host: '127.0.0.1',
      port: 0,
      hmr: false,
      watch: null,
      headers: ISOLATION,
    },
  });
  server.middlewares.use((request, response, next) => {
    if (request.url !== '/') return next();
    response.writeHead(200, { ...ISOLATION, 'Content-Type': 'text/html' }).end(HTML);
  });
  const close = onExit(() => server.close());
  await server.listen();
  const url = server.resolvedUrls?.local[0];
  if (url === undefined) throw new Error('the server gave no address');
  return { url, close };
}
