/*
 * Puts a check at the head of every loop of a kernel: a stopped invocation reads zeros, which might
 * keep a loop going for ever, and a kernel without end has to be ended. No line is added, so line
 * numbers stay.
 *
 * A loop with a barrier in it can't be left at its head, since others of the workgroup would wait
 * at the barrier: there the check only stops the invocation, and the barrier makes all leave. Where
 * a round may pass without the kernel's own barrier, or has `vm_uniform` alone, which nobody leaves
 * by, all meet at the head.
 *
 * A loop that only `return` ends may be a function's last statement: there the check returns, too,
 * since behind a `break` a value would be missing.
 *
 * Locking. None; pure. Source: our own.
 */
import { MEETINGS, writeGuards } from './guard-writes.ts';
import type { Insert } from './guard-writes.ts';
import type { Word } from './wgsl-tree.ts';

/** What is put in. */
const LEAVE = ' if (vm_tick()) { break; }';
const ONLY_STOP = ' _ = vm_tick();';
const MEET = ' _ = vm_tick(); if (!vm_barrier()) { return; }';
const returning = (type: string): string => ` if (vm_tick()) { return ${type}(); }`;

const LOOPS = new Set(['for', 'while', 'loop']);

/**
 * Adds the checks, those of guard-writes.ts too.
 *
 * @param text the kernel
 * @param words its tokens
 * @param edits what else is to be changed, all of it elsewhere
 * @param renames endings of names
 * @returns all changes, in order: `vm_tick` at the head of each loop's body, guarded writes, edits
 */
export function guardLoops(
  text: string,
  words: readonly Word[],
  edits: readonly Insert[] = [],
  renames: readonly Insert[] = [],
): Insert[] {
  // At one place a name's ending comes first.
  const inserts = notReplaced(renames, edits);
  let type = '';
  for (const [index, { text: keyword }] of words.entries()) {
    if (keyword === 'fn') type = returnType(text, words, index);
    if (!LOOPS.has(keyword)) continue;
    const brace = bodyOf(words, index);
    inserts.push({ at: words[brace]!.end, text: checkOf(words, index, brace, type) });
  }
  // At one place a loop's check comes first, and what ends a statement before what begins one.
  inserts.push(...writeGuards(words), ...edits);
  return inserts.sort((a, b) => a.at - b.at);
}

/** Endings of names that no edit takes the place of. */
function notReplaced(renames: readonly Insert[], edits: readonly Insert[]): Insert[] {
  const inOrder = edits.toSorted((a, b) => a.at - b.at);
  let next = 0;
  let end = -1;
  return renames.filter(({ at }) => {
    for (; next < inOrder.length && inOrder[next]!.at < at; next++) end = inOrder[next]!.to ?? end;
    return at > end;
  });
}

/** The text with its changes. */
export function guardedText(text: string, inserts: readonly Insert[]): string {
  let guarded = '';
  let from = 0;
  for (const { at, to = at, text: check } of inserts) {
    guarded += text.slice(from, at) + check;
    from = to;
  }
  return guarded + text.slice(from);
}

/** The check of a loop from its keyword and its body's brace on. */
function checkOf(words: readonly Word[], keyword: number, brace: number, type: string): string {
  const end = closing(words, brace);
  // What comes first in a `for` is done before the loop.
  const isFor = words[keyword]!.text === 'for';
  let ends = keyword;
  while (ends < brace && words[ends]!.text !== ';') ends += 1;
  const round = words.slice(isFor ? ends : keyword, end);
  if (round.some(({ text }) => MEETINGS.has(text))) {
    return meetsAlways(words.slice(brace + 1, end)) ? ONLY_STOP : MEET;
  }
  const isOpen = isFor ? words[ends + 1]?.text === ';' : words[keyword]!.text === 'loop';
  return isOpen && type !== '' ? returning(type) : LEAVE;
}

/** Whether each round of a body comes by a barrier of the kernel's that all leave by. */
function meetsAlways(body: readonly Word[]): boolean {
  let depth = 0;
  let meets = false;
  for (const [index, { text }] of body.entries()) {
    if (text === 'continue') return false;
    if (text === '{') depth += 1;
    if (text === '}') depth -= 1;
    const begins = depth === 0 && text === 'if' && /^[;{}]?$/.test(body[index - 1]?.text ?? '');
    if (!begins) continue;
    const [not, barrier] = body.slice(index + 1, index + 5).filter((one) => one.text !== '(');
    meets ||= not?.text === '!' && /^vm_(storage_)?barrier$/.test(barrier?.text ?? '');
  }
  return meets;
}

/** The text of a function's return type; empty where it returns nothing. */
function returnType(text: string, words: readonly Word[], keyword: number): string {
  let arrow = keyword;
  while (arrow < words.length && !/^(->|\{)$/.test(words[arrow]!.text)) arrow += 1;
  if (words[arrow]?.text !== '->') return '';
  let first = arrow + 1;
  // An attribute of the result, as no kernel needs one, has no arguments.
  while (words[first]?.text === '@') first += 2;
  let brace = first;
  while (brace < words.length && words[brace]!.text !== '{') brace += 1;
  const parts = words.slice(first, brace).map((word) => text.slice(word.start, word.end));
  return parts.join(' ');
}

/**
 * The column that a place of the guarded text had before; of what was put in, that of its place.
 *
 * @param line both from 1
 */
export function unguardedColumn(
  guarded: string,
  inserts: readonly Insert[],
  line: number,
  column: number,
): number {
  const start = guarded
    .split('\n')
    .slice(0, line - 1)
    .reduce((sum, { length }) => sum + length + 1, 0);
  return placeBefore(inserts, start + column - 1) - placeBefore(inserts, start) + 1;
}

/** Where in the kernel's own text a place of the guarded one was. */
function placeBefore(inserts: readonly Insert[], place: number): number {
  let grown = 0;
  for (const { at, to = at, text } of inserts) {
    if (place < at + grown) break;
    if (place < at + grown + text.length) return at;
    grown += text.length - (to - at);
  }
  return place - grown;
}

/** The brace that begins a loop's body: the first outside parentheses. */
function bodyOf(words: readonly Word[], keyword: number): number {
  let depth = 0;
  let index = keyword + 1;
  while (index < words.length) {
    const { text } = words[index]!;
    if (text === '(') depth += 1;
    if (text === ')') depth -= 1;
    if (text === '{' && depth === 0) return index;
    index += 1;
  }
  return words.length - 1;
}

function closing(words: readonly Word[], brace: number): number {
  let depth = 0;
  for (let index = brace; index < words.length; index++) {
    const { text } = words[index]!;
    if (text === '{') depth += 1;
    if (text === '}') depth -= 1;
    if (depth === 0) return index;
  }
  return words.length;
}
