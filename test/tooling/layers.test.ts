/*
 * Proves that the lint configuration and the core type check refuse what they are there to refuse.
 *
 * Small wrong files, each with a right twin, are written to a temporary folder in the places of the
 * real ones, and linted with the project's own configuration. A rule that stops to work, or a
 * folder that falls out of a rule's pattern, then fails here.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');

interface Case {
  readonly file: string;
  readonly code: string;
  /** The rule that must complain, and a part of its message; undefined for a right twin. */
  readonly rule?: string;
  readonly message?: string;
}

const RESTRICTED = 'eslint(no-restricted-imports)';

/** Files that the cases import, so that nothing is wrong with them but the arrow. */
const TARGETS = [
  ...['base', 'mm', 'engine', 'driver', 'gpu', 'worker', 'sim'].map((l) => `src/${l}/target.ts`),
  'src/index.ts',
  'cli/target.ts',
  'test/target.ts',
];

function arrow(file: string, target: string, message?: string): Case {
  const code = `import { target } from '${target}';\n\nexport const used = target;\n`;
  return message === undefined ? { file, code } : { file, code, rule: RESTRICTED, message };
}

const CASES: readonly Case[] = [
  arrow('src/base/bad-mm.ts', '../mm/target.ts', 'lowest layer'),
  arrow('src/base/bad-package.ts', 'comlink', 'no dependencies'),
  arrow('src/base/good.ts', './target.ts'),
  arrow('src/mm/bad-engine.ts', '../engine/target.ts', 'src/mm imports only src/base'),
  arrow('src/mm/bad-driver.ts', '../driver/target.ts', 'src/mm imports only src/base'),
  arrow('src/mm/bad-gpu.ts', '../gpu/target.ts', 'src/mm imports only src/base'),
  arrow('src/mm/bad-index.ts', '../index.ts', 'src/mm imports only src/base'),
  arrow('src/mm/deeper/bad-sim.ts', '../../sim/target.ts', 'src/mm imports only src/base'),
  arrow('src/mm/bad-node.ts', 'node:fs', 'no dependencies'),
  arrow('src/mm/bad-test.ts', '../../test/target.ts', 'src never imports'),
  arrow('src/mm/good.ts', '../base/target.ts'),
  arrow('src/engine/bad-mm.ts', '../mm/target.ts', 'src/engine imports only src/base'),
  arrow('src/engine/bad-gpu.ts', '../gpu/target.ts', 'src/engine imports only src/base'),
  arrow('src/engine/good.ts', '../base/target.ts'),
  arrow('src/driver/bad-gpu.ts', '../gpu/target.ts', 'never an engine on WebGPU'),
  arrow('src/driver/bad-worker.ts', '../worker/target.ts', 'never an engine on WebGPU'),
  arrow('src/driver/good-mm.ts', '../mm/target.ts'),
  arrow('src/driver/good-engine.ts', '../engine/target.ts'),
  arrow('src/sim/bad-gpu.ts', '../gpu/target.ts', 'src/sim is deterministic'),
  arrow('src/sim/bad-worker.ts', '../worker/target.ts', 'src/sim is deterministic'),
  arrow('src/sim/good.ts', '../driver/target.ts'),
  arrow('src/gpu/bad-mm.ts', '../mm/target.ts', 'imports only engine, base and shaders'),
  arrow('src/gpu/bad-driver.ts', '../driver/target.ts', 'imports only engine, base and shaders'),
  arrow('src/gpu/bad-package.ts', 'webgpu', 'no packages but'),
  arrow('src/gpu/good.ts', '../engine/target.ts'),
  arrow('src/worker/bad-sim.ts', '../sim/target.ts', 'sim is another root'),
  arrow('src/worker/bad-index.ts', '../index.ts', 'sim is another root'),
  arrow('src/worker/good-gpu.ts', '../gpu/target.ts'),
  arrow('examples/bad/main.ts', '../../src/mm/target.ts', 'only src/index.ts'),
  arrow('examples/good/main.ts', '../../src/index.ts'),
  arrow('bench/bad.ts', '../src/worker/target.ts', 'only src/index.ts'),
  arrow('bench/good.ts', '../src/index.ts'),
  arrow('cli/bad.ts', '../src/gpu/target.ts', 'only src/index.ts'),
  arrow('cli/bad-test.ts', '../test/target.ts', 'Only tests import from test'),
  arrow('cli/good.ts', '../src/index.ts'),
  arrow('test/good.ts', '../src/mm/target.ts'),
  {
    file: 'src/mm/bad-export.ts',
    code: `export { target } from '../gpu/target.ts';\n`,
    rule: RESTRICTED,
    message: 'src/mm imports only src/base',
  },
  {
    file: 'src/mm/bad-type.ts',
    code: `import type { target } from '../gpu/target.ts';\n\nexport type Used = typeof target;\n`,
    rule: RESTRICTED,
    message: 'src/mm imports only src/base',
  },
  {
    file: 'src/driver/bad-clock.ts',
    code: 'export const now = (): number => Date.now();\n',
    rule: 'eslint(no-restricted-globals)',
    message: 'a clock it is given',
  },
  {
    file: 'src/worker/good-clock.ts',
    code: 'export const now = (): number => Date.now();\n',
  },
  {
    file: 'examples/bad/dice.ts',
    code: 'export const dice = (): number => Math.random();\n',
    rule: 'eslint(no-restricted-properties)',
    message: 'seeded Prng',
  },
  { file: 'examples/good/dice.ts', code: 'export const dice = (): number => Math.PI;\n' },
  {
    file: 'src/engine/bad-cycle.ts',
    code: `import { b } from './bad-cycle-b.ts';\n\nexport const a = (): unknown => b;\n`,
    rule: 'import(no-cycle)',
    message: 'cycle',
  },
  {
    file: 'src/engine/bad-cycle-b.ts',
    code: `import { a } from './bad-cycle.ts';\n\nexport const b = (): unknown => a;\n`,
    rule: 'import(no-cycle)',
    message: 'cycle',
  },
  {
    file: 'src/mm/bad-floating.ts',
    code: 'export function f(p: Promise<void>): void {\n  p;\n  p.then(() => 1);\n}\n',
    rule: 'typescript(no-floating-promises)',
    message: 'Promises must be awaited',
  },
  {
    file: 'src/mm/good-floating.ts',
    code: 'export async function f(p: Promise<void>): Promise<void> {\n  await p;\n}\n',
  },
  {
    file: 'src/mm/bad-any.ts',
    code: 'export const value = (x: any): number => Number(x);\n',
    rule: 'typescript(no-explicit-any)',
    message: 'any',
  },
  {
    file: 'src/gpu/bad-console.ts',
    code: `export const shout = (): void => console.warn('x');\n`,
    rule: 'eslint(no-console)',
    message: 'console',
  },
  {
    file: 'src/gpu/bad-default.ts',
    code: 'export default 1;\n',
    rule: 'import(no-default-export)',
    message: 'default',
  },
];

