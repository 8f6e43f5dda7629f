/*
 * Checks a user's kernel before any of it reaches the compiler: what a kernel may declare, what it
 * may call, and shapes that a replay could not repeat. Each refusal names its line.
 *
 * Promises. A kernel that passes declares no resource and no entry point, uses of the prelude only
 * what is public, and can therefore reach memory through the device page table alone, and neither
 * forge a fault record nor touch another invocation's log. Whether it compiles is the compiler's
 * business.
 *
 * Locking. None; pure. Source: our own.
 */
import type { VmProblem } from '../../engine/vm/vm-engine.ts';
import { callOrder, circleProblem } from './call-graph.ts';
import type { EffectOrder } from './effect-order.ts';
import { effectOrder } from './effect-order.ts';
import { guardedText, guardLoops } from './guard-loops.ts';
import { unguardable } from './guard-writes.ts';
import type { Insert } from './guard-writes.ts';
import { plainBlanks } from '../../engine/vm/kernel-text.ts';
import { PUBLIC_LIST, PUBLIC_NAMES, REFUSED_BUILTINS, REFUSED_PREFIXES } from './public-names.ts';
import { asWritten as builtinsAsWritten, sharedAtomics } from './shared-atomics.ts';
import type { SharedAtomics } from './shared-atomics.ts';
import type { KernelProblem, Tree, Word } from './wgsl-tree.ts';
import { everywhere, nodesIn, parseWgsl, withColumns } from './wgsl-tree.ts';

/** A kernel that passed. */
export interface CheckedKernel {
  /** Its text with guarded loops; line numbers are those of the original. */
  readonly guarded: string;
  /** What was changed for that, in order. */
  readonly changes: readonly Insert[];
  /** A compiler's message with the names that the kernel has. */
  readonly asWritten: (message: string) => string;
  /** Lines that it has. */
  readonly lines: number;
  readonly order: EffectOrder;
  /** Atomics on workgroup memory whose results are used; null for none. */
  readonly shared: SharedAtomics | null;
}

/** Longest kernel text, in characters. */
const MAX_TEXT = 200_000;
/** Most problems of a kernel that are told: whoever has more has one reason for them. */
const MAX_PROBLEMS = 100;

/**
 * Checks a kernel and prepares it.
 *
 * @param text WGSL with a function `kernel(wg: u32, lid: u32)`
 * @returns the kernel, or everything that is wrong with it, by line
 *
 * Context: pure. Source: our own.
 */
export function checkKernel(text: string): CheckedKernel | readonly VmProblem[] {
  if (text.length > MAX_TEXT) {
    return [{ line: 1, column: 1, reason: `a kernel has at most ${MAX_TEXT} characters` }];
  }
  const plain = plainBlanks(text);
  const parsed = parseWgsl(plain);
  if ('reason' in parsed) return [parsed];
  const { declarations, words, renames } = parsed;
  const functions = new Map(
    declarations.filter(({ kind }) => kind === 'function').map((one) => [one.name, one]),
  );
  const calls = callOrder(functions);
  const shared = sharedAtomics(words);
  const problems = [
    ...declarations.flatMap(checkDeclaration),
    ...(isProblems(shared) ? shared : shared === null ? [] : withCheckpoints(words)),
    ...checkWords(words, callable(declarations)),
    ...calls.circles.map(circleProblem),
    ...checkShape(declarations),
    ...unguardable(words).map(headWrite),
  ];
  if (isProblems(shared) || problems.length > 0) {
    const first = problems.sort((a, b) => a.line - b.line).slice(0, MAX_PROBLEMS);
    return withColumns(plain, words, first)
      .map((one) => ({ ...one, reason: parsed.asWritten(one.reason) }))
      .sort((a, b) => a.line - b.line || a.column - b.column);
  }
  const lines = plain.split('\n').length;
  const changes = guardLoops(plain, words, shared?.edits, renames);
  const guarded = guardedText(plain, changes);
  const order = effectOrder(functions, calls.names, shared !== null);
  const asWritten = (message: string): string => parsed.asWritten(builtinsAsWritten(message));
  return { guarded, changes, asWritten, lines, order, shared };
}

/** Names that mean the kernel's own where they are called. */
function callable(declarations: readonly Tree[]): ReadonlySet<string> {
  const kinds = ['function', 'struct', 'alias'];
  return new Set(declarations.filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name));
}

function isProblems(
  found: SharedAtomics | null | readonly KernelProblem[],
): found is readonly KernelProblem[] {
  return Array.isArray(found);
}

