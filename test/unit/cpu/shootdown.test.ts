/* Shootdown step by step, on a port that notes what is done in which order. */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  CORE_DEAD,
  CORE_FREE,
  CORE_NUDGE,
  CORE_PARKED,
  CORE_REQUEST,
  CORE_RUNNING,
  CORE_SIGNAL,
  CORE_STATUS,
  ControlMap,
  NUDGED,
  makeStatus,
  nextRequest,
  statusAcknowledged,
  statusState,
} from '../../../src/cpu/control.ts';
import {
  CoreGate,
  SPINS,
  awaitFlush,
  claimCore,
  coreState,
  isFlushed,
  markCoreDead,
  releaseCore,
  requestFlush,
  signalCore,
} from '../../../src/cpu/shootdown.ts';
import { NotingPort } from './noting-port.ts';

const map = ControlMap.create(4);
const { words } = map;
const block = map.block(3);
const LAST_REQUEST = 2 ** 29 - 1;

let port: NotingPort;
let flushes: number;

beforeEach(() => {
  words.fill(0);
  port = new NotingPort(map, 3);
  flushes = 0;
});

function newGate(): CoreGate {
  claimCore(port, words, block);
  const gate = new CoreGate(port, words, block, () => {
    flushes++;
    port.notes.push('empties the TLB');
  });
  port.notes.length = 0;
  return gate;
}

const status = (): number[] => [
  statusAcknowledged(words[block + CORE_STATUS]!),
  statusState(words[block + CORE_STATUS]!),
];

describe('status and requests', () => {
  test.each([0, 1, 2 ** 28, LAST_REQUEST])('request %d is kept beside each state', (request) => {
    for (const state of [CORE_FREE, CORE_RUNNING, CORE_PARKED, CORE_DEAD]) {
      const word = makeStatus(request, state) | 0;
      expect([statusAcknowledged(word), statusState(word)]).toEqual([request, state]);
    }
  });

  test('numbers of requests wrap', () => {
    expect([nextRequest(0), nextRequest(LAST_REQUEST - 1)]).toEqual([1, LAST_REQUEST]);
    expect(nextRequest(LAST_REQUEST)).toBe(0);
  });
});

describe('the side of a core', () => {
  test('polls by one load when nothing is asked', () => {
    const gate = newGate();
    gate.unpark();
    port.notes.length = 0;
    expect(gate.poll()).toBe(0);
    expect([port.notes, flushes]).toEqual([['load nudge'], 0]);
  });

  test('empties its TLB, then acknowledges, then wakes the kernel', () => {
    const gate = newGate();
    gate.unpark();
    requestFlush(port, words, block);
    port.notes.length = 0;
    gate.poll();
    expect(port.notes).toEqual([
      'load nudge',
      'store nudge',
      'load request',
      'empties the TLB',
      'store status',
      'notify status',
      'load signal',
    ]);
    expect(status()).toEqual([1, CORE_RUNNING]);
  });

  test('answers several requests at once, and across the wrap', () => {
    words[block + CORE_REQUEST] = LAST_REQUEST - 1;
    const gate = newGate();
    gate.unpark();
    expect(flushes).toBe(0);
    for (let i = 0; i < 3; i++) requestFlush(port, words, block);
    gate.poll();
    expect([status(), flushes]).toEqual([[1, CORE_RUNNING], 1]);
  });

  test('parks by saying so, then looking who waits; keeps what it has acknowledged', () => {
    words[block + CORE_REQUEST] = 5;
    const gate = newGate();
    gate.unpark();
    port.notes.length = 0;
    gate.park();
    expect(port.notes).toEqual(['store status', 'load request']);
    expect(status()).toEqual([5, CORE_PARKED]);
  });

  test('wakes the kernel when it parks with a request that it has not seen', () => {
    const gate = newGate();
    gate.unpark();
    requestFlush(port, words, block);
    port.notes.length = 0;
    gate.park();
    expect(port.notes).toEqual(['store status', 'load request', 'notify status']);
    expect(status()).toEqual([0, CORE_PARKED]);
  });

  test('unparks by saying that it runs, then looking for requests', () => {
    const gate = newGate();
    requestFlush(port, words, block);
    port.notes.length = 0;
    gate.unpark();
    expect(port.notes.slice(0, 5)).toEqual([
      'store status',
      'load nudge',
      'store nudge',
      'load request',
      'empties the TLB',
    ]);
    expect(status()).toEqual([1, CORE_RUNNING]);
  });

  test('a request that comes while the core looks for one is heard by its next poll', () => {
    const gate = newGate();
    gate.unpark();
    requestFlush(port, words, block);
    const load = port.load.bind(port);
    port.load = (all, at) => {
      const value = load(all, at);
      if (at === block + CORE_REQUEST && value === 1) {
        port.load = load;
        requestFlush(port, words, block);
      }
      return value;
    };
    gate.poll();
    expect(status()).toEqual([1, CORE_RUNNING]);
    gate.poll();
    expect([status(), flushes]).toEqual([[2, CORE_RUNNING], 2]);
  });

  test('a nudge without a new request is taken back, and nothing else happens', () => {
    const gate = newGate();
    gate.unpark();
    words[block + CORE_NUDGE] = NUDGED;
    port.notes.length = 0;
    expect([gate.poll(), gate.poll(), flushes]).toEqual([0, 0, 0]);
    expect(port.notes).toEqual(['load nudge', 'store nudge', 'load request', 'load nudge']);
  });

  test('hears of a signal with the request, and once', () => {
    const gate = newGate();
    gate.unpark();
    signalCore(port, words, block, 9);
    expect([gate.poll(), gate.poll()]).toEqual([9, 0]);
  });
});

