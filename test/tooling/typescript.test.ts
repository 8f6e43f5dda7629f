/*
 * How Node gets the project's TypeScript: the same program as the compiler makes of it, with every
 * line and column where it was.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { blankTypes } from '../../cli/blank-types.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
const FOLDERS = ['src', 'bench', 'cli', 'examples', 'test'];
const folder = mkdtempSync(join(tmpdir(), 'webhmm-typescript-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Of Vite's bundler. */
interface Compiler {
  parseSync(name: string, text: string, options: object): { program: unknown };
  transformSync(name: string, text: string, options: object): { code: string };
  minifySync(name: string, text: string, options: object): { code: string; errors: unknown[] };
}

const viteRequire = createRequire(createRequire(import.meta.url).resolve('vite'));
const compiler = (await import(viteRequire.resolve('rolldown/utils'))) as Compiler;

function blanked(text: string): string {
  const options = { lang: 'ts', sourceType: 'module', preserveParens: true };
  return blankTypes(text, compiler.parseSync('a.ts', text, options).program);
}

/** A program without its comments and blanks. */
function essence(code: string): string {
  const options = { module: true, mangle: false, compress: false };
  const { code: short, errors } = compiler.minifySync('a.js', code, options);
  expect(errors).toEqual([]);
  return short.replaceAll('export{};', '');
}

function compiled(text: string): string {
  const typescript = { onlyRemoveTypeImports: true };
  return compiler.transformSync('a.ts', text, { lang: 'ts', sourceType: 'module', typescript })
    .code;
}

describe('types become blanks', () => {
  test.each(FOLDERS)('in each file of %s as the compiler has it', (name) => {
    const files = readdirSync(join(ROOT, name), { recursive: true, encoding: 'utf8' });
    const ours = files.filter((file) => file.endsWith('.ts'));
    expect(ours.length).toBeGreaterThan(10);
    for (const file of ours) {
      const text = readFileSync(join(ROOT, name, file), 'utf8');
      const code = blanked(text);
      expect(code.length, file).toBe(text.length);
      expect(essence(code) === essence(compiled(text)), file).toBe(true);
    }
  });

  test('lines and columns stay', () => {
    const text = 'export const a: number = 1;\ninterface B {\n  c: string;\n}\nfoo<B>(a!);\n';
    expect(blanked(text)).toBe(
      'export const a         = 1;\n             \n            \n \nfoo   (a );\n',
    );
  });

  test('a type of many lines before an arrow does not part it from its parameters', () => {
    const text = 'const f = (): {\n  a: number;\n} => ({ a: 1 });\n';
    expect(blanked(text)).toBe('const f = (    \n            \n) => ({ a: 1 });\n');
  });

  test.each([
    ['an enum', 'enum A { b }', /TSEnumDeclaration/],
    ['a parameter that is a property', 'class A { constructor(private b: number) {} }', /Property/],
  ])('%s is refused: it is more than a type', (_name, text, message) => {
    expect(() => blanked(text)).toThrow(message);
  });
});

describe('a program in Node', () => {
  function run(code: string): { status: number | null; stdout: string; stderr: string } {
    const file = join(folder, 'program.ts');
    writeFileSync(file, code);
    const args = ['--enable-source-maps', '--import', join(ROOT, 'cli/typescript.mjs'), file];
    return spawnSync(process.execPath, args, { encoding: 'utf8' });
  }

  test('fails where the source says', () => {
    const { status, stderr } = run(
      'interface A {\n  b: number;\n}\nconst a = {} as A;\nthrow new Error(String(a.b));\n',
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/program\.ts:5:7/);
  });

  test('fails where the source says, too, where a block uses something', () => {
    const code =
      'interface A {\n  b: number;\n}\nasync function f() {\n  await using a = null;\n' +
      '  throw new Error(String(a as unknown as A));\n}\nawait f();\n';
    expect(run(code).stderr).toMatch(/program\.ts:6:9/);
  });

  test('disposes of what a block uses, last first, however it ends', () => {
    const { stdout, stderr } = run(`
      const thing = (name: string, fails = false) => ({
        [Symbol.asyncDispose]: async (): Promise<void> => {
          process.stdout.write(name);
          await Promise.resolve();
          if (fails) throw new Error(name);
        },
        [Symbol.dispose]: () => void process.stdout.write(name.toUpperCase()),
      });
      async function f(): Promise<number> {
        await using a = thing('a');
        using b = thing('b');
        for (const name of 'cd') {
          await using each = thing(name);
        }
        process.stdout.write(typeof [a, b]);
        return 1;
      }
      async function g(): Promise<void> {
        await using a = thing('x');
        await using b = thing('y', true);
        void [a, b];
        throw new Error('first');
      }
      process.stdout.write(String(await f()));
      await g().catch((e: { error: Error; suppressed: Error; name: string }) => {
        process.stdout.write([e.name, e.error.message, e.suppressed.message].join());
      });
    `);
    expect(stderr).toBe('');
    expect(stdout).toBe('cdobjectBa1yxSuppressedError,y,first');
  });

  test('is refused with file and place where it is no TypeScript', () => {
    const { status, stderr } = run('const a: = 1;\n');
    expect(status).toBe(1);
    expect(stderr).toMatch(/SyntaxError.*program\.ts/);
  });
});
