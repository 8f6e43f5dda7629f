/*
 * Rules about the text of this repository that no compiler checks: sizes, words, which folder may
 * import which, and that shaders, examples and documents have the tests that they claim.
 *
 * Rules about a document apply as soon as it exists.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { parseSync } from 'vite';
import { describe, expect, test } from 'vitest';
import {
  coverageProblems,
  readFeatureTable,
  renderFeatures,
  tagProblems,
} from '../cli/feature-table.ts';

const ROOT = resolve(import.meta.dirname, '..');
const MAX_COLUMNS = 100;
const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;

/** Which folders each folder may import from, besides itself. Arrows point down only. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  'src/base': [],
  'src/mm': ['src/base'],
  'src/cpu': ['src/mm', 'src/base'],
  'src/engine': ['src/base'],
  'src/driver': ['src/mm', 'src/engine', 'src/base'],
  'src/gpu': ['src/engine', 'src/base', 'shaders'],
  'src/sim': ['src/driver', 'src/mm', 'src/engine', 'src/base'],
  'src/worker': ['src/driver', 'src/cpu', 'src/mm', 'src/engine', 'src/gpu', 'src/base'],
  'src/index.ts': 'worker sim driver cpu mm engine gpu base'.split(' ').map((dir) => `src/${dir}`),
  examples: ['src/index.ts', 'bench', 'shaders'],
  bench: ['src/index.ts', 'shaders'],
  cli: ['src/index.ts', 'bench', 'shaders'],
  shaders: [],
};

/** The parts of the selftests that run them. */
const SELFTESTS = ['harness', 'selftest', 'suite'].map((name) => `test/selftests/${name}.ts`);

