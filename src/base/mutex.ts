/**
 * A fair mutex for code that waits while holding it. Taking it is synchronous when it is free;
 * ownership is handed to the first waiter, so nobody slips in between.
 */
import { assert } from './assert.ts';
import type { MaybePromise } from './maybe.ts';

export class Mutex {
  private held = false;
  private readonly queue: (() => void)[] = [];

  /** Takes the mutex. May wait. */
  lock(): MaybePromise<void> {
    if (!this.held) {
      this.held = true;
      return;
    }
    return new Promise((resolve) => this.queue.push(resolve));
  }

  /** Releases the mutex or hands it to the first waiter. */
  unlock(): void {
    assert(this.held, 'a mutex is unlocked by its holder');
    const next = this.queue.shift();
    if (next === undefined) this.held = false;
    else next();
  }
}
