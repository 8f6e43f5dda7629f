/** What `Machine.create` may be told. */
import { errno } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { OpenError } from './errors.ts';
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

/** What the kernel's thread is told of `options`. Throws OpenError for what can't be told. */
export function bootOptions(options: CreateOptions): BootOptions {
  if (!isRecord(options)) throw refused('the options are no object');
  const { workers, ...machine } = options;
  for (const [name, value] of Object.entries(machine)) {
    const type = value === null ? '' : typeof (value as unknown);
    // What has no text could not even be told.
    const isNone = type === 'object' || type === 'function' || type === 'symbol';
    if (isNone) throw refused(`${name} is neither a number nor a word`);
  }
  const copy = workers?.copy;
  return copy === undefined ? machine : { ...machine, copyWorker: copy.href };
}

function refused(cause: string): OpenError {
  const remedy = 'give an object with the names and values of MachineOptions';
  return new OpenError({ errno: errno.EINVAL, cause, remedy });
}
