/*
 * Puts a check at the head of every loop of a kernel: a stopped invocation reads zeros, which might
 * keep a loop going for ever, and a kernel without end has to be ended. No line is added, so line
 * numbers stay.
 *
 * A loop with a barrier in it can't be left at its head, since others of the workgroup would wait
 * at the barrier: there the check only stops the invocation, and the barrier makes all leave.
 *
 * Locking. None; pure. Source: our own.
 */
import { WRITE_GUARDS, writeGuards } from './guard-writes.ts';
import type { Insert } from './guard-writes.ts';
import type { Word } from './wgsl-tree.ts';

/** What is put in. */
const LEAVE = ' if (vm_tick()) { break; }';
const ONLY_STOP = ' _ = vm_tick();';

const LOOPS = new Set(['for', 'while', 'loop']);
const MEETINGS = new Set(['vm_barrier', 'vm_storage_barrier', 'vm_uniform']);

/**
 * Adds the checks, those of guard-writes.ts too.
 *
 * @param text the kernel
 * @param words its tokens
 * @param edits what else is to be changed, all of it elsewhere
 * @returns the text with `vm_tick` at the head of each loop's body, and guarded writes
 */
export function guardLoops(
  text: string,
  words: readonly Word[],
  edits: readonly Insert[] = [],
): string {
  const inserts: Insert[] = [];
  for (const [index, { text: keyword }] of words.entries()) {
    if (!LOOPS.has(keyword)) continue;
    const brace = bodyOf(words, index);
    const end = closing(words, brace);
    const meets = words.slice(brace, end).some((word) => MEETINGS.has(word.text));
    const check = meets ? ONLY_STOP : LEAVE;
    inserts.push({ at: words[brace]!.end, text: check });
  }
  // At one place a loop's check comes first, and what ends a statement before what begins one.
  inserts.push(...writeGuards(words), ...edits);
  inserts.sort((a, b) => a.at - b.at);
  let guarded = '';
  let from = 0;
  for (const { at, to = at, text: check } of inserts) {
    guarded += text.slice(from, at) + check;
    from = to;
  }
  return guarded + text.slice(from);
}

/** The column that a place in a guarded line had before. */
export function unguardedColumn(line: string, column: number): number {
  let before = line.slice(0, column - 1);
  for (const check of [LEAVE, ONLY_STOP, ...WRITE_GUARDS]) before = before.replaceAll(check, '');
  return before.length + 1;
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
