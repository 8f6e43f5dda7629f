/*
 * CPU twin of shaders/clear-pages.wgsl: fills arena pages with zeroes.
 */
import { WORDS_PER_PAGE } from '../../base/units.ts';
import {
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_WORDS,
  refuseJob,
  STATUS_BAD_FRAME,
} from '../kernel-abi.ts';
import { pagesIn } from './page-words.ts';

/**
 * Fills arena frame `frame` of each job with zeroes; `other` is not used.
 *
 * @param arena words of the arena, written
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 */
export function clearPages(arena: Uint32Array, status: Uint32Array, batch: Uint32Array): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const frames = pagesIn(arena);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const target = batch[at + JOB_FRAME]!;
    if (target >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else {
      arena.fill(0, target * WORDS_PER_PAGE, (target + 1) * WORDS_PER_PAGE);
    }
  }
}
