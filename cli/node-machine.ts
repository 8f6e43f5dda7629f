/*
 * A machine for command line tools: the kernel worker in a worker thread of this Node process, on
 * the CPU engine or on Dawn.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Machine } from '../src/index.ts';
import type { MachineOptions } from '../src/index.ts';
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
  const [kernel, core, copy] = await Promise.all([
    bundleNodeWorker('src/worker/kernel-worker-node.ts'),
    bundleNodeWorker('src/worker/core-worker-node.ts'),
    bundleNodeWorker('src/worker/copy-worker-node.ts'),
  ]);
  const opening = Machine.create({ ...options, workers: { kernel, core, copy } });
  onExit(async () => {
    const closed = opening.then((machine) => machine.close()).catch(() => {});
    await Promise.race([closed, delay(CLOSE_MS, undefined, { ref: false })]);
  });
  return opening;
}
