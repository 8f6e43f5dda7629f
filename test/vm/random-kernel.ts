/*
 * Random kernels whose result does not depend on the order in which invocations run, so that any
 * difference is a mistake of the mechanism.
 *
 * Each invocation owns a cell in each of a few arrays, one page an array, so that all invocations
 * share every page. Invocations meet in counters (sums only), in tickets (whose order is compared
 * as a bag), in workgroup memory around barriers, and in a neighbour's cell around storage
 * barriers.
 */
import type { Prng } from '../../src/base/prng.ts';
import type { VmExpr, VmIrKernel, VmStatement } from '../../src/engine/vm/ir.ts';
import {
  arg,
  at,
  atomic,
  barrier,
  checkpoint,
  count,
  draw,
  ex,
  GID,
  kernelOf,
  LID,
  load,
  op,
  pack,
  prefetch,
  reduce,
  restore,
  set,
  share,
  shared,
  store,
  times,
  uniform,
  v,
  WG,
  when,
  word,
} from '../../src/engine/vm/ir.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';

/** Arrays of cells; arguments 0 … COLUMNS - 1. */
const COLUMNS = 4;
const COUNTERS = COLUMNS;
const TICKET = COLUMNS + 1;
const BAG = COLUMNS + 2;
const QUADS = COLUMNS + 3;
/** Counters of a workgroup: for tickets, places in workgroup memory, ends, and sums. */
const COUNTS = 4;
const [TICKETS, PLACES, ENDS, SUMS] = [0, 1, 2, 3];
/** Tickets that a workgroup may draw, and where those of the first one lie in the bag. */
const MOST_DRAWN = 128;
const FIRST_DRAWN = 512;
const VARIABLES = ['a', 'b', 'c'];
const RESULTS = ['add', 'xor', 'exchange', 'max', 'cas'] as const;

/** What a kernel may do besides plain loads and stores. */
export const FAMILIES = [
  'plain',
  'workgroup',
  'atomics',
  'exchange',
  'checkpoints',
  'draws',
] as const;

/** One of them. */
export type Family = (typeof FAMILIES)[number];

/** A random kernel with memory; `base` is the address of its first page. */
export function randomCase(prng: Prng, family: Family, base: number): VmCase {
  const lanes = prng.chance(0.5) ? 8 : 16;
  const workgroups = 2 + prng.below(2);
  const writer = new Writer(prng, family, lanes);
  const body = writer.body(6 + prng.below(15));
  const needsShared = family === 'workgroup' || family === 'draws' ? lanes : 0;
  const made = kernelOf(`random_${family}`, lanes, body, needsShared);
  const ir: VmIrKernel = family === 'draws' ? { ...made, counters: COUNTS } : made;
  const to = new CaseBuilder(base, prng.nextU32());
  const total = lanes * workgroups;
  for (let column = 0; column < COLUMNS; column++) to.array(total, () => to.prng.nextU32());
  to.array(16);
  to.array(1);
  to.bag(1024);
  to.array(total * 4, () => to.prng.nextU32());
  return to.build(ir.name, ir, workgroups);
}

class Writer {
  private readonly prng: Prng;
  private readonly family: Family;
  private readonly lanes: number;
  private loops = 0;
  private tickets = 0;

  constructor(prng: Prng, family: Family, lanes: number) {
    this.prng = prng;
    this.family = family;
    this.lanes = lanes;
  }

  body(count: number): VmStatement[] {
    const start = VARIABLES.map((name, index) => set(name, op(GID, '*', 3 + index * 7)));
    if (this.family === 'checkpoints') return [...start, ...this.stages(count)];
    return [...start, pack('q', [1, 2, 3, v('a')]), ...this.list(count, 0, false)];
  }

