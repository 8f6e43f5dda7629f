/* The three doorbells, in one thread. */
import { describe, expect, test } from 'vitest';
import { ControlMap, DOORBELL } from '../../../src/cpu/control.ts';
import {
  canWaitAsync,
  directBell,
  listenToPort,
  listenToWord,
  portBell,
  wordBell,
} from '../../../src/cpu/doorbell.ts';
import type { Deferral } from '../../../src/cpu/doorbell.ts';

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** What comes after others: the next turn of the event loop. */
const defer = (work: () => void): Deferral => ({
  request: () => void setImmediate(work),
  close: () => undefined,
});

const now = (): number => performance.now();

/** Waits until it holds, for ten seconds at most. */
async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !holds(); i++) await turn();
}

describe('doorbells', () => {
  test('a direct bell calls at once, once a ring', () => {
    let calls = 0;
    const bell = directBell(() => calls++);
    bell.ring();
    expect(calls).toBe(1);
    bell.ring();
    expect(calls).toBe(2);
  });

  test('a port bell sends one message until the kernel has looked', () => {
    const map = ControlMap.create(4);
    const block = map.block(2);
    let [messages, looks] = [0, 0];
    const port = { postMessage: () => void messages++, onmessage: null as (() => void) | null };
    const bell = portBell(port, map.words, block);
    listenToPort(port, map.words, block, () => looks++);
    bell.ring();
    bell.ring();
    expect([messages, looks]).toEqual([1, 0]);
    port.onmessage!();
    bell.ring();
    expect([messages, looks]).toEqual([2, 1]);
  });

  test('a word bell counts its rings, across the wrap', () => {
    const { words } = ControlMap.create(4);
    words[DOORBELL] = 2 ** 31 - 1;
    wordBell(words).ring();
    expect(words[DOORBELL]).toBe(-(2 ** 31));
  });
});

describe.runIf(canWaitAsync())('listening to the word', () => {
  test('looks at once, and again when it rings; not after it was closed', async () => {
    const { words } = ControlMap.create(4);
    let looks = 0;
    const listener = listenToWord(words, () => ++looks < 0, defer, now);
    expect(looks).toBe(1);
    // Keeps the event loop awake: Node does not, for waitAsync alone.
    const awake = setInterval(() => undefined, 1);
    wordBell(words).ring();
    await until(() => looks === 2);
    expect(looks).toBe(2);
    listener.close();
    await turn();
    const after = looks;
    wordBell(words).ring();
    await turn();
    clearInterval(awake);
    expect(looks).toBe(after);
  });

  test('a ring during a look is not lost', async () => {
    const { words } = ControlMap.create(4);
    const bell = wordBell(words);
    let looks = 0;
    const listener = listenToWord(
      words,
      () => {
        if (++looks === 1) bell.ring();
        return false;
      },
      defer,
      now,
    );
    await until(() => looks === 2);
    expect(looks).toBe(2);
    listener.close();
  });

  /** Looks at a word that rings when the clock is read for the nth time. */
  function looksAt(isAnswered: boolean, ringAt: number, stepMs: number): number {
    const { words } = ControlMap.create(4);
    const state = { looks: 0, reads: 0 };
    const clock = (): number => {
      state.reads += 1;
      if (state.reads === ringAt) wordBell(words).ring();
      return state.reads * stepMs;
    };
    const answer = (): boolean => {
      state.looks += 1;
      return isAnswered;
    };
    listenToWord(words, answer, defer, clock).close();
    return state.looks;
  }

  test('who was answered at once and rings again is heard at once', () => {
    expect(looksAt(true, 5, 0.001)).toBe(2);
  });

  test('nobody is waited for who was not answered, or rings late', () => {
    expect(looksAt(false, 5, 0.001)).toBe(1);
    // The clock is read twice before the first look, and 30 times in as many microseconds.
    expect(looksAt(true, 32, 0.001)).toBe(2);
    expect(looksAt(true, 33, 0.001)).toBe(1);
  });

  test('others get their turn, however often it rings', async () => {
    const { words } = ControlMap.create(4);
    const bell = wordBell(words);
    let looks = 0;
    let ms = 0;
    const clock = (): number => {
      bell.ring();
      return (ms += 0.001);
    };
    const listener = listenToWord(words, () => ++looks > 0, defer, clock);
    expect(looks).toBe(16);
    await until(() => looks >= 32);
    expect(looks % 16).toBe(0);
    listener.close();
  });
});
