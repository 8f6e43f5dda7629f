/*
 * Atomics on workgroup memory whose results are used. A replay runs a workgroup again, and what an
 * atomic gives then hangs on who comes first. So each access to such a variable is an operation:
 * its result is logged, a replay takes it from the log and does nothing; the variables are put
 * aside when their workgroup stops, and put back before it is replayed. The prelude's part of this
 * is shaders/vm/shared.wgsl.
 *
 * A call `atomicAdd(&n[i], 1u)` becomes `vm_wg_n_add(VmWord(i), 1u)`, whose text is made here: it
 * needs no pointers as parameters, which not every browser lets lead into arrays. Lines stay.
 *
 * Leaves out: atomics within structures or arrays of arrays, and through pointers: refused where a
 * result other than that of `atomicLoad` is used, else left as they are. Who reads them without a
 * barrier behind the last change then has no exactly-once.
 *
 * Locking. None; pure. Source: our own.
 */
import type { Insert } from './guard-writes.ts';
import type { KernelProblem, Word } from './wgsl-tree.ts';

/** What is to be changed in a kernel's text, and what goes with it. */
export interface SharedAtomics {
  /** Words of all variables together. */
  readonly words: number;
  readonly edits: readonly Insert[];
  /** Functions that the changed calls call, and those that put the variables aside and back. */
  readonly text: string;
}

/** A workgroup variable of atomics. */
interface Variable {
  readonly name: string;
  readonly type: 'u32' | 'i32';
  /** Elements; undefined for one that is no array. */
  readonly count: number | undefined;
  /** Where its words are among those of all. */
  readonly at: number;
}

/** A call that a kernel makes. */
interface Call {
  readonly name: string;
  readonly line: number;
  /** Numbers of its first token and of those of its variable, from `&` on; -1 for another form. */
  readonly first: number;
  readonly ampersand: number;
  /** The bracket behind the index; -1 for none. */
  readonly bracket: number;
  readonly variable: string;
  readonly isUsed: boolean;
}

const FUNCTIONS: ReadonlyMap<string, string> = new Map([
  ...['Add', 'Sub', 'Min', 'Max', 'And', 'Or', 'Xor', 'Exchange', 'Load', 'Store'].map(
    (name): [string, string] => [`atomic${name}`, name.toLowerCase()],
  ),
  ['atomicCompareExchangeWeak', 'cas'],
]);
/** What calls are changed to. */
const CHANGED = new RegExp(
  `\\bvm_wg_\\w+?_(${[...FUNCTIONS.values()].join('|')})(?:_only)?\\b`,
  'g',
);
/** Most words: no device has more workgroup memory. */
const MOST_WORDS = 16_384;

/** Whether a call of this name gives a value that a log has to keep. */
export function givesValue(name: string, isStatement: boolean): boolean {
  return FUNCTIONS.has(name) && name !== 'atomicStore' && !isStatement;
}

/** A compiler's message with the names that the kernel has. */
export function asWritten(message: string): string {
  return message.replaceAll(CHANGED, (_, does: string) => builtinOf(does));
}

function builtinOf(does: string): string {
  return [...FUNCTIONS].find(([, short]) => short === does)![0];
}

/**
 * What the atomics of a kernel need.
 *
 * @param words its tokens
 * @returns null where no result is used; problems where it can't be done
 */
export function sharedAtomics(
  words: readonly Word[],
): SharedAtomics | null | readonly KernelProblem[] {
  const calls = words.flatMap((_, index) => callAt(words, index));
  const used = calls.filter(({ isUsed }) => isUsed);
  if (used.length === 0) return null;
  const problems: KernelProblem[] = [];
  const variables = variablesOf(words, problems);
  const known = new Map(variables.map((one) => [one.name, one]));
  for (const { name, line, variable } of calls) {
    if (known.has(variable) || problems.length > 0) continue;
    const reason = `write ${name}(&name, …) or ${name}(&name[index], …), of a workgroup variable`;
    problems.push({ line, reason: `${reason}: a result of it is used` });
  }
  const last = variables.at(-1);
  const total = last === undefined ? 0 : last.at + (last.count ?? 1);
  if (problems.length > 0 || total > MOST_WORDS) {
    // Loads alone were always allowed.
    if (used.every(({ name }) => name === 'atomicLoad')) return null;
    const reason = `more than ${MOST_WORDS} words of atomics`;
    return problems.length > 0 ? problems : [{ line: used[0]!.line, reason }];
  }
  const functions = new Map<string, string>();
  const edits = calls.flatMap((call) => {
    const one = known.get(call.variable)!;
    const { name, text } = functionOf(one, FUNCTIONS.get(call.name)!, call.isUsed);
    functions.set(name, text);
    return editsOf(words, call, name);
  });
  return { words: total, edits, text: textOf(variables, [...functions.values()]) };
}