/** A replay from a checkpoint is one invocation's; with shared atomics it is a workgroup's. */
function withCheckpoints(words: readonly Word[]): KernelProblem[] {
  const restore = words.find(({ text }) => text === 'vm_restore');
  if (restore === undefined) return [];
  const reason = 'vm_restore can not be used with results of atomics on workgroup memory';
  return [{ line: restore.line, reason }];
}

/** Whether `checkKernel` refused. */
export function isRefused(
  answer: CheckedKernel | readonly VmProblem[],
): answer is readonly VmProblem[] {
  return Array.isArray(answer);
}

function checkDeclaration(one: Tree): KernelProblem[] {
  const refuse = (reason: string): KernelProblem[] => [{ line: one.line, reason }];
  switch (one.kind) {
    case 'function': {
      const attributes = nodesIn(one.fields['attributes']);
      const entry = attributes.find(({ name }) => ['compute', 'vertex', 'fragment'].includes(name));
      if (entry !== undefined) return refuse(`${one.name} is an entry point; write fn kernel`);
      return [];
    }
    case 'var': {
      const { storage } = one.fields;
      const attributes = nodesIn(one.fields['attributes']);
      if (attributes.length > 0 || (storage !== 'workgroup' && storage !== 'private')) {
        return refuse(`${one.name} is a resource; memory is reached by vm_load and vm_store only`);
      }
      return [];
    }
    case 'override':
      return refuse(`${one.name} is an override; pass it as an argument (vm_arg)`);
    case 'enable':
    case 'requires':
    case 'diagnostic':
      return refuse(`the directive ${one.kind} is not allowed in a kernel`);
    default:
      return [];
  }
}

/** The first of the words that must not be there. */
function checkWords(words: readonly Word[], own: ReadonlySet<string>): KernelProblem[] {
  const problems: KernelProblem[] = [];
  for (let index = 0; index < words.length && problems.length < MAX_PROBLEMS; index++) {
    problems.push(...checkWord(words, index, own));
  }
  return problems;
}

/** Names: the prelude's own are reserved, some built-ins would break a replay. */
function checkWord(
  words: readonly Word[],
  index: number,
  own: ReadonlySet<string>,
): KernelProblem[] {
  const { text, line } = words[index]!;
  const called = words[index + 1]?.text === '(';
  const declared = /^(fn|var|let|const|struct|alias)$/.test(words[index - 1]?.text ?? '');
  const refuse = (reason: string): KernelProblem[] => [{ line, reason }];
  if (/^vm_/i.test(text) || /^Vm[A-Z]/.test(text)) {
    if (!PUBLIC_NAMES.has(text)) return refuse(reserved(text));
    if (declared || !called) return refuse(`${text} can only be called: it is the prelude's`);
    return [];
  }
  if (!called || declared || own.has(text)) return [];
  const instead = REFUSED_BUILTINS.get(text);
  if (instead !== undefined) return refuse(`${text} is not allowed: ${instead}`);
  if (REFUSED_PREFIXES.some((prefix) => text.startsWith(prefix)) && /^[a-z]+[A-Z]/.test(text)) {
    return refuse(`${text} is not allowed: it would mix in invocations that stopped`);
  }
  return [];
}

/** Why a name with our prefix is refused; a slip of the pen gets the name that was meant. */
function reserved(text: string): string {
  const plain = text
    .replace(/_[ui](nt)?(32)?$/, '')
    .replace('read', 'load')
    .replace('write', 'store');
  if (PUBLIC_NAMES.has(plain))
    return `${text} belongs to the prelude or is not there; is ${plain} meant?`;
  const distances = [...PUBLIC_NAMES.keys()].map(
    (name) => [editDistance(text, name), name] as const,
  );
  const [distance, name] = distances.reduce((a, b) => (b[0] < a[0] ? b : a));
  const others = `; give a name of your own another beginning; kernels may call ${PUBLIC_LIST}`;
  const meant = distance <= 2 ? `; is ${name} meant?` : others;
  return `${text} belongs to the prelude or is not there${meant}`;
}

/** Characters to put in, take out or change until `a` is `b`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** What a kernel is, with what its parameters are. */
const KERNEL_FUNCTION =
  'fn kernel(wg: u32, lid: u32): numbers of the workgroup and of the invocation in it';