  /** Stages between checkpoints; the state is the stage and the variables. */
  private stages(count: number): VmStatement[] {
    const state = [v('a'), v('b'), v('c')];
    const body: VmStatement[] = [restore('s', [0, ...state])];
    for (const [index, name] of VARIABLES.entries()) body.push(set(name, word('s', index + 1)));
    const stages = 2 + this.prng.below(3);
    for (let stage = 0; stage < stages; stage++) {
      const inside = this.list(1 + Math.floor(count / stages), 0, false);
      const end = [pack('s', [stage + 1, ...state]), checkpoint('s')];
      const yes = [pack('q', [1, 2, 3, v('a')]), ...inside, ...end];
      body.push(when(op(word('s', 0), '<=', stage), yes));
    }
    return body;
  }

  /** Some statements; `diverged` where invocations may have parted ways. */
  private list(count: number, depth: number, diverged: boolean): VmStatement[] {
    return Array.from({ length: count }, () => this.one(depth, diverged)).flat();
  }

  private one(depth: number, diverged: boolean): readonly VmStatement[] {
    const { prng } = this;
    const dice = prng.below(20);
    if (dice < 5) return [load(this.name(), this.cell(), 'u32')];
    if (dice < 9) return [store(this.cell(), this.value())];
    if (dice < 11) return [set(this.name(), this.value())];
    if (dice < 12) return this.bytes();
    if (dice < 13) return this.quads();
    if (dice < 14) return [prefetch(this.cell(), prng.chance(0.5))];
    if (dice < 16 && depth < 2) {
      const condition = op(op(this.value(), '&', 3), prng.chance(0.5) ? '<' : '==', 2);
      const yes = this.list(1 + prng.below(3), depth + 1, true);
      return [when(condition, yes, this.list(prng.below(3), depth + 1, true))];
    }
    if (dice < 17 && depth < 2) {
      this.loops += 1;
      const name = `i${this.loops}`;
      const inside = this.list(1 + prng.below(3), depth + 1, diverged);
      return times(name, 1 + prng.below(3), inside);
    }
    return this.special(depth, diverged);
  }

  private special(depth: number, diverged: boolean): readonly VmStatement[] {
    switch (this.family) {
      case 'workgroup':
        return diverged ? [set(this.name(), this.value())] : this.meet();
      case 'draws':
        return diverged ? this.drawSingly(depth) : this.draws(depth);
      case 'exchange':
        return diverged ? [store(this.cell(), this.value())] : this.exchange();
      case 'atomics':
      case 'checkpoints':
        return this.atomics(depth);
      case 'plain':
        return [load(this.name(), this.cell()), store(this.cell(), this.value())];
    }
  }

  private atomics(depth: number): readonly VmStatement[] {
    const { prng } = this;
    const dice = prng.below(4);
    if (dice === 0) return [reduce('add', at(arg(COUNTERS), prng.below(16)), this.value())];
    if (dice === 1 && depth === 0 && this.tickets < 8) {
      // The ticket's number goes into its address alone; what is stored tells who drew it.
      this.tickets += 1;
      const mark = op(op(GID, '*', 16), '+', this.tickets);
      return [atomic('t', 'add', arg(TICKET), 1), store(at(arg(BAG), v('t')), mark)];
    }
    const which = RESULTS[prng.below(RESULTS.length)]!;
    const compare = which === 'cas' ? this.value() : undefined;
    return [atomic(this.name(), which, this.cell(), this.value(), compare)];
  }

  private meet(): readonly VmStatement[] {
    const other = op(op(LID, '+', 1 + this.prng.below(this.lanes - 1)), '%', this.lanes);
    if (this.prng.chance(0.3)) return [uniform(this.name(), this.value())];
    return [share(LID, this.value()), barrier(), set(this.name(), shared(other)), barrier()];
  }

  /** Draws whose results nobody can tell by who drew them. */
  private drawSingly(depth: number): readonly VmStatement[] {
    const { prng } = this;
    if (depth > 0 || this.tickets >= 8) {
      const which = (['add', 'xor', 'max', 'load', 'exchange'] as const)[prng.below(5)]!;
      return [draw('t', which, SUMS, op(LID, '+', 1))];
    }
    // The number goes into an address alone; what is stored tells who drew it.
    this.tickets += 1;
    const mark = op(op(GID, '*', 16), '+', this.tickets);
    const first = op(op(WG, '*', MOST_DRAWN), '+', FIRST_DRAWN);
    return [draw('t', 'add', TICKETS, 1), store(at(arg(BAG), op(first, '+', v('t'))), mark)];
  }