function callAt(words: readonly Word[], first: number): Call[] {
  const { text: name, line } = words[first]!;
  if (!FUNCTIONS.has(name) || words[first + 1]?.text !== '(') return [];
  const before = words[first - 1]?.text ?? '';
  if (before === 'fn') return [];
  const isStatement = before === '{' || before === '}' || before === ';';
  const none = { name, line, first, ampersand: -1, bracket: -1, variable: '' };
  const call = { ...none, isUsed: givesValue(name, isStatement) };
  const ampersand = first + 2;
  if (words[ampersand]?.text !== '&') return [call];
  let end = ampersand + 2;
  let bracket = -1;
  if (words[end]?.text === '[') {
    for (let depth = 0; end < words.length; end++) {
      const { text } = words[end]!;
      if (text === '[' || text === '(') depth += 1;
      if (text === ']' || text === ')') depth -= 1;
      if (depth === 0) break;
    }
    bracket = end;
    end += 1;
  }
  const behind = words[end]?.text;
  if (behind !== ',' && behind !== ')') return [call];
  const variable = words[ampersand + 1]!.text;
  return [{ ...call, ampersand, bracket, variable }];
}

/** All workgroup variables of atomics; those of another form are problems. */
function variablesOf(words: readonly Word[], problems: KernelProblem[]): Variable[] {
  const found: Variable[] = [];
  const structures = new Set<string>();
  let at = 0;
  for (const [index, { text, line }] of words.entries()) {
    if (text === 'struct' || text === 'alias') structures.add(words[index + 1]?.text ?? '');
    if (text !== 'var' || words[index + 2]?.text !== 'workgroup') continue;
    const end = words.findIndex((word, place) => place > index && word.text === ';');
    const type = words.slice(index + 6, end).map((word) => word.text);
    const name = words[index + 4]?.text ?? '';
    const form = formOf(words, type);
    if (form !== undefined) {
      found.push({ name, ...form, at });
      at += form.count ?? 1;
    } else if (type.some((word) => word === 'atomic' || structures.has(word))) {
      const wanted = 'atomic<u32> or array<atomic<u32>, N>, N being a number or a constant';
      problems.push({ line, reason: `${name}: atomics whose results are used are ${wanted}` });
    }
  }
  return found;
}

function formOf(
  words: readonly Word[],
  type: readonly string[],
): Pick<Variable, 'type' | 'count'> | undefined {
  // Brackets that close may come as one token.
  const match = /^(array<)?atomic<([ui]32)>(?:,([\w]+),?>)?$/.exec(type.join(''));
  if (match === null || (match[1] === undefined) !== (match[3] === undefined)) return undefined;
  const kind = match[2] as Variable['type'];
  if (match[3] === undefined) return { type: kind, count: undefined };
  const count = numberOf(match[3]) ?? constantOf(words, match[3]);
  return count === undefined || count < 1 ? undefined : { type: kind, count };
}

function numberOf(text: string): number | undefined {
  if (!/^(?:0x[\da-f]+|\d+)[ui]?$/i.test(text)) return undefined;
  return Number(text.replace(/[ui]$/, ''));
}

/** The number that a constant is: `const N = 64u;`. */
function constantOf(words: readonly Word[], name: string): number | undefined {
  const index = words.findIndex(({ text }, at) => text === name && words[at - 1]?.text === 'const');
  if (index < 0) return undefined;
  const isTyped = words[index + 1]?.text === ':';
  const equals = isTyped ? index + 3 : index + 1;
  if (words[equals]?.text !== '=' || words[equals + 2]?.text !== ';') return undefined;
  return numberOf(words[equals + 1]!.text);
}

