/** The calls of the kernel worker about address spaces, as types only; see protocol.ts. */
import type { SmapsTotals } from '../mm/task-mmu.ts';

/** Which pages are resident. */
export interface MincoreResult {
  /** 0, or EINVAL, ENOMEM, ESRCH. */
  readonly errno: number;
  /** A byte a page: 1 for a resident one. */
  readonly vec: Uint8Array<ArrayBuffer>;
}

/** Entries of /proc/pid/pagemap. */
export interface PagemapResult {
  /** 0, or EINVAL, ENOMEM, ESRCH. */
  readonly errno: number;
  /** Two words a page: the pfn, then PM_* bits. */
  readonly entries: Uint32Array<ArrayBuffer>;
}

/** Sections of /proc/pid/smaps. */
export interface SmapsResult {
  /** 0, or ESRCH. */
  readonly errno: number;
  /** A section for each mapping, in address order. */
  readonly mappings: readonly Readonly<SmapsTotals>[];
}

/** Numbers below zero are errnos; arguments and results are those of the system calls. */
export interface MemoryApi {
  /** Changes the size or the place of a mapping; its address. */
  mremap(
    pid: number,
    addr: number,
    oldLength: number,
    newLength: number,
    flags: number,
    newAddr: number,
  ): Promise<number>;
  /** Gives advice (MADV_*) about a range. */
  madvise(pid: number, addr: number, length: number, advice: number): Promise<number>;
  /** Which pages of a range can be had without input. */
  mincore(pid: number, addr: number, length: number): Promise<MincoreResult>;
  /** The pagemap entries of a range. */
  pagemap(pid: number, addr: number, npages: number): Promise<PagemapResult>;
  /** Totals of every mapping. */
  smaps(pid: number): Promise<SmapsResult>;
  /** Clears accessed or soft-dirty bits (CLEAR_REFS_*). */
  clearRefs(pid: number, type: number): Promise<number>;
  /** Takes the private memory of a process away, as the OOM reaper does of its victim. */
  oomReap(pid: number): number;
}
