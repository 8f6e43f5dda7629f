/**
 * Whether a device is suspended, and who waits until it is not. See suspend.ts, which changes it.
 */
import type { MaybePromise } from '../base/maybe.ts';

/** Awake, on the way to sleep, asleep, on the way back. */
export type SleepState = 'awake' | 'going' | 'asleep' | 'waking';

/** The sleep of one device. */
export class DeviceSleep {
  state: SleepState = 'awake';
  private readonly waiting: (() => void)[] = [];

  /**
   * Waits until a device that is asleep is awake. On the way to sleep nobody waits: whoever has the
   * device's fault lock may need a command before he gives it back.
   */
  whenAwake(): MaybePromise<void> {
    if (this.state === 'awake' || this.state === 'going') return;
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The device is awake: whoever waits goes on, in the order in which they came. */
  end(): void {
    this.state = 'awake';
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
