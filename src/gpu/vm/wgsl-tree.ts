/*
 * The syntax tree of a user's WGSL, in the few shapes that checks need.
 *
 * Leaves out: types and names' meanings, which the browser's compiler checks.
 */
import { Node } from 'wgsl_reflect/wgsl_reflect.module.js';
import { withoutComments } from '../../engine/vm/kernel-text.ts';
import type { Insert } from './guard-writes.ts';
import { KernelParser } from './kernel-parser.ts';
import { withOwnNames } from './own-names.ts';
import { parserTokens } from './parser-tokens.ts';
import { NoToken, scanWgsl } from './wgsl-scanner.ts';

/** A node of the tree; its other fields depend on `kind`. */
export interface Tree {
  readonly node: Node;
  readonly kind: string;
  readonly name: string;
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A token of the text. */
export interface Word {
  readonly text: string;
  readonly line: number;
  /** Where it begins and ends in the text. */
  readonly start: number;
  readonly end: number;
}

/** A text that was parsed. */
export interface Parsed {
  readonly declarations: readonly Tree[];
  readonly words: readonly Word[];
  /** Endings of names that the prelude uses, too; words and declarations have them. */
  readonly renames: readonly Insert[];
  /** A message without these endings. */
  readonly asWritten: (message: string) => string;
}

/** Something wrong with a kernel. */
export interface KernelProblem {
  /** Line of the kernel's text, from 1. */
  readonly line: number;
  readonly reason: string;
}

/**
 * Problems with their columns, from 1: that of the first name in the reason that is on the line,
 * or of the line's first token.
 */
export function withColumns(
  text: string,
  words: readonly Word[],
  problems: readonly KernelProblem[],
): (KernelProblem & { readonly column: number })[] {
  return problems.map((problem) => {
    const onLine = words.filter(({ line }) => line === problem.line);
    const said = problem.reason.split(/[^\w]+/);
    const named = said.map((name) => onLine.find(({ text: word }) => word === name));
    const start = (named.find((one) => one !== undefined) ?? onLine[0])?.start;
    const column = start === undefined ? 1 : start - text.lastIndexOf('\n', start - 1);
    return { ...problem, column };
  });
}

/** Fields that lead up or sideways in the tree: types are no operations, and shared by many. */
const NOT_BELOW = new Set([
  'parent',
  'calls',
  'cachedReturnValue',
  'type',
  'format',
  'returnType',
  'initializer',
]);

/** How deep parentheses and blocks may be in each other: compilers go no deeper. */
const MAX_BRACKETS = 127;
/** How deep a tree may be, since whoever walks it calls itself: `a + b + c` is a tree of three. */
const MAX_DEPTH = 500;
/** Characters of a name or a number at most. */
const MAX_WORD = 200;
const LONG_WORD = new RegExp(String.raw`\p{XID_Continue}{${MAX_WORD + 1},}`, 'u');
const TOO_LONG = `a name or a number has at most ${MAX_WORD} characters`;
const TOO_DEEP = 'expressions or blocks are in each other too deep';

/**
 * The declarations of a text and its tokens, or why it is no WGSL.
 *
 * @param text with plain blanks (kernel-text.ts)
 */
export function parseWgsl(text: string): Parsed | (KernelProblem & { readonly column: number }) {
  let words: readonly Word[] = [];
  let asWritten = (message: string): string => message;
  const parser = new KernelParser();
  try {
    const code = withoutComments(text);
    const early = typeof code === 'number' ? problemAt(text, code, NO_END) : longWord(code);
    if (early !== undefined) return at(text, early.start, early);
    const own = withOwnNames(scanWgsl(code as string));
    const { tokens, renames } = own;
    words = tokens;
    asWritten = own.asWritten;
    const wrong = tooDeep(words);
    if (wrong !== undefined) return at(text, wrong.start, wrong);
    const declarations = parser.parse(parserTokens(tokens)).map((node) => tree(node));
    const deep = declarations.map(deepest).find((one) => one !== undefined);
    if (deep === undefined) return { declarations, words, renames, asWritten };
    const place = words.find(({ line }) => line === deep.line)?.start ?? 0;
    return at(text, place, { line: deep.line, reason: TOO_DEEP });
  } catch (error) {
    if (error instanceof NoToken) {
      return at(text, error.start, { line: error.line, reason: error.message });
    }
    const { line: here, start, lexeme } = parser.token ?? { line: 1, start: 0, lexeme: '' };
    // Prefixes and else-ifs in a row have no brackets that could be counted.
    if (isOverflow(error)) return at(text, start, { line: here, reason: TOO_DEEP });
    const message = error instanceof Error ? error.message : readMessage(error);
    const told = /[Ll]ine:? (\d+)/.exec(message)?.[1];
    // The parser stumbles where a type or a value is missing.
    const reason =
      told === undefined
        ? `${lexeme === '' ? 'the end of the text' : lexeme} is not expected here`
        : message.replace(/\.*\s*(?:at line|Line:) \d+\.?\s*$/, '');
    const line = Number(told ?? here);
    return { line, column: columnOf(text, words, line, start), reason: asWritten(reason) };
  }
}

const NO_END = 'the comment that begins here has no end';

/** A problem at a place in the text. */
function problemAt(text: string, start: number, reason: string): KernelProblem & { start: number } {
  return { line: text.slice(0, start).split('\n').length, start, reason };
}

/** A word that is too long to be told whole, and longer than anybody needs. */
function longWord(code: string): (KernelProblem & { start: number }) | undefined {
  const start = LONG_WORD.exec(code)?.index;
  return start === undefined ? undefined : problemAt(code, start, TOO_LONG);
}

/** A problem with the column of a place in the text. */
function at(
  text: string,
  place: number,
  { line, reason }: KernelProblem,
): KernelProblem & { readonly column: number } {
  return { line, column: place - text.lastIndexOf('\n', place - 1), reason };
}

/** The first bracket that is too deep, if any is. */
function tooDeep(words: readonly Word[]): (KernelProblem & { start: number }) | undefined {
  let depth = 0;
  for (const { text, line, start } of words) {
    if (text === '(' || text === '[' || text === '{') depth += 1;
    if (text === ')' || text === ']' || text === '}') depth -= 1;
    if (depth > MAX_BRACKETS) return { line, start, reason: TOO_DEEP };
  }
  return undefined;
}

/** A node that is deeper in a tree than may be, if there is one. */
function deepest(one: Tree): Tree | undefined {
  const nodes = [one];
  const depths = [0];
  for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
    const depth = depths.pop()!;
    if (depth > MAX_DEPTH) return node;
    for (const other of below(node)) {
      nodes.push(other);
      depths.push(depth + 1);
    }
  }
  return undefined;
}

