/**
 * Copy threads in Node (worker_threads). They are started from a file beside this module, as the
 * packed package has it; from sources, the machine has to be told where there is one.
 */
import { Worker } from 'node:worker_threads';
import type { CopyThreads } from './copy-crew.ts';

/** The host of copy threads. @param file Address of copy-worker.js; by default beside this one. */
export function copyThreadsOf(file?: string): CopyThreads {
  return {
    start: (boot) =>
      new Promise((resolve, reject) => {
        if (file === undefined && import.meta.url.endsWith('.ts')) {
          throw new Error('these are sources; name a bundle of copy-worker-node.ts in `workers`');
        }
        const entry = new URL(file ?? new URL('copy-worker.js', import.meta.url));
        const worker = new Worker(entry, { workerData: boot, name: `copy ${boot.helper}` });
        worker.on('message', () => {
          // It sleeps most of its life, and keeps no process alive.
          worker.unref();
          resolve({ terminate: () => void worker.terminate() });
        });
        worker.on('error', (error: Error) => {
          reject(new Error(`a copy thread can not be started: ${error.message}`));
        });
      }),
  };
}
