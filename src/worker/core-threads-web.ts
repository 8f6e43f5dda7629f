/** Threads of cores in browsers: dedicated workers, whose death a Web Lock proves. */
import { canWaitAsync } from '../cpu/doorbell.ts';
import type { CoreThreads } from './core-host.ts';
import type { CoreMessage } from '../cpu/program.ts';

/** The threads of a page. */
export function webCoreThreads(): CoreThreads {
  return {
    hearsWords: canWaitAsync(),
    newChannel: () => new MessageChannel(),
    start(boot, onMessage, onDead) {
      // Bundlers find the worker by this very form, with options that say nothing of this moment.
      const worker = new Worker(new URL('./core-worker.ts', import.meta.url), { type: 'module' });
      let isEnding = false;
      const end = (why: string): void => {
        if (isEnding) return;
        isEnding = true;
        worker.terminate();
        // Granted when the thread is gone, or never came so far as to ask for it.
        void navigator.locks.request(boot.lock, () => onDead(why));
      };
      worker.addEventListener('message', ({ data }: MessageEvent<CoreMessage>) => onMessage(data));
      worker.addEventListener('error', (event) => {
        event.preventDefault();
        end(`the core's worker failed: ${event.message}`);
      });
      const { bell } = boot;
      worker.postMessage(boot, bell === null ? [] : [bell as MessagePort]);
      return { terminate: () => end('ended') };
    },
  };
}
