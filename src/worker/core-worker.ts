/**
 * Entry of a core's worker in browsers. It holds a Web Lock as long as it lives: whoever gets the
 * lock next knows that this thread stores to memory no more, which `terminate` alone does not say.
 * A worker that was terminated before it had the lock may come so far as to get it, but finds that
 * it may not run the program any more.
 */
import { CORE_MAY_RUN, CORE_PERMIT, ControlMap } from '../cpu/control.ts';
import { runCore } from './core-thread.ts';
import type { CoreBoot } from './core-thread.ts';

addEventListener(
  'message',
  ({ data }: MessageEvent<CoreBoot>) => {
    void navigator.locks.request(data.lock, async () => {
      const { control, ringCapacity, slot } = data.image;
      const map = ControlMap.attach(control, ringCapacity);
      const permit = map.block(slot) + CORE_PERMIT;
      if (Atomics.compareExchange(map.words, permit, 0, CORE_MAY_RUN) !== 0) return;
      // From now on the host asks for the lock, and hears when this thread ends by itself.
      postMessage(null);
      await runCore(data, (message) => postMessage(message));
      // The host ends the worker, and with it the lock.
      await new Promise(() => undefined);
    });
  },
  { once: true },
);
