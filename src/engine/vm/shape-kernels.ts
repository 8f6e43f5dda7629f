/*
 * The kernels of shapes.ts and how their memory is filled.
 *
 * Locking. None; pure. Source: our own.
 */
import type { VmExpr, VmIrKernel, VmStatement } from './ir.ts';
import {
  arg,
  at,
  atomic,
  barrier,
  BREAK,
  draw,
  f,
  fop,
  GID,
  kernelOf,
  LID,
  load,
  loop,
  op,
  pack,
  prefetch,
  reduce,
  select,
  set,
  setFloat,
  share,
  shared,
  store,
  times,
  v,
  WG,
  when,
  word,
} from './ir.ts';
import type { CaseBuilder } from './shapes.ts';

const LANES = 64;
/** What `bfs` takes for "not reached". */
const FAR = 0xffffffff;

/** A kernel and its memory. */
export interface Shape {
  readonly ir: VmIrKernel;
  /** Fills memory for so many workgroups; answers how many to launch where that differs. */
  readonly prepare: (to: CaseBuilder, workgroups: number) => number | void;
}

function shape(
  name: string,
  body: readonly VmStatement[],
  prepare: Shape['prepare'],
  sharedWords = 0,
): Shape {
  return { ir: kernelOf(name, LANES, body, sharedWords), prepare };
}

/** Arrays of one word an invocation, with random contents. */
function arrays(count: number): Shape['prepare'] {
  return (to, groups) => {
    for (let index = 0; index < count; index++) {
      to.array(groups * LANES, () => to.prng.nextU32());
    }
  };
}

const last = op(arg(2), '-', 1);

const elementwise = shape(
  'elementwise',
  [
    load('a', at(arg(0), GID)),
    load('b', at(arg(1), GID)),
    store(at(arg(2), GID), op(op(v('a'), '*', 3), '+', v('b'))),
  ],
  arrays(3),
);

const stencil = shape(
  'stencil',
  [
    load('l', at(arg(0), select(op(GID, '==', 0), 0, op(GID, '-', 1)))),
    load('m', at(arg(0), GID)),
    load('r', at(arg(0), op(op(GID, '+', 1), 'min', last))),
    store(at(arg(1), GID), op(op(v('l'), '+', v('r')), '+', op(v('m'), '*', 2))),
  ],
  (to, groups) => {
    arrays(2)(to, groups);
    to.value(groups * LANES);
  },
);

const increment = shape(
  'increment',
  [load('x', at(arg(0), GID)), store(at(arg(0), GID), op(v('x'), '+', 1))],
  arrays(1),
);

const swap = shape(
  'swap',
  [
    load('a', at(arg(0), GID)),
    load('b', at(arg(1), GID)),
    store(at(arg(0), GID), v('b')),
    store(at(arg(1), GID), v('a')),
  ],
  arrays(2),
);

const rotate = shape(
  'rotate',
  [
    ...[0, 1, 2, 3].map((i) => load(`x${i}`, at(arg(i), GID))),
    ...[0, 1, 2, 3].map((i) => store(at(arg(i), GID), v(`x${(i + 1) % 4}`))),
  ],
  arrays(4),
);

/** Adds to three cells in turn, three times: each load sees the store before it. */
const accumulate = shape(
  'accumulate',
  times(
    'round',
    3,
    [0, 1, 2].flatMap((i) => [
      load('x', at(arg(i), GID)),
      store(at(arg(i), GID), op(op(v('x'), '*', 5), '+', op(v('round'), '+', i))),
    ]),
  ),
  arrays(3),
);

const manyStores = shape(
  'manyStores',
  times('i', 24, [
    store(at(arg(0), op(op(v('i'), '*', arg(1)), '+', GID)), op(op(v('i'), '<<', 20), '^', GID)),
  ]),
  (to, groups) => {
    to.array(groups * LANES * 24);
    to.value(groups * LANES);
  },
);

const chase = shape(
  'chase',
  [
    set('p', GID),
    ...times('i', 12, [load('p', at(arg(0), v('p')))]),
    store(at(arg(1), GID), v('p')),
  ],
  (to, groups) => {
    const next = to.array(groups * LANES, (index) => index);
    to.prng.shuffle(next.subarray(0, groups * LANES));
    to.array(groups * LANES);
  },
);

