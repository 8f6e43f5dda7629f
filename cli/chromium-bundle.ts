/*
 * Unpacks the Chromium and the SwiftShader that come inside the npm package @sparticuz/chromium.
 *
 * They give every machine of kind Linux x64 a real WebGPU without root, a browser or a Vulkan
 * driver: Chromium for the browser tests, the benchmark and the screenshots, and SwiftShader with
 * its Vulkan loader for Dawn in Node. The package's own code is not used: it writes to a fixed path
 * in the shared temporary folder, not atomically, and its launch arguments disable web security.
 *
 * Promises. The files go to node_modules/.cache/webhmm/chromium-VERSION/, so they live and die with
 * `npm ci` and never touch anything outside the checkout. They are written to a sibling folder
 * named after this process and renamed when complete, so whoever sees the folder sees all of it;
 * several processes may start at once, one wins and the others drop their copy. A sibling whose
 * process is gone (killed half-way) is removed by the next one that unpacks.
 *
 * Leaves out: every platform but Linux x64, where callers fall back to an installed browser.
 */
import { createReadStream, createWriteStream, existsSync, readFileSync, statfsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { brotliDecompress, createBrotliDecompress } from 'node:zlib';
import { readTar } from './untar.ts';

const CHUNK_BYTES = 1 << 20;
const PACKAGE = '@sparticuz/chromium';
/** Below this much free space under /dev/shm, Chromium must keep its shared memory in /tmp. */
const SHM_ENOUGH_BYTES = 2 ** 30;

/** Makes the names of this process's unfinished files differ from each other. */
let attempts = 0;

/** Where the unpacked browser is, and what its users need to know. All paths are absolute. */
export interface ChromiumBundle {
  readonly version: string;
  readonly folder: string;
  readonly executable: string;
}

/** Where the packed files are and where the unpacked ones go. */
interface BundlePaths {
  readonly version: string;
  readonly packed: string;
  readonly cache: string;
}

/** Whether the package's files can run here. They are built for Linux on x64 only. */
export function bundleRunsHere(): boolean {
  return process.platform === 'linux' && process.arch === 'x64';
}

/** One sentence for users of another platform. */
export const NO_BUNDLE_REASON =
  `the bundled Chromium runs on Linux x64 only, not on ${process.platform} ${process.arch}; ` +
  'an installed Chrome or Edge is used instead';

/**
 * Gives the unpacked bundle, unpacking it first if this checkout has not done so yet (2 to 10 s).
 *
 * @param say called with one line of text before the slow part starts
 * @returns the bundle, or undefined on a platform that it does not run on
 * @throws Error with a remedy if the package is missing or its files can't be written
 */
export async function unpackChromium(
  say: (line: string) => void = () => {},
): Promise<ChromiumBundle | undefined> {
  if (!bundleRunsHere()) {
    return undefined;
  }
  const paths = findPackage();
  return unpackInto(paths.packed, paths.cache, paths.version, say);
}

/**
 * The body of unpackChromium() with its paths given, for tests.
 *
 * @param packed folder with chromium.br and the three archives
 * @param cache folder that shall hold chromium-VERSION
 */
export async function unpackInto(
  packed: string,
  cache: string,
  version: string,
  say: (line: string) => void,
): Promise<ChromiumBundle> {
  const folder = join(cache, `chromium-${version}`);
  const bundle = { version, folder, executable: join(folder, 'chromium') };
  if (existsSync(bundle.executable)) {
    await writeFontsConf(folder);
    return bundle;
  }
  say(`unpacking Chromium ${version} (once, a few seconds)`);
  await mkdir(cache, { recursive: true });
  await removeLeftovers(cache);
  const own = `${folder}.pid${process.pid}-${(attempts += 1)}`;
  try {
    await rm(own, { recursive: true, force: true });
    await mkdir(own);
    await writeAll(packed, own);
    await moveIntoPlace(own, folder, bundle.executable);
    await writeFontsConf(folder);
  } catch (cause) {
    await rm(own, { recursive: true, force: true });
    throw new Error(`could not unpack Chromium into ${folder}: ${String(cause)}`, { cause });
  }
  return bundle;
}

/** Environment variables for the Chromium process, to be added to the caller's own. */
export function chromiumEnv(bundle: ChromiumBundle): Record<string, string> {
  return {
    LD_LIBRARY_PATH: join(bundle.folder, 'lib'),
    FONTCONFIG_FILE: join(bundle.folder, 'fonts.conf'),
  };
}

/**
 * Environment variables that make Dawn in Node find SwiftShader. They only work when set before the
 * process starts; cli/node-gpu.ts has the way for one that runs already.
 */
export function dawnEnv(bundle: ChromiumBundle): Record<string, string> {
  return {
    LD_LIBRARY_PATH: bundle.folder,
    VK_DRIVER_FILES: join(bundle.folder, 'vk_swiftshader_icd.json'),
  };
}

/**
 * Launch arguments for Chromium on SwiftShader. The language is set because it is invalid without.
 */
export const SOFTWARE_ARGS: readonly string[] = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--accept-lang=en-US',
];

