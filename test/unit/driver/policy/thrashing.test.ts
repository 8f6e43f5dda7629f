/**
 * The thrashing detector, driven by scripted times (T1 to T4). Oracles: the driver's constants, and
 * figures that were computed apart from this code for a page that CPU and device compete for.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../../src/base/prng.ts';
import { PING_PONG, pingPong } from '../../../../src/driver/policy/ping-pong.ts';
import {
  HINT_NONE,
  HINT_PIN,
  HINT_THROTTLE,
  ThrashingDetector,
  UVM_THRASHING,
} from '../../../../src/driver/policy/thrashing.ts';

const CPU = 0;
const DEVICE = 1;

/** Lets page 0 move to and fro `moves` times, `apart` µs between; ends at the returned time. */
function alternate(detector: ThrashingDetector, moves: number, apart: number, from = 1000): number {
  let now = from;
  for (let i = 0; i < moves; i++) {
    detector.record(0, i % 2 === 0 ? DEVICE : CPU, now);
    now += apart;
  }
  return now - apart;
}

/** A detector for which page 0 thrashes. */
function thrashing(params = {}): { detector: ThrashingDetector; now: number } {
  const detector = new ThrashingDetector(512, { ...UVM_THRASHING, tuning: 'off', ...params });
  return { detector, now: alternate(detector, 5, 100) };
}

describe('T1: a scripted ping-pong', () => {
  test('is detected at the 5th migration, not at the 4th', () => {
    const detector = new ThrashingDetector(512);
    alternate(detector, 4, 100);
    expect([detector.isThrashing(0), detector.stats.detected]).toEqual([false, 0]);
    detector.record(0, DEVICE, 1400);
    expect([detector.isThrashing(0), detector.stats.detected]).toEqual([true, 1]);
  });

  test.each([
    [500, true],
    [501, false],
  ])('%i us apart: detected is %s', (apart, isSeen) => {
    const detector = new ThrashingDetector(512);
    alternate(detector, 12, apart);
    expect(detector.isThrashing(0)).toBe(isSeen);
  });

  test('moves to one processor alone are none', () => {
    const detector = new ThrashingDetector(512);
    for (let i = 0; i < 10; i++) detector.record(0, DEVICE, 1000 + i * 10);
    expect(detector.isThrashing(0)).toBe(false);
  });

  test('the first who asks in a period is favoured, the other waits until it is over', () => {
    const { detector, now } = thrashing();
    expect(detector.hint(0, DEVICE, now + 10)).toBe(HINT_NONE);
    expect(detector.hint(0, CPU, now + 20)).toBe(HINT_THROTTLE);
    expect(detector.throttledUntil(0)).toBe(now + 10 + 500);
    expect(detector.hint(0, CPU, now + 30)).toBe(HINT_THROTTLE);
    // Back every few µs, it is counted once.
    expect(detector.stats.throttles).toBe(1);
  });

  test('after 10 throttlings the favoured one pins the page, after 9 it does not', () => {
    const { detector, now } = thrashing({ nap: 0.5 });
    let at = now;
    let throttlings = 0;
    const hints: number[] = [];
    for (let period = 0; period < 12; period++) {
      at += 251;
      const favoured = period % 2 === 0 ? DEVICE : CPU;
      const hint = detector.hint(0, favoured, at);
      hints.push(hint);
      if (hint === HINT_PIN) break;
      if (detector.hint(0, 1 - favoured, at + 1) === HINT_THROTTLE) throttlings++;
      detector.record(0, favoured, at + 2);
    }
    expect(hints.filter((one) => one === HINT_NONE).length).toBe(hints.length - 1);
    expect(throttlings).toBe(10);
    expect(hints.at(-1)).toBe(HINT_PIN);
  });

  test('a page pinned on the device moves to the CPU as soon as the CPU is favoured', () => {
    const { detector, now } = thrashing({ pinThreshold: 1, nap: 0.5 });
    expect(detector.hint(0, DEVICE, now + 1)).toBe(HINT_NONE);
    expect(detector.hint(0, CPU, now + 2)).toBe(HINT_THROTTLE);
    // The next period favours the one that was not favoured.
    expect(detector.hint(0, CPU, now + 260)).toBe(HINT_PIN);
    expect(detector.pinAt).toBe(CPU);
    expect(detector.hint(0, DEVICE, now + 261)).toBe(HINT_PIN);
    expect([detector.pinAt, detector.stats.pinsRemote]).toEqual([CPU, 1]);
  });

  test('a preferred location that all can reach takes the page at once', () => {
    const { detector, now } = thrashing();
    expect(detector.hint(0, DEVICE, now + 10, CPU)).toBe(HINT_PIN);
    expect(detector.pinAt).toBe(CPU);
  });

  test('nobody pins at a preferred device that the CPU can not reach', () => {
    const { detector, now } = thrashing();
    expect(detector.hint(0, CPU, now + 10, DEVICE)).toBe(HINT_NONE);
    expect(detector.hint(0, DEVICE, now + 11, DEVICE)).toBe(HINT_THROTTLE);
  });
});

