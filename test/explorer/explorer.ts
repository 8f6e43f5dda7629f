/*
 * Explores all interleavings of some actors: from each state, every actor that can do its next
 * operation does it. States that were seen are not explored again. Those with fewer steps behind
 * them come first, so what is wrong is found with the fewest.
 */
import type { Actor } from './actor.ts';
import {
  ADD,
  CAS,
  CHOOSE,
  CRASH,
  DONE,
  KILL,
  LOAD,
  NOTIFY,
  TIMED_OUT,
  WAIT,
  WRITE,
} from './replay.ts';
import type { Op } from './replay.ts';
import type { Space } from './space.ts';
import { Visited } from './visited.ts';
import { Ways } from './ways.ts';

export const RUNNING = 0;
export const ASLEEP = 1;
export const KILLED = 2;

export interface Limits {
  /** Sleeps that may time out, of all actors together. */
  readonly timeouts: number;
  /** Sleeps that may end for no reason. */
  readonly spurious: number;
  /** States after which to give up. */
  readonly states: number;
}

export interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** Different schedules from the start to an end. */
  readonly interleavings: number;
  readonly ends: number;
  readonly isComplete: boolean;
  /** '' when all is well. */
  readonly failure: string;
  /** The shortest schedule that fails, a line for each operation. */
  readonly schedule: readonly string[];
}

/** States still to be explored that have the same number of steps behind them. */
class Bucket {
  private readonly width: number;
  private rows: Int32Array;
  private indices: Int32Array;
  count = 0;

  constructor(width: number) {
    this.width = width;
    this.rows = new Int32Array(width * 16);
    this.indices = new Int32Array(16);
  }

  push(state: Int32Array, index: number): void {
    if (this.count === this.indices.length) {
      const rows = new Int32Array(this.rows.length * 2);
      rows.set(this.rows);
      this.rows = rows;
      const indices = new Int32Array(this.indices.length * 2);
      indices.set(this.indices);
      this.indices = indices;
    }
    this.rows.set(state, this.count * this.width);
    this.indices[this.count++] = index;
  }

  take(i: number, into: Int32Array): number {
    const { rows, width } = this;
    for (let word = 0, at = i * width; word < width; word++, at++) into[word] = rows[at]!;
    return this.indices[i]!;
  }
}

const MOVES_PER_ACTOR = 32;
const TIME_OUT_MOVE = 30;
const SPURIOUS_MOVE = 31;

export class Explorer {
  private readonly actors: readonly Actor[];
  private readonly limits: Limits;
  private readonly state: Int32Array;
  private readonly scratch: Int32Array;
  private readonly visited = new Visited();
  private readonly ways = new Ways();
  /** States to be explored after those that are now. */
  private later: Bucket;
  private steps = 0;
  private ends = 0;
  private failure = '';
  /** The node that a step lacked, and with which result. */
  private lacking: { actor: number; node: number; result: number } | null = null;
  private trace: string[] | null = null;

  constructor(actors: readonly Actor[], space: Space, limits: Limits) {
    this.actors = actors;
    this.limits = limits;
    this.state = new Int32Array(space.width);
    this.scratch = new Int32Array(space.width);
    this.later = new Bucket(space.width);
  }

  /**
   * Explores everything that can follow.
   *
   * @param prologue The actor that first does what it does without a choice, alone.
   * @param words Words that do not hold 0 at the start: [index, value, ...].
   */
  async explore(prologue: number, words: readonly number[] = []): Promise<Exploration> {
    const { actors, limits } = this;
    for (const actor of actors) await actor.start();
    const start = new Int32Array(this.state.length);
    start[2 * actors.length] = limits.timeouts;
    start[2 * actors.length + 1] = limits.spurious;
    for (let i = 0; i < words.length; i += 2) start[words[i]!] = words[i + 1]!;
    this.state.set(start);
    while (actors[prologue]!.ops[this.state[prologue]!]!.kind !== CHOOSE) {
      await this.go(prologue, 0);
      if (this.failure !== '') throw new Error(this.failure);
      this.state.set(this.scratch);
    }
    start.set(this.state);
    this.enqueue(start, -1, 0);
    let failed = -1;
    // Two that take turns: what one has grown to, the next but one needs as well.
    let bucket = new Bucket(start.length);
    while (this.later.count > 0 && failed < 0 && this.visited.count <= limits.states) {
      [bucket, this.later] = [this.later, bucket];
      this.later.count = 0;
      failed = await this.exploreBucket(bucket);
    }
    const isComplete = this.visited.count <= limits.states && failed < 0;
    const schedule = failed < 0 ? [] : await this.replaySchedule(start, failed);
    const { steps, ends, failure } = this;
    const states = this.visited.count;
    const interleavings = isComplete ? this.ways.countToEnds(states) : 0;
    return { states, steps, interleavings, ends, isComplete, failure, schedule };
  }

