/**
 * Machines in Node: the kernel and each core in a worker thread. Threads are started from files
 * beside this module, as the packed package has them; from sources, `workers` has to name bundles.
 */
import { Worker } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { errno } from '../base/errno.ts';
import { nodeCoreThreads } from './core-threads-node.ts';
import { MachineError, OpenError } from './errors.ts';
import type { WorkerFiles } from './create-options.ts';
import type { Platform } from './platform.ts';

/** The platform of a Node process. */
export const hostPlatform: Platform = {
  async startKernel(options) {
    const files = options.workers ?? ownFiles();
    // A driver that only a thread had loaded would go with the thread, in the middle of its work.
    if (options.engine !== 'cpu') await loadWebGpu();
    const worker = new Worker(files.kernel, { name: 'kernel' });
    const died = new Promise<never>((_resolve, reject) => {
      worker.on('error', (error: Error) => reject(new MachineError('died', error.message)));
      worker.on('exit', (code) => {
        reject(new MachineError('died', `its thread ended with code ${code}`));
      });
    });
    return {
      endpoint: nodeEndpoint(worker),
      died,
      cores: nodeCoreThreads(files.core),
      terminate: () => void worker.terminate(),
    };
  },
};

function ownFiles(): WorkerFiles {
  if (import.meta.url.endsWith('.ts')) {
    throw new OpenError({
      errno: errno.ENODEV,
      cause: 'these are sources, which threads of Node can not be started from',
      remedy: 'name bundles in `workers`, as openNodeMachine of cli/node-machine.ts does',
    });
  }
  const beside = (name: string): URL => new URL(name, import.meta.url);
  return { kernel: beside('kernel-worker.js'), core: beside('core-worker.js') };
}

async function loadWebGpu(): Promise<void> {
  try {
    await import('webgpu');
  } catch (error) {
    throw new OpenError({
      errno: errno.ENODEV,
      cause: `the package webgpu can not be loaded (${(error as Error).message})`,
      remedy: "run `npm install webgpu`, or ask for engine: 'cpu'",
    });
  }
}
