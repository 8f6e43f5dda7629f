/**
 * A thread that is blocked on a word of shared memory until this thread's event loop has done
 * something for it: what any fault of a core costs that is served here, whoever serves it. With
 * nothing to do it is a bare round trip (G10); with a bare readback to do it is the least that a
 * blocking fault on device memory can cost (G8).
 */
import type { BenchCore } from './bench-core.ts';
import type { Operation } from './sampler.ts';

/** Words of a question (0) and its answer (1). */
export function questionWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(8));
}

/**
 * Answers on these words from this thread's event loop, as the kernel does, until it is told to
 * end.
 *
 * @param work what is done before the answer; nothing by default
 */
export function answerByLoop(words: Int32Array, work?: () => Promise<unknown>): () => void {
  const state = { isOpen: true };
  const answer = (question: number): void => {
    Atomics.store(words, 1, question);
    Atomics.notify(words, 1);
  };
  const listen = (): void => {
    while (state.isOpen) {
      const question = Atomics.load(words, 0);
      if (work !== undefined && question !== Atomics.load(words, 1)) {
        void work().then(() => {
          answer(question);
          listen();
        });
        return;
      }
      answer(question);
      const wait = Atomics.waitAsync(words, 0, question);
      if (!wait.async) continue;
      void wait.value.then(listen);
      return;
    }
  };
  listen();
  return () => {
    state.isOpen = false;
    Atomics.notify(words, 0);
  };
}

/** An operation whose time is what another thread says. */
export function timedElsewhere(
  prepare: () => Promise<void>,
  measure: () => Promise<number>,
  verify?: () => Promise<string | null>,
): Operation {
  let total = 0;
  const run = async (): Promise<number> => {
    total += await measure();
    return 0;
  };
  return { prepare, run, clock: () => total, ...(verify === undefined ? {} : { verify }) };
}

/** A bare operation of this thread, for a core that is blocked until it is done. */
export interface BlockedOperation {
  readonly operation: Operation;
  /** Ends the listening. */
  close(): void;
}

/**
 * @param bare what is done for the core; timed there, from the question to the answer
 * @param before what else precedes each sample, so that all sides begin alike
 */
export function blockedOn(
  bare: Operation,
  core: BenchCore,
  before: () => Promise<unknown>,
): BlockedOperation {
  const words = questionWords();
  let failure: string | null = null;
  const close = answerByLoop(words, async () => {
    try {
      await bare.run();
    } catch (error) {
      failure = String(error);
    }
  });
  const operation = timedElsewhere(
    async () => {
      await bare.prepare?.(false);
      await before();
    },
    () => core.ask(words),
    async () => failure ?? (await bare.verify?.()) ?? null,
  );
  return { operation, close };
}
