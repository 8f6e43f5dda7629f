/** What `Machine.create` may be told. */
import type { MachineOptions } from './protocol.ts';

/** Files that Node starts threads from, as URLs. */
export interface WorkerFiles {
  /** The kernel's: kernel-worker.js. */
  readonly kernel: URL;
  /** A core's: core-worker.js. */
  readonly core: URL;
  /** A copy thread's: copy-worker.js. Needed with `copyThreads`. */
  readonly copy?: URL;
}

/** What to build, and where it runs. */
export interface CreateOptions extends MachineOptions {
  /**
   * Node only: where the package's kernel-worker.js and the others are, for programs that
   * bundle WebHMM into a file of their own. By default they are beside the package's index.js.
   */
  readonly workers?: WorkerFiles;
}

/** The same as it reaches the kernel's thread. */
export interface BootOptions extends MachineOptions {
  /** Address of the file that copy threads of Node are started from. */
  readonly copyWorker?: string;
}

/** What the kernel's thread is told of `options`. */
export function bootOptions(options: CreateOptions): BootOptions {
  const { workers, ...machine } = options;
  const copy = workers?.copy;
  return copy === undefined ? machine : { ...machine, copyWorker: copy.href };
}
