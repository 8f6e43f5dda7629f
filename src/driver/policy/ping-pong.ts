/**
 * One page for which the CPU and a device compete: the smallest run of the thrashing detector.
 *
 * Each side works on the page for its think time, and faults when the other has taken it. The
 * device's throttled fault comes back with each replay; a throttled CPU sleeps for 1 to 1.5 times
 * what is left of the period.
 */
import type { Prng } from '../../base/prng.ts';
import type { ThrashingDetector } from './thrashing.ts';
import { HINT_PIN, HINT_THROTTLE } from './thrashing.ts';

const CPU = 0;
const DEVICE = 1;

/** How the two compete; times in µs. */
export interface PingPongOptions {
  readonly durationUs: number;
  /** Shortest and longest time between two accesses of one side. */
  readonly thinkUs: readonly [number, number];
  readonly serviceUs: number;
  readonly replayUs: number;
  /** Time of an access over the link to a page that is pinned elsewhere. */
  readonly remoteUs: number;
}

export const PING_PONG: PingPongOptions = {
  durationUs: 1_000_000,
  thinkUs: [10, 100],
  serviceUs: 30,
  replayUs: 30,
  remoteUs: 1,
};

/** What came of it. */
export interface PingPongResult {
  /** Times that the page moved. */
  readonly moves: number;
  /** Moves before the first pin; -1 if there was none. */
  readonly movesToPin: number;
  /** Time of the first pin, µs; -1 if there was none. */
  readonly firstPinUs: number;
  readonly accesses: readonly [number, number];
}

/**
 * Lets CPU and device compete for page 0.
 *
 * @param detector undefined for none
 *
 * Context: pure; the virtual clock is its own.
 */
export function pingPong(
  detector: ThrashingDetector | undefined,
  options: PingPongOptions,
  prng: Prng,
): PingPongResult {
  const { durationUs, thinkUs, serviceUs, replayUs, remoteUs } = options;
  const think = (): number => thinkUs[0] + prng.below(thinkUs[1] - thinkUs[0] + 1);
  const next = [think(), think()];
  const accesses: [number, number] = [0, 0];
  let at = CPU;
  let moves = 0;
  let movesToPin = -1;
  let firstPinUs = -1;
  let freeAt = 0;
  for (;;) {
    const who = next[CPU]! <= next[DEVICE]! ? CPU : DEVICE;
    const now = Math.max(next[who]!, freeAt);
    if (now >= durationUs) break;
    detector?.unpinDue(0, now);
    const isRemote = who !== at && who === DEVICE && detector?.pinnedAt(0) === CPU;
    if (who === at || isRemote) {
      accesses[who]++;
      next[who] = now + think() + (isRemote ? remoteUs : 0);
      continue;
    }
    const hint = detector?.hint(0, who, now, -1, at);
    if (hint === HINT_THROTTLE) {
      const left = Math.max(1, detector!.throttledUntil(0) - now);
      next[who] =
        who === CPU ? now + left * (1 + prng.below(51) / 100) : now + serviceUs + replayUs;
      continue;
    }
    const to = hint === HINT_PIN ? detector!.pinAt : who;
    if (hint === HINT_PIN && firstPinUs < 0) {
      firstPinUs = now;
      movesToPin = moves;
    }
    freeAt = now + serviceUs;
    next[who] = freeAt + (who === DEVICE ? replayUs : 0);
    if (to === at) continue;
    at = to;
    moves++;
    detector?.record(0, to, freeAt);
  }
  return { moves, movesToPin, firstPinUs, accesses };
}
