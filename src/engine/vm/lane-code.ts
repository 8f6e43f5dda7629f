/*
 * A kernel of the small language as a list of steps with jumps, which an invocation works
 * through: its whole state is a place in the list and its variables, so it can stop anywhere and
 * begin again.
 *
 * Locking. None. Source: our own.
 */
import type { VmAtomicOp, VmCountOp, VmExpr, VmIrKernel, VmStatement, VmWidth } from './ir.ts';
import { variablesOf } from './ir.ts';

/** What expressions are computed from. */
export interface LaneView {
  /** Variables: u32 and f32 take one place, vec4 four. */
  readonly vars: Float64Array;
  readonly workgroup: number;
  readonly lane: number;
  /** The launch's arguments. */
  readonly args: Uint32Array;
  /** Workgroup memory. */
  readonly tile: Uint32Array;
}

/** Computes a value; a condition is 0 or 1. */
export type LaneExpr = (view: LaneView) => number;

/** One step. Targets of jumps are places in the list. */
export type LaneStep =
  | { readonly kind: 'set'; readonly slot: number; readonly value: LaneExpr }
  | { readonly kind: 'pack'; readonly slot: number; readonly parts: readonly LaneExpr[] }
  | { readonly kind: 'restore'; readonly slot: number; readonly parts: readonly LaneExpr[] }
  | { readonly kind: 'checkpoint'; readonly slot: number }
  | {
      readonly kind: 'load';
      readonly slot: number;
      readonly width: VmWidth;
      readonly at: LaneExpr;
    }
  | {
      readonly kind: 'store';
      readonly width: VmWidth;
      readonly at: LaneExpr;
      readonly value: LaneExpr;
      /** First place of the vec4 that is stored. */
      readonly slot: number;
    }
  | {
      readonly kind: 'atomic';
      readonly op: VmAtomicOp;
      /** Place of the result, or -1. */
      readonly slot: number;
      readonly at: LaneExpr;
      readonly value: LaneExpr;
      readonly compare: LaneExpr;
    }
  | { readonly kind: 'prefetch'; readonly write: boolean; readonly at: LaneExpr }
  | {
      readonly kind: 'share';
      readonly add: boolean;
      readonly index: LaneExpr;
      readonly value: LaneExpr;
    }
  | {
      readonly kind: 'count';
      readonly op: VmCountOp;
      /** Place of the result, or -1. */
      readonly slot: number;
      readonly index: LaneExpr;
      readonly value: LaneExpr;
      readonly compare: LaneExpr;
    }
  | { readonly kind: 'uniform'; readonly slot: number; readonly value: LaneExpr }
  | { readonly kind: 'barrier' }
  | { readonly kind: 'unless'; readonly c: LaneExpr; readonly to: number }
  | { readonly kind: 'jump'; readonly to: number }
  /** Head of a loop: counts against the budget. */
  | { readonly kind: 'tick'; readonly leave: number };

/** A kernel ready to run. */
export interface LaneCode {
  readonly steps: readonly LaneStep[];
  readonly varWords: number;
  readonly lanes: number;
  readonly sharedWords: number;
  readonly counters: number;
}

/** Translates a kernel. Throws `TypeError` for a kernel that uses a variable nobody sets. */
export function compileLanes(kernel: VmIrKernel): LaneCode {
  const slots = new Map<string, number>();
  let varWords = 0;
  for (const [name, type] of variablesOf(kernel)) {
    slots.set(name, varWords);
    varWords += type === 'vec4' ? 4 : 1;
  }
  const compiler = new Compiler(kernel, slots);
  compiler.block(kernel.body, []);
  const { lanes, sharedWords, counters = 0 } = kernel;
  return { steps: compiler.steps, varWords, lanes, sharedWords, counters };
}

const ZERO: LaneExpr = () => 0;

