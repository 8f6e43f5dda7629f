/*
 * Which test proves which feature, read from the tests themselves, as a document.
 *
 * A test carries `[F96]` in its title; a tag in the title of a describe() holds for all tests in
 * it. A selftest lists its features in the field `features`. A row of docs/deviations.md that holds
 * `[F96]` says that the feature is absent; `[F96 part]` that it is there, but not all of it or not
 * as in Linux. Titles are found by a real parser, so that a tag in a comment or in a test that is
 * switched off proves nothing.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { parseSync } from 'vite';
import { FEATURE_COUNT, FEATURE_SECTIONS } from './feature-list.ts';
import type { Feature } from './feature-list.ts';

/** At most so many features may be absent. */
export const MAX_DEVIATIONS = 10;

const SHOWN_TESTS = 3;
const TAG = /\[F(\d+)\]/g;
const ANY_TAG = /\[F\d[^\]]*\]/g;

/** A test that names features. */
export interface TaggedTest {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  /** The titles of its groups and its own, without tags. */
  readonly title: string;
  readonly features: readonly number[];
}

/** A row of docs/deviations.md that names a feature. */
export interface Deviation {
  readonly feature: number;
  /** Number of the row. */
  readonly row: number;
  /** The feature is there, with this difference. */
  readonly isPart: boolean;
  /** What the row says of Linux and of us. */
  readonly linux: string;
  readonly ours: string;
}

export interface FeatureTable {
  readonly tests: readonly TaggedTest[];
  readonly deviations: readonly Deviation[];
  /** Tags that stand where they prove nothing, as lines of text. */
  readonly strays: readonly string[];
}

/** Reads the tests and the ledger of deviations below `root`. */
export function readFeatureTable(root: string): FeatureTable {
  const files = walk(join(root, 'test')).filter((file) => file.endsWith('.ts'));
  const found = files.toSorted().map((file) => {
    const path = relative(root, file).split(sep).join('/');
    return testsOf(path, readFileSync(file, 'utf8'));
  });
  const ledger = readFileSync(join(root, 'docs', 'deviations.md'), 'utf8');
  return {
    tests: found.flatMap(({ tests }) => tests),
    strays: found.flatMap(({ strays }) => strays),
    deviations: deviationsOf(ledger),
  };
}

/** The tagged tests of one file, and the tags in it that no test carries. */
export function testsOf(
  path: string,
  text: string,
): { readonly tests: TaggedTest[]; readonly strays: string[] } {
  if (!/\[F\d|\bfeatures:/.test(text)) return { tests: [], strays: [] };
  const tests: TaggedTest[] = [];
  const titles: number[] = [];
  const visit = (value: unknown, inherited: readonly string[]): void => {
    if (Array.isArray(value)) {
      for (const one of value) visit(one, inherited);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const node = value as Node;
    const call = testCall(node);
    // Nothing in a group that is switched off runs.
    if (call?.isOff === true) return;
    let tags = inherited;
    if (call !== undefined) {
      titles.push(call.start);
      tags = [...inherited, call.title];
      if (call.name !== 'describe') add(tests, path, tags.join(' › '), numbersIn(tags));
    }
    const selftest = node.type === 'ObjectExpression' ? selftestOf(node) : undefined;
    if (selftest !== undefined) add(tests, path, selftest.title, selftest.features);
    for (const child of Object.values(node)) visit(child, tags);
  };
  visit(parseSync(path, text).program, []);
  return { tests, strays: straysOf(path, text, titles) };
}

function add(tests: TaggedTest[], path: string, title: string, numbers: readonly number[]): void {
  const features = [...new Set(numbers)];
  if (features.length === 0) return;
  tests.push({ path, title: title.replaceAll(/\s*\[F\d+\]/g, ''), features });
}

/** The features that rows of the ledger name. */
export function deviationsOf(ledger: string): Deviation[] {
  return ledger.split('\n').flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    const row = Number(cells[1]);
    if (!/^\| \d+ \|/.test(line) || !(row > 0)) return [];
    const plain = (cell = ''): string => cell.replaceAll(ANY_TAG, '').replaceAll(/ {2,}/g, ' ');
    return [...line.matchAll(/\[F(\d+)( part)?\]/g)].map((match) => ({
      feature: Number(match[1]),
      row,
      isPart: match[2] !== undefined,
      linux: plain(cells[2]).trim(),
      ours: plain(cells[3]).trim(),
    }));
  });
}

