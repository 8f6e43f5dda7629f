/** Opens the copy threads that a machine's options ask for. */
import { copyThreadsOf } from '#copy-threads';
import { errno } from '../base/errno.ts';
import { CopyCrew, MAX_COPY_THREADS } from './copy-crew.ts';
import type { OpenFailure } from './protocol.ts';

/**
 * @param ram the shared memory from its first frame on
 * @param threads how many threads copy, this one included
 * @param file where Node finds a copy thread's module; by default beside this one
 * @returns the crew, null for this thread alone, or why there is none: EINVAL for a bad number,
 *   ENODEV where threads can't be started
 *
 * Context: waits. Source: our own.
 */
export async function openCrew(
  ram: Uint8Array,
  threads: number,
  file?: string,
): Promise<CopyCrew | OpenFailure | null> {
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_COPY_THREADS) {
    const cause = `${String(threads)} copy threads`;
    return { errno: errno.EINVAL, cause, remedy: `give 1 to ${MAX_COPY_THREADS}` };
  }
  if (threads === 1) return null;
  try {
    return await CopyCrew.start(ram, threads, copyThreadsOf(file));
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    return { errno: errno.ENODEV, cause, remedy: 'ask for one copy thread' };
  }
}
