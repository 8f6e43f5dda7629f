/**
 * How a core tells the kernel's event loop that the ring has something for it. One of three kinds,
 * by what the host can do: `Atomics.waitAsync` (browsers), a message (Node, whose event loop does
 * not hear of waitAsync), or a call where both are in one thread. Our own.
 */
import { DOORBELL } from './control.ts';

/** The core's side. */
export interface Doorbell {
  /** Tells the kernel to look at the ring. Context: any thread; never blocks. */
  ring(): void;
}

/** The kernel's side; stops listening when closed. */
export interface DoorbellListener {
  close(): void;
}

/** The part of a MessagePort that a doorbell needs, in browsers and in Node. */
export interface BellPort {
  postMessage(message: unknown): void;
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

/** A bell that sends a message. */
export function portBell(port: BellPort): Doorbell {
  return { ring: () => port.postMessage(null) };
}

/** A bell that calls the kernel at once, in the same thread. */
export function directBell(answer: () => void): Doorbell {
  return { ring: answer };
}

/** True where `listenToWord` works: the event loop hears of Atomics.waitAsync. */
export function canWaitAsync(): boolean {
  return 'waitAsync' in Atomics;
}

/** Calls `answer` whenever a wordBell rings. Context: kernel thread. */
export function listenToWord(words: Int32Array, answer: () => void): DoorbellListener {
  const state = { isOpen: true };
  const listen = (): void => {
    while (state.isOpen) {
      const rung = Atomics.load(words, DOORBELL);
      answer();
      const wait = Atomics.waitAsync(words, DOORBELL, rung);
      if (!wait.async) continue;
      void wait.value.then(listen);
      return;
    }
  };
  listen();
  return {
    close() {
      state.isOpen = false;
      Atomics.notify(words, DOORBELL);
    },
  };
}
