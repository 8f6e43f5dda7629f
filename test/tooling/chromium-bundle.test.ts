/*
 * Unpacking of the bundled browser, on a small stand-in for the package: all at once or not at all,
 * whoever else unpacks, and nothing left behind by a process that was killed.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ignoredDefaultArgs, isAlive, unpackInto } from '../../cli/chromium-bundle.ts';
import { readTar } from '../../cli/untar.ts';
import { tarOf } from './tar-writer.ts';

let folder = '';
let packed = '';
let cache = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'webhmm-bundle-'));
  packed = join(folder, 'bin');
  cache = join(folder, 'cache');
  mkdirSync(packed);
  const put = (name: string, bytes: Uint8Array): void =>
    writeFileSync(join(packed, name), brotliCompressSync(bytes));
  put('chromium.br', Buffer.alloc(3_000_000, 'browser '));
  put('swiftshader.tar.br', tarOf({ 'libvulkan.so.1': 'loader', 'vk_swiftshader_icd.json': '{}' }));
  put('al2023.tar.br', tarOf({ 'lib/libnss3.so': 'nss' }));
  put('fonts.tar.br', tarOf({ 'fonts.conf': 'theirs', 'fonts/Open_Sans/a.ttf': 'font' }));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function unpack(lines: string[] = []) {
  return unpackInto(packed, cache, '1.2.3', (line) => lines.push(line));
}

/** The id of a process that has just ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

describe('unpacking', () => {
  test('writes the browser, its libraries and fonts', async () => {
    const bundle = await unpack();
    expect(bundle.folder).toBe(join(cache, 'chromium-1.2.3'));
    expect(statSync(bundle.executable).size).toBe(3_000_000);
    expect(statSync(bundle.executable).mode & 0o111).toBe(0o111);
    expect(readFileSync(join(bundle.folder, 'lib/libnss3.so'), 'utf8')).toBe('nss');
    expect(existsSync(join(bundle.folder, 'fonts/Open_Sans/a.ttf'))).toBe(true);
  });

  test('names its own fonts in fonts.conf, also after the checkout has moved', async () => {
    const { folder: at } = await unpack();
    const conf = join(at, 'fonts.conf');
    expect(readFileSync(conf, 'utf8')).toContain(`<dir>${join(at, 'fonts')}</dir>`);
    writeFileSync(conf, 'names another place');
    await unpack();
    expect(readFileSync(conf, 'utf8')).toContain(`<dir>${join(at, 'fonts')}</dir>`);
  });

  test('says so the first time, and does nothing the second', async () => {
    const lines: string[] = [];
    await unpack(lines);
    expect(lines).toEqual(['unpacking Chromium 1.2.3 (once, a few seconds)']);
    rmSync(packed, { recursive: true });
    await unpack(lines);
    expect(lines).toHaveLength(1);
  });

  test('four at once give one folder and no leftovers', async () => {
    const bundles = await Promise.all([unpack(), unpack(), unpack(), unpack()]);
    expect(new Set(bundles.map((bundle) => bundle.folder)).size).toBe(1);
    expect(readdirSync(cache)).toEqual(['chromium-1.2.3']);
  });

  test('removes what a killed process left, but not what a living one writes', async () => {
    const dead = join(cache, `chromium-1.2.3.pid${deadPid()}-1`);
    const living = join(cache, `chromium-1.2.3.pid${process.ppid}-1`);
    mkdirSync(dead, { recursive: true });
    mkdirSync(living);
    await unpack();
    expect(existsSync(dead)).toBe(false);
    expect(existsSync(living)).toBe(true);
  });

  test('a damaged package gives an error with the place, and leaves nothing', async () => {
    writeFileSync(join(packed, 'chromium.br'), 'not brotli');
    await expect(unpack()).rejects.toThrow(/could not unpack Chromium into .*chromium-1\.2\.3/);
    expect(readdirSync(cache)).toEqual([]);
  });
});

describe('isAlive', () => {
  test('tells a running process from one that has ended', () => {
    expect(isAlive(process.pid)).toBe(true);
    expect(isAlive(deadPid())).toBe(false);
  });
});

describe('shared memory', () => {
  test('stays in /tmp where /dev/shm is missing', () => {
    expect(ignoredDefaultArgs(join(folder, 'missing'))).toEqual([]);
  });
});

describe('tar', () => {
  const archive = tarOf({ 'a.txt': 'one', 'b/c.txt': '' });

  test('gives files with their content and mode', () => {
    const entries = readTar(archive);
    expect(entries.map(({ path }) => path)).toEqual(['a.txt', 'b/c.txt']);
    expect(Buffer.from(entries[0]!.bytes).toString()).toBe('one');
    expect(entries[0]!.mode).toBe(0o755);
  });

  test('refuses an archive that is cut short, in a file and before its end', () => {
    expect(() => readTar(archive.subarray(0, 515))).toThrow('cut short');
    expect(() => readTar(archive.subarray(0, 1024))).toThrow('no end mark');
  });

  test('refuses a damaged header', () => {
    const damaged = Uint8Array.from(archive);
    damaged[0] = 1;
    expect(() => readTar(damaged)).toThrow('damaged');
  });

  test('refuses paths that lead out, and links', () => {
    expect(() => readTar(tarOf({ '../a': 'x' }))).toThrow('leads out');
    expect(() => readTar(tarOf({ '/a': 'x' }))).toThrow('leads out');
    expect(() => readTar(tarOf({ a: 'x' }, '2'))).toThrow(`type '2'`);
  });
});
