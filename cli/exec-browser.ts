/*
 * `npm run exec -- --engine chromium`: the program on a page of a headless browser.
 *
 * The page (exec-page.ts), the workers and the program come from Vite's development server, which
 * also serves what the program imports from beside it.
 */
import { realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';
import type { Plugin } from 'vite';
import { UsageError } from './args.ts';
import { watchPage } from './browser-page.ts';
import { openBrowser } from './browser.ts';
import { bundleRunsHere, cacheFolder } from './chromium-bundle.ts';
import { onExit } from './cleanup.ts';
import type { ExecEvent, ExecReport, ExecRequest } from './exec-run.ts';
import { ISOLATION_HEADERS } from './serve-page.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** May be a link to another checkout's. */
const MODULES = realpathSync(join(ROOT, 'node_modules'));
const LOAD_MS = 60_000;
const PAGE =
  '<!doctype html><title>exec</title><script type="module" src="/cli/exec-page.ts"></script>';

/** What the page is told by, and answers by. */
export interface ExecWindow {
  execTell(event: ExecEvent): Promise<void>;
  execRun?(request: ExecRequest): Promise<ExecReport>;
}

/**
 * Runs a program in a browser.
 *
 * @param program the program's file
 * @throws UsageError where there is no browser or the page fails
 */
export async function execInBrowser(
  request: ExecRequest,
  program: URL,
  tell: (event: ExecEvent) => void,
  say: (line: string) => void,
): Promise<ExecReport> {
  const choice = bundleRunsHere() ? 'bundled' : 'auto';
  const browser = await openBrowser({ choice, say });
  const file = fileURLToPath(program);
  const url = await serve(resolve(file, '..'));
  const page = await browser.newPage();
  try {
    await page.exposeFunction('execTell', tell);
    const guard = watchPage(page);
    await guard.race(page.goto(`${url}exec.html`, { timeout: LOAD_MS }));
    const isReady = (): boolean => (globalThis as Partial<ExecWindow>).execRun !== undefined;
    await guard.race(page.waitForFunction(isReady, undefined, { timeout: LOAD_MS }));
    const entry = new URL(`/@fs/${file.replace(/^\//, '')}`, url).href;
    const run = (asked: ExecRequest): Promise<ExecReport> =>
      (globalThis as unknown as Required<ExecWindow>).execRun(asked);
    return await guard.race(page.evaluate(run, { ...request, entry }));
  } catch (error) {
    throw new UsageError(`the page stopped: ${(error as Error).message}`);
  } finally {
    await page.close();
    await browser.close();
  }
}

/** Serves the sources and the folder of the program. Returns the address. */
async function serve(folder: string): Promise<string> {
  const server = await createServer({
    configFile: false,
    root: ROOT,
    appType: 'custom',
    logLevel: 'error',
    cacheDir: join(cacheFolder(), 'exec'),
    plugins: [page()],
    optimizeDeps: { include: ['comlink', 'wgsl_reflect/wgsl_reflect.module.js'], entries: [] },
    worker: { format: 'es' },
    server: {
      host: '127.0.0.1',
      port: 0,
      headers: ISOLATION_HEADERS,
      hmr: false,
      watch: null,
      fs: { allow: [ROOT, MODULES, folder] },
    },
  });
  onExit(() => server.close());
  await server.listen();
  const url = server.resolvedUrls?.local[0];
  if (url === undefined) throw new Error('the server of the page gave no address');
  return url;
}

function page(): Plugin {
  return {
    name: 'exec-page',
    configureServer({ middlewares }) {
      middlewares.use('/exec.html', (_request, response) => {
        response.writeHead(200, { 'Content-Type': 'text/html', ...ISOLATION_HEADERS });
        response.end(PAGE);
      });
    },
  };
}
