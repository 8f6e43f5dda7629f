/*
 * The memory layout that kernels and host agree on: the job batch and the status word. The WGSL
 * side is shaders/shared/abi.wgsl; src/gpu/abi.ts describes both to the test that compares them.
 *
 * A batch is a header of four words and then two words a job; one job is one page. What a job's
 * second word means depends on the kernel: see the table in shaders/README.md. Every word is a u32,
 * unused words are zero.
 *
 * Locking. None. Source: our own.
 */

/** Jobs of the batch. */
export const BATCH_JOB_COUNT = 0;
/** Workgroups a row of the dispatch's grid: job number = y times this, plus x. */
export const BATCH_GRID_WIDTH = 1;
/** Index that the batch's first result gets (checksum_pages only). */
export const BATCH_FIRST_RESULT = 2;
/** Words before the first job. */
export const BATCH_HEADER_WORDS = 4;
/** Words of one job. */
export const JOB_WORDS = 2;
/** Job word: the arena frame that the job is about. */
export const JOB_FRAME = 0;
/** Job word: bounce page, source frame, page position or operand. */
export const JOB_OTHER = 1;

/** Status word: bit mask of what went wrong since the last reset. */
export const STATUS_FLAGS = 0;
/** Status word: lowest job number that was refused, or STATUS_NO_JOB. */
export const STATUS_FIRST_BAD = 1;
/** Words of the status block; the last two are reserved. */
export const STATUS_WORDS = 4;

/** Flag: a job's `frame` lies outside the arena. */
export const STATUS_BAD_FRAME = 1;
/** Flag: a job's `other` lies outside what it refers to. */
export const STATUS_BAD_OTHER = 2;
/** Value of STATUS_FIRST_BAD while no job was refused. */
export const STATUS_NO_JOB = 0xffffffff;

/** Puts a status block into its state before any job. */
export function resetStatus(status: Uint32Array): void {
  status.fill(0);
  status[STATUS_FIRST_BAD] = STATUS_NO_JOB;
}

/** Records that `job` was refused; the job then touches nothing. */
export function refuseJob(status: Uint32Array, flag: number, job: number): void {
  status[STATUS_FLAGS] = (status[STATUS_FLAGS]! | flag) >>> 0;
  if (job < status[STATUS_FIRST_BAD]!) status[STATUS_FIRST_BAD] = job;
}
