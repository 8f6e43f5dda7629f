/*
 * `npm run library`: builds the package that `npm pack` packs, into lib/.
 *
 *   lib/browser/  index.js and the two worker entries, which index.js names by
 *                 `new URL('./kernel-worker.js', import.meta.url)`, so that bundlers find them
 *   lib/node/     the same for Node: worker threads; webgpu stays an import
 *   lib/types/    declarations of everything that index.js exports
 *
 * What the modules import is bundled with them, shaders as text; THIRD-PARTY.md has the licences.
 * Code is not minified: whoever reads a stack should find the kernel's names.
 */
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'vite';
import type { Plugin } from 'vite';
import { readCommandLine } from './args.ts';
import { runCommand, temporaryFolder } from './cleanup.ts';

const ROOT = resolve(import.meta.dirname, '..');
const LIB = join(ROOT, 'lib');
/** Packages whose code is in lib/, for THIRD-PARTY.md. */
const BUNDLED = ['comlink', 'wgsl_reflect'];

/** For bundlers: what nobody imports from index.js may go, but the workers run for themselves. */
const INNER_PACKAGE = {
  type: 'module',
  sideEffects: ['./*/kernel-worker.js', './*/core-worker.js', './*/copy-worker.js'],
};

/** The command. Ends the process. */
export function main(): Promise<never> {
  readCommandLine({
    name: 'library',
    summary: 'Builds the package webhmm for browsers and Node into lib/; npm pack does so, too.',
    options: {},
  });
  return runCommand('library', async () => {
    await rm(LIB, { recursive: true, force: true });
    await bundle('browser', 'kernel-worker.ts', 'core-worker.ts', 'copy-worker.ts');
    const ofNode = ['kernel', 'core', 'copy'].map((name) => `${name}-worker-node.ts`);
    await bundle('node', ...ofNode);
    await declarations();
    await writeFile(join(LIB, 'THIRD-PARTY.md'), licences());
    await writeFile(join(LIB, 'package.json'), `${JSON.stringify(INNER_PACKAGE, null, 2)}\n`);
    return 0;
  });
}

/** Bundles the facade and the worker entries for one kind of host. */
async function bundle(host: 'browser' | 'node', ...workers: readonly string[]): Promise<void> {
  const isNode = host === 'node';
  const worker = (name: string): string => join(ROOT, 'src/worker', name);
  await build({
    configFile: false,
    root: ROOT,
    logLevel: 'error',
    publicDir: false,
    plugins: [workerUrls()],
    ssr: { noExternal: true, external: ['webgpu'], target: isNode ? 'node' : 'webworker' },
    resolve: isNode ? {} : { conditions: ['browser'] },
    build: {
      ssr: true,
      outDir: join(LIB, host),
      target: 'es2023',
      minify: false,
      rolldownOptions: {
        input: {
          index: join(ROOT, 'src/index.ts'),
          ...Object.fromEntries(workers.map((name) => [outputName(name), worker(name)])),
        },
        output: {
          format: 'es',
          entryFileNames: '[name].js',
          chunkFileNames: 'shared-[name].js',
        },
      },
    },
  });
}

/** "core-worker" for core-worker.ts and core-worker-node.ts. */
function outputName(source: string): string {
  return source.replace(/(-node)?\.ts$/, '');
}

/** Workers are named by their sources there, and by what is built of them here. */
function workerUrls(): Plugin {
  return {
    name: 'worker-urls',
    transform(code) {
      return code.replaceAll(/(new URL\(['"]\.\/[\w-]+)\.ts(['"], import\.meta\.url)/g, '$1.js$2');
    },
  };
}

/** Writes the declarations of src/index.ts and of all that it needs. */
async function declarations(): Promise<void> {
  const all = await temporaryFolder('webhmm-types-');
  const config = join(ROOT, 'tsconfig.library.json');
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [tsc, '-p', config, '--outDir', all.path]);
  const types = join(LIB, 'types');
  for (const file of reachable(join(all.path, 'index.d.ts'))) {
    const target = join(types, relative(all.path, file));
    await mkdir(dirname(target), { recursive: true });
    const text = await readFile(file, 'utf8');
    await writeFile(target, text.replaceAll(/(from ['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'));
  }
  const index = join(types, 'index.d.ts');
  const libs = '/// <reference lib="esnext.disposable" />\n';
  await writeFile(index, libs + (await readFile(index, 'utf8')));
  await all.remove();
}

/** The declaration file and all files that it imports, directly or not. */
function reachable(start: string): string[] {
  const found = new Set([start]);
  // A set that grows while it is walked is walked to its end.
  for (const file of found) {
    const text = readFileSync(file, 'utf8');
    for (const [, name] of text.matchAll(/(?:from|import\() ?['"](\.[^'"]*)\.ts['"]/g)) {
      found.add(join(dirname(file), `${name!}.d.ts`));
    }
  }
  return [...found];
}

/** The licences of the packages whose code is in lib/. */
function licences(): string {
  const parts = BUNDLED.map((name) => {
    const folder = join(ROOT, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      version: string;
    };
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    if (file === undefined) throw new Error(`${name} has no licence to pass on`);
    const text = readFileSync(join(folder, file), 'utf8').trim();
    return `## ${name} ${version}\n\n\`\`\`text\n${text}\n\`\`\`\n`;
  });
  return `# Other people's code in this package\n\n${parts.join('\n')}`;
}
