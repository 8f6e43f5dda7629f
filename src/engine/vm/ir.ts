/*
 * A small language for kernels over virtual memory. A kernel written in it prints as WGSL
 * (print-wgsl.ts) and runs in JS (lane-code.ts), so that what a GPU did can be compared.
 *
 * Rules. Operations on memory are statements, so their order is written down. Variables are
 * declared by their first `set` or by being a result, in the kernel's outermost scope. Values are
 * u32, f32 or four u32; `bool` exists in conditions only. Arithmetic wraps as in WGSL; a division
 * by zero, and a shift by 32 or more, is the kernel's mistake.
 *
 * Leaves out: functions, signed numbers, `return` before the end, `continue`.
 */

/** Types of variables. */
export type VmType = 'u32' | 'f32' | 'vec4';

/** Operators on two u32; comparisons give a condition. */
export type VmBinary =
  | '+'
  | '-'
  | '*'
  | '/'
  | '%'
  | '&'
  | '|'
  | '^'
  | '<<'
  | '>>'
  | 'min'
  | 'max'
  | VmComparison;

/** Operators that give a condition. */
export type VmComparison = '<' | '<=' | '==' | '!=' | '>' | '>=';

/** Read-modify-write operations. */
export type VmAtomicOp = 'add' | 'sub' | 'min' | 'max' | 'and' | 'or' | 'xor' | 'exchange' | 'cas';

/** What may be done to a counter, which is an atomic in workgroup memory. */
export type VmCountOp = VmAtomicOp | 'load' | 'store';

/** A value without effect. */
export type VmExpr =
  | { readonly kind: 'const'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'var'; readonly name: string }
  /** The workgroup's number, the invocation's in it, and in the grid. */
  | { readonly kind: 'id'; readonly which: 'wg' | 'lid' | 'gid' }
  | { readonly kind: 'arg'; readonly index: number }
  | { readonly kind: 'binary'; readonly op: VmBinary; readonly a: VmExpr; readonly b: VmExpr }
  | {
      readonly kind: 'fbinary';
      readonly op: '+' | '-' | '*';
      readonly a: VmExpr;
      readonly b: VmExpr;
    }
  | { readonly kind: 'convert'; readonly to: 'u32' | 'f32'; readonly a: VmExpr }
  | { readonly kind: 'select'; readonly c: VmExpr; readonly a: VmExpr; readonly b: VmExpr }
  /** A word of workgroup memory. */
  | { readonly kind: 'shared'; readonly index: VmExpr }
  /** One of the four words of a vec4 variable. */
  | { readonly kind: 'lane'; readonly name: string; readonly index: number };

/** What a load or store moves: a word as u32 or f32, 16 bytes, or one byte. */
export type VmWidth = VmType | 'byte';

/** One step of a kernel. */
export type VmStatement =
  | { readonly kind: 'set'; readonly name: string; readonly type: VmType; readonly value: VmExpr }
  | { readonly kind: 'pack'; readonly name: string; readonly parts: readonly VmExpr[] }
  /** `name` becomes the state of the last checkpoint, or `parts`; the first operation, if any. */
  | { readonly kind: 'restore'; readonly name: string; readonly parts: readonly VmExpr[] }
  /** A replay begins behind the last of these, with this vec4 variable as the state. */
  | { readonly kind: 'checkpoint'; readonly name: string }
  | { readonly kind: 'load'; readonly name: string; readonly width: VmWidth; readonly at: VmExpr }
  | { readonly kind: 'store'; readonly width: VmWidth; readonly at: VmExpr; readonly value: VmExpr }
  | {
      readonly kind: 'atomic';
      readonly op: VmAtomicOp;
      /** Where the old value goes; without it, the operation is a reduction. */
      readonly name?: string;
      readonly at: VmExpr;
      readonly value: VmExpr;
      /** `cas` only: what must be there. */
      readonly compare?: VmExpr;
    }
  | { readonly kind: 'prefetch'; readonly write: boolean; readonly at: VmExpr }
  | { readonly kind: 'share'; readonly index: VmExpr; readonly value: VmExpr }
  /** Adds to a word of workgroup memory that `sharedAtomics` of the kernel names; no result. */
  | { readonly kind: 'shareAdd'; readonly index: VmExpr; readonly value: VmExpr }
  /** An operation on a counter; `name` gets the old value. */
  | {
      readonly kind: 'count';
      readonly op: VmCountOp;
      readonly name?: string;
      readonly index: VmExpr;
      readonly value: VmExpr;
      readonly compare?: VmExpr;
    }
  /** All meet, and `name` becomes what the workgroup's first invocation has for it. */
  | { readonly kind: 'uniform'; readonly name: string; readonly value: VmExpr }
  /** All invocations of the workgroup meet; with `storage`, paged stores before are seen after. */
  | { readonly kind: 'barrier'; readonly storage: boolean }
  | {
      readonly kind: 'if';
      readonly c: VmExpr;
      readonly yes: readonly VmStatement[];
      readonly otherwise: readonly VmStatement[];
    }
  | { readonly kind: 'while'; readonly c: VmExpr; readonly body: readonly VmStatement[] }
  | { readonly kind: 'break' };