/** Single files that may import more, with the reason in their header. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  // Times the bookkeeping of migrate_vma without a driver, and engines that differ in one setting,
  // which no program can ask for.
  'bench/insides.ts': ['src/mm', 'src/gpu', 'src/cpu', 'src/driver'],
  // The front door of the simulator, which is no part of the facade.
  'cli/sim.ts': ['src/sim'],
  'cli/sim-worker.ts': ['src/sim'],
  // Two front doors of the selftests, which are a feature as well as a test.
  'cli/selftest.ts': [...SELFTESTS, 'test/selftests/tap.ts'],
  'examples/selftests/main.ts': SELFTESTS,
  // The front door of the stress test.
  'cli/stress.ts': ['stress', 'page'].map((name) => `test/stress/${name}.ts`),
};

/** Packages that a folder may import; folders that are not named may import any. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  'src/base': /^$/,
  'src/mm': /^$/,
  'src/cpu': /^$/,
  'src/engine': /^$/,
  'src/driver': /^$/,
  'src/sim': /^$/,
  'src/gpu': /^wgsl_reflect\//,
  'src/worker': /^(comlink(\/|$)|node:|webgpu$|#platform$|#copy-threads$)/,
  'src/index.ts': /^(comlink(\/|$)|node:)/,
  examples: /^(comlink|uplot)(\/|$)/,
};

const FOLDERS = ['src', 'shaders', 'examples', 'bench', 'cli', 'test'];
const SKIPPED = new Set(['node_modules', 'fixtures', 'dist', 'shots']);

interface Source {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

function walk(folder: string): string[] {
  const entries = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      return SKIPPED.has(entry.name) ? [] : walk(path);
    }
    return [path];
  });
}

function load(paths: readonly string[]): Source[] {
  return paths.map((path) => {
    const text = readFileSync(path, 'utf8');
    return { path: relative(ROOT, path).split(sep).join('/'), text, lines: text.split('\n') };
  });
}

const configs = readdirSync(ROOT).filter((name) => name.endsWith('.config.ts'));
const files = FOLDERS.flatMap((folder) => walk(join(ROOT, folder)));
const sources = load(
  [...files, ...configs.map((name) => join(ROOT, name))].filter((path) =>
    /\.(ts|mjs|wgsl)$/.test(path),
  ),
);
const scripts = sources.filter(({ path }) => !path.endsWith('.wgsl'));
const shaders = sources.filter(({ path }) => path.endsWith('.wgsl'));
const testFiles = sources.filter(({ path }) => path.startsWith('test/'));
const documents = load([
  ...readdirSync(ROOT)
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(ROOT, name)),
  ...[...files, ...walk(join(ROOT, 'docs'))].filter((path) => path.endsWith('.md')),
]);

describe('sizes', () => {
  test(`no line is longer than ${MAX_COLUMNS} columns, tags of features left aside`, () => {
    const long = sources.flatMap(({ path, lines }) =>
      lines.flatMap((line, i) => {
        const columns = line.replaceAll(/ \[F\d+\]/g, '').length;
        return columns > MAX_COLUMNS ? [`${path}:${i + 1} has ${columns}`] : [];
      }),
    );
    expect(long).toEqual([]);
  });

  test(`no file is longer than ${MAX_FILE_LINES} lines`, () => {
    const long = sources.filter(({ lines }) => lines.length - 1 > MAX_FILE_LINES);
    expect(long.map(({ path, lines }) => `${path} has ${lines.length - 1}`)).toEqual([]);
  });

  test(`no function is longer than ${MAX_FUNCTION_LINES} lines`, () => {
    // The callbacks of describe() and test() are no functions in this sense.
    const checked = scripts.filter(({ path }) => !path.startsWith('test/'));
    expect(checked.flatMap(longFunctions)).toEqual([]);
  });
});

describe('words', () => {
  // Taken apart, so that this file does not hold them itself.
  const words = ['TO-DO', 'FIX-ME', 'XX-X'].map((word) => word.replace('-', ''));

  test('nothing is left for later', () => {
    const pattern = new RegExp(`\\b(${words.join('|')})\\b`);
    expect(linesWith([...sources, ...documents], pattern)).toEqual([]);
  });

  test('nothing is printed to a console outside cli', () => {
    const outside = sources.filter(({ path }) => !path.startsWith('cli/'));
    expect(linesWith(outside, /console\.log/)).toEqual([]);
  });
});

describe('switched-off checks', () => {
  test('lint is switched off only with a reason, the type check never in src', () => {
    const off = /(ox|es)lint-disable(?!.* -- .)/;
    expect(linesWith(scripts, off)).toEqual([]);
    const ours = scripts.filter(({ path }) => path.startsWith('src/'));
    expect(linesWith(ours, /@ts-(ignore|nocheck|expect-error)/)).toEqual([]);
  });
});

describe('layers', () => {
  test('imports follow the arrows', () => {
    const wrong = scripts.flatMap((source) => importsOf(source).flatMap((one) => judge(one)));
    expect(wrong).toEqual([]);
  });

  test('this check sees a wrong arrow, and lets a right one pass', () => {
    const text = [
      `import type { a } from '../gpu/a.ts';`,
      `export { b } from '../base/b.ts';`,
      `const c = await import('../../test/c.ts');`,
      `const d = new URL('../worker/d.ts', import.meta.url);`,
      `import 'comlink';`,
    ].join('\n');
    const source: Source = { path: 'src/mm/x.ts', text, lines: [] };
    expect(importsOf(source).flatMap((one) => judge(one))).toEqual([
      'src/mm/x.ts:1 imports src/gpu/a.ts, but src/mm may import only src/base',
      'src/mm/x.ts:3 imports test/c.ts, but src/mm may import only src/base',
      'src/mm/x.ts:4 imports src/worker/d.ts, but src/mm may import only src/base',
      'src/mm/x.ts:5 imports the package comlink, which src/mm may not',
    ]);
  });
});

describe('shaders', () => {
  const kernels = shaders.filter(({ path }) => dirname(path) === 'shaders');
  const named = (where: readonly Source[], stem: string): boolean => {
    const camel = stem.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    const names = [stem, camel, stem.replaceAll('-', '_')];
    return where.some(({ path, text }) =>
      names.some((name) => text.includes(name) || basename(path).startsWith(name)),
    );
  };

  test('each kernel has a twin on the CPU and a test', () => {
    const engine = sources.filter(({ path }) => path.startsWith('src/engine/'));
    const stems = kernels.map(({ path }) => basename(path, '.wgsl'));
    const alone = stems.filter((stem) => !named(engine, stem));
    expect(alone, 'shaders that no file of src/engine names').toEqual([]);
    const untested = stems.filter((stem) => !named(testFiles, stem));
    expect(untested, 'shaders that no test names').toEqual([]);
  });
});

describe('examples', () => {
  test('each has a README', () => {
    const pages = files.filter((path) => /examples[/\\][^/\\]+[/\\]index\.html$/.test(path));
    const bare = pages
      .map((page) => dirname(page))
      .filter((at) => !existsSync(join(at, 'README.md')));
    expect(bare.map((at) => relative(ROOT, at))).toEqual([]);
  });
});

describe('documents', () => {
  test('each deviation names a test that exists', () => {
    const rows = documentLines('docs/deviations.md').filter((line) => /^\| \d+ \|/.test(line));
    expect(rows.map((row) => Number(row.split('|')[1]))).toEqual(rows.map((_, at) => at + 1));
    const wrong = rows.filter((row) => {
      const named = row.match(/test\/[\w./-]+\.ts/g) ?? [];
      return named.length === 0 || named.some((path) => !existsSync(join(ROOT, path)));
    });
    expect(wrong).toEqual([]);
  });

  test('each invariant is asserted in src and named in a test, and the other way round', () => {
    const listed = new Set(
      documentLines('docs/invariants.md').flatMap((line) =>
        [...line.matchAll(/^[|#*\-\s`]*(I\d+)\b/g)].map((match) => match[1]!),
      ),
    );
    const ours = sources.filter(({ path }) => path.startsWith('src/'));
    const asserted = new Set(
      ours.flatMap(({ text }) => [...text.matchAll(/['"`](I\d+): /g)].map((match) => match[1]!)),
    );
    const tested = new Set(
      testFiles.flatMap(({ text }) => [...text.matchAll(/\bI\d+\b/g)].map((match) => match[0])),
    );
    if (!existsSync(join(ROOT, 'docs/invariants.md'))) {
      return;
    }
    expect(
      [...listed].filter((id) => !asserted.has(id)),
      'not asserted in src',
    ).toEqual([]);
    expect(
      [...listed].filter((id) => !tested.has(id)),
      'not named in a test',
    ).toEqual([]);
    expect(
      [...asserted].filter((id) => !listed.has(id)),
      'not in the document',
    ).toEqual([]);
  });

  test('links lead to files that exist', () => {
    const broken = documents.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1]!)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(resolve(ROOT, dirname(path), target)))
        .map((target) => `${path} links to ${target}`),
    );
    expect(broken).toEqual([]);
  });

  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };

  test('scripts of package.json lead to commands that exist', () => {
    const commands = Object.values(manifest.scripts)
      .map((line) => /cli\/run\.mjs (\S+)/.exec(line)?.[1])
      .filter((name) => name !== undefined);
    const missing = commands.filter((name) => !existsSync(join(ROOT, 'cli', `${name}.ts`)));
    expect(missing).toEqual([]);
  });

  test('commands that they name are scripts of package.json', () => {
    const unknown = documents.flatMap(({ path, text }) =>
      [...text.matchAll(/\bnpm run ([a-z][\w:-]*)/g)]
        .map((match) => match[1]!)
        .filter((name) => !(name in manifest.scripts))
        .map((name) => `${path} names npm run ${name}`),
    );
    expect(unknown).toEqual([]);
  });
});

describe('features', () => {
  const table = readFeatureTable(ROOT);

  test('every tag names a feature, and nothing is both absent and tested', () => {
    expect(tagProblems(table)).toEqual([]);
  });

  test('docs/features.md is what `npm run features -- --write` makes of the tags', () => {
    expect(documentLines('docs/features.md').join('\n') === renderFeatures(table)).toBe(true);
  });

  test('each feature has a test, or is one of a few that deviate', () => {
    expect(coverageProblems(table)).toEqual([]);
  });
});

function documentLines(path: string): readonly string[] {
  return documents.find((document) => document.path === path)?.lines ?? [];
}

function linesWith(where: readonly Source[], pattern: RegExp): string[] {
  return where.flatMap(({ path, lines }) =>
    lines.flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );
}

interface Import {
  readonly from: Source;
  readonly line: number;
  readonly specifier: string;
}

/**
 * All ways to name a module: import and export, dynamic imports, URLs of workers, globs of files.
 */
