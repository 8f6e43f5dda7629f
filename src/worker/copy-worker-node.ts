/** Entry of a copy thread in Node (worker_threads). */
import { parentPort, workerData } from 'node:worker_threads';
import { runHelper } from './copy-crew.ts';
import type { CopyBoot } from './copy-crew.ts';

parentPort?.postMessage('ready');
runHelper(workerData as CopyBoot);