/** What is wrong with the tags at any time, as lines of text. */
export function tagProblems({ tests, deviations, strays }: FeatureTable): string[] {
  const isKnown = (feature: number): boolean => feature >= 1 && feature <= FEATURE_COUNT;
  const unknownTags = tests.flatMap(({ path, title, features }) =>
    features
      .filter((feature) => !isKnown(feature))
      .map((feature) => `${path}: '${title}' names feature ${feature}, which does not exist`),
  );
  const unknownRows = deviations
    .filter(({ feature }) => !isKnown(feature))
    .map(({ row, feature }) => `row ${row} names feature ${feature}, which does not exist`);
  const tested = testedFeatures(tests);
  const both = deviations
    .filter(({ feature, isPart }) => !isPart && tested.has(feature))
    .map(
      ({ row, feature }) =>
        `deviation ${row} says that feature ${feature} is absent, but it has tests: ` +
        `if it is there with a difference, write [F${feature} part]`,
    );
  return [...strays, ...unknownTags, ...unknownRows, ...both];
}

/** What is missing before the list is complete, as lines of text. */
export function coverageProblems({ tests, deviations }: FeatureTable): string[] {
  const tested = testedFeatures(tests);
  const absent = absentFeatures(deviations);
  const open = allFeatures().filter(({ number }) => !tested.has(number) && !absent.has(number));
  const partly = deviations.filter(({ feature, isPart }) => isPart && !tested.has(feature));
  const essential = allFeatures().filter((one) => absent.has(one.number) && one.isEssential);
  return [
    ...open.map(({ number, text }) => `feature ${number} has no test: ${text}`),
    ...partly.map(({ row, feature }) => `deviation ${row}: feature ${feature} has no test at all`),
    ...essential.map(({ number, text }) => `feature ${number} must not be absent: ${text}`),
    ...(absent.size > MAX_DEVIATIONS
      ? [`${absent.size} features are absent, at most ${MAX_DEVIATIONS} may be`]
      : []),
  ];
}

