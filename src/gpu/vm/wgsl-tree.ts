/*
 * The syntax tree of a user's WGSL, in the few shapes that checks need.
 *
 * Leaves out: types and names' meanings, which the browser's compiler checks.
 */
import { Node, WgslParser, WgslScanner } from 'wgsl_reflect/wgsl_reflect.module.js';

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

/** Fields that lead up or sideways in the tree. */
const NOT_BELOW = new Set(['parent', 'calls', 'cachedReturnValue']);

/** The declarations of a text and its tokens, or why it is no WGSL. */
export function parseWgsl(
  text: string,
):
  | { readonly declarations: readonly Tree[]; readonly words: readonly Word[] }
  | (KernelProblem & { readonly column: number }) {
  let words: readonly Word[] = [];
  const parser = new WgslParser();
  try {
    words = new WgslScanner(text).scanTokens().map((token) => ({
      text: token.lexeme,
      line: token.line,
      start: token.start,
      end: token.end,
    }));
    const declarations = parser.parse(text).map((node) => tree(node));
    return { declarations, words };
  } catch (error) {
    const message = error instanceof Error ? error.message : readMessage(error);
    const line = Number(/Line: (\d+)/.exec(message)?.[1] ?? 1);
    const reason = message.replace(/\.*\s*Line: \d+\.?\s*$/, '');
    return { line, column: columnOf(text, words, line, placeOf(parser)), reason };
  }
}

/** The token that a parser looks at, which it does not tell: a column is all that hangs on it. */
function placeOf(parser: WgslParser): number {
  const place = (parser as unknown as { readonly _current?: unknown })._current;
  return typeof place === 'number' ? place : -1;
}

/** The column of a token if it is on this line, else that of the line's first. */
function columnOf(text: string, words: readonly Word[], line: number, place: number): number {
  const word = words[place]?.line === line ? words[place] : words.find((one) => one.line === line);
  return word === undefined ? 1 : word.start - text.lastIndexOf('\n', word.start - 1);
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

/** A node and all below it. */
export function everywhere(one: Tree): Tree[] {
  return [one, ...below(one).flatMap(everywhere)];
}

function tree(node: Node): Tree {
  const fields = node as unknown as Readonly<Record<string, unknown>>;
  const name = typeof fields['name'] === 'string' ? fields['name'] : '';
  return { node, kind: node.astNodeType, name, line: node.line, fields };
}

/** The parser throws plain objects too. */
function readMessage(error: unknown): string {
  const message = (error as { message?: unknown } | null)?.message;
  return typeof message === 'string' ? message : String(error);
}
