/**
 * Control plane calls that get at a process's pages by other ways than its own loads and stores:
 * get_user_pages and its kin (what the kernel's gup_test driver offers to programs),
 * process_vm_readv and process_vm_writev, and /proc/pid/mem. Types only.
 */

/** Which pages, and how. */
export interface GupRequest {
  /** Address in the first page. */
  readonly addr: number;
  readonly npages: number;
  /** FOLL_WRITE, FOLL_LONGTERM, FOLL_NOFAULT, FOLL_FAST_ONLY. Default 0. */
  readonly flags?: number;
  /** Pins instead of references. Default false. */
  readonly pin?: boolean;
  /** First without the mmap lock. Default false. */
  readonly fast?: boolean;
}

/** What was taken: `npages` may be fewer than asked for. */
export interface GupResult {
  /** 0, or ESRCH, EINVAL, EFAULT, ENOMEM, EBUSY: then nothing was taken. */
  readonly errno: number;
  /** By what the pages are given back. */
  readonly handle: number;
  readonly npages: number;
}

/** A range on each side of a copy between two processes. */
export interface ProcessVmRange {
  /** Address in the calling process. */
  readonly local: number;
  /** Address in the other process. */
  readonly remote: number;
  /** Bytes. */
  readonly length: number;
}

/** Result of procMemRead: the bytes before the first that can't be read. */
export interface ProcMemResult {
  readonly errno: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** These calls of the kernel worker. Numbers below zero are errnos. */
export interface GupApi {
  gup(pid: number, request: GupRequest): Promise<GupResult>;
  /** Gives back what `gup` took; EBADF for an unknown handle. Pages outlive their process. */
  gupRelease(handle: number): number;
  /** Bytes copied from the other process to `pid`, fewer where a side ends. */
  processVmReadv(pid: number, remotePid: number, range: ProcessVmRange): Promise<number>;
  /** Bytes copied from `pid` to the other process. */
  processVmWritev(pid: number, remotePid: number, range: ProcessVmRange): Promise<number>;
  /** What a debugger reads of a process; EIO when that is nothing. */
  procMemRead(pid: number, addr: number, length: number): Promise<ProcMemResult>;
  /** Bytes that a debugger has written, fewer where memory ends; EIO when there is none. */
  procMemWrite(pid: number, addr: number, bytes: Uint8Array): Promise<number>;
}