  /** @returns the number of a state from which something goes wrong, or -1. */
  private async exploreBucket(bucket: Bucket): Promise<number> {
    for (let i = 0; i < bucket.count; i++) {
      const index = bucket.take(i, this.state);
      const moves = this.findMoves();
      if (moves.length === 0) {
        this.failure = this.stuck();
        if (this.failure !== '') return index;
        this.ends++;
      }
      for (const move of moves) {
        const actor = Math.floor(move / MOVES_PER_ACTOR);
        const choice = move % MOVES_PER_ACTOR;
        if (!this.tryStep(actor, choice)) await this.go(actor, choice);
        this.steps++;
        if (this.failure !== '') {
          this.failedMove = move;
          return index;
        }
        this.enqueue(this.scratch, index, move);
      }
    }
    return -1;
  }

  private failedMove = -1;

  private enqueue(state: Int32Array, parent: number, move: number): void {
    const index = this.visited.add(state, parent, move);
    if (parent >= 0) this.ways.add(parent, index);
    if (this.visited.wasNew) this.later.push(state, index);
  }

  /** What can happen next in `state`. */
  private findMoves(): number[] {
    const { actors, state } = this;
    const count = actors.length;
    const moves: number[] = [];
    for (let i = 0; i < count; i++) {
      const mode = state[count + i]!;
      const op = actors[i]!.ops[state[i]!]!;
      if (mode === KILLED || op.kind === DONE) continue;
      const base = i * MOVES_PER_ACTOR;
      if (mode === ASLEEP) {
        const mayTimeOut = op.b === 1 && state[op.at] === op.a && state[2 * count]! > 0;
        if (mayTimeOut) moves.push(base + TIME_OUT_MOVE);
        if (state[2 * count + 1]! > 0) moves.push(base + SPURIOUS_MOVE);
      } else if (op.kind === CHOOSE) {
        for (let option = 0; option < op.options.length; option++) {
          if (op.options[option]!.isPossible(state)) moves.push(base + option);
        }
      } else moves.push(base);
    }
    return moves;
  }

  /** Nothing can happen any more: what is wrong with that, '' when everybody is done. */
  private stuck(): string {
    const { actors, state } = this;
    const left = actors.flatMap((actor, i) => {
      const op = actor.ops[state[i]!]!;
      const mode = state[actors.length + i];
      if (mode === KILLED || op.kind === DONE) return [];
      return [`${actor.name} ${mode === ASLEEP ? 'sleeps in' : 'is stuck before'} ${op.label}`];
    });
    return left.length === 0 ? '' : `deadlock: ${left.join('; ')}`;
  }

  /** Does one step of `state` into `scratch`; with it the quiet operations that follow. */
  private async go(actor: number, choice: number): Promise<void> {
    while (!this.tryStep(actor, choice)) {
      const { lacking } = this;
      await this.actors[lacking!.actor]!.make(lacking!.node, lacking!.result);
    }
  }

  /** As go; @returns false when a node has to be made first. */
  private tryStep(actor: number, choice: number): boolean {
    this.scratch.set(this.state);
    this.lacking = null;
    const traced = this.trace?.length ?? 0;
    this.step(actor, choice);
    if (this.lacking === null) return true;
    if (this.trace !== null) this.trace.length = traced;
    this.failure = '';
    return false;
  }

