/*
 * A machine for command line tools: the kernel worker in a worker thread of this Node process, on
 * the CPU engine or on Dawn.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { connectKernel } from '../src/index.ts';
import type { Machine, MachineOptions } from '../src/index.ts';
import { nodeCoreThreads } from '../src/node.ts';
import { onExit, unlessStopped } from './cleanup.ts';
import { openNodeGpu } from './node-gpu.ts';
import { bundleNodeWorker } from './node-worker.ts';

/** How long a machine may take to close when the command ends. */
const CLOSE_MS = 4000;

/**
 * Opens a machine whose kernel runs in a thread of its own. It is closed when the command ends:
 * Dawn ends the whole process with a message of its own when a thread goes while the GPU is at
 * work.
 *
 * @param say called with lines for people
 * @throws UsageError without an adapter, OpenError when the machine can't be built
 */
export async function openNodeMachine(
  options: MachineOptions,
  say: (line: string) => void,
): Promise<Machine> {
  await unlessStopped();
  // The main thread has to have loaded the driver before a worker's Dawn looks for it.
  if (options.engine !== 'cpu') await openNodeGpu(say);
  const worker = new Worker(await bundleNodeWorker('src/worker/kernel-worker-node.ts'));
  const died = new Promise<never>((_resolve, reject) => {
    worker.on('error', (error) => reject(error));
    worker.on('exit', (code) => reject(new Error(`the kernel worker ended with code ${code}`)));
  });
  let isOver = false;
  const end = (): void => {
    isOver = true;
    void worker.terminate();
  };
  const coreEntry = await bundleNodeWorker('src/worker/core-worker-node.ts');
  const threads = nodeCoreThreads(coreEntry);
  const opening = connectKernel(nodeEndpoint(worker), died, end, options, threads);
  const close = async (): Promise<void> => (await opening).close();
  onExit(async () => {
    if (isOver) return;
    const closed = close().catch(() => {});
    await Promise.race([closed, delay(CLOSE_MS, undefined, { ref: false })]);
  });
  return opening;
}
