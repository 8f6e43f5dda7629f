/*
 * The simulator in its thread.
 */
import { Worker } from 'node:worker_threads';
import { bundleNodeWorker } from '../../cli/node-worker.ts';
import type { SimReply, SimRequest } from '../../cli/sim-worker.ts';

/** Has the thread answer one request. */
export async function askSimulator(request: SimRequest): Promise<SimReply[]> {
  const worker = new Worker(await bundleNodeWorker('cli/sim-worker.ts'));
  try {
    return await new Promise((resolve, reject) => {
      const replies: SimReply[] = [];
      worker.on('error', reject);
      worker.on('message', (message: SimReply) => {
        replies.push(message);
        if (message.kind === 'done') resolve(replies);
      });
      worker.postMessage(request);
    });
  } finally {
    await worker.terminate();
  }
}

/** What went wrong, with what repeats it; '' = nothing. */
export function failureIn(replies: readonly SimReply[]): string {
  const reply = replies.find((one) => one.kind === 'failure');
  if (reply === undefined) return '';
  const { seed, steps, message } = reply.failure;
  return `${message}\n\nseed ${seed}: npm run sim -- --seed ${seed} --steps ${steps}`;
}