describe('the side of the kernel', () => {
  test('makes a request, then nudges', () => {
    requestFlush(port, words, block);
    expect(port.notes).toEqual(['load request', 'store request', 'store nudge']);
    expect(new Float64Array(words.buffer)[(block + CORE_NUDGE - 1) / 2]).toBeNaN();
  });

  test.each([
    [CORE_FREE, 0, true],
    [CORE_PARKED, 0, true],
    [CORE_DEAD, 0, true],
    [CORE_RUNNING, 0, false],
    [CORE_RUNNING, 6, false],
    [CORE_RUNNING, 7, true],
  ])('state %d that has acknowledged %d: request 7 is met: %s', (state, seen, isMet) => {
    words[block + CORE_STATUS] = makeStatus(seen, state);
    expect(isFlushed(port, words, block, 7)).toBe(isMet);
  });

  test('does not sleep for a core that is parked', () => {
    words[block + CORE_STATUS] = makeStatus(0, CORE_PARKED);
    expect(awaitFlush(port, words, block, 7, 100)).toBe(true);
    expect(port.notes).toEqual(['load status']);
  });

  test('gives up at the deadline, not before', () => {
    words[block + CORE_STATUS] = makeStatus(6, CORE_RUNNING);
    port.clock = 10;
    expect(awaitFlush(port, words, block, 7, 30)).toBe(false);
    expect(port.slept).toEqual([20]);
    expect(port.clock).toBe(30);
  });

  test('a deadline that has passed: looks, but does not sleep', () => {
    words[block + CORE_STATUS] = makeStatus(6, CORE_RUNNING);
    port.clock = 30;
    expect(awaitFlush(port, words, block, 7, 30)).toBe(false);
    expect(port.slept).toEqual([]);
    expect(port.notes.length).toBeGreaterThan(SPINS);
  });

  test('sleeps again when it was woken for something else', () => {
    words[block + CORE_STATUS] = makeStatus(5, CORE_RUNNING);
    port.onSleep = () => {
      words[block + CORE_STATUS] = makeStatus(5 + port.slept.length, CORE_RUNNING);
      port.clock += 1;
    };
    expect(awaitFlush(port, words, block, 7, 100)).toBe(true);
    expect(port.slept).toEqual([100, 99]);
  });

  test('a claimed slot is parked, with all requests met and no signal', () => {
    words[block + CORE_REQUEST] = 11;
    words[block + CORE_SIGNAL] = 9;
    claimCore(port, words, block);
    expect([status(), words[block + CORE_SIGNAL]]).toEqual([[11, CORE_PARKED], 0]);
  });

  test('a dead core: nobody waits for it, who does wakes; then its slot is free', () => {
    words[block + CORE_STATUS] = makeStatus(6, CORE_RUNNING);
    markCoreDead(port, words, block);
    expect(port.notes).toEqual(['store status', 'notify status']);
    expect(isFlushed(port, words, block, 7)).toBe(true);
    expect(coreState(port, words, block)).toBe(CORE_DEAD);
    releaseCore(port, words, block);
    expect(coreState(port, words, block)).toBe(CORE_FREE);
  });
});
