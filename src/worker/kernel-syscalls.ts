/**
 * System calls of programs on cores: the calls of KernelApi that a process may make for itself, by
 * name. Arguments come from programs, so they are checked by the call as those of any caller.
 */
import { errno } from '../base/errno.ts';
import type { KernelApi } from './protocol.ts';

/** Calls whose first argument is the caller's pid, which is put in here. */
const OWN_CALLS = new Set<string>([
  'clearRefs',
  'exit',
  'fork',
  'madvise',
  'mincore',
  'mmap',
  'mprotect',
  'mremap',
  'munmap',
  'openDevice',
  'pageMap',
  'pagemap',
  'poison',
  'smaps',
] satisfies (keyof KernelApi)[]);

/** Calls that name a descriptor, or nothing. */
const OTHER_CALLS = new Set<string>([
  'closeDevice',
  'closeFile',
  'counters',
  'fallocate',
  'fstat',
  'ftruncate',
  'ioctl',
  'shmemCreate',
  'tmpfile',
] satisfies (keyof KernelApi)[]);

/** Makes a call of a process. @returns its result; EOPNOTSUPP for one that there is not. */
export async function runSyscall(
  kernel: KernelApi,
  pid: number,
  call: string,
  args: readonly unknown[],
): Promise<unknown> {
  const isOwn = OWN_CALLS.has(call);
  if (!isOwn && !OTHER_CALLS.has(call)) return errno.EOPNOTSUPP;
  const calls = kernel as unknown as Record<string, (...args: unknown[]) => unknown>;
  return isOwn ? calls[call]!(pid, ...args) : calls[call]!(...args);
}
