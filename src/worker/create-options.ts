/** What `Machine.create` may be told. */
import type { MachineOptions } from './protocol.ts';

/** Files that Node starts threads from, as URLs. */
export interface WorkerFiles {
  /** The kernel's: kernel-worker.js. */
  readonly kernel: URL;
  /** A core's: core-worker.js. */
  readonly core: URL;
}

/** What to build, and where it runs. */
export interface CreateOptions extends MachineOptions {
  /**
   * Node only: where the package's kernel-worker.js and core-worker.js are, for programs that
   * bundle WebHMM into a file of their own. By default they are beside the package's index.js.
   */
  readonly workers?: WorkerFiles;
}
