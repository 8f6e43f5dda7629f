/** Threads of cores in browsers: dedicated workers, whose death a Web Lock proves. */
import { CORE_MAY_NOT, CORE_PERMIT, ControlMap } from '../cpu/control.ts';
import { canWaitAsync } from '../cpu/doorbell.ts';
import type { CoreMessage } from '../cpu/program.ts';
import type { CoreThreads } from './core-host.ts';
import type { CoreBoot } from './core-thread.ts';

/** The threads of a page. */
export function webCoreThreads(): CoreThreads {
  return {
    hearsWords: canWaitAsync(),
    newChannel: () => new MessageChannel(),
    start: startWorker,
  };
}

const startWorker: CoreThreads['start'] = (boot, onMessage, onDead) => {
  // Bundlers find the worker by this very form, with options that say nothing of this moment.
  const worker = new Worker(new URL('./core-worker.ts', import.meta.url), { type: 'module' });
  let why = 'its thread ended by itself';
  let isWatched = false;
  /** The lock is granted when the thread that holds it is gone. */
  const watch = (): void => {
    if (isWatched) return;
    isWatched = true;
    void navigator.locks.request(boot.lock, () => {
      worker.terminate();
      onDead(why);
    });
  };
  const end = (cause: string): void => {
    if (!isWatched) why = cause;
    worker.terminate();
    // Who has not begun to run the program never will: then nobody holds the lock.
    forbid(boot);
    watch();
  };
  worker.addEventListener('message', ({ data }: MessageEvent<CoreMessage | null>) => {
    if (data === null) watch();
    else onMessage(data);
  });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    // A script that can't be loaded is an event without a message.
    const { message } = event as Partial<ErrorEvent>;
    why = `the core's worker failed: ${message ?? 'its script could not be loaded'}`;
    end(why);
  });
  const { bell } = boot;
  try {
    worker.postMessage(boot, bell === null ? [] : [bell as MessagePort]);
  } catch (error) {
    worker.terminate();
    throw error;
  }
  return { terminate: () => end('ended') };
};

function forbid({ image }: CoreBoot): void {
  const map = ControlMap.attach(image.control, image.ringCapacity);
  const permit = map.block(image.slot) + CORE_PERMIT;
  Atomics.compareExchange(map.words, permit, 0, CORE_MAY_NOT);
}