const reduction = shape(
  'reduction',
  [
    load('x', at(arg(0), GID)),
    share(LID, v('x')),
    barrier(),
    set('half', LANES / 2),
    loop(op(v('half'), '>', 0), [
      when(op(LID, '<', v('half')), [
        share(LID, op(shared(LID), '+', shared(op(LID, '+', v('half'))))),
      ]),
      barrier(),
      set('half', op(v('half'), '>>', 1)),
    ]),
    when(op(LID, '==', 0), [store(at(arg(1), WG), shared(0))]),
  ],
  (to, groups) => {
    arrays(1)(to, groups);
    to.array(groups);
  },
  LANES,
);

const histogram = shape(
  'histogram',
  [load('x', at(arg(0), GID)), reduce('add', at(arg(1), op(op(v('x'), '%', 16), '*', 1024)), 1)],
  (to, groups) => {
    arrays(1)(to, groups);
    to.array(16 * 1024);
  },
);

const ticket = shape(
  'ticket',
  [atomic('t', 'add', arg(0), 1), store(at(arg(1), v('t')), op(GID, '+', 1))],
  (to, groups) => {
    to.array(1);
    to.bag(groups * LANES);
  },
);

/** Claims each neighbour's distance; who claimed it appends it to the next frontier. */
const bfs = shape(
  'bfs',
  [
    load('vertex', at(arg(0), GID)),
    load('edge', at(arg(1), v('vertex'))),
    load('end', at(arg(1), op(v('vertex'), '+', 1))),
    loop(op(v('edge'), '<', v('end')), [
      load('to', at(arg(2), v('edge'))),
      atomic('old', 'cas', at(arg(3), v('to')), 1, FAR),
      when(op(v('old'), '==', FAR), [
        atomic('t', 'add', arg(4), 1),
        store(at(arg(5), v('t')), v('to')),
      ]),
      set('edge', op(v('edge'), '+', 1)),
    ]),
  ],
  (to, groups) => {
    const vertices = groups * LANES;
    const degree = 3;
    to.array(vertices, (index) => index);
    to.array(vertices + 1, (index) => index * degree);
    to.array(vertices * degree, () => to.prng.below(vertices * 2));
    to.array(vertices * 2, () => FAR);
    to.array(1);
    to.bag(vertices * 2);
  },
);

/** Open addressing; the table ends up about 60 % full. */
const hashInsert = shape(
  'hashInsert',
  [
    load('key', at(arg(0), GID)),
    set('h', op(op(op(v('key'), '*', 2654435761), '>>', 8), '%', arg(2))),
    set('left', arg(2)),
    loop(op(v('left'), '>', 0), [
      atomic('old', 'cas', at(arg(1), v('h')), v('key'), 0),
      when(op(v('old'), '==', 0), [BREAK]),
      when(op(v('old'), '==', v('key')), [BREAK]),
      set('h', op(op(v('h'), '+', 1), '%', arg(2))),
      set('left', op(v('left'), '-', 1)),
    ]),
  ],
  (to, groups) => {
    const keys = groups * LANES;
    to.array(keys, () => 1 + to.prng.below(keys * 4));
    to.bag(Math.ceil(keys * 1.6));
    to.value(Math.ceil(keys * 1.6));
  },
);

const TILE = 8;

/** Small whole numbers as f32, so that the order of additions does not matter. */
const matmul = shape(
  'matmul',
  [
    set('row', op(op(op(WG, '/', arg(4)), '*', TILE), '+', op(LID, '/', TILE))),
    set('col', op(op(op(WG, '%', arg(4)), '*', TILE), '+', op(LID, '%', TILE))),
    setFloat('sum', f(0)),
    ...times('t', arg(4), [
      load('a', at(arg(0), tileIndex('row', op(op(v('t'), '*', TILE), '+', op(LID, '%', TILE))))),
      load('b', at(arg(1), matmulB())),
      share(LID, v('a')),
      share(op(LID, '+', LANES), v('b')),
      barrier(),
      ...times('k', TILE, [
        setFloat(
          'sum',
          fop(
            v('sum'),
            '+',
            fop(
              float(shared(op(rowInTile(), '+', v('k')))),
              '*',
              float(shared(op(colInTile(), '+', op(v('k'), '*', TILE)))),
            ),
          ),
        ),
      ]),
      barrier(),
    ]),
    store(at(arg(2), tileIndex('row', v('col'))), v('sum'), 'f32'),
  ],
  (to, groups) => {
    const tiles = Math.max(1, Math.round(Math.sqrt(groups)));
    const side = tiles * TILE;
    to.array(side * side, () => to.prng.below(64));
    to.array(side * side, () => to.prng.below(64));
    to.array(side * side);
    to.value(side);
    to.value(tiles);
    return tiles * tiles;
  },
  LANES * 2,
);

