/*
 * An actor as a tree of its executions: a node is a point at which it is about to do an operation,
 * with one child for each way in which that has turned out so far. Where it is in its program and
 * all that it remembers follow from the results on the way to the node, so a node's number stands
 * for the actor's state.
 */
import type { MaybePromise } from '../../src/base/maybe.ts';
import { isPending } from '../../src/base/maybe.ts';
import { Replay, Yield } from './replay.ts';
import type { Op } from './replay.ts';

/** What an actor does, from its start, with new objects each time. */
export type Program = (replay: Replay) => MaybePromise<void>;

export class Actor {
  readonly name: string;
  readonly ops: Op[] = [];
  /** Executions of the program so far. */
  replays = 0;
  private readonly program: Program;
  private readonly logs: (readonly number[])[] = [];
  /** By the result of a node's operation; that of one without is 0. */
  private readonly children: Map<number, number>[] = [];
  /** Nodes by the state of the actor. */
  private readonly keys = new Map<string, number>();

  constructor(name: string, program: Program) {
    this.name = name;
    this.program = program;
  }

  /** Makes the first node, number 0. */
  async start(): Promise<void> {
    await this.grow([], new Map(), 0);
  }

  /** The node after `node` when its operation turned out so; -1 when it has to be made first. */
  next(node: number, result: number): number {
    return this.children[node]!.get(result) ?? -1;
  }

  /** Makes the node that `next` lacked. */
  async make(node: number, result: number): Promise<void> {
    await this.grow([...this.logs[node]!, result], this.children[node]!, result);
  }

  /** Makes what follows that log, and hangs it where `children` has `result`. */
  private async grow(
    log: readonly number[],
    children: Map<number, number>,
    result: number,
  ): Promise<void> {
    const replay = new Replay(log);
    this.replays++;
    const ended = new Promise<void>((resolve) => (replay.onEnd = resolve));
    this.execute(replay);
    await ended;
    let into = children;
    let by = result;
    for (const op of replay.fresh) {
      const known = op.key === '' ? undefined : this.keys.get(op.key);
      const node = known ?? this.ops.length;
      into.set(by, node);
      // From here on all goes as it did before.
      if (known !== undefined) return;
      if (op.key !== '') this.keys.set(op.key, node);
      this.ops.push(op);
      this.logs.push(log);
      into = new Map();
      by = 0;
      this.children.push(into);
    }
  }

  private execute(replay: Replay): void {
    const stop = (error: unknown): void => {
      if (!(error instanceof Yield)) replay.finish(error);
    };
    try {
      const running = this.program(replay);
      if (isPending(running)) void running.then(() => replay.finish(null), stop);
      else replay.finish(null);
    } catch (error) {
      stop(error);
    }
  }
}