/** A kernel. */
export interface VmIrKernel {
  readonly name: string;
  /** Invocations of a workgroup, 1 to 256. */
  readonly lanes: number;
  /** Words of workgroup memory. */
  readonly sharedWords: number;
  /** Whether workgroup memory is of atomics, as `shareAdd` needs. */
  readonly sharedAtomics: boolean;
  /** Counters of a workgroup; default none. */
  readonly counters?: number;
  readonly body: readonly VmStatement[];
}

/** An expression, or a number that stands for itself. */
export type ExprLike = VmExpr | number;

/** The expression of something that may be a number. */
export function ex(value: ExprLike): VmExpr {
  return typeof value === 'number' ? { kind: 'const', value: value >>> 0 } : value;
}

/** A variable's value. */
export function v(name: string): VmExpr {
  return { kind: 'var', name };
}

/** A word of a vec4 variable. */
export function word(name: string, index: number): VmExpr {
  return { kind: 'lane', name, index };
}

/** Argument `index` of the launch. */
export function arg(index: number): VmExpr {
  return { kind: 'arg', index };
}

/** A float constant. */
export function f(value: number): VmExpr {
  return { kind: 'float', value };
}

/** The workgroup's number. */
export const WG: VmExpr = { kind: 'id', which: 'wg' };
/** The invocation's number in its workgroup. */
export const LID: VmExpr = { kind: 'id', which: 'lid' };
/** The invocation's number in the grid. */
export const GID: VmExpr = { kind: 'id', which: 'gid' };

/** An operator on two u32 values. */
export function op(a: ExprLike, operator: VmBinary, b: ExprLike): VmExpr {
  return { kind: 'binary', op: operator, a: ex(a), b: ex(b) };
}

/** An operator on two f32 values. */
export function fop(a: VmExpr, operator: '+' | '-' | '*', b: VmExpr): VmExpr {
  return { kind: 'fbinary', op: operator, a, b };
}

/** `a` where the condition holds, else `b`. */
export function select(c: VmExpr, a: ExprLike, b: ExprLike): VmExpr {
  return { kind: 'select', c, a: ex(a), b: ex(b) };
}

/** A word of workgroup memory. */
export function shared(index: ExprLike): VmExpr {
  return { kind: 'shared', index: ex(index) };
}

/** The address of element `index` of an array of words that begins at `base`. */
export function at(base: ExprLike, index: ExprLike): VmExpr {
  return op(base, '+', op(index, '*', 4));
}

/** Sets a u32 variable. */
export function set(name: string, value: ExprLike): VmStatement {
  return { kind: 'set', name, type: 'u32', value: ex(value) };
}

/** Sets an f32 variable. */
export function setFloat(name: string, value: VmExpr): VmStatement {
  return { kind: 'set', name, type: 'f32', value };
}

/** Makes a vec4 variable of four words. */
export function pack(name: string, parts: readonly ExprLike[]): VmStatement {
  return { kind: 'pack', name, parts: parts.map(ex) };
}

/** Makes a vec4 variable of the last checkpoint's state, or of four words where there is none. */
export function restore(name: string, parts: readonly ExprLike[]): VmStatement {
  return { kind: 'restore', name, parts: parts.map(ex) };
}

/** From here on a replay begins here, with this vec4 variable as the state. */
export function checkpoint(name: string): VmStatement {
  return { kind: 'checkpoint', name };
}

/** Loads into a variable. */
export function load(name: string, address: ExprLike, width: VmWidth = 'u32'): VmStatement {
  return { kind: 'load', name, width, at: ex(address) };
}

/** Stores a value; for vec4 it must be a variable. */
export function store(address: ExprLike, value: ExprLike, width: VmWidth = 'u32'): VmStatement {
  return { kind: 'store', width, at: ex(address), value: ex(value) };
}