/** `atomicAdd(&n[i], 1u)` becomes `vm_wg_n_add(VmWord(i), 1u)`; for `n` alone the index is 0. */
function editsOf(words: readonly Word[], call: Call, name: string): Insert[] {
  const { start, end } = words[call.first]!;
  const place = words[call.ampersand]!;
  const called = { at: start, to: end, text: name };
  if (call.bracket < 0) {
    return [called, { at: place.start, to: words[call.ampersand + 1]!.end, text: '0u' }];
  }
  const [open, close] = [words[call.ampersand + 2]!, words[call.bracket]!];
  return [
    called,
    { at: place.start, to: open.end, text: 'VmWord(' },
    { at: close.start, to: close.end, text: ')' },
  ];
}

function functionOf(
  { name: variable, type, count, at }: Variable,
  does: string,
  isUsed: boolean,
): { readonly name: string; readonly text: string } {
  const place = count === undefined ? `&${variable}` : `&${variable}[vm_i]`;
  const builtin = builtinOf(does);
  const name = `vm_wg_${variable}_${does}${isUsed ? '' : '_only'}`;
  const id = `VM_WG_IDS + ${at}u + vm_i`;
  const replay = `if (vm_replaying()) {`;
  if (does === 'cas') {
    const result = `VmSwapped_${type}`;
    const text = `
fn ${name}(vm_i: u32, vm_compare: ${type}, vm_value: ${type}) -> ${result} {
  var vm_old = ${type}(0);
  ${replay}
    vm_old = bitcast<${type}>(vm_recall());
    vm_count(${id}, true);
  } else if (vm_share(${id}, 1u)) {
    var vm_settled = false;
    loop {
      if (vm_settled) { break; }
      let vm_seen = atomicCompareExchangeWeak(${place}, vm_compare, vm_value);
      vm_old = vm_seen.old_value;
      vm_settled = vm_seen.exchanged || vm_old != vm_compare;
    }
    vm_remember(bitcast<u32>(vm_old));
  }
  return ${result}(vm_old, vm_old == vm_compare && vm_never == 0u);
}`;
    return { name, text };
  }
  const parameter = does === 'load' ? '' : `, vm_value: ${type}`;
  const call = `${builtin}(${place}${does === 'load' ? '' : ', vm_value'})`;
  const text = isUsed
    ? `
fn ${name}(vm_i: u32${parameter}) -> ${type} {
  var vm_old = ${type}(0);
  ${replay}
    vm_old = bitcast<${type}>(vm_recall());
    vm_count(${id}, true);
  } else if (vm_share(${id}, 1u)) {
    vm_old = ${call};
    vm_remember(bitcast<u32>(vm_old));
  }
  return vm_old;
}`
    : `
fn ${name}(vm_i: u32${parameter}) {
  ${replay}
    vm_count(${id}, true);
  } else if (vm_share(${id}, 0u)) {
    ${does === 'load' ? `_ = ${call};` : `${call};`}
  }
}`;
  return { name, text };
}

function textOf(variables: readonly Variable[], functions: readonly string[]): string {
  const each = (write: (one: Variable, place: string, memo: string) => string): string =>
    variables
      .map((one) => {
        const memo = `vm_memo[vm_shared_at() + ${one.at}u + vm_i]`;
        const place = one.count === undefined ? `&${one.name}` : `&${one.name}[vm_i]`;
        const head = `for (var vm_i = vm_lane; vm_i < ${one.count ?? 1}u; vm_i += VM_LANES)`;
        return `  ${head} { ${write(one, place, memo)} }`;
      })
      .join('\n');
  const swapped = (['u32', 'i32'] as const).map(
    (type) => `struct VmSwapped_${type} { old_value: ${type}, exchanged: bool }`,
  );
  return `
${swapped.join('\n')}
${functions.join('\n')}

fn vm_put_aside() {
${each((_, place, memo) => `${memo} = select(0u, bitcast<u32>(atomicLoad(${place})), VM_LOG);`)}
}

fn vm_put_back() {
${each(({ type }, place, memo) => `atomicStore(${place}, bitcast<${type}>(${memo}));`)}
}
`;
}
