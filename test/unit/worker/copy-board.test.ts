/*
 * The board from which copy threads take chunks, in all interleavings of a thread that puts up two
 * rounds of them and one or two helpers: each chunk is done once, by the pieces of its own round,
 * and nobody waits for ever.
 */
import { describe, expect, test } from 'vitest';
import type { AtomicsPort } from '../../../src/cpu/atomics-port.ts';
import {
  CopyBoard,
  FIRST_BELL,
  awaitChunks,
  helpCopying,
  putUp,
  ring,
  takeChunks,
} from '../../../src/worker/copy-board.ts';

/** Thrown where an actor is about to do an operation that it has not done before. */
class Pause extends Error {}

/** One for all: where it was made matters to nobody, and finding that out takes long. */
const PAUSE = new Pause();

type Step =
  | {
      readonly kind: 'load' | 'store' | 'add' | 'notify';
      readonly at: number;
      readonly value: number;
    }
  | { readonly kind: 'wait'; readonly at: number; readonly value: number }
  | { readonly kind: 'run'; readonly at: number; readonly value: number };

/** Where an actor stands: the results of its operations so far, and what comes next. */
interface Node {
  readonly id: number;
  readonly log: readonly number[];
  readonly next: Step | null;
  readonly children: Map<number, Node>;
}

interface State {
  readonly memory: readonly number[];
  readonly nodes: readonly Node[];
  readonly isAsleep: readonly boolean[];
}

type Program = (port: AtomicsPort, run: (chunk: number) => void) => void;

const words = new Int32Array(0);
/** Not a word of the board: the round whose pieces are on it. */
const ROUND = -1;

/** Runs a program along its log. @returns its next operation, null at its end. */
function advance(program: Program, log: readonly number[]): Step | null {
  let at = 0;
  let next: Step | null = null;
  const step = (one: Step): number => {
    if (at < log.length) return log[at++]!;
    next = one;
    throw PAUSE;
  };
  const port: AtomicsPort = {
    load: (_words, where) => step({ kind: 'load', at: where, value: 0 }),
    store: (_words, where, value) => void step({ kind: 'store', at: where, value }),
    add: (_words, where, value) => step({ kind: 'add', at: where, value }),
    compareExchange: () => {
      throw new Error('not used');
    },
    wait: (_words, where, value) => void step({ kind: 'wait', at: where, value }),
    notify: (_words, where) => void step({ kind: 'notify', at: where, value: 0 }),
    nowMs: () => 0,
  };
  try {
    program(port, (chunk) => void step({ kind: 'run', at: chunk, value: 0 }));
  } catch (error) {
    if (!(error instanceof Pause)) throw error;
  }
  return next;
}

let nodes = 0;

function makeNode(program: Program, log: readonly number[]): Node {
  nodes += 1;
  return { id: nodes, log, next: advance(program, log), children: new Map() };
}

function childOf(node: Node, program: Program, result: number): Node {
  let child = node.children.get(result);
  if (child === undefined) {
    child = makeNode(program, [...node.log, result]);
    node.children.set(result, child);
  }
  return child;
}

/** The state after an actor has done its next operation; null when it can't. */
function after(state: State, which: number, programs: readonly Program[]): State | null {
  const node = state.nodes[which]!;
  const { next } = node;
  if (next === null || state.isAsleep[which]!) return null;
  const memory = [...state.memory];
  const isAsleep = [...state.isAsleep];
  const now = [...state.nodes];
  const at = slotOf(next.at);
  let result = memory[at] ?? 0;
  if (next.kind === 'store') memory[at] = next.value;
  else if (next.kind === 'add') memory[at] = result + next.value;
  else if (next.kind === 'run') result = doneMark(memory[slotOf(ROUND)]!, next.at);
  else if (next.kind === 'notify') {
    now.forEach((one, i) => {
      if (!isAsleep[i]! || one.next!.at !== next.at) return;
      now[i] = childOf(one, programs[i]!, 0);
      isAsleep[i] = false;
    });
  } else if (next.kind === 'wait' && result === next.value) {
    isAsleep[which] = true;
    return { memory, nodes: now, isAsleep };
  }
  // What is read is all that an actor can remember.
  const isRead = next.kind === 'load' || next.kind === 'add' || next.kind === 'run';
  now[which] = childOf(node, programs[which]!, isRead ? result : 0);
  return { memory, nodes: now, isAsleep };
}

/** In the results of an actor: that it did a chunk, while the pieces of that round were there. */
function doneMark(round: number, chunk: number): number {
  return 1000 + round * 10 + chunk;
}

/** Words of the board are 16 apart. */
function slotOf(at: number): number {
  return at === ROUND ? 0 : 1 + at / 16;
}

function keyOf({ memory, nodes: now, isAsleep }: State): string {
  return `${memory.join()};${now.map(({ id }) => id).join()};${isAsleep.join()}`;
}

