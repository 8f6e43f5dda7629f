/*
 * The site: a gallery (examples/index.html) and one page per folder of examples/.
 *
 * Every page is an entry of one static build whose paths are relative, so any host can serve dist/
 * from any folder. SharedArrayBuffer needs cross-origin isolation: `vite` and `vite preview` send
 * the two headers, other hosts are helped by the service worker in examples/public.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { defineConfig } from 'vite';
import type { Connect, Plugin } from 'vite';

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

/** Sends `/docs` to `/docs/`, as hosts of static files do: links of pages are relative. */
function slashAfterFolders(): Plugin {
  const folders = pages().map((file) => basename(dirname(file)));
  const redirect = (base: string): Connect.NextHandleFunction => {
    const paths = new Map(folders.map((name) => [`${base}${name}`, `./${name}/`]));
    return (request, response, next) => {
      const { pathname, search } = new URL(`http://host${request.url ?? '/'}`);
      const target = paths.get(pathname);
      if (target === undefined) return next();
      response.writeHead(302, { Location: `${target}${search}` }).end();
    };
  };
  return {
    name: 'slash-after-folders',
    configureServer: ({ config, middlewares }) => void middlewares.use(redirect(config.base)),
    configurePreviewServer: ({ config, middlewares }) =>
      void middlewares.use(redirect(config.base)),
  };
}

export default defineConfig({
  root: site,
  // Several pages: an address that none of them has is 404, not the gallery.
  appType: 'mpa',
  plugins: [slashAfterFolders()],
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
