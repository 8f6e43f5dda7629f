/** Where a text stops being JSON: what JSON.parse takes has no mistake, what it refuses has one. */
import { expect, test } from 'vitest';
import { jsonMistake } from '../../../src/base/json-mistake.ts';
import { Prng } from '../../../src/base/prng.ts';

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test.each([
  ['', 'line 1, column 1: the text ends too early'],
  ['{', 'line 1, column 2: the text ends too early'],
  ['{"a":1,}', 'line 1, column 8: } is not expected'],
  ['[1,\n 2 3]', 'line 2, column 4: 3 is not expected'],
  ['{"a" 1}', 'line 1, column 6: 1 is not expected'],
  ['{a:1}', 'line 1, column 2: a is not expected'],
  ['[1]x', 'line 1, column 4: x is not expected'],
  ['[01]', 'line 1, column 3: 1 is not expected'],
  ['[1}', 'line 1, column 3: } is not expected'],
  ['["a\nb"]', 'line 1, column 2: " is not expected'],
  ['{"a":1,\n\n  "b": [true, fals]}', 'line 3, column 15: f is not expected'],
])('%j: %s', (text, mistake) => {
  expect(isJson(text)).toBe(false);
  expect(jsonMistake(text)).toBe(mistake);
});

test('texts that are JSON have none, and no others', () => {
  const parts = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '1',
    '-0.5e+3',
    'true',
    'null',
    ' ',
    '\n',
    'x',
  ];
  const random = new Prng(20_261_122);
  let taken = 0;
  for (let round = 0; round < 30_000; round++) {
    let text = '';
    for (let count = 1 + random.below(6); count > 0; count--) {
      text += parts[random.below(parts.length)]!;
    }
    taken += Number(isJson(text));
    expect(jsonMistake(text) === '', JSON.stringify(text)).toBe(isJson(text));
  }
  expect(taken).toBeGreaterThan(300);
  const good = { a: [1, -2.5e3, 'q\\"\u2028', null, { b: {} }, []], c: true };
  expect(jsonMistake(JSON.stringify(good, null, 2))).toBe('');
});

test('a long text takes no long time, nor the stack', () => {
  expect(jsonMistake(`[${'['.repeat(100_000)}`)).toMatch(/^line 1, column 100002: the text ends/);
  expect(jsonMistake(`"${'\\n'.repeat(200_000)}`)).toBe('line 1, column 1: " is not expected');
});

test('long strings with many escapes are looked at part by part', () => {
  const text = `["${'\\n'.repeat(3_000_000)}"`;
  expect(jsonMistake(`${text}]`)).toBe('');
  expect(jsonMistake(`${text}x`)).toBe('line 1, column 6000004: x is not expected');
  expect(jsonMistake(text.slice(0, -1))).toBe('line 1, column 2: " is not expected');
});
