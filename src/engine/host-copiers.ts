/*
 * The port to threads that help an engine with copies within the shared memory. An engine without
 * them does these jobs alone; src/worker has the threads. Source: our own.
 */
import type { CommandList } from './command-list.ts';

/** Several threads that copy within the shared memory, the engine's own among them. */
export interface HostCopiers {
  /** How many threads there are, the engine's own included. */
  readonly threads: number;
  /** How many of them the next lists use, 1 to `threads`; at first all. */
  active: number;

  /**
   * Does the copies and clears of a list whose frames all lie below `hostFrames`; other rows are
   * left alone. All of them are complete on return. Done bits are left to the caller.
   *
   * @param list a list that has passed `checkCommandList`
   *
   * Context: the engine's thread; blocks it while another thread is in the middle of a piece.
   */
  run(list: CommandList, hostFrames: number): void;

  /** Ends the other threads. */
  close(): void;
}
