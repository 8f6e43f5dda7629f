/**
 * Machines in browsers: the kernel and each core in a dedicated worker.
 *
 * The page asks for an adapter before it starts the kernel worker: some Chromium versions answer a
 * worker's first request with null while the GPU process is still starting, and wait properly only
 * here.
 */
import { errno } from '../base/errno.ts';
import { webCoreThreads } from './core-threads-web.ts';
import { MachineError, OpenError } from './errors.ts';
import type { Platform } from './platform.ts';

/** The platform of a page. */
export const hostPlatform: Platform = {
  async startKernel(options) {
    if (typeof Worker === 'undefined') {
      throw new OpenError({
        errno: errno.ENODEV,
        cause: 'there are no web workers here',
        remedy: 'call Machine.create in a page or worker that can start workers',
      });
    }
    if (options.engine !== 'cpu') await navigator.gpu?.requestAdapter();
    const worker = new Worker(new URL('./kernel-worker.ts', import.meta.url), { type: 'module' });
    let fail: (why: string) => void = () => undefined;
    const died = new Promise<never>((_resolve, reject) => {
      fail = (why) => reject(new MachineError('died', why));
    });
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      fail(event.message ?? 'it could not be loaded');
    });
    return {
      endpoint: worker,
      died,
      adopt(hold) {
        const lock = `webhmm-kernel-${crypto.randomUUID()}`;
        // Who gets the lock next knows that the worker is gone.
        void hold(lock).then(() => navigator.locks.request(lock, () => fail('its worker ended')));
      },
      cores: webCoreThreads(),
      terminate: () => worker.terminate(),
    };
  },
};
