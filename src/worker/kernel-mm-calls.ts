/**
 * The kernel side of the calls about address spaces beyond mmap, munmap and mprotect
 * (protocol-mm.ts).
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, TASK_SIZE, bytesToPages, isAddress, isPageAligned } from '../base/units.ts';
import { clearRefs } from '../mm/clear-refs.ts';
import { doMadvise } from '../mm/madvise.ts';
import { doMincore } from '../mm/mincore.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { doMremap } from '../mm/mremap.ts';
import { oomReapTaskMm } from '../mm/oom-kill.ts';
import { readPagemap, readSmaps } from '../mm/task-mmu.ts';
import type { SmapsTotals } from '../mm/task-mmu.ts';
import type { MemoryApi, MincoreResult, PagemapResult, SmapsResult } from './protocol-mm.ts';

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

  async mincore(pid: number, addr: number, length: number): Promise<MincoreResult> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return { errno: errno.ESRCH, vec: NO_BYTES };
    if (!isAddress(length)) return { errno: errno.EINVAL, vec: NO_BYTES };
    const vec = allocate(bytesToPages(length), (count) => new Uint8Array(count));
    if (vec === null) return { errno: errno.ENOMEM, vec: NO_BYTES };
    const status = await doMincore(mm, addr, length, vec);
    return { errno: status, vec: status === 0 ? vec : NO_BYTES };
  }

  async pagemap(pid: number, addr: number, npages: number): Promise<PagemapResult> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return { errno: errno.ESRCH, entries: NO_WORDS };
    const isRange = isAddress(addr) && isPageAligned(addr) && isAddress(npages);
    if (!isRange || addr + npages * PAGE_SIZE > TASK_SIZE) {
      return { errno: errno.EINVAL, entries: NO_WORDS };
    }
    const entries = allocate(npages, (count) => new Uint32Array(2 * count));
    if (entries === null) return { errno: errno.ENOMEM, entries: NO_WORDS };
    const status = await readPagemap(mm, addr, entries);
    return { errno: status, entries: status === 0 ? entries : NO_WORDS };
  }

  async smaps(pid: number): Promise<SmapsResult> {
    const mm = this.processes.get(pid);
    if (mm === undefined) return { errno: errno.ESRCH, mappings: [] };
    const mappings: SmapsTotals[] = [];
    return { errno: await readSmaps(mm, mappings), mappings };
  }

  async clearRefs(pid: number, type: number): Promise<number> {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : clearRefs(mm, type);
  }

  oomReap(pid: number): number {
    const mm = this.processes.get(pid);
    return mm === undefined ? errno.ESRCH : oomReapTaskMm(mm);
  }
}

/** Pages that one call answers for: more would block the machine for seconds. */
const MAX_PAGES = 2 ** 23;
const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Uint32Array(0);

/** An array for that many pages; null when that is too many, or the host has no room. */
function allocate<T>(pages: number, make: (pages: number) => T): T | null {
  if (pages > MAX_PAGES) return null;
  try {
    return make(pages);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
