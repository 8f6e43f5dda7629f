/*
 * Puts a check before every write to workgroup memory: a stopped invocation goes on with zeros, and
 * would write at places that others have, who go on until the next barrier. No line is added.
 *
 * A write is an assignment whose first name is that of a workgroup variable, or in its function
 * that of a pointer that may lead to one. What is guarded without need does no harm: nobody asks
 * what a stopped invocation keeps for itself.
 *
 * Leaves out: scopes within a function. Atomics, which are calls.
 *
 * Locking. None; pure. Source: our own.
 */
import type { Word } from './wgsl-tree.ts';

/** What is put in at a place of the text. */
export interface Insert {
  readonly at: number;
  /** End of what it takes the place of; without it, of nothing. */
  readonly to?: number;
  readonly text: string;
}

/** What is put before and behind an assignment. */
const BEFORE = 'if (vm_never == 0u) { ';
const BEHIND = ' /*_*/}';
/** The same where the place is computed by calls, which may stop. */
const PLACE = '{ let vm_place = &(';
const WRITE = '); if (vm_never == 0u) { *vm_place ';
const BEHIND_BOTH = ' /*_*/}}';

/** Everything that this file puts in, the longer first. */
export const WRITE_GUARDS: readonly string[] = [PLACE, WRITE, BEHIND_BOTH, BEFORE, BEHIND];

const NAME = /^[\p{XID_Start}_]/u;
const STARTS = new Set(['{', '}', ';']);
/** What begins other statements. */
const KEYWORDS = new Set(
  (
    'if else for while loop continuing switch case default return break continue discard var let ' +
    'const const_assert fn _'
  ).split(' '),
);
const OPERATORS = new Set('= += -= *= /= %= &= |= ^= <<= >>= ++ --'.split(' '));
const OPENS = new Set(['(', '[']);
const CLOSES = new Set([')', ']']);

/** Operations at which the workgroup meets. */
export const MEETINGS: ReadonlySet<string> = new Set([
  'vm_barrier',
  'vm_storage_barrier',
  'vm_uniform',
]);

/** An assignment: numbers of its first token, of its operator, and of the end behind it. */
export interface Assignment {
  readonly first: number;
  readonly operator: number;
  readonly end: number;
  /** The first name in it. */
  readonly root: number;
}

/**
 * The checks for a kernel.
 *
 * @param words its tokens
 */
export function writeGuards(words: readonly Word[]): Insert[] {
  return sharedBodies(words).flatMap(({ body, names }) =>
    statements(body)
      .filter(({ root }) => names.has(body[root]!.text))
      .flatMap((one) => guardsOf(body, one)),
  );
}

function guardsOf(words: readonly Word[], one: Assignment): Insert[] {
  const [first, operator, end] = [words[one.first]!, words[one.operator]!, words[one.end]!];
  const isCall = (index: number): boolean =>
    words[index]!.text === '(' && index > one.first && NAME.test(words[index - 1]!.text);
  // At vm_uniform all stop if anyone has, and nobody may come there by a branch of its own.
  const value = words.slice(one.operator, one.end);
  if (value.some(({ text }) => MEETINGS.has(text))) return [];
  let calls = false;
  for (let index = one.first; index < one.operator; index++) calls ||= isCall(index);
  if (!calls) {
    return [
      { at: first.start, text: BEFORE },
      { at: end.end, text: BEHIND },
    ];
  }
  return [
    { at: first.start, text: PLACE },
    { at: operator.start, text: WRITE },
    { at: end.end, text: BEHIND_BOTH },
  ];
}

/** Heads of loops that write workgroup memory: nothing can be put in there. */
export function unguardable(words: readonly Word[]): Word[] {
  return sharedBodies(words).flatMap(({ body, names }) =>
    body.flatMap(({ text }, index) =>
      text === 'for' && body[index + 1]?.text === '(' ? headWrites(body, index + 2, names) : [],
    ),
  );
}

function headWrites(words: readonly Word[], from: number, names: ReadonlySet<string>): Word[] {
  const found: Word[] = [];
  let depth = 1;
  for (let at = from; depth > 0 && at < words.length; at++) {
    const { text } = words[at]!;
    const begins = at === from || (depth === 1 && words[at - 1]!.text === ';');
    const root = begins ? assignmentAt(words, at)?.root : undefined;
    if (root !== undefined && names.has(words[root]!.text)) found.push(words[root]!);
    if (OPENS.has(text)) depth += 1;
    if (CLOSES.has(text)) depth -= 1;
  }
  return found;
}

