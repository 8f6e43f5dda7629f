/*
 * The package: what `npm pack` makes, installed in an empty project without network, type-checks
 * and runs the quick start of the README, in Node and from a Vite build in a browser.
 */
import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { build, preview } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import { bundleRunsHere, dawnEnv, unpackChromium } from '../../cli/chromium-bundle.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
const SLOW = { timeout: 240_000 };
const OUTPUT = ['the device left 2 2 3', 'status 42, faults home: 1'];

const folder = mkdtempSync(join(tmpdir(), 'webhmm-package-'));
const app = join(folder, 'app');
let packed: readonly string[] = [];

const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

const exec = promisify(execFile);
const node = (...args: string[]): Promise<{ stdout: string }> =>
  exec(process.execPath, args, { cwd: app });

/** The blocks of the README that begin with a file's name, by that name. */
function quickStart(): Map<string, string> {
  const blocks = README.matchAll(/^```\w+\n(?:\/\/|<!--) ([\w.-]+\.\w+)(?: -->)?\n([^]*?)^```$/gm);
  return new Map([...blocks].map(([, name, code]) => [name!, code!]));
}

beforeAll(async () => {
  mkdirSync(app);
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const pack = ['pack', '--json', '--pack-destination', folder];
  const { stdout } = await exec(npm, pack, { cwd: ROOT, maxBuffer: 1 << 24 });
  const [made] = JSON.parse(stdout.slice(stdout.search(/^\[$/m))) as [
    { filename: string; files: { path: string }[] },
  ];
  packed = made.files.map(({ path }) => path);
  writeFileSync(join(app, 'package.json'), '{"name": "app", "private": true, "type": "module"}');
  const install = ['install', '--offline', '--ignore-scripts', join(folder, made.filename)];
  await exec(npm, install, { cwd: app });
  for (const [name, code] of quickStart()) writeFileSync(join(app, name), code);
}, 300_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the package holds what is needed, and nothing else', () => {
  const kinds = packed.filter((path) => !/^lib\/types\/.*\.d\.ts$/.test(path)).toSorted();
  const bundles = (host: string): string[] =>
    kinds.filter((path) => new RegExp(`^lib/${host}/[\\w-]+\\.js$`).test(path));
  const others = kinds.filter((path) => !/^lib\/(browser|node)\//.test(path));
  expect(others).toEqual([
    'LICENSE',
    'README.md',
    'lib/THIRD-PARTY.md',
    'lib/package.json',
    'package.json',
  ]);
  for (const host of ['browser', 'node']) {
    const entries = ['core-worker', 'index', 'kernel-worker'];
    const paths = entries.map((name) => `lib/${host}/${name}.js`);
    expect(bundles(host)).toEqual(expect.arrayContaining(paths));
  }
  expect(statSync(join(folder, 'webhmm-0.1.0.tgz')).size).toBeLessThan(1_000_000);
});

test('every export, and every method of what is exported, says what it does', () => {
  const missing = [...exportsOf(join(app, 'node_modules/webhmm/lib/types/index.d.ts'))].flatMap(
    ([name, file]) => undocumented(name, readFileSync(file, 'utf8')),
  );
  expect(missing).toEqual([]);
});

const DECLARED = '^export (?:declare )?(?:const|class|interface|type|function) ';

/** The names that a declaration file exports, with the files that declare them. */
function exportsOf(index: string): Map<string, string> {
  const text = readFileSync(index, 'utf8');
  const fileOf = (path: string): string => join(dirname(index), path.replace(/\.js$/, '.d.ts'));
  const found = new Map<string, string>();
  for (const [, path] of text.matchAll(/^export \* from '(.+)';$/gm)) {
    for (const [name, file] of exportsOf(fileOf(path!))) found.set(name, file);
  }
  for (const [, names, path] of text.matchAll(/^export (?:type )?{([^}]*)} from '(.+)';$/gm)) {
    const inner = exportsOf(fileOf(path!));
    for (const name of names!.split(',').map((one) => one.trim())) {
      found.set(name, inner.get(name) ?? fileOf(path!));
    }
  }
  for (const [, name] of text.matchAll(new RegExp(`${DECLARED}(\\w+)`, 'gm'))) {
    found.set(name!, index);
  }
  return found;
}

/** What of a declared name has no comment before it. */
function undocumented(name: string, text: string): string[] {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => new RegExp(`${DECLARED}${name}\\b`).test(line));
  const isBare = (at: number): boolean => !(lines[at - 1] ?? '').trimEnd().endsWith('*/');
  const missing = start < 0 || isBare(start) ? [name] : [];
  if (!/ (class|interface) /.test(lines[start] ?? '')) return missing;
  for (let at = start + 1; lines[at]?.startsWith('}') === false; at++) {
    const method = /^ {4}(?!private |constructor)(?:static |get )*([\w[\].]+)\(/.exec(lines[at]!);
    if (method !== null && isBare(at)) missing.push(`${name}.${method[1]!}`);
  }
  return missing;
}

