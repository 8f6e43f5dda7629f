/** Copy threads in browsers: dedicated workers. */
import type { CopyThreads } from './copy-crew.ts';

/** The host of copy threads. @param _file Browsers have the module bundled. */
export function copyThreadsOf(_file?: string): CopyThreads {
  return {
    start: (boot) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(new URL('./copy-worker.ts', import.meta.url), { type: 'module' });
        worker.addEventListener('message', () => resolve(worker));
        worker.addEventListener('error', (event) => {
          event.preventDefault();
          worker.terminate();
          reject(new Error(`a copy thread can not be started: ${event.message ?? 'not loaded'}`));
        });
        worker.postMessage(boot);
      }),
  };
}