/** The column of the token that begins here if it is on this line, else that of its first. */
function columnOf(text: string, words: readonly Word[], line: number, start: number): number {
  const onLine = words.filter((one) => one.line === line);
  const place = (onLine.find((one) => one.start === start) ?? onLine[0])?.start;
  return place === undefined ? 1 : place - text.lastIndexOf('\n', place - 1);
}

/** The nodes right below one, in the order of its fields. */
export function below(one: Tree): Tree[] {
  return Object.entries(one.fields).flatMap(([field, value]) =>
    NOT_BELOW.has(field) ? [] : nodesIn(value),
  );
}

/** The nodes in a field: of a list, or one. */
export function nodesIn(value: unknown): Tree[] {
  if (Array.isArray(value)) return value.flatMap(nodesIn);
  return value instanceof Node ? [tree(value)] : [];
}

/** A node and all below it, in the order of the text. */
export function everywhere(one: Tree): Tree[] {
  const found: Tree[] = [];
  const left = [one];
  for (let node = left.pop(); node !== undefined; node = left.pop()) {
    found.push(node);
    for (const other of below(node).toReversed()) left.push(other);
  }
  return found;
}

function tree(node: Node): Tree {
  const fields = node as unknown as Readonly<Record<string, unknown>>;
  const name = typeof fields['name'] === 'string' ? fields['name'] : '';
  return { node, kind: node.astNodeType, name, line: node.line, fields };
}

/** Whether the stack was too small: browsers call it by two names. */
function isOverflow(error: unknown): boolean {
  return error instanceof Error && ['RangeError', 'InternalError'].includes(error.name);
}

/** The parser throws plain objects too. */
function readMessage(error: unknown): string {
  const message = (error as { message?: unknown } | null)?.message;
  return typeof message === 'string' ? message : String(error);
}