/** Each function's tokens, with the names in it by which workgroup memory may be written. */
function sharedBodies(words: readonly Word[]): { body: Word[]; names: ReadonlySet<string> }[] {
  const shared: string[] = [];
  const aliases = new Set<string>();
  for (const [index, { text }] of words.entries()) {
    const isShared = words[index + 1]?.text === '<' && words[index + 2]?.text === 'workgroup';
    if (text === 'var' && isShared) shared.push(words[index + 4]?.text ?? '');
    if (text === 'alias') aliases.add(words[index + 1]?.text ?? '');
  }
  if (shared.length === 0) return [];
  return functionsOf(words).map((body) => {
    const names = new Set(shared);
    for (const index of body.keys()) {
      const name = pointerAt(body, index, aliases, names);
      if (name !== undefined) names.add(name);
    }
    return { body, names };
  });
}

/** The tokens of each function, from `fn` to its last brace. */
function functionsOf(words: readonly Word[]): Word[][] {
  const found: Word[][] = [];
  let depth = 0;
  let begin = -1;
  for (const [index, { text }] of words.entries()) {
    if (text === 'fn' && depth === 0) begin = index;
    if (text === '{') depth += 1;
    if (text !== '}') continue;
    depth -= 1;
    if (depth === 0 && begin >= 0) {
      found.push(words.slice(begin, index + 1));
      begin = -1;
    }
  }
  return found;
}

/** The name that is declared here, if it may be that of a pointer to workgroup memory. */
function pointerAt(
  words: readonly Word[],
  index: number,
  aliases: ReadonlySet<string>,
  names: ReadonlySet<string>,
): string | undefined {
  const textAt = (at: number): string => words[at]?.text ?? '';
  const name = textAt(index);
  if (textAt(index + 1) === ':' && textAt(index - 1) !== 'let' && textAt(index - 1) !== 'var') {
    const type = textAt(index + 2);
    const isOwn = textAt(index + 4) === 'function' || textAt(index + 4) === 'private';
    return (type === 'ptr' && !isOwn) || aliases.has(type) ? name : undefined;
  }
  if (textAt(index - 1) !== 'let') return undefined;
  // Pointers come from `&`, or from another pointer.
  let at = index + 1;
  while (textAt(at) !== '=' && textAt(at) !== ';' && at < words.length) at += 1;
  do at += 1;
  while (textAt(at) === '(');
  const next = textAt(at + 1);
  const isPlain = next === ';' || next === ')';
  return textAt(at) === '&' || (isPlain && names.has(textAt(at))) ? name : undefined;
}

/** The assignments that are statements of their own. */
export function statements(words: readonly Word[]): Assignment[] {
  const found: Assignment[] = [];
  let depth = 0;
  for (const [index, { text }] of words.entries()) {
    if (OPENS.has(text)) depth += 1;
    if (CLOSES.has(text)) depth -= 1;
    if (depth > 0 || !STARTS.has(text)) continue;
    const one = assignmentAt(words, index + 1);
    if (one !== undefined && words[one.end]?.text === ';') found.push(one);
  }
  return found;
}

/** The assignment that begins with a token, if one does. */
function assignmentAt(words: readonly Word[], first: number): Assignment | undefined {
  const begins = words[first]?.text ?? '';
  if (KEYWORDS.has(begins) || !(NAME.test(begins) || /^[*(&]$/.test(begins))) return undefined;
  let root = -1;
  let at = first;
  let depth = 0;
  for (; at < words.length; at++) {
    const { text } = words[at]!;
    if (root < 0 && NAME.test(text)) root = at;
    if (OPENS.has(text)) depth += 1;
    else if (CLOSES.has(text)) depth -= 1;
    else if (depth === 0 && !NAME.test(text) && !/^[.*&]$/.test(text)) break;
    if (depth < 0) return undefined;
  }
  const operator = at;
  if (root < 0 || !OPERATORS.has(words[operator]?.text ?? '')) return undefined;
  for (depth = 0; at < words.length; at++) {
    const { text } = words[at]!;
    if (OPENS.has(text)) depth += 1;
    if (CLOSES.has(text)) depth -= 1;
    if (depth < 0 || (depth === 0 && (text === ';' || text === '{'))) break;
  }
  return { first, operator, end: at, root };
}
