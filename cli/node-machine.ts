/*
 * A machine for command line tools: the kernel worker in a worker thread of this Node process, on
 * the CPU engine or on Dawn.
 */
import { Worker } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { connectKernel } from '../src/index.ts';
import type { Machine, MachineOptions } from '../src/index.ts';
import { openNodeGpu } from './node-gpu.ts';
import { bundleNodeWorker } from './node-worker.ts';

/**
 * Opens a machine whose kernel runs in a thread of its own.
 *
 * @param say called with lines for people
 * @throws UsageError without an adapter, OpenError when the machine can't be built
 */
export async function openNodeMachine(
  options: MachineOptions,
  say: (line: string) => void,
): Promise<Machine> {
  // The main thread has to have loaded the driver before a worker's Dawn looks for it.
  if (options.engine !== 'cpu') await openNodeGpu(say);
  const worker = new Worker(await bundleNodeWorker('src/worker/kernel-worker-node.ts'));
  const died = new Promise<never>((_resolve, reject) => {
    worker.on('error', (error) => reject(error));
    worker.on('exit', (code) => reject(new Error(`the kernel worker ended with code ${code}`)));
  });
  const end = (): void => void worker.terminate();
  return connectKernel(nodeEndpoint(worker), died, end, options);
}