  /** Draws that the whole workgroup makes. */
  private draws(depth: number): readonly VmStatement[] {
    const { prng, lanes } = this;
    const dice = prng.below(5);
    if (dice < 2) return this.drawSingly(depth);
    const [first, resets] = [op(LID, '==', 0), [barrier(), uniform('t', 0)]];
    if (dice === 2) {
      // Each takes a place in workgroup memory; the sum of all places is the same for all orders.
      const sum = times('j', lanes, [set('t', op(v('t'), '+', shared(v('j'))))]);
      return [
        draw('t', 'add', PLACES, 1),
        share(v('t'), op(this.value(), '^', LID)),
        barrier(),
        set('t', 0),
        ...sum,
        set(this.name(), v('t')),
        ...resets,
        when(first, [count('store', PLACES, 0)]),
        barrier(),
      ];
    }
    if (dice === 3) {
      // The last of all counts once.
      const counter = at(arg(COUNTERS), prng.below(16));
      return [
        draw('t', 'add', ENDS, 1),
        when(op(v('t'), '==', lanes - 1), [
          reduce('add', counter, prng.nextU32()),
          count('store', ENDS, 0),
        ]),
        barrier(),
      ];
    }
    const which = (['add', 'xor', 'max', 'or'] as const)[prng.below(4)]!;
    return [
      count('store', SUMS, 5),
      barrier(),
      count(which, SUMS, this.value()),
      barrier(),
      draw(this.name(), 'load', SUMS),
      barrier(),
    ];
  }

  private exchange(): readonly VmStatement[] {
    const column = arg(this.prng.below(COLUMNS));
    const step = 1 + this.prng.below(this.lanes - 1);
    const lane = op(op(LID, '+', step), '%', this.lanes);
    const other = op(op(WG, '*', this.lanes), '+', lane);
    return [
      store(at(column, GID), this.value()),
      barrier(true),
      load(this.name(), at(column, other)),
      barrier(true),
    ];
  }

  private bytes(): readonly VmStatement[] {
    const address = op(this.cell(), '+', this.prng.below(4));
    return this.prng.chance(0.5)
      ? [load(this.name(), address, 'byte')]
      : [store(address, this.value(), 'byte')];
  }

  private quads(): readonly VmStatement[] {
    const address = op(arg(QUADS), '+', op(GID, '*', 16));
    return this.prng.chance(0.5)
      ? [load('q', address, 'vec4'), set(this.name(), word('q', this.prng.below(4)))]
      : [
          pack('q', [this.value(), word('q', 0), v('b'), this.value()]),
          store(address, v('q'), 'vec4'),
        ];
  }

  /** The invocation's own cell in an array that is fixed, or chosen by what was computed. */
  private cell(): VmExpr {
    const column = this.prng.below(COLUMNS);
    if (this.prng.chance(0.7)) return at(arg(column), GID);
    // Arrays lie one page apart.
    const chosen = op(op(this.variable(), '%', COLUMNS), '*', 4096);
    return op(at(arg(0), GID), '+', chosen);
  }

  private value(): VmExpr {
    const { prng } = this;
    const dice = prng.below(6);
    if (dice === 0) return ex(prng.nextU32());
    if (dice === 1) return op(GID, '^', prng.below(1000));
    const kind = (['+', '*', '^', '-'] as const)[prng.below(4)]!;
    return dice < 4 ? this.variable() : op(this.variable(), kind, op(this.variable(), '+', 1));
  }

  private variable(): VmExpr {
    return v(this.name());
  }

  private name(): string {
    return VARIABLES[this.prng.below(VARIABLES.length)]!;
  }
}
