/*
 * CPU twin of shaders/gather-pages.wgsl: copies scattered arena pages into a bounce buffer.
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
 * Copies arena frame `frame` of each job over bounce page `other`.
 *
 * @param arena words of the arena, read only
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 * @param bounce words of the bounce buffer, written
 */
export function gatherPages(
  arena: Uint32Array,
  status: Uint32Array,
  batch: Uint32Array,
  bounce: Uint32Array,
): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const frames = pagesIn(arena);
  const pages = pagesIn(bounce);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const source = batch[at + JOB_FRAME]!;
    const target = batch[at + JOB_OTHER]!;
    if (source >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else if (target >= pages) {
      refuseJob(status, STATUS_BAD_OTHER, job);
    } else {
      copyPageWords(bounce, target, arena, source);
    }
  }
}
