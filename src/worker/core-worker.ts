/**
 * Entry of a core's worker in browsers. It holds a Web Lock as long as it lives: whoever gets the
 * lock next knows that this thread stores to memory no more, which `terminate` alone does not say.
 */
import { runCore } from './core-thread.ts';
import type { CoreBoot } from './core-thread.ts';

addEventListener(
  'message',
  ({ data }: MessageEvent<CoreBoot>) => {
    void navigator.locks.request(data.lock, async () => {
      await runCore(data, (message) => postMessage(message));
      // The host ends the worker, and with it the lock.
      await new Promise(() => undefined);
    });
  },
  { once: true },
);