describe('T2: the epoch', () => {
  const epoch = 1_000_000;

  test('a second without thrashing forgets the page, and a moment less does not', () => {
    const { detector, now } = thrashing();
    expect(detector.hint(0, DEVICE, now + epoch)).toBe(HINT_NONE);
    expect([detector.isThrashing(0), detector.stats.resets]).toEqual([true, 0]);
    expect(detector.hint(0, DEVICE, now + epoch + 1)).toBe(HINT_NONE);
    expect([detector.isThrashing(0), detector.stats.resets]).toEqual([false, 1]);
  });

  test('four times, then the page stays a thrashing one', () => {
    const detector = new ThrashingDetector(512, { ...UVM_THRASHING, tuning: 'off' });
    let now = 1000;
    for (let i = 0; i < 6; i++) {
      now = alternate(detector, 5, 100, now) + epoch + 1;
      detector.hint(0, DEVICE, now);
      expect(detector.isThrashing(0)).toBe(i >= 4);
      now += 1000;
    }
    expect(detector.stats.resets).toBe(4);
  });
});

describe('T3: a pin ends', () => {
  test('after 150 ms, not a moment before; the page starts anew', () => {
    const { detector, now } = thrashing();
    detector.hint(0, DEVICE, now + 10, CPU);
    const end = now + 10 + 150_000;
    expect(detector.unpinDue(0, end - 1)).toBe(false);
    expect(detector.pinnedAt(0)).toBe(CPU);
    expect(detector.unpinDue(0, end)).toBe(true);
    expect([detector.pinnedAt(0), detector.isThrashing(0)]).toEqual([-1, false]);
  });

  test('a pin time of 0 pins for ever', () => {
    const { detector, now } = thrashing({ pin: 0 });
    detector.hint(0, DEVICE, now + 10, CPU);
    expect(detector.unpinDue(0, now + 1e12)).toBe(false);
  });

  test('a pin that can not be made throttles instead', () => {
    const { detector, now } = thrashing();
    detector.hint(0, DEVICE, now + 10, CPU);
    expect(detector.pinFailed(0, DEVICE)).toBe(HINT_THROTTLE);
    expect(detector.pinnedAt(0)).toBe(-1);
  });
});

describe('T4: the lapse tunes itself', () => {
  /** Asks so many times, always `since` µs after the last event. */
  function vote(tuning: 'off' | 'wrap' | 'fixed', times: number, since: number): number {
    // One long period, so that the device stays favoured and every question counts.
    const detector = new ThrashingDetector(512, { ...UVM_THRASHING, tuning, nap: 100 });
    let now = alternate(detector, 5, 100);
    for (let i = 0; i < times; i++) {
      now += since;
      detector.hint(0, DEVICE, now);
      detector.record(0, DEVICE, now);
    }
    return detector.lapseUs;
  }

  test('32 votes for more make it an eighth longer, 31 do not', () => {
    expect([vote('fixed', 31, 500), vote('fixed', 32, 500)]).toEqual([500, 562.5]);
  });

  test('32 votes for less make it shorter as the driver means to, not as it does', () => {
    expect([vote('fixed', 31, 10), vote('fixed', 32, 10)]).toEqual([500, 437.5]);
    expect([vote('wrap', 32, 10), vote('wrap', 128, 10)]).toEqual([500, 500]);
  });

  test('129 votes for less wrap in a signed byte, and make it longer', () => {
    expect(vote('wrap', 129, 10)).toBe(562.5);
  });

  test('is off where the user has set the lapse', () => {
    expect([vote('off', 200, 10), vote('off', 200, 500)]).toEqual([500, 500]);
  });
});

describe('a page that CPU and device compete for, over a second', () => {
  const run = (params: object) => {
    const detector = new ThrashingDetector(512, { ...UVM_THRASHING, ...params });
    return { ...pingPong(detector, PING_PONG, new Prng(1)), lapse: detector.lapseUs };
  };

  test('moves ten thousand times without a detector', () => {
    expect(pingPong(undefined, PING_PONG, new Prng(1)).moves).toBeGreaterThan(10_000);
  });

  test('nap = lapse without tuning: the pin is never reached', () => {
    const { movesToPin, moves } = run({ tuning: 'off' });
    expect(movesToPin).toBe(-1);
    expect(moves).toBeGreaterThan(5000);
  });

  test('with the tuning as it is: a pin after some hundred moves, the lapse drifts up', () => {
    const { movesToPin, firstPinUs, lapse } = run({ tuning: 'wrap' });
    expect(movesToPin).toBeGreaterThanOrEqual(270);
    expect(movesToPin).toBeLessThanOrEqual(560);
    expect(firstPinUs).toBeLessThan(100_000);
    expect(lapse).toBeGreaterThanOrEqual(633);
    expect(lapse).toBeLessThanOrEqual(902);
  });

  test('half the nap: a pin after 15 moves, then 150 ms remote, 112 moves a second', () => {
    const { movesToPin, firstPinUs, moves } = run({ nap: 0.5, tuning: 'off' });
    expect([movesToPin, moves]).toEqual([15, 112]);
    expect(firstPinUs).toBeGreaterThanOrEqual(2700);
    expect(firstPinUs).toBeLessThanOrEqual(3500);
  });
});
