/**
 * Holds a launch between two passes, as its caller says by a shared word: after a pass, with its
 * faults raised and not served yet, so that no lock is held and others go on.
 */
import type { MaybePromise } from '../base/maybe.ts';
import { LAUNCH_HELD, LAUNCH_LIMIT } from './protocol-launch.ts';

/** Milliseconds between two looks whether it may go on. */
const LOOK_MS = 5;

export class LaunchHold {
  /** Milliseconds for which it was held. */
  heldMs = 0;
  private readonly words: Int32Array;
  private readonly isEnded: () => boolean;

  /**
   * @param words of the launch, shared with its caller
   * @param isEnded whether the launch is to end, held or not
   */
  constructor(words: Int32Array, isEnded: () => boolean) {
    this.words = words;
    this.isEnded = isEnded;
  }

  /** Waits as long as a launch that has done so many passes is to be held. */
  wait(passes: number): MaybePromise<void> {
    return this.isHeld(passes) ? this.hold(passes) : undefined;
  }

  private isHeld(passes: number): boolean {
    const limit = Atomics.load(this.words, LAUNCH_LIMIT);
    return limit !== 0 && passes >= limit - 1 && !this.isEnded();
  }

  private async hold(passes: number): Promise<void> {
    const from = performance.now();
    Atomics.store(this.words, LAUNCH_HELD, 1);
    // Looked for, as not every host can wait for a word without standing still.
    while (this.isHeld(passes)) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    Atomics.store(this.words, LAUNCH_HELD, 0);
    this.heldMs += performance.now() - from;
  }
}
