/*
 * One execution of an actor from its start. Operations whose results are known from earlier
 * executions return them; what follows is collected until the next result is needed: there the
 * execution ends. So an actor can be stopped between any two operations, and resumed in as many
 * ways as that operation can turn out, without threads.
 */

export const LOAD = 0;
/** Several words at once: [index, value, ...]. */
export const WRITE = 1;
export const CAS = 2;
export const WAIT = 3;
export const NOTIFY = 4;
/** One of several ways to go on, of those that are possible now. */
export const CHOOSE = 5;
/** Stops another actor for good, wherever it is. */
export const KILL = 6;
export const DONE = 7;
export const CRASH = 8;
/** Adds `a` to a word; nobody asks for the result. */
export const ADD = 9;

/** A way to go on. */
export interface Option {
  readonly label: string;
  readonly isPossible: (words: Int32Array) => boolean;
  /** Written when it is taken: [index, value, ...]. */
  readonly writes: readonly number[];
}

export interface Op {
  readonly kind: number;
  readonly label: string;
  /** Index of the word. */
  readonly at: number;
  /** Expected value of CAS and WAIT; the actor of KILL. */
  readonly a: number;
  /** New value of CAS; 1 for a WAIT that may time out. */
  readonly b: number;
  readonly writes: readonly number[];
  readonly options: readonly Option[];
  /** Nobody else runs between the operation before and this one. */
  readonly isQuiet: boolean;
  /** Names the state of the actor before it, so that executions can be found to be alike. */
  key: string;
  /** What must hold when it happens: a message otherwise. `result` is that of a LOAD. */
  readonly check: ((words: Int32Array, result: number) => string) | null;
}

const PLAIN: Op = {
  kind: DONE,
  label: '',
  at: 0,
  a: 0,
  b: 0,
  writes: [],
  options: [],
  isQuiet: false,
  key: '',
  check: null,
};

/** An operation with these parts. */
export function makeOp(kind: number, label: string, parts: Partial<Op> = {}): Op {
  return { ...PLAIN, ...parts, kind, label };
}

/** Ends an execution; goes through everything. */
export class Yield extends Error {
  override readonly name: string = 'Yield';
}

/** One for all: where it was made matters to nobody. */
const YIELD = new Yield();

/** Result of a WAIT that timed out; else 0. */
export const TIMED_OUT = 2;

export class Replay {
  /** What the actor does after the last known result. */
  readonly fresh: Op[] = [];
  /** Called when the actor first learns nothing new any more. */
  onEnd: () => void = () => undefined;
  /** Called when the last known result is handed out. */
  onKnown: () => void = () => undefined;
  /** Called before each fresh operation. */
  onFresh: () => void = () => undefined;
  private readonly log: readonly number[];
  private position = 0;
  private key = '';
  private hasEnded = false;

  constructor(log: readonly number[]) {
    this.log = log;
  }

  get isFresh(): boolean {
    return this.position === this.log.length;
  }

  /** Does an operation without a result. */
  effect(op: Op): void {
    if (this.hasEnded) throw YIELD;
    if (!this.isFresh) return;
    this.onFresh();
    this.push(op);
  }

  /** Appends to what is done before the operation that is being prepared. */
  insert(op: Op): void {
    this.push(op);
  }

  /**
   * Between two operations: the actor is in that state.
   *
   * @param name Makes the state's name; null where that can't be done. Only called when needed.
   */
  checkpoint(name: () => string | null): void {
    if (this.isFresh && !this.hasEnded) this.key = name() ?? '';
  }

  private push(op: Op): void {
    op.key = this.key;
    this.key = '';
    this.fresh.push(op);
  }

  /** Does an operation with a result. */
  value(op: Op): number {
    if (this.hasEnded) throw YIELD;
    if (this.isFresh) {
      this.onFresh();
      this.push(op);
      this.end();
      throw YIELD;
    }
    const result = this.log[this.position++]!;
    if (this.isFresh) this.onKnown();
    return result;
  }

  /** The actor has come to its end, well or not. */
  finish(error: unknown): void {
    if (this.hasEnded) return;
    const isCrash = error !== null;
    this.fresh.push(makeOp(isCrash ? CRASH : DONE, isCrash ? describe(error) : 'done'));
    this.end();
  }

  private end(): void {
    this.hasEnded = true;
    this.onEnd();
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
