/*
 * A kernel that tells what it touches, which no GPU does: its calls are replaced by ones that write
 * a page's number and the kind of the access into a log beside its memory before they do the same.
 * Run for real, that is what each invocation touches, in its order.
 *
 * A log's first word is how far it was at the last checkpoint: an invocation that goes on from one
 * has forgotten that.
 *
 * Locking. None; pure. Source: our own.
 */
import {
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_PREFETCH_WRITE,
  ACCESS_READ,
  ACCESS_WRITE,
} from '../../engine/vm/abi.ts';
import { plainBlanks, withoutComments } from '../../engine/vm/kernel-text.ts';
import { REPORT_BARRIER } from '../../engine/vm/vm-engine.ts';
import type { Word } from './wgsl-tree.ts';

type Signature = readonly [access: number, parameters: readonly string[], result: string | null];

const VALUES = { '': 'u32', _f32: 'f32', _byte: 'u32', _vec4: 'vec4u' } as const;
const REDUCTIONS = ['add', 'sub', 'min', 'max', 'and', 'or', 'xor'];

/** Calls that touch memory, without their prefix. */
const CALLS: ReadonlyMap<string, Signature> = new Map<string, Signature>([
  ...Object.entries(VALUES).flatMap(([kind, type]): [string, Signature][] => [
    [`load${kind}`, [ACCESS_READ, [], type]],
    [`store${kind}`, [ACCESS_WRITE, [type], null]],
  ]),
  ...REDUCTIONS.flatMap((name): [string, Signature][] => [
    [`atomic_${name}`, [ACCESS_ATOMIC, ['u32'], 'u32']],
    [`reduce_${name}`, [ACCESS_ATOMIC, ['u32'], null]],
  ]),
  ['atomic_exchange', [ACCESS_ATOMIC, ['u32'], 'u32']],
  ['atomic_cas', [ACCESS_ATOMIC, ['u32', 'u32'], 'u32']],
  ['prefetch', [ACCESS_PREFETCH, [], null]],
  ['prefetch_write', [ACCESS_PREFETCH_WRITE, [], null]],
]);

/** Where the logs of a recording kernel are. */
export interface RecordingLogs {
  /** The argument that is their address; argument 0 is that of the memory, whose pages count. */
  readonly argument: number;
  /** Words of each invocation's log. */
  readonly words: number;
  /** Invocations of a workgroup. */
  readonly lanes: number;
}

/** A change of the text: something else in the place of a stretch, which may be empty. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Why a kernel can't be recorded. */
export interface NoRecording {
  readonly reason: string;
  /** What the check of kernels refuses, by line. */
  readonly problems: readonly {
    readonly line: number;
    readonly column: number;
    readonly reason: string;
  }[];
}

/**
 * A kernel that writes down what it touches. Lines keep their numbers.
 *
 * @returns its text, or why there is none: whatever the check of kernels refuses, the first of it
 * in words and all of it by line
 *
 * Context: pure; the parser is loaded when it is first needed. Source: our own.
 */
export async function recordingKernel(
  wgsl: string,
  logs: RecordingLogs,
): Promise<{ readonly wgsl: string } | NoRecording> {
  const [{ checkKernel, isRefused }, { parseWgsl }] = await Promise.all([
    import('./check-kernel.ts'),
    import('./wgsl-tree.ts'),
  ]);
  const checked = checkKernel(wgsl);
  const problems = isRefused(checked) ? checked : [];
  const [problem] = problems;
  if (problem !== undefined) return { reason: `line ${problem.line}: ${problem.reason}`, problems };
  const code = withoutComments(plainBlanks(wgsl)) as string;
  const parsed = parseWgsl(code);
  if ('reason' in parsed) return { reason: parsed.reason, problems };
  const { words } = parsed;
  const own = unusedPrefix(words);
  const used = new Set<string>();
  const edits = words.flatMap((_, index) => editsAt(words, index, own, logs, used));
  const body = applied(code, edits);
  const notes = NOTES.replaceAll('WORDS', `${logs.words}u`);
  const saved = words.some(({ text }) => text === 'vm_restore') ? CHECKPOINTS : '';
  const added = `${notes}${saved}${[...used].map(wrapper).join('')}`;
  return { wgsl: `${body}\n${added.replaceAll('rec_', own)}` };
}

/** The beginning of names that no name of the kernel has. */
function unusedPrefix(words: readonly Word[]): string {
  for (let number = 0; ; number++) {
    const prefix = number === 0 ? 'rec_' : `rec${number}_`;
    if (!words.some(({ text }) => text.startsWith(prefix))) return prefix;
  }
}