class Compiler {
  /** Steps so far; a jump forwards is put in again once its target is known. */
  readonly steps: LaneStep[] = [];
  private readonly kernel: VmIrKernel;
  private readonly slots: ReadonlyMap<string, number>;

  constructor(kernel: VmIrKernel, slots: ReadonlyMap<string, number>) {
    this.kernel = kernel;
    this.slots = slots;
  }

  /** Adds the steps of `body`; places of jumps that leave the loop go into `breaks`. */
  block(body: readonly VmStatement[], breaks: number[]): void {
    for (const one of body) this.statement(one, breaks);
  }

  private statement(one: VmStatement, breaks: number[]): void {
    const { steps } = this;
    switch (one.kind) {
      case 'if': {
        const from = steps.push({ kind: 'unless', c: this.expr(one.c), to: 0 }) - 1;
        this.block(one.yes, breaks);
        const skip = steps.push({ kind: 'jump', to: 0 }) - 1;
        steps[from] = { kind: 'unless', c: this.expr(one.c), to: steps.length };
        this.block(one.otherwise, breaks);
        steps[skip] = { kind: 'jump', to: steps.length };
        return;
      }
      case 'while': {
        const inner: number[] = [];
        const head = steps.push({ kind: 'tick', leave: 0 }) - 1;
        const test = steps.push({ kind: 'unless', c: ZERO, to: 0 }) - 1;
        this.block(one.body, inner);
        steps.push({ kind: 'jump', to: head });
        const after = steps.length;
        steps[head] = { kind: 'tick', leave: after };
        steps[test] = { kind: 'unless', c: this.expr(one.c), to: after };
        for (const place of inner) steps[place] = { kind: 'jump', to: after };
        return;
      }
      case 'break':
        breaks.push(steps.push({ kind: 'jump', to: 0 }) - 1);
        return;
      case 'barrier':
        steps.push({ kind: 'barrier' });
        return;
      case 'set':
      case 'pack':
      case 'restore':
      case 'checkpoint':
      case 'load':
      case 'store':
      case 'atomic':
      case 'prefetch':
      case 'share':
      case 'shareAdd':
      case 'count':
      case 'uniform':
        steps.push(this.simple(one));
    }
  }

  private simple(
    one: Exclude<VmStatement, { kind: 'if' | 'while' | 'break' | 'barrier' }>,
  ): LaneStep {
    switch (one.kind) {
      case 'set':
        return { kind: 'set', slot: this.slot(one.name), value: this.expr(one.value) };
      case 'pack':
      case 'restore': {
        const parts = one.parts.map((part) => this.expr(part));
        return { kind: one.kind, slot: this.slot(one.name), parts };
      }
      case 'checkpoint':
        return { kind: 'checkpoint', slot: this.slot(one.name) };
      case 'load': {
        const { width } = one;
        return { kind: 'load', slot: this.slot(one.name), width, at: this.expr(one.at) };
      }
      case 'store': {
        const whole = one.width === 'vec4';
        const slot = whole && one.value.kind === 'var' ? this.slot(one.value.name) : -1;
        const value = whole ? ZERO : this.expr(one.value);
        return { kind: 'store', width: one.width, at: this.expr(one.at), value, slot };
      }
      case 'atomic':
        return {
          kind: 'atomic',
          op: one.op,
          slot: one.name === undefined ? -1 : this.slot(one.name),
          at: this.expr(one.at),
          value: this.expr(one.value),
          compare: one.compare === undefined ? ZERO : this.expr(one.compare),
        };
      case 'uniform':
        return { kind: 'uniform', slot: this.slot(one.name), value: this.expr(one.value) };
      case 'count':
        return {
          kind: 'count',
          op: one.op,
          slot: one.name === undefined ? -1 : this.slot(one.name),
          index: this.expr(one.index),
          value: this.expr(one.value),
          compare: one.compare === undefined ? ZERO : this.expr(one.compare),
        };
      case 'prefetch':
        return { kind: 'prefetch', write: one.write, at: this.expr(one.at) };
      case 'share':
      case 'shareAdd': {
        const add = one.kind === 'shareAdd';
        return { kind: 'share', add, index: this.expr(one.index), value: this.expr(one.value) };
      }
    }
  }