/** The kernel function itself, and barriers. */
function checkShape(declarations: readonly Tree[]): KernelProblem[] {
  const functions = declarations.filter(({ kind }) => kind === 'function');
  const kernel = functions.find(({ name }) => name === 'kernel');
  if (kernel === undefined) {
    return [{ line: 1, reason: `there is no ${KERNEL_FUNCTION}` }];
  }
  const problems: KernelProblem[] = [];
  const types = nodesIn(kernel.fields['args']).map(
    (one) => nodesIn(one.fields['type'])[0]?.name ?? '',
  );
  if (types.join() !== 'u32,u32' || kernel.fields['returnType'] !== null) {
    problems.push({ line: kernel.line, reason: `it must be ${KERNEL_FUNCTION}` });
  }
  for (const one of functions) {
    const nodes = everywhere(one);
    const guarded = new Set(nodes.flatMap(barrierOfGuard));
    for (const node of nodes) {
      problems.push(...checkCall(node, one === kernel, guarded));
    }
  }
  problems.push(...checkCheckpoints(functions, kernel));
  return problems;
}

/** Writes are guarded one by one (guard-writes.ts), which a loop's head has no room for. */
function headWrite({ text, line }: Word): KernelProblem {
  const reason = `${text} is workgroup memory: write it in the loop, not between its parentheses`;
  return { line, reason };
}

/** A replay begins at `vm_restore`: what comes before it must not be an operation. */
function checkCheckpoints(functions: readonly Tree[], kernel: Tree): KernelProblem[] {
  const calls = functions.flatMap((one) => everywhere(one)).filter(isPreludeCall);
  const of = (name: string): Tree[] => calls.filter((one) => one.name === name);
  const restores = of('vm_restore');
  const checkpoint = of('vm_checkpoint')[0];
  const refuse = (line: number, reason: string): KernelProblem[] => [{ line, reason }];
  if (checkpoint !== undefined && restores.length === 0) {
    return refuse(checkpoint.line, 'vm_checkpoint needs a vm_restore, where a replay begins');
  }
  const [restore, second] = restores;
  if (restore === undefined) return [];
  if (second !== undefined) return refuse(second.line, 'vm_restore may be called once');
  const meets = calls.find(({ name }) => PUBLIC_NAMES.get(name)?.does === 'meet');
  if (meets !== undefined) {
    return refuse(restore.line, 'vm_restore can not be used in a kernel with barriers');
  }
  const own = new Set(functions.map(({ name }) => name));
  // A function of the kernel's own may hold an operation.
  const operates = (one: Tree): boolean =>
    (isPreludeCall(one) && one.name !== 'vm_arg') ||
    ((one.kind === 'call' || one.kind === 'callExpr') && own.has(one.name));
  const first = nodesIn(kernel.fields['body'])
    .map((one) => ({ kind: one.kind, calls: everywhere(one).filter(operates) }))
    .find((one) => one.calls.length > 0);
  const isFirst = first?.calls.length === 1 && first.calls[0]!.name === 'vm_restore';
  const isPlain = first?.kind === 'var' || first?.kind === 'let' || first?.kind === 'assign';
  if (isFirst && isPlain) return [];
  return refuse(restore.line, 'vm_restore must be the first operation of fn kernel, by itself');
}

function isPreludeCall({ kind, name }: Tree): boolean {
  return (kind === 'call' || kind === 'callExpr') && PUBLIC_NAMES.has(name);
}

function checkCall(node: Tree, inKernel: boolean, guarded: ReadonlySet<object>): KernelProblem[] {
  if (node.kind !== 'call' && node.kind !== 'callExpr') return [];
  const refuse = (reason: string): KernelProblem[] => [{ line: node.line, reason }];
  if (PUBLIC_NAMES.get(node.name)?.does === 'meet') {
    if (!inKernel) return refuse(`${node.name} may be called in fn kernel only`);
    if (node.name !== 'vm_uniform' && !guarded.has(node.node)) {
      return refuse(`write if (!${node.name}()) { return; }: who stopped must not go on behind it`);
    }
  }
  return [];
}

/** The barrier of `if (!vm_barrier()) { return; }`. */
function barrierOfGuard(one: Tree): object[] {
  if (one.kind !== 'if') return [];
  const condition = nodesIn(one.fields['condition'])[0];
  const body = nodesIn(one.fields['body']);
  if (condition?.kind !== 'unaryOp' || condition.fields['operator'] !== '!') return [];
  const call = nodesIn(condition.fields['right'])[0];
  const leaves = body.length === 1 && body[0]!.kind === 'return';
  return call?.kind === 'callExpr' && leaves ? [call.node] : [];
}