/** What a token has changed. The check of kernels says that what begins with `vm_` is a call. */
function editsAt(
  words: readonly Word[],
  index: number,
  own: string,
  { argument, words: logWords, lanes }: RecordingLogs,
  used: Set<string>,
): Edit[] {
  const { text, start, end } = words[index]!;
  const put = (at: number, what: string): Edit => ({ start: at, end: at, text: what });
  if (text === 'kernel' && words[index - 1]?.text === 'fn') {
    const close = closing(words, index + 1);
    const [wg, lid] = parametersOf(words, index + 1, close);
    const place = `vm_arg(${argument}u) + (${wg} * ${lanes}u + ${lid}) * ${logWords * 4}u;`;
    return [put(words[close + 1]!.end, ` ${own}log = ${place}`)];
  }
  if (!text.startsWith('vm_')) return [];
  const name = text.slice(3);
  if (CALLS.has(name)) {
    used.add(name);
    return [{ start, end, text: own + name }];
  }
  if (name === 'checkpoint') return [{ start, end, text: `${own}checkpoint` }];
  if (name === 'restore') {
    const behind = words.findIndex((word, at) => at > index && word.text === ';');
    return [put(words[behind]!.end, ` ${own}resume();`)];
  }
  if (name === 'uniform') {
    const close = words[closing(words, index + 1)]!;
    return [put(words[index + 1]!.end, `${own}met(`), put(close.start, ')')];
  }
  if (name !== 'barrier' && name !== 'storage_barrier') return [];
  return [put(words[statementOf(words, index)]!.start, `${own}meet(); `)];
}

/** The statement `if (!vm_barrier())`, where it begins: attributes may stand before it. */
function statementOf(words: readonly Word[], barrier: number): number {
  let at = barrier;
  while (words[at]!.text !== 'if') at -= 1;
  for (;;) {
    let before = at - 1;
    if (words[before]?.text === ')') before = opening(words, before) - 1;
    if (words[before - 1]?.text !== '@') return at;
    at = before - 1;
  }
}

/** The names of two parameters: each stands before a colon, behind its attributes. */
function parametersOf(words: readonly Word[], open: number, close: number): string[] {
  return words
    .slice(open, close)
    .flatMap(({ text }, at) => (text === ':' ? [words[open + at - 1]!.text] : []));
}

/** The parenthesis that closes the one at `open`. */
function closing(words: readonly Word[], open: number): number {
  let depth = 0;
  for (let at = open; ; at++) {
    if (words[at]!.text === '(') depth += 1;
    if (words[at]!.text === ')') depth -= 1;
    if (depth === 0) return at;
  }
}

/** The parenthesis that is closed at `close`. */
function opening(words: readonly Word[], close: number): number {
  let depth = 0;
  for (let at = close; ; at--) {
    if (words[at]!.text === ')') depth += 1;
    if (words[at]!.text === '(') depth -= 1;
    if (depth === 0) return at;
  }
}

function applied(text: string, edits: readonly Edit[]): string {
  let made = '';
  let from = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    made += text.slice(from, edit.start) + edit.text;
    from = edit.end;
  }
  return made + text.slice(from);
}

const NOTES = `
var<private> rec_log: u32;
var<private> rec_count: u32;
var<private> rec_last: u32;

fn rec_write(what: u32) {
  if (what == rec_last) { return; }
  rec_last = what;
  rec_count += 1u;
  if (rec_count < WORDS) {
    vm_store(rec_log + rec_count * 4u, what);
  }
}

fn rec_note(va: u32, access: u32) {
  rec_write((((va >> 12u) - (vm_arg(0u) >> 12u)) << 3u) + access + 1u);
}

fn rec_meet() {
  rec_last = 0u;
  rec_write(${REPORT_BARRIER + 1}u);
  rec_last = 0u;
}

fn rec_met(value: u32) -> u32 {
  rec_meet();
  return value;
}
`;

/** Both ways to a place behind a checkpoint begin with the same operation. */
const CHECKPOINTS = `
fn rec_resume() {
  rec_count = vm_load(rec_log);
  rec_last = 0u;
}

fn rec_checkpoint(state: vec4u) {
  vm_store(rec_log, rec_count);
  vm_checkpoint(state);
  rec_resume();
}
`;

function wrapper(name: string): string {
  const [access, parameters, result] = CALLS.get(name)!;
  const names = parameters.map((_, i) => `v${i}`);
  const types = parameters.map((type, i) => `, v${i}: ${type}`).join('');
  const call = `vm_${name}(${['va', ...names].join(', ')});`;
  const arrow = result === null ? '' : ` -> ${result}`;
  return `
fn rec_${name}(va: u32${types})${arrow} {
  rec_note(va, ${access}u);
  ${result === null ? '' : 'return '}${call}
}
`;
}