/** The text of docs/features.md. */
export function renderFeatures(table: FeatureTable): string {
  const tested = testedFeatures(table.tests);
  const absent = absentFeatures(table.deviations);
  const open = allFeatures().filter(({ number }) => !tested.has(number) && !absent.has(number));
  const openCount = open.length === 0 ? '' : ` ${open.length} have neither.`;
  const lines = [
    '# Features',
    '',
    `Made by \`npm run features -- --write\` from the tags in the tests; edits are lost.`,
    '',
    `The ${FEATURE_COUNT} features of HMM and of device-private memory that this machine is about.`,
    `${tested.size} have tests; ${absent.size} are absent, with a row in`,
    `[deviations.md](deviations.md).${openCount}`,
    '',
    '## Absent',
    '',
    ...rowsOfAbsent(table.deviations),
    ...(open.length === 0 ? [] : ['', '## Without a test so far', '', ...open.map(itemOf)]),
    ...FEATURE_SECTIONS.flatMap(({ id, title, features }) => [
      '',
      `## ${id}. ${title}`,
      '',
      '| # | feature | tests |',
      '| --- | --- | --- |',
      ...features.map((feature) => rowOf(feature, table)),
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

function rowsOfAbsent(deviations: readonly Deviation[]): string[] {
  const absent = deviations.filter(({ isPart }) => !isPart);
  if (absent.length === 0) return ['None.'];
  const texts = new Map(allFeatures().map(({ number, text }) => [number, text]));
  return [
    '| # | feature | Linux does | we do | row |',
    '| --- | --- | --- | --- | --- |',
    ...absent
      .toSorted((a, b) => a.feature - b.feature || a.row - b.row)
      .map(
        ({ feature, row, linux, ours }) =>
          `| ${feature} | ${texts.get(feature) ?? ''} | ${linux} | ${ours} | ${row} |`,
      ),
  ];
}

function itemOf({ number, text }: Feature): string {
  return `- ${number}: ${text}`;
}

function rowOf({ number, text }: Feature, { tests, deviations }: FeatureTable): string {
  const proofs = tests.filter(({ features }) => features.includes(number));
  const rows = deviations.filter(({ feature }) => feature === number);
  const notes = rows.map(({ row, isPart }) =>
    isPart ? `(see deviation ${row})` : `absent: deviation ${row}`,
  );
  const shown = chooseProofs(proofs).map(
    ({ path, title }) => `\`${path.slice('test/'.length)}\` ${escapeCell(title)}`,
  );
  const more = proofs.length > SHOWN_TESTS ? [`+${proofs.length - SHOWN_TESTS}`] : [];
  const cell = [...shown, ...more, ...notes].join('; ');
  return `| ${number} | ${text} | ${cell === '' ? 'none so far' : cell} |`;
}

/** A few tests out of many: the first of each file, then the second of each, and so on. */
function chooseProofs(proofs: readonly TaggedTest[]): TaggedTest[] {
  const turn = new Map<string, number>();
  const ranked = proofs.map((proof) => {
    const rank = turn.get(proof.path) ?? 0;
    turn.set(proof.path, rank + 1);
    return { proof, rank };
  });
  // toSorted() is stable: within a rank the order of the files stays.
  const sorted = ranked.toSorted((a, b) => a.rank - b.rank).map(({ proof }) => proof);
  return sorted.slice(0, SHOWN_TESTS);
}

/** A title may hold any character, a cell of a table may not. */
function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll(/\s+/g, ' ');
}

function allFeatures(): Feature[] {
  return FEATURE_SECTIONS.flatMap(({ features }) => features);
}

function testedFeatures(tests: readonly TaggedTest[]): Set<number> {
  return new Set(tests.flatMap(({ features }) => features));
}

function absentFeatures(deviations: readonly Deviation[]): Set<number> {
  return new Set(deviations.filter(({ isPart }) => !isPart).map(({ feature }) => feature));
}

function numbersIn(titles: readonly string[]): number[] {
  return titles.flatMap((title) => [...title.matchAll(TAG)].map((match) => Number(match[1])));
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

interface TestCall {
  readonly name: string;
  /** Where the title starts. */
  readonly start: number;
  readonly title: string;
  /** It proves nothing: it does not run, or passes when it fails. */
  readonly isOff: boolean;
}

/** A call that declares a test or a group: test(), it.each(...)(), describe.skipIf(...)(). */
function testCall(node: Node): TestCall | undefined {
  if (node.type !== 'CallExpression') return undefined;
  const first = (node['arguments'] as readonly Node[])[0];
  const title = first === undefined ? undefined : textOf(first);
  const chain = calleeChain(node['callee'] as Node);
  const name = chain[0] ?? '';
  if (first === undefined || title === undefined || !/^(test|it|describe)$/.test(name)) {
    return undefined;
  }
  const isOff = ['skip', 'todo', 'fails'].some((modifier) => chain.includes(modifier));
  return { name, start: first.start, title, isOff };
}

/** The names in a callee: `test.runIf(x).each(rows)` gives test, runIf, each. */
function calleeChain(node: Node): string[] {
  switch (node.type) {
    case 'Identifier':
      return [node['name'] as string];
    case 'MemberExpression':
      return [...calleeChain(node['object'] as Node), ...calleeChain(node['property'] as Node)];
    case 'CallExpression':
      return calleeChain(node['callee'] as Node);
    case 'TaggedTemplateExpression':
      return calleeChain(node['tag'] as Node);
    default:
      return [];
  }
}

/** The text of a string or template; what is filled in later shows as an ellipsis. */
function textOf(node: Node): string | undefined {
  if (node.type === 'Literal') {
    return typeof node['value'] === 'string' ? node['value'] : undefined;
  }
  if (node.type !== 'TemplateLiteral') return undefined;
  const parts = node['quasis'] as readonly { readonly value: { readonly raw: string } }[];
  return parts.map(({ value }) => value.raw).join('…');
}

/** A selftest's declaration: `{ fixture: 'hmm', name: 'migrate', features: [21, 44], run }`. */
function selftestOf(node: Node): { title: string; features: number[] } | undefined {
  const values = new Map<string, Node>();
  for (const property of node['properties'] as readonly Node[]) {
    const key = property['key'] as Node | undefined;
    if (key?.type === 'Identifier') values.set(key['name'] as string, property['value'] as Node);
  }
  const [fixture, name] = [values.get('fixture'), values.get('name')].map((value) =>
    value === undefined ? undefined : textOf(value),
  );
  const list = values.get('features');
  if (fixture === undefined || name === undefined || list === undefined) return undefined;
  const elements = (list['elements'] ?? []) as readonly Node[];
  const features = elements.map(({ value }) => (typeof value === 'number' ? value : Number.NaN));
  return { title: `${fixture}.${name}`, features };
}

/** Tags outside of titles, where nothing would count them, and tags that are misspelt. */
function straysOf(path: string, text: string, titles: readonly number[]): string[] {
  const isInTitle = (at: number): boolean =>
    titles.some((start) => start <= at && !/\n/.test(text.slice(start, at)));
  return [...text.matchAll(ANY_TAG)]
    .filter(({ index, 0: tag }) => !/^\[F\d+\]$/.test(tag) || !isInTitle(index))
    .map(({ index, 0: tag }) => {
      const line = text.slice(0, index).split('\n').length;
      return `${path}:${line}: ${tag} is in no title of a test`;
    });
}

function walk(folder: string): string[] {
  const entries = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'fixtures' ? [] : walk(path);
    return [path];
  });
}
