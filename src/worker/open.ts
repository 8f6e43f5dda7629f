/**
 * Two ways to a machine: `bootMachine` builds it in this thread, `openMachine` in a kernel worker
 * of its own, so that the page stays responsive.
 *
 * The page asks for an adapter before it starts the worker: some Chromium versions answer a
 * worker's first request with null while the GPU process is still starting, and wait properly only
 * here.
 */
import * as Comlink from 'comlink';
import { errno } from '../base/errno.ts';
import { boot } from './boot.ts';
import { CoreHost } from './core-host.ts';
import type { CoreKernel, CoreThreads } from './core-host.ts';
import { webCoreThreads } from './core-threads-web.ts';
import { OpenError } from './errors.ts';
import { Machine } from './machine.ts';
import type { KernelLink, LocalMachine } from './machine.ts';
import type { KernelApi, MachineOptions, OpenFailure } from './protocol.ts';

/** What the kernel worker exposes before there is a kernel. */
export interface KernelWorkerApi extends KernelApi {
  /** Builds the machine. To be called once, first. */
  boot(options: MachineOptions): Promise<OpenFailure | null>;
}

const NO_WORKERS: OpenFailure = {
  errno: errno.ENODEV,
  cause: 'there are no web workers here',
  remedy: 'in Node use bootMachine, or connectKernel with a worker thread of your own',
};

/**
 * Builds a machine in the calling thread: for workers of your own, Node and tests.
 * Throws OpenError.
 */
export async function bootMachine(options: MachineOptions = {}): Promise<LocalMachine> {
  const kernel = await boot(options);
  if ('remedy' in kernel) throw new OpenError(kernel);
  // A promise of its own: what waits for it must go with the machine.
  const died = new Promise<never>(() => undefined);
  const link: KernelLink = { api: kernel, died, dispose: () => undefined };
  return Object.assign(new Machine(link, kernel.report()), { kernel });
}

/**
 * Starts a kernel worker and builds a machine in it. Browser only (in Node see
 * `connectKernel`). Throws OpenError; later calls reject with an Error when the worker dies.
 */
export async function openMachine(options: MachineOptions = {}): Promise<Machine> {
  if (typeof Worker === 'undefined') throw new OpenError(NO_WORKERS);
  if (options.engine !== 'cpu') await navigator.gpu?.requestAdapter();
  const worker = new Worker(new URL('./kernel-worker.ts', import.meta.url), { type: 'module' });
  const died = new Promise<never>((_resolve, reject) => {
    worker.addEventListener('error', (event) => {
      reject(new Error(`the kernel worker died: ${event.message}`));
    });
  });
  const end = (): void => worker.terminate();
  return connectKernel(worker, died, end, options, webCoreThreads());
}

/**
 * Builds a machine in a worker that runs kernel-worker code and listens on `endpoint`. Throws
 * OpenError.
 *
 * @param died Rejects when the worker ends unasked. @param terminate Ends the worker.
 * @param threads How to start CPU cores; without it, the machine has none.
 */
export async function connectKernel(
  endpoint: Comlink.Endpoint,
  died: Promise<never>,
  terminate: () => void,
  options: MachineOptions,
  threads: CoreThreads | null = null,
): Promise<Machine> {
  const remote = Comlink.wrap<KernelWorkerApi>(endpoint);
  const dispose = (): void => {
    remote[Comlink.releaseProxy]();
    terminate();
  };
  // A worker that dies after `close` must not become an unhandled rejection.
  died.catch(() => undefined);
  try {
    const failure = await Promise.race([remote.boot(options), died]);
    if (failure !== null) throw new OpenError(failure);
    const report = await Promise.race([remote.report(), died]);
    const cores = threads === null ? null : new CoreHost(coreKernel(remote), threads);
    return new Machine({ api: remote, died, dispose, cores }, report);
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The calls that a host of cores makes, with the ports it sends along handed over. */
function coreKernel(remote: Comlink.Remote<KernelWorkerApi>): CoreKernel {
  return {
    attachHost: (port) => remote.attachHost(Comlink.transfer(port, [port])),
    startCore: (pid, bell) =>
      remote.startCore(pid, bell === null ? null : Comlink.transfer(bell, [bell])),
    endCore: (slot) => remote.endCore(slot),
  };
}