/** Launch arguments that let Chromium use a real GPU; it may still answer with SwiftShader. */
export const HARDWARE_ARGS: readonly string[] = [
  '--enable-unsafe-webgpu',
  '--ignore-gpu-blocklist',
  '--enable-features=Vulkan',
  '--accept-lang=en-US',
];

/**
 * Default arguments of the browser driver to leave out.
 *
 * The driver keeps Chromium's shared memory in /tmp, which works with a tiny /dev/shm but halves
 * the speed of uploads and readbacks. With a big one we drop that argument.
 */
export function ignoredDefaultArgs(shm = '/dev/shm'): string[] {
  try {
    const stat = statfsSync(shm);
    return stat.bavail * stat.bsize > SHM_ENOUGH_BYTES ? ['--disable-dev-shm-usage'] : [];
  } catch {
    return [];
  }
}

/** The current environment without its unset entries, and with `extra` on top. */
export function environmentWith(extra: Record<string, string>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined) {
      result[name] = value;
    }
  }
  return { ...result, ...extra };
}

/** node_modules/.cache/webhmm of the folder that holds our dependencies. */
export function cacheFolder(): string {
  const entry = createRequire(import.meta.url).resolve('vite');
  const marker = join('node_modules', 'vite');
  return join(entry.slice(0, entry.lastIndexOf(marker)), 'node_modules', '.cache', 'webhmm');
}

function findPackage(): BundlePaths {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(PACKAGE);
  } catch (cause) {
    throw new Error(`the package ${PACKAGE} is not installed: run \`npm ci\``, { cause });
  }
  const marker = join(PACKAGE, 'build');
  const root = join(entry.slice(0, entry.lastIndexOf(marker)), PACKAGE);
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const version = (manifest as { version: string }).version;
  return { version, packed: join(root, 'bin'), cache: cacheFolder() };
}

async function writeAll(packed: string, target: string): Promise<void> {
  const unpacked = ['swiftshader', 'al2023', 'fonts'].map((name) =>
    writeArchive(join(packed, `${name}.tar.br`), target),
  );
  const parts = [...unpacked, writeBrowser(join(packed, 'chromium.br'), target)];
  // All have to be over before the folder can be removed, also when one fails at once.
  for (const part of await Promise.allSettled(parts)) {
    if (part.status === 'rejected') {
      throw part.reason;
    }
  }
}

/**
 * Makes fonts.conf name the unpacked fonts and a cache beside them. The archive's own names folders
 * outside the checkout. Paths have to be absolute (fontconfig takes a relative cache folder from
 * the current one), so the file is written anew when the checkout has moved.
 */
async function writeFontsConf(folder: string): Promise<void> {
  const escape = (path: string): string => path.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const text = [
    '<?xml version="1.0"?>',
    '<!DOCTYPE fontconfig SYSTEM "fonts.dtd">',
    '<fontconfig>',
    `  <dir>${escape(join(folder, 'fonts'))}</dir>`,
    `  <cachedir>${escape(join(folder, 'fonts-cache'))}</cachedir>`,
    '</fontconfig>',
    '',
  ].join('\n');
  const file = join(folder, 'fonts.conf');
  if (!existsSync(file) || (await readFile(file, 'utf8')) !== text) {
    const partial = `${file}.pid${process.pid}-${(attempts += 1)}`;
    await writeFile(partial, text);
    await rename(partial, file);
  }
}

async function writeBrowser(packed: string, target: string): Promise<void> {
  await pipeline(
    createReadStream(packed, { highWaterMark: CHUNK_BYTES }),
    createBrotliDecompress({ chunkSize: CHUNK_BYTES }),
    createWriteStream(join(target, 'chromium'), { mode: 0o755, highWaterMark: CHUNK_BYTES }),
  );
}

async function writeArchive(packed: string, target: string): Promise<void> {
  const archive = await promisify(brotliDecompress)(await readFile(packed));
  for (const entry of readTar(archive)) {
    const path = join(target, entry.path);
    if (entry.kind === 'folder') {
      await mkdir(path, { recursive: true });
    } else {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, entry.bytes, { mode: entry.mode });
    }
  }
}

async function moveIntoPlace(own: string, folder: string, executable: string): Promise<void> {
  try {
    await rename(own, folder);
  } catch (cause) {
    // Another process was faster: its copy is as good as ours.
    if (!existsSync(executable)) {
      throw cause;
    }
    await rm(own, { recursive: true, force: true });
  }
}

/** Removes what processes that are gone have left half-written. */
async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const pid = /^chromium-.*\.pid(\d+)-\d+$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) {
      await rm(join(cache, name), { recursive: true, force: true });
    }
  }
}

/** Whether a process with this id exists, whoever owns it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
