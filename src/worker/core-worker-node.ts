/** Entry of a core's thread in Node (worker_threads), whose host hears of its end. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { runCore } from './core-thread.ts';
import type { CoreBoot } from './core-thread.ts';

assert(parentPort !== null, 'a core runs in a worker thread');
const port = parentPort;
await runCore(workerData as CoreBoot, (message) => port.postMessage(message));
