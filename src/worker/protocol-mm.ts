/** The calls of the kernel worker about address spaces, as types only; see protocol.ts. */

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
}
