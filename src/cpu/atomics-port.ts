/**
 * What cores and the kernel do to the memory through which they talk: atomic operations, sleeping
 * and waking. In production these are the functions of `Atomics`; the explorer of interleavings
 * puts its own in their place, and decides there who runs next. Our own.
 */
export interface AtomicsPort {
  load(words: Int32Array, at: number): number;
  store(words: Int32Array, at: number, value: number): void;
  /** @returns the value before. */
  add(words: Int32Array, at: number, value: number): number;
  /** @returns the value before; it was replaced if that is `expected`. */
  compareExchange(words: Int32Array, at: number, expected: number, value: number): number;
  /** Sleeps while the word is `value`, at most `timeoutMs`. Context: blocks the thread. */
  wait(words: Int32Array, at: number, value: number, timeoutMs: number): void;
  /** Wakes all that sleep on the word. */
  notify(words: Int32Array, at: number): void;
  /** Milliseconds of a clock that never goes back. */
  nowMs(): number;
}

/** The port of production. @param nowMs The host's monotonic clock. */
export function atomicsOf(nowMs: () => number): AtomicsPort {
  return {
    load: (words, at) => Atomics.load(words, at),
    store: (words, at, value) => void Atomics.store(words, at, value),
    add: (words, at, value) => Atomics.add(words, at, value),
    compareExchange: (words, at, expected, value) =>
      Atomics.compareExchange(words, at, expected, value),
    wait: (words, at, value, timeoutMs) => void Atomics.wait(words, at, value, timeoutMs),
    notify: (words, at) => void Atomics.notify(words, at),
    nowMs,
  };
}
