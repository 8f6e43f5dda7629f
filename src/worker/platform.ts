/**
 * What a machine with a kernel worker needs of its host: threads. There is one platform for
 * browsers and one for Node; `#platform` (package.json) names the one of the host.
 */
import type * as Comlink from 'comlink';
import type { CoreThreads } from './core-host.ts';
import type { CreateOptions } from './create-options.ts';

/** A kernel worker that has been started. */
export interface KernelThread {
  readonly endpoint: Comlink.Endpoint;
  /** Rejects with MachineError when the thread ends unasked; never resolves. */
  readonly died: Promise<never>;
  /**
   * Called first, for hosts that don't say when a thread has ended. `hold` makes the thread hold a
   * Web Lock of that name as long as it lives, and resolves when it does.
   */
  readonly adopt?: (hold: (lock: string) => Promise<void>) => void;
  /** How cores are started beside it. */
  readonly cores: CoreThreads;
  terminate(): void;
}

/** A host of machines. */
export interface Platform {
  /** Starts the kernel worker. Throws OpenError where there can be none. */
  startKernel(options: CreateOptions): Promise<KernelThread>;
}