describe('the quick start of the README', () => {
  const LIBS = ['--lib', 'es2024,dom'];
  const CHECK = ['--ignoreConfig', '--strict', '--types', ''];

  test.for([
    ['a bundler', ['--module', 'esnext', '--moduleResolution', 'bundler', ...LIBS]],
    ['Node', ['--module', 'nodenext', ...LIBS]],
  ] as const)('type-checks for %s, declarations included', SLOW, async ([, options]) => {
    await node(TSC, ...CHECK, '--noEmit', '--target', 'es2024', ...options, 'quick-start.ts');
  });

  test('a call with wrong types does not type-check', SLOW, async () => {
    const wrong = `import { Machine } from 'webhmm';\nawait Machine.create({ ramBytes: '1' });\n`;
    writeFileSync(join(app, 'wrong.ts'), wrong);
    const options = ['--noEmit', '--target', 'es2024', '--module', 'nodenext', ...LIBS];
    const refused = node(TSC, ...CHECK, ...options, 'wrong.ts').catch((error: unknown) => error);
    expect(((await refused) as { stdout: string }).stdout).toMatch(/wrong\.ts.*TS2322/);
  });

  test('runs in Node, on a core of its own', SLOW, async () => {
    const [, command] = /`npx tsc (.*?) && node quick-start\.js`/.exec(README)!;
    await node(TSC, ...command!.split(' '));
    const { stdout } = await node('quick-start.js');
    expect(stdout.trim().split('\n')).toEqual(OUTPUT);
  });

  /** The README's WGSL kernel, on a page of its own; silent when it is done. */
  const kernelLines = (): string => {
    const [, block] = /^```ts\n(const kernel = await device\.compileKernel[^]*?)^```$/m.exec(
      README,
    )!;
    const silent = block!.replace(/^console/m, "if (report.outcome !== 'done') console");
    const page = '{ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE }';
    return `const more = await process.mmap(${page});\n{\nconst addr = more;\n${silent}}\n`;
  };

  const here = bundleRunsHere() ? ['cpu', 'webgpu'] : [];
  test.for(here)('built by Vite, runs in a browser (engine %s)', SLOW, async (engine) => {
    const code = quickStart().get('quick-start.ts')!;
    const asked = code.replace("'cpu'", `'${engine}'`);
    const own = engine === 'webgpu' ? kernelLines() : '';
    writeFileSync(join(app, 'quick-start.ts'), asked.replace('// A program', `${own}// A program`));
    const configFile = join(app, 'vite.config.js');
    const common = { root: app, configFile, logLevel: 'warn' as const };
    await build(common);
    const site = { host: '127.0.0.1', port: 0, open: false };
    const server = await preview({ ...common, preview: site });
    const browser = await openBrowser({ choice: 'bundled', say: () => undefined });
    const page = await browser.newChromiumPage({});
    const lines: string[] = [];
    const isDone = new Promise<void>((resolve) => {
      page.on('console', (message) => {
        lines.push(message.text());
        if (message.text().startsWith('status')) resolve();
      });
      page.on('pageerror', (error) => {
        lines.push(String(error));
        resolve();
      });
    });
    await page.goto(server.resolvedUrls!.local[0]!);
    await isDone;
    await browser.close();
    await server.close();
    expect(lines.filter((line) => !line.startsWith('Failed to load resource'))).toEqual(OUTPUT);
  });
});

test.skipIf(!bundleRunsHere())('with the package webgpu, pages move by it', SLOW, async () => {
  const bundle = await unpackChromium(() => undefined);
  const modules = join(app, 'node_modules');
  symlinkSync(join(ROOT, 'node_modules/webgpu'), join(modules, 'webgpu'), 'dir');
  const code = `import { Machine } from 'webhmm';
  const machine = await Machine.create({ ramBytes: 2 ** 24, deviceBytes: 2 ** 22 });
  const process = await machine.spawn();
  const addr = await process.mmap({ length: 4096, prot: 3 });
  await process.write(addr, new Uint8Array([1]));
  const device = await process.openDevice(0);
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
  await device.ioctl('ADD', { addr, ptr: 1, npages: 1 });
  const wgsl = 'fn kernel(wg: u32, lid: u32) { vm_store(vm_arg(0u), vm_load(vm_arg(0u)) + 1u); }';
  const kernel = await device.compileKernel({ wgsl, lanes: 1 });
  await device.launch(kernel, { workgroups: 1, args: [addr] });
  const [byte] = await process.read(addr, 1);
  globalThis.process.stdout.write(machine.report.engine + ' ' + byte);
  await machine.close();`;
  writeFileSync(join(app, 'webgpu.js'), code);
  try {
    const env = { ...process.env, ...dawnEnv(bundle!) };
    const { stdout } = await exec(process.execPath, ['webgpu.js'], { cwd: app, env });
    expect(stdout).toBe('webgpu 3');
  } finally {
    rmSync(join(modules, 'webgpu'));
  }
});

test('without the package webgpu, Node says what to install', SLOW, async () => {
  const code = `import { Machine } from 'webhmm';
  const error = await Machine.create().catch((error) => error);
  process.stdout.write(error.name + ' ' + error.message);`;
  writeFileSync(join(app, 'no-webgpu.js'), code);
  const { stdout } = await node('no-webgpu.js');
  expect(stdout).toMatch(
    /^OpenError the package webgpu.*; run `npm install webgpu`.*engine: 'cpu'/,
  );
});
