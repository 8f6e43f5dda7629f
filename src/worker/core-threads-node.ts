/** Threads of cores in Node (worker_threads), which tell when they are gone. */
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Transferable } from 'node:worker_threads';
import type { CoreMessage } from '../cpu/program.ts';
import type { CoreThreads } from './core-host.ts';

/** @param entry The module of core-worker-node.ts, as a file that Node runs. */
export function nodeCoreThreads(entry: URL): CoreThreads {
  return {
    // Node 20's event loop sleeps through waitAsync.
    hearsWords: false,
    newChannel: () => new MessageChannel() as unknown as ReturnType<CoreThreads['newChannel']>,
    start(boot, onMessage, onDead) {
      const { bell } = boot;
      const transferList = bell === null ? [] : [bell as unknown as Transferable];
      const worker = new Worker(entry, {
        workerData: boot,
        transferList: transferList as never,
        name: `core ${boot.image.slot}`,
      });
      let why = 'its thread ended by itself';
      worker.on('message', (message: CoreMessage) => onMessage(message));
      worker.on('error', (error: Error) => (why = `the core's thread failed: ${error.message}`));
      worker.on('exit', () => onDead(why));
      return { terminate: () => void worker.terminate() };
    },
  };
}
