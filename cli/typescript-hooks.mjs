/*
 * How Node loads the project's own files, in the thread where it asks for that (typescript.mjs).
 *
 *   x.ts          blanks are written over its types (blank-types.mjs), with Vite's own parser
 *   x.wgsl?raw    its text, as the default export, as bundlers have it
 *
 * Modules stay modules of the engine, so what runs is what a bundle has, and lines and columns are
 * those of the source. (Under Vite's module runner each use of an import is a call.)
 *
 * What a file becomes is kept in node_modules/.cache/webhmm/modules under the hash of its text, so
 * trees that share their packages may share it, too; each file has a few versions there.
 */
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, relative, resolve as resolvePath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';

const ROOT = resolvePath(import.meta.dirname, '..');
const CACHE = join(ROOT, 'node_modules', '.cache', 'webhmm', 'modules');
/** Versions of a file that are kept. */
const KEPT = 8;
/** What is made of a text depends on this, too. */
const SALT = ['typescript-hooks.mjs', 'blank-types.mjs']
  .map((name) => readFileSync(join(import.meta.dirname, name), 'utf8'))
  .join('');

/** `using`, which Node 20 does not know. */
const USING = /^\s*(?:await )?using \w+ =/m;
/** What the compiler wants to import for it, and what it gets. */
const USING_HELPER = '@oxc-project/runtime/helpers/usingCtx';
const OUR_HELPER = 'cli/using.mjs';

/** The parts of Vite's bundler that are needed, once a text is not in the cache. */
let compiler;

/**
 * Node's hook: what an import means. Ours name files as they are, so that there is nothing to look
 * up.
 */
export function resolve(specifier, context, next) {
  if (!/^\.{1,2}\/.*(?:\.ts|\?raw)$/.test(specifier)) return next(specifier, context);
  const { href } = new URL(specifier, context.parentURL);
  return { url: href, format: 'module', shortCircuit: true };
}

/** Node's hook: the text of a module. */
export async function load(url, context, next) {
  if (!url.startsWith('file:') || url.includes('/node_modules/')) return next(url, context);
  const { pathname, searchParams } = new URL(url);
  const isText = searchParams.has('raw');
  if (!isText && !pathname.endsWith('.ts')) return next(url, context);
  const path = fileURLToPath(url);
  const text = readFileSync(path, 'utf8');
  const source = isText ? `export default ${JSON.stringify(text)};` : await compile(path, text);
  return { format: 'module', shortCircuit: true, source };
}

/** JavaScript for a file, from the cache or into it. */
async function compile(path, text) {
  const folder = join(CACHE, relative(ROOT, path).replaceAll(/[\\/:]/g, '!'));
  const key = createHash('sha256').update(SALT).update(text).digest('hex').slice(0, 32);
  const file = join(folder, key);
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has to be made.
  }
  compiler ??= await loadCompiler();
  const code = USING.test(text) ? lower(path, text) : blank(path, text);
  keep(folder, file, code);
  return code;
}

async function loadCompiler() {
  const { blankTypes } = await import('./blank-types.mjs');
  const viteRequire = createRequire(createRequire(import.meta.url).resolve('vite'));
  return { blankTypes, ...(await import(viteRequire.resolve('rolldown/utils'))) };
}

function blank(path, text) {
  const options = { lang: 'ts', sourceType: 'module', preserveParens: true };
  const { program, errors } = compiler.parseSync(basename(path), text, options);
  refuse(path, errors);
  return compiler.blankTypes(text, program);
}

/** What no blanks are enough for goes through the compiler; Node follows its map if asked to. */
function lower(path, text) {
  const name = basename(path);
  const { code, map, errors } = compiler.transformSync(name, text, {
    lang: 'ts',
    sourceType: 'module',
    sourcemap: true,
    target: 'es2024',
    typescript: { onlyRemoveTypeImports: true },
  });
  refuse(path, errors);
  const json = JSON.stringify({ ...map, sources: [name], sourcesContent: undefined });
  const data = Buffer.from(json).toString('base64');
  const helper = `${relative(resolvePath(path, '..'), ROOT)}/${OUR_HELPER}`;
  const linked = code.replace(`"${USING_HELPER}"`, () => JSON.stringify(helper));
  return `${linked}\n//# sourceMappingURL=data:application/json;base64,${data}`;
}

function refuse(path, errors) {
  const error = errors[0];
  if (error !== undefined) throw new SyntaxError(`${path}: ${error.codeframe ?? error.message}`);
}

/** Keeps what was made, for others; what is oldest of the file's versions goes. */
function keep(folder, file, code) {
  try {
    mkdirSync(folder, { recursive: true });
    const partial = `${file}.pid${process.pid}-${threadId}`;
    writeFileSync(partial, code);
    renameSync(partial, file);
    const versions = readdirSync(folder).map((name) => join(folder, name));
    if (versions.length <= KEPT) return;
    const age = new Map(versions.map((path) => [path, statSync(path).mtimeMs]));
    const oldest = versions.toSorted((a, b) => age.get(a) - age.get(b)).slice(0, -KEPT);
    for (const path of oldest) rmSync(path, { force: true });
  } catch {
    // Where nothing can be written, or another was faster, it is made again.
  }
}