  private step(actor: number, choice: number): void {
    const { scratch } = this;
    this.perform(actor, choice);
    for (;;) {
      if (this.lacking !== null || this.failure !== '') return;
      if (scratch[this.actors.length + actor] !== RUNNING) return;
      const op = this.actors[actor]!.ops[scratch[actor]!]!;
      if (op.kind === CRASH) this.fail(`${this.actors[actor]!.name}: ${op.label}`);
      if (!op.isQuiet) return;
      this.perform(actor, 0);
    }
  }

  private perform(actor: number, choice: number): void {
    const { scratch, actors } = this;
    const op = actors[actor]!.ops[scratch[actor]!]!;
    let result = 0;
    switch (op.kind) {
      case LOAD:
        result = scratch[op.at]!;
        break;
      case CAS:
        result = scratch[op.at]!;
        if (result === op.a) scratch[op.at] = op.b;
        break;
      case WAIT:
        if (this.sleep(actor, op, choice)) return;
        result = choice === TIME_OUT_MOVE ? TIMED_OUT : 0;
        break;
      case CHOOSE:
        result = choice;
        write(scratch, op.options[choice]!.writes);
        break;
      case ADD:
        scratch[op.at]! += op.a;
        break;
      case KILL:
        scratch[actors.length + op.a] = KILLED;
        break;
      default:
    }
    const problem = op.check?.(scratch, result) ?? '';
    if (op.kind === WRITE) write(scratch, op.writes);
    this.note(actor, op, choice, result);
    this.advance(actor, result);
    if (op.kind === NOTIFY) this.wake(op.at);
    if (problem !== '') this.fail(`${actors[actor]!.name}, ${op.label}: ${problem}`);
  }

  /** @returns true when the actor is asleep now. */
  private sleep(actor: number, op: Op, choice: number): boolean {
    const { scratch, actors } = this;
    const mode = actors.length + actor;
    if (scratch[mode] === ASLEEP) {
      scratch[mode] = RUNNING;
      scratch[2 * actors.length + (choice === TIME_OUT_MOVE ? 0 : 1)]! -= 1;
      return false;
    }
    if (scratch[op.at] !== op.a) return false;
    scratch[mode] = ASLEEP;
    this.trace?.push(`${actors[actor]!.name}: ${op.label}: sleeps`);
    return true;
  }

  private wake(at: number): void {
    const { scratch, actors } = this;
    for (let i = 0; i < actors.length; i++) {
      if (scratch[actors.length + i] !== ASLEEP) continue;
      if (actors[i]!.ops[scratch[i]!]!.at !== at) continue;
      scratch[actors.length + i] = RUNNING;
      this.trace?.push(`  ${actors[i]!.name} wakes`);
      this.advance(i, 0);
    }
  }

  private advance(actor: number, result: number): void {
    const node = this.scratch[actor]!;
    const next = this.actors[actor]!.next(node, result);
    if (next < 0) this.lacking = { actor, node, result };
    else this.scratch[actor] = next;
  }

  private fail(message: string): void {
    if (this.failure === '') this.failure = message;
  }

  private note(actor: number, op: Op, choice: number, result: number): void {
    if (this.trace === null) return;
    let label = op.kind === CHOOSE ? op.options[choice]!.label : op.label;
    if (op.kind === LOAD || op.kind === CAS) label += ` = ${result}`;
    if (choice === TIME_OUT_MOVE) label += ': times out';
    if (choice === SPURIOUS_MOVE) label += ': wakes for no reason';
    this.trace.push(`${this.actors[actor]!.name}: ${label}`);
  }

  private async replaySchedule(start: Int32Array, failed: number): Promise<string[]> {
    const trace: string[] = [];
    const { failure } = this;
    const moves = this.visited.pathTo(failed);
    if (this.failedMove >= 0) moves.push(this.failedMove);
    this.state.set(start);
    this.trace = trace;
    for (const move of moves) {
      this.failure = '';
      await this.go(Math.floor(move / MOVES_PER_ACTOR), move % MOVES_PER_ACTOR);
      this.state.set(this.scratch);
    }
    this.trace = null;
    this.failure = failure;
    return trace;
  }
}

function write(state: Int32Array, writes: readonly number[]): void {
  for (let i = 0; i < writes.length; i += 2) state[writes[i]!] = writes[i + 1]!;
}