  private slot(name: string): number {
    const slot = this.slots.get(name);
    if (slot === undefined) throw new TypeError(`${this.kernel.name}: ${name} is never set`);
    return slot;
  }

  private expr(one: VmExpr): LaneExpr {
    switch (one.kind) {
      case 'const':
      case 'float': {
        const { value } = one;
        return () => value;
      }
      case 'var': {
        const slot = this.slot(one.name);
        return (view) => view.vars[slot]!;
      }
      case 'lane': {
        const slot = this.slot(one.name) + one.index;
        return (view) => view.vars[slot]!;
      }
      case 'id': {
        const { lanes } = this.kernel;
        if (one.which === 'wg') return (view) => view.workgroup;
        if (one.which === 'lid') return (view) => view.lane;
        return (view) => view.workgroup * lanes + view.lane;
      }
      case 'arg': {
        const { index } = one;
        return (view) => view.args[index]!;
      }
      case 'shared': {
        const index = this.expr(one.index);
        return (view) => view.tile[index(view)]!;
      }
      case 'select': {
        const [c, a, b] = [this.expr(one.c), this.expr(one.a), this.expr(one.b)];
        return (view) => (c(view) === 0 ? b(view) : a(view));
      }
      case 'convert': {
        const a = this.expr(one.a);
        return one.to === 'f32' ? (view) => Math.fround(a(view)) : (view) => a(view) >>> 0;
      }
      case 'binary':
        return binary(one.op, this.expr(one.a), this.expr(one.b));
      case 'fbinary': {
        const [a, b] = [this.expr(one.a), this.expr(one.b)];
        if (one.op === '+') return (view) => Math.fround(a(view) + b(view));
        if (one.op === '-') return (view) => Math.fround(a(view) - b(view));
        return (view) => Math.fround(a(view) * b(view));
      }
    }
  }
}

type Apply = (a: number, b: number) => number;

const APPLY: Readonly<Record<string, Apply>> = {
  '+': (a, b) => (a + b) >>> 0,
  '-': (a, b) => (a - b) >>> 0,
  '*': (a, b) => Math.imul(a, b) >>> 0,
  '/': (a, b) => Math.floor(a / b) >>> 0,
  '%': (a, b) => (a % b) >>> 0,
  '&': (a, b) => (a & b) >>> 0,
  '|': (a, b) => (a | b) >>> 0,
  '^': (a, b) => (a ^ b) >>> 0,
  '<<': (a, b) => (a << b) >>> 0,
  '>>': (a, b) => a >>> b,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  '<': (a, b) => Number(a < b),
  '<=': (a, b) => Number(a <= b),
  '==': (a, b) => Number(a === b),
  '!=': (a, b) => Number(a !== b),
  '>': (a, b) => Number(a > b),
  '>=': (a, b) => Number(a >= b),
};

function binary(operator: string, a: LaneExpr, b: LaneExpr): LaneExpr {
  const apply = APPLY[operator]!;
  return (view) => apply(a(view), b(view));
}

/** What an atomic operation leaves in memory. */
export function applyAtomic(
  operator: VmCountOp,
  old: number,
  value: number,
  compare: number,
): number {
  switch (operator) {
    case 'add':
      return (old + value) >>> 0;
    case 'sub':
      return (old - value) >>> 0;
    case 'min':
      return Math.min(old, value);
    case 'max':
      return Math.max(old, value);
    case 'and':
      return (old & value) >>> 0;
    case 'or':
      return (old | value) >>> 0;
    case 'xor':
      return (old ^ value) >>> 0;
    case 'exchange':
    case 'store':
      return value;
    case 'load':
      return old;
    case 'cas':
      return old === compare ? value : old;
  }
}
