/*
 * CPU twin of shaders/scatter-pages.wgsl: copies the pages of a bounce buffer to scattered arena
 * pages.
 */
import {
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_OTHER,
  JOB_WORDS,
  refuseJob,
  STATUS_BAD_FRAME,
  STATUS_BAD_OTHER,
} from '../kernel-abi.ts';
import { copyPageWords, pagesIn } from './page-words.ts';

/**
 * Copies bounce page `other` of each job over arena frame `frame`.
 *
 * @param arena words of the arena, written
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 * @param bounce words of the bounce buffer, read only
 */
export function scatterPages(
  arena: Uint32Array,
  status: Uint32Array,
  batch: Uint32Array,
  bounce: Uint32Array,
): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const frames = pagesIn(arena);
  const pages = pagesIn(bounce);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const target = batch[at + JOB_FRAME]!;
    const source = batch[at + JOB_OTHER]!;
    if (target >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else if (source >= pages) {
      refuseJob(status, STATUS_BAD_OTHER, job);
    } else {
      copyPageWords(arena, target, bounce, source);
    }
  }
}
