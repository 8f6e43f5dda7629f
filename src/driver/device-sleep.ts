/**
 * Whether a device is suspended, and who waits until it is not. See suspend.ts, which changes it.
 */
/** Awake, on the way to sleep, asleep, on the way back. */
export type SleepState = 'awake' | 'going' | 'asleep' | 'waking';

/** The sleep of one device. */
export class DeviceSleep {
  /** Set by `change`. */
  state: SleepState = 'awake';
  /** The machine ends: it does not go to sleep any more. */
  isOver = false;
  private waiting: (() => void)[] = [];

  /**
   * Waits until a device that is asleep is awake. On the way to sleep nobody waits: whoever has the
   * device's fault lock may need a command before he gives it back.
   */
  async whenAwake(): Promise<void> {
    while (this.isClosed) await this.nextChange();
  }

  /** Whether `whenAwake` would wait. */
  get isClosed(): boolean {
    return this.state === 'asleep' || this.state === 'waking';
  }

  /** Waits until it is awake or asleep. */
  async whenSettled(): Promise<void> {
    while (this.state === 'going' || this.state === 'waking') await this.nextChange();
  }

  /** Whoever waits looks again, in the order in which they came. */
  change(state: SleepState): void {
    this.state = state;
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}
