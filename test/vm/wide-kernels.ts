/*
 * Kernels whose memory spans several blocks of 2 MiB, for policies to have something to decide.
 * What they touch does not depend on the order in which their invocations run.
 */
import type { VmStatement } from '../../src/engine/vm/ir.ts';
import {
  arg,
  at,
  barrier,
  checkpoint,
  draw,
  GID,
  kernelOf,
  LID,
  load,
  loop,
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
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';

const WORDS = 1024;
const LANES = 4;

/** The address of the first word of page `index` of the array. */
function pageAt(index: Parameters<typeof op>[0]): ReturnType<typeof at> {
  return at(arg(0), op(index, '*', WORDS));
}

/** Reads a word of a page and stores another. */
function change(index: Parameters<typeof op>[0]): VmStatement[] {
  return [load('x', pageAt(index)), store(pageAt(index), op(v('x'), '+', 1))];
}

/** Statements of each kernel; argument 0 is the array, 1 its pages, 2 pages per invocation. */
const BODIES: Readonly<Record<string, readonly VmStatement[]>> = {
  /** A word of each page, read alone. */
  column: [load('x', pageAt(GID)), store(at(arg(3), GID), v('x'))],
  /** Each invocation goes over pages of its own, twice. */
  cyclic: times('r', 2, times('i', arg(2), change(op(op(GID, '*', arg(2)), '+', v('i'))))),
  /** Pages far apart, which others use, too. */
  reuse: times('i', 4, [
    set('p', op(op(op(GID, '*', 7), '+', op(v('i'), '*', 401)), '%', arg(1))),
    load('x', at(pageAt(v('p')), 1)),
    store(at(arg(3), GID), v('x')),
  ]),
  /** Addresses out of memory. */
  scatter: [
    load('p', at(arg(3), GID)),
    load('q', at(pageAt(op(v('p'), '%', arg(1))), 2)),
    reduce('add', at(pageAt(op(v('q'), '%', arg(1))), 3), 1),
  ],
  /** A hint for a page that comes later. */
  hints: times('i', arg(2), [
    prefetch(pageAt(op(op(op(GID, '*', arg(2)), '+', op(v('i'), '+', 2)), '%', arg(1)))),
    ...change(op(op(GID, '*', arg(2)), '+', v('i'))),
  ]),
  /** Pages of its own in stages, with a checkpoint behind each; then in a loop. */
  stages: [
    restore('s', [0, GID, 0, 0]),
    ...[0, 1].map((stage) =>
      when(op(word('s', 0), '==', stage), [
        ...change(op(op(GID, '*', arg(2)), '+', stage)),
        load('y', at(arg(3), GID)),
        pack('s', [stage + 1, word('s', 1), op(word('s', 2), '+', op(v('x'), '+', v('y'))), 2]),
        checkpoint('s'),
      ]),
    ),
    loop(op(word('s', 3), '<', arg(2)), [
      ...change(op(op(GID, '*', arg(2)), '+', word('s', 3))),
      prefetch(pageAt(op(GID, '*', arg(2)))),
      load('y', pageAt(op(GID, '*', arg(2)))),
      pack('s', [2, GID, op(word('s', 2), '+', op(v('x'), '+', v('y'))), op(word('s', 3), '+', 1)]),
      checkpoint('s'),
    ]),
    store(at(arg(3), GID), op(word('s', 2), '+', word('s', 1))),
  ],
  /** Pages that the workgroup's first invocation finds, behind one of each invocation's own. */
  shown: [
    load('x', at(pageAt(GID), 2)),
    uniform('n', v('x')),
    load('y', at(pageAt(op(v('n'), '%', arg(1))), LID)),
    uniform('n', op(v('n'), '+', v('y'))),
    store(at(pageAt(GID), 3), op(v('y'), '+', v('n'))),
  ],
  /** Tickets of the workgroup, whose numbers go into values alone. */
  drawn: [
    draw('t', 'add', 0, 1),
    load('x', at(pageAt(GID), op(v('t'), '+', 8))),
    draw('u', 'add', 0, v('t')),
    store(at(pageAt(op(op(GID, '+', 513), '%', arg(1))), LID), op(v('x'), '+', v('u'))),
    draw('u', 'load', 0),
    load('y', at(arg(3), op(GID, '+', op(v('u'), '*', 0)))),
  ],
  /** A workgroup that meets between its pages. */
  meet: [
    load('x', pageAt(GID)),
    share(LID, v('x')),
    barrier(),
    load('y', at(pageAt(op(op(GID, '+', 513), '%', arg(1))), LID)),
    barrier(true),
    store(
      at(pageAt(op(WG, '*', LANES)), op(LID, '+', 8)),
      op(shared(op(LID, '^', 1)), '+', v('y')),
    ),
  ],
};

/** Their names. */
export const WIDE_NAMES: readonly string[] = Object.keys(BODIES);

/**
 * A kernel over so many pages.
 *
 * @param pages of the array; a word for each is in another one
 * @param base address of the memory
 */
export function wideCase(name: string, pages: number, base: number): VmCase {
  const body = BODIES[name];
  if (body === undefined) throw new RangeError(`there is no kernel ${name}`);
  const each = ['cyclic', 'hints', 'stages'].includes(name) ? 4 : 1;
  const to = new CaseBuilder(base, 5);
  to.array(pages * WORDS, (i) => (i % WORDS === 2 ? to.prng.below(pages) : i));
  to.value(pages);
  to.value(each);
  to.array(pages, () => to.prng.below(pages));
  const ir = { ...kernelOf(name, LANES, body, LANES), counters: name === 'drawn' ? 1 : 0 };
  return to.build(name, ir, Math.floor(pages / each / LANES));
}
