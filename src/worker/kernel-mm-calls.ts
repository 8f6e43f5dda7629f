/**
 * The kernel side of the calls about address spaces beyond mmap, munmap and mprotect
 * (protocol-mm.ts).
 */
import { errno } from '../base/errno.ts';
import { doMadvise } from '../mm/madvise.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { doMremap } from '../mm/mremap.ts';
import type { MemoryApi } from './protocol-mm.ts';

export class KernelMemory implements MemoryApi {
  private readonly processes: ReadonlyMap<number, MmStruct>;

  /** @param processes The address spaces of the machine by pid. */
  constructor(processes: ReadonlyMap<number, MmStruct>) {
    this.processes = processes;
  }

  async mremap(
    pid: number,
    addr: number,
    oldLength: number,
    newLength: number,
    flags: number,
    newAddr: number,
  ): Promise<number> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return errno.ESRCH;
    return doMremap(mm, addr, oldLength, newLength, flags, newAddr);
  }

  async madvise(pid: number, addr: number, length: number, advice: number): Promise<number> {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : doMadvise(mm, addr, length, advice);
  }
}