function float(a: VmExpr): VmExpr {
  return { kind: 'convert', to: 'f32', a };
}

function tileIndex(row: string, column: VmExpr): VmExpr {
  return op(op(v(row), '*', arg(3)), '+', column);
}

function matmulB(): VmExpr {
  return op(op(op(op(v('t'), '*', TILE), '+', op(LID, '/', TILE)), '*', arg(3)), '+', v('col'));
}

function rowInTile(): VmExpr {
  return op(op(LID, '/', TILE), '*', TILE);
}

function colInTile(): VmExpr {
  return op(LANES, '+', op(LID, '%', TILE));
}

/** Gives a value to its neighbour through paged memory. */
const exchange = shape(
  'exchange',
  [
    load('x', at(arg(0), GID)),
    store(at(arg(1), GID), op(v('x'), '^', 0x5a5a)),
    barrier(true),
    set('other', op(op(WG, '*', LANES), '+', op(op(LID, '+', 1), '%', LANES))),
    load('y', at(arg(1), v('other'))),
    store(at(arg(0), GID), op(v('y'), '+', v('x'))),
  ],
  arrays(2),
);

/** Changes each byte in place: four invocations share a word. */
const bytes = shape(
  'bytes',
  [
    load('x', op(arg(0), '+', GID), 'byte'),
    store(op(arg(0), '+', GID), op(op(v('x'), '*', 7), '+', LID), 'byte'),
  ],
  (to, groups) => {
    to.array((groups * LANES) / 4, () => to.prng.nextU32());
  },
);

/** Turns 16 bytes round, in place, having said what it will need. */
const vectors = shape(
  'vectors',
  [
    prefetch(op(arg(1), '+', op(GID, '*', 16)), true),
    load('q', op(arg(0), '+', op(GID, '*', 16)), 'vec4'),
    pack('r', [word('q', 3), word('q', 0), word('q', 1), op(word('q', 2), '+', GID)]),
    store(op(arg(0), '+', op(GID, '*', 16)), v('r'), 'vec4'),
    store(op(arg(1), '+', op(GID, '*', 16)), v('q'), 'vec4'),
  ],
  (to, groups) => {
    to.array(groups * LANES * 4, () => to.prng.nextU32());
    to.array(groups * LANES * 4);
  },
);

/** Keeps odd words: each workgroup its own, in any order, behind those of others. */
const compact: Shape = {
  ir: {
    ...kernelOf(
      'compact',
      LANES,
      [
        load('x', at(arg(0), GID)),
        when(op(op(v('x'), '&', 1), '==', 1), [
          draw('place', 'add', 0, 1),
          share(v('place'), v('x')),
        ]),
        barrier(),
        draw('kept', 'load', 0),
        when(op(LID, '==', 0), [
          atomic('first', 'add', arg(1), v('kept')),
          share(LANES, v('first')),
        ]),
        barrier(),
        when(op(LID, '<', v('kept')), [
          store(at(arg(2), op(shared(LANES), '+', LID)), shared(LID)),
        ]),
      ],
      LANES + 1,
    ),
    counters: 1,
  },
  prepare: (to, groups) => {
    arrays(1)(to, groups);
    to.array(1);
    to.bag(groups * LANES);
  },
};

/** All shapes by name. */
export const SHAPE_KERNELS: Readonly<Record<string, Shape>> = {
  elementwise,
  stencil,
  increment,
  swap,
  rotate,
  accumulate,
  manyStores,
  chase,
  reduction,
  histogram,
  ticket,
  bfs,
  hashInsert,
  matmul,
  exchange,
  bytes,
  vectors,
  compact,
};
