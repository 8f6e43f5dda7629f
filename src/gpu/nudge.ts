/*
 * Keeps a browser's GPU process looking for finished work.
 *
 * In Chromium, by the times that we see, the GPU process begins submitted work, or looks whether it
 * is done, when messages arrive, soon after, and then every two milliseconds. Work that takes half
 * a millisecond is answered after one or after three, by luck. An error scope without content is a
 * message that is answered at once and changes nothing. The first is sent a quarter of a
 * millisecond into a wait, which is as long as the shortest answers take; a few follow, each on the
 * answer to the last, then one a millisecond, since long work loses what they compute. Nothing is
 * sent for shorter waits, and never two at a time.
 *
 * Dawn in Node looks by itself; there nothing is sent.
 *
 * Locking. None; single-threaded. Source: our own; figures in docs/performance.md.
 */
import { isNode } from './is-node.ts';

/** Milliseconds into a wait before the first nudge. */
const FIRST_MS = 0.25;
/** Milliseconds between the nudges after the quick ones. */
const PAUSE_MS = 1;
/** Nudges that follow each other without a pause. */
const QUICK_NUDGES = 3;

/** Calls `then` after so many milliseconds. */
type Delay = (ms: number, then: () => void) => void;

/** Nobody wakes who sleeps here. Made when it is wanted: not every page has shared memory. */
let bed: Int32Array<SharedArrayBuffer> | null = null;

/** Timers have whole milliseconds, waits for a word any fraction. */
const delayed: Delay = (ms, then) => {
  bed ??= new Int32Array(new SharedArrayBuffer(4));
  const wait = 'waitAsync' in Atomics ? Atomics.waitAsync(bed, 0, 0, ms) : null;
  if (wait?.async === true) void wait.value.then(then);
  else setTimeout(then, Math.ceil(ms));
};

/** See the file header. One for each device. */
export class Nudger {
  /** Nudges sent so far. */
  sent = 0;
  private readonly device: Pick<GPUDevice, 'pushErrorScope' | 'popErrorScope'>;
  private isNeeded: boolean;
  private readonly delay: Delay;
  /** Answers that somebody waits for. */
  private waits = 0;
  /** Nudges since the last timer of a first one. */
  private quick = 0;
  /** Counts the times that nobody waited: tells a long wait from several short ones. */
  private pauses = 0;
  /** `pauses` when the timer was set, or the nudge sent, that is under way. */
  private since = 0;
  /** A timer or a nudge is under way. */
  private isBusy = false;
  private readonly onTimer = (): void => this.nudge();
  private readonly onAnswer = (): void => this.again();
  private readonly onLoss = (): void => {
    this.isBusy = false;
  };

  /**
   * @param isNeeded whether the environment has to be nudged; default: everywhere but in Node
   * @param delay the clock to go by; default: the environment's
   */
  constructor(
    device: Pick<GPUDevice, 'pushErrorScope' | 'popErrorScope'>,
    isNeeded = !isNode(),
    delay = delayed,
  ) {
    this.device = device;
    this.isNeeded = isNeeded;
    this.delay = delay;
  }

  /** Somebody begins to wait for `answers` answers of the device. */
  begin(answers = 1): void {
    this.waits += answers;
    if (!this.isBusy && this.isNeeded) this.first();
  }

  /** One of the answers came, or will never come. */
  end(): void {
    this.waits -= 1;
    if (this.waits === 0) this.pauses += 1;
  }

  /** The device is lost: nothing is sent any more. */
  stop(): void {
    this.isNeeded = false;
  }

  /** Waits for one answer. Rejects as it does. */
  async until<T>(answer: Promise<T>): Promise<T> {
    this.begin();
    try {
      return await answer;
    } finally {
      this.end();
    }
  }

  /** Sets the timer of a wait that has just begun, or may have. */
  private first(): void {
    this.quick = 0;
    this.after(FIRST_MS);
  }

  private after(ms: number): void {
    this.isBusy = true;
    this.since = this.pauses;
    this.delay(ms, this.onTimer);
  }

  private nudge(): void {
    if (this.waits === 0 || !this.isNeeded) {
      this.isBusy = false;
      return;
    }
    if (this.since !== this.pauses) {
      this.first();
      return;
    }
    this.sent += 1;
    this.device.pushErrorScope('validation');
    this.device.popErrorScope().then(this.onAnswer, this.onLoss);
  }

  private again(): void {
    this.quick += 1;
    if (this.quick < QUICK_NUDGES || this.waits === 0) this.nudge();
    else this.after(PAUSE_MS);
  }
}

const nudgers = new WeakMap<object, Nudger>();

/** The nudger of a device. */
export function nudgerOf(device: GPUDevice): Nudger {
  let nudger = nudgers.get(device);
  if (nudger === undefined) {
    nudger = new Nudger(device);
    nudgers.set(device, nudger);
    void device.lost.then(() => nudger?.stop());
  }
  return nudger;
}