/** An atomic operation whose old value is used. */
export function atomic(
  name: string,
  operator: VmAtomicOp,
  address: ExprLike,
  value: ExprLike,
  compare?: ExprLike,
): VmStatement {
  const made = { kind: 'atomic', op: operator, name, at: ex(address), value: ex(value) } as const;
  return compare === undefined ? made : { ...made, compare: ex(compare) };
}

/** An atomic operation whose old value nobody sees. */
export function reduce(operator: VmAtomicOp, address: ExprLike, value: ExprLike): VmStatement {
  return { kind: 'atomic', op: operator, at: ex(address), value: ex(value) };
}

/** Says that a page will be needed, without stopping. */
export function prefetch(address: ExprLike, write = false): VmStatement {
  return { kind: 'prefetch', write, at: ex(address) };
}

/** Writes a word of workgroup memory. */
export function share(index: ExprLike, value: ExprLike): VmStatement {
  return { kind: 'share', index: ex(index), value: ex(value) };
}

/** Adds to a word of workgroup memory. */
export function shareAdd(index: ExprLike, value: ExprLike): VmStatement {
  return { kind: 'shareAdd', index: ex(index), value: ex(value) };
}

/** An operation on counter `index` of the workgroup whose old value is used. */
export function draw(
  name: string,
  operator: VmCountOp,
  index: ExprLike,
  value: ExprLike = 0,
  compare: ExprLike = 0,
): VmStatement {
  const [i, given, wanted] = [ex(index), ex(value), ex(compare)];
  return { kind: 'count', op: operator, name, index: i, value: given, compare: wanted };
}

/** The same where nobody uses the old value; no `load`. */
export function count(operator: VmCountOp, index: ExprLike, value: ExprLike): VmStatement {
  return { kind: 'count', op: operator, index: ex(index), value: ex(value) };
}

/** Gives the first invocation's value to the whole workgroup, which meets. */
export function uniform(name: string, value: ExprLike): VmStatement {
  return { kind: 'uniform', name, value: ex(value) };
}

/** Waits for the workgroup. */
export function barrier(storage = false): VmStatement {
  return { kind: 'barrier', storage };
}

/** A choice. */
export function when(
  c: VmExpr,
  yes: readonly VmStatement[],
  otherwise: readonly VmStatement[] = [],
): VmStatement {
  return { kind: 'if', c, yes, otherwise };
}

/** A loop with its condition at the head. */
export function loop(c: VmExpr, body: readonly VmStatement[]): VmStatement {
  return { kind: 'while', c, body };
}

/** A loop over `name` = 0 … `count` - 1. */
export function times(
  name: string,
  count: ExprLike,
  body: readonly VmStatement[],
): readonly VmStatement[] {
  return [set(name, 0), loop(op(v(name), '<', count), [...body, set(name, op(v(name), '+', 1))])];
}

/** Leaves the innermost loop. */
export const BREAK: VmStatement = { kind: 'break' };

/** A kernel of these statements. */
export function kernelOf(
  name: string,
  lanes: number,
  body: readonly VmStatement[],
  sharedWords = 0,
  sharedAtomics = false,
): VmIrKernel {
  return { name, lanes, sharedWords, sharedAtomics, body };
}

/** Every variable of a kernel with its type; throws where one name has two types. */
export function variablesOf(kernel: VmIrKernel): Map<string, VmType> {
  const found = new Map<string, VmType>();
  const note = (name: string, type: VmType): void => {
    const before = found.get(name);
    if (before !== undefined && before !== type) {
      throw new TypeError(`${kernel.name}: ${name} is ${before} and ${type}`);
    }
    found.set(name, type);
  };
  const visit = (statement: VmStatement): void => {
    if (statement.kind === 'set') note(statement.name, statement.type);
    if (statement.kind === 'pack' || statement.kind === 'restore') note(statement.name, 'vec4');
    if (statement.kind === 'load') {
      note(statement.name, statement.width === 'byte' ? 'u32' : statement.width);
    }
    if (statement.kind === 'uniform') note(statement.name, 'u32');
    if (statement.kind === 'count' && statement.name !== undefined) note(statement.name, 'u32');
    if (statement.kind === 'atomic' && statement.name !== undefined) note(statement.name, 'u32');
    if (statement.kind === 'if') [...statement.yes, ...statement.otherwise].forEach(visit);
    if (statement.kind === 'while') statement.body.forEach(visit);
  };
  kernel.body.forEach(visit);
  return found;
}