interface Diagnostic {
  readonly code: string;
  readonly message: string;
  readonly help?: string;
  readonly filename: string;
}

let folder = '';
let diagnostics: readonly Diagnostic[] = [];

function write(file: string, code: string): void {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), code);
}

async function run(program: string, args: string[]): Promise<string> {
  const path = join(ROOT, 'node_modules', program);
  const options = { cwd: folder, maxBuffer: 1 << 24 };
  // A linter that finds something exits with status 1, which execFile makes an exception of.
  const failed = (error: unknown): { stdout: string } => error as { stdout: string };
  const child = promisify(execFile)(process.execPath, [path, ...args], options);
  return (await child.catch(failed)).stdout;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'webhmm-layers-'));
  for (const file of [
    '.oxlintrc.json',
    'tsconfig.json',
    'tsconfig.base.json',
    'tsconfig.core.json',
  ]) {
    cpSync(join(ROOT, file), join(folder, file));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'dir');
  for (const file of TARGETS) {
    write(file, 'export const target = 1;\n');
  }
  for (const { file, code } of CASES) {
    write(file, code);
  }
  const output = await run('oxlint/bin/oxlint', ['--type-aware', '--format=json']);
  diagnostics = (JSON.parse(output) as { diagnostics: Diagnostic[] }).diagnostics;
}, 120_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function found(file: string): string[] {
  return diagnostics
    .filter((diagnostic) => diagnostic.filename === file)
    .map((diagnostic) => `${diagnostic.code}: ${diagnostic.message} ${diagnostic.help ?? ''}`);
}

describe('lint refuses', () => {
  const bad = CASES.filter((one) => one.rule !== undefined);
  test.each(bad)('$file ($rule)', ({ file, rule, message }) => {
    const lines = found(file).filter((line) => line.startsWith(`${rule ?? ''}:`));
    expect(lines.join('\n')).toContain(message);
  });
});

describe('lint accepts', () => {
  const good = CASES.filter((one) => one.rule === undefined);
  test.each(good)('$file', ({ file }) => {
    expect(found(file)).toEqual([]);
  });

  test('the files that the cases import', () => {
    expect(TARGETS.flatMap(found)).toEqual([]);
  });
});

describe('the core type check', () => {
  const bad = {
    console: `console.warn('x');`,
    setTimeout: 'setTimeout(() => {}, 1);',
    performance: 'export const t = performance.now();',
    GPUDevice: 'export type D = GPUDevice;',
    TextEncoder: 'export const e = new TextEncoder();',
  };

  test('refuses every name of a platform, and accepts shared memory', async () => {
    for (const [name, code] of Object.entries(bad)) {
      write(`src/sim/types-${name}.ts`, `${code}\nexport {};\n`);
    }
    const shared = 'export const a = Atomics.load(new Int32Array(new SharedArrayBuffer(4)), 0);\n';
    write('src/sim/types-shared.ts', shared);
    const output = await run('typescript/bin/tsc', ['-p', 'tsconfig.core.json']);
    for (const name of Object.keys(bad)) {
      expect(output).toContain(`src/sim/types-${name}.ts`);
      expect(output).toMatch(new RegExp(`Cannot find name '${name}'`));
    }
    expect(output).not.toContain('types-shared.ts');
  }, 120_000);
});
