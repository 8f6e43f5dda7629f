/**
 * Lets others have the thread now and then: on the CPU engine a launch waits for nobody, and what
 * cores, timers and callers want would wait for its end.
 *
 * In Node by setImmediate: a port that is written to all the time keeps timers and other ports
 * waiting there for a thousand messages. Elsewhere by a message, which timers do not delay.
 */
import type { MaybePromise } from '../base/maybe.ts';

/** Milliseconds between two turns. */
const TURN_MS = 2;

const host = globalThis as { readonly setImmediate?: (work: () => void) => unknown };

export class Turns {
  private since = performance.now();
  private channel: MessageChannel | null = null;
  private next: () => void = () => undefined;

  /** Waits for others, when it is time. */
  give(): MaybePromise<void> {
    if (performance.now() - this.since < TURN_MS) return;
    return new Promise((resolve) => {
      this.next = () => {
        this.since = performance.now();
        resolve();
      };
      if (host.setImmediate !== undefined) host.setImmediate(this.next);
      else this.port().postMessage(null);
    });
  }

  /** Gives back what it took. */
  close(): void {
    this.channel?.port1.close();
  }

  private port(): MessagePort {
    if (this.channel === null) {
      this.channel = new MessageChannel();
      this.channel.port1.onmessage = () => this.next();
    }
    return this.channel.port2;
  }
}