function importsOf(source: Source): Import[] {
  const ways = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s+['"]([^'"]+)['"]/gm,
    /^\s*import\s+['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]/g,
    /\bnew URL\(\s*['"](\.[^'"]+)['"],\s*import\.meta\.url/g,
    /\bimport\.meta\.glob\(\s*['"]([^'"]+)['"]/g,
  ];
  const found = ways.flatMap((way) => [...source.text.matchAll(way)]);
  return found
    .toSorted((a, b) => a.index - b.index)
    .map((match) => ({
      from: source,
      line: source.text.slice(0, match.index).split('\n').length,
      specifier: match[1]!,
    }));
}

/** What is wrong with an import, as a line of text; nothing if it is right. */
function judge({ from, line, specifier }: Import): string[] {
  const own = folderOf(from.path);
  const arrows = own === undefined ? undefined : ARROWS[own];
  if (own === undefined || arrows === undefined) {
    return [];
  }
  const at = `${from.path}:${line}`;
  if (!specifier.startsWith('.')) {
    const packages = PACKAGES[own];
    return packages === undefined || packages.test(specifier)
      ? []
      : [`${at} imports the package ${specifier}, which ${own} may not`];
  }
  const path = join(dirname(from.path), specifier.replace(/\?.*$/, '')).split(sep).join('/');
  const target = folderOf(path) ?? path;
  const inside =
    target === own ||
    EXCEPTIONS[from.path]?.includes(target) === true ||
    arrows.includes(target) ||
    !/^(src|test|cli|bench|examples|shaders)/.test(path);
  const may = arrows.length === 0 ? 'nothing else' : arrows.join(', ');
  return inside ? [] : [`${at} imports ${path}, but ${own} may import only ${may}`];
}

/** The key of ARROWS that a file belongs to. */
function folderOf(path: string): string | undefined {
  return Object.keys(ARROWS).find((folder) => path === folder || path.startsWith(`${folder}/`));
}

interface AstNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

function longFunctions({ path, text }: Source): string[] {
  const kinds = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      value.forEach(visit);
    } else if (typeof value === 'object' && value !== null) {
      const node = value as AstNode;
      const length = kinds.has(node.type) ? text.slice(node.start, node.end).split('\n').length : 0;
      if (length > MAX_FUNCTION_LINES) {
        const line = text.slice(0, node.start).split('\n').length;
        found.push(`${path}:${line} has a function of ${length} lines`);
      }
      Object.values(value).forEach(visit);
    }
  };
  visit(parseSync(path, text).program);
  return found;
}
