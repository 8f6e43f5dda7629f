/*
 * The site: a gallery (examples/index.html) and one page per folder of examples/.
 *
 * Every page is an entry of one static build whose paths are relative, so any host can serve dist/
 * from any folder. SharedArrayBuffer needs cross-origin isolation: `vite` and `vite preview` send
 * the two headers, other hosts are helped by the service worker in examples/public.
 */
import { existsSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { defineConfig } from 'vite';

const root = import.meta.dirname;
const site = resolve(root, 'examples');

/** Headers that make a page cross-origin isolated. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** `npm start` opens the site, where there is a desktop to open it on. */
const desktop = ['DISPLAY', 'WAYLAND_DISPLAY'].some((name) => process.env[name] !== undefined);
const open =
  process.env['npm_lifecycle_event'] === 'start' && (desktop || process.platform !== 'linux');

/** The HTML files of the site: the gallery, then each example in order. */
function pages(): string[] {
  const folders = existsSync(site) ? readdirSync(site, { withFileTypes: true }) : [];
  const examples = folders.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return ['.', ...examples.toSorted()]
    .map((name) => resolve(site, name, 'index.html'))
    .filter((file) => existsSync(file));
}

export default defineConfig({
  root: site,
  base: './',
  publicDir: resolve(site, 'public'),
  server: { headers: isolation, open, fs: { allow: [root] } },
  preview: { headers: isolation },
  worker: { format: 'es' },
  optimizeDeps: { include: ['comlink', 'uplot'] },
  build: {
    outDir: resolve(root, 'dist'),
    emptyOutDir: true,
    target: 'es2023',
    rolldownOptions: { input: pages() },
  },
});