function endOf({ nodes: now }: State): string {
  // Who is not at its end sleeps for ever.
  const stuck = now.findIndex(({ next }) => next !== null);
  if (stuck >= 0) return `actor ${stuck} sleeps for ever`;
  const done = now.flatMap(({ log }) => log.filter((result) => result >= 1000));
  return done.toSorted((a, b) => a - b).join();
}

/** Visits all states. @returns what was done at each end, and how many states there are. */
function explore(programs: readonly Program[]): { ends: Set<string>; states: number } {
  const start: State = {
    memory: Array.from({ length: 4 + programs.length }, () => 0),
    nodes: programs.map((program) => makeNode(program, [])),
    isAsleep: programs.map(() => false),
  };
  const stack = [start];
  const seen = new Set([keyOf(start)]);
  const ends = new Set<string>();
  for (let state = stack.pop(); state !== undefined; state = stack.pop()) {
    let isEnd = true;
    for (let which = 0; which < programs.length; which++) {
      const next = after(state, which, programs);
      if (next === null) continue;
      isEnd = false;
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      stack.push(next);
    }
    if (isEnd) ends.add(endOf(state));
  }
  return { ends, states: seen.size };
}

/** Puts up rounds of so many chunks, then ends the helpers. */
function leader(rounds: readonly number[], helpers: number): Program {
  return (port, run) => {
    rounds.forEach((chunks, round) => {
      // The pieces of this round.
      port.store(words, ROUND, round);
      putUp(port, words, chunks);
      for (let helper = 0; helper < helpers; helper++) ring(port, words, helper);
      takeChunks(port, words, run);
      if (!awaitChunks(port, words, chunks, Infinity)) throw new Error('gave up');
    });
    for (let helper = 0; helper < helpers; helper++) {
      port.store(words, CopyBoard.bell(helper), -1);
      port.notify(words, CopyBoard.bell(helper));
    }
  };
}

function everyChunk(rounds: readonly number[]): string {
  return rounds
    .flatMap((chunks, round) => Array.from({ length: chunks }, (_, at) => doneMark(round, at)))
    .join();
}

describe('each chunk is done once and nobody sleeps for ever', () => {
  test.each([
    { rounds: [1, 2], helpers: 1 },
    { rounds: [2, 1], helpers: 1 },
    { rounds: [3, 2], helpers: 1 },
    { rounds: [2], helpers: 2 },
    { rounds: [1, 1, 2], helpers: 1 },
  ])('rounds of $rounds chunks with $helpers helpers', ({ rounds, helpers }) => {
    const help = (helper: number): Program => {
      return (port, run) => helpCopying(port, words, helper, run);
    };
    const programs = [
      leader(rounds, helpers),
      ...Array.from({ length: helpers }, (_, i) => help(i)),
    ];
    const { ends, states } = explore(programs);
    expect([...ends]).toEqual([everyChunk(rounds)]);
    expect(states).toBeGreaterThan(500);
    process.stderr.write(`copy board: ${states} states\n`);
  });
});

test('a wake-up that is left over from earlier chunks is not taken for a stuck helper', () => {
  const awake: Program = (port, run) => {
    takeChunks(port, words, run);
    takeChunks(port, words, run);
  };
  const { ends } = explore([leader([1, 1], 0), awake, awake]);
  expect([...ends]).toEqual([everyChunk([1, 1])]);
});

describe('chunks that nobody does', () => {
  /** Waits of a leader, each so long, for a helper that is done in that one. */
  function waits(waitMs: number, doneIn: number): [boolean, number] {
    let [clock, count] = [0, 0];
    const port: AtomicsPort = {
      load: (at, where) => at[where]!,
      store: (at, where, value) => void (at[where] = value),
      add: (at, where, value) => (at[where] = at[where]! + value) - value,
      compareExchange: () => 0,
      wait: (at, where) => {
        count += 1;
        clock += waitMs;
        if (count === doneIn) at[where] = 1;
      },
      notify: () => undefined,
      nowMs: () => clock,
    };
    const own = CopyBoard.create(1).words;
    putUp(port, own, 1);
    return [awaitChunks(port, own, 1, 10_000), count];
  }

  test('are given up in the end, whose last moment is early enough', () => {
    expect(waits(1000, 11)).toEqual([false, 10]);
    expect(waits(1000, 10)).toEqual([true, 10]);
  });

  test('are waited for after all threads stood still', () => {
    expect(waits(60_000, 2)).toEqual([true, 2]);
  });
});

test('bells have cache lines of their own', () => {
  const board = CopyBoard.create(3);
  expect([0, 1, 2].map((helper) => CopyBoard.bell(helper) % 16)).toEqual([0, 0, 0]);
  expect(CopyBoard.bell(0)).toBe(FIRST_BELL);
  expect(board.words.length).toBeGreaterThan(CopyBoard.bell(2));
});
