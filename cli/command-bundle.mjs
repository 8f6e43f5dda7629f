/*
 * Loads a command's code as one file.
 *
 * A command is made of some 280 modules. Node 20 asks the hooks that take their types away
 * (typescript-hooks.mjs) once for each import, in another thread, which takes most of the time that
 * a short command runs. So a command is bundled when it is first started, and found the next time,
 * as long as none of its modules has changed.
 *
 * A bundle lies in node_modules/.cache/webhmm/commands, under a name with the hash of all that it
 * was made of; beside it is a list of these files for each tree. It runs as its modules would:
 * `import.meta` is that of each module, packages are imports, and stacks name the sources where
 * Node is told to read source maps. What is imported while it runs (a user's policy) is not in it.
 *
 * Nothing depends on it: where no bundle can be made or kept, the modules are loaded by the hooks,
 * and so they are in a tree that borrows its packages, as a canary's copy does.
 */
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const ROOT = resolve(import.meta.dirname, '..');
const CACHE = join(ROOT, 'node_modules', '.cache', 'webhmm', 'commands');
/** Bundles of a command that are kept. */
const KEPT = 4;
/** What registers the hooks; it has to be the only one of its kind in a process. */
const HOOKS = pathToFileURL(resolve(import.meta.dirname, 'typescript.mjs')).href;
/** What the compiler imports for `using`, and what it gets. */
const USING_HELPER = '@oxc-project/runtime/helpers/usingCtx';
const OUR_HELPER = resolve(import.meta.dirname, 'using.mjs');

/**
 * Imports the module of a command.
 *
 * @param name of a file in cli, without its ending
 * @returns the module's exports
 */
export async function importCommand(name) {
  const bundle = await bundleOf(name).catch(() => undefined);
  if (bundle !== undefined) return import(pathToFileURL(bundle).href);
  await import('./typescript.mjs');
  return import(pathToFileURL(join(ROOT, 'cli', `${name}.ts`)).href);
}

/**
 * The path of a command's bundle, which is made unless it is there.
 *
 * @throws where it can't be made, or not be kept
 */
async function bundleOf(name) {
  if (lstatSync(join(ROOT, 'node_modules')).isSymbolicLink()) return undefined;
  const list = join(CACHE, `${name}.json`);
  const known = knownBundle(name, list);
  if (known !== undefined) return known;
  // Where nothing can be kept, that is known before anything is made.
  mkdirSync(CACHE, { recursive: true });
  accessSync(CACHE, constants.W_OK);
  const { code, texts } = await build(name);
  const paths = [...texts.keys()];
  const bundle = bundleFor(name, paths, (path) => texts.get(path));
  replace(bundle, code);
  replace(list, JSON.stringify(paths));
  removeOld(name, bundle);
  return bundle;
}

/** The bundle that is there and not empty; undefined also where a file of its list is gone. */
function knownBundle(name, list) {
  try {
    const paths = JSON.parse(readFileSync(list, 'utf8'));
    const bundle = bundleFor(name, paths, (path) => readFileSync(join(ROOT, path)));
    return statSync(bundle).size > 0 ? bundle : undefined;
  } catch {
    return undefined;
  }
}

/** Where the bundle of these files, with what is in them, lies. */
function bundleFor(name, paths, textOf) {
  // The lock file stands for the packages.
  const salt = ['cli/command-bundle.mjs', 'package.json', 'package-lock.json'];
  const hash = createHash('sha256').update(ROOT);
  for (const path of salt) hash.update(readFileSync(join(ROOT, path)));
  for (const path of paths) hash.update(`\0${path}\0`).update(textOf(path));
  return join(CACHE, `${name}-${hash.digest('hex').slice(0, 24)}.mjs`);
}

/** Bundles a command: its code, and the texts that it was made of by their paths. */
async function build(name) {
  const viteRequire = createRequire(createRequire(import.meta.url).resolve('vite'));
  const { rolldown } = await import(pathToFileURL(viteRequire.resolve('rolldown')).href);
  const texts = new Map();
  const bundler = await rolldown({
    input: join(ROOT, 'cli', `${name}.ts`),
    cwd: ROOT,
    platform: 'node',
    logLevel: 'silent',
    external: (id) => id !== USING_HELPER && /^[^./#]/.test(id),
    resolve: { conditionNames: ['node', 'import'] },
    transform: { target: 'node20' },
    plugins: [sources(texts)],
  });
  const { output } = await bundler.generate({
    // Nothing is written there, but sources are named as seen from there.
    dir: CACHE,
    format: 'es',
    codeSplitting: false,
    keepNames: true,
    sourcemap: 'inline',
    sourcemapExcludeSources: true,
  });
  await bundler.close();
  if (output.length !== 1) throw new Error(`${name} made ${output.length} files instead of one`);
  return { code: output[0].code, texts };
}

/** Reads the tree's own files for the bundler, and keeps what it has read. */
function sources(texts) {
  return {
    name: 'sources',
    resolveId(id) {
      if (id.endsWith('/typescript.mjs')) return { id: HOOKS, external: 'absolute' };
      return id === USING_HELPER ? OUR_HELPER : null;
    },
    load(id) {
      const [path, query] = id.split('?');
      if (!path.startsWith(ROOT)) return null;
      const text = readFileSync(path, 'utf8');
      texts.set(relative(ROOT, path), text);
      if (query === 'raw') return { code: `export default ${JSON.stringify(text)};` };
      const own = { url: pathToFileURL(path).href, dirname: resolve(path, '..') };
      const code = text.replaceAll(/\bimport\.meta\.(url|dirname)\b/g, (_, key) =>
        JSON.stringify(own[key]),
      );
      return { code, moduleType: path.endsWith('.ts') ? 'ts' : 'js' };
    },
  };
}

/** Writes a file in one go for whoever reads it meanwhile. */
function replace(file, text) {
  const partial = `${file}.pid${process.pid}`;
  writeFileSync(partial, text);
  renameSync(partial, file);
}

function removeOld(name, made) {
  const isOurs = new RegExp(`^${name}-[0-9a-f]{24}\\.mjs$`);
  const age = new Map();
  for (const file of readdirSync(CACHE)) {
    const path = join(CACHE, file);
    if (isOurs.test(file) && path !== made) age.set(path, statSync(path).mtimeMs);
  }
  const old = [...age.keys()].toSorted((a, b) => age.get(b) - age.get(a)).slice(KEPT - 1);
  for (const path of old) rmSync(path, { force: true });
}
