/**
 * Where a text stops being JSON. Engines say it in words of their own, and some without the place.
 *
 * Source: our own; RFC 8259.
 */

const TOKEN = new RegExp(
  '[ \\t\\n\\r]*(?:([{}[\\],:])|(")|' +
    '(-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?|true|false|null))',
  'y',
);
/** Characters of a string up to the next escape, and that. */
const STRING_PART = /[ !#-[\]-\uffff]*(\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))?/y;
const BLANKS = /[ \t\n\r]*/y;

/**
 * The first mistake of a text that JSON.parse refuses, as "line 3, column 7: ..."; an empty text
 * for one that is JSON.
 *
 * Context: pure; takes a time that grows with the text's length.
 */
export function jsonMistake(text: string): string {
  const open: string[] = [];
  /** What may come: a value, a name, `:`, or `,` and ends; `]` and `}` only where it says so. */
  let next: 'value' | 'name' | 'colon' | 'comma' = 'value';
  let mayClose = false;
  for (let at = 0; ;) {
    BLANKS.lastIndex = at;
    at += BLANKS.exec(text)![0].length;
    if (at >= text.length && next === 'comma' && open.length === 0) return '';
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text);
    const [whole = '', mark = '', quote = ''] = token ?? [];
    const end = quote === '' ? at + whole.length : stringEnd(text, at + whole.length);
    if (end < 0) return mistakeAt(text, at);
    const inObject = open.at(-1) === '{';
    const isClosing = mark === (inObject ? '}' : ']') && open.length > 0;
    if (isClosing && (next === 'comma' || mayClose)) {
      open.pop();
      next = 'comma';
      mayClose = false;
    } else if (next === 'comma' && mark === ',' && open.length > 0) {
      next = inObject ? 'name' : 'value';
    } else if (next === 'colon' && mark === ':') {
      next = 'value';
    } else if (next === 'name' && quote !== '') {
      next = 'colon';
      mayClose = false;
    } else if (next === 'value' && (mark === '{' || mark === '[')) {
      open.push(mark);
      next = mark === '{' ? 'name' : 'value';
      mayClose = true;
    } else if (next === 'value' && token !== null && mark === '') {
      next = 'comma';
      mayClose = false;
    } else {
      return mistakeAt(text, at);
    }
    at = end;
  }
}

/** Where a string ends whose characters begin at `at`, part by part; -1 where it does not. */
function stringEnd(text: string, at: number): number {
  for (;;) {
    STRING_PART.lastIndex = at;
    const [part = '', escape] = STRING_PART.exec(text) ?? [];
    at += part.length;
    if (escape === undefined) return text[at] === '"' ? at + 1 : -1;
  }
}

function mistakeAt(text: string, at: number): string {
  const before = text.slice(0, at).split('\n');
  const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`;
  const found = String.fromCodePoint(text.codePointAt(at) ?? 0).replaceAll(/\p{C}/gu, '?');
  return `${place}: ${at >= text.length ? 'the text ends too early' : `${found} is not expected`}`;
}
