/**
 * How a core tells the kernel's event loop that the ring has something for it. One of three kinds,
 * by what the host can do: `Atomics.waitAsync` (browsers), a message (Node, whose event loop does
 * not hear of waitAsync), or a call where both are in one thread. Our own.
 */
import { CORE_RUNG, DOORBELL } from './control.ts';

/** The core's side. */
export interface Doorbell {
  /** Tells the kernel to look at the ring. Context: any thread; never blocks. */
  ring(): void;
}

/** The kernel's side; stops listening when closed. */
export interface DoorbellListener {
  close(): void;
}

/** The parts of a MessagePort that a doorbell needs, in browsers and in Node. */
export interface BellPort {
  postMessage(message: unknown): void;
}
export interface HearingPort {
  onmessage: ((event: never) => void) | null;
}

/** Does something when everything that waits now has had its turn. */
export interface Deferral {
  request(): void;
  close(): void;
}

/** A bell that whoever sleeps on the header's word hears, by waitAsync. */
export function wordBell(words: Int32Array): Doorbell {
  return {
    ring() {
      Atomics.add(words, DOORBELL, 1);
      Atomics.notify(words, DOORBELL);
    },
  };
}

/**
 * A bell that sends a message, one until the kernel has looked: a program that rings without end
 * must not fill its queue.
 *
 * @param block First word of the core's block.
 */
export function portBell(port: BellPort, words: Int32Array, block: number): Doorbell {
  return {
    ring() {
      if (Atomics.exchange(words, block + CORE_RUNG, 1) === 0) port.postMessage(null);
    },
  };
}

/** Calls `answer` whenever the portBell of a core rings. Context: kernel thread. */
export function listenToPort(
  port: HearingPort,
  words: Int32Array,
  block: number,
  answer: () => void,
): void {
  port.onmessage = () => {
    // Before the look: what comes after it rings again.
    Atomics.store(words, block + CORE_RUNG, 0);
    answer();
  };
}

/** A bell that calls the kernel at once, in the same thread. */
export function directBell(answer: () => void): Doorbell {
  return { ring: answer };
}

/** True where `listenToWord` works: the event loop hears of Atomics.waitAsync. */
export function canWaitAsync(): boolean {
  return 'waitAsync' in Atomics;
}

/** Looks for rings in a row, before others get their turn. */
const LOOKS = 16;

/**
 * Milliseconds for which it looks at the word before it sleeps, if all was answered at once: a core
 * that goes through memory traps again after a microsecond, and to be woken takes thirty. And
 * milliseconds after which others get their turn all the same.
 */
const LINGER_MS = 0.03;
const LINGERS_MS = 0.1;

/**
 * Calls `answer` whenever a wordBell rings. Context: kernel thread.
 *
 * @param answer Whether all that was asked is answered, so that who rang may ring again at once.
 * @param defer Makes something happen after others.
 */
export function listenToWord(
  words: Int32Array,
  answer: () => boolean,
  defer: (work: () => void) => Deferral,
  nowMs: () => number,
): DoorbellListener {
  const state = { isOpen: true };
  const ringsAgain = (rung: number, last: number): boolean => {
    let now = nowMs();
    const end = Math.min(last, now + LINGER_MS);
    for (; now < end; now = nowMs()) if (Atomics.load(words, DOORBELL) !== rung) return true;
    return false;
  };
  const listen = (): void => {
    const last = nowMs() + LINGERS_MS;
    for (let looks = 0; state.isOpen; looks++) {
      if (looks === LOOKS) return later.request();
      const rung = Atomics.load(words, DOORBELL);
      if (answer() && ringsAgain(rung, last)) continue;
      const wait = Atomics.waitAsync(words, DOORBELL, rung);
      if (!wait.async) continue;
      void wait.value.then(listen);
      return;
    }
  };
  const later = defer(listen);
  listen();
  return {
    close() {
      state.isOpen = false;
      later.close();
      Atomics.notify(words, DOORBELL);
    },
  };
}
