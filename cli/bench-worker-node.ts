/*
 * The benchmark in a worker thread of Node, bundled as every thread's entry is. The main thread has
 * seen to it that Dawn finds a driver. A message "abort" stops the run, which then closes the
 * machine: Dawn ends the whole process with a message of its own when a thread goes while the GPU
 * is at work.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { runSuites } from '../bench/run-suites.ts';
import type { WorkerMessage } from '../bench/bench-client.ts';
import type { BenchOptions, BenchProgress } from '../bench/types.ts';

/** Gives this thread `navigator.gpu` and the WebGPU constants. */
async function openDawn(): Promise<void> {
  const holder = globalThis as typeof globalThis & { heldGpu?: GPU };
  const { create, globals } = await import('webgpu');
  // Dawn aborts the process when this object is collected while a device lives.
  holder.heldGpu = create(process.platform === 'linux' ? ['backend=vulkan'] : []);
  Object.assign(globalThis, globals);
  const value = { gpu: holder.heldGpu };
  Object.defineProperty(globalThis, 'navigator', { value, configurable: true });
}

function send(message: WorkerMessage): void {
  parentPort?.postMessage(message);
}

const abort = new AbortController();
parentPort?.on('message', (message: unknown) => {
  if (message === 'abort') abort.abort(new Error('the run was stopped'));
});
const options = workerData as BenchOptions;
if (options.engine !== 'cpu') await openDawn();
try {
  const onProgress = (progress: BenchProgress): void => send({ kind: 'progress', progress });
  const report = await runSuites(options, onProgress, abort.signal);
  send({ kind: 'report', report });
} catch (error) {
  send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}
