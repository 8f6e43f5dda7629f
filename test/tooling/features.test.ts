/*
 * The table of features: what counts as proof of a feature, and what is refused.
 */
import { describe, expect, test } from 'vitest';
import { FEATURE_COUNT, FEATURE_SECTIONS } from '../../cli/feature-list.ts';
import {
  coverageProblems,
  deviationsOf,
  MAX_DEVIATIONS,
  renderFeatures,
  tagProblems,
  testsOf,
} from '../../cli/feature-table.ts';
import type { FeatureTable, TaggedTest } from '../../cli/feature-table.ts';

const PATH = 'test/x.test.ts';

/** A tag; taken apart, so that this file does not carry it. */
const tag = (n: number | string): string => ['[F', n, ']'].join('');

const found = (text: string): TaggedTest[] => testsOf(PATH, text).tests;
const strays = (text: string): string[] => testsOf(PATH, text).strays;

const NOTHING: FeatureTable = { tests: [], deviations: [], strays: [] };

function tested(...features: number[]): TaggedTest {
  return { path: PATH, title: 'does it', features };
}

function ledger(...cells: string[]): string {
  return cells.map((cell, i) => `| ${i + 1} | Linux | ${cell} | why | test/x.ts |`).join('\n');
}

const allTested = tested(...Array.from({ length: FEATURE_COUNT }, (_, i) => i + 1));

describe('the list', () => {
  test('numbers every feature once, in order', () => {
    const numbers = FEATURE_SECTIONS.flatMap(({ features }) => features.map((f) => f.number));
    expect(numbers).toEqual(allTested.features);
  });
});

describe('tags count', () => {
  test('in titles of test, it, and with modifiers, each once', () => {
    const text = `
      test('one ${tag(1)}', () => {});
      it("two ${tag(2)} ${tag(3)} ${tag(2)}", f);
      test.each([1])('three %i ${tag(4)}', f);
      test.runIf(x)(\`four \${y} ${tag(5)}\`, f);`;
    expect(found(text).map(({ features }) => features)).toEqual([[1], [2, 3], [4], [5]]);
    expect(found(text).map(({ title }) => title)).toEqual(['one', 'two', 'three %i', 'four …']);
    expect(strays(text)).toEqual([]);
  });

  test('in titles of groups, for all tests in them and none beside', () => {
    const text = `
      describe('a ${tag(1)}', () => {
        test('b', f);
        describe('c ${tag(2)}', () => { test('d ${tag(3)}', f); });
      });
      test('e', f);`;
    expect(found(text)).toMatchObject([
      { title: 'a › b', features: [1] },
      { title: 'a › c › d', features: [1, 2, 3] },
    ]);
  });

  test('in the field of a selftest', () => {
    const text = `const T = { fixture: 'hmm', name: 'migrate', features: [21, 44], run };`;
    expect(found(text)).toEqual([{ path: PATH, title: 'hmm.migrate', features: [21, 44] }]);
  });

  test.each([
    ['a comment', `// ${tag(1)}`],
    ['another call', `check('x ${tag(1)}')`],
    ['a test that is switched off', `test.skip('x ${tag(1)}', f)`],
    ['a test that has to fail', `test.fails('x ${tag(1)}', f)`],
    ['a test in a group that is switched off', `describe.skip('g', () => test('x ${tag(1)}', f))`],
    ['a group that is switched off', `describe.todo('x ${tag(1)}')`],
    ['the body of a test', `test('x', () => {\n  use('${tag(1)}');\n})`],
  ])('not in %s', (_, text) => {
    expect(found(text)).toEqual([]);
    expect(strays(text)).toHaveLength(1);
  });

  test('not when they are misspelt', () => {
    expect(strays(`test('x ${tag('1a')}', f)`)).toHaveLength(1);
  });
});

describe('refused at any time', () => {
  test('a tag without a feature, at both ends', () => {
    expect(tagProblems({ ...NOTHING, tests: [tested(1), tested(FEATURE_COUNT)] })).toEqual([]);
    const tests = [tested(0), tested(FEATURE_COUNT + 1)];
    expect(tagProblems({ ...NOTHING, tests })).toHaveLength(2);
    const deviations = deviationsOf(ledger(`x ${tag(FEATURE_COUNT + 1)}`));
    expect(tagProblems({ ...NOTHING, deviations })).toHaveLength(1);
  });

  test('a feature that is both absent and tested, unless the row says that it is there', () => {
    const tests = [tested(20)];
    const absent = deviationsOf(ledger(`absent ${tag(20)}`));
    expect(tagProblems({ ...NOTHING, tests, deviations: absent })).toHaveLength(1);
    const part = deviationsOf(ledger(`half of it ${tag('20 part')}`));
    expect(part).toMatchObject([{ feature: 20, row: 1, isPart: true, ours: 'half of it' }]);
    expect(tagProblems({ ...NOTHING, tests, deviations: part })).toEqual([]);
  });
});

describe('refused when the list is complete', () => {
  /** Numbers of features that are not essential. */
  const spare = FEATURE_SECTIONS.flatMap(({ features }) => features)
    .filter(({ isEssential }) => !isEssential)
    .map(({ number }) => number);
  const without = (numbers: readonly number[]): TaggedTest =>
    tested(...allTested.features.filter((number) => !numbers.includes(number)));
  const problems = (absent: readonly number[], rows = absent): string[] =>
    coverageProblems({
      ...NOTHING,
      tests: [without(absent)],
      deviations: deviationsOf(ledger(...rows.map((number) => tag(number)))),
    });

  test('a feature with neither test nor row', () => {
    expect(coverageProblems({ ...NOTHING, tests: [allTested] })).toEqual([]);
    expect(problems([spare[0]!], [])).toHaveLength(1);
    expect(problems([spare[0]!])).toEqual([]);
  });

  test('one row too many', () => {
    expect(problems(spare.slice(0, MAX_DEVIATIONS))).toEqual([]);
    expect(problems(spare.slice(0, MAX_DEVIATIONS + 1))).toHaveLength(1);
  });

  test('an essential feature that is absent', () => {
    expect(problems([21])).toHaveLength(1);
  });

  test('a feature that is said to be there in part, without any test', () => {
    const deviations = deviationsOf(ledger(tag('87 part')));
    expect(coverageProblems({ ...NOTHING, tests: [without([87])], deviations })).toHaveLength(2);
  });
});

describe('the document', () => {
  test('names three tests of a feature, each from a file of its own, and counts the rest', () => {
    const at = (path: string, title: string): TaggedTest => ({ path, title, features: [5] });
    const text = renderFeatures({
      ...NOTHING,
      tests: [at('test/a', 'a1'), at('test/a', 'a2'), at('test/b', 'b1 | x'), at('test/c', 'c1')],
    });
    expect(text).toContain('| `a` a1; `b` b1 \\| x; `c` c1; +1 |');
    expect(text).toContain('| none so far |');
  });

  test('begins with what is absent', () => {
    const deviations = deviationsOf(ledger('none', `nothing ${tag(87)}`));
    const text = renderFeatures({ ...NOTHING, deviations });
    expect(text).toMatch(/^\| 87 \| [^|]+ \| Linux \| nothing \| 2 \|$/m);
    expect(text.indexOf('| 87 |')).toBeLessThan(text.indexOf('## A.'));
    expect(text).toContain('| absent: deviation 2 |');
  });
});
