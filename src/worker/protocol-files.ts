/** The calls of the kernel worker about files, as types only; see protocol.ts. */

/** Result of a read by descriptor: the bytes that are there, fewer only at the end of the file. */
export interface FileReadResult {
  /** 0, or EBADF, EINVAL, ENOMEM. */
  readonly errno: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What fstat says. */
export interface FileStat {
  /** 0, or EBADF. */
  readonly errno: number;
  /** Bytes. */
  readonly size: number;
  /** Memory in use, in units of 512 bytes: pages of the page cache. */
  readonly blocks: number;
}

/**
 * Files without a name, in memory. Descriptors belong to the machine: every process may map them.
 * Numbers below zero are errnos.
 */
export interface FileApi {
  /** A file of `length` bytes without a page (open with O_TMPFILE, ftruncate); its descriptor. */
  tmpfile(length: number): number;
  /** Up to `length` bytes from `offset` on. */
  pread(fd: number, length: number, offset: number): FileReadResult;
  /** Writes at `offset`; bytes written. */
  pwrite(fd: number, bytes: Uint8Array, offset: number): Promise<number>;
  /** Changes the size; what lies beyond it goes from every mapping. */
  ftruncate(fd: number, length: number): Promise<number>;
  /** Makes pages, or with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE drops them. */
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number>;
  fstat(fd: number): FileStat;
  /** Closes a file; what maps it keeps it. */
  closeFile(fd: number): number;
}
